"""Doing what a plan says: archives that change, servers without ranges and full disks are met here."""

import errno
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stepladder.core import files
from stepladder.data.fetch.bytesource import Changed, FetchError, LocalBytes, NoRanges, Traffic, Unreachable
from stepladder.data.fetch.cache import Shelf
from stepladder.data.fetch.planning import Plan, plan_archive, plan_members, plan_whole, too_big
from stepladder.data.fetch.remote import PER_HOST, HttpBytes
from stepladder.data.fetch.remotezip import Member, read_directory
from stepladder.data.fetch.transfer import Progress, Transfer

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
BEGINNINGS = 3  # times an archive may change under a fetch, or a server without ranges cut it, before giving up


@dataclass(frozen=True)
class Report:
    """What a fetch did: traffic since its plan was made, wall time of the fetch, and one row per wanted member.

    `members` rows: path, state (`there`, `fetched`, `broken`), bytes moved now, size, seconds.
    """

    root: Path
    bytes_moved: int
    requests: int
    retries: int
    seconds: float
    members: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.bytes_moved / max(self.seconds, 1e-9)

    @property
    def paths(self) -> set[Path]:
        """Where the wanted members lie."""
        return {self.root / row["path"] for row in self.members}

    def table(self) -> pd.DataFrame:
        """The rows of `members`."""
        return pd.DataFrame(self.members, columns=["path", "state", "moved", "size", "seconds"])


class IncompleteFetch(FetchError):
    """Members that are broken in the archive itself, by name; all the others are in place, as `report` tells."""

    def __init__(self, message: str, report: Report):
        super().__init__(message)
        self.report = report


def fetch(plan: Plan, on_progress: Progress | None = None, parallel: int = PER_HOST) -> Report:
    """Bring every wanted member of a plan to its place. After any failure call it again: it goes on where it stood.

    Args:
        plan: from `plan`.
        on_progress: called with bytes come, bytes to come in all, and the member in hand; by any thread, one at a time.
        parallel: requests side by side; one host never sees more than `PER_HOST` at a time.

    Raises:
        FetchError: the disk is full or would be.
        Unreachable: the server gave no new byte, however often it was asked, or changed the archive again and again.
        IncompleteFetch: some members are broken in the archive itself; all others are in place.
    """
    if plan.archive is None:
        return Report(plan.root, 0, 0, 0, 0.0, tuple(_row(m, "there") for m in plan.wanted), plan.notes)
    began, traffic, change = time.monotonic(), plan.archive.traffic, None
    with Shelf(plan.root).locked():
        for _ in range(BEGINNINGS):
            try:
                if change:
                    plan = plan_archive(plan.source, plan.root, plan.opened.patience, traffic, (str(change),))
                complete, transfer = _move(plan, on_progress, parallel)
                return _report(complete, transfer, traffic, time.monotonic() - began)
            except Changed as error:
                change = error
            except NoRanges:
                plan, change = plan_whole(plan.source, Shelf(plan.root), plan.opened, plan.notes), None
            except OSError as error:
                raise (_disk_full(plan, error) if error.errno in FULL else error) from None
    raise Unreachable(f"{plan.source.url}: changed again and again while it was fetched; call again later")


def _move(plan: Plan, on_progress: Progress | None, parallel: int) -> tuple[Plan, Transfer]:
    """Move what is missing; the plan it became (a whole archive tells its members only now), and what happened."""
    if not plan.fits:
        raise FetchError(too_big(plan))
    plan = _download(plan, on_progress) if plan.whole else plan
    shelf = Shelf(plan.root)
    transfer = Transfer(plan.opened, shelf, on_progress, parallel)
    transfer.run(plan.wanted)
    shelf.tidy()
    return plan, transfer


def _download(plan: Plan, on_progress: Progress | None) -> Plan:
    """Move the whole archive into scratch space, and plan its members from there."""
    shelf = Shelf(plan.root)
    identity = plan.opened.identity
    path = shelf.scratch(identity) / "archive.zip"
    for beginning in range(BEGINNINGS):
        if path.exists() and identity.firm:
            break
        try:
            _write_whole(plan, path, on_progress)
            break
        except Unreachable:
            if beginning + 1 == BEGINNINGS:
                raise
    archive = LocalBytes(path, plan.opened.patience, None, Traffic())
    shelf.remember(identity, read_directory(archive))
    local = plan_members(plan.source, shelf, archive, plan.notes)
    if not local.fits:
        raise FetchError(too_big(local))
    return local


def _write_whole(plan: Plan, path: Path, on_progress: Progress | None) -> None:
    """The whole archive, in one go."""
    assert isinstance(plan.archive, HttpBytes), "a file on this machine has ranges"
    with files.atomic(path) as temporary, temporary.open("wb") as out:
        for chunk in plan.archive.whole():
            out.write(chunk)
            if on_progress:
                on_progress(out.tell(), plan.bytes_to_move, "the whole archive")


def _disk_full(plan: Plan, error: OSError) -> FetchError:
    """That the disk took no more, and the way out."""
    free = Shelf(plan.root).disk_free() / 1e6
    return FetchError(
        f"{plan.root}: {error.strerror}, {free:,.1f} MB free; what has come is kept: make room and call again, "
        "or want fewer members"
    )


def _report(plan: Plan, transfer: Transfer, traffic: Traffic, seconds: float) -> Report:
    """What a fetch did; raised as `IncompleteFetch` when members are broken."""
    rows = []
    for member in plan.wanted:
        state = "broken" if member.path in transfer.broken else "fetched" if member.path in transfer.rows else "there"
        rows.append(_row(member, state, **transfer.rows.get(member.path, {})))
    report = Report(plan.root, traffic.bytes, traffic.requests, traffic.retries, seconds, tuple(rows), plan.notes)
    if transfer.broken:
        names = "; ".join(transfer.broken.values())
        raise IncompleteFetch(
            f"{plan.source.url}: {len(transfer.broken)} broken, the others are in place: {names}", report
        )
    return report


def _row(member: Member, state: str, moved: int = 0, seconds: float = 0.0) -> dict[str, Any]:
    return {"path": member.path, "state": state, "moved": moved, "size": member.size, "seconds": round(seconds, 3)}
