"""Stands for a Mac: hides from this process what only Linux has, then does what a laptop must do; JSON of it on stdout.

Run as `python -m tests.machine.elsewhere PROJECT`. What is hidden: /proc, /sys and /dev/shm, the functions that Python
has on Linux alone, `prctl`, and the platform's name. psutil keeps its view of Linux, and torch is loaded before:
they stand for those on a Mac.
"""
# ruff: noqa: E402

import builtins
import ctypes
import io
import os
import resource
import select
import signal
import sys
import time

LINUX_ONLY = {
    os: "sched_getaffinity sched_setaffinity sched_getscheduler posix_fallocate posix_fadvise memfd_create pidfd_open "
    "copy_file_range splice eventfd getrandom getresuid setresuid pipe2 fdatasync listxattr getxattr setxattr "
    "removexattr O_DIRECT O_TMPFILE SCHED_BATCH",
    resource: "prlimit RUSAGE_THREAD RLIMIT_OFILE RLIMIT_MSGQUEUE RLIMIT_NICE",
    select: "epoll",
    signal: "sigtimedwait sigwaitinfo pidfd_send_signal SIGPWR SIGPOLL",
    time: "CLOCK_BOOTTIME CLOCK_TAI",
}
for module, names in LINUX_ONLY.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)

import json
import pkgutil
import socket
import subprocess
import traceback
import urllib.request  # this, zoneinfo, psutil and torch look at the platform when they are imported
import zoneinfo
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import torch

THEIRS = (urllib.request, zoneinfo, psutil, torch)  # as they are on a Mac
HIDDEN = ("/proc", "/sys", "/dev/shm")


def is_hidden(path: Any) -> bool:
    """Whether a Mac has no such file; psutil may see it."""
    if isinstance(path, int) or not os.fsdecode(path).startswith(HIDDEN):
        return False
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("psutil"):
            return False
        frame = frame.f_back
    return True


def without(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of files that finds no hidden one."""

    def call(path: Any = ".", *arguments: Any, **options: Any) -> Any:
        if is_hidden(path):
            raise FileNotFoundError(2, "No such file or directory", os.fsdecode(path))
        return function(path, *arguments, **options)

    return call


class Library(ctypes.CDLL):
    """A C library without what Linux alone has."""

    def __getattr__(self, name: str) -> Any:
        if name == "prctl":
            raise AttributeError(name)
        return super().__getattr__(name)


for home in (builtins, io):
    setattr(home, "open", without(open))  # noqa: B010
for name in ("open", "stat", "lstat", "readlink", "scandir", "listdir", "statvfs", "access"):
    setattr(os, name, without(getattr(os, name)))
ctypes.CDLL = Library
sys.platform = "darwin"

FOUND: dict[str, Any] = {}


def part(function: Callable[[], Any]) -> Callable[[], Any]:
    """Do a part, and keep what it gives, or how it failed."""
    try:
        FOUND[function.__name__] = function()
    except Exception:
        FOUND[function.__name__] = traceback.format_exc()
    return function


@part
def what_is_hidden() -> list[Any]:
    return [sys.platform, Path("/proc/self/stat").exists(), hasattr(os, "sched_getaffinity"), psutil.pid_exists(1)]


@part
def imports() -> list[str]:
    import stepladder.launch

    launch = [f"stepladder.launch.{found.name}" for found in pkgutil.iter_modules(stepladder.launch.__path__)]
    names = ["cli.main", "report.pages", "notebooks.lab", "training.process"]
    names = [*(f"stepladder.{name}" for name in names), *launch]
    return [import_module(name).__name__ for name in names]


from stepladder.core import lock, profiles, progress, provenance
from stepladder.core.run import Run
from stepladder.machine import limits, oom, processes, signals

ROOT = Path(sys.argv[1])


def a_run() -> Run:
    checked = profiles.load(ROOT, "plateau", "quick")
    run = Run.of(ROOT, checked)
    run.begin(checked)
    return run


@part
def a_lock_is_taken_and_given_back() -> list[Any]:
    run = a_run()
    with run.locked() as held:
        holder = lock.holder(run.folder)
        try:
            lock.Lock(run.folder, "run a/b")
        except lock.Held as error:
            return [held is not None, (holder or {})["pid"] == os.getpid(), str(error)]
    return []


@part
def nobody_holds_it_any_more() -> bool:
    return lock.holder(a_run().folder) is None


@part
def the_dead_and_the_living() -> dict[str, bool]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    record = json.loads(json.dumps(processes.identity(child.pid)))
    found = {"living": processes.is_alive(record), "another": processes.is_alive({**record, "started": 1})}
    found["born"] = time.time() - 86400 < processes.born(record) <= time.time()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    found["zombie"] = processes.is_alive(record)
    child.wait()
    return found | {"dead": processes.is_alive(record), "unborn": processes.born(record) > 0}


@part
def another_network() -> list[Any]:
    before = processes.identity()
    socket.gethostname = lambda: "dhcp-7.example.org"
    processes.machine.cache_clear()
    return [processes.is_here(before), before["boot"], processes.is_here({**before, "boot": "an earlier one"})]


@part
def what_it_may_use() -> list[bool]:
    me = [os.getpid()]
    sizes = (limits.memory_limit(), limits.memory_free(), limits.cpus(), limits.cores(), limits.peak_resident())
    sizes += (limits.resident_memory(me), limits.proportional_memory(me[0]), limits.cpu_and_queue(me)[0])
    limits.forget_peak()
    limits.allow_open_files()
    return [value > 0 for value in sizes]


@part
def nothing_that_cannot_be_known_is_claimed() -> list[Any]:
    return [limits.shared_memory(), limits.oom_kills(), limits.folders(), oom.Memory.read().kills]


@part
def a_parent_may_be_asked_for() -> None:
    signals.die_with_parent()


@part
def where_it_was_made() -> int:
    return provenance.environment().get("cpus", 0)


@part
def a_training_here_is_told() -> str:
    run = a_run()
    with lock.hold(run.stage_folder("05_training"), "training"):
        return str(progress.training(run.folder))


@part
def a_launched_run_is_told() -> list[str]:
    from stepladder.launch import job

    run = Run(a_run().folder.with_name("away"), ROOT)
    job.write(job.Job("plateau", "away", "quick", "box1"), run.folder / "launch" / "job.json")
    told = {}
    for name, supervisor in (("followed", processes.identity()), ("left", {**processes.identity(), "started": 1})):
        job.write_state(run, job.State("j", "running", machine="box1/hostA", doing="starting", supervisor=supervisor))
        told[name] = run.status()["reason"]
    return list(told.values())


@part
def commands() -> dict[str, str]:
    from typer.testing import CliRunner

    from stepladder.cli.main import app

    asked = (["status"], ["status", "plateau/quick"], ["report", "plateau/quick"], ["jobs"], ["machines"])
    done = {" ".join(words): CliRunner().invoke(app, words) for words in asked}
    return {name: result.output if result.exit_code == 0 else repr(result.exception) for name, result in done.items()}


print(json.dumps(FOUND))
