"""A real tile (Osaka 51357354 at 0.4 m) from raw files to clips: CPU-seconds, peak memory, clips per CPU-second.

Run `python tests/benchmarks/bench_clips.py`. The tile is converted in processes of their own, with nothing parsed and
with the surfaces of its files and its neighbours' in the cache; its clips are then drawn at random, augmented.
The record is tests/benchmarks/records/clips.json.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from stepladder.dev import records

ROOT = Path(__file__).resolve().parents[2]
CITY, TILE = "plateau/27100_osaka", "51357354"
ROUNDS, CLIPS = 3, 40
TARGET = 20.0  # clips of 16 x 200x200x16 per CPU-second


def main() -> None:
    """Measure, print, record."""

    shared = Path(os.environ.get("STEPLADDER_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not (shared / CITY).exists():
        sys.exit("real PLATEAU files are not here: set STEPLADDER_SHARED_DATA")
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: child(shared / CITY, Path(folder)) for name in ("compiling", "again")}
        for index in Path(folder, "cache").rglob("index.json"):
            index.unlink()
        runs = {"nothing parsed": child(shared / CITY, Path(folder)), "surfaces cached": runs["again"]}
        for name, run in runs.items():
            memory = f"peak {run['peak_mb']:.0f} MB, {run['imports_mb']:.0f} of it imports"
            print(f"conversion, {name}: {run['cpu_s']:.1f} CPU-s, {memory}")
        rates, facts = draw(Path(folder) / f"{TILE}.h5")
    print(f"{facts['road_km']:.1f} km of road, {facts['paths']} paths, {facts['clips']} clips")
    print(f"shard of {facts['shard_mb']:.0f} MB")
    print(f"clips per CPU-s: {', '.join(f'{rate:.1f}' for rate in rates)} (target {TARGET:.0f})")
    record = {"tile": TILE, "voxel_m": 0.4, **facts, "conversion": runs, "clips_per_cpu_s": rates, "target": TARGET}
    records.write(__file__, record)


def settings():
    """The default parameters on the one tile."""
    from stepladder.studies.plateau.params import PlateauData, PlateauParams

    return PlateauParams(study="plateau", data=PlateauData(tiles=[TILE]))


def child(raw: Path, folder: Path) -> dict[str, float]:
    """Convert the tile in a process of its own; its figures."""
    command = [sys.executable, __file__, str(raw), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def convert(raw: Path, folder: Path) -> None:
    """What the child does: convert, write the shard, print the figures."""
    from stepladder.data import shards
    from stepladder.studies.plateau.data.tiles import tile

    (asset,) = tile.assets([raw], settings())
    imports_mb, begin = peak_mb(), time.process_time()
    content = tile.convert(asset, settings(), folder / "cache")
    cpu_s = time.process_time() - begin
    shards.write(folder / f"{TILE}.h5", content, "benchmark")
    print(json.dumps({"cpu_s": cpu_s, "peak_mb": peak_mb(), "imports_mb": imports_mb}))


def draw(shard: Path) -> tuple[list[float], dict[str, float]]:
    """Random augmented clips per CPU-second, round by round, and facts about the shard."""
    from stepladder.studies.plateau.data.samples.clips import Clips

    clips, rng = Clips([shard], settings()), np.random.Generator(np.random.Philox(0))
    clips.sample(0, rng)  # compiles
    rates = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        for index in rng.integers(len(clips), size=CLIPS):
            clips.sample(int(index), rng)
        rates.append(CLIPS / (time.process_time() - begin))
    facts = {name: clips.shards[0].attributes[name] for name in ("road_km", "paths", "voxels")}
    return rates, {**facts, "clips": len(clips), "shard_mb": shard.stat().st_size / 1e6}


def peak_mb() -> float:
    """Peak resident memory of this process so far."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main() if len(sys.argv) == 1 else convert(Path(sys.argv[1]), Path(sys.argv[2]))
