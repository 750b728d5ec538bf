"""What the training loop costs per step over a bare torch loop: tiny MLP, logging on, no loader processes.

Both loops do the same arithmetic (forward, backward, clipping, the same AdamW) on the same samples through the same
`DataLoader`; the bare one has no logging, no schedule, no resume, no seeds. CPU time of this process is read once per
step, inside the loss. Rounds of both loops alternate; each is cut into chunks of 32 steps, and the tenth percentile of
the chunks' means is compared: other processes on the machine only ever add (caches, clock), and not evenly.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from stepladder import files, shards
from stepladder.params import Parameters, TrainingParams
from stepladder.run import Run
from stepladder.study import Check, Loss, ShardContent, TrainingStage
from stepladder.training.loop import Training
from stepladder.training.optimize import make_optimizer

RECORD = Path(__file__).parent / "records" / "loop.json"
STEPS, ROUNDS, CHUNK, BATCH, FEATURES = 640, 12, 32, 4, 16
TARGET_US = 100.0


class Memory:
    """Samples that lie in memory."""

    def __init__(self, count: int):
        rng = np.random.default_rng(0)
        self.x_NC = rng.normal(size=(count, FEATURES)).astype(np.float32)
        self.groups = np.array(["a"] * count)
        self.units = np.arange(count).astype(str)
        self.weights: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self.groups)

    def sample(self, index, rng):
        return {"x_C": self.x_NC[index], "y": self.x_NC[index, :1]}

    def __getitem__(self, index):
        return self.sample(index, None)


class Tiny:
    """The parts of a study that a loop needs."""

    name, conversion_code = "plateau", ()

    def __init__(self):
        self.clock: list[float] = []

    def model(self, params):
        return nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, 1))

    def stages(self, params):
        return [TrainingStage("all", params.training.steps)]

    def admit(self, stage, model, batch):
        return Check("ready", True, "")

    def loss(self, model, batch, stage):
        self.clock.append(time.process_time())
        error = model(batch["x_C"]) - batch["y"]
        return Loss((error**2).mean(), {"absolute": error.abs().mean()})


def bare() -> list[float]:
    """CPU time at every step of a loop as a person writes it."""
    study, data = Tiny(), Memory(STEPS * BATCH)
    torch.manual_seed(0)
    model = study.model(None)
    optimizer = make_optimizer(model, TrainingParams())
    for batch in DataLoader(data, batch_size=BATCH, shuffle=True):
        loss = study.loss(model, batch, None)
        loss.total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return study.clock


def ours() -> list[float]:
    """CPU time at every step of `Training`, with one line of metrics per step."""
    training = {"steps": STEPS, "batch": BATCH, "checkpoint_every": 10**9, "validate_every": 10**9}
    params, study = Parameters(study="plateau", training=training), Tiny()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "plateau" / "bench")
        shards.write(run.data / "a.h5", ShardContent({}), recipe="")
        result = {"shards": {"a": "_data/a.h5"}, "splits": {"train": ["a"]}}
        files.write_json(run.stage_folder("02_conversion") / "result.json", result)
        Training(run, study, params, params.training, (Memory(STEPS * BATCH), Memory(0))).fit()
        assert len(run.metrics()) == STEPS
    return study.clock


def typical(clocks: list[list[float]]) -> float:
    """Microseconds per step: the tenth percentile of the means over chunks of steps."""
    chunks = [clock[i + CHUNK] - clock[i] for clock in clocks for i in range(0, len(clock) - CHUNK, CHUNK)]
    return float(np.percentile(chunks, 10)) / CHUNK * 1e6


def main() -> None:
    """Measure, print, record."""
    torch.set_num_threads(1)
    bare(), ours()
    rounds = [(bare(), ours()) for _ in range(ROUNDS)]
    plain, full = (typical(clocks) for clocks in zip(*rounds, strict=True))
    overhead = full - plain
    print(f"bare loop {plain:.0f} us/step, ours {full:.0f}, overhead {overhead:.0f} us CPU (target {TARGET_US:.0f})")
    record = {"bare_us": plain, "ours_us": full, "overhead_us": overhead, "target_us": TARGET_US}
    files.write_json(RECORD, {**record, "steps": STEPS, "batch": BATCH, "torch": torch.__version__})


if __name__ == "__main__":
    main()
