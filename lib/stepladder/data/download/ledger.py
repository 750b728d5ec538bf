"""What became of every row, attempt by attempt: one SQLite file beside the tars. Resume and retry are questions to it.

    rows       number, url, host, wants (expected SHA-256), facts, outcome, reason, asked, due, sha, at, size
    attempts   number, outcome, reason, status, seconds, bytes, time: everything that was ever asked, or left unasked
    blocks     block, state: open (rows may still come), settled (its tar holds what the ledger says), stale (a row
               of it was found out later: its tar is to be written anew)
    facts      block and window the ledger was made with, whether the list is in it to its end

Decisions:
- A row is open while it was never asked, or its outcome may pass and it was asked less often than there are passes.
  Nothing else is remembered of where a run stood: a killed one goes on from the rows, so it cannot be wrong about it.
- `at` is where a body lies in the spool of its window, while it lies there; `ok` without it is a picture in the tar.
- One process writes, a few dozen rows to a transaction, in WAL mode: a kill loses what was in hand, a power cut the
  last transactions, neither the file.
- Rows stay on disk. What is read at once is a window or a block, whatever the length of the list.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from stepladder.data.download.outcomes import OUTCOMES, TRANSIENT
from stepladder.data.download.policy import Policy
from stepladder.data.download.wanted import Asked, DownloadError, Pending, Row, Wanted, entry, no_space, storable

NAME = "ledger.sqlite"
FAMILIES = 5  # so many families with the same bytes: no picture of any of them
INGEST = 10_000  # rows of the list in a transaction
BUSY_S = 60.0  # how long somebody who reads may keep the writer waiting

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value);
CREATE TABLE IF NOT EXISTS rows (
    number INTEGER PRIMARY KEY, url TEXT NOT NULL, host TEXT NOT NULL, wants BLOB, facts TEXT NOT NULL,
    outcome TEXT, reason TEXT, asked INTEGER NOT NULL DEFAULT 0, due REAL, sha BLOB, at INTEGER, size INTEGER);
CREATE INDEX IF NOT EXISTS by_sha ON rows (sha) WHERE sha IS NOT NULL;
CREATE TABLE IF NOT EXISTS attempts (
    number INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT, status INTEGER, seconds REAL, bytes INTEGER,
    time REAL);
CREATE TABLE IF NOT EXISTS blocks (block INTEGER PRIMARY KEY, state TEXT NOT NULL);
"""
PASSING = ", ".join(f"'{name}'" for name in sorted(TRANSIENT))
OPEN = f"(outcome IS NULL OR (outcome IN ({PASSING}) AND asked < :passes AND coalesce(due, 0) <= :latest))"
CHANGE = "UPDATE rows SET outcome = ?, reason = ? WHERE number = ? AND outcome <> ?"
# Not told by asking: a second asking would tell the same.
UNASKED = "'ok', 'duplicate', 'placeholder', 'near_duplicate'"


class Ledger:
    """The ledger of a folder, for the one process that writes it; used by one thread, as a context manager.

    Raises:
        DownloadError: it was made with blocks or windows of another size.
    """

    def __init__(self, folder: Path, policy: Policy | None = None):
        self.path = folder / NAME
        self.base = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        self.base.execute("PRAGMA journal_mode = WAL")
        self.base.execute("PRAGMA synchronous = NORMAL")
        self.base.executescript(SCHEMA)
        self.block = self._kept("block", policy and policy.block)
        self.window = self.block * self._kept("window", policy and policy.window)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.base.close()

    # The list

    def plan(self, wanted: Iterable[Wanted]) -> int:
        """Enter what of the list is not entered yet; how many rows there are.

        Raises:
            DownloadError: the list is not the one that this ledger was made from, or its numbers do not rise.
        """
        rows = iter(wanted)
        last = self.base.execute("SELECT number, url FROM rows ORDER BY number DESC LIMIT 1").fetchone()
        if last is not None:
            whole = self._value("whole", 0)
            place, url = self.base.execute("SELECT number, url FROM rows LIMIT 1").fetchone() if whole else last
            here = next((row for row in rows if row.number >= place), None)
            if here is None or (here.number, storable(here.url)) != (place, url):
                raise DownloadError(f"row {place} of the list is not {url!r} as in {self.path}: take a new folder")
            if whole:
                return self.count()
        latest = -1 if last is None else last[0]
        while chunk := list(islice(rows, INGEST)):
            with self.writing():
                latest = self._enter(chunk, latest)
        with self.writing():
            self.base.execute("INSERT OR REPLACE INTO facts VALUES ('whole', 1)")
        return self.count()

    def _enter(self, chunk: Sequence[Wanted], latest: int) -> int:
        """Enter rows whose numbers rise from `latest` on; the last number."""
        for row in chunk:
            if row.number <= latest:
                raise DownloadError(f"row number {row.number} comes after {latest}: numbers must rise from 0 on")
            latest = row.number
        self.base.executemany(
            "INSERT INTO rows (number, url, host, wants, facts) VALUES (?, ?, ?, ?, ?)", map(entry, chunk)
        )
        blocks = sorted({row.number // self.block for row in chunk})
        self.base.executemany("INSERT OR IGNORE INTO blocks VALUES (?, 'open')", [(block,) for block in blocks])
        return latest

    def count(self) -> int:
        """Rows of the list."""
        return self.base.execute("SELECT count(*) FROM rows").fetchone()[0]

    # Asking

    def windows(self) -> list[int]:
        """Windows that have a block which is not settled, in order."""
        found = self.base.execute(
            "SELECT DISTINCT block * ? / ? FROM blocks WHERE state = 'open' ORDER BY 1", (self.block, self.window)
        )
        return [window for (window,) in found]

    def pending(self, window: int, passes: int, latest: float) -> list[Pending]:
        """Open rows of a window in order; one that must wait beyond the time `latest` waits for another run."""
        found = self.base.execute(
            "SELECT number, url, host, asked, coalesce(due, 0), wants FROM rows "
            f"WHERE number >= :first AND number < :stop AND {OPEN} ORDER BY number",
            {"first": window * self.window, "stop": (window + 1) * self.window, "passes": passes, "latest": latest},
        )
        return [Pending(*row) for row in found]

    def record(self, batch: Sequence[Asked]) -> None:
        """Enter attempts, and what they make of their rows, in one transaction."""
        with self.writing():
            self.base.executemany("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?)", [a[:7] for a in batch])
            self.base.executemany(
                "UPDATE rows SET outcome = ?, reason = ?, due = ?, sha = ?, at = ?, size = ?, asked = asked + 1 "
                "WHERE number = ?",
                [(a.outcome, a.reason, a.due, a.sha, a.at, a.size, a.number) for a in batch],
            )

    # Settling

    def rows(self, block: int) -> list[Row]:
        """Rows of a block in order."""
        found = self.base.execute(
            "SELECT number, url, facts, outcome, sha, at, size FROM rows WHERE number >= ? AND number < ? ORDER BY 1",
            self._span(block),
        )
        return [Row(*row) for row in found]

    def twins(self, block: int) -> dict[int, str]:
        """Rows with the same bytes as others, judged: number -> `duplicate` or `placeholder`.

        Looked at are all rows with the bytes of a row of this block that lie in it or in a block settled before. The
        first keeps its outcome, whatever it is, the others are duplicates; where they are of many families, none is a
        picture. So the verdict depends on what was answered, never on when.
        """
        first, stop = self._span(block)
        found = self.base.execute(
            "SELECT DISTINCT b.sha, b.number, coalesce(nullif(json_extract(b.facts, '$.family'), ''), b.url) "
            "FROM rows a JOIN rows b ON b.sha = a.sha WHERE a.number >= :first AND a.number < :stop "
            "AND a.sha IS NOT NULL AND a.outcome <> 'hash_changed' AND b.outcome <> 'hash_changed' "
            "AND ((b.number >= :first AND b.number < :stop) OR "
            "(SELECT state FROM blocks WHERE block = b.number / :block) <> 'open') ORDER BY b.sha, b.number",
            {"first": first, "stop": stop, "block": self.block},
        )
        groups: dict[bytes, list[tuple[int, str]]] = {}
        for sha, number, family in found:
            groups.setdefault(sha, []).append((number, str(family)))
        verdicts: dict[int, str] = {}
        for group in groups.values():
            if len({family for _, family in group}) >= FAMILIES:
                verdicts |= {number: "placeholder" for number, _ in group}
            else:
                verdicts |= {number: "duplicate" for number, _ in group[1:]}
        return verdicts

    def settled(self, block: int, outcomes: Mapping[int, tuple[str, str]], twins: Mapping[int, str]) -> None:
        """Note in one transaction that a block's tar is in its place, and what was found out about rows.

        Args:
            block: the block.
            outcomes: what decoding made of rows of the block: number -> outcome, reason.
            twins: verdicts on rows of this and of other blocks; the tar of another that changes becomes stale.
        """
        with self.writing():
            self._judge(twins)
            self.base.executemany(CHANGE, [(o, why, number, o) for number, (o, why) in outcomes.items()])
            self.base.execute("UPDATE rows SET at = NULL WHERE number >= ? AND number < ?", self._span(block))
            self._state(block, "settled")

    def leave_out(self, verdicts: Mapping[int, str]) -> None:
        """Note what was found out about rows after their blocks were settled: number -> outcome."""
        with self.writing():
            self._judge(verdicts)

    def _judge(self, verdicts: Mapping[int, str]) -> None:
        """Change the outcomes of rows; tars of settled blocks that hold them become stale."""
        for number, outcome in verdicts.items():
            if self.base.execute(CHANGE, (outcome, OUTCOMES[outcome], number, outcome)).rowcount:
                self._state(number // self.block, "stale", unless="open")

    def blocks(self, state: str) -> list[int]:
        """Blocks in a state, in order."""
        found = self.base.execute("SELECT block FROM blocks WHERE state = ? ORDER BY block", (state,))
        return [block for (block,) in found]

    def rewritten(self, block: int) -> None:
        """Note that the tar of a stale block holds what the ledger says."""
        with self.writing():
            self._state(block, "settled")

    def open_blocks(self, window: int) -> list[int]:
        """Blocks of a window that are not settled, in order."""
        found = self.base.execute(
            "SELECT block FROM blocks WHERE state = 'open' AND block >= ? AND block < ? ORDER BY block",
            (window * self.window // self.block, (window + 1) * self.window // self.block),
        )
        return [block for (block,) in found]

    # After a death, or on request

    def spooled(self, window: int) -> list[tuple[int, int, int]]:
        """Bodies that the ledger holds to be in the spool of a window: number, place, bytes; by place."""
        found = self.base.execute(
            "SELECT number, at, size FROM rows WHERE number >= ? AND number < ? AND at IS NOT NULL ORDER BY at",
            (window * self.window, (window + 1) * self.window),
        )
        return found.fetchall()

    def forget(self, numbers: Iterable[int]) -> None:
        """Take rows for never asked, because their bytes are gone; their blocks are open again."""
        numbers = list(numbers)
        with self.writing():
            self.base.executemany(
                "UPDATE rows SET outcome = NULL, reason = NULL, asked = 0, due = NULL, sha = NULL, at = NULL, "
                "size = NULL WHERE number = ?",
                [(number,) for number in numbers],
            )
            for block in {number // self.block for number in numbers}:
                self._state(block, "open")

    def again(self, outcomes: Iterable[str], blocks: Iterable[int]) -> int:
        """Open rows that may succeed; how many.

        Args:
            outcomes: classes to ask again, in every block.
            blocks: blocks of which everything is asked again that asking can change.
        """
        numbers: set[int] = set()
        for outcome in outcomes:
            numbers.update(n for (n,) in self.base.execute("SELECT number FROM rows WHERE outcome = ?", (outcome,)))
        for block in blocks:
            failed = "SELECT number FROM rows WHERE number >= ? AND number < ? AND outcome NOT IN"
            numbers.update(n for (n,) in self.base.execute(f"{failed} ({UNASKED})", self._span(block)))
        self.forget(sorted(numbers))
        return len(numbers)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction: whole, or not at all."""
        self.base.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.base.execute("COMMIT")
        except BaseException as error:
            if self.base.in_transaction:  # a full disk may have ended it
                self.base.execute("ROLLBACK")
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise no_space(self.path) from None
            raise

    def _state(self, block: int, state: str, unless: str = "") -> None:
        self.base.execute("UPDATE blocks SET state = ? WHERE block = ? AND state <> ?", (state, block, unless))

    def _span(self, block: int) -> tuple[int, int]:
        return block * self.block, (block + 1) * self.block

    def _value(self, name: str, default: int) -> int:
        found = self.base.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return default if found is None else found[0]

    def _kept(self, name: str, value: int | None) -> int:
        """What the ledger was made with, or is made with now; None: whatever that was."""
        self.base.execute("INSERT OR IGNORE INTO facts SELECT ?1, ?2 WHERE ?2 IS NOT NULL", (name, value))
        kept = self._value(name, 0)
        if value not in (None, kept):
            self.base.close()
            raise DownloadError(f"{name} {value}: {self.path} was made with {kept}; keep that, or take a new folder")
        return kept
