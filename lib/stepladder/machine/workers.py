"""Work on several processes of this machine; one that is killed costs its item a second try, and nobody else anything.

Decisions:
- A process has one item in hand, so it is known whose it was when the process dies. A `ProcessPoolExecutor` knows only
  that it is broken, and fails all that it was given.
- What was in hand is tried again after all others, alone, with the machine's memory to itself. What kills its process
  then too is handed to `lost`, with the signal and, where Linux tells, that it was the memory.
- There are never more processes than items. They go with whoever reads the results: at an end, an error or a request
  to stop they get SIGTERM, which is an exception there, so half a file is cleared away; SIGKILL where that is too slow.
- They go with a killed parent too: Linux tells them, and their pipe ends. Their imports come after that is settled.
- Memory that runs out takes one of these, not the notebook that started them.
"""

import pickle
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from stepladder.machine import oom, signals
from stepladder.machine.oom import Memory

SECONDS = 5.0  # that processes have to clear away what they are doing before they are killed
LOOK = 1.0  # seconds between looks at whether processes live that say nothing
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Death:
    """What came of an item instead of a result."""

    reason: str


class Workers(Generic[Item, Result]):
    """Up to `count` processes side by side.

    Args:
        count: how many.
        lost: the result of an item whose process was killed twice, from the item and the reason in words.
    """

    def __init__(self, count: int, lost: Callable[[Item, str], Result]):
        self.count, self.lost = count, lost

    def map(self, task: Callable[[Item], Result], items: Sequence[Item], /) -> Iterator[Result]:
        """`task` of every item, in the order in which they end.

        Args:
            task: what the processes can import; it is pickled, and so are the items.

        Raises:
            Exception: whatever `task` raises, with its traceback as a note; the other processes are stopped.
        """
        again: list[Item] = []
        for item, result in _side_by_side(task, items, self.count):
            if isinstance(result, _Death):
                again.append(item)
            else:
                yield result
        for item, result in _side_by_side(task, again, 1):
            yield self.lost(item, f"twice {result.reason}") if isinstance(result, _Death) else result


def _side_by_side(task: Callable[[Item], Result], items: Sequence[Item], count: int) -> Iterator[tuple[Item, Any]]:
    """Every item with its result, or with the death of the process that had it in hand."""
    ahead = deque(items)
    idle: list[_Worker] = []
    busy: dict[Any, tuple[_Worker, Item]] = {}  # by pipe
    try:
        while ahead or busy:
            while ahead and len(busy) < count:
                worker, item = idle.pop() if idle else _Worker(), ahead.popleft()
                busy[worker.pipe] = worker, item
                worker.give(task, item)
            for pipe in wait(list(busy), LOOK) or [pipe for pipe, (worker, _) in busy.items() if not worker.alive]:
                worker, item = busy[pipe]
                result = worker.take()
                del busy[pipe]
                if not isinstance(result, _Death):
                    idle.append(worker)
                yield item, result
    finally:
        _stop([*idle, *(worker for worker, _ in busy.values())])


class _Worker:
    """A process, and the pipe to it."""

    def __init__(self) -> None:
        context = get_context("spawn")  # a forked one would inherit locks that nobody there gives back
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,))
        self.process.start()
        theirs.close()

    @property
    def alive(self) -> bool:
        """Whether it runs. Its pipe may stay open when it does not: its own children have it too."""
        return self.process.is_alive()

    def give(self, task: Callable[..., Any], item: Any) -> None:
        """Put an item in its hands; when the process is gone, `take` tells."""
        message = pickle.dumps((task, item))
        self.before = Memory.read()
        try:
            self.pipe.send_bytes(message)
        except OSError:
            self.process.kill()

    def take(self) -> Any:
        """The result of the item in hand, or the death of the process; raises what the task raised."""
        if not self.pipe.poll():
            return self._bury()
        try:
            done, result = self.pipe.recv()
        except (EOFError, OSError):
            return self._bury()
        if not done:
            raise result
        return result

    def _bury(self) -> _Death:
        """How the process died."""
        self.process.join(SECONDS)
        self.process.kill()
        self.process.join()
        self.pipe.close()
        code = self.process.exitcode or 0
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"
        proof = self.before.killed_since() if code == -signal.SIGKILL else None
        return _Death(f"its process {how}" + (f"; {proof}" if proof else ""))


def _stop(workers: Sequence[_Worker]) -> None:
    """End processes, in the middle of their work if need be."""
    for worker in workers:
        worker.process.terminate()
    end = time.monotonic() + SECONDS
    for worker in workers:
        worker.process.join(max(0.0, end - time.monotonic()))
    for worker in workers:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


def _serve(pipe: Connection) -> None:
    """The body of a process: work on what comes until the pipe ends."""
    signals.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's Ctrl-C is for the parent, which ends us
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    oom.go_first()
    while True:
        try:
            message = pipe.recv_bytes()
        except EOFError:
            return
        pipe.send(_answer(message))


def _answer(message: bytes) -> tuple[bool, Any]:
    """Whether the task came to its end, and its result or what it raised."""
    try:
        task, item = pickle.loads(message)
        return True, task(item)
    except Exception as error:
        return False, _portable(error)


def _portable(error: Exception) -> Exception:
    """An exception that can be sent; its traceback goes along as a note."""
    text = traceback.format_exc()
    error.add_note(text)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # some cannot be pickled, some cannot be made again
        return RuntimeError(text)
    return error
