"""From the answers of a block to its tar: who is a twin, what decodes, what stands beside the picture.

Decisions:
- A tar is a function of what the ledger says of its rows, written whole each time: members by number, no time of day.
  So a kill between the tar and the ledger costs a second writing of the same bytes, and nothing else.
- A picture in the tar is not fetched again to be written again: a tar that changes takes it from its former self.
- Bodies go to the decoder by the handful (CHUNK bytes), so memory does not grow with what strangers send.
- The text of a row becomes a member `.txt`, everything else is in `.json`, as webdataset's users expect it.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from stepladder.core import files
from stepladder.data.download.outcomes import OUTCOMES
from stepladder.data.download.wanted import Row, Wanted
from stepladder.data.images import tars

CHUNK = 64 << 20  # bytes of bodies
CHUNK_ROWS = 256
TEXT = "text"  # the fact that becomes a member of its own


@dataclass(frozen=True)
class Settled:
    """What became of a body.

    Attributes:
        number: of its row.
        outcome: `ok`, or why it is no picture (a key of `OUTCOMES`).
        reason: in words.
        member: what is kept of a picture.
        ending: of the member's name: `jpg`.
        facts: what is now known of it (width, height, dhash); goes into the tar.
    """

    number: int
    outcome: str
    reason: str = ""
    member: bytes = b""
    ending: str = "jpg"
    facts: Mapping[str, Any] = field(default_factory=dict)


# Decodes bodies: as many answers, in the same order. Each row is judged by itself.
Settle = Callable[[Sequence[tuple[Wanted, bytes]]], Sequence[Settled]]
Read = Callable[[Row], bytes | None]  # a row's body; None where its bytes are lost


class Block:
    """One block on its way into `NNNNN.tar` and its index.

    Args:
        folder: where tars lie.
        block: its number.
        rows: what the ledger says of its rows.
        twins: verdicts on rows with the bytes of others: number -> outcome.

    Attributes:
        outcomes: what was found out by `write`: number -> outcome, reason.
    """

    def __init__(self, folder: Path, block: int, rows: Sequence[Row], twins: Mapping[int, str]):
        self.path = tar_path(folder, block)
        self.rows, self.twins = rows, twins
        self.outcomes: dict[int, tuple[str, str]] = {}

    def write(self, settle: Settle, read: Read) -> None:
        """Decode what is new, keep what is in the tar, and write the tar; without a picture there is no tar.

        Raises:
            OSError: it cannot be written.
            TarError: the former tar is gone or damaged.
        """
        kept = [row for row in self.rows if row.outcome == "ok" and row.number not in self.twins]
        new = [row for row in kept if row.at is not None]
        counts: dict[str, int] = {}
        former = tars.TarReader(self.path) if len(new) < len(kept) else None
        members = self._members(kept, former, self._decoded(new, settle, read), counts)
        first = next(members, None)
        if first is None:
            self.path.unlink(missing_ok=True)
            self.path.with_suffix(".json").unlink(missing_ok=True)
        else:
            tars.write(self.path, chain([first], members), counts)

    def _members(
        self, kept: Sequence[Row], former: tars.TarReader | None, decoded: Iterator[Settled], counts: dict[str, int]
    ) -> Iterator[tuple[str, bytes]]:
        """Members of the pictures in order; at the end `counts` holds what became of all rows."""
        places = {key: index for index, key in enumerate(former.keys)} if former else {}
        for row in kept:
            key = f"{row.number:08d}"
            if row.at is not None:
                settled = next(decoded)
                self.outcomes[row.number] = (settled.outcome, settled.reason)
                if settled.outcome == "ok":
                    yield from _sample(key, row, settled)
            elif former:
                index = places[key]
                yield from ((f"{key}.{ending}", former.read(index, ending)) for ending in former.endings(index))
        counts.update(self._counts())

    def _counts(self) -> dict[str, int]:
        """Rows by outcome, in the order of `OUTCOMES`."""
        last = {row.number: row.outcome for row in self.rows}
        last |= {number: outcome for number, (outcome, _) in self.outcomes.items()}
        last |= {number: outcome for number, outcome in self.twins.items() if number in last}
        found = Counter(last.values())
        return {outcome: found[outcome] for outcome in OUTCOMES if found[outcome]}

    def _decoded(self, rows: Sequence[Row], settle: Settle, read: Read) -> Iterator[Settled]:
        for chunk in _chunks(rows):
            bodies = {row.number: read(row) for row in chunk}
            asked = [(_wanted(row), body) for row in chunk if (body := bodies[row.number]) is not None]
            found = {settled.number: settled for settled in (settle(asked) if asked else ())}
            if found.keys() != {wanted.number for wanted, _ in asked}:
                raise ValueError(f"settle answered for rows {sorted(found)}, not for {[w.number for w, _ in asked]}")
            for row in chunk:
                lost = Settled(row.number, "cut", "its bytes were lost on this disk before they were decoded")
                yield found.get(row.number, lost)


def tar_path(folder: Path, block: int) -> Path:
    """Where the tar of a block lies."""
    return folder / f"{block:05d}.tar"


def _sample(key: str, row: Row, settled: Settled) -> Iterator[tuple[str, bytes]]:
    facts: dict[str, Any] = json.loads(row.facts)
    text = facts.pop(TEXT, None)
    yield f"{key}.{settled.ending}", settled.member
    known = {"url": row.url, "sha256": (row.sha or b"").hex(), **facts, **settled.facts}
    yield f"{key}.json", files.CANONICAL(files.plain(known)).encode()
    if text is not None:
        yield f"{key}.txt", str(text).encode()


def _wanted(row: Row) -> Wanted:
    return Wanted(row.number, row.url, (row.sha or b"").hex(), json.loads(row.facts))


def _chunks(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows by the handful."""
    chunk: list[Row] = []
    size = 0
    for row in rows:
        if chunk and (size + (row.size or 0) > CHUNK or len(chunk) == CHUNK_ROWS):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += row.size or 0
    if chunk:
        yield chunk
