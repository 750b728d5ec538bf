"""Our engine against stock papermill: wall time of the same notebook, in interleaved pairs.

Run it alone on the machine: `python tests/benchmarks/bench_engine.py`. The order within a pair alternates, so that a
drifting machine favours nobody; the figure is the median ratio of the pairs.
"""

import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import nbformat
import papermill

from stepladder.dev import records

PAIRS = 10
TARGET = 1.10
SHORT = "print(sum(math.sqrt(i) for i in range(20_000)))"
CELLS = ["import json, math", *[SHORT] * 10, "[print(i) for i in range(3000)]"]


def notebook(path: Path) -> None:
    """A notebook of short cells with prose between, as the road's are."""
    prose, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    cells = [cell for source in CELLS for cell in (prose("A sentence."), code(source))]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def once(engine: str | None, source: Path, target: Path) -> float:
    """Wall seconds of one execution, kernel start and end included."""
    began = time.perf_counter()
    papermill.execute_notebook(source, target, engine_name=engine, kernel_name="python3", progress_bar=False)
    return time.perf_counter() - began


def measure(pairs: int) -> dict[str, float | list[float]]:
    """Ratios ours / stock of `pairs` pairs after one warm-up, and the medians of both."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.ipynb"
        notebook(source)
        seconds: dict[str | None, list[float]] = {None: [], "stepladder": []}
        for number in range(-1, pairs):
            for engine in [None, "stepladder"][:: 1 if number % 2 else -1]:
                took = once(engine, source, Path(folder) / "out.ipynb")
                if number >= 0:
                    seconds[engine].append(took)
    ratios = [ours / stock for ours, stock in zip(seconds["stepladder"], seconds[None], strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "stock_s": round(statistics.median(seconds[None]), 2),
        "ours_s": round(statistics.median(seconds["stepladder"]), 2),
    }


def main() -> None:
    """Measure, print, record."""
    warnings.simplefilter("ignore")
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS
    found = measure(pairs)
    versions = {"papermill": papermill.__version__, "python": platform.python_version(), "cpus": os.cpu_count()}
    records.write(__file__, {**found, "pairs": pairs, "target": TARGET, **versions})
    print(f"stock papermill {found['stock_s']:.2f} s, our engine {found['ours_s']:.2f} s for {len(CELLS)} code cells")
    print(f"ratio {found['ratio']:.3f} (median of {pairs} pairs), target <= {TARGET}")


if __name__ == "__main__":
    main()
