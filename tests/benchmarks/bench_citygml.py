"""CPU seconds from a real 42 MB CityGML tile to labelled triangles, beside what unzipping and parsing alone take.

The tile is Matsumoto 54372798 (3,058 buildings, 35,087 polygons at their best level of detail). The three measurements
alternate within one run, so that their ratios hold on a busy machine; seconds are of this one. The floor is the least
any reader built on lxml needs: `iterparse` over the objects, each cleared, nothing read.

    python tests/benchmarks/bench_citygml.py
"""

import gzip
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lxml import etree

from stepladder.dev import records
from stepladder.studies.plateau.data.citygml import reader

PROJECT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("STEPLADDER_SHARED_DATA", PROJECT.parent / "shared" / "data")) / "plateau"
TILE = SHARED / "20202_matsumoto/udx/bldg/54372798_bldg_6697_op.gml.gz"
REPEATS = 5


def unzip() -> None:
    """Unzip the tile."""
    with gzip.open(TILE) as file:
        while file.read(1 << 20):
            pass


def floor() -> None:
    """Unzip and parse the tile, and read nothing."""
    with gzip.open(TILE) as file:
        for _, element in etree.iterparse(file, tag="{*}cityObjectMember"):
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]


def read() -> None:
    """Unzip, parse, project and triangulate the tile."""
    reader.read(TILE)


def cpu_seconds(call: Callable[[], None]) -> float:
    """CPU time of one call, of all threads, system time included."""
    start = time.process_time()
    call()
    return time.process_time() - start


def peak_mb(call: str) -> int:
    """Peak resident memory of a new process that imports everything and then makes one call, MB."""
    code = f"import bench_citygml as b; b.{call}; print(open('/proc/self/status').read())"
    status = subprocess.check_output([sys.executable, "-c", code], cwd=Path(__file__).parent, text=True)
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024  # not ru_maxrss, which a child inherits


def main() -> None:
    if not TILE.exists():
        raise SystemExit(f"{TILE.name} is not there: set STEPLADDER_SHARED_DATA to the folder of real files")
    steps = {"unzip": unzip, "lxml floor": floor, "read": read}
    for step in steps.values():  # warm caches
        step()
    seconds = {name: [] for name in steps}
    for _ in range(REPEATS):
        for name, step in steps.items():
            seconds[name].append(cpu_seconds(step))
    median = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    surfaces = reader.read(TILE)
    record = {
        "tile": TILE.name,
        "features": len(surfaces.features),
        "triangles": len(surfaces.triangles_N33),
        "issues": {issue.kind: issue.count for issue in surfaces.issues},
        "cpu_seconds": median,
        "cpu_seconds_least": {name: round(min(values), 3) for name, values in seconds.items()},
        "read_over_floor": round(median["read"] / median["lxml floor"], 2),
        "peak_mb": {
            "imports": round(peak_mb("TILE")),
            "floor": round(peak_mb("floor()")),
            "read": round(peak_mb("read()")),
        },
        "load_of_the_machine": round(os.getloadavg()[0], 1),
        "cpus": os.cpu_count(),
        "target": "read <= 1.0 CPU-s where the floor is 0.4 (ratio 2.5)",
    }
    records.write(__file__, record)
    for name, value in record.items():
        print(f"{name:20} {value}")


if __name__ == "__main__":
    main()
