"""PDE Burgers, eps 0.01, at PDEBench's size, trained for the minutes that are left: how near to the best answers?

As the profile `phase1`: 1024 points, 201 frames of which every fifth is kept, its network, its rate, its precision.
The data are made here by our solver, on all CPUs. The batches are drawn on the card, so a step is all there is; the
schedule goes by the clock. Scored are averaged weights, by the nRMSE of 40 steps from the first frame alone.
"""

import math
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stepladder.core.profiles import load
from stepladder.core.schema import Parameters
from stepladder.core.study import find
from stepladder.core.types import Batch
from stepladder.machine import limits
from stepladder.studies.pde.data.equations import number, vector
from stepladder.studies.pde.data.solvers import burgers as solver
from stepladder.studies.pde.data.solvers.initial import Waves, centres
from stepladder.studies.pde.evaluation.metrics import nrmse
from stepladder.training.parallel import DistributedContext
from stepladder.training.step import TrainState, lone_train_state, train_step
from tests.gpu import place as p

EPS, POINTS, FRAMES, EVERY, LENGTH = 0.01, 1024, 201, 5, 2.0
TRAIN, TEST, BLOCK = 2000, 100, 25
TINY = {"model.width": 16, "points": 64, "train": 6, "test": 2, "seconds": 2.0}
MARKS = (0.0078, 0.0042)  # nRMSE to be compared with
ENOUGH = 120.0  # seconds of training from which the weaker mark should be reached
RESERVED = 12.0  # seconds kept for scoring
WARM, SEED = 0.05, 2022


def measure(place: p.Place) -> tuple[dict[str, Any], list[p.Check]]:
    """nRMSE of what could be learnt, with what it took."""
    begin = time.monotonic()
    u_NTX1 = trajectories(place).to(place.device)
    solved = time.monotonic() - begin
    params = profile(place)
    test = TEST if place.cuda else TINY["test"]
    train_NTX1, test_NTX1 = u_NTX1[:-test], u_NTX1[-test:]
    seconds = max(1.0, place.left - RESERVED) if place.cuda else TINY["seconds"]
    state, steps, broke = either(place, params, train_NTX1, seconds)
    error, still = scored(state, test_NTX1)
    figures = {
        "nrmse": error,
        "persistence": still,
        "marks": MARKS,
        "steps": steps,
        "precision": state.training.precision,
        "train_seconds": seconds,
        "solve_seconds": solved,
        "trajectories": len(train_NTX1),
        "samples_per_s": steps * params.training.batch / seconds,
        "parameters": sum(q.numel() for q in state.model.parameters()),
    }
    marks = f"against {MARKS[0]} and {MARKS[1]}, persistence {still:.2f}"
    said = f"{error:.4f} after {steps} steps in {seconds:.0f} s; {marks}"
    checks = [
        p.Check("finite", math.isfinite(error), said),
        p.Check("the profile's precision", not broke, broke or "held"),
    ]
    if place.cuda:  # in a second on the CPU nothing is learnt
        checks.append(p.Check("better than persistence", error < still, said))
        checks.append(p.Check("below the weaker mark", error < MARKS[0] or seconds < ENOUGH, said))
    return figures, checks


def profile(place: p.Place) -> Parameters:
    """The parameters of `phase1`; without a card in its smallest form."""
    small = (
        {}
        if place.cuda
        else {"model": {"width": 16, "channels": 16, "modes": 8, "levels": 1}, "training": {"batch": 2}}
    )
    return load(p.ROOT, "pde", "phase1", small)


def trajectories(place: p.Place) -> Tensor:
    """Training and test trajectories, (N, T, X, 1); kept for the next time."""
    points = POINTS if place.cuda else TINY["points"]
    count = TRAIN + TEST if place.cuda else TINY["train"] + TINY["test"]
    path = place.folder / f"u_{count}_{points}.npy"
    if not path.exists():
        x = centres(points)
        states_NX = Waves(SEED, range(count), x[-1] - x[0])(x)
        blocks = [states_NX[first : first + BLOCK] for first in range(0, count, BLOCK)]
        if len(blocks) == 1:
            made = [solve(blocks[0])]
        else:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(max(1, math.floor(limits.cpus())), context) as pool:
                made = list(pool.map(solve, blocks))
        np.save(path.with_suffix(".part.npy"), np.concatenate(made))
        path.with_suffix(".part.npy").rename(path)
    return torch.from_numpy(np.load(path))[..., None]


def solve(states_NX: np.ndarray) -> np.ndarray:
    """Some trajectories, thinned in time, float32."""
    return solver.solve(states_NX, EPS, np.linspace(0, LENGTH, FRAMES))[:, ::EVERY].astype(np.float32)


def batch_of(state_BX1: Tensor, ahead_BTX1: Tensor) -> Batch:
    """A batch as the study's data sets make it."""
    count, points, device = len(state_BX1), state_BX1.shape[1], state_BX1.device
    physics = {"dx": 1 / points, "dt": LENGTH / (FRAMES - 1) * EVERY, "equation": number("burgers"), "boundary": 0}
    coefficient = torch.from_numpy(vector("burgers", {"eps": EPS})).to(device)
    return {
        "input_XC": state_BX1,
        "target_TXC": ahead_BTX1,
        "coefficient_K": coefficient.expand(count, -1),
        **{key: torch.full((count,), value, device=device) for key, value in physics.items()},
    }


def either(place: p.Place, params: Parameters, u_NTX1: Tensor, seconds: float) -> tuple[TrainState, int, str]:
    """Trained in the profile's precision, or in float32 where that breaks; with what broke."""
    try:
        return *trained(place, params, u_NTX1, seconds), ""
    except RuntimeError as error:
        plain = params.model_copy(update={"training": params.training.model_copy(update={"precision": "float32"})})
        left = min(seconds, place.left - RESERVED) if place.cuda else seconds
        return *trained(place, plain, u_NTX1, left), f"{params.training.precision}: {str(error)[:300]}"


def trained(place: p.Place, params: Parameters, u_NTX1: Tensor, seconds: float) -> tuple[TrainState, int]:
    """The training's own step on random windows, warm-up and cosine over the clock; its state, and how many steps."""
    study, device = find("pde"), torch.device(place.device)
    torch.manual_seed(params.seed)
    phase, training = study.phases(params)[0], params.training
    model = study.model(params).to(device).train()
    state = lone_train_state(study, model, phase, training, params.seed, DistributedContext(device=device))
    frames = u_NTX1.shape[1] - 1
    weight_T = 1 / (1.0 + torch.arange(frames, device=device))  # early frames are the hardest and come most often
    dice = torch.Generator(device).manual_seed(SEED)  # of its own: a step seeds torch's
    steps, begin = 0, time.monotonic()
    while (done := (time.monotonic() - begin) / seconds) < 1:
        cosine = 0.5 + 0.5 * math.cos(math.pi * max(0.0, done - WARM) / (1 - WARM))
        for group in state.optimizer.param_groups:
            group["lr"] = training.learning_rate * max(min(1.0, done / WARM) * cosine, 1e-3)
        which = torch.randint(len(u_NTX1), (training.batch,), device=device, generator=dice)
        frame = torch.multinomial(weight_T, training.batch, replacement=True, generator=dice)
        train_step(state, steps, [batch_of(u_NTX1[which, frame], u_NTX1[which, frame + 1][:, None])])
        steps += 1
        if steps % 20 == 0 and place.cuda:
            torch.cuda.synchronize()  # or the clock would run ahead of the card
    if state.ema:
        state.ema.settle()
    return state, steps


def scored(state: TrainState, test_NTX1: Tensor) -> tuple[float, float]:
    """nRMSE of the rollout from the first frame, and of a state that stands still."""
    truth = test_NTX1[:, 1:]
    with torch.inference_mode():
        predicted = find("pde").predict(state.model.eval(), batch_of(test_NTX1[:, 0], truth))
    [forecast] = predicted.values()
    still = test_NTX1[:, :1].expand_as(truth)
    return float(nrmse(forecast.float(), truth).mean()), float(nrmse(still, truth).mean())
