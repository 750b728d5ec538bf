"""What a gathering came to: what was asked, what became of it with an example of each class, whom it failed at."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from stepladder.core.types import Check
from stepladder.data.download.downloading import Report
from stepladder.data.download.ledger import BUSY_S, NAME
from stepladder.data.images.tars import TarSet

if TYPE_CHECKING:
    from stepladder.studies.captions.params import CaptionsData

MOST_HOSTS = 10  # shown
ARRIVED = ("ok", "duplicate", "near_duplicate", "placeholder", "too_small", "hash_changed")  # a picture was there


def shown(lists: Sequence[Path], report: Report) -> dict[str, pd.DataFrame]:
    """Tables by title; blocks whose errors are not those of the others only where there are any."""
    tables = {
        "What was asked": asked(lists, report),
        "What became of it": outcomes(report),
        "Hosts with most errors": hosts(report),
    }
    if report.suspects:
        mix = report.mix()
        tables["Suspect blocks"] = mix[mix["suspect"] != ""]
    return tables


def asked(lists: Sequence[Path], report: Report) -> pd.DataFrame:
    """A row: lists, rows, requests, what came and what is kept."""
    kept = sum(path.stat().st_size for path in report.tars)
    row = {
        "lists": ", ".join(path.name for path in lists),
        "rows": report.rows,
        "requests": report.attempts,
        "came (MB)": round(report.bytes / 1e6, 2),
        "pictures": report.outcomes.get("ok", 0),
        "tars": len(report.tars),
        "kept (MB)": round(kept / 1e6, 2),
    }
    return pd.DataFrame([row])


def outcomes(report: Report) -> pd.DataFrame:
    """The table of classes, each with the address of its first row and what was said of it."""
    with closing(sqlite3.connect(report.folder / NAME, timeout=BUSY_S)) as base:
        first = base.execute("SELECT outcome, url, reason, min(number) FROM rows GROUP BY outcome").fetchall()
    examples = pd.DataFrame([row[:3] for row in first], columns=["outcome", "example", "reason"])
    return report.table().merge(examples, on="outcome", how="left").fillna({"example": "", "reason": ""})


def hosts(report: Report) -> pd.DataFrame:
    """Hosts with most rows that became no picture, and the class that most of them are of."""
    rows = []
    for host, mix in report.hosts.items():
        errors = {outcome: count for outcome, count in mix.items() if outcome != "ok"}
        if errors:
            most = max(errors, key=lambda outcome: errors[outcome])
            rows.append((host or "no host", sum(mix.values()), sum(errors.values()), most))
    table = pd.DataFrame(rows, columns=["host", "rows", "errors", "mostly"])
    return table.sort_values(["errors", "host"], ascending=[False, True], ignore_index=True).head(MOST_HOSTS)


def checks(report: Report, data: "CaptionsData") -> list[Check]:
    """Gates: every row in one class and the tars as the ledger says, survival that is no local fault, no odd block."""
    return [_every_row(report), _survival(report, data), _alike(report)]


def _every_row(report: Report) -> Check:
    pictures, ok = len(TarSet(report.tars)), report.outcomes.get("ok", 0)
    done = report.complete and pictures == ok
    reason = (
        f"{report.rows:,} rows in {len(report.outcomes)} classes; {ok:,} pictures by the ledger, {pictures:,} in tars"
    )
    return Check("every row has its class, every picture is in a tar", done, reason, pictures, ok)


def _survival(report: Report, data: "CaptionsData") -> Check:
    """Below the least that anybody reported of lists up to five years old, the fault is first sought here."""
    from stepladder.studies.captions.data import survival

    limit = survival.expected(survival.OLDEST).low
    if data.source == "synthetic":
        limit *= 1 - data.faults
    share = sum(report.outcomes.get(outcome, 0) for outcome in ARRIVED) / max(report.rows, 1)
    failed = {outcome: count for outcome, count in report.outcomes.items() if outcome not in ARRIVED}
    most = max(failed, key=lambda outcome: failed[outcome], default="none")
    reason = f"{share:.0%} of the pictures arrived; of old lists at least {limit:.0%} do; most errors are {most!r}"
    if share < limit:
        reason += ": look at the name server, the proxy and the network of this machine first"
    return Check("as many pictures arrived as may be expected", share >= limit, reason, share, limit)


def _alike(report: Report) -> Check:
    reason = "; ".join(map(str, report.suspects)) or f"the errors of {len(report.blocks)} blocks are alike"
    if report.suspects:
        reason += ": ask these blocks again (stepladder.data.download.downloading.retry)"
    return Check("no block is suspect", not report.suspects, reason, len(report.suspects), 0)
