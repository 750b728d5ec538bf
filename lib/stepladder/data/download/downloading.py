"""Download a list of addresses into tars, however often it is killed, whatever the hosts do.

    folder/ledger.sqlite    every row and every attempt (`ledger`)
    folder/spool/           bodies that no tar holds yet (`spool`)
    folder/00000.tar        pictures of the rows 0..999, with 00000.json, the index of its members

Decisions:
- Calling it again is resuming: what the ledger knows is not asked again, so that a second call of a finished download
  asks nothing. `retry` opens rows that may succeed another time; the next call asks them.
- Asking runs on a thread of its own, so that it works where an event loop runs already (a notebook). Decoding and all
  words to the caller stay on the thread that called: its children live as long as it does, Ctrl-C meets it.
- SIGTERM, Ctrl-C and `stop` end it alike: what came is recorded, then the signal takes its course.
- One process at a time: another waits for the folder.
"""

import asyncio
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stepladder.core import files
from stepladder.data.download.connecting import Loopback
from stepladder.data.download.ledger import NAME, Ledger
from stepladder.data.download.outcomes import TRANSIENT
from stepladder.data.download.policy import Policy
from stepladder.data.download.report import Report, report
from stepladder.data.download.settling import Settle, Settled
from stepladder.data.download.walking import Ask, Walk
from stepladder.data.download.wanted import FULL, DownloadError, Wanted, no_space

__all__ = ["DownloadError", "Report", "Settle", "Settled", "Wanted", "download", "leave_out", "report", "retry"]

POLL_S = 0.1  # how often the calling thread looks for signals


def download(
    wanted: Iterable[Wanted],
    folder: Path,
    policy: Policy,
    settle: Settle,
    *,
    loopback: Loopback | None = None,
    ask: Ask | None = None,
    tell: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Report:
    """Download a list, or go on with it; afterwards every row is in exactly one class, and the tars hold the pictures.

    Args:
        wanted: the rows, by rising number; read once, by the thousand, and only as far as the ledger does not know it.
        folder: where ledger and tars lie; made where it is not.
        policy: what is kept to.
        settle: decodes bodies by the handful; called on this thread.
        loopback: where reserved host names are served; None: nowhere.
        ask: asks an address instead of our own asker.
        tell: told how it stands, every few seconds; called on this thread.
        stop: asked several times a second whether to stop; the report then says that it is not complete.

    Raises:
        DownloadError: the list is another one than the ledger's, or the disk is full.
        OSError: the folder cannot be written.
        Exception: whatever `settle` or `ask` raise is a programming error and ends the run; nothing recorded is lost.
    """
    began, here = time.monotonic(), Here()
    stopping = threading.Event()

    def asked_to_stop() -> bool:
        return stopping.is_set() or stop()

    async def walk() -> None:
        with Ledger(folder, policy) as ledger:
            ledger.plan(wanted)
            if ask:
                await Walk(ledger, folder, policy, settle, ask, here, here.tell(tell), asked_to_stop).go()
                return
            from stepladder.data.download.asking import Asker  # with aiohttp

            async with Asker(policy, loopback) as asker:
                await Walk(ledger, folder, policy, settle, asker.ask, here, here.tell(tell), asked_to_stop).go()

    with files.locked(folder), _terminated(stopping):
        try:
            here.run(lambda: asyncio.run(walk()), stopping)
        except OSError as error:
            if error.errno in FULL:
                raise no_space(Path(error.filename or folder)) from None
            raise
    return report(folder, time.monotonic() - began)


def retry(folder: Path, outcomes: Iterable[str] = TRANSIENT, blocks: Iterable[int] = ()) -> int:
    """Open rows that may succeed another time; the next `download` asks them. How many they are.

    Args:
        folder: of a download.
        outcomes: classes to ask again: those that may pass by themselves.
        blocks: blocks, such as suspect ones, of which everything is asked again that asking can change.

    Raises:
        DownloadError: there is no download in this folder.
    """
    if not (folder / NAME).exists():
        raise DownloadError(f"{folder} holds no download: there is no {NAME}")
    with files.locked(folder), Ledger(folder) as ledger:
        return ledger.again(outcomes, blocks)


def leave_out(folder: Path, outcomes: Mapping[int, str]) -> None:
    """Take out pictures found to be none later (`near_duplicate`, say); the next `download` writes their tars anew.

    Args:
        folder: of a download.
        outcomes: number of a row -> what it is.
    """
    with files.locked(folder), Ledger(folder) as ledger:
        ledger.leave_out(outcomes)


class Here(Executor):
    """Runs on the thread that called `run` what another thread submits, while that other thread runs."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Let `fn` be called on the other thread."""
        future: Future[Any] = Future()

        def call() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args, **kwargs)
                except Exception as error:
                    future.set_exception(error)
                except BaseException:  # Ctrl-C: of no concern to who submitted it
                    future.set_exception(InterruptedError("interrupted"))
                    raise
                else:
                    future.set_result(result)

        self._calls.put(call)
        return future

    def tell(self, tell: Callable[[str], None]) -> Callable[[str], None]:
        """`tell`, called on the other thread."""
        return lambda text: self._calls.put(lambda: tell(text))

    def run(self, main: Callable[[], None], stopping: threading.Event) -> None:
        """Run `main` on a thread of its own to its end; what it raises is raised here.

        Where something is raised here meanwhile (Ctrl-C), `stopping` is set and `main` awaited first.
        """
        raised: list[BaseException] = []

        def body() -> None:
            try:
                main()
            except BaseException as error:
                raised.append(error)
            finally:
                self._calls.put(lambda: None)

        thread = threading.Thread(target=body, name="download")
        thread.start()
        try:
            while thread.is_alive():
                self._serve()
        except BaseException:
            stopping.set()
            while thread.is_alive():
                self._serve()
            raise
        if raised:
            raise raised[0]

    def _serve(self) -> None:
        try:
            call = self._calls.get(timeout=POLL_S)
        except queue.Empty:
            return
        call()


@contextmanager
def _terminated(stopping: threading.Event) -> Iterator[None]:
    """Let SIGTERM, where it would end this process at once, do so after what is in hand is saved."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    told = threading.Event()

    def note(*_: object) -> None:
        told.set()
        stopping.set()

    signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if told.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
