"""The truncated exact distance transform beside scipy's full one: CPU-seconds and memory on synthetic sheets.

Run `python tests/benchmarks/bench_distance.py`. Every method runs in processes of its own with one thread: one that
times it, best of several rounds, and one that gives freed memory back to the system and tells the peak of a call above
what was held before, the mask being there already. Results are compared by their hash. The record is
tests/benchmarks/records/distance.json.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stepladder.dev import records

ROOT = Path(__file__).resolve().parents[2]
SIDES, PIECE, ROUNDS, CAP = (128, 256), 64, 3, 64
METHODS = ("scipy", "numpy", "torch")
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
TARGET = 5.0  # times scipy's time and memory, for numpy at 128 voxels


def main() -> None:
    """Measure, print, record."""

    rows = [row for side in SIDES for row in compared(side)]
    for row in rows:
        print(
            f"{row['side']}^3 {row['method']:>5}: {row['cpu_s']:.4f} CPU-s, {row['peak_mb']:.1f} MB; scipy takes "
            f"{row['faster']:.1f} x the time and {row['leaner']:.1f} x the memory; equal: {row['equal']}"
        )
    met = next(row for row in rows if (row["side"], row["method"]) == (SIDES[0], "numpy"))
    print(f"target at {SIDES[0]}^3: {TARGET:.0f} x in both")
    record = {"rows": rows, "cap": CAP, "faster": met["faster"], "leaner": met["leaner"], "target": TARGET}
    records.write(__file__, record)


def compared(side: int) -> list[dict[str, Any]]:
    """One row for each method, beside scipy's."""
    runs = [child(method, side) for method in METHODS]
    scipy = runs[0]
    return [
        {
            **{name: run[name] for name in ("side", "method", "sheet_share", "cpu_s", "peak_mb")},
            "faster": scipy["cpu_s"] / run["cpu_s"],
            "leaner": scipy["peak_mb"] / run["peak_mb"],
            "equal": run["sha256"] == scipy["sha256"],
        }
        for run in runs
    ]


def child(method: str, side: int) -> dict[str, Any]:
    """Figures of one method, from processes of their own."""
    figures: dict[str, Any] = {}
    for what, extra in (("time", {}), ("memory", GIVES_BACK)):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **extra}
        command = [sys.executable, __file__, what, method, str(side)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        figures |= json.loads(done.stdout)
    return figures


def measure(what: str, method: str, side: int) -> dict[str, Any]:
    """Best CPU-seconds of several rounds and the hash of the result, or the peak memory of one call."""
    mask_ZYX = sheets_of(side)
    prepared(method, mask_ZYX[:8, :8, :8])[0]()  # loads what is loaded on first use
    transform, result_of = prepared(method, mask_ZYX)
    if what == "memory":
        before = memory_mb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        transform()
        return {"peak_mb": memory_mb("VmHWM") - before}
    seconds = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        result = transform()
        seconds.append(time.process_time() - begin)
    digest = hashlib.sha256(result_of(result).tobytes()).hexdigest()
    share = float(mask_ZYX.mean())
    return {"method": method, "side": side, "sheet_share": share, "cpu_s": min(seconds), "sha256": digest}


def prepared(method: str, mask_ZYX: np.ndarray) -> tuple[Callable[[], Any], Callable[[Any], np.ndarray]]:
    """The transform to be timed, and how its result becomes squared distances cut off, as bytes."""
    if method == "scipy":
        from scipy.ndimage import distance_transform_edt

        return lambda: distance_transform_edt(~mask_ZYX), lambda d: np.minimum(np.rint(d**2), CAP).astype(np.uint8)
    from stepladder.studies.scroll.data.distance import squared_distance

    if method == "torch":
        import torch

        torch.set_num_threads(1)
        tensor = torch.from_numpy(mask_ZYX)
        return lambda: squared_distance(tensor, CAP), lambda tensor: tensor.numpy()
    return lambda: squared_distance(mask_ZYX, CAP), lambda array: array


def sheets_of(side: int) -> np.ndarray:
    """The labelled faces of a piece of a synthetic scroll, repeated to `side` voxels."""
    from stepladder.studies.scroll.data import sheets

    style, rng = sheets.Style.of(0, 0), np.random.Generator(np.random.Philox(key=0))
    return np.tile(sheets.roll(rng, style, (PIECE,) * 3).face(style.thickness), (side // PIECE,) * 3)


def memory_mb(line: str) -> float:
    """A line of this process's status, in megabytes: VmRSS now, VmHWM at most."""
    return int(re.search(rf"{line}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(measure(*sys.argv[1:3], int(sys.argv[3]))))
    else:
        main()
