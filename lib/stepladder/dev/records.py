"""Records of benchmarks: what was measured, and by which code.

Decisions:
- A record carries the key of the code that made it: the benchmark's own file and everything it imports from here.
  Whoever renders it asks whether that is the code of today, and marks what is not.
- It names the machine, because seconds of another machine say nothing.
- A peer that is not installed keeps its last figures, with ours of that run beside them.
- A record that is filled row by row, over days, carries a key in every row.
"""

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

from stepladder.core import closure, files

FOLDER = "tests/benchmarks"


def write(script: str, record: dict[str, Any], name: str = "") -> None:
    """Write what the benchmark `script` (its `__file__`) measured to `records/`, with the key of its code.

    The record of `bench_clips.py` is `clips.json`, unless it has a name of its own.
    """
    path = Path(script)
    name = name or path.stem.removeprefix("bench_")
    files.write_json(path.parent / "records" / f"{name}.json", {**record, "machine": machine(), **made_by(path)})


def last(script: str) -> dict[str, Any]:
    """What the benchmark `script` recorded last: for figures of a peer that is not installed; empty at first."""
    path = Path(script)
    return files.read_json(path.parent / "records" / f"{path.stem.removeprefix('bench_')}.json") or {}


def machine() -> str:
    """This machine as people name it: `2 cores of AMD EPYC 9R14`."""
    names = [line.partition(":")[2] for line in _processors() if line.startswith("model name")]
    return f"{len(os.sched_getaffinity(0))} cores of {' '.join((names or [platform.machine()])[0].split())}"


def _processors() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []


def made_by(script: Path) -> dict[str, str]:
    """The name of a script and the key of its code, as a record or one of its rows keeps them."""
    return {"made_by": script.name, "code": _code(script)}


def made_by_run(root: Path, study: str) -> dict[str, str]:
    """The same for what a whole run of `study` measured: its evaluation and its training."""
    return {"made_by": f"{study}: 05_training, 06_evaluation", "code": _run_code(root, study)}


def is_current(root: Path, record: dict[str, Any]) -> bool:
    """Whether a record was made by the code of today, all of it; False for one that does not say."""
    parts = [record] if "code" in record else record.get("rows", [])
    return bool(parts) and all(_is_current(root, part) for part in parts)


def _is_current(root: Path, part: dict[str, Any]) -> bool:
    if "code" not in part:
        return False
    script = root / FOLDER / part["made_by"]
    now = _code(script) if script.suffix == ".py" else _run_code(root, part["made_by"].partition(":")[0])
    return part["code"] == now


@cache
def _code(script: Path) -> str:
    return files.fingerprint(closure.of_script(script))


@cache
def _run_code(root: Path, study: str) -> str:
    return files.fingerprint([closure.of_stage(root, stage, study) for stage in ("05_training", "06_evaluation")])
