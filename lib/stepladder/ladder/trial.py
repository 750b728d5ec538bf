"""One rung in its own process: the real loader and the real training step, measured three ways.

Decisions:
- *full*: loader and step together. Throughput is samples over the total time of whole worker rounds, after the first
  two rounds: with k workers batches arrive in bursts of k, so a median step time would be up to k times too fast.
- *cached*: the step alone, on batches already in memory. *loader*: the loader alone. Their rates say which of the two
  limits the rung, and how far the other one is from limiting.
- Everything is written as JSON at the end; a child that dies writes nothing, and the runner says why.
"""

import json
import math
import os
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stepladder import files, params
from stepladder.ladder import limits
from stepladder.run import Run
from stepladder.sampling import Drawn, Order, StepBatches, loader
from stepladder.study import find
from stepladder.training.parallel import Ranks
from stepladder.training.step import Clock, Learner, lone_learner, to_device, train_step
from stepladder.training.worker import datasets

LEAST_ROUNDS = 3


def main(path: Path) -> None:
    """Run the trial described by the JSON file `path` and write its result beside it."""
    trial = json.loads(path.read_text())
    run = Run(Path(trial["run"]))
    checked = params.check(find(run.study).Params, params.read_yaml(run.folder / "params.yaml"))
    setting = {"batch": trial["batch"], "workers": trial["workers"], "accumulate": 1}
    checked = params.check(type(checked), params.merge(checked.model_dump(), {"training": setting}))
    if checked.training.threads:
        torch.set_num_threads(checked.training.threads)
    files.write_json(path.with_suffix(".result.json"), measure(run, checked, trial["steps"]))


def measure(run: Run, checked: params.Parameters, steps: int) -> dict[str, Any]:
    """Rates in samples per second, seconds by phase, and memory of one setting."""
    study, training = find(checked.study), checked.training
    ranks = Ranks(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    torch.manual_seed(checked.seed)
    model = study.model(checked).to(ranks.device)
    learner = lone_learner(study, model, study.stages(checked)[0], training, checked.seed, ranks)
    train, _ = datasets(run, study, checked)
    rounds = max(1, training.workers)
    warm, timed = 2 * rounds, max(LEAST_ROUNDS, math.ceil(steps / rounds)) * rounds
    drawn, order = Drawn(train, checked.seed), Order(train.groups, train.weights, checked.seed)
    batches = StepBatches(order, training.batch, 0, 2 * (warm + timed))
    source = iter(loader(drawn, batches, training.workers, training.prefetch))
    full, kept = _full(learner, source, warm, timed, rounds)
    return {
        **full,
        "loader_rate": _loader(source, warm, timed, training.batch),
        "cached_rate": _cached(learner, kept, timed, training.batch),
        "sample_bytes": sum(v.nbytes for v in kept[0].values() if isinstance(v, torch.Tensor)) / training.batch,
        "device_bytes": torch.cuda.max_memory_allocated() if ranks.device.type == "cuda" else 0,
    }


def _full(learner: Learner, source: Any, warm: int, timed: int, rounds: int) -> tuple[dict[str, Any], list]:
    """Loader and step together; also the first batches, kept for the cached probe."""
    clock, kept, ends, losses, memory = Clock(learner.ranks.device), [], [], [], []
    for step, batch in enumerate(islice(source, warm + timed)):
        if step == warm:
            clock.seconds.clear()
            begin = time.perf_counter()
        result = train_step(learner, step, [batch], clock)
        losses.append(float(result.loss))
        kept = [*kept, batch][:4]
        ends.append(time.perf_counter())
        if step >= warm and step % rounds == 0:
            memory.append(limits.proportional_memory(os.getpid()))
    per_round = np.diff([begin, *ends[warm:]][::rounds])
    mean, spread = per_round.mean(), per_round.std(ddof=1) / math.sqrt(len(per_round))
    samples = learner.training.batch * rounds
    total = sum(clock.seconds.values())
    full = {
        "rate": samples / mean,
        "rate_half_width": samples / mean * min(1.0, 1.96 * spread / mean),
        "busy": 1 - clock.seconds["load"] / total,
        "phases": {phase: seconds / timed for phase, seconds in clock.seconds.items()},
        "losses": [losses[0], losses[-1]],
        "growth_bytes_per_step": growth(memory) / rounds,
        "steps": timed,
    }
    return full, kept


def growth(memory: list[int]) -> float:
    """Bytes by which memory surely grows from one measurement to the next: the slope less twice its standard error."""
    count = len(memory)
    if count < LEAST_ROUNDS:
        return 0.0
    x = np.arange(count) - (count - 1) / 2
    slope = x @ memory / (x @ x)
    rest = np.asarray(memory) - np.mean(memory) - slope * x
    error = math.sqrt(rest @ rest / (count - 2) / (x @ x))
    return max(0.0, float(slope - 2 * error))


def _loader(source: Any, warm: int, timed: int, batch: int) -> float:
    """The loader alone, in samples per second; the batches it had prepared meanwhile are passed over first."""
    for _ in islice(source, warm):
        pass
    begin = time.perf_counter()
    count = sum(1 for _ in islice(source, timed))
    return count * batch / (time.perf_counter() - begin)


def _cached(learner: Learner, kept: list, timed: int, batch: int) -> float:
    """The step alone, on batches already on the device, in samples per second."""
    held = [to_device(item, learner.ranks.device) for item in kept]
    begin = time.perf_counter()
    for step in range(timed):
        float(train_step(learner, step, [held[step % len(held)]]).loss)
    return timed * batch / (time.perf_counter() - begin)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
