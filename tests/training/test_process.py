"""The notebook's side: starting, following, attaching, stopping, and true words for every end."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from stepladder.core import files
from stepladder.core.config import ParameterError, merge
from stepladder.machine import processes
from stepladder.machine.signals import Preempted
from stepladder.training import checkpoint, process
from stepladder.training.worker import read_parameters
from tests.machine import drills
from tests.training.conftest import log_of, train_here, untimed, wait_for_step

SLOW = {"model": {"sleep": 0.03}}


def start(run):
    return process.start(run, read_parameters(run)[1])


def threads_kill(pid, after, condition):
    """Send a signal from another thread once `condition` holds."""

    def act():
        while not condition():
            time.sleep(0.01)
        os.kill(pid, after)

    threading.Thread(target=act, daemon=True).start()


def reached(run, step):
    return lambda: any(m["step"] >= step for m in run.metrics())


@pytest.mark.slow
@pytest.mark.drill
def test_a_job_is_followed_to_its_end(make_run):
    run, seen = make_run(), []
    reason = start(run).follow(seen.extend, poll=0.05)
    assert reason == "all 30 steps are done"
    assert seen == run.metrics() and len(seen) == 35
    assert files.read_json(run.folder / "05_training/outcome.json")["state"] == "done"
    assert start(run).follow() == "all 30 steps are done", "a finished training may be started again"


@pytest.mark.slow
@pytest.mark.drill
def test_a_closed_notebook_comes_back_to_its_job(make_run):
    run, seen = make_run(values=SLOW), []
    first = start(run)
    wait_for_step(run, 3, first._child)
    second = start(run)
    assert second.attached and second.pid == first.pid and second.running()
    first._child = None  # the notebook that started it is gone; nobody can ask for its exit code
    assert second.follow(seen.extend, poll=0.05) == "all 30 steps are done"
    assert seen == run.metrics() and not process.start(run, read_parameters(run)[1]).attached


@pytest.mark.slow
@pytest.mark.drill
def test_a_job_with_another_rate_is_refused_by_name_and_stopped_by_hand(make_run, monkeypatch):
    run = make_run(values=SLOW)
    first = start(run)
    wait_for_step(run, 3, first._child)
    params = read_parameters(run)[1]
    other = params.model_copy(update={"training": params.training.model_copy(update={"learning_rate": 0.5})})
    with pytest.raises(
        ParameterError, match=r"running with other settings \(training.learning_rate 0.001 -> 0.5\): .*`stepladder stop"
    ):
        process.start(run, other)
    assert first.running() and process.stop(run) and not process.stop(run)
    assert files.read_json(run.folder / "05_training/outcome.json")["state"] == "preempted"


@pytest.mark.slow
@pytest.mark.drill
def test_a_job_whose_code_has_changed_meanwhile_is_attached_to_and_says_so(make_run, capsys):
    run = make_run(values=SLOW)
    first = start(run)
    record = files.read_json(run.folder / "05_training/job.json")
    files.write_json(run.folder / "05_training/job.json", merge(record, {"key": {"code": {"training/loop.py": "old"}}}))
    second = start(run)
    assert second.attached and second.code["training/loop.py"] == "old"
    assert "training/loop.py has changed; its result will be stale" in capsys.readouterr().out
    first.stop()


@pytest.mark.slow
@pytest.mark.drill
def test_a_kernel_told_to_stop_waits_for_the_checkpoint(make_run):
    run = make_run(values=SLOW)
    job = start(run)

    def told_to_stop(lines):
        if any(m["step"] >= 4 for m in lines):
            raise Preempted("SIGTERM while this cell ran")

    with pytest.raises(Preempted, match="while this cell ran"):
        job.follow(told_to_stop, poll=0.05)
    assert not job.running()
    step = max(m["step"] for m in run.metrics())
    assert (run.checkpoints / f"step_{step:08d}" / "COMMITTED").exists() and step < 30
    with pytest.raises(Preempted, match=f"stopped by a signal at step {step} of 30"):
        process.Job(run, job.pid).follow()


@pytest.mark.slow
@pytest.mark.drill
def test_a_job_that_is_preempted_by_others_raises_preempted(make_run):
    run = make_run(values=SLOW)
    job = start(run)
    threads_kill(job.pid, signal.SIGTERM, reached(run, 4))
    with pytest.raises(Preempted, match="the checkpoint is saved"):
        job.follow(poll=0.05)


@pytest.mark.slow
@pytest.mark.drill
def test_a_killed_job_is_called_killed(make_run):
    run = make_run(values=SLOW)
    job = start(run)
    wait_for_step(run, 3, job._child)
    worker = int(subprocess.check_output(["pgrep", "-P", str(job.pid)], text=True).split()[-1])
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(process.TrainingFailed, match="was killed"):
        job.follow(poll=0.05)
    assert job._child.returncode == 137


@pytest.mark.slow
@pytest.mark.drill
def test_a_failed_job_tells_why(make_run):
    run = make_run(values={"model": {"can_start": False}})
    job = start(run)
    with pytest.raises(process.TrainingFailed, match="may not start: the toy was told to refuse"):
        job.follow(poll=0.05)
    assert job._child.returncode == 1 and "Traceback" in log_of(run)


@pytest.mark.slow
@pytest.mark.drill
def test_out_of_memory_is_called_so(make_run):
    run = make_run(values={"model": {"eat": 400}})
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30));"
        "from stepladder.training.worker import main; main([sys.argv[1]])"
    )
    environment = {**os.environ, "RANK": "0", "WORLD_SIZE": "1"}
    child = subprocess.run([sys.executable, "-c", script, str(run.folder)], env=environment, capture_output=True)
    assert child.returncode == 1, child.stderr.decode()
    assert files.read_json(run.folder / "05_training/outcome.json")["state"] == "oom"
    with pytest.raises(process.OutOfMemoryError):
        process.Job(run, pid=0).follow()


@pytest.mark.slow
@pytest.mark.drill
def test_a_headless_job_dies_with_its_kernel_and_saves_first(make_run):
    run = make_run(values=SLOW)
    script = (
        "import sys, time; from pathlib import Path;"
        "from stepladder.core.run import Run; from stepladder.training import process as launch, worker;"
        "run = Run(Path(sys.argv[1])); launch.start(run, worker.read_parameters(run)[1]); time.sleep(600)"
    )
    kernel = subprocess.Popen([sys.executable, "-c", script, str(run.folder)])
    wait_for_step(run, 4, kernel)
    job = files.read_json(run.folder / "05_training/job.json")
    kernel.kill()
    kernel.wait()
    end = time.monotonic() + 60
    while processes.is_alive(job):
        assert time.monotonic() < end
        time.sleep(0.05)
    step = max(m["step"] for m in run.metrics())
    assert step < 30 and (run.checkpoints / f"step_{step:08d}" / "COMMITTED").exists()
    assert files.read_json(run.folder / "05_training/outcome.json")["state"] == "preempted"


START = (
    "import sys, time; from pathlib import Path;"
    "from stepladder.core.run import Run; from stepladder.training import process as launch, worker;"
    "run = Run(Path(sys.argv[1])); launch.start(run, worker.read_parameters(run)[1]);"
    "print(flush=True); time.sleep(600)"
)


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.parametrize("after", [0.0, 0.1, 0.3, 1.0])
def test_a_headless_job_whose_kernel_dies_in_its_first_second_is_not_orphaned(make_run, after):
    run = make_run(values={**SLOW, "training": {"steps": 10**6, "processes": 2, "workers": 1}})
    mark, environment = drills.marked()
    kernel = subprocess.Popen(
        [sys.executable, "-c", START, str(run.folder)], env=environment, stdout=subprocess.PIPE, start_new_session=True
    )
    kernel.stdout.readline()
    time.sleep(after)
    kernel.kill()
    kernel.wait()
    drills.wait_for(lambda: not drills.alive(mark))


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.parametrize("how", ["stop", "agent killed", "rank killed"])
def test_nothing_of_a_job_is_left_ranks_and_loaders_included(make_run, how):
    run = make_run(values={**SLOW, "training": {"steps": 10**6, "processes": 2, "workers": 1}})
    mark, environment = drills.marked()
    kernel = subprocess.Popen([sys.executable, "-c", START, str(run.folder)], env=environment, stdout=subprocess.PIPE)
    kernel.stdout.readline()
    wait_for_step(run, 3, kernel)
    agent = files.read_json(run.folder / "05_training/job.json")["pid"]
    ranks = [int(pid) for pid in subprocess.check_output(["pgrep", "-P", str(agent)], text=True).split()]
    assert len(drills.alive(mark)) >= 6, "a kernel, an agent, two ranks and a loader of each"
    if how == "stop":
        process.stop(run)
    else:
        os.kill(agent if how == "agent killed" else ranks[-1], signal.SIGKILL)
    drills.wait_for(lambda: drills.alive(mark) == [kernel.pid])
    kernel.kill()
    kernel.wait()


@pytest.mark.slow
@pytest.mark.drill
def test_in_a_persons_jupyterlab_the_job_outlives_the_kernel(make_run, monkeypatch):
    run = make_run(values=SLOW)
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook")
    monkeypatch.delenv("STEPLADDER_HEADLESS", raising=False)
    script = (
        "import sys; from pathlib import Path;"
        "from stepladder.core.run import Run; from stepladder.training import process as launch, worker;"
        "run = Run(Path(sys.argv[1])); launch.start(run, worker.read_parameters(run)[1])"
    )
    subprocess.run([sys.executable, "-c", script, str(run.folder)], check=True)
    job = start(run)
    assert job.attached
    assert job.follow(poll=0.05) == "all 30 steps are done"
    assert len(untimed(run)) == 35


def test_a_job_that_ends_while_it_is_asked_to_stop_has_stopped(make_run):
    run = make_run()
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    job = process.Job(run, ended.pid)
    job.running = iter([True, False]).__next__  # alive at the look, gone at the signal
    job.stop()


def test_a_training_by_hand_is_stopped_like_any_other(make_run):
    run = make_run(values=SLOW)
    command = [sys.executable, "-m", "stepladder.training.worker", str(run.folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as worker:
        while not run.metrics():
            assert worker.poll() is None
            time.sleep(0.05)
        assert process.stop(run) and worker.wait() == 143
        assert checkpoint.committed(run.checkpoints) and not process.stop(run)


def test_the_plan_tells_what_is_done_already(make_run):
    run = make_run(values={"model": {"stages": ["first", "second"]}, "training": {"steps": 8, "checkpoint_every": 5}})
    study, params = read_parameters(run)
    assert process.plan_table(run, study, params)["done"].tolist() == [0, 0]
    asked = iter(range(100))
    with pytest.raises(Preempted):
        train_here(run, lambda: next(asked) >= 10)
    table = process.plan_table(run, study, params)
    assert table["stage"].tolist() == ["first", "second"] and table["trains"].tolist() == ["first", "second"]
    assert table["steps"].tolist() == [8, 8] and table["done"].tolist() == [8, 3]
    assert table["batch"].tolist() == [4, 4] and process.planned_steps(study, params) == 16


@pytest.mark.slow
@pytest.mark.drill
def test_who_trains_tells_its_start_whoever_started_it(make_run):
    run = make_run(values={"training": {"steps": 2}})
    assert start(run).follow(poll=0.05) == "all 2 steps are done"
    command = [sys.executable, "-m", "stepladder.training.worker", str(run.folder)]
    subprocess.run(command, check=True, capture_output=True)
    told = run.events("training_started")
    assert [event["processes"] for event in told] == [1, 1] and all(event["device"] for event in told)
