"""What the trained projection adds on pictures kept out, arm by arm; the same with the signal removed; and frames.

Run `python tests/benchmarks/bench_captions_arms.py [SEEDS]`: the pictures of the profile quick are fetched from the
offline web, converted and divided as the road does it; all phases are trained for the profile's steps. Then:

- every arm on every item of the test split, beside the rivals that are fitted to the training split;
- the same after the features of every picture were handed to another one, in training and test: the signal is gone,
  and a table that still tells an effect would be wrong;
- moving scenes whose temporal questions one frame cannot answer, with latents of 5 frames, and of the first alone.

The record is tests/benchmarks/records/captions_arms.json.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import default_collate

from stepladder.core import profiles
from stepladder.core.study import find
from stepladder.core.types import Asset, Batch, Prediction, ShardContent
from stepladder.data import convert, shards, splits
from stepladder.data.mixing import order_of
from stepladder.data.sampling import StepBatches
from stepladder.data.shards import Shard
from stepladder.dev import records
from stepladder.studies.captions.data.cases import Cases
from stepladder.studies.captions.data.dataset import Pairs
from stepladder.studies.captions.evaluation import arms, effect, scoring
from stepladder.studies.captions.models import answering
from stepladder.studies.captions.params import CaptionsParams
from stepladder.training.optimize import learning_rate_factor, set_rates
from stepladder.training.step import lone_train_state, train_step

ROOT = Path(__file__).resolve().parents[2]
MOVING = 360
COMPARED = ("untrained", "shuffled", "blank", "text_only", "world_zero", "world_shuffled", "world_constant", "pooled")


@dataclass(frozen=True)
class Data:
    """Shards of the two splits."""

    train: list[Path]
    test: list[Path]


def main() -> None:
    """Fetch, train, compare, record."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    torch.set_num_threads(1)
    params = profiles.load(ROOT, "captions", "quick")
    with TemporaryDirectory() as folder:
        data = converted(params, Path(folder) / "quick")
        rows = {f"seed {seed}": compared(params, data, seed) for seed in range(seeds)}
        rows["signal removed"] = compared(params, removed(data, Path(folder) / "removed"), 0)
        moving = {steps: frames(params, Path(folder) / f"moving{steps}", steps) for steps in (0, 1)}
    records.write(__file__, {"rows": rows, "moving": moving, "steps": params.training.steps})


def converted(params: CaptionsParams, folder: Path, only: str = "") -> Data:
    """Fetched, converted and divided as the road does it; assets of one group alone where it is named."""
    study = find("captions")
    sources = study.synthesize(folder / "raw", params.data.synthetic, params.seed, params)
    raw = [Path(source.url) for source in sources]
    brought = study.gather(raw, params, folder / "gathered", lambda text: None)
    roots = [*raw, *([brought.root] if brought.root else [])]
    assets: list[Asset] = [asset for asset in study.assets(roots, params) if not only or asset.group == only]
    report = convert.convert(assets, params, folder / "shards", convert.Inline())
    paths = dict(convert.converted(report, folder / "shards"))
    divided = splits.split(assets, params.splits, params.seed)
    held = {name: [paths[asset] for asset in divided[name] if asset in paths] for name in splits.NAMES}
    return Data([*held["train"], *held["validation"]], held["test"])


def removed(data: Data, folder: Path) -> Data:
    """The same shards, features of every picture those of another one: half the pictures of its shard further on."""

    def written(path: Path) -> Path:
        shard = Shard(path)
        arrays = {name: shard.array(name) for name in shard.names}
        for name in ("vision_NPF", "world_NTVUC"):
            arrays[name] = np.roll(arrays[name], len(arrays[name]) // 2, axis=0)
        place = folder / path.name
        content = {name: value for name, value in arrays.items() if name != "items_S"}
        given = {name: value for name, value in shard.attributes.items() if name not in ("recipe", "issues")}
        shards.write(place, ShardContent(content, {"items_S": arrays["items_S"]}, given), "removed")
        return place

    return Data([written(path) for path in data.train], [written(path) for path in data.test])


def trained(params: CaptionsParams, paths: Sequence[Path], seed: int) -> Any:
    """The model after all phases, at the profile's steps and rates; its last weights, not the best by validation."""
    study, data, training = find("captions"), Pairs(paths, params), params.training
    torch.manual_seed(seed)
    model, done = study.model(params), 0
    phases = study.phases(params)
    order = order_of(data, training, seed, [(0, sum(phase.steps for phase in phases))])
    for phase in phases:
        [first] = StepBatches(order, training.batch, done, done + 1).step(done)
        study.fit(phase, model, default_collate([data.sample(index, None) for _, index in first]))
        state = lone_train_state(study, model, phase, training, seed)
        for step in range(phase.steps):
            rate = phase.learning_rate or training.learning_rate
            rate *= learning_rate_factor(training.schedule, step, phase.steps, training.warmup)
            set_rates(state.optimizer, rate, training.weight_decay)
            [draws] = StepBatches(order, training.batch, done, done + 1).step(done)
            batch = default_collate([data.sample(index, None) for _, index in draws])
            result = train_step(state, done, [batch])
            done += 1
        print(f"{phase.name}: loss {float(result.loss):.3f}", flush=True)
    return model.eval()


def compared(params: CaptionsParams, data: Data, seed: int) -> dict[str, Any]:
    """Every arm on every item kept out, the rivals, and the sentence a page would say."""
    begin = time.process_time()
    model = trained(params, data.train, seed)
    spent = time.process_time() - begin
    cases = Cases(data.test, params)
    params = params.model_copy(update={"evaluation": params.evaluation.model_copy(update={"samples": len(cases)})})
    others = [arm for arm in COMPARED if arm in model.arms]
    table = arms.table(arms.answers(asked(model, others), cases, params, others), params)
    told = {
        "arms": table.where(pd.notna(table), None).to_dict("records"),
        "sentence": effect.sentence(table),
        "rivals": rivals(params, data, cases),
        "items": len(cases),
        "families": len(set(cases.clusters)),
        "cpu_s": spent,
    }
    print(told["sentence"], flush=True)
    return told


def asked(model: Any, others: Sequence[str]) -> arms.Answer:
    """All arms of a batch at once."""
    last: list[Any] = [None, None]

    def answer(batch: Batch, arm: str) -> Prediction:
        if last[0] is not batch:
            last[:] = [batch, answering.predict(model, batch, "trained", others)]
        found = last[1]
        named = {"text_BS": f"text_{arm}_BS", "likelihood_BC": f"likelihood_{arm}_BC"}
        return found if arm == "trained" else {**found, **{ours: found[theirs] for ours, theirs in named.items()}}

    return answer


def rivals(params: CaptionsParams, data: Data, cases: Cases) -> dict[str, dict[str, float]]:
    """Metrics of the rivals on the same items."""
    from stepladder.evaluation import metrics

    found = {}
    for name, rival in find("captions").baselines(params, data.train).items():
        rows = []
        for case in range(len(cases)):
            batch = default_collate([cases.sample(case, None)])
            rows += [{**vars(record), "unit": str(case)} for record in scoring.score(batch, rival(batch), params)]
        found[name] = {metric: float(value) for metric, value in metrics.pooled(pd.DataFrame(rows)).items()}
    return found


def frames(params: CaptionsParams, folder: Path, steps: int) -> dict[str, Any]:
    """Moving scenes with latents of 1 + 4 `steps` frames: how often temporal questions are answered rightly."""
    data = params.data.model_copy(update={"moving": MOVING})
    conversion = params.conversion.model_copy(update={"world_steps": steps})
    model = params.model.model_copy(update={"controls": []})
    own = params.model_copy(update={"data": data, "conversion": conversion, "model": model})
    divided = converted(own, folder, "moving")
    network = trained(own, divided.train, 0)
    cases = Cases(divided.test, own)
    right = []
    for case in range(len(cases)):
        if cases.item(case).choices:
            batch = default_collate([cases.sample(case, None)])
            found = answering.predict(network, batch)
            per_token = found["likelihood_BC"] / found["tokens_BC"].clamp(min=1)
            right.append(float(per_token.argmax(1).item() == int(batch["answer"])))
    share = float(np.mean(right))
    print(f"{1 + 4 * steps} frames: {share:.1%} of {len(right)} temporal questions", flush=True)
    return {"frames": 1 + 4 * steps, "right": share, "questions": len(right), "chance": chance(cases)}


def chance(cases: Cases) -> float:
    """How often a guess among the choices is right."""
    return float(np.mean([1 / len(cases.item(case).choices) for case in range(len(cases)) if cases.item(case).choices]))


if __name__ == "__main__":
    main()
