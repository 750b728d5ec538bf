"""What fetching one theme of one city moves, against the members themselves and against the whole archive.

Real tiles of ../shared/data where they are, else made-up bytes of the same layout; served by a local server. Bytes and
requests are exact and the same on any machine; seconds are of this one.

    python tests/benchmarks/bench_fetch.py
"""

import gzip
import os
import random
import tempfile
import time
import zipfile
from pathlib import Path

import requests

from stepladder.core.types import Source
from stepladder.data.fetch import Report, fetch, plan
from stepladder.dev import records
from stepladder.testing.server import FaultyServer

PROJECT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("STEPLADDER_SHARED_DATA", PROJECT.parent / "shared" / "data")) / "plateau"


def real_members() -> dict[str, bytes]:
    """Path -> GML of the Osaka tiles; empty where the shared data is absent."""
    paths = sorted((SHARED / "27100_osaka").rglob("*.gml.gz"))
    return {p.relative_to(SHARED).with_suffix("").as_posix(): gzip.decompress(p.read_bytes()) for p in paths}


def made_up_members() -> dict[str, bytes]:
    """A city of three themes in PLATEAU's layout, of bytes that deflate to about a third."""
    rng, sizes = random.Random(0), {"bldg": 400_000, "tran": 150_000, "dem": 900_000}
    return {
        f"27100_city/udx/{theme}/{tile}_{theme}_6697_op.gml": rng.randbytes(size // 3) + bytes(size - size // 3)
        for theme, size in sizes.items()
        for tile in range(51357340, 51357360)
    }


def row(name: str, report: Report, base: int, archive: int, seconds: float) -> dict[str, object]:
    """One line of the record."""
    return {
        "what": name,
        "bytes moved": report.bytes_moved,
        "moved / (members + directory)": round(report.bytes_moved / base, 4) if base else None,
        "share of the archive": round(report.bytes_moved / archive, 4),
        "requests": report.requests,
        "seconds": round(seconds, 3),
    }


def main() -> None:
    members = real_members() or made_up_members()
    with tempfile.TemporaryDirectory() as folder, FaultyServer(Path(folder)) as server:
        path = Path(folder) / "city.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        size, rows = path.stat().st_size, []
        for theme in sorted({name.split("/")[-2] for name in members}):
            began = time.monotonic()
            planned = plan(Source(server.url("city.zip"), theme, (f"*/{theme}/*",)), Path(folder) / "raw")
            report = fetch(planned)
            base = sum(m.compressed for m in planned.wanted) + planned.directory_bytes
            rows.append(row(theme, report, base, size, time.monotonic() - began))
            began = time.monotonic()
            again = fetch(plan(planned.source, Path(folder) / "raw"))
            rows.append(row(f"{theme}, again", again, 0, size, time.monotonic() - began))
        began = time.monotonic()
        whole = len(requests.get(server.url("city.zip"), timeout=60).content)
        rows.append(
            {
                "what": "whole archive",
                "bytes moved": whole,
                "requests": 1,
                "seconds": round(time.monotonic() - began, 3),
            }
        )
    for line in rows:
        print(", ".join(f"{key} {value}" for key, value in line.items() if value is not None))
    records.write(__file__, {"data": "27100_osaka" if real_members() else "made up", "rows": rows})


if __name__ == "__main__":
    main()
