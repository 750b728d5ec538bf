"""One pass over the nine columns of a list of DataComp's form, as the plan makes it: CPU-seconds and peak memory.

Run `python tests/benchmarks/bench_captions_lists.py`. A list of a million rows and one of two million are made here, in
a temporary folder: addresses over 60,000 hosts with few that hold many, texts of words by a Zipf law, a share of them
foreign, sizes, scores, boxes of faces, and duplicates. A process of its own then sifts each with every filter on and
counts hosts and histograms. The record is tests/benchmarks/records/captions_lists.json.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stepladder.dev import records

ROWS = (1_000_000, 2_000_000)
GROUP, HOSTS, REPEATED = 100_000, 60_000, 0.02
ENGLISH = "the of and a in for with on at from new photo red dog house stock image beach old blue car free best"
FOREIGN = "der die und mit für auf ein rotes haus hund bild neu strand alt blau auto kostenlos"
DATA = {"basic": True, "least_clip": 0.2, "most_aspect": 2.5, "rows": 100_000_000}


def main() -> None:
    """Make the lists, measure a pass over each, record."""
    if sys.argv[1:]:
        print(json.dumps(measured(Path(sys.argv[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = [passed(Path(folder) / f"{count}.parquet", count) for count in ROWS]
    for row in rows:
        print(", ".join(f"{name} {value:,.3g}" for name, value in row.items()))
    records.write(__file__, {"rows": rows})


def passed(path: Path, count: int) -> dict[str, Any]:
    """A list of `count` rows, and one pass over it in a process of its own."""
    write(path, count)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(path)]
    child = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    megabytes = path.stat().st_size / 1e6
    path.unlink()
    return {"rows": count, "file_mb": megabytes, **json.loads(child.stdout.strip().splitlines()[-1])}


def measured(path: Path) -> dict[str, float]:
    """CPU-seconds, seconds, peak memory of this process, and what was counted."""
    from stepladder.studies.captions.data import funnel
    from stepladder.studies.captions.params import CaptionsParams

    params = CaptionsParams.model_validate({"study": "captions", "data": DATA})
    imports, cpu, wall = peak_mb(), time.process_time(), time.monotonic()
    found = funnel.funnel([path], params)
    return {
        "cpu_s": time.process_time() - cpu,
        "seconds": time.monotonic() - wall,
        "peak_mb": peak_mb(),
        "imports_mb": imports,
        "asked": found.asked,
        "hosts": found.distinct_hosts,
        "false_duplicates": found.false_duplicates,
    }


def peak_mb() -> float:
    """Largest resident set of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def write(path: Path, count: int) -> None:
    """A list of `count` rows with DataComp's nine columns, in groups of rows."""
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(path, piece(rng, 1, 0).schema) as writer:
        for start in range(0, count, GROUP):
            writer.write_table(piece(rng, min(GROUP, count - start), start), row_group_size=GROUP)


def piece(rng: np.random.Generator, count: int, start: int) -> pa.Table:
    """`count` rows from number `start` on; some repeat earlier ones."""
    number = np.arange(start, start + count)
    again = rng.random(count) < REPEATED
    number[again] = rng.integers(0, start + count, again.sum())
    host = (HOSTS * rng.random(count) ** 3).astype(int)
    width, height = (np.exp(rng.normal(6.3, 0.6, count)).astype(np.int64) for _ in "xy")
    scores = rng.normal(0.23, 0.06, (2, count)).astype(np.float32)
    boxes = [[[0.1, 0.1, 0.3, 0.4]] if one else [] for one in rng.random(count) < 0.2]
    return pa.table(
        {
            "uid": [f"{one * 0x9E3779B97F4A7C15 % 2**128:032x}" for one in number.tolist()],
            "url": [
                f"https://cdn{h}.example/uploads/{n:09d}/picture-of-{n * 7919:x}.jpg"
                for h, n in zip(host, number, strict=True)
            ],
            "text": texts(rng, count),
            "original_width": width,
            "original_height": height,
            "clip_b32_similarity_score": scores[0],
            "clip_l14_similarity_score": scores[1],
            "face_bboxes": pa.array(boxes, pa.list_(pa.list_(pa.float64()))),
            "sha256": [f"{one * 0xD6E8FEB86659FD93 % 2**256:064x}" for one in number.tolist()],
        }
    )


def texts(rng: np.random.Generator, count: int) -> list[str]:
    """Texts of one to thirty words, one in three foreign."""
    long = rng.integers(1, 31, count)
    words = rng.zipf(1.3, long.sum()) - 1
    found, place = [], 0
    for length, foreign in zip(long.tolist(), (rng.random(count) < 1 / 3).tolist(), strict=True):
        own = (FOREIGN if foreign else ENGLISH).split()
        found.append(" ".join(own[word % len(own)] for word in words[place : place + length].tolist()))
        place += length
    return found


if __name__ == "__main__":
    main()
