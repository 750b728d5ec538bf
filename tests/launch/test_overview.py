"""Launched jobs at a glance, from files alone."""

import subprocess
import sys
import time

import pytest

from stepladder.core import jsonlines
from stepladder.core.run import Run
from stepladder.launch import job as jobs
from stepladder.launch import overview
from stepladder.launch.job import Job, State
from stepladder.machine import processes


def begun(root, name, asked=None, **state):
    """A run with a job, as the launcher leaves it."""
    run = Run(root / "outputs" / "toy" / name, root)
    job = Job("toy", name, "quick", "box1", **{"what": "train", **(asked or {})})
    jobs.write(job, run.folder / "launch/job.json")
    jobs.write_state(run, State(job.id, **{"supervisor": processes.identity(), **state}))
    return run


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("STEPLADDER_OUTPUTS", raising=False)
    return tmp_path


def cells(row):
    return dict(zip(overview.COLUMNS, row.cells(), strict=True))


def test_a_row_tells_what_a_person_who_pays_asks(root):
    run = begun(root, "a", {"budget": 5.0}, state="running", machine="box1/hostA", attempt=1, spent=0.4231)
    run.event("training_stage", stage="fill", step=0, end=100, total=100)
    for step in range(1, 21):
        jsonlines.append(run.folder / "metrics.jsonl", {"step": step, "loss": 1.0, "time": time.time() + 2 * step})
    (row,) = overview.rows(root)
    assert row.is_open and cells(row) == {
        "run": "toy/a",
        "state": "running",
        "machine": "box1/hostA",
        "doing": "step 20 of 100",
        "dollars": "0.42 of 5",
        "time left": "3 min",
        "remark": "",
    }


def test_steps_of_an_earlier_training_are_not_those_of_the_job(root):
    run = begun(root, "a", state="running", machine="box1/hostA")
    for step in range(1, 5):
        jsonlines.append(run.folder / "metrics.jsonl", {"step": step, "loss": 1.0, "time": time.time() - 900 + step})
    (row,) = overview.rows(root)
    assert row.doing == "-" and row.left == "-"


def test_a_machine_whose_clock_is_off_by_an_hour_is_told_as_it_is(root):
    run = begun(root, "a", state="running", machine="box1/hostA", clock=-3600.0)
    for step in range(1, 5):
        jsonlines.append(run.folder / "metrics.jsonl", {"step": step, "loss": 1.0, "time": time.time() - 3600 + step})
    (row,) = overview.rows(root)
    assert row.doing == "step 4"
    assert "silent" not in overview.sentence(run, jobs.of(run), jobs.state_of(run))


def test_the_newest_job_comes_first_and_one_that_has_ended_has_no_button(root):
    begun(root, "old", {"created": "2026-01-01T00:00:00+00:00"}, state="done", reason="all steps are done", spent=1.5)
    begun(root, "new", state="queued", doing="sending 3.1 GB of data")
    new, old = overview.rows(root)
    assert (new.name, new.remark, new.is_open) == ("toy/new", "sending 3.1 GB of data", True)
    assert (old.name, old.remark, old.is_open, old.dollars) == ("toy/old", "all steps are done", False, "1.50")


def test_a_job_that_nobody_watches_says_so(root):
    begun(root, "a", state="running", machine="box1/hostA", supervisor={})
    (row,) = overview.rows(root)
    assert row.is_open and "nobody here watches it" in row.remark


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            {"state": "queued", "doing": "asking the machines of box1"},
            "queued, no machine; asking the machines of box1",
        ),
        ({"state": "queued", "machine": "box1/a", "doing": "examining it"}, "preparing box1/a; examining it"),
        ({"state": "running", "machine": "box1/b", "attempt": 2}, "running on box1/b (machine 2); starting"),
        ({"state": "done", "machine": "box1/b", "reason": "all is done"}, "done on box1/b"),
    ],
)
def test_the_sentence_begins_with_what_it_is_at_and_where(root, state, words):
    run = begun(root, "a", {"budget": 5}, spent=0.0034, **state)
    assert overview.sentence(run, jobs.of(run), jobs.state_of(run)) == f"{words}; under 0.01 of 5 dollars"


def test_a_machine_that_says_nothing_is_told_of_long_before_it_is_lost(root):
    begun(root, "a", state="running", machine="box1/a", heard=time.time() - 2)
    begun(root, "b", state="running", machine="box1/b", heard=time.time() - 21)
    assert {row.name: row.remark[:19] for row in overview.rows(root)} == {
        "toy/a": "",
        "toy/b": "no word from it for",
    }


def test_looking_imports_nothing_that_computes(root):
    begun(root, "a", state="running", machine="box1/hostA")
    code = (
        "import sys; from pathlib import Path; from stepladder.launch import overview;"
        "print(*overview.rows(Path(sys.argv[1]))[0].cells());"
        "print(*(name for name in ('torch', 'numpy', 'pandas', 'IPython') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    told, imported = done.stdout.splitlines()
    assert told.startswith("toy/a running box1/hostA") and imported == ""
