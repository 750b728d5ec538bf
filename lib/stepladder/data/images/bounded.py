"""Pictures of unknown origin decoded where they can do no harm: in processes with limits, one picture at a time.

Decisions:
- A process has one picture in hand, so it is known which one it died of. That picture is classed `decode` with how it
  ended, a new process takes the next one, and no other picture is touched. It is not tried again: what crashes a
  decoder once is nothing to train on.
- Limits are of the system: memory (RLIMIT_AS), CPU time of a picture (RLIMIT_CPU), and a clock in the parent for what
  computes nothing and never ends. This bounds faults and floods; it is no prison for an exploit (see `bounded_child`
  for what that would find: no secret, nothing it could write).
- A process is started as a program of its own, not forked and not by `multiprocessing`, which would import the
  parent's main module: it imports Pillow, numpy and scipy.sparse in a fifth of a second, and never torch.
- Every process belongs to a thread that lives as long as the decoder: Linux ends it with that thread, however the
  parent ends.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any

from stepladder.data.images import bounded_child
from stepladder.data.images.bounded_child import Facts, Options
from stepladder.data.images.decode import Box
from stepladder.machine import limits

__all__ = ["Decoder", "Facts", "Fault", "Kept", "Options"]

MEMORY = 2_000_000_000
START_S = 60.0
PROGRAM = ("-m", bounded_child.__name__)
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "LANG")  # nothing else of the environment: it may hold secrets


@dataclass(frozen=True)
class Kept(Facts):
    """A picture that is kept: its facts, its bytes and what their name ends with."""

    body: bytes
    ending: str = "jpg"

    def as_json(self) -> dict[str, Any]:
        """The facts for a JSON file; `dhash` as 16 hex digits, since 64 bits are no number there."""
        facts = {name: getattr(self, name) for name in Facts.__dataclass_fields__}
        return {**facts, "dhash": f"{self.dhash:016x}"}


@dataclass(frozen=True)
class Fault:
    """A picture that is not kept: its class (see `decode.Undecodable`; `too_small` beside them) and why."""

    outcome: str
    reason: str


class Decoder:
    """Processes that decode, blur, resize and encode pictures. A context: they end with it.

    Args:
        count: processes; by default the CPUs there are.
        memory: address space of each, in bytes; 200 MB of it are Python's and numpy's.
        seconds: that a picture may take by the clock.
        cpu_seconds: that a picture may compute, at least 1.
    """

    def __init__(
        self, count: int | None = None, memory: int = MEMORY, seconds: float = 60.0, cpu_seconds: int = 20
    ) -> None:
        self.count = count or max(1, int(limits.cpus()))
        self.memory, self.seconds, self.cpu_seconds = memory, seconds, cpu_seconds
        self._threads = ThreadPoolExecutor(self.count, "decoder")
        self._mine = threading.local()
        self._children: set[_Child] = set()
        self._closed, self._lock = False, threading.Lock()

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._closed = True
            children = list(self._children)
        for child in children:
            child.end()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def run(
        self, bodies: Sequence[bytes], options: Options, boxes: Sequence[Sequence[Box]] | None = None
    ) -> list[Kept | Fault]:
        """What becomes of each picture, in the order given.

        Args:
            bodies: whole files.
            options: what is made of them.
            boxes: what to blur of each, as shares of the picture as its file stores it.

        Raises:
            RuntimeError: an error of ours in a process, with its traceback.
        """
        pairs = zip(bodies, repeat(()), strict=False) if boxes is None else zip(bodies, boxes, strict=True)
        return list(self.stream(pairs, options))

    def stream(self, pictures: Iterable[tuple[bytes, Sequence[Box]]], options: Options) -> Iterator[Kept | Fault]:
        """As `run`, of pairs of a file and its boxes; a few are taken ahead of what is read."""
        ahead: deque[Future[Kept | Fault]] = deque()
        for body, boxes in pictures:
            ahead.append(self._threads.submit(self._one, body, options, boxes))
            if len(ahead) > 4 * self.count:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _one(self, body: bytes, options: Options, boxes: Sequence[Box]) -> Kept | Fault:
        """One picture, by the process of this thread."""
        if self._closed:
            return Fault("decode", "the decoder was closed")
        if any(len(box) != 4 or not all(isinstance(edge, int | float) for edge in box) for box in boxes):
            return Fault("decode", "a box to blur is not four numbers, so nothing is shown")
        child = getattr(self._mine, "child", None)
        if child is None or child.process.poll() is not None:  # one that was killed while idle is no picture's fault
            child = self._mine.child = self._begun()
        answer = child.ask(body, options, boxes, self.seconds)
        if not isinstance(answer, str):
            return answer
        child.end()
        self._children.discard(child)
        self._mine.child = None
        return Fault("decode", answer)

    def _begun(self) -> "_Child":
        """A new process; one that begins while the decoder ends is ended at once, and its picture with it."""
        child = _Child(self.memory, self.cpu_seconds)
        with self._lock:
            self._children.add(child)
            if self._closed:
                child.end()
        return child


class _Child:
    """A process and the pipe to it."""

    def __init__(self, memory: int, cpu_seconds: int):
        self.pipe, theirs = socket.socketpair()
        arguments = [str(memory), str(cpu_seconds), str(os.getpid())]
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | ENVIRONMENT
        self.process = subprocess.Popen(
            [sys.executable, *PROGRAM, *arguments],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        theirs.close()
        try:
            ready = bounded_child.receive(self.pipe, time.monotonic() + START_S)
        except (OSError, ValueError):
            ready = None
        if ready is None:
            self.end()
            raise RuntimeError(
                f"a process that decodes pictures did not start within {START_S:g} s and {memory:,} bytes "
                f"(code {self.process.returncode}): look at what it wrote above"
            )

    def ask(self, body: bytes, options: Options, boxes: Sequence[Box], seconds: float) -> Kept | Fault | str:
        """What becomes of a picture; a text says how the process ended instead."""
        until = time.monotonic() + seconds
        try:
            self.pipe.settimeout(seconds)
            bounded_child.send(self.pipe, {"options": asdict(options), "boxes": [list(box) for box in boxes]}, body)
            answer = bounded_child.receive(self.pipe, until)
        except TimeoutError:
            return f"did not end within {seconds:g} s"
        except (OSError, ValueError):  # it ended, or says what no process of ours would
            answer = None
        return self._death() if answer is None else _result(*answer, body)

    def end(self) -> None:
        """Kill the process, if it lives, and let go of it."""
        self.process.kill()
        self.process.wait()
        self.pipe.close()

    def _death(self) -> str:
        """How the process ended, in words."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "its process fell silent"
        if code == -signal.SIGXCPU:
            return "computed longer than it may"
        return f"its process was killed ({signal.Signals(-code).name})" if code < 0 else f"its process ended ({code})"


def _result(answer: dict[str, Any], kept: bytes, body: bytes) -> Kept | Fault:
    if "error" in answer:
        raise RuntimeError(f"decoding failed by an error of ours:\n{answer['error']}")
    if "facts" in answer:
        return Kept(**answer["facts"], body=body if answer["same"] else kept)
    return Fault(answer["outcome"], answer["reason"])
