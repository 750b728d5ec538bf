"""How a request to stop travels: a signal or a clock -> the runner -> the kernel -> the cell -> its children.

Decisions:
- The runner (`Stop`) never dies at once. It sends SIGTERM to the kernel, waits a grace time, then kills the kernel's
  process group. SIGTERM, SIGINT (Ctrl-C) and SIGHUP (a closed terminal) all mean: stop, this run will be resumed.
- In the kernel SIGTERM raises `Preempted` in the running cell (`install_kernel_handler`). Code that has a child
  process installs its own handler while it waits, passes the signal on, and raises `Preempted` when the child is done.
- `Preempted` is no `Exception`: code that turns whatever a library raises into an error of a file lets it through.
- Nobody outlives its parent: the kernel asks Linux to be killed with the runner (`die_with_parent`). Linux says nothing
  of a parent that died before it was asked, so whoever asks looks at the parent afterwards.
"""

import ctypes
import multiprocessing.process
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from stepladder.machine import processes

GRACE_SECONDS = (
    25.0  # clouds give 30 s between SIGTERM and the end (Kubernetes, GCP); 5 s are left to write the records
)
PR_SET_PDEATHSIG = 1
MEANING = {"SIGTERM": "the machine asked to stop (SIGTERM)", "SIGINT": "stopped by Ctrl-C", "SIGHUP": "terminal closed"}


class Preempted(BaseException):
    """The run must stop now and will be resumed: raised in a kernel's running cell by SIGTERM."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: one line, for this is no error of the cell."""
        return [f"Preempted: {self}"]


def install_kernel_handler() -> None:
    """In a Jupyter kernel, turn SIGTERM into `Preempted` in the running cell; an idle kernel simply ends.

    Does nothing outside a kernel (a plain Python process keeps the default), and nothing when called again.
    """
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if not hasattr(shell, "kernel") or isinstance(signal.getsignal(signal.SIGTERM), _KernelHandler):
        return
    handler = _KernelHandler()
    shell.events.register("pre_run_cell", handler.cell_begins)
    shell.events.register("post_run_cell", handler.cell_ends)
    signal.signal(signal.SIGTERM, handler)


def die_with_parent(signum: int = signal.SIGKILL, parent: int | None = None) -> None:
    """Have `signum` sent to this process when the thread that started it ends, however and whenever it ends.

    Args:
        signum: the signal; it comes at once when the parent is gone already.
        parent: pid of the process that started this one, as that told; None: what `multiprocessing` knows, if it does.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)
    above = multiprocessing.process.parent_process()
    parent = parent or (above and above.pid)
    # A server of forks stands between some processes and the one that asked for them: it ends with that one.
    if parent and os.getppid() != parent and processes.start(parent) is None:
        os.kill(os.getpid(), signum)


class _KernelHandler:
    """SIGTERM handler of a kernel that knows whether a cell is running; a cell is interrupted once, not twice."""

    def __init__(self) -> None:
        self.running = True  # it is installed from a cell
        self.told = False

    def cell_begins(self, info: object) -> None:
        self.running = True

    def cell_ends(self, result: object) -> None:
        self.running = self.told = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if not self.running:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        elif not self.told:
            self.told = True
            raise Preempted("SIGTERM while this cell ran; run the same command again to go on")


class Stop:
    """The runner's side: notes a request to stop and passes it on to the kernel of the moment.

    As a context it takes over SIGTERM, SIGINT and SIGHUP, unless they are ignored (`nohup`, background jobs) or this
    is not the main thread.

    Attributes:
        state: `preempted` or `timeout` once somebody asked to stop, else None.
        reason: why, in words.
        killed: whether the grace time ran out and the kernel was killed.
    """

    def __init__(self, grace: float = GRACE_SECONDS):
        self.grace = grace
        self.state: str | None = None
        self.reason = ""
        self.killed = False
        self._asked = 0.0
        self._kernel: int | None = None
        self._timer: threading.Timer | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                if signal.getsignal(signum) != signal.SIG_IGN:
                    self._previous[signum] = signal.signal(signum, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        self.forget_kernel()
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()

    def watch_kernel(self, pid: int) -> None:
        """From now on a request to stop goes to the kernel `pid`, which leads its own process group."""
        self._kernel = pid
        if self.state:
            self._terminate()

    def forget_kernel(self) -> None:
        """The kernel is gone."""
        self._kernel = None
        if self._timer:
            self._timer.cancel()

    def request(self, state: str, reason: str) -> None:
        """Ask the kernel to stop; after the grace time it is killed. The first reason stays."""
        if self.state is None:
            self.state, self.reason, self._asked = state, reason, time.monotonic()
            self._terminate()

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        impatient = signum == signal.SIGINT and self.state and time.monotonic() - self._asked > 1
        if impatient:
            self._kill()
        name = signal.Signals(signum).name
        self.request("preempted", MEANING[name])

    def _terminate(self) -> None:
        if self._kernel is not None:
            _send(os.kill, self._kernel, signal.SIGTERM)
            self._timer = threading.Timer(self.grace, self._kill)
            self._timer.daemon = True
            self._timer.start()

    def _kill(self) -> None:
        if self._kernel is not None:
            self.killed = True
            _send(os.killpg, self._kernel, signal.SIGKILL)


def _send(how: Callable[[int, int], None], pid: int, signum: int) -> None:
    """Send a signal to a process or group that may be gone already."""
    with suppress(ProcessLookupError):
        how(pid, signum)
