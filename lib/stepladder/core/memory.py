"""What was made of files, remembered while none of them has changed; in one JSON file that anybody may delete.

Decisions:
- A change is noticed by a file's times, size and number, and by its coming and going. What was touched within the last
  seconds is not remembered yet, for a clock may be too coarse to tell two writes apart (as in `identity.content`).
- What is remembered was made by some code: `by` names it, and another one remembers nothing of it.
"""

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

from stepladder.core import files
from stepladder.core.errors import Damaged
from stepladder.core.files import Json
from stepladder.core.identity import SETTLED


class Memory:
    """The memory in the file `path`, of what was made by the code `by`; see the module's decisions."""

    def __init__(self, path: Path, by: str):
        self._path, self._by = path, by
        try:
            kept = files.read_object(path) or {}
        except Damaged:
            kept = {}
        found = cast(Json, kept.get("made")) if kept.get("by") == by else {}
        self._old = found if _is_whole(found) else {}
        self._new: Json = {}

    def made(self, name: str, make: Callable[[], str], sources: Callable[[], Iterable[Path] | None]) -> str:
        """What `make` gives for `name`: as remembered where its sources are unchanged, else made now.

        Args:
            name: whatever tells it from others.
            make: makes it.
            sources: gives the files that it is made of, there or not; None: it is not to be remembered.
        """
        kept = self._old.get(name)
        if kept is not None and kept["stamp"] == _stamp(kept["sources"])[0]:
            self._new[name] = kept
            return kept["made"]
        settled = time.time() - SETTLED
        places = sources()
        before = [str(path) for path in places or ()]
        stamp, last = _stamp(before)
        made = make()
        if places is not None and last < settled and stamp == _stamp(before)[0]:
            self._new[name] = {"sources": before, "stamp": stamp, "made": made}
        return made

    def save(self) -> None:
        """Write what is remembered; what was not asked for since the memory was opened is forgotten."""
        if self._new != self._old:
            files.write_compact(self._path, {"by": self._by, "made": self._new})


def _is_whole(made: Any) -> bool:
    """Whether a memory is as `save` writes it."""
    entries = cast(Json, made).values() if isinstance(made, dict) else [None]
    return all(isinstance(entry, dict) and entry.keys() == {"sources", "stamp", "made"} for entry in entries)


def _stamp(paths: Iterable[str]) -> tuple[str, float]:
    """Times, size and number of files as one fingerprint, and when the last of them changed."""
    found: list[tuple[int, ...] | None] = []
    last = 0.0
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino))
            last = max(last, status.st_mtime, status.st_ctime)
    return files.text_sha256(repr(found))[:16], last
