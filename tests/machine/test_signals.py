"""Requests to stop: passed on, waited for, enforced; and nobody outlives its parent."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stepladder.machine import signals
from stepladder.machine.signals import Stop
from tests.machine import drills

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"


def start(code: str = "import time; print(flush=True); time.sleep(60)") -> subprocess.Popen:
    """A process that leads its own group, as a kernel does, and runs already."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    process.stdout.readline()
    return process


def test_signal_is_noted_and_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert (stop.state, stop.reason) == ("preempted", "the machine asked to stop (SIGTERM)")
        stop.request("timeout", "too late")
        assert stop.state == "preempted"  # the first reason stays
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before


def test_ignored_signals_stay_ignored() -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
            assert stop.state is None
    finally:
        signal.signal(signal.SIGHUP, previous)


@pytest.mark.drill
def test_kernel_that_starts_after_the_request_is_told() -> None:
    stop = Stop()
    stop.request("timeout", "late")
    process = start()
    stop.watch_kernel(process.pid)
    assert process.wait(timeout=300) == -signal.SIGTERM
    stop.forget_kernel()
    assert not stop.killed


@pytest.mark.drill
def test_grace_time_ends_in_a_kill() -> None:
    stop = Stop(grace=0.2)
    process = start(STUBBORN)
    stop.watch_kernel(process.pid)
    stop.request("preempted", "go")
    assert process.wait(timeout=300) == -signal.SIGKILL
    assert stop.killed


def test_request_for_a_kernel_that_is_gone_is_harmless() -> None:
    process = start("print(flush=True)")
    process.wait(timeout=300)
    stop = Stop()
    stop.watch_kernel(process.pid)
    stop.request("preempted", "go")
    stop.forget_kernel()
    assert stop.state == "preempted"


@pytest.mark.drill
def test_child_dies_with_its_parent() -> None:
    child = (
        "from stepladder.machine import signals; signals.die_with_parent(); "
        "import time; print(flush=True); time.sleep(60)"
    )
    code = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.02)


@pytest.mark.drill
def test_a_child_whose_parent_is_gone_before_it_asks_dies_too(tmp_path: Path) -> None:
    child = (
        "import os, sys, time; from stepladder.machine import signals; parent = int(sys.argv[1])\n"
        "while os.getppid() == parent: time.sleep(0.01)\n"
        "open(sys.argv[2], 'w').close(); signals.die_with_parent(parent=parent); time.sleep(600)"
    )
    code = (
        "import os, subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid()), sys.argv[1]])"
    )
    mark, environment = drills.marked()
    orphaned = tmp_path / "orphaned"
    subprocess.run([sys.executable, "-c", code, str(orphaned)], env=environment, check=True)
    drills.wait_for(lambda: orphaned.exists() and not drills.alive(mark))


@pytest.mark.drill
@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_process_of_multiprocessing_whose_parent_lives_goes_on(tmp_path: Path, method: str) -> None:
    child = multiprocessing.get_context(method).Process(target=drills.tied, args=(tmp_path / "goes on",))
    child.start()
    child.join(300)
    assert child.exitcode == 0 and (tmp_path / "goes on").exists()


def test_a_request_to_stop_is_let_through_by_code_that_catches_every_error() -> None:
    assert not issubclass(signals.Preempted, Exception)


def test_outside_a_kernel_nothing_is_installed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    signals.install_kernel_handler()
    assert signal.getsignal(signal.SIGTERM) is before
