"""The warm process: it has imported torch once, and forks a fresh process for every trial.

Decisions:
- Importing torch takes seconds, a trial often less. So `python -m stepladder.ladder.measure.trial` imports first and
  then waits for trials: one path per line on its standard input; it answers with the process id of the trial and, when
  nothing of the trial is left, with its return code. `runner.py` is the other side of the pipe.
- It computes nothing itself, so a fork starts clean: no threads, no accelerator, no caches of the trial before.
- It adopts the orphans of a trial (Linux's child subreaper), kills whatever a trial leaves behind, loader processes
  that left its session included, and reaps it. The notebook's kernel never becomes anybody's parent.
- A trial leads its own session, is the first to go when the machine runs out of memory, dies with the warm process, and
  leaves one JSON file. One that dies leaves none, and the runner says why.
"""

import contextlib
import ctypes
import faulthandler
import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import torch

from stepladder.core import files
from stepladder.ladder.measure import probes
from stepladder.ladder.measure.job import Job, open_job
from stepladder.machine import oom, signals
from stepladder.training.setting import Setting

PR_SET_CHILD_SUBREAPER = 36


def serve() -> None:
    """Make the trials named on standard input, one after the other, until it is closed."""
    signals.die_with_parent()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a trial prints must not look like an answer
    for line in iter(sys.stdin.readline, ""):
        path = Path(line.rstrip("\n"))
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            _alone(path)
        os.write(answers, f"{pid}\n".encode())
        os.write(answers, f"{_bury(pid)}\n".encode())


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Make the trial `spec` in this process.

    Args:
        spec: `job` and `arguments` (see `job.open_job`), `setting`, `probe` (loader, step, full, fake, device),
            `count` of samples or steps, `seconds` it may take, `processes` that share the CPUs, `whole` and `expected`
            of a full probe, `settings` of fake ones.

    Returns:
        The fields of the probe; of `fake`, `bytes`: batch -> bytes; of `device`, `bytes`: its memory, None without one.
    """
    if spec["probe"] == "device":
        cuda = torch.cuda.is_available()
        return {"bytes": torch.cuda.get_device_properties(0).total_memory if cuda else None}
    setting = Setting(**spec["setting"])
    if spec["processes"] > 1:  # as fast as beside the others: on its share of the CPUs, with all its loaders
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cpus[: max(1, len(cpus) // spec["processes"])])
    if setting.threads:
        torch.set_num_threads(setting.threads)
    job = open_job(spec["job"], spec["arguments"])
    match spec["probe"]:
        case "loader":
            return asdict(probes.loader_probe(job, spec["count"], spec["seconds"]))
        case "step":
            return asdict(probes.step_probe(job, setting, spec["count"], spec["seconds"]))
        case "full":
            more = {"root": os.getppid(), **{name: spec[name] for name in ("whole", "seconds", "expected")}}
            return asdict(probes.full_probe(job, setting, spec["count"], **more))
        case _:
            return {"bytes": _fakes(job, [Setting(**values) for values in spec["settings"]])}


def _fakes(job: Job, settings: list[Setting]) -> dict[int, int | None]:
    return {setting.batch: job.fake_bytes(setting) for setting in settings}


def _alone(path: Path) -> None:
    """The forked process: in its own session, its output in the log, never to return."""
    code = 1
    try:
        os.setsid()
        signals.die_with_parent()
        log = os.open(path.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for target, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
            os.dup2(source, target)
        faulthandler.enable(file=2)
        oom.go_first()
        files.write_json(path.with_suffix(".result.json"), run(files.read_json(path)))
        code = 0
    except BaseException:  # also SystemExit: whatever ends a trial, it must not go on as a second warm process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _bury(pid: int) -> int:
    """Wait for the trial, kill and reap what it left behind; its return code, negative for a signal."""
    _, status = os.waitpid(pid, 0)
    while left := psutil.Process().children(recursive=True):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    serve()
