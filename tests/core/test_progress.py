"""What a run is doing is told from its files, whoever started it."""

import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stepladder.core import aside, files, jsonlines, lock, profiles, progress
from stepladder.core.run import Run
from stepladder.core.stages import STAGES
from stepladder.machine import processes

ROOT = Path(__file__).parents[2]
START = 1_800_000_000.0


@pytest.fixture
def run(outputs, monkeypatch) -> Run:
    """A run that nobody wrote a `run.json` of, as papermill and JupyterLab leave it; its clock begins at START."""
    monkeypatch.setattr(progress.processes, "born", lambda process: 0.0)
    checked = profiles.load(ROOT, "plateau", "quick")
    made = Run.of(ROOT, checked)
    made.begin(checked)
    return made


@pytest.fixture
def sleeper():
    """Another process that lives."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def told(run: Run, at: float, kind: str, **fields) -> None:
    jsonlines.append(
        run.folder / "events.jsonl",
        {"time": datetime.fromtimestamp(START + at, UTC).isoformat(), "kind": kind, **fields},
    )


def steps(run: Run, numbers: range, begin: float, each: float, stage: str = "fill") -> None:
    for count, number in enumerate(numbers):
        record = {"step": number, "stage": stage, "loss": 1.0, "time": START + begin + each * count}
        jsonlines.append(run.folder / "metrics.jsonl", record)


def job(run: Run, pid: int) -> None:
    record = {**processes.identity(pid), "run": f"{run.study}/{run.name}", "key": {}}
    files.write_json(run.stage_folder("05_training") / "job.json", record)


def test_a_training_by_hand_tells_its_step_rate_and_time_left(run, sleeper):
    job(run, sleeper.pid)
    told(run, 0, "training_started", pid=sleeper.pid)
    told(run, 5, "training_stage", stage="fill", step=0, end=400, total=1000)
    steps(run, range(1, 101), begin=10, each=0.5)
    found = progress.training(run.folder, now=START + 10 + 99 * 0.5 + 1)
    assert (found.step, found.total, found.phase) == (100, 1000, "fill")
    assert found.rate == pytest.approx(2.0) and found.left == pytest.approx(450) and found.silent == pytest.approx(1)
    state = run.status()
    assert (
        state["state"] == "running" and "05_training: step 100 of 1000 (fill), 2 steps/s, 8 min left" in state["reason"]
    )


def test_what_an_earlier_start_logged_gives_neither_rate_nor_step(run, sleeper):
    told(run, 0, "training_started", pid=1)
    told(run, 1, "training_stage", stage="fill", step=0, end=100, total=100)
    steps(run, range(1, 31), begin=2, each=1.0)
    told(run, 9000, "training_started", pid=sleeper.pid)
    job(run, sleeper.pid)
    first = progress.training(run.folder, now=START + 9001)
    assert (first.step, first.total, first.rate, first.left) == (0, None, None, None)  # it has not said a word yet
    told(run, 9003, "resumed", step=20, stage="fill")
    told(run, 9004, "training_stage", stage="fill", step=20, end=100, total=100)
    assert progress.training(run.folder, now=START + 9005).step == 20
    steps(run, range(21, 31), begin=9010, each=0.1)
    assert progress.training(run.folder, now=START + 9012).rate == pytest.approx(10)


def test_a_worker_started_by_its_command_alone_is_not_told_by_an_earlier_starts_records(run, sleeper, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("STEPLADDER_OUTPUTS", str(run.folder.parents[1]))
    now = time.time()
    told(run, now - 9000 - START, "training_started", pid=1)
    steps(run, range(1, 31), begin=now - 8000 - START, each=1.0)
    job(run, sleeper.pid)
    found = progress.training(run.folder)
    assert (found.step, found.rate) == (0, None) and found.silent < 100
    steps(run, range(1, 11), begin=now + 1 - START, each=0.1)
    assert progress.training(run.folder).step == 10


def test_a_training_whose_process_is_gone_is_none_and_one_that_says_nothing_is_told_silent(run, sleeper):
    job(run, sleeper.pid)
    told(run, 0, "training_started", pid=sleeper.pid)
    steps(run, range(1, 3), begin=1, each=1.0)
    assert "silent for 15 min" in str(progress.training(run.folder, now=START + 902))
    sleeper.kill()
    sleeper.wait()
    assert progress.training(run.folder) is None and run.status()["state"] == "begun"


def test_a_training_on_another_machine_lives_by_its_lock(run, monkeypatch):
    place = run.stage_folder("05_training")
    other = {**processes.identity(), "boot": "another", "token": "t", "released": False}
    files.write_json(place / ".lock" / "00000001", other)
    assert run.status()["state"] == "running"
    monkeypatch.setattr(lock, "LEASE", -1.0)
    assert run.status()["state"] == "begun"


def test_a_copied_run_does_not_train(run, sleeper, outputs):
    job(run, sleeper.pid)
    shutil.copytree(run.folder, outputs / "plateau" / "copy")
    assert run.status()["state"] == "running"
    assert Run(outputs / "plateau" / "copy", ROOT).status()["state"] == "begun"


def test_a_stage_open_in_a_living_notebook_is_named(run, sleeper):
    place = aside.make(run.stage_folder("03_smoke_test"))
    assert run.status() == {"state": "open", "reason": "03_smoke_test is open in a notebook"}
    sleeper.kill()
    sleeper.wait()
    files.write_json(place / aside.OWNER, {**processes.identity(), "pid": sleeper.pid, "started": 1})
    assert run.status() == {"state": "begun", "reason": "0 of 7 stages have a result"}


def test_a_run_walked_by_hand_is_done_when_its_last_stage_is_and_failed_when_its_training_is(run):
    files.write_json(run.stage_folder("05_training") / "outcome.json", {"state": "oom", "reason": "log\nout of memory"})
    assert run.status() == {"state": "oom", "reason": "05_training: out of memory"}
    for stage in STAGES:
        files.write_json(run.stage_folder(stage.name) / "result.json", {})
    assert run.status()["state"] == "done"


def test_a_walk_names_its_stage_and_cell_however_long_it_beats(run):
    with run.locked():
        run.set_status("running")
        run.event("stage_start", stage="02_conversion", cells=9)
        run.event("cell_start", stage="02_conversion", cell=6, of=9, title="Convert")
        for _ in range(progress.RECENT - 10):
            run.event("heartbeat", stage="02_conversion", memory_mb=1)
        run.event("progress", label="converting", done=3, total=40, text="converting 3/40, 1/s, 37 s left, 90 MB")
        said = run.status()["reason"]
        assert said == "02_conversion, cell 6 of 9: Convert, converting 3/40, 1/s, 37 s left, 90 MB"
        for _ in range(progress.RECENT):
            run.event("heartbeat", stage="02_conversion", memory_mb=1)
        assert run.status()["reason"] == "02_conversion"
    assert run.status()["state"] == "stale"


def test_damaged_files_are_no_error(run, sleeper):
    job(run, sleeper.pid)
    for name in ("events.jsonl", "metrics.jsonl"):
        (run.folder / name).write_bytes(b'\0\0\0{"kind": "training_started"}\n[1]\n{"kind": "training_started"}\n{"ste')
    assert run.status()["state"] == "running"
    (run.folder / "05_training" / "job.json").write_text("[1]")
    (run.folder / "05_training" / "outcome.json").write_text("")
    assert run.status()["state"] == "begun"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3660, "1 h 1 min"), (270000, "3 d 3 h")]
)
def test_durations_are_read_at_a_glance(seconds, words):
    assert progress.duration(seconds) == words


def test_nothing_is_written_by_looking(run):
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    run.status()
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
