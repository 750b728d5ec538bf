"""One walker per run: a lock made of plain files, good on file systems that know no locks.

    <folder>/.lock/00000007      {host, boot, pids, pid, started, token, released}

Decisions:
- Every holder makes a file with the next number, whole (written beside its place, then linked: the second to come is
  refused by the file system). The highest number holds. Nobody ever removes or renames a file that may be held, so two
  who find a dead holder cannot both take over: one of them gets the next number, the other sees it.
- A holder of this machine is asked of the kernel. One of another machine lives as long as its file is touched, every
  `BEAT` seconds; after `LEASE` seconds without a touch it is lost. Its age is told by the file system's own clock (a
  file made now, beside it), so a machine with a wrong clock is judged like any other.
- Waiting for another machine's lease to end is no failure: `Leased` ends a command with exit code 75, run me again.
- Children of a holder (kernels, training) are given its token and need no lock of their own.
"""

import os
import tempfile
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stepladder.core import files
from stepladder.core.errors import Damaged, ParameterError
from stepladder.machine import processes

BEAT = 10.0  # seconds between signs of life
LEASE = 60.0  # seconds without one after which the holder on another machine is lost
TOKEN = "STEPLADDER_LOCK"  # environment variable that hands the lock on to child processes
HOLDER = {"host", "boot", "pids", "pid", "started", "token", "released"}
# A record half written where links are unknown, or damaged: its lease decides.
UNKNOWN: dict[str, Any] = {"host": "a machine unknown", "pid": "unknown", "token": "", "released": False}
LAST = 3  # files of former holders that are kept, for whoever is still looking at them


class Held(ParameterError):
    """Somebody else holds the lock."""


class Leased(Held):
    """A holder on another machine may be gone, and its lease has not run out: try again later."""


class Lock:
    """The lock of `folder`, held from construction until `release`.

    Args:
        folder: what is locked; made when it is not there.
        what: what the holder does, for the errors of others: `run plateau/quick`.

    Raises:
        Held, Leased: somebody else holds it.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, what: str):
        self.place = folder / ".lock"
        self.place.mkdir(parents=True, exist_ok=True)
        self.record: dict[str, Any] = {**processes.identity(), "token": uuid.uuid4().hex, "released": False}
        while True:
            number, holder = _newest(self.place)
            if holder is not None:
                _refuse(self.place / _name(number), holder, what)
            self.path = self.place / _name(number + 1)
            if self._make() and _newest(self.place)[0] == number + 1:
                break
        for number in _numbers(self.place)[:-LAST]:
            with suppress(OSError):  # gone already, or something foreign in its place
                (self.place / _name(number)).unlink()
        self._over = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    @property
    def token(self) -> str:
        """What a child process shows to work under this lock."""
        return self.record["token"]

    @property
    def lost(self) -> bool:
        """Whether another machine took over, because this one gave no sign of life for too long."""
        return (_newest(self.place)[1] or {}).get("token") != self.token

    def release(self) -> None:
        """Give the lock back. On a full disk, where nothing can be written, its file goes instead."""
        self._over.set()
        if not self.lost:
            try:
                files.write_json(self.path, {**self.record, "released": True})
            except OSError:
                self.path.unlink(missing_ok=True)

    def _make(self) -> bool:
        """Take the place if it is free; the file is whole from its first moment."""
        name = self.place / f".{self.token}"
        try:
            files.write_json(name, self.record)
            os.link(name, self.path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links: its exclusive creation will do
            try:
                with self.path.open("x") as file:
                    file.write(name.read_text())
            except FileExistsError:
                return False
        finally:
            name.unlink(missing_ok=True)
        return True

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            if self.path.exists():
                os.utime(self.path)


def wait_for_other_machines(folder: Path, what: str) -> None:
    """Wait until the lease of a holder on another machine has run out; `Held` where it gives signs of life instead."""
    patience = time.monotonic() + LEASE + BEAT
    while (other := holder(folder)) and not processes.is_here(other):
        if time.monotonic() > patience:
            raise Held(f"{what} goes on on {other['host']} (process {other['pid']}): wait for it, or stop it there")
        time.sleep(1)


@contextmanager
def hold(folder: Path, what: str) -> Generator[Lock | None]:
    """Hold the lock of `folder` while the block runs; None where a parent process holds it for this one."""
    if is_inherited(folder):
        yield None
        return
    lock = Lock(folder, what)
    try:
        yield lock
    finally:
        lock.release()


def is_inherited(folder: Path) -> bool:
    """Whether a parent process holds the lock of `folder` for this one."""
    token = os.environ.get(TOKEN)
    return bool(token) and token == (holder(folder) or {}).get("token")


def holder(folder: Path) -> dict[str, Any] | None:
    """Who holds the lock of `folder` and, as far as one can know, lives; None where nobody does."""
    number, record = _newest(folder / ".lock")
    if record is None or (processes.is_here(record) and not processes.is_alive(record)):
        return None
    if not processes.is_here(record) and _age(folder / ".lock" / _name(number)) > LEASE:
        return None
    return record


def _refuse(path: Path, record: dict[str, Any], what: str) -> None:
    """Raise what fits a holder that lives, or may live; return where it is surely gone."""
    who = f"process {record['pid']} on {record['host']}"
    if processes.is_here(record):
        if processes.is_alive(record):
            raise Held(f"{what} is being walked by {who}: wait for it, stop it, or choose another --run")
        return
    left = LEASE - _age(path)
    if left > 0:
        raise Leased(
            f"{what} is held by {who}, another machine, whose last sign of life is {LEASE - left:.0f} s old: it may be "
            f"at work or gone; run the same command again in {max(left, 1):.0f} s"
        )


def _newest(place: Path) -> tuple[int, dict[str, Any] | None]:
    """The highest number, and its holder unless it gave the lock back; (0, None) where there is none."""
    number = max(_numbers(place), default=0)
    try:
        record = files.read_object(place / _name(number)) if number else None
        if record is not None and not record.keys() >= HOLDER:
            record = UNKNOWN
    except Damaged:
        record = UNKNOWN
    return number, None if record is None or record["released"] else record


def _numbers(place: Path) -> list[int]:
    """Numbers of all holders there were, in order."""
    return sorted(int(path.name) for path in place.glob("[0-9]" * len(_name(0))) if path.name.isdecimal())


def _name(number: int) -> str:
    return f"{number:08d}"


def _age(path: Path) -> float:
    """Seconds since `path` was touched, by the clock of its file system."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".") as now:
            return os.stat(now.name).st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0 if path.exists() else LEASE + 1
