"""The search on three real jobs of two CPUs, against the exhaustive grid of workers {0, 1, 2} x batch {1, 2, 4, 8}.

- loader-bound: every sample is the distance transform of a 96^3 mask, the step is slept (0.02 + 0.03 s a sample);
- compute-bound: samples lie ready, a small 3-D network runs on the CPU;
- mixed: the distance transform and the network, which share the two CPUs.

Search and grid run in the same minutes, every trial in a process of its own. A cell of the grid is tried for as long as
the search tries one that is not clear at once (12 steps and 48 samples at least), so that both could tell 5 % apart.
Chosen and best are read from the same grid; noise is how far the chosen setting's rate in the search lies from that of
its cell. `python bench_real.py JOB` measures one job anew. The record is tests/benchmarks/records/real.json.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ladder"))

import numpy as np
import torch
from reference_workloads import Workload
from scipy import ndimage
from torch import nn
from torch.utils.data import Dataset

from stepladder.core import files
from stepladder.core.schema import LadderParams, TrainingParams
from stepladder.dev import records
from stepladder.ladder.measure.measurer import ProcessMeasurer
from stepladder.ladder.search import find_setting
from stepladder.machine import limits
from stepladder.training.setting import Setting

WORKERS, BATCHES, GRID_STEPS, GRID_SAMPLES = [0, 1, 2], [1, 2, 4, 8], 12, 48
LADDER = LadderParams(workers=WORKERS, batch=BATCHES, keep_global_batch=False, soak=0)
JOBS = {"loader-bound": (True, False), "compute-bound": (False, True), "mixed": (True, True)}
SIDE, PATCH = 96, 48


class Masks(Dataset):
    """Masks of balls; with `transform` their distance transform is computed for every sample."""

    def __init__(self, transform: bool):
        self.transform = transform

    def __getitem__(self, key: int) -> dict[str, np.ndarray]:
        z, y, x = np.ogrid[:SIDE, :SIDE, :SIDE]
        mask = (z - 40 - key % 8) ** 2 + (y - 48) ** 2 + (x - 48) ** 2 > 30**2
        field = ndimage.distance_transform_edt(mask) if self.transform else mask
        return {"image_ZYX": field[:PATCH, :PATCH, :PATCH].astype(np.float32)}


def job(name: str) -> Workload:
    """The job called `name`."""
    transform, computes = JOBS[name]

    def network() -> nn.Module:
        layers = [nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 8, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers, nn.Conv3d(8, 1, 1)) if computes else nn.Linear(PATCH, 1)

    def loss(model: nn.Module, batch: dict[str, torch.Tensor], number: int) -> torch.Tensor:
        image = batch["image_ZYX"]
        if computes:
            return model(image[:, None]).square().mean()
        time.sleep(0.02 + 0.03 * len(image))
        return model(image).square().mean()

    return Workload(Masks(transform), 512, network, loss)


def measure(name: str) -> dict[str, Any]:
    """One job: what was chosen, its share of the best cell, and what finding it cost beside the grid."""
    with tempfile.TemporaryDirectory() as folder:
        measurer = ProcessMeasurer("bench_real:job", {"name": name}, Path(folder), 120.0, 8e9)
        found = find_setting(measurer, LADDER, TrainingParams(steps=1000), cores=limits.cpus())
        grid = {
            setting: measurer.full(setting, max(GRID_STEPS, GRID_SAMPLES // setting.batch), whole=True)
            for setting in (Setting(workers, batch) for workers in WORKERS for batch in BATCHES)
        }
        measurer.close()
    rates = {setting: trial.probe.rate for setting, trial in grid.items() if trial.probe}
    best = max(rates, key=rates.get)
    own = next(
        candidate.rate for candidate in reversed(found.rungs) if candidate.setting == found.chosen and candidate.rate
    )
    return {
        "job": name,
        "chosen": str(found.chosen),
        "best": str(best),
        "share_of_best": rates[found.chosen] / rates[best],
        "noise": abs(own / rates[found.chosen] - 1),
        "cost": found.seconds / sum(trial.seconds for trial in grid.values()),
        "grid": {str(setting): rate for setting, rate in rates.items()},
        "contended": max(trial.probe.contended for trial in grid.values() if trial.probe),
    }


def main() -> None:
    """Measure, print, record."""
    record = Path(__file__).with_name("records") / "real.json"
    rows = {row["job"]: row for row in (files.read_json(record) or {"jobs": []})["jobs"]}
    for name in sys.argv[1:] or JOBS:
        rows[name] = measure(name)
        print(rows[name], flush=True)
        records.write(
            __file__, record, {"grid_steps": GRID_STEPS, "grid_samples": GRID_SAMPLES, "jobs": list(rows.values())}
        )


if __name__ == "__main__":
    main()
