"""Run one trial in a child process that cannot harm anything: watched memory, bounded time, a verdict for every death.

Decisions:
- The child leads its own session; whatever happens, its whole process group is killed and reaped before we return.
- Memory is the proportional set size of the process tree (shared pages counted once; summed RSS overstates loaders
  1.5 to 2 times). Above the soft limit the child is stopped before the machine suffers.
- Deaths are told apart: out of memory (watchdog, allocator's message, or the cgroup's kill counter), out of time,
  killed by a signal, crashed, failed with its last words.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepladder import files
from stepladder.ladder import limits

OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|MemoryError|DefaultCPUAllocator|ALLOC_FAILED"
    r"|bus error|No space left on device.*shm|unable to (open|write).*shm|unexpected bus error",
    re.IGNORECASE,
)
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Death:
    """How a child ended: `outcome` is ok, oom, timeout, killed, crashed or failed; `reason` says it in words."""

    outcome: str
    reason: str
    peak_bytes: int
    seconds: float


def run_trial(
    trial: dict[str, Any], folder: Path, seconds: float, memory: float
) -> tuple[Death, dict[str, Any] | None]:
    """Run `stepladder.ladder.trial` on `trial`, at most `seconds` long and using at most `memory` bytes.

    Returns:
        How it ended, and the measurements when it ended well.
    """
    path = folder / f"{trial['name']}.json"
    files.write_json(path, trial)
    path.with_suffix(".result.json").unlink(missing_ok=True)
    death = watch(
        [sys.executable, "-m", "stepladder.ladder.trial", str(path)], path.with_suffix(".log"), seconds, memory
    )
    return death, files.read_json(path.with_suffix(".result.json")) if death.outcome == "ok" else None


def watch(command: list[str], log: Path, seconds: float, memory: float) -> Death:
    """Run `command` under watch (see the module); its output goes to `log`."""
    kills, begin, peak = limits.oom_kills(), time.monotonic(), 0
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
    stopped = None
    try:
        while child.poll() is None and stopped is None:
            clock = time.monotonic() - begin
            used = limits.proportional_memory(child.pid)
            peak = max(peak, used)
            if used > memory:
                stopped = ("oom", f"stopped at {used / 1e9:.2f} GB, the limit is {memory / 1e9:.2f} GB")
            elif clock > seconds:
                stopped = ("timeout", f"stopped after {seconds:.0f} s")
            time.sleep(POLL_SECONDS)
    finally:
        _end(child)
    outcome, reason = stopped or _verdict(child.returncode, log, limits.oom_kills() - kills)
    return Death(outcome, reason, peak, time.monotonic() - begin)


def _verdict(code: int, log: Path, kills: int) -> tuple[str, str]:
    text = log.read_text(errors="replace")
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no output")
    if code == 0:
        return "ok", "ran to its end"
    if kills > 0:
        return "oom", "the kernel killed a process of this group for memory"
    if OUT_OF_MEMORY.search(text):
        line = next(line.strip() for line in reversed(text.splitlines()) if OUT_OF_MEMORY.search(line))
        return "oom", line[:200]
    if code < 0 and -code in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE):
        return "crashed", f"the process crashed ({signal.Signals(-code).name})"
    if code < 0:
        return "killed", f"somebody killed the process ({signal.Signals(-code).name})"
    return "failed", last[:300]


def _end(child: subprocess.Popen) -> None:
    """Kill what is left of the child's process group and reap it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
