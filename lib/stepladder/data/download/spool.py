"""Bodies between their arrival and their tar: one append-only file per window of blocks.

Decisions:
- Bytes are written before the ledger says so, each body by writes of its own without a buffer: what the ledger knows is
  in the file even after a kill. What lies behind the last body it knows is of a death and is cut off.
- A body is read back with its SHA-256, so that a power cut, which may lose what the ledger kept, costs a picture and
  never a wrong one.
"""

import hashlib
import os
from pathlib import Path

from stepladder.data.download.wanted import FULL, no_space


class Spool:
    """The spool of a folder; files are opened when they are needed, and gone when they are freed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._open: dict[int, int] = {}
        self._ends: dict[int, int] = {}

    def path(self, window: int) -> Path:
        """Where the bodies of a window lie."""
        return self.folder / f"{window:05d}.bodies"

    def end(self, window: int) -> int:
        """Bytes of a window's file; 0 where there is none."""
        path = self.path(window)
        return path.stat().st_size if path.exists() else 0

    def cut(self, window: int, end: int) -> None:
        """Cut off what lies beyond `end`; without anything before it the file goes."""
        if end:
            os.truncate(self.path(window), end)
        else:
            self.path(window).unlink(missing_ok=True)

    def append(self, window: int, body: bytes) -> int:
        """Write a body to the end of a window's file; where it begins.

        Raises:
            DownloadError: the disk is full.
            OSError: it cannot be written for another reason.
        """
        file = self._open.get(window)
        if file is None:
            file = self._begin(window)
        at = self._ends[window]
        view = memoryview(body)
        try:
            while view:
                view = view[os.pwrite(file, view, at + len(body) - len(view)) :]
        except OSError as error:
            raise no_space(self.path(window)) if error.errno in FULL else error from None
        self._ends[window] = at + len(body)
        return at

    def read(self, window: int, at: int, size: int, sha: bytes | None) -> bytes | None:
        """A body, for any thread; None where the file does not hold the bytes with this SHA-256."""
        try:
            file = os.open(self.path(window), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            body = os.pread(file, size, at)
        finally:
            os.close(file)
        return body if hashlib.sha256(body).digest() == sha else None

    def free(self, window: int) -> None:
        """The window is settled: its bodies go."""
        self.close(window)
        self.path(window).unlink(missing_ok=True)

    def close(self, window: int | None = None) -> None:
        """Close the file of a window, or all."""
        for key in list(self._open) if window is None else [window]:
            file = self._open.pop(key, None)
            if file is not None:
                os.close(file)

    def _begin(self, window: int) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self._open[window] = os.open(self.path(window), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._ends[window] = os.fstat(file).st_size
        return file
