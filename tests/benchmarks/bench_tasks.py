"""The operator on all kinds of data: Darcy and meshes and particles of real files, several coefficients in one model.

Run `python tests/benchmarks/bench_tasks.py darcy|mesh|particles|advection|burgers_eps|mix|nets [CPU-seconds] [seeds]`;
without arguments all of them in this order. Rows are added to tests/benchmarks/records/tasks.json as they finish, each
with its protocol; rows of a task that is run again are replaced.

Every task is a profile of `params/pde`: its data, splits and network are the profile's, and a training is the
profile's with one difference: it stops at its CPU time, schedule included. One thread.
"""

import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bench_burgers
import numpy as np
import torch
from torch import nn
from torch.utils.data import default_collate

from stepladder.core import files
from stepladder.core.profiles import load
from stepladder.core.types import Batch, Prediction
from stepladder.data import convert, splits
from stepladder.dev.records import made_by
from stepladder.studies.pde.data.dataset import Cases, Windows
from stepladder.studies.pde.evaluation import scoring
from stepladder.studies.pde.models.baselines import classical, fits
from stepladder.studies.pde.models.baselines.afno import AFNO
from stepladder.studies.pde.models.baselines.dit import DiT
from stepladder.studies.pde.models.baselines.fno import FNO
from stepladder.studies.pde.models.baselines.unet import UNet
from stepladder.studies.pde.models.operator.model import operator_of
from stepladder.studies.pde.models.stages.forecaster import Forecaster
from stepladder.studies.pde.params import PdeParams
from stepladder.studies.pde.study import study

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("STEPLADDER_SHARED_DATA") or ROOT.parent / "shared" / "data")
RECORD = Path(__file__).with_name("records") / "tasks.json"
KEPT = Path(tempfile.gettempdir()) / "stepladder_bench_tasks"  # shards, made once
SECONDS = {"darcy": 120, "mesh": 180, "particles": 120, "advection": 100, "burgers_eps": 300, "mix": 150, "nets": 150}
CLOCKS = 4
BETWEEN = {"validation": ["1D_Burgers_Sols_Nu0.03_005"], "test": ["1D_Burgers_Sols_Nu0.03_000"]}
SEEDS = {"advection": 3, "burgers_eps": 3}
METRICS = {
    "nRMSE@rollout": "nrmse",
    "L2RE@rollout": "l2re",
    "nRMSE@first step": "step_1",
    "nRMSE@last step": "last_step",
}

MADE_BY = made_by(Path(__file__))


class Record:
    """The rows of one task, with their protocol, in the common record."""

    def __init__(self, name: str, protocol: str):
        self.name, self.protocol = name, " ".join(protocol.split())
        self.rows: list[dict[str, Any]] = []
        print(f"{name}: {self.protocol}", flush=True)

    def add(self, method: str, **facts: Any) -> None:
        """One more row: printed, and the record written."""
        self.rows.append({"task": self.name, "method": method, "protocol": self.protocol, **facts, **MADE_BY})
        shown = {key: value for key, value in self.rows[-1].items() if key not in ("task", "protocol", *MADE_BY)}
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in shown.items()), flush=True)
        kept = files.read_json(RECORD)["rows"] if RECORD.exists() else []
        files.write_json(RECORD, {"rows": [row for row in kept if row["task"] != self.name] + self.rows})


class Task(Record):
    """A task that is a profile: its data beside its rows."""

    def __init__(self, name: str, profile: str, protocol: str):
        super().__init__(name, protocol)
        self.params: PdeParams = load(ROOT, "pde", profile, {"data": {"mirror": str(SHARED / "pde")}})
        self.shards = shards(self.params, KEPT / profile)

    def training(self, group: str = "", more: Sequence[Path] = (), **model: Any) -> Batch:
        """All training samples in one batch; of one group where one is named, of `more` shards too, with other settings
        of `model`. Where some are seen by other clocks, every sample stands in it `CLOCKS` times."""
        params = self.params.model_copy(update={"model": self.params.model.model_copy(update=model)})
        windows = Windows([*self.shards["train"], *more], params)
        wanted = np.flatnonzero([group in ("", name) for name in windows.groups])
        keys = range(CLOCKS) if params.model.rescale else ()
        rngs = [np.random.Generator(np.random.Philox(key=key)) for key in keys] or [None]
        return default_collate([windows.sample(int(index), rng) for rng in rngs for index in wanted])

    def evaluation_dataset(self, shards: Sequence[Path] = ()) -> dict[str, Batch]:
        """The test cases (or those of other shards), group by group."""
        cases = Cases(shards or self.shards["test"], self.params)
        groups = {str(name): np.flatnonzero(cases.groups == name) for name in np.unique(cases.groups)}
        return {name: default_collate([cases.sample(int(i)) for i in rows]) for name, rows in groups.items()}

    def learn(
        self,
        method: str,
        seed: int,
        model: Forecaster,
        samples: Batch,
        seconds: float,
        cases: Mapping[str, Batch],
        errors: Callable[..., dict[str, float]] | None = None,
    ) -> None:
        """Train a network on `samples` and add its row for every group of `cases`, scored by `errors` (`scores`)."""
        facts = trained(model, self.params, samples, seconds)
        for group, batch in cases.items():
            found = (errors or scores)(model.predict, batch, self.params)
            self.add(method, group=group, seed=seed, **found, **facts)


def shards(params: PdeParams, folder: Path) -> dict[str, list[Path]]:
    """Shards of every split of a profile, made where they are not there yet."""
    begin = time.process_time()
    if params.data.source == "synthetic":
        sources = study.synthesize(folder / "raw", params.data.synthetic, params.seed, params)
    else:
        sources = study.sources(params)
    assets = study.assets([Path(source.url) for source in sources], params)
    report = convert.convert(assets, params, folder / "shards", convert.Inline())
    assert not (report["state"] == "failed").any(), report[["asset", "reason"]].to_string()
    print(f"data: {time.process_time() - begin:.0f} CPU-s, {len(assets)} assets")
    found = splits.split(assets, params.splits, params.seed)
    return {name: [folder / "shards" / f"{id}.h5" for id in found[name]] for name in splits.NAMES}


def main() -> None:
    """Measure, print, record."""
    torch.set_num_threads(1)
    names = [sys.argv[1]] if len(sys.argv) > 1 else list(TASKS)
    for name in names:
        seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS[name]
        seeds = int(sys.argv[3]) if len(sys.argv) > 3 else SEEDS.get(name, 1)
        TASKS[name](seconds, seeds)


# Training and scoring ------------------------------------------------------------------------------------------------


def trained(model: Forecaster, params: PdeParams, samples: Batch, seconds: float) -> dict[str, float]:
    """Train a network with a profile's settings for `seconds` of CPU time; its averaged weights are left in it.

    All samples are drawn alike, which is the profile's temperature where its groups are of one size or it is 1.
    """
    training, count = params.training, len(samples["dt"])
    optimizer = torch.optim.AdamW(model.parameters(), training.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    average, steps, begin = {}, 0, time.process_time()
    model.train()
    while (done := (time.process_time() - begin) / seconds) < 1:
        optimizer.param_groups[0]["lr"] = training.learning_rate * rate(done)
        which = torch.randint(count, (training.batch,))
        batch = {name: value[which] for name, value in samples.items()}
        loss = model.loss(batch).total
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
        optimizer.step()
        steps += 1
        keep = min(training.ema, (1 + steps) / (10 + steps))
        for name, value in model.named_parameters():
            average.setdefault(name, value.detach().clone()).lerp_(value.detach(), 1 - keep)
    model.load_state_dict(average, strict=False)
    model.eval()
    spent = time.process_time() - begin
    return {"steps": steps, "train_cpu_s": spent, "parameters": sum(p.numel() for p in model.parameters())}


def rate(done: float, warm: float = 0.05) -> float:
    """Share of the peak rate when `done` of the time is over: linear warm-up, then cosine."""
    return max(min(1.0, done / warm) * (0.5 + 0.5 * math.cos(math.pi * max(0.0, done - warm) / (1 - warm))), 1e-3)


@torch.inference_mode()
def scores(forecast: Callable[[Batch], Prediction], batch: Batch, params: PdeParams) -> dict[str, float]:
    """Errors of forecasts of a batch, by the study's own records."""
    sums: dict[str, list[float]] = {}
    for record in scoring.score(batch, forecast(batch), params):
        if record.metric in METRICS:
            both = sums.setdefault(METRICS[record.metric], [0.0, 0.0])
            both[0] += record.numerator
            both[1] += record.denominator
    return {name: above / below for name, (above, below) in sums.items()}


def network(task: Task, seed: int) -> Forecaster:
    """The profile's network, freshly initialised."""
    torch.manual_seed(seed)
    return Forecaster(operator_of(task.params.model), task.params.model)


# Tasks ---------------------------------------------------------------------------------------------------------------


def steady(task: Task, seconds: float, seeds: int, degrees: Sequence[int] = (1,)) -> None:
    """A steady problem: the operator against the mean answer, the nearest one, and fits to the question."""
    (batch,) = task.evaluation_dataset().values()
    train = task.shards["train"]
    for name, baseline in {"mean answer": fits.MeanAnswer, "nearest": fits.Nearest}.items():
        task.add(name, **scores(baseline(train), batch, task.params))
    for degree in degrees:
        ridge = fits.SteadyRidge(train, degree)
        task.add("ridge" if degree == 1 else f"polynomial of degree {degree}", **scores(ridge, batch, task.params))
    samples = task.training()
    for seed in range(seeds):
        model = network(task, seed)
        facts = trained(model, task.params, samples, seconds)
        task.add("operator", seed=seed, **scores(model.predict, batch, task.params), **facts)


def darcy(seconds: float, seeds: int) -> None:
    """neuraloperator's Darcy file, 16 x 16."""
    protocol = """neuraloperator's darcy_train_16.pt: 900 samples to train on, 100 to choose by; its darcy_test_16.pt:
    50 samples to test on; the given field is which of two permeabilities a point has; relative L2 per sample,
    averaged."""
    steady(Task("darcy", "darcy", protocol), seconds, seeds)


def mesh(seconds: float, seeds: int) -> None:
    """PINA's holed Poisson mesh."""
    protocol = """PINA's holed_poisson: 1352 nodes that move with two parameters on an 11 x 11 grid of values; 121
    samples, drawn: 78 to train on, 19 to choose by, 24 to test on; relative L2 per sample, averaged. Polynomials are
    of the two parameters, at corresponding nodes: they know which node is which and can answer on this mesh only."""
    steady(Task("mesh", "mesh", protocol), seconds, seeds, degrees=(1, 2, 3))


def particles(seconds: float, seeds: int) -> None:
    """LagrangeBench's three Lennard-Jones particles."""
    protocol = """LagrangeBench 3D_LJ (3 particles): the first two thirds of train.h5 to train on; stretches of 20
    frames, each rolled out from its first state, of the last third of train.h5 and of valid.h5; nRMSE of displacements
    from the first state, per frame and axis, averaged; MSE_20 is the mean square of positions over 20 frames. Methods
    see the state and the displacement before (LagrangeBench: five)."""
    task = Task("particles", "particles", protocol)
    places = {"train.h5, last third": task.shards["validation"], "valid.h5": task.shards["test"]}
    batches = {name: next(iter(task.evaluation_dataset(shards).values())) for name, shards in places.items()}
    for name, batch in batches.items():
        task.add("constant velocity", group=name, **_particle_scores(classical.persistence, batch, task.params))
        task.add("constant acceleration", group=name, **_particle_scores(_accelerated, batch, task.params))
    samples = task.training()
    for seed in range(seeds):
        task.learn("operator", seed, network(task, seed), samples, seconds, batches, _particle_scores)


def _particle_scores(forecast: Callable[[Batch], Prediction], batch: Batch, params: PdeParams) -> dict[str, float]:
    with torch.inference_mode():
        guess = forecast(batch)["u_BTXC"]
    half = guess.shape[-1] // 2
    square = (guess - batch["target_TXC"])[..., :half].double().square().mean().item()
    return {**scores(forecast, batch, params), "mse_20": square}


def _accelerated(batch: Batch) -> Prediction:
    """Every velocity changes as it did last."""
    position, moved = batch["input_XC"][:, None].chunk(2, dim=-1)
    change, steps = (
        moved - batch["before_XD"][:, None],
        torch.arange(1, batch["target_TXC"].shape[1] + 1).view(-1, 1, 1),
    )
    ahead = position + steps * moved + steps * (steps + 1) / 2 * change
    return {"u_BTXC": torch.cat([ahead, moved + steps * change], dim=-1)}


def advection(seconds: float, seeds: int) -> None:
    """Four speeds: one model against four."""
    protocol = """Advection, beta 0.1, 0.4, 1, 4; exact shifts of PDEBench's initial states, 128 points; 200
    trajectories of each to train on, 50 to test on; frames every 0.1; 20 autoregressive steps from the first state;
    nRMSE per frame, averaged. The operator is one model for all four; the FNOs are one each, a quarter of its CPU time
    for each of them, with the operator's recipe (moved copies, optimizer, averaging)."""
    task = Task("advection", "advection", protocol)
    cases, samples = task.evaluation_dataset(), task.training()
    for seed in range(seeds):
        model = network(task, seed)
        task.learn("operator", seed, model, samples, seconds, cases)
        for group, batch in _wrong(cases).items():
            task.add("operator, wrong speed", group=group, seed=seed, **scores(model.predict, batch, task.params))
        for group, batch in cases.items():
            torch.manual_seed(seed)
            single = Forecaster(FNO(1, 1, channels=32, modes=32), task.params.model)
            task.learn("FNO of its own", seed, single, task.training(group), seconds / len(cases), {group: batch})


def _wrong(cases: Mapping[str, Batch]) -> dict[str, Batch]:
    """The same cases, every group told the coefficients of the next one."""
    told = [batch["coefficient_K"] for batch in cases.values()]
    return {
        group: {**batch, "coefficient_K": other}
        for (group, batch), other in zip(cases.items(), [*told[1:], told[0]], strict=True)
    }


def burgers_eps(seconds: float, seeds: int) -> None:
    """Four viscosities in one model, and one it never saw."""
    protocol = """Burgers, eps 0.001, 0.01, 0.1, 1, one model; our solvers on 512 cells, thinned to 128 points; 200,
    400, 100 and 50 trajectories to train on, drawn by their number; 50 to test on, from the same first states for
    every eps, and of eps 0.03, of which no file is trained on; steps of 0.1; 20 autoregressive steps from the first
    state; nRMSE per frame, averaged. 40 % of the training samples are seen by another clock, which makes viscosities
    in between of files of the four (see studies/pde/clock.py); `one clock` is the same without. `eps 0.03 too` has one
    clock and also learns from 200 trajectories of eps 0.03: what could be had there, one seed each."""
    task = Task("burgers_eps", "burgers_eps", protocol)
    cases = task.evaluation_dataset()
    for group, batch in cases.items():
        task.add("spatial mean", group=group, **scores(classical.spatial_mean, batch, task.params))
    between = {"equation": "burgers", "coefficients": {"eps": 0.03}, "files": 6, "trajectories": 50, "points": 128}
    files_of_it = load(ROOT, "pde", "burgers_eps", {"data": {"tasks": [between]}, "splits": BETWEEN})
    more = shards(files_of_it, KEPT / "burgers_eps_between")["train"]
    variants = {
        "operator": task.training(),
        "operator, one clock": task.training(rescale=0.0),
        "operator, eps 0.03 too": task.training(more=more, rescale=0.0),
    }
    for method, samples in variants.items():
        for seed in range(seeds if method == "operator" else 1):
            task.learn(method, seed, network(task, seed), samples, seconds, cases)


def mix(seconds: float, seeds: int) -> None:
    """Three tasks in one model against one model each, at equal total CPU time."""
    protocol = """Burgers eps 0.01, advection beta 0.4, reaction-diffusion nu 0.5 rho 1; 128 points; 200 trajectories of
    each to train on, 50 to test on; frames every 0.1; 10 autoregressive steps; nRMSE per frame, averaged. The joint
    model gets the CPU time that the three single ones, of the same kind and size, get together."""
    task = Task("mix", "grid_mix", protocol)
    cases, samples = task.evaluation_dataset(), task.training()
    for seed in range(seeds):
        task.learn("operator, joint", seed, network(task, seed), samples, seconds, cases)
        for group, batch in cases.items():
            part, share = task.training(group), seconds / len(cases)
            task.learn("operator, single", seed, network(task, seed), part, share, {group: batch})


def nets(seconds: float, seeds: int) -> None:
    """Other networks on the headline task, as many parameters as the operator."""
    protocol = f"""{bench_burgers.__doc__.partition("Protocol: ")[2].partition("`FNO`")[0]} Parameters within 15 % of
    the operator's; all have its recipe (draws, symmetries, optimizer, averaging of weights). Rows of the operator and
    the FNO are those of burgers.json, seed 0."""
    record = Record("nets", protocol)
    for row in files.read_json(bench_burgers.RECORD)["rows"]:
        if row["method"] in ("operator", "FNO") and row["seed"] == 0:
            record.add(**row)
    train_NTX1, test_NTX1 = bench_burgers.trajectories()
    for name, make in {"U-Net": lambda: UNet(1, 1), "AFNO": lambda: AFNO(1, 1), "DiT": lambda: DiT(1, 1)}.items():
        for seed in range(seeds):
            facts = bench_burgers.trained(bench_burgers.Run(make), train_NTX1, test_NTX1, seconds, seed)
            record.add(name, seed=seed, **facts)


TASKS: dict[str, Callable[[float, int], None]] = {
    "darcy": darcy,
    "mesh": mesh,
    "particles": particles,
    "advection": advection,
    "burgers_eps": burgers_eps,
    "nets": nets,
    "mix": mix,
}

if __name__ == "__main__":
    main()
