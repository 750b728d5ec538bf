"""Random 64^3 patches of bytes from a shard of 512^3 voxels, beside a raw .npy map and HDF5 slicing of the same data.

Run `python tests/benchmarks/bench_patches.py`. All stores hold the same noise in a temporary folder and lie in the page
cache; every round reads the same places from each store in turn. A patch counts when it has been copied into memory of
its own. As many bytes in one piece show what the machine gives at all at the time. The record is
tests/benchmarks/records/patches.json.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import h5py
import numpy as np

from stepladder.core.types import ShardContent
from stepladder.data import shards
from stepladder.data.shards import Shard
from stepladder.dev import records

ROOT = Path(__file__).resolve().parents[2]
SIDE, PATCH, ROUNDS, COUNT = 512, 64, 7, 1500
TARGET, SHARE = 5000.0, 0.9  # patches per CPU-second; of the rate of a raw map


def main() -> None:
    """Measure, print, record."""
    with tempfile.TemporaryDirectory() as folder:
        stores = written(Path(folder))
        rates = {name: [] for name in stores}
        for round_ in range(ROUNDS + 1):
            places = np.random.default_rng(round_).integers(0, SIDE - PATCH + 1, (COUNT, 3)).tolist()
            for name, store in stores.items():
                rate = patches_per_cpu_s(store, places if name != "HDF5 slicing" else places[: COUNT // 5])
                if round_:  # the first round maps the pages
                    rates[name].append(rate)
    middle = {name: median(values) for name, values in rates.items()}
    for name, rate in middle.items():
        print(f"{name:>14}: {rate:,.0f} patches per CPU-s")
    pairs = [one / two for one, two in zip(rates["shard"], rates["raw .npy map"], strict=True)]
    share = median(pairs)
    print(f"shard over raw map: {share:.2f} (target {SHARE}); target {TARGET:,.0f} per CPU-s")
    record = {
        "side": SIDE,
        "patch": PATCH,
        "patches_per_cpu_s": middle,
        "rounds": rates,
        "shard_over_raw": share,
        "targets": {"patches_per_cpu_s": TARGET, "shard_over_raw": SHARE},
    }
    records.write(__file__, record)


def written(folder: Path) -> dict[str, Callable[[tuple[slice, ...]], np.ndarray]]:
    """The same voxels in every store: name -> how a box of it becomes an array of its own."""
    image_ZYX = np.random.default_rng(0).integers(0, 256, (SIDE,) * 3, dtype=np.uint8)
    np.save(folder / "raw.npy", image_ZYX)
    shards.write(folder / "volume.h5", ShardContent({"image_ZYX": image_ZYX}), "recipe")
    raw_ZYX, shard = np.load(folder / "raw.npy", mmap_mode="r"), Shard(folder / "volume.h5")
    flat = raw_ZYX.reshape(-1)
    file = h5py.File(folder / "volume.h5", "r")
    return {
        "raw .npy map": lambda box: np.array(raw_ZYX[box]),
        "shard": lambda box: np.array(shard.array("image_ZYX")[box]),
        "HDF5 slicing": lambda box: file["image_ZYX"][box],
        "in one piece": lambda box: np.array(flat[box[0].start * SIDE**2 :][: PATCH**3]),
    }


def patches_per_cpu_s(store: Callable[[tuple[slice, ...]], np.ndarray], places: list[list[int]]) -> float:
    """Rate of reading a patch at each of some places."""
    boxes = [tuple(slice(start, start + PATCH) for start in place) for place in places]
    begin = time.process_time()
    for box in boxes:
        store(box)
    return len(boxes) / (time.process_time() - begin)


if __name__ == "__main__":
    main()
