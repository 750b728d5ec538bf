"""Where one supervisor died the next one goes on, and what is said truly of a job; told from the files of its run."""

import shutil

import pytest

from stepladder.core import files
from stepladder.core.config import ParameterError
from stepladder.core.run import Run
from stepladder.launch import history, job, launching, ledger
from stepladder.launch import supervisor as supervising
from stepladder.launch.job import Job, State
from stepladder.launch.supervisor import Supervisor


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that was launched on a target of two hosts."""
    monkeypatch.delenv("STEPLADDER_OUTPUTS", raising=False)
    text = "targets: {box1: {hosts: [a, b], dollars_per_hour: 1.0}}"
    files.write_text(tmp_path / "params" / "targets.yaml", text)
    made = Run(tmp_path / "outputs" / "pde" / "full", tmp_path)
    asked = Job("pde", "full", "quick", "box1")
    job.write(asked, made.folder / "launch" / "job.json")
    job.write_state(made, State(asked.id))
    return made


class Machine:
    """An attempt on a machine that says how the job stands there, and keeps what was asked of it."""

    def __init__(self, state="new"):
        self.state, self.asked = state, []
        self.machine, self.in_place, self.where, self.host = "box1/a", False, None, None
        self.heard = self.seconds = 0.0

    def status(self):
        return {"state": self.state}

    def prepare(self):
        self.tell("sending")
        self.asked.append("prepare")

    def start(self, terms):
        self.asked.append("start")

    def settle(self):
        self.asked.append("settle")
        return 0

    def clean(self):
        self.asked.append("clean")
        return {}


@pytest.fixture
def supervisor(run, monkeypatch):
    """The supervisor of a job that has taken a machine; what is asked of that is in `made.asked`."""
    made = Machine()
    monkeypatch.setattr(supervising, "Attempt", lambda *_, tell, note: vars(made).update(tell=tell) or made)
    monkeypatch.setattr(supervising, "AGAIN", 0.0)
    found = Supervisor(run)
    found._take("box1/a", "")
    found.made = made
    return found


def test_a_job_that_is_home_is_not_done_again(supervisor, run):
    """Its supervisor was killed between bringing everything home and giving the machine back."""
    job.note(run, "ended", attempt=1, ending="failed", why="a bad batch")
    job.note(run, "pulled", attempt=1, what="the rest", bytes=0)
    assert supervisor._attempt().cause == "failed" and supervisor.made.asked == ["clean"]
    assert [use.state for use in ledger.uses(run.root)] == ["released"]


def test_what_is_not_home_yet_is_not_given_back(supervisor, run):
    job.note(run, "pulled", attempt=1, what="the rest", bytes=0)  # of before it was begun anew
    job.note(run, "started", attempt=1)
    job.note(run, "ended", attempt=1, ending="done", why="")
    assert history.settled(run, 1) is None


def test_a_machine_that_only_the_ledger_knows_is_given_back(supervisor, run):
    asked = job.of(run)
    ledger.note(run.root, "taken", "box1/b", asked.id, run="pde/full", price=1.0, hours=None)
    ledger.note(run.root, "taken", "box1/b", "another", run="pde/other", price=1.0, hours=None)
    Supervisor(run)._forget_untouched()
    assert [(use.machine, use.job) for use in ledger.living(run.root)] == [("box1/a", asked.id), ("box1/b", "another")]


def test_stopped_while_it_is_prepared_it_does_not_begin(supervisor, run):
    files.write_json(run.folder / "launch" / "stop.json", {"reason": "enough"})
    ending = supervisor._attempt()
    assert (ending.cause, ending.reason) == ("stopped", "enough") and supervisor.made.asked == ["clean"]


def test_what_a_dead_agent_left_is_not_deleted_before_it_is_home(supervisor, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    supervisor.made.state = "lost"
    monkeypatch.setattr(supervisor.made, "settle", full)
    ending = supervisor._attempt()
    assert ending.cause == "failed" and "make room" in ending.reason and supervisor.made.asked == []


def test_who_fetches_gets_the_newest_of_then_however_fast_others_are_made(supervisor, run):
    asked, box = run.folder / "launch" / "fetch", type("", (), {"look": lambda self, told, now: None})()
    asked.touch()
    supervisor._bring(box, [{"step": 20}, {"step": 10}])
    files.write_text(run.checkpoints / "step_00000010" / "COMMITTED", "")
    supervisor._bring(box, [{"step": 30}, {"step": 20}])
    assert asked.exists()
    files.write_text(run.checkpoints / "step_00000020" / "COMMITTED", "")
    supervisor._bring(box, [{"step": 30}, {"step": 20}])
    assert not asked.exists()


def test_a_full_disk_here_is_waited_for(run, monkeypatch):
    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Supervisor, "go", full)
    assert not supervising._goes(run)
    monkeypatch.setattr(Supervisor, "go", lambda self: None)
    assert supervising._goes(run)


def test_an_ending_that_nobody_knows_is_a_failure():
    told = {"state": "ended", "ended": {"cause": "vanished", "reason": "?"}}
    assert supervising._ending(told) == supervising.Ending("failed", "vanished: ?")


def test_a_copy_of_a_launched_run_has_no_job(run):
    copied = Run(run.folder.parent / "copy", run.root)
    shutil.copytree(run.folder, copied.folder)
    assert job.state_of(run) and job.state_of(copied) is None
    assert [found.name for found, *_ in launching.all_jobs(run.root)] == ["full"]
    with pytest.raises(ParameterError, match="no job of"):
        launching.stop(copied)


def test_a_supervisor_that_cannot_go_on_is_told_of(run):
    files.write_text(run.root / "params" / "targets.yaml", "targets: {box2: {hosts: [a]}}\n")
    with pytest.raises(ParameterError, match="no target 'box1'"):
        launching.follow(run, lambda state: None)


def test_no_secret_is_in_what_is_noted(run, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "0123456789" * 3)
    job.note(run, "ended", attempt=1, ending="failed", why="bad key " + "0123456789" * 3)
    ledger.note(run.root, "lost", "box1/a", "j", why="bad key " + "0123456789" * 3)
    for path in (run.folder / "launch" / "attempts.jsonl", ledger.path(run.root)):
        assert "0123456789" not in path.read_text()
