"""From a real tile's surfaces to clips: ground, voxels and stored grid of Osaka 51357354, then random windows from it.

Run `python tests/benchmarks/bench_windows.py`. The grid is written to disk and memory-mapped, as a loader sees it.
Clips are 16 frames of 200 x 200 x 16 voxels along random straight lines. The record is
tests/benchmarks/records/windows.json.
"""

import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stepladder.dev import records
from stepladder.studies.plateau.data.citygml import geo, reader
from stepladder.studies.plateau.data.citygml.classes import EMPTY
from stepladder.studies.plateau.data.citygml.surfaces import Surfaces, concatenate
from stepladder.studies.plateau.data.samples.windows import cut
from stepladder.studies.plateau.data.tiles.ground import Ground, cover
from stepladder.studies.plateau.data.tiles.relief import Relief, build
from stepladder.studies.plateau.data.tiles.voxelize import voxelize
from stepladder.studies.plateau.params import PlateauConversion

ROOT = Path(__file__).resolve().parents[2]
TILE = "51357354"
SHAPE, FRAMES, CLIPS, ROUNDS = (200, 200, 16), 16, 40, 3
TARGET = 20.0  # clips per CPU-second
PARAMS = PlateauConversion()


def main() -> None:
    """Measure, print, record."""
    shared = Path(os.environ.get("STEPLADDER_SHARED_DATA") or ROOT.parent / "shared" / "data")
    city = shared / "plateau/27100_osaka/udx"
    surfaces = concatenate([reader.read(path) for path in sorted(city.glob("*/5135*.gz"))])
    box = tile_box(surfaces.zone)
    convert(surfaces, (box[0], box[1], box[0] + 100, box[1] + 100), {})  # compiles
    steps: dict[str, float] = {}
    ground, relief = convert(surfaces, box, steps)
    with tempfile.TemporaryDirectory() as folder:
        relief.voxels_XYL.tofile(f"{folder}/grid")
        mapped = np.memmap(f"{folder}/grid", np.uint8, "r", shape=relief.voxels_XYL.shape)
        rates, occupied = clip_rates(mapped, relief, ground, box)
    record = {
        "tile": TILE,
        "grid": relief.voxels_XYL.shape,
        "grid_mb": relief.voxels_XYL.nbytes / 1e6,
        "steps_cpu_s": steps,
        "issues": {issue.kind: issue.count for issue in relief.issues},
        "clips_per_cpu_s": rates,
        "target_clips_per_cpu_s": TARGET,
        "occupied_share": occupied,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for name, value in record.items():
        print(f"{name}: {value}")
    records.write(__file__, record)


def tile_box(zone: int) -> tuple[float, float, float, float]:
    """The tile and the halo that is stored around it, in metres."""
    lat0, lon0, lat1, lon1 = geo.mesh_bounds(TILE)
    x, y = geo.projector(zone)(np.array([lat0, lat0, lat1, lat1]), np.array([lon0, lon1, lon0, lon1]))
    halo = PARAMS.halo_m
    return x.min() - halo, y.min() - halo, x.max() + halo, y.max() + halo


def convert(surfaces: Surfaces, box: tuple, steps: dict[str, float]) -> tuple[Ground, Relief]:
    """Ground, voxels and grid of `box`; CPU-seconds of every step in `steps`."""

    def timed(name: str, function: Callable, *arguments: Any) -> Any:
        begin = time.process_time()
        result = function(*arguments)
        steps[name] = time.process_time() - begin
        return result

    flat = surfaces.features.flat.to_numpy()[surfaces.feature_N]
    triangles, label, voxel_m = surfaces.triangles_N33, surfaces.label_N, PARAMS.voxel_m
    ground = timed("ground", Ground.of, surfaces, box, voxel_m)
    cover_XY = timed("cover", cover, triangles[flat], label[flat], box, voxel_m)
    voxels = timed("voxels", voxelize, triangles[~flat], label[~flat], voxel_m, box)
    return ground, timed("relief", build, *voxels, ground, box, PARAMS, cover_XY)


def clip_rates(mapped: np.ndarray, relief: Relief, ground: Ground, box: tuple) -> tuple[list[float], float]:
    """Clips per CPU-second in every round (the first one maps the pages), and the share of voxels not empty."""
    rng = np.random.default_rng(0)
    halo = PARAMS.halo_m
    rates, occupied = [], []
    for _ in range(ROUNDS):
        poses = []
        for _ in range(CLIPS):
            start, yaw = rng.uniform(np.add(box[:2], halo), np.subtract(box[2:], halo)), rng.uniform(-np.pi, np.pi)
            x, y = start[:, None] + np.arange(FRAMES) * PARAMS.speed_mps * PARAMS.frame_s * [
                [np.cos(yaw)],
                [np.sin(yaw)],
            ]
            poses.append(np.stack([x, y, ground.height(x, y), np.full(FRAMES, yaw)], axis=1))
        begin = time.process_time()
        for pose_T4 in poses:
            occ_TXYZ = cut(mapped, relief.base_XY, relief.origin, pose_T4, SHAPE, PARAMS.voxel_m, -1.0)
        rates.append(CLIPS / (time.process_time() - begin))
        occupied.append((occ_TXYZ != EMPTY).mean())
    return rates, float(np.mean(occupied))


if __name__ == "__main__":
    main()
