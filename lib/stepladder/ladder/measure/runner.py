"""Run trials in processes that cannot harm anything: watched memory, bounded time, a verdict for every death.

Decisions:
- Trials are forked from a warm process (`trial.py`), one at a time. Whatever happens, nothing of a trial is left when
  `Runner.run` returns, also when a signal interrupts it.
- Memory is the proportional set size of the process tree, the warm process included: what a training process of its
  own would take. It is weighed the more often the nearer its growth brings it to the limit; between two weighings the
  growth of the resident sets is added, which is quick to read. Above the limit the trial is stopped before the machine
  suffers.
- Deaths are told apart by return code, last words and the cgroup's kill counter: out of memory, out of time, killed by
  a signal, crashed, failed. A loader process that was killed counts as out of memory only where the counter says so.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepladder.core import files
from stepladder.ladder.records import Ending
from stepladder.machine import limits, oom

FASTEST, SLOWEST = 0.01, 0.2  # seconds between two looks at the memory
WEIGH_AGAIN_SECONDS, WEIGH_AGAIN_SHARE = 0.5, 0.05  # a weighing is good so long, or for so much growth
PATIENCE = 15.0  # seconds within which a killed trial must be gone
LAST_WORDS = 100  # lines of a log that may tell the cause of death
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
LOADER_DIED = re.compile(  # as torch says it, or as it shows when a batch was being handed over
    r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is killed by signal: ([\w ]+)|exited unexpectedly)"
    r"|torch/multiprocessing/reductions\.py[\s\S]*\n(?:Connection\w+|EOF|FileNotFound|BrokenPipe)Error"
)


@dataclass(frozen=True)
class Death:
    """How a trial ended; `peak_bytes` is the PSS of its process tree, `seconds` what it cost."""

    ending: Ending
    reason: str
    peak_bytes: int
    seconds: float


class Runner:
    """Runs one trial at a time. The warm process starts with the first one and ends with this object."""

    def __init__(self) -> None:
        self._warm: Any = None  # a `Popen` with pipes, or None

    def run(
        self, spec: dict[str, Any], path: Path, seconds: float, memory: float
    ) -> tuple[Death, dict[str, Any] | None]:
        """Make the trial `spec` (see `trial.run`), at most `seconds` long and using at most `memory` bytes.

        Args:
            spec: what to do.
            path: JSON file it is written to; the log and the result lie beside it.
            seconds: wall clock of the trial itself; starting the warm process is not counted against it.
            memory: bytes of the process tree.

        Returns:
            How it ended, and the measurements when it ended well.
        """
        begin, kills, result = time.monotonic(), limits.oom_kills(), path.with_suffix(".result.json")
        log, warm_log = path.with_suffix(".log"), path.with_name("warm.log")
        files.write_json(path, spec)
        for old in (result, log):
            old.unlink(missing_ok=True)
        pid = self._begin(path, warm_log) or self._begin(path, warm_log)  # the warm process may just have died
        if pid is None:
            reason = f"no trial could be started: {_last_line(_text(warm_log))}"
            return Death("failed", reason, 0, time.monotonic() - begin), None
        scales = Scales(self._warm.pid, memory)
        code, stopped = self._attend(pid, scales, seconds)
        ending, reason = stopped or classify(code, _text(log), limits.oom_kills() - kills)
        death = Death(ending, reason, scales.peak, time.monotonic() - begin)
        return death, files.read_json(result) if ending == "ok" else None

    @property
    def warm_pid(self) -> int | None:
        """The warm process, which stays between trials; None before the first one."""
        return self._warm and self._warm.pid

    def close(self) -> None:
        """End the warm process; the next trial starts another."""
        if self._warm:
            _end(self._warm)
            self._warm = None

    def _begin(self, path: Path, log: Path) -> int | None:
        """The process of the trial `path`; None when the warm process died before it forked one."""
        if self._warm is None or self._warm.poll() is not None:
            self._warm = _warm_process(log)
            weakref.finalize(self, _end, self._warm)
        with contextlib.suppress(BrokenPipeError):
            self._warm.stdin.write(f"{path}\n".encode())
        pid = _answer(self._warm)  # comes when its imports are done
        if pid is None:
            self._warm.wait()
        return pid

    def _attend(self, pid: int, scales: "Scales", seconds: float) -> tuple[int, tuple[Ending, str] | None]:
        """The return code of the trial, and the verdict where we stopped it."""
        warm, begin, stopped, answered = self._warm, time.monotonic(), None, False
        try:
            while not stopped and not (answered := _answers(warm, scales.pause)):
                used = scales.weigh()
                if used > scales.limit:
                    stopped = "oom", f"stopped at {used / 1e9:.2f} GB, the limit is {scales.limit / 1e9:.2f} GB"
                elif time.monotonic() - begin > seconds:
                    stopped = "timeout", f"stopped after {seconds:.0f} s"
        finally:  # also when a signal interrupts us
            if not answered:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                if not _answers(warm, PATIENCE):
                    self.close()
            code = _answer(warm)
        return warm.wait() if code is None else code, stopped


class Scales:
    """Weighs a tree of processes, the more often the nearer it comes to its limit.

    Attributes:
        limit: bytes.
        peak: largest weight so far, in bytes.
        pause: seconds to wait before the next look.
    """

    def __init__(self, root: int, limit: float):
        self.root, self.limit, self.peak, self.pause = root, limit, 0, FASTEST
        self._family, self._weight, self._resident, self._at = [root], 0, 0, -WEIGH_AGAIN_SECONDS
        self._before: tuple[float, int] | None = None

    def weigh(self) -> int:
        """Bytes of the tree now, proportional set size."""
        begin = time.monotonic()
        # The cheap look: what was weighed, and by how much the resident sets have grown since.
        resident = limits.resident_memory(self._family)
        used = self._weight + max(0, resident - self._resident)
        grown = used - self._weight > WEIGH_AGAIN_SHARE * self.limit or used > 0.9 * self.limit
        if grown or begin - self._at > WEIGH_AGAIN_SECONDS:
            self._family = limits.family(self.root)
            used = self._weight = sum(limits.proportional_memory_of(pid) for pid in self._family)
            self._resident, self._at = limits.resident_memory(self._family), begin
        self.peak = max(self.peak, used)
        self.pause = self._next_pause(used, begin)
        return used

    def _next_pause(self, used: int, begin: float) -> float:
        """Half the time in which memory is full at the present growth, and never more than a tenth of our time."""
        now, cost = begin, time.monotonic() - begin
        rate = (used - self._before[1]) / max(now - self._before[0], 1e-3) if self._before else 0.0
        self._before = now, used
        soon = (self.limit - used) / (2 * rate) if rate > 0 else SLOWEST
        return min(SLOWEST, max(FASTEST, 10 * cost, soon))


def classify(code: int, text: str, kills: int) -> tuple[Ending, str]:
    """The ending of a trial and the reason in words.

    Args:
        code: return code, negative for a signal.
        text: its log.
        kills: by how much the cgroup's counter of out-of-memory kills has risen.
    """
    if code == 0:
        return "ok", "ran to its end"
    tail = "\n".join(text.splitlines()[-LAST_WORDS:])
    loader = LOADER_DIED.findall(tail)
    if kills > 0 and (code == -signal.SIGKILL or loader):
        return "oom", "Linux killed a process of the trial for lack of memory"
    if line := oom.said(tail):
        return "oom", line[:200]
    if code < 0:
        crashed = -code in CRASHES
        name = signal.Signals(-code).name
        return ("crashed", f"the process crashed ({name})") if crashed else ("killed", f"it was killed ({name})")
    if loader:
        how = next((name for name in loader if name), "Killed").strip()
        return ("killed" if how in ("Killed", "Terminated") else "crashed"), f"a loader process died ({how})"
    return "failed", _last_line(tail)[:300]


def _warm_process(log: Path) -> subprocess.Popen:
    """A new warm process, which finds the same modules as this one."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "stepladder.ladder.measure.trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            bufsize=0,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )


def _answers(warm: Any, seconds: float) -> bool:
    """Whether the warm process says something (or ends) within `seconds`."""
    return bool(select.select([warm.stdout], [], [], seconds)[0])


def _answer(warm: Any) -> int | None:
    line = warm.stdout.readline()
    return int(line) if line else None


def _end(warm: Any) -> None:
    """Close the warm process: it leaves when its input ends, and is killed with all its children if it does not."""
    warm.stdin.close()
    try:
        warm.wait(0.5)
    except subprocess.TimeoutExpired:
        for pid in reversed(limits.family(warm.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        warm.wait()


def _text(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no output")
