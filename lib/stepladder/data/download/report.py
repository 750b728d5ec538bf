"""What a download came to: the ledger's answers in tables."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stepladder.data.download.ledger import BUSY_S, NAME
from stepladder.data.download.outcomes import OUTCOMES, TRANSIENT
from stepladder.data.download.settling import tar_path
from stepladder.data.download.suspect import Suspect, suspects

if TYPE_CHECKING:
    import pandas as pd

UNASKED = "not asked yet"
HOSTS = 1000  # hosts that are told of, the largest
GB = 1e9


@dataclass(frozen=True)
class Report:
    """What became of every row of a list.

    Attributes:
        folder: where ledger and tars lie.
        rows: rows of the list.
        outcomes: rows by outcome; `not asked yet` where the download is not complete.
        hosts: the hosts with most rows -> rows by outcome.
        blocks: block -> rows by outcome.
        attempts: addresses asked, over all runs; rows that were left alone with their host do not count.
        bytes: bytes of bodies that came, over all runs.
        seconds: of this run.
        complete: whether every row has its class and every tar is in its place.
        suspects: blocks whose error mix departs from the others'.
    """

    folder: Path
    rows: int
    outcomes: Mapping[str, int]
    hosts: Mapping[str, Mapping[str, int]]
    blocks: Mapping[int, Mapping[str, int]]
    attempts: int
    bytes: int
    seconds: float
    complete: bool
    suspects: tuple[Suspect, ...]

    @property
    def tars(self) -> list[Path]:
        """The tars there are, in order; a block without a picture has none."""
        return [path for block in sorted(self.blocks) if (path := tar_path(self.folder, block)).exists()]

    @property
    def ok(self) -> float:
        """Share of the rows that became a picture."""
        return self.outcomes.get("ok", 0) / max(self.rows, 1)

    @property
    def passing(self) -> int:
        """Rows whose failure may pass by itself: what `retry` asks again."""
        return sum(count for outcome, count in self.outcomes.items() if outcome in TRANSIENT)

    def __str__(self) -> str:
        told = f"{self.outcomes.get('ok', 0):,} of {self.rows:,} rows are pictures ({self.ok:.1%})"
        told += f", {self.passing:,} may come another time" if self.passing else ""
        told += f", {len(self.suspects)} blocks are suspect" if self.suspects else ""
        return told + ("" if self.complete else "; not complete: run the same again")

    def table(self) -> "pd.DataFrame":
        """A row per outcome: rows, share, whether it may pass by itself, what it means."""
        import pandas as pd

        return pd.DataFrame(
            [
                (outcome, count, count / max(self.rows, 1), outcome in TRANSIENT, OUTCOMES.get(outcome, outcome))
                for outcome, count in self.outcomes.items()
            ],
            columns=["outcome", "rows", "share", "may pass", "meaning"],
        )

    def mix(self) -> "pd.DataFrame":
        """A row per block: share of its rows by outcome, and why it is suspect."""
        import pandas as pd

        why = {suspect.block: str(suspect) for suspect in self.suspects}
        return pd.DataFrame(
            [
                {"block": f"{block:05d}", "rows": (rows := sum(mix.values()))}
                | {outcome: mix.get(outcome, 0) / max(rows, 1) for outcome in self.outcomes}
                | {"suspect": why.get(block, "")}
                for block, mix in self.blocks.items()
            ]
        )


def report(folder: Path, seconds: float = 0.0) -> Report:
    """What the ledger of a folder says now; needs no download to be running, and disturbs none."""
    with closing(sqlite3.connect(folder / NAME, timeout=BUSY_S)) as base:
        size = base.execute("SELECT value FROM facts WHERE name = 'block'").fetchone()[0]
        blocks: dict[int, dict[str, int]] = {}
        total: dict[str, int] = {}
        mix = base.execute(
            "SELECT number / ?, coalesce(outcome, ?), count(*) FROM rows GROUP BY 1, 2 ORDER BY 1", (size, UNASKED)
        )
        for block, outcome, count in mix:
            blocks.setdefault(block, {})[outcome] = count
            total[outcome] = total.get(outcome, 0) + count
        order = {outcome: place for place, outcome in enumerate(OUTCOMES)}
        total = dict(sorted(total.items(), key=lambda item: order.get(item[0], len(order))))
        attempts, came = base.execute(
            "SELECT count(*), coalesce(sum(bytes), 0) FROM attempts WHERE outcome <> 'host_down'"
        ).fetchone()
        undone = base.execute("SELECT count(*) FROM blocks WHERE state <> 'settled'").fetchone()[0]
        whole = base.execute("SELECT count(*) FROM facts WHERE name = 'whole'").fetchone()[0]
        settled = {block for (block,) in base.execute("SELECT block FROM blocks WHERE state <> 'open'")}
        return Report(
            folder,
            sum(total.values()),
            total,
            _hosts(base),
            blocks,
            attempts,
            came,
            seconds,
            bool(whole) and not undone,
            tuple(suspects({block: mix for block, mix in blocks.items() if block in settled})),
        )


def _hosts(base: sqlite3.Connection) -> dict[str, dict[str, int]]:
    """Rows by outcome of the hosts with most rows, the largest first."""
    largest = "SELECT host FROM rows GROUP BY host ORDER BY count(*) DESC, host LIMIT ?"
    hosts: dict[str, dict[str, int]] = {host: {} for (host,) in base.execute(largest, (HOSTS,))}
    mix = base.execute(
        f"SELECT host, coalesce(outcome, ?), count(*) FROM rows WHERE host IN ({largest}) GROUP BY 1, 2",
        (UNASKED, HOSTS),
    )
    for host, outcome, count in mix:
        hosts[host][outcome] = count
    return hosts
