"""A run that a launched job has is walked by nobody else, and looked at by everybody."""

import shutil

import pytest

from stepladder.core import claim, files, lock, profiles
from stepladder.core.run import STATES, Run
from stepladder.launch import job
from tests.conftest import ROOT


@pytest.fixture
def run(outputs) -> Run:
    """A run that has begun."""
    checked = profiles.load(ROOT, "plateau", "quick")
    made = Run.of(ROOT, checked)
    made.begin(checked)
    return made


def claimed(run: Run, state: str = "running", **facts) -> job.State:
    """A job takes the run."""
    record = job.State("job1", state, machine="box1/hostA", **facts)
    job.write_state(run, record)
    return record


@pytest.mark.parametrize("state", claim.STATES)
def test_a_claimed_run_is_not_locked_here_and_the_way_out_is_named(run, state):
    claimed(run, state)
    said = f"plateau/quick is {state} on box1/hostA.*`stepladder stop plateau/quick`"
    with pytest.raises(lock.Held, match=said), run.locked():
        pass
    assert lock.holder(run.folder) is None


@pytest.mark.parametrize("state", sorted(set(STATES) - set(claim.STATES)))
def test_a_job_that_has_ended_claims_nothing(run, state):
    claimed(run, state)
    with run.locked() as held:
        assert held is not None


def test_the_processes_of_the_job_itself_pass_and_those_of_another_do_not(run, monkeypatch):
    claimed(run)
    monkeypatch.setenv(claim.JOB, "job0")
    with pytest.raises(lock.Held), run.locked():
        pass
    monkeypatch.setenv(claim.JOB, "job1")
    with run.locked() as held:
        assert held is not None


def test_who_works_under_the_runs_lock_already_goes_on(run, monkeypatch):
    with run.locked() as held:
        monkeypatch.setenv(lock.TOKEN, held.token)
        claimed(run)  # a kernel of this walk has launched its training
        with run.locked() as inner:
            assert inner is None


def test_a_claim_made_while_the_lock_was_waited_for_counts(run, monkeypatch):
    held = lock.Lock

    def late(*arguments):
        found = held(*arguments)
        claimed(run)
        return found

    monkeypatch.setattr(lock, "Lock", late)
    with pytest.raises(lock.Held, match="launched from here"), run.locked():
        pass
    assert lock.holder(run.folder) is None  # it was given back


def test_a_claim_that_cannot_be_read_stands_and_is_told_with_the_way_out(run):
    files.write_text(run.folder / claim.PATH, '{"job"')
    with pytest.raises(lock.Held, match=r"cannot be told.*state.json.*delete the file where no machine"), run.locked():
        pass
    said = run.status()
    assert said["state"] == "stale" and "state.json" in said["reason"] and "jobs" in said["reason"]


def test_what_a_notebook_made_is_recorded_once_the_job_has_ended(run):
    checked = profiles.load(ROOT, "plateau", "quick")
    made = run.make_aside("01_inventory")
    (made / "inventory.txt").write_text("two files")
    claimed(run)
    with pytest.raises(lock.Held):
        run.finish_stage("01_inventory", checked, [], made=made)
    assert run.result("01_inventory") is None and (made / "inventory.txt").exists()
    claimed(run, "done")
    run.finish_stage("01_inventory", checked, [], made=made)
    assert run.states()["01_inventory"].state == "done"


def test_a_run_that_ended_on_no_machine_is_told_by_who_followed_it(outputs):
    for state in ("lost", "timeout"):
        run = Run(outputs / "plateau" / state, ROOT)
        claimed(run, "failed")
        run.set_status(state, "5 machines were lost")
        said = run.status()
        assert (said["state"], said["reason"], said.get("attempts")) == (state, "5 machines were lost", 0)


def test_the_last_record_of_a_lost_machine_becomes_lost_and_keeps_what_it_says(run):
    box = {"state": "running", "reason": "", "attempts": 2, "created": "x", "device": "H200", "process": {"pid": 7}}
    files.write_json(run.folder / "run.json", box)
    claimed(run, "failed")
    run.set_status("lost", "hostA answers no more")
    said = run.status()
    assert (said["state"], said.get("attempts"), said.get("device"), said.get("exit_code")) == ("lost", 2, "H200", 75)


def test_a_copy_of_a_claimed_run_is_free(run, outputs):
    job.write(job.Job("plateau", "quick", "quick", "box1"), run.folder / "launch" / "job.json")
    claimed(run)
    shutil.copytree(run.folder, outputs / "plateau" / "copy")
    copy = Run(outputs / "plateau" / "copy", ROOT)
    with copy.locked() as held:
        assert held is not None and copy.status()["state"] == "begun"
    assert run.status()["state"] == "running"


def test_looking_at_a_claimed_run_writes_nothing(run):
    claimed(run)
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    for look in (run.status, run.states, run.results):
        look()
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
