"""A notebook's training on a rented machine, seen from here: launched, followed, attached to, stopped, its ending told.

The launcher is played: the files of a job appear as a real one writes them.
"""

import shutil
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from stepladder.core import files, jsonlines
from stepladder.core.config import ParameterError, check, dump
from stepladder.core.schema import LaunchParams
from stepladder.launch import job as jobs
from stepladder.launch import launching, training
from stepladder.launch.job import State
from stepladder.machine import processes
from stepladder.machine.signals import Preempted
from stepladder.training import process, worker
from tests.conftest import ROOT
from tests.training.conftest import QUICK, TOY, make_run, toy  # noqa: F401  (fixtures)


class Elsewhere:
    """Plays `launching`: one machine, whose job does what it is told to."""

    def __init__(self):
        self.launched, self.stopped = [], []

    def launch(self, run, job):
        state = jobs.state_of(run)
        if state and state.is_claim:
            jobs.write_state(run, replace(state, supervisor=processes.identity()))
            return jobs.state_of(run)
        self.launched.append(job)
        jobs.write(job, run.folder / "launch" / "job.json")
        self.say(run, state="running", machine="box1/hostA", attempt=1, spent=0.42)
        return jobs.state_of(run)

    def stop(self, run, reason="", wait=True):
        self.stopped.append(run.name)
        self.say(run, state="preempted", reason="it has saved and stopped")

    def say(self, run, **changes):
        """How the job stands from now on; its supervisor lives, unless told otherwise."""
        job = jobs.of(run)
        state = jobs.state_of(run)
        state = state if state and state.job == job.id else State(job.id)
        jobs.write_state(run, replace(state, **{"supervisor": processes.identity(), **changes}))

    def ends(self, run, state, reason="", outcome=None):
        if outcome:
            files.write_json(worker.outcome_path(run), outcome)
        self.say(run, state=state, reason=reason)


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    found = Elsewhere()
    monkeypatch.setattr(launching, "launch", found.launch)
    monkeypatch.setattr(launching, "stop", found.stop)
    monkeypatch.setattr(training, "target", lambda root, name: SimpleNamespace(budget=7.0, hours=None, secrets=["KEY"]))
    return found


@pytest.fixture
def run(make_run):  # noqa: F811
    return make_run()


def place(**values):
    return check(LaunchParams, {"on": "box1", **values})


def start(run, **asked):
    return process.start(run, worker.read_parameters(run)[1], place(**asked))


def soon(act):
    """Do something while the test waits."""
    timer = threading.Timer(0.3, act)
    timer.start()
    return timer


def write_steps(run, steps):
    for step in steps:
        jsonlines.append(run.folder / "metrics.jsonl", {"step": step, "loss": 1.0, "time": time.time() + step / 4})


def test_a_training_elsewhere_is_asked_for_with_the_runs_parameters_and_the_targets_limits(run, elsewhere):
    job = start(run)
    (asked,) = elsewhere.launched
    assert (asked.what, asked.target, asked.name, asked.budget) == ("train", "box1", "toy/run", 7.0)
    assert asked.secrets == ("KEY",) and asked.restarts == 5 and start(run, budget=5).job.id == asked.id
    assert worker.read_parameters(run, run.folder / "05_training/params.yaml")[1].training.steps == 30
    assert job.running() and not job.attached


def test_its_records_are_followed_to_its_end_like_those_of_a_training_here(run, elsewhere):
    job, seen = start(run), []
    write_steps(run, range(1, 4))

    def goes_on():
        write_steps(run, range(4, 31))
        elsewhere.ends(run, "done", "all is home", {"state": "done", "reason": "all 30 steps are done"})

    soon(goes_on)
    assert job.follow(seen.extend, poll=0.05) == "all 30 steps are done"
    assert [line["step"] for line in seen] == list(range(1, 31))


def test_where_it_runs_is_said_with_the_dollars_and_the_time_left(run, elsewhere):
    job = start(run, budget=5)
    run.event("training_stage", stage="fill", step=0, end=30, total=30)
    write_steps(run, range(1, 11))
    said = job.where()
    assert "on box1/hostA" in said and "step 10 of 30" in said and "4 steps/s" in said and "5 s left" in said
    assert "0.42 of 5 dollars" in said and "$" not in said, "a notebook takes dollar signs for a formula"
    elsewhere.say(run, state="queued", machine=None, doing="sending 3.1 GB of data")
    assert "queued" in job.where() and "sending 3.1 GB of data" in job.where() and "step" not in job.where()


def test_a_new_kernel_attaches_and_knows_the_code_that_was_sent(run, elsewhere, capsys):
    first = start(run)
    record = files.read_json(run.folder / "launch/key.json")
    record["key"]["code"]["training/loop.py"] = "old"
    files.write_json(run.folder / "launch/key.json", record)
    second = start(run)
    assert second.attached and second.job.id == first.job.id and len(elsewhere.launched) == 1
    assert second.code["training/loop.py"] == "old" and "its result will be stale" in capsys.readouterr().out


def test_other_data_or_parameters_are_refused_while_it_runs(run, elsewhere):
    start(run)
    params = worker.read_parameters(run)[1]
    other = params.model_copy(update={"training": params.training.model_copy(update={"learning_rate": 0.5})})
    with pytest.raises(ParameterError, match=r"training.learning_rate .* -> 0.5.*`stepladder stop"):
        process.start(run, other, place())
    assert len(elsewhere.launched) == 1


def test_a_training_that_ended_well_meanwhile_rents_nothing_again(run, elsewhere, monkeypatch):
    start(run)
    elsewhere.ends(run, "done", outcome={"state": "done", "reason": "all 30 steps are done"})
    monkeypatch.setattr(training.checkpoint, "committed", lambda folder: [(30, folder)])
    job = start(run)
    assert not job.running() and job.ending() == "all 30 steps are done" and len(elsewhere.launched) == 1
    monkeypatch.setattr(training.checkpoint, "committed", lambda folder: [(20, folder)])
    assert start(run).running() and len(elsewhere.launched) == 2, "what is not whole goes on"


def test_nothing_is_launched_before_04_is_done(run, elsewhere):
    (run.folder / "04_scaling/result.json").unlink()
    with pytest.raises(ParameterError, match="04_scaling"):
        start(run)
    assert not elsewhere.launched


@pytest.mark.parametrize(
    ("state", "outcome", "error", "words"),
    [
        ("preempted", {"state": "preempted", "reason": "saved at step 12"}, Preempted, "saved at step 12"),
        ("oom", {"state": "oom", "reason": "CUDA out of memory"}, process.OutOfMemoryError, "CUDA out of memory"),
        ("failed", {"state": "failed", "reason": "the loss is nan"}, process.TrainingFailed, "the loss is nan"),
        ("timeout", {"state": "preempted", "reason": "a signal"}, process.TrainingFailed, "5 dollars are spent"),
    ],
)
def test_every_end_raises_what_fits_it_with_the_last_words_from_there(run, elsewhere, state, outcome, error, words):
    job = start(run)
    (run.folder / "launch/box.log").write_text("first\nthe last line from the box\n")
    elsewhere.ends(run, state, "5 dollars are spent", outcome)
    with pytest.raises(error) as raised:
        job.follow(poll=0.05)
    assert words in str(raised.value)
    assert error is Preempted or "the last line from the box" in str(raised.value)


def test_a_job_without_a_machine_says_that_it_can_go_on_here(run, elsewhere):
    job = start(run)
    elsewhere.say(run, state="lost", machine=None, reason="box1 has not answered for 180 s", supervisor={})
    with pytest.raises(process.TrainingFailed) as raised:
        job.follow(poll=0.05)
    said = str(raised.value)
    assert "has not answered" in said and "'on': None" in said.replace('"', "'") and "--on local" in said


def test_a_job_whose_supervisor_is_gone_is_taken_up_by_running_the_cell_again(run, elsewhere):
    job = start(run)
    elsewhere.say(run, supervisor={})
    with pytest.raises(process.TrainingFailed, match=r"box1/hostA goes on by itself.*Run this cell again"):
        job.follow(poll=0.05)
    again = start(run)
    assert again.attached and again.running()


def test_the_button_asks_without_waiting_and_a_kernel_that_must_stop_waits(run, elsewhere):
    job = start(run)
    job.ask_to_stop()
    assert elsewhere.stopped == ["run"] and not job.running()
    job = start(run)

    def told_to_stop(lines):
        raise Preempted("SIGTERM while this cell ran")

    write_steps(run, [1])
    with pytest.raises(Preempted, match="while this cell ran"):
        job.follow(told_to_stop, poll=0.05)
    assert elsewhere.stopped == ["run", "run"] and not job.running()


def test_in_a_persons_jupyterlab_an_interrupt_leaves_the_job_alone(run, elsewhere, monkeypatch):
    def interrupted(lines):
        raise KeyboardInterrupt

    write_steps(run, [1])
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook")
    monkeypatch.delenv("STEPLADDER_HEADLESS", raising=False)
    job = start(run)
    with pytest.raises(KeyboardInterrupt):
        job.follow(interrupted, poll=0.05)
    assert job.running() and not elsewhere.stopped
    monkeypatch.setenv("STEPLADDER_HEADLESS", "1")
    with pytest.raises(KeyboardInterrupt):
        start(run).follow(interrupted, poll=0.05)
    assert elsewhere.stopped == ["run"], "under an engine nobody is left to watch"


def search(run):
    return training.search(run, worker.read_parameters(run, stage="04_scaling")[1], place())


def test_a_search_elsewhere_tells_what_was_tried_and_is_taken_once(run, elsewhere):
    job = search(run)
    assert elsewhere.launched[-1].what == "ladder" and job.news() == []
    run.event("rung", setting="batch 4", rate=41.2, verdict="better", reason="first")
    run.event("rung", setting="batch 8", rate=None, verdict="refused", reason="out of memory")
    assert "2 settings tried, the best 41.2 samples/s" in job.where()
    kept = run.folder / "04_scaling/kept/ladder.json"
    files.write_json(kept, {"chosen": None})
    elsewhere.ends(run, "done", "the search is done")
    assert not search(run).running() and len(elsewhere.launched) == 1, "it ended while nobody looked"
    result = files.read_json(run.folder / "04_scaling/result.json")
    files.write_json(run.folder / "04_scaling/result.json", {**result, "finished": "2999-01-01T00:00:00+00:00"})
    assert search(run).running() and len(elsewhere.launched) == 2, "its result was recorded: measure again"
    assert not kept.exists()


def test_a_search_that_failed_there_says_why(run, elsewhere):
    job = search(run)
    (run.folder / "launch/box.log").write_text("no space left on the device\n")
    elsewhere.ends(run, "failed", "it ended with code 1")
    with pytest.raises(process.TrainingFailed, match=r"code 1\n.*\n.*no space left"):
        job.follow(poll=0.05)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of its own in which the toy study can be launched."""
    root = tmp_path / "project"
    for folder in ("lib", "notebooks", "params"):
        shutil.copytree(ROOT / folder, root / folder)
    shutil.copytree(TOY / "toy", root / "lib/stepladder/studies/toy")
    files.write_text(root / "params/toy/quick.yaml", dump({"training": QUICK["training"]}))
    monkeypatch.setenv("STEPLADDER_ROOT", str(root))
    monkeypatch.setenv("STEPLADDER_OUTPUTS", str(tmp_path))


@pytest.mark.slow
@pytest.mark.drill
def test_a_real_launch_on_this_machine_is_followed_to_its_end(project, run):
    job, seen = start(run, on="local"), []
    assert job.follow(seen.extend, poll=0.05) == "all 30 steps are done"
    assert seen == run.metrics() and len(seen) == 35 and job.state.machine == "local/here"
    again = start(run, on="local")
    assert not again.running() and again.job.id == job.job.id, "nothing is launched to find out that all is done"
