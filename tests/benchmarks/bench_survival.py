"""Nine faults in trials that a script, a Jupyter kernel and papermill start, and fifty deaths in a row.

Run `python tests/benchmarks/bench_survival.py`. Every fault must be told as what it is, the host must live on, and no
process may be left. Hosts run with a private /dev/shm of 64 MB, Docker's default, where `unshare -m` is allowed;
elsewhere the fault that needs it is left out. The record is tests/benchmarks/records/survival.json.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from stepladder.core import files
from stepladder.dev import records
from stepladder.ladder.measure.measurer import ProcessMeasurer
from stepladder.ladder.measure.runner import Runner
from stepladder.training.setting import Setting

TESTS = Path(__file__).resolve().parents[1]
HERE = Path(__file__).parent
sys.path[:0] = [str(TESTS / "ladder"), str(HERE)]

from faults import FAULTS  # noqa: E402

HOSTS = ("script", "kernel", "papermill")
DEATHS = 50
PRIVATE_SHM = "mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "
MEMORY, SECONDS, HANG_SECONDS = 1.5e9, 60.0, 4.0


def main() -> None:
    """Every host, every fault; print and record."""
    private = _private_shm()
    if not private:
        print("shm_full is left out: no private /dev/shm here (needs root and unshare -m)")
    record: dict[str, Any] = {"private_shm": private, "hosts": {}}
    for host in HOSTS:
        record["hosts"][host] = rows = _in_host(host, private)
        wrong = [name for name, row in rows.items() if not row["ok"]]
        print(
            f"{host}: {len(rows) - len(wrong)} of {len(rows)} told right with the host alive and nothing left; "
            f"wrong: {wrong or 'none'}"
        )
    record["ok"] = all(row["ok"] for rows in record["hosts"].values() for row in rows.values())
    records.write(__file__, record)
    if not record["ok"]:
        raise SystemExit("a fault was told wrong, or something was left")


def survive(out: str, private: bool) -> None:
    """What runs inside a host: every fault, then many deaths in a row; the verdicts go to `out`."""
    runner, rows = Runner(), {}
    for fault, wanted in FAULTS.items():
        if fault != "shm_full" or private:
            rows[fault] = one(fault, wanted, runner)
    endings = [one(fault, FAULTS[fault], runner) for fault in ("main_killed", "segfault") * (DEATHS // 2)]
    rows[f"{DEATHS} deaths in a row"] = {"ok": all(row["ok"] for row in endings), "seconds": _total(endings)}
    runner.close()
    files.write_json(out, rows)


def one(fault: str, wanted: str, runner: Runner) -> dict[str, Any]:
    """One trial with `fault`: how it was told, and what it left."""
    seconds = HANG_SECONDS if fault == "worker_hangs" else SECONDS
    with tempfile.TemporaryDirectory() as folder:
        bench = ProcessMeasurer("faults:open", {"fault": fault}, Path(folder), seconds, MEMORY, runner=runner)
        trial = bench.full(Setting(workers=int("worker" in fault or "shm" in fault)), 6)
    left = [child for child in psutil.Process().children(recursive=True) if child.pid != runner.warm_pid]
    ok = trial.ending == wanted and not left
    return {"ok": ok, "ending": trial.ending, "reason": trial.reason, "left": len(left), "seconds": trial.seconds}


def _total(rows: list[dict[str, Any]]) -> float:
    return sum(row["seconds"] for row in rows)


def _in_host(host: str, private: bool) -> dict[str, Any]:
    """Run `survive` in a host and read its verdicts; a host that died has none."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/rows.json"
        command = f"{sys.executable} {__file__} {host} {out} {int(private)}"
        shell = ["unshare", "-m", "sh", "-c", PRIVATE_SHM + command] if private else ["sh", "-c", f"exec {command}"]
        code = subprocess.run(shell, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=900).returncode
        rows = files.read_json(out) or {}
    return {**rows, "host": {"ok": code == 0 and bool(rows), "code": code}}


def _be_host(host: str, out: str, private: bool) -> None:
    """In the host's process: call `survive` here, or from a cell."""
    if host == "script":
        return survive(out, private)
    import nbformat

    code = f"import sys; sys.path[:0] = {sys.path[:2]!r}; import bench_survival as b; b.survive({out!r}, {private})"
    cells = [nbformat.v4.new_code_cell(text) for text in (code, "print('alive')")]
    book = nbformat.v4.new_notebook(cells=cells)
    if host == "kernel":
        from nbclient import NotebookClient

        book = NotebookClient(book, timeout=900, kernel_name="python3").execute()
    else:
        import papermill

        path = f"{out}.ipynb"
        nbformat.write(book, path)
        papermill.execute_notebook(path, path, kernel_name="python3", progress_bar=False, log_output=False)
        book = nbformat.read(path, 4)
    assert json.loads(json.dumps(book.cells[1].outputs[0]))["text"] == "alive\n"


def _private_shm() -> bool:
    command = ["unshare", "-m", "sh", "-c", PRIVATE_SHM + "true"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        _be_host(sys.argv[1], sys.argv[2], bool(int(sys.argv[3])))
