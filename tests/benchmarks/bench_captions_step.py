"""A training step on cached features against one that runs the frozen towers, and what a checkpoint weighs.

Run `python tests/benchmarks/bench_captions_step.py [REPEATS]`: the model of the profile quick, its phase `projection`,
one thread. Three ways of the same step on the same pictures: features from the shards; the vision tower and the world
tower run on the pixels of the batch in every step; the vision tower released, so that it learns too. The first two have
equal losses within the rounding of float16.

The record is tests/benchmarks/records/captions_step.json.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from stepladder.core import profiles
from stepladder.core.study import find
from stepladder.data import convert, shards
from stepladder.dev import records
from stepladder.studies.captions.data.dataset import Pairs
from stepladder.studies.captions.data.readers import find as reading
from stepladder.studies.captions.data.synthesis import corpus
from stepladder.studies.captions.models.towers import own
from stepladder.studies.captions.models.towers.tower import towers
from stepladder.studies.captions.params import CaptionsParams
from stepladder.training import checkpoint
from stepladder.training.step import lone_train_state, train_step

ROOT = Path(__file__).resolve().parents[2]
BATCH = 8
PLANNED_MB = 153  # of a checkpoint of the plan, without optimizer state


def main() -> None:
    """Convert moving scenes, time the ways, record."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    torch.set_num_threads(1)
    params = profiles.load(ROOT, "captions", "quick")
    with TemporaryDirectory() as folder:
        rows, sizes = measured(params, Path(folder), repeats)
    ratio = rows["towers in the step"]["cpu_ms"] / rows["cached"]["cpu_ms"]
    told = {"rows": rows, "ratio": ratio, "checkpoint_mb": sizes, "planned_mb": PLANNED_MB}
    records.write(__file__, told)
    print(told)


def measured(params: CaptionsParams, folder: Path, repeats: int) -> tuple[dict[str, Any], dict[str, float]]:
    """CPU-milliseconds of each way, its first loss, and the size of a checkpoint."""
    made = params.model_copy(update={"data": params.data.model_copy(update={"moving": 40})})
    corpus.synthesize(folder / "raw", 40, 0, made)
    weights = own.weights(folder)
    assets = [asset for asset in reading.assets([folder], made) if asset.group == "moving"]
    report = convert.convert(assets, params, folder / "shards", convert.Inline())
    paths = [path for _, path in convert.converted(report, folder / "shards")]
    cached = timed(params, paths, repeats)
    pixels = np.concatenate([shards.Shard(path).array("pixels_NYXC") for path in paths])[:BATCH]
    running = towers(params.conversion, [weights])
    small = np.stack([_small(picture, running.world.side) for picture in pixels])[:, None]
    begin = time.process_time()
    for _ in range(repeats):
        running.vision(pixels)
        running.world(small)
    apart = 1000 * (time.process_time() - begin) / repeats
    released = params.model_copy(update={"model": params.model.model_copy(update={"vision": "released"})})
    rows = {
        "cached": {"cpu_ms": cached["cpu_ms"], "loss": cached["loss"]},
        "towers in the step": {"cpu_ms": cached["cpu_ms"] + apart, "towers_ms": apart},
        "vision tower released": timed(released, paths, max(2, repeats // 4)),
    }
    return rows, cached["sizes"]


def timed(params: CaptionsParams, paths: list[Path], repeats: int) -> dict[str, Any]:
    """CPU-milliseconds of a step of the last phase, after one that warms up."""
    study = find("captions")
    torch.manual_seed(0)
    model, phase = study.model(params), study.phases(params)[-1]
    data = Pairs(paths, params)
    picked = [[(step * BATCH + row) % len(data) for row in range(BATCH)] for step in range(4)]
    batches = [default_collate([data.sample(index, None) for index in rows]) for rows in picked]
    state = lone_train_state(study, model, phase, params.training, 0)
    loss = float(train_step(state, 0, [batches[0]]).loss)
    begin = time.process_time()
    for step in range(1, repeats + 1):
        train_step(state, step, [batches[step % len(batches)]])
    spent = 1000 * (time.process_time() - begin) / repeats
    return {"cpu_ms": spent, "loss": loss, "sizes": sizes(model, state)}


def sizes(model: torch.nn.Module, state: Any) -> dict[str, float]:
    """Megabytes of a checkpoint's parts."""
    whole = checkpoint.state_of(model, state)
    weights = sum(value.nbytes for value in whole["model"].values())
    moments = sum(v.nbytes for one in whole["optimizer"]["state"].values() for v in one.values())
    return {"weights": weights / 1e6, "optimizer": moments / 1e6}


def _small(picture_YXC: np.ndarray, side: int) -> np.ndarray:
    from stepladder.studies.captions.data.features import square

    return square(picture_YXC, side)


if __name__ == "__main__":
    main()
