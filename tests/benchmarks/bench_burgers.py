"""Burgers eps 0.01 from the first state alone: the operator against our FNO at equal CPU time, ridge, trivial guesses.

Run `python tests/benchmarks/bench_burgers.py [CPU-seconds per training] [seeds]`; without arguments 150 and 3 as in the
target. The record, tests/benchmarks/records/burgers.json, is written anew after every training.

Protocol: PDEBench's initial states, our spectral solver on 1024 cells, thinned to 128 points; 200 trajectories to train
on, 50 to test; frames every 0.1; 20 autoregressive steps from the first frame; nRMSE is the ratio of root mean squares
per frame, averaged over trajectories and frames. One thread; a training stops at its CPU time, schedule included, and
every network gets the same. `FNO` has the operator's whole recipe (draws, symmetries, optimizer, averaging of weights);
`FNO, moving frame` also gets the operator's co-moving frame; `FNO, plain` draws all frames alike and knows no symmetry.
"""

import copy
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stepladder.core.types import Batch
from stepladder.dev import records
from stepladder.studies.pde.data.equations import number, vector
from stepladder.studies.pde.data.solvers import burgers
from stepladder.studies.pde.data.solvers.initial import Waves, centres
from stepladder.studies.pde.evaluation.metrics import conserved, nrmse, relative_l2, vrmse
from stepladder.studies.pde.models.baselines.fno import FNO
from stepladder.studies.pde.models.operator import frame
from stepladder.studies.pde.models.operator.losses import training_loss
from stepladder.studies.pde.models.operator.model import GridOperator
from stepladder.studies.pde.models.operator.rollout import roll
from stepladder.studies.pde.models.operator.symmetries import varied

EPS, DT, FRAMES, CELLS, POINTS, TRAIN, TEST = 0.01, 0.1, 21, 1024, 128, 200, 50
BATCH, RATE, WARM, DECAY, AVERAGE = 50, 6e-3, 0.05, 1e-4, 0.998
TARGET, TARGET_DRIFT = 0.02, 1e-3


@dataclass(frozen=True)
class Run:
    """One network and how it is fed: draws of frame t go as (t + 1) ** -early; symmetries or not; which seeds."""

    make: Callable[[], nn.Module]
    early: float = 1.0
    vary: bool = True
    seeds: int = 3


class Moving(nn.Module):
    """A network in the frame that moves with the mean, as the operator has it inside: what is the frame worth alone?"""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Tensor:
        state = batch["input_XC"]
        points_B = frame.observer(batch, state)
        velocity_B11 = frame.velocity(batch, points_B)
        return frame.rolled(self.network({**batch, "input_XC": state - velocity_B11}), points_B) + velocity_B11


RUNS = {
    "operator": Run(lambda: GridOperator(1, 1, modes=32, before=2, after=1, patch=8)),
    "FNO": Run(lambda: FNO(1, 1, channels=32, modes=32)),
    "FNO, moving frame": Run(lambda: Moving(FNO(1, 1, channels=32, modes=32)), seeds=1),
    "FNO, plain": Run(lambda: FNO(1, 1, channels=32, modes=32), early=0.0, vary=False, seeds=1),
}


def main() -> None:
    """Measure, print, record."""
    torch.set_num_threads(1)
    seconds, seeds = float(sys.argv[1]) if len(sys.argv) > 1 else 150.0, int(sys.argv[2]) if len(sys.argv) > 2 else 3
    train_NTX1, test_NTX1 = trajectories()
    record = {"protocol": " ".join(__doc__.partition("Protocol: ")[2].split()), "cpu_s": seconds, "rows": []}
    record["targets"] = {"nrmse": TARGET, "crmse": TARGET_DRIFT}
    print(record["protocol"])
    for name, forecast in simple(train_NTX1, test_NTX1).items():
        add(record, {"method": name, **scores(forecast, test_NTX1)})
    for seed in range(seeds):
        for name, run in RUNS.items():
            if seed < run.seeds:
                add(record, {"method": name, "seed": seed, **trained(run, train_NTX1, test_NTX1, seconds, seed)})


def add(record: dict, row: dict) -> None:
    """One more row: printed, and the record written."""
    record["rows"].append(row)
    print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    records.write(__file__, record)


def trajectories() -> tuple[Tensor, Tensor]:
    """Training and test trajectories, (N, T, X, 1)."""
    x = centres(CELLS)
    begin = time.process_time()
    states_NX = Waves(2022, range(TRAIN + TEST), x[-1] - x[0])(x)
    u_NTX = burgers.solve(states_NX, EPS, np.arange(FRAMES) * DT)[..., :: CELLS // POINTS]
    print(f"data: {time.process_time() - begin:.0f} CPU-s")
    u_NTX1 = torch.from_numpy(u_NTX).float()[..., None]
    return u_NTX1[:TRAIN], u_NTX1[TRAIN:]


def batch_of(state_BX1: Tensor, ahead_BTX1: Tensor) -> Batch:
    """A batch as the study's data sets make it."""
    count = len(state_BX1)
    physics = {"dx": 1 / POINTS, "dt": DT, "equation": number("burgers"), "boundary": 0}
    return {
        "input_XC": state_BX1,
        "target_TXC": ahead_BTX1,
        "coefficient_K": torch.from_numpy(vector("burgers", {"eps": EPS})).expand(count, -1),
        **{key: torch.full((count,), value) for key, value in physics.items()},
    }


def simple(train_NTX1: Tensor, test_NTX1: Tensor) -> dict[str, Tensor]:
    """Forecasts that need no network: persistence, the spatial mean, a linear step by ridge regression."""
    first_NX = test_NTX1[:, 0, :, 0]
    before, after = train_NTX1[:, :-1, :, 0].reshape(-1, POINTS), train_NTX1[:, 1:, :, 0].reshape(-1, POINTS)
    step_XX = torch.linalg.solve(before.T @ before + 1e-3 * len(before) * torch.eye(POINTS), before.T @ after)
    linear, state = [], first_NX
    for _ in range(FRAMES - 1):
        state = state @ step_XX
        linear.append(state)
    still = first_NX[:, None].expand(-1, FRAMES - 1, -1)
    guesses = {"persistence": still, "spatial mean": still.mean(2, keepdim=True).expand_as(still)}
    return {name: u[..., None] for name, u in (guesses | {"ridge": torch.stack(linear, 1)}).items()}


def trained(run: Run, train_NTX1: Tensor, test_NTX1: Tensor, seconds: float, seed: int) -> dict:
    """Train one network for `seconds` of CPU time, score its averaged weights."""
    torch.manual_seed(seed)
    network = run.make()
    steps, spent = train(network, run, train_NTX1, seconds)
    begin = time.process_time()
    with torch.inference_mode():
        forecast = roll(network.eval(), batch_of(test_NTX1[:, 0], test_NTX1[:, 1:]), FRAMES - 1)
    price = (time.process_time() - begin) / len(test_NTX1)
    facts = {"parameters": sum(p.numel() for p in network.parameters()), "steps": steps, "train_cpu_s": spent}
    return {**scores(forecast, test_NTX1), **facts, "ms_per_trajectory": 1e3 * price}


def train(network: nn.Module, run: Run, train_NTX1: Tensor, seconds: float) -> tuple[int, float]:
    """AdamW, warm-up and cosine over CPU time, averaged weights left in the network: steps and CPU-seconds taken."""
    average, frames = copy.deepcopy(dict(network.named_parameters())), torch.arange(FRAMES - 1)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, betas=(0.9, 0.99), weight_decay=DECAY)
    weight_T = (frames + 1.0) ** -run.early
    steps, begin = 0, time.process_time()
    while (done := (time.process_time() - begin) / seconds) < 1:
        cosine = 0.5 + 0.5 * math.cos(math.pi * max(0.0, done - WARM) / (1 - WARM))
        optimizer.param_groups[0]["lr"] = RATE * max(min(1.0, done / WARM) * cosine, 1e-3)
        which, frame = torch.randint(TRAIN, (BATCH,)), torch.multinomial(weight_T, BATCH, replacement=True)
        batch = batch_of(train_NTX1[which, frame], train_NTX1[which, frame + 1][:, None])
        loss = training_loss(network, varied(batch) if run.vary else batch).total
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        steps += 1
        keep = min(AVERAGE, (1 + steps) / (10 + steps))
        with torch.no_grad():
            for name, value in network.named_parameters():
                average[name].lerp_(value, 1 - keep)
    spent = time.process_time() - begin
    network.load_state_dict(average, strict=False)
    return steps, spent


def scores(forecast_NTX1: Tensor, test_NTX1: Tensor) -> dict[str, float]:
    """Errors of forecasts of frames 1..20."""
    truth = test_NTX1[:, 1:]
    per_frame_T = nrmse(forecast_NTX1, truth).mean(0)
    drift_NT = conserved(forecast_NTX1, truth)
    first_NT = conserved(forecast_NTX1, test_NTX1[:, :1].expand_as(truth))
    return {
        "nrmse": per_frame_T.mean().item(),
        "step_1": per_frame_T[0].item(),
        "step_20": per_frame_T[-1].item(),
        "space_time_l2": relative_l2(forecast_NTX1, truth).mean().item(),
        "vrmse": vrmse(forecast_NTX1, truth).mean().item(),
        "crmse": drift_NT.square().mean(0).sqrt().mean().item(),
        "drift_from_first": first_NT.square().mean(0).sqrt().mean().item(),
    }


if __name__ == "__main__":
    main()
