"""What the training loop costs per step over a bare torch loop: tiny MLP, logging on, no loader processes.

Both loops do the same arithmetic (forward, backward, clipping, the same AdamW) on the same samples through the same
`DataLoader`; the bare one has no logging, no schedule, no resume, no seeds. The speed of a shared machine changes from
second to second, so the two loops take turns, 32 steps each, in two threads of which one waits; the CPU times of
neighbouring turns are subtracted, and the median of the differences is the overhead. The difference of the 5th
percentiles tells the overhead at the machine's full speed.
"""

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from stepladder.core import files
from stepladder.core.run import Run
from stepladder.core.schema import Parameters, TrainingParams
from stepladder.core.types import Check, Loss, ShardContent, TrainingPhase
from stepladder.data import shards
from stepladder.dev import records
from stepladder.training.loop import Training
from stepladder.training.optimize import make_optimizer

STEPS, TURN, BATCH, FEATURES = 6400, 32, 4, 16
WARM = 5  # turns left out at the start
TARGET_US = 100.0


class Memory:
    """Samples that lie in memory."""

    def __init__(self, count: int):
        rng = np.random.default_rng(0)
        self.x_NC = rng.normal(size=(count, FEATURES)).astype(np.float32)
        self.groups = np.array(["a"] * count)
        self.clusters = np.arange(count).astype(str)
        self.weights: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self.groups)

    def sample(self, index, rng):
        return {"x_C": self.x_NC[index], "y": self.x_NC[index, :1]}

    def __getitem__(self, index):
        return self.sample(index, None)


class Tiny:
    """The parts of a study that a loop needs."""

    name = "plateau"

    def __init__(self, turn: Callable[[], None]):
        self.turn = turn

    def model(self, params):
        return nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, 1))

    def phases(self, params):
        return [TrainingPhase("all", params.training.steps)]

    def can_start(self, stage, model, batch):
        return Check("ready", True, "")

    def loss(self, model, batch, stage):
        self.turn()
        error = model(batch["x_C"]) - batch["y"]
        return Loss((error**2).mean(), {"absolute": error.abs().mean()})


class Player:
    """One of two loops that take turns; knows the CPU seconds of each of its turns."""

    def __init__(self, loop: Callable[[Tiny], None]):
        self.turns: list[float] = []
        self.other: Player | None = None
        self._mine, self._steps, self._begin = threading.Semaphore(0), 0, 0.0
        self.thread = threading.Thread(target=self._play, args=(loop,))

    def go(self) -> None:
        """Let it play until its turn ends."""
        self._mine.release()

    def _play(self, loop: Callable[[Tiny], None]) -> None:
        self._mine.acquire()
        self._begin = time.thread_time()
        loop(Tiny(self._step))
        self.other.go()

    def _step(self) -> None:
        self._steps += 1
        if self._steps % TURN == 0:
            self.turns.append(time.thread_time() - self._begin)
            self.other.go()
            self._mine.acquire()
            self._begin = time.thread_time()


def bare(study: Tiny) -> None:
    """A loop as a person writes it."""
    data = Memory(STEPS * BATCH)
    model = study.model(None)
    optimizer = make_optimizer(model, TrainingParams())
    for batch in DataLoader(data, batch_size=BATCH, shuffle=True):
        loss = study.loss(model, batch, None)
        loss.total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def ours(study: Tiny) -> None:
    """`Training`, with one line of metrics per step."""
    training = {"steps": STEPS, "batch": BATCH, "checkpoint_every": 10**9, "validate_every": 10**9}
    params = Parameters(study="plateau", training=training)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "plateau" / "bench")
        shards.write(run.data / "a.h5", ShardContent({}), recipe="")
        result = {"shards": {"a": "_data/a.h5"}, "splits": {"train": ["a"]}}
        files.write_json(run.stage_folder("02_conversion") / "result.json", result)
        Training(run, study, params, params.training, (Memory(STEPS * BATCH), Memory(0), Memory(0))).fit()
        assert len(run.metrics()) == STEPS


def main() -> None:
    """Measure, print, record."""
    torch.set_num_threads(1)
    players = Player(bare), Player(ours)
    for player, other in zip(players, reversed(players), strict=True):
        player.other = other
        player.thread.start()
    players[0].go()
    for player in players:
        player.thread.join()
    plain, full = (np.array(player.turns[WARM:]) / TURN * 1e6 for player in players)
    quartiles = np.percentile(full - plain, [25, 50, 75])
    record = {
        "overhead_us": quartiles[1],
        "quartiles_us": quartiles,
        "overhead_at_full_speed_us": np.percentile(full, 5) - np.percentile(plain, 5),
        "bare_at_full_speed_us": np.percentile(plain, 5),
        "bare_us": np.median(plain),
        "ours_us": np.median(full),
        "target_us": TARGET_US,
        "steps": STEPS,
        "batch": BATCH,
        "torch": torch.__version__,
    }
    records.write(__file__, record)
    low, overhead, high = quartiles
    print(f"bare loop {np.median(plain):.0f} us/step, ours {np.median(full):.0f} us/step (CPU)")
    print(f"overhead {overhead:.0f} us (quartiles {low:.0f} to {high:.0f}), target {TARGET_US:.0f}")
    print(f"at full speed (5th percentiles) {record['overhead_at_full_speed_us']:.0f} us")


if __name__ == "__main__":
    main()
