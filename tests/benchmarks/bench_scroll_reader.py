"""Samples per CPU-second after our conversion, beside a reader that does everything for every sample.

Run `python tests/benchmarks/bench_scroll_reader.py`. The volume has the size of the competition's (320^3) and lies in
its layout. The slow reader does what the plan's data set does on a cache miss: decode both stacks, convert to float,
3 x 3 x 3 median filter of the whole volume, normalise, cut the patch, distance transform of the patch. Ours cuts the
same places from the converted shard, normalised, with the distance map and the medial surface; plain, and augmented at
places it draws itself. The record, with what conversion costs once, is tests/benchmarks/records/scroll_reader.json.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from scipy import ndimage

from stepladder.data import shards
from stepladder.dev import records
from stepladder.studies.scroll.data import conversion, kaggle, sheets
from stepladder.studies.scroll.data.patches import Patches
from stepladder.studies.scroll.params import ScrollParams

ROOT = Path(__file__).resolve().parents[2]
SIDE, PIECE, PATCH, SLOW, FAST = 320, 80, (72, 136, 136), 2, 100
TARGET = 50.0  # times the slow reader's samples per CPU-second
PARAMS = ScrollParams(study="scroll", model={"patch": list(PATCH)})


def main() -> None:
    """Measure, print, record."""
    with tempfile.TemporaryDirectory() as folder:
        asset = written(Path(folder))
        once, content = timed(conversion.convert, asset, PARAMS)
        shards.write(Path(folder) / "0.h5", content, "recipe")
        data = Patches([Path(folder) / "0.h5"], PARAMS)
        rates = {
            "slow reader": rate(lambda n: slow_sample(asset, corner(n)), SLOW),
            "ours, plain": rate(lambda n: plain_sample(data, corner(n)), FAST),
            "ours, augmented": rate(lambda n: data.sample(n % len(data), np.random.default_rng(n)), FAST),
        }
        difference = agreement(asset, data)
    times = {name: value / rates["slow reader"] for name, value in rates.items()}
    for name, value in rates.items():
        print(f"{name:>15}: {value:.3f} samples per CPU-s, {times[name]:,.0f} x")
    print(
        f"target {TARGET:.0f} x; conversion, once: {once:.1f} CPU-s; largest difference of an image: {difference:.1e}"
    )
    record = {
        "side": SIDE,
        "patch": PATCH,
        "samples_per_cpu_s": rates,
        "times_slow": times,
        "conversion_cpu_s": once,
        "image_difference": difference,
        "target": TARGET,
    }
    records.write(__file__, record)


def written(folder: Path) -> Any:
    """One volume of full size in the competition's layout, a synthetic piece repeated, as an asset."""
    kaggle.write_table(folder, [("0", "A")])
    pieces = sheets.volume(0, 0, sheets.Style.of(0, 0), (PIECE,) * 3)
    kaggle.write_volume(folder, "0", *(np.tile(piece, (SIDE // PIECE,) * 3) for piece in pieces))
    return kaggle.assets([folder], PARAMS)[0]


def corner(number: int) -> list[int]:
    """The place of sample `number`, the same for both readers."""
    return np.random.default_rng(number).integers(0, SIDE + 1 - np.array(PATCH)).tolist()


def box_at(corner: list[int]) -> tuple[slice, ...]:
    return tuple(slice(start, start + side) for start, side in zip(corner, PATCH, strict=True))


def slow_sample(asset: Any, corner: list[int], median: bool = True) -> dict[str, np.ndarray]:
    """Everything from the raw files, for one patch."""
    image_path, label_path = kaggle.parts(asset)
    image_ZYX, label_ZYX = tifffile.imread(image_path).astype(np.float32), tifffile.imread(label_path)
    if median:
        image_ZYX = ndimage.median_filter(image_ZYX, size=3)
    image_ZYX = (image_ZYX - image_ZYX.mean()) / image_ZYX.std()
    image_ZYX, label_ZYX = image_ZYX[box_at(corner)], label_ZYX[box_at(corner)].astype(np.int64)
    return {"image": image_ZYX, "label": label_ZYX, "distance": ndimage.distance_transform_edt(label_ZYX != 1)}


def plain_sample(data: Patches, corner: list[int]) -> dict[str, np.ndarray]:
    """A plain sample at a place of our choice instead of a cell of the tiling."""
    data.cell_C4[0, 1:] = corner
    return data.sample(0, None)


def agreement(asset: Any, data: Patches) -> float:
    """Largest difference of the images of both readers without the filter; labels must be equal."""
    slow, ours = slow_sample(asset, corner(0), median=False), plain_sample(data, corner(0))
    assert np.array_equal(slow["label"], ours["label_ZYX"])
    return float(np.abs(slow["image"] - ours["image_ZYX"]).max())


def rate(sample: Callable[[int], Any], count: int) -> float:
    """Samples per CPU-second."""
    begin = time.process_time()
    for number in range(count):
        sample(number)
    return count / (time.process_time() - begin)


def timed(function: Callable, *arguments: Any) -> tuple[float, Any]:
    """CPU-seconds of a call, and what it returned."""
    begin = time.process_time()
    result = function(*arguments)
    return time.process_time() - begin, result


if __name__ == "__main__":
    main()
