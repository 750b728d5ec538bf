"""What batch-size finders choose on the sleep-emulated jobs, beside the ladder, and what running out of memory did.

Run `STEPLADDER_PEERS=<folder> python tests/benchmarks/bench_peers.py` after `pip install --no-deps --target <folder>
lightning lightning-utilities torchmetrics accelerate safetensors huggingface-hub`; peers that are absent
keep the rows of their last run, marked `earlier`.
On every job a step of more than 24 samples raises torch's out-of-memory error, which the peers recognise. They run
with their defaults: Lightning's `power` mode doubles from 2, three steps each; accelerate starts at 128 and takes nine
tenths on every failure, three steps here. Neither chooses workers, so the loader has none. The record is
tests/benchmarks/records/peers.json.
"""

import contextlib
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ladder"))
sys.path.append(os.environ.get("STEPLADDER_PEERS", ""))

import emulated
import torch
from emulated import JOBS, WORKERS
from torch.utils.data import DataLoader

from stepladder.core.schema import LadderParams, TrainingParams
from stepladder.dev import records
from stepladder.ladder.measure.measurer import ProcessMeasurer
from stepladder.ladder.search import find_setting
from stepladder.training.setting import Setting
from stepladder.training.step import Clock

EDGE, SAMPLES, STEPS = 24, 4096, 3
BATCHES = [1, 2, 4, 8, 16, 32]
Found = tuple[Setting, int]  # what was chosen, and how often memory ran out


def main() -> None:
    """Measure, print, record."""
    earlier = {(row["job"], row["tool"]): row for row in records.last(__file__).get("rows", [])}
    rows = []
    for name in JOBS:
        for tool, find in {"stepladder": ladder, "lightning": lightning, "accelerate": accelerate}.items():
            row = measure(name, tool, find)
            rows.append({**earlier.get((name, tool), row), "earlier": True} if "skipped" in row else row)
            print(rows[-1], flush=True)
    records.write(__file__, {"edge": EDGE, "rows": rows})


def measure(name: str, tool: str, find: Callable[[str], Found]) -> dict[str, Any]:
    """One tool on one job; the rate of its choice is measured as all others are, in a trial of its own."""
    begin = time.perf_counter()
    try:
        setting, ooms = find(name)
    except ImportError as error:
        return {"job": name, "tool": tool, "skipped": f"not installed: {error.name}"}
    seconds = time.perf_counter() - begin
    with measurer(name) as trials:
        trial = trials.full(setting, 12)
    return {
        "job": name,
        "tool": tool,
        "chosen": str(setting),
        "samples_per_s": trial.probe.rate if trial.probe else None,
        "seconds": seconds,
        "out_of_memory": ooms,
    }


@contextlib.contextmanager
def measurer(name: str) -> Any:
    """Trials of the job in child processes."""
    with tempfile.TemporaryDirectory() as folder:
        trials = ProcessMeasurer("emulated:job", {"name": name, "largest": EDGE}, Path(folder), 60.0, 4e9)
        yield trials
        trials.close()


def ladder(name: str) -> Found:
    """Ours, over workers and batch; memory runs out in children, and only where nothing can forecast it, as here."""
    parameters = LadderParams(workers=WORKERS, batch=BATCHES, keep_global_batch=False, soak=0)
    with measurer(name) as trials:
        found = find_setting(trials, parameters, TrainingParams(steps=1000), cores=64.0)
    endings = [trial.ending for trial in (*found.steps, *(candidate.trial for candidate in found.rungs))]
    return found.chosen, endings.count("oom")


class Watched:
    """The job's loader and step in this process, as the peers call them; counts how often memory ran out."""

    def __init__(self, name: str):
        self.job, self.ooms = emulated.job(name, EDGE), 0
        self.stepper, self.clock = self.job.stepper(Setting()), Clock(self.job.device)

    def loader(self, batch: int) -> DataLoader:
        """Without workers: the default, and neither tool changes it."""
        return DataLoader(self.job.samples(), sampler=range(SAMPLES), batch_size=batch)

    def step(self, batch: torch.Tensor) -> None:
        """One step."""
        try:
            self.stepper(0, batch, self.clock)
        except torch.OutOfMemoryError:
            self.ooms += 1
            raise


def lightning(name: str) -> Found:
    """`Tuner.scale_batch_size` in its default mode."""
    import lightning as pl

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    watched = Watched(name)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.batch_size, self.weight = 2, torch.nn.Parameter(torch.ones(1))

        def train_dataloader(self) -> DataLoader:
            return watched.loader(self.batch_size)

        def training_step(self, batch: torch.Tensor, number: int) -> torch.Tensor:
            watched.step(batch)
            return (self.weight * batch).mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    with tempfile.TemporaryDirectory() as folder:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = pl.Trainer(accelerator="cpu", max_epochs=1, default_root_dir=folder, **quiet)
        batch = pl.pytorch.tuner.tuning.Tuner(trainer).scale_batch_size(Module())
    return Setting(0, batch), watched.ooms


def accelerate(name: str) -> Found:
    """`find_executable_batch_size` around three steps."""
    from accelerate.utils import find_executable_batch_size

    watched = Watched(name)

    @find_executable_batch_size
    def train(batch_size: int) -> int:
        source = iter(watched.loader(batch_size))
        for _ in range(STEPS):
            watched.step(next(source))
        return batch_size

    return Setting(0, train()), watched.ooms


if __name__ == "__main__":
    main()
