"""One model of three data sets of roofs against one model each, at equal total CPU time; and what order makes forget.

Run `python tests/benchmarks/bench_roofs_joint.py [SECONDS [SCENES]]`: a single model gets SECONDS of CPU (default 60,
one thread), a joint one three times as many, and every set SCENES images (default 60). It writes
tests/benchmarks/records/roofs_joint.json after every model, and draws forgetting to a file that it names.

Protocol. Synthetic scenes of 192 pixels in the layouts of RID, Roofline and AIRS, as many of each, a third of them held
out; crops of 128 pixels, the study's own encoder of width 16 and decoder of 32, its losses, its optimizer step. A model
has the heads of the tasks its sets label. Every set has the same share of the draws, whatever the schedule; sequential
is in the plan's order: RID, Roofline, AIRS. The rate falls along one cosine; `renewed` is sequential as the plan
had it: an optimizer and a cosine for each set. Steps are fixed beforehand by their CPU time, taken of all models in
turn, for a schedule needs their number; the time that they took in the end is recorded too. Images held out are scored
once, at the end of training, by the study's own score; intervals are over images, those of differences paired. The
curves of forgetting are of a few of them. One seed: what another would give is not in the intervals.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import default_collate

from stepladder.core.profiles import load
from stepladder.core.types import Batch
from stepladder.data import convert
from stepladder.data.mixing import order_of
from stepladder.data.sampling import Drawn, StepBatches, loader
from stepladder.data.shards import Shard
from stepladder.dev import records
from stepladder.evaluation import metrics
from stepladder.studies.roofs.data.cases import Cases
from stepladder.studies.roofs.data.crops import Crops
from stepladder.studies.roofs.models import inference
from stepladder.studies.roofs.params import RoofsParams
from stepladder.studies.roofs.pictures import charts
from stepladder.studies.roofs.study import study
from stepladder.training.optimize import learning_rate_factor, set_rates
from stepladder.training.step import lone_train_state, train_step

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(tempfile.gettempdir()) / "stepladder_bench_roofs_joint"
SETS = ("rid", "roofline", "airs")  # in the plan's order
HELD = 1 / 3  # share of a set's images that nobody trains on
METRICS = ("outline IoU", "superstructure IoU", "face IoU", "line F1", "rise within 0.5 m", "height within 1 m")
WATCHED = {"rid": "face IoU", "roofline": "height within 1 m", "airs": "outline IoU"}  # drawn
LOOKS, SEEN = 9, 8  # points of a curve, and images of each set they are taken on
TRIED = 4  # steps of a measurement of their CPU time, of which there are five


@dataclass(frozen=True)
class Arm:
    """A model to train: on which sets, how they are mixed, and in how many goes, each with an optimizer of its own."""

    name: str
    sets: tuple[str, ...] = SETS
    mixing: str = "mixed"
    goes: int = 1

    @property
    def joint(self) -> bool:
        """Whether it learns from several sets."""
        return len(self.sets) > 1


SINGLE = tuple(Arm(f"{name} alone", (name,)) for name in SETS)
JOINT = (
    Arm("mixed"),
    Arm("sequential", mixing="sequential"),
    Arm("alternating", mixing="alternating"),
    Arm("renewed", mixing="sequential", goes=3),
)


class Numbered(Crops):
    """Crops whose sets are called by their place in the plan's order, which is the order they are trained in."""

    def __init__(self, shards: Sequence[Path], params: RoofsParams):
        super().__init__(shards, params)
        self.groups = np.array([f"{SETS.index(name)} {name}" for name in self.groups])
        self.weights = {}


@dataclass
class Data:
    """Shards of every set: those to train on, those held out."""

    train: dict[str, list[Path]]
    held: dict[str, list[Path]]

    def tasks(self, sets: Sequence[str]) -> list[str]:
        """What some sets label."""
        return sorted({task for name in sets for task in Shard(self.train[name][0]).attributes["tasks"]})


@dataclass
class Found:
    """What was measured so far."""

    cost: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    scores: list[pd.DataFrame] = field(default_factory=list)


def main() -> None:
    """Train, score, print, record."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    scenes = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    torch.set_num_threads(1)
    data, found = made(scenes), Found()
    step_s = seconds_a_step(data)
    for arm in (*SINGLE, *JOINT):
        budget = seconds * len(arm.sets)
        steps = 3 * max(round(budget / step_s[arm.sets] / 3), 1)  # a third for every set
        learn(arm, data, steps, found)
        about = {"cpu_s_single": seconds, "scenes_a_set": scenes, "held_out": len(data.held["rid"])}
        records.write(__file__, {**about, **summary(found)})
    picture = FOLDER / "forgetting.png"
    charts.forgetting(pd.DataFrame(watched(found.curves))).savefig(picture, dpi=120)
    print(f"drawn: {picture}")


def settings(data: Data, arm: Arm) -> RoofsParams:
    """Those of the profile `quick`, with the arm's tasks and mixing."""
    training = {"mixing": arm.mixing, "temperature": None if arm.mixing == "alternating" else 0.0}
    model = {"tasks": data.tasks(arm.sets), "width": 16, "decoder": 32, "crop": 128}
    return load(ROOT, "roofs", "quick", {"model": model, "training": training})


# Data ----------------------------------------------------------------------------------------------------------------


def made(scenes: int) -> Data:
    """Synthetic scenes as shards; the last third of every set is held out."""
    params: RoofsParams = load(ROOT, "roofs", "quick", {"data": {"side": 192, "block": 1}})
    begin = time.process_time()
    sources = study.synthesize(FOLDER / "raw", scenes * len(SETS), params.seed, params)
    assets = study.assets([Path(source.url) for source in sources], params)
    report = convert.convert(assets, params, FOLDER / "shards", convert.Inline())
    assert not (report["state"] == "failed").any(), report[["asset", "reason"]].to_string()
    paths, first = dict(convert.converted(report, FOLDER / "shards")), round(scenes * (1 - HELD))
    of_set = {name: [paths[asset.id] for asset in assets if asset.group == name] for name in SETS}
    print(f"data: {time.process_time() - begin:.0f} CPU-s, {scenes} scenes a set, {first} to train on", flush=True)
    return Data({n: own[:first] for n, own in of_set.items()}, {n: own[first:] for n, own in of_set.items()})


# Training ------------------------------------------------------------------------------------------------------------


def seconds_a_step(data: Data) -> dict[tuple[str, ...], float]:
    """Sets of a model -> CPU-seconds of a step, its loading included: medians of measurements of all models in turn."""
    walks = {arm.sets: iter(Training(arm, data, 6 * TRIED)) for arm in (*SINGLE, JOINT[0])}
    took: dict[tuple[str, ...], list[float]] = {sets: [] for sets in walks}
    for _ in range(6):
        for sets, walk in walks.items():
            begin = time.process_time()
            for _ in range(TRIED):
                next(walk)
            took[sets].append((time.process_time() - begin) / TRIED)
    found = {sets: median(times[1:]) for sets, times in took.items()}  # the first one warms up
    print("; ".join(f"{', '.join(sets)}: {1000 * own:.0f} CPU-ms a step" for sets, own in found.items()), flush=True)
    return found


class Training:
    """A new model of an arm, and `steps` optimizer steps of it.

    Args:
        arm: what it learns from.
        data: shards to train on.
        steps: optimizer steps, a multiple of the arm's goes.
    """

    def __init__(self, arm: Arm, data: Data, steps: int):
        self.params = settings(data, arm)
        torch.manual_seed(self.params.seed)
        self.model = study.model(self.params)
        self.crops = Numbered([path for name in arm.sets for path in data.train[name]], self.params)
        self.steps, self.length = steps, steps // arm.goes

    def __iter__(self) -> Iterator[int]:
        """Numbers of the steps, when they are done."""
        training, seed, (phase,) = self.params.training, self.params.seed, study.phases(self.params)
        order = order_of(self.crops, training, seed, [(0, self.steps)])
        batches = iter(loader(Drawn(self.crops, seed), StepBatches(order, training.batch, 0, self.steps), 0, 2))
        for begin in range(0, self.steps, self.length):
            train_state = lone_train_state(study, self.model, phase, training, seed)
            for step in range(self.length):
                rate = learning_rate_factor(training.schedule, step, self.length, training.warmup)
                set_rates(train_state.optimizer, training.learning_rate * rate, training.weight_decay)
                train_step(train_state, begin + step, [next(batches)])
                yield begin + step + 1


def learn(arm: Arm, data: Data, steps: int, found: Found) -> None:
    """Train an arm, with looks at images held out where it is a joint one, and score it."""
    training = Training(arm, data, steps)
    looks, spent, begin = np.linspace(0, steps, LOOKS + 1).round().astype(int)[1:], 0.0, time.process_time()
    for step in training:
        if arm.joint and step in looks:
            spent += time.process_time() - begin
            seen = look(training, data)
            found.curves += [{"step": step, "schedule": arm.name, **row} for row in seen]
            told = [f"{row['source']} {row['value']:.3f}" for row in watched(seen)]
            print(f"{arm.name}, step {step}: {', '.join(told)}", flush=True)
            begin = time.process_time()
    spent += time.process_time() - begin
    draws = steps * training.params.training.batch // len(arm.sets)
    found.cost.append({"model": arm.name, "steps": steps, "draws_a_set": draws, "cpu_s": spent})
    print(f"{arm.name}: {steps} steps, {spent:.0f} CPU-s", flush=True)
    for name in arm.sets:
        table = scored(training, data.held[name], inference.predict)
        method = arm.name if arm.joint else "alone"
        found.scores.append(table.assign(method=method, group=name))


# Scores --------------------------------------------------------------------------------------------------------------


def look(training: Training, data: Data) -> list[dict[str, Any]]:
    """Source, metric and value on a few images of every set held out; the model goes on training."""
    rows = []
    for name in SETS:
        values = metrics.pooled(scored(training, data.held[name][:SEEN], maps))
        rows += [
            {"source": name, "metric": metric, "value": values[metric]}
            for metric in METRICS
            if np.isfinite(values[metric])
        ]
    training.model.train()
    return rows


def watched(curves: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the one metric of every set that is drawn."""
    return [row for row in curves if WATCHED[row["source"]] == row["metric"]]


def maps(model: Any, batch: Batch) -> Mapping[str, torch.Tensor]:
    """A prediction without lines and polygons, which the watched metrics do not ask for."""
    image_BCYX = batch["image_CYX"]
    size = image_BCYX.shape[2], image_BCYX.shape[3]
    return inference.answers(inference.seen(model, image_BCYX, float(batch["gsd_m"][0])), size)


@torch.inference_mode()
def scored(training: Training, shards: Sequence[Path], predict: Any) -> pd.DataFrame:
    """The study's records of whole images."""
    model, cases = training.model.eval(), Cases(shards, training.params)
    rows = []
    for index, unit in enumerate(cases.clusters):
        batch = default_collate([cases.sample(index)])
        for record in study.score(batch, predict(model, batch), training.params):
            rows.append({"unit": unit, **vars(record)})
    return pd.DataFrame(rows)


def summary(found: Found) -> dict[str, Any]:
    """What was found, as a record: values and differences of what every set labels, costs, and what was forgotten."""
    params: RoofsParams = load(ROOT, "roofs", "quick")
    scores = pd.concat(found.scores)
    scores = scores[scores["metric"].isin(METRICS)]
    rows, differences = [], []
    for (name, metric), table in scores.groupby(["group", "metric"], sort=False):
        if table["support"].sum() == 0:  # the set does not label it
            continue
        values = metrics.summarize(table, params.evaluation, params.seed)
        rows += values[values["group"] == "all"].assign(group=name).to_dict("records")
        for method in [method for method in table["method"].unique() if method != "alone"]:
            apart = metrics.compare(table, str(metric), method, "alone", params.evaluation, params.seed)
            worse = apart["high"] < 0
            differences.append({"model": method, "set": name, "metric": metric, **apart, "worse": bool(worse)})
    return {
        "values": rows,
        "differences": differences,
        "cost": found.cost,
        "curves": found.curves,
        "forgotten": forgotten(found.curves),
    }


def forgotten(curves: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What every curve lost from its best to its end."""
    values: dict[tuple[str, ...], list[float]] = {}
    for row in curves:
        values.setdefault((row["schedule"], row["source"], row["metric"]), []).append(row["value"])
    return [
        {"schedule": schedule, "source": source, "metric": metric, "best": max(own), "lost": max(own) - own[-1]}
        for (schedule, source, metric), own in values.items()
    ]


if __name__ == "__main__":
    main()
