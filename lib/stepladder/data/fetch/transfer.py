"""Moving members: which go together in one request, several requests side by side, each member checked and stored.

Wanted members that lie close together come in one request, as long as all gaps together stay below `GAPS` of the
missing bytes and the request below `SPAN`. A finished member ends a request, so nothing finished is moved again. A
member whose bytes turn out wrong is fetched once more; wrong again, it is reported and the others go on.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from stepladder.data.fetch.bytesource import Bytes
from stepladder.data.fetch.cache import Shelf
from stepladder.data.fetch.remotezip import BadMember, Member, data_stop

GAPS = 0.02  # share of the missing bytes that may be moved only to save requests
GAP = 256 << 10  # a longer gap is worth a request of its own
SPAN = 8 << 20  # largest request made of several members, so that every connection has work
Item = TypeVar("Item")
Progress = Callable[[int, int, str], None]  # bytes come, bytes to come in all, member in hand


@dataclass(frozen=True)
class Piece:
    """What is still to come of a member: archive bytes `start` to `stop`. `place` is its rank among the wanted."""

    member: Member
    start: int
    stop: int
    place: int


def group(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces, in order of position, as requests: neighbours across cheap gaps together.

    Only pieces with nothing finished between them are neighbours, and a piece begun earlier begins its request.
    """
    gaps = [(b.start - a.stop, i) for i, (a, b) in enumerate(pairwise(pieces), 1) if _near(a, b)]
    budget = GAPS * sum(piece.stop - piece.start for piece in pieces)
    cheap = set()
    for gap, i in sorted(gaps):
        budget -= gap
        if budget < 0 or gap > GAP:
            break
        cheap.add(i)
    groups: list[list[Piece]] = []
    for i, piece in enumerate(pieces):
        if i in cheap and piece.stop - groups[-1][0].start <= SPAN:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return groups


def _near(a: Piece, b: Piece) -> bool:
    """Whether one request may hold both."""
    return b.place == a.place + 1 and b.start == b.member.offset and b.start >= a.stop


def side_by_side(work: Callable[[Item], None], items: Iterable[Item], parallel: int, cancel: threading.Event) -> None:
    """Do `work` for every item in several threads; the first failure ends them all by `cancel`, and comes out."""
    pool = ThreadPoolExecutor(parallel, "fetch")
    try:
        for task in as_completed([pool.submit(work, item) for item in items]):
            task.result()
    except BaseException:
        cancel.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        cancel.clear()


class Transfer:
    """One run over the missing members of an archive.

    Attributes:
        rows: what happened to each member fetched, by path.
        broken: reason by path, for members that came wrong twice or did not stay.
    """

    def __init__(self, source: Bytes, shelf: Shelf, on_progress: Progress | None, parallel: int):
        self._source, self._shelf, self._on_progress, self._parallel = source, shelf, on_progress, parallel
        self._lock, self._cancel = threading.Lock(), source.cancel
        self._come = self._total = 0
        self._wrong: dict[str, str] = {}
        self._stored: set[str] = set()
        self.rows: dict[str, dict[str, Any]] = {}
        self.broken: dict[str, str] = {}

    def run(self, wanted: Sequence[Member]) -> None:
        """Fetch all that is missing of `wanted`; what network or disk raise comes out once every thread has stopped.

        A second round is only needed for local headers longer than expected, and for members that came wrong.
        """
        while pieces := self._pieces(wanted):
            self._total = self._come + sum(piece.stop - piece.start for piece in pieces)
            side_by_side(self._request, group(pieces), self._parallel, self._cancel)

    def _pieces(self, wanted: Sequence[Member]) -> list[Piece]:
        """What is still to come, in order of position; a piece may be empty when only unpacking is left."""
        pieces = []
        for place, member in enumerate(wanted):
            if member.path in self.broken or self._shelf.has(member):
                continue
            if member.path in self._stored:  # fetching it again would go on for ever
                self.broken[member.path] = (
                    f"{member.path}: it did not stay where it was put; does anything else write there?"
                )
                continue
            part = self._shelf.part(member)
            have = part.stat().st_size if part.exists() else 0
            pieces.append(Piece(member, member.offset + have, data_stop(member, part), place))
        return pieces

    def _request(self, pieces: Sequence[Piece]) -> None:
        """Fetch one group in one request and store its members."""
        with closing(self._source.stream(pieces[0].start, pieces[-1].stop)) as stream:
            tap = _Tap(stream, pieces[0].start)
            for piece in pieces:
                began, path = time.monotonic(), piece.member.path
                for _ in tap.until(piece.start):
                    pass
                with self._shelf.part(piece.member).open("ab") as part:
                    for chunk in tap.until(piece.stop):
                        part.write(chunk)
                        part.flush()  # a kill must lose nothing that came
                        self._progress(len(chunk), path)
                        if self._cancel.is_set():
                            return
                self._store(piece.member)
                row = self.rows.setdefault(path, {"moved": 0, "seconds": 0.0})
                row["moved"] += piece.stop - piece.start
                row["seconds"] += time.monotonic() - began

    def _store(self, member: Member) -> None:
        """Put a gathered member in its place, unless its header says that more is to come."""
        part = self._shelf.part(member)
        try:
            if part.stat().st_size >= data_stop(member, part) - member.offset:
                self._shelf.store(member)
                self._stored.add(member.path)
        except BadMember as error:
            part.unlink()
            if member.path in self._wrong:
                self.broken[member.path] = str(error)
            self._wrong[member.path] = str(error)

    def _progress(self, count: int, path: str) -> None:
        with self._lock:
            self._come += count
            if self._on_progress:
                self._on_progress(self._come, self._total, path)


class _Tap:
    """Reads a stream of chunks up to exact positions."""

    def __init__(self, stream: Iterator[bytes], position: int):
        self._stream, self._position, self._held = stream, position, b""

    def until(self, stop: int) -> Iterator[bytes]:
        """The bytes from here up to `stop`."""
        while self._position < stop:
            chunk = self._held or next(self._stream)
            give, self._held = chunk[: stop - self._position], chunk[stop - self._position :]
            self._position += len(give)
            yield give
