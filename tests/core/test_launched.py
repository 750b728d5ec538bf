"""What a launched run does on its machine is told from the records that came back, by that machine's clock."""

import socket
from datetime import UTC, datetime
from typing import Any

import pytest

from stepladder.core import claim, files, jsonlines, launched, profiles
from stepladder.core.run import Run
from stepladder.launch import job
from stepladder.machine import processes
from tests.conftest import ROOT

START = 1_800_000_000.0  # by this machine's clock


class Box:
    """A job on a machine whose clock is ahead; what it writes comes back as it is."""

    def __init__(self, run: Run, what: job.What = "walk", clock: float = 0.0):
        self.run, self.clock = run, clock
        self.state = job.State("j", "running", machine="box1/hostA", clock=clock, heard=START + 600, attempt=1)
        created = datetime.fromtimestamp(START, UTC).isoformat()
        asked = job.Job("plateau", "quick", "quick", "box1", what, created=created, id="j")
        job.write(asked, run.folder / "launch" / "job.json")
        self.stands()

    def stands(self, **facts: Any) -> None:
        for name, value in facts.items():
            setattr(self.state, name, value)
        job.write_state(self.run, self.state)

    def tells(self, at: float, kind: str, **fields: Any) -> None:
        time = datetime.fromtimestamp(START + self.clock + at, UTC).isoformat()
        jsonlines.append(self.run.folder / "events.jsonl", {"time": time, "kind": kind, **fields})

    def steps(self, numbers: range, at: float, each: float = 0.5) -> None:
        for count, number in enumerate(numbers):
            line = {"step": number, "stage": "fill", "loss": 1.0, "time": START + self.clock + at + each * count}
            jsonlines.append(self.run.folder / "metrics.jsonl", line)

    def trains(self, at: float = 100.0) -> None:
        self.tells(at, "stage_start", stage="05_training")
        self.tells(at + 1, "cell_start", stage="05_training", cell=3, of=9, title="Train")
        self.tells(at + 2, "training_started", pid=7)
        self.tells(at + 5, "training_stage", stage="fill", step=0, end=400, total=2000)

    def says(self, at: float) -> str:
        found = launched.status(self.run.folder, None, START + at)
        assert found is not None
        return found["reason"]


@pytest.fixture
def run(outputs) -> Run:
    checked = profiles.load(ROOT, "plateau", "quick")
    made = Run.of(ROOT, checked)
    made.begin(checked)
    return made


@pytest.mark.parametrize("clock", [0.0, 3600.0, -3600.0])
@pytest.mark.parametrize("what", ["walk", "train"])
def test_a_training_elsewhere_tells_machine_step_rate_time_left_and_dollars(run, what, clock):
    box = Box(run, what, clock)
    box.trains()
    box.steps(range(1, 313), at=200)
    box.stands(spent=1.2, price=2.0, heard=START + 360)
    said = "on box1/hostA: 05_training: step 312 of 2000 (fill), 2 steps/s, 14 min left, $1.20 so far"
    assert box.says(361) == said
    assert run.status()["state"] == "running" and run.status()["reason"].startswith(said)


@pytest.mark.parametrize("clock", [0.0, 3600.0, -3600.0])
def test_a_machine_that_answers_and_computes_nothing_is_silent_by_its_own_clock(run, clock):
    box = Box(run, clock=clock)
    box.trains()
    box.steps(range(1, 3), at=200)
    box.stands(heard=START + 1100)
    assert "silent for 15 min" in box.says(1101) and "last heard" not in box.says(1101)


def test_what_a_cut_link_keeps_back_is_no_silence_and_the_cut_is_told(run):
    box = Box(run)
    box.trains()
    box.steps(range(1, 3), at=200)
    box.stands(heard=START + 202)
    said = box.says(202 + 3 * 3600)
    assert "silent" not in said and said.endswith("; last heard 3 h 0 min ago")


def test_a_training_of_before_the_launch_is_not_the_jobs(run):
    box = Box(run, "train")
    box.steps(range(1, 101), at=-9000)
    box.tells(-9000, "training_stage", stage="fill", step=0, total=2000)
    box.stands(doing="starting")
    assert box.says(10) == "on box1/hostA: starting"
    box.tells(20, "resumed", step=100, stage="fill")
    box.tells(21, "training_stage", stage="fill", step=100, total=2000)
    box.stands(doing="")
    assert "step 100 of 2000 (fill)" in box.says(30)


@pytest.mark.parametrize("clock", [3600.0, -3600.0])
def test_after_a_loss_the_rate_is_that_of_the_next_machine_whatever_both_clocks_say(run, clock):
    first = Box(run, "train")
    first.tells(1, "training_stage", stage="fill", step=0, total=400)
    first.steps(range(1, 101), at=10, each=0.1)
    second = Box(run, "train", clock)
    second.stands(machine="box1/hostB", attempt=2)
    second.tells(300, "resumed", step=80, stage="fill")
    second.tells(301, "training_stage", stage="fill", step=80, total=400)
    second.steps(range(81, 101), at=310, each=1.0)
    assert "on box1/hostB: 05_training: step 100 of 400 (fill), 1 steps/s, 5 min left" in second.says(331)


def test_a_walk_elsewhere_names_its_stage_and_cell_before_and_after_its_training(run):
    box = Box(run)
    box.tells(-50, "cell_start", stage="07_visualization", cell=1, of=2, title="Of an earlier walk")
    box.stands(doing="starting")
    assert box.says(1) == "on box1/hostA: starting"
    box.stands(doing="")
    box.tells(10, "stage_start", stage="04_scaling")
    box.tells(11, "cell_start", stage="04_scaling", cell=4, of=8, title="Climb")
    assert box.says(12) == "on box1/hostA: 04_scaling, cell 4 of 8: Climb"
    box.trains(100)
    box.steps(range(1, 9), at=110)
    assert "step 8 of 2000" in box.says(115)
    box.tells(120, "cell_start", stage="05_training", cell=4, of=9, title="Look")
    assert box.says(121) == "on box1/hostA: 05_training, cell 4 of 9: Look"


@pytest.mark.parametrize("clock", [0.0, 3600.0, -3600.0])
def test_a_search_of_settings_elsewhere_tells_how_many_it_has_tried(run, clock):
    box = Box(run, "ladder", clock)
    box.tells(-100, "rung", setting="of an earlier search")
    box.stands(doing="starting")
    assert box.says(1) == "on box1/hostA: starting"
    box.stands(doing="")
    for workers in (0, 2):
        box.tells(10 + workers, "rung", setting=f"workers {workers}", verdict="kept")
    assert box.says(20) == "on box1/hostA: 04_scaling: 2 settings tried, the last workers 2"


def test_a_queued_job_tells_what_is_done_for_it_and_why(run):
    box = Box(run)
    box.stands(state="queued", machine=None, heard=None)
    assert run.status() == {"state": "queued", "reason": "waits for a machine"}
    box.stands(machine="box1/hostB", doing="sending 3.1 GB of data", reason="hostA gave no card", price=2.0, spent=0.25)
    assert box.says(1) == "box1/hostB: sending 3.1 GB of data, $0.25 so far; hostA gave no card"


def test_between_two_machines_a_run_waits_and_says_why(run):
    box = Box(run)
    box.stands(state="queued", machine=None, reason="no answer for 3 min; the next machine is tried", heard=START)
    assert run.status()["state"] == "queued"
    assert "no answer for 3 min; the next machine is tried; last heard 3 h 0 min ago" in box.says(3 * 3600)


def test_a_supervisor_that_is_gone_is_told_with_the_way_back_and_a_living_one_is_not(run):
    box = Box(run)
    box.stands(supervisor=processes.identity(), doing="starting")
    assert box.says(1) == "on box1/hostA: starting"
    gone = "its supervisor is gone: `stepladder launch` the same again to follow it"
    for facts in ({"started": 1}, {"boot": "before this machine was started again"}):
        box.stands(supervisor={**processes.identity(), **facts})
        assert box.says(1) == f"on box1/hostA: starting; {gone}"
    box.stands(supervisor={**processes.identity(), "host": "elsewhere", "boot": "x"})
    assert socket.gethostname() != "elsewhere" and box.says(1).endswith("; followed from elsewhere")


def test_a_run_that_no_job_has_is_told_by_what_lives_here(run):
    Box(run).stands(state="done")
    assert launched.status(run.folder, None) is None and run.status()["state"] == "begun"


def test_records_cut_on_their_way_are_no_error(run):
    box = Box(run)
    files.write_text(run.folder / "launch" / "job.json", "{")
    for name in ("events.jsonl", "metrics.jsonl"):
        (run.folder / name).write_bytes(b'\0\0{"kind": "training_started"}\n[1]\n{"kind": "training_started", "time"')
    box.stands(doing="fetching")
    assert box.says(1) == "on box1/hostA: fetching" and claim.asked(run.folder) == {}


@pytest.mark.parametrize("what", ["walk", "train"])
def test_what_the_machine_before_did_is_not_what_the_next_one_does(run, what):
    box = Box(run, what)
    box.trains()
    box.steps(range(1, 313), at=200)
    box.stands(machine="box2/hostB", attempt=2, began=START + 500)
    assert box.says(501) == "on box2/hostB"
    box.trains(at=510)
    box.steps(range(281, 291), at=520)
    assert "on box2/hostB: 05_training: step 290 of 2000" in box.says(530)
