"""What records cost as they grow: the index over 500 runs, one run of a million metric lines, following 100,000 lines.

CPU seconds, for other people's work must not count. Each is measured in a process of its own, as a command would be,
with its imports and the code of the studies read before. `python tests/benchmarks/bench_records.py [RUNS LINES]`.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stepladder.core import files, jsonlines, profiles
from stepladder.core.paths import PACKAGE
from stepladder.core.run import Run
from stepladder.core.stages import STAGES
from stepladder.dev import records
from stepladder.machine import limits

ROOT = Path(__file__).parents[2]
RUNS, LINES, FOLLOWED, STEPS = 500, 1_000_000, 100_000, 120
TARGETS = {"index_s": 1.0, "long_run_s": 1.0, "long_run_mb": 500}
PARTS = ("loss", "loss_cross entropy", "loss_iou", "loss_iou new")


def line(step: int) -> dict[str, object]:
    """A line of metrics as training writes it, or of a validation every hundred steps."""
    if step % 100 == 0:
        return {"step": step, "stage": "all", "validation_loss": 3 / step, "seconds": 1.25, "time": 1.7e9 + step}
    values = {name: 2.0 / (step + place) for place, name in enumerate(PARTS)}
    rest = {"lr": 0.0004, "norm": 2.1043708324432373, "samples_per_s": 24.923, "time": 1.7e9 + step}
    return {"step": step, "stage": "all", **values, **rest}


def write_metrics(path: Path, count: int) -> None:
    """A record of `count` lines."""
    with path.open("wb") as file:
        file.writelines(jsonlines.encode(line(step)) for step in range(1, count + 1))


def walked(name: str) -> Run:
    """A run whose seven stages are done, with tables, checks and events of the usual size."""
    checked = profiles.load(ROOT, "plateau", "quick", {"run": name})
    run = Run.of(ROOT, checked)
    run.begin(checked)
    run.set_status("running")
    rows = [[f"cell {number} {place}" for place in range(6)] for number in range(40)]
    table = {"title": "A table", "columns": list("abcdef"), "rows": rows, "note": "", "measured": False}
    for part in STAGES:
        run.event("stage_start", stage=part.name, cells=12, reason="no result yet")
        for cell in range(12):
            run.event("cell_start", stage=part.name, cell=cell, of=12, title="Some title of a cell")
            run.event("cell_end", stage=part.name, cell=cell, state="done", seconds=0.5)
        run.finish_stage(part.name, checked, [{"name": "sane", "ok": True, "reason": "it is"}] * 4, tables=[table])
        run.event("stage_end", stage=part.name, state="done", reason="12 cells", seconds=6.0)
    run.set_status("done", "7 stages asked for, 7 run, 0 unchanged")
    write_metrics(run.folder / "metrics.jsonl", STEPS)
    return run


def many(count: int) -> None:
    """`count` runs alike, in the outputs folder that the environment names."""
    first = walked("run_0")
    text = (first.folder / "params.yaml").read_text()
    for number in range(1, count):
        place = first.folder.with_name(f"run_{number}")
        shutil.copytree(first.folder, place)
        files.write_text(place / "params.yaml", text.replace("run: run_0", f"run: run_{number}"))


def index_of_many() -> dict[str, float]:
    """Seconds of the first index, of the same again, as at the end of every walk, and of the states of `status`."""
    from stepladder.core.run import runs
    from stepladder.report import pages

    assert {state.state for state in runs(ROOT)[0].states().values()} == {"done"}
    first = _seconds(lambda: pages.index(ROOT))
    again = _seconds(lambda: pages.index(ROOT))
    states = _seconds(lambda: [(run.status(), run.states()) for run in runs(ROOT)])
    return {"index_first_s": first, "index_s": again, "states_s": states}


def long_run() -> dict[str, float]:
    """Seconds and memory of the page and the index of one run of a million lines."""
    from stepladder.core.run import runs
    from stepladder.report import curve, pages

    run = runs(ROOT)[0]
    curve.loss([{"step": step, "loss": 1.0} for step in (1, 2)])  # matplotlib, which draws the curve, is imported
    profiles.load(ROOT, "plateau")  # and the study, whose parameters are compared with the profile's
    run.states()
    limits.forget_peak()
    before = _peak_mb()
    took = _seconds(lambda: (pages.run_page(run), pages.index(ROOT)))
    return {"long_run_s": took, "long_run_mb": _peak_mb() - before}


def follow_a_long_one() -> dict[str, float]:
    """CPU seconds over the whole of a training of 100,000 lines that is followed, read after every 500."""
    from stepladder.core.run import runs
    from stepladder.training.process import Tail

    run = runs(ROOT)[0]
    path, seen, took = run.folder / "metrics.jsonl", 0, 0.0
    path.unlink()
    tail = Tail(path)
    for first in range(0, FOLLOWED, 500):
        with path.open("ab") as file:
            file.writelines(jsonlines.encode(line(step)) for step in range(first + 1, first + 501))
        began = time.process_time()
        seen += len(tail.read())
        took += time.process_time() - began
    assert seen == FOLLOWED
    return {"follow_cpu_s": took}


def resume_a_long_one() -> dict[str, float]:
    """Seconds until a training of a million lines goes on: its future is cut."""
    from stepladder.core.run import runs
    from stepladder.training.tracking import Jsonl

    path = runs(ROOT)[0].folder / "metrics.jsonl"
    limits.forget_peak()
    before = _peak_mb()
    took = _seconds(lambda: Jsonl(path, LINES - 50).finish("done"))
    return {"resume_s": took, "resume_mb": _peak_mb() - before}


PROBES = {probe.__name__: probe for probe in (index_of_many, long_run, follow_a_long_one, resume_a_long_one)}


def _seconds(action: Callable[[], object]) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began


def _peak_mb() -> float:
    return limits.peak_resident() / 1e6


def probed(name: str, outputs: Path) -> dict[str, float]:
    """What a probe found in a process of its own."""
    search = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    own = {"STEPLADDER_ROOT": str(ROOT), "STEPLADDER_OUTPUTS": str(outputs), "PYTHONPATH": search}
    command = [sys.executable, __file__, name]
    said = subprocess.run(command, env=os.environ | own, check=True, capture_output=True, text=True).stdout
    return {name: round(value, 3) for name, value in json.loads(said.splitlines()[-1]).items()}


def main() -> None:
    """Make the runs, measure, print, record."""
    runs, lines = (int(text) for text in (sys.argv[1:] or [RUNS, LINES]))
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STEPLADDER_OUTPUTS"] = f"{folder}/many"
        many(runs)
        time.sleep(3)  # what was touched within the last seconds is looked at twice
        found |= probed("index_of_many", Path(folder) / "many")
        os.environ["STEPLADDER_OUTPUTS"] = f"{folder}/long"
        write_metrics(walked("run_0").folder / "metrics.jsonl", lines)
        for name in ("long_run", "resume_a_long_one", "follow_a_long_one"):
            found |= probed(name, Path(folder) / "long")
    about = {"runs": runs, "lines": lines, "followed": FOLLOWED, "python": platform.python_version()}
    records.write(__file__, {**found, **about, "cpus": os.cpu_count(), "targets": TARGETS})
    for name, value in found.items():
        print(f"{name:15} {value:8.3f}" + (f"  target <= {TARGETS[name]:g}" if name in TARGETS else ""))


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in PROBES:
        print(json.dumps(PROBES[sys.argv[1]]()))
    else:
        main()
