"""Fetching: from a source (archive or folder, far or near) to files on this disk, moving no byte twice.

Decisions:
- Look before you move: `plan` costs a few requests and says what is wanted, what is already there, how many bytes will
  move and whether they fit. `fetch` then does that.
- Of an archive only its directory and the wanted members move (`remotezip`, `transfer`); faults of the network are met
  in `remote`; what lies on disk after a kill, and how to go on from it, is in `shelf`.
- An archive that changes while it is fetched is planned anew; members whose CRC-32 stayed the same are kept.
- A local folder is used where it lies. A server without ranges gives the whole archive once, and the plan says so.
"""

import errno
import time
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from stepladder import files
from stepladder.remote import (
    PER_HOST,
    Bytes,
    Changed,
    FetchError,
    LocalBytes,
    NoRanges,
    Patience,
    Traffic,
    Unreachable,
    local_path,
    open_bytes,
)
from stepladder.remotezip import Member, choose, read_directory
from stepladder.shelf import Shelf
from stepladder.transfer import Progress, Transfer

if TYPE_CHECKING:
    from stepladder.study import Source

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
BEGINNINGS = 3  # times an archive may change under a fetch, or a server without ranges cut it, before giving up


@dataclass(frozen=True)
class Plan:
    """What a fetch will do.

    Attributes:
        root: the folder that holds the files afterwards; for a local folder, that folder itself.
        wanted: members that match the source's patterns (of a local folder: its files); empty while `whole`.
        there: those of them that are already in place.
        directory_bytes: size of the archive's central directory.
        disk_free: bytes free where `root` lies.
        notes: what a person should know before saying yes.
        archive: the open archive; None for a local folder.
        whole: the server honours no ranges, so the archive has to be moved whole and its content is not known yet.
    """

    source: "Source"
    root: Path
    wanted: tuple[Member, ...]
    there: tuple[Member, ...]
    directory_bytes: int = 0
    disk_free: int = 0
    notes: tuple[str, ...] = ()
    archive: Bytes | None = None
    whole: bool = False

    @property
    def missing(self) -> tuple[Member, ...]:
        """Wanted members that are not in place yet."""
        there = {member.path for member in self.there}
        return tuple(member for member in self.wanted if member.path not in there)

    @property
    def bytes_to_move(self) -> int:
        """Compressed bytes still to come; of a whole archive its size, 0 where the server does not tell it."""
        return (self.archive.identity.size or 0) if self.whole else sum(m.compressed for m in self.missing)

    @property
    def bytes_to_write(self) -> int:
        """What the disk must take at most: the unpacked members and the largest ones in hand."""
        in_hand = sorted((m.compressed for m in self.missing), reverse=True)[:PER_HOST]
        return self.bytes_to_move if self.whole else sum(m.size for m in self.missing) + sum(in_hand)

    @property
    def fits(self) -> bool:
        """Whether the disk takes it, with 1 % to spare."""
        return self.bytes_to_write * 1.01 <= self.disk_free

    def hours(self, bytes_per_second: float) -> float:
        """Hours the move takes at a rate, such as that of an earlier `Report`."""
        return self.bytes_to_move / bytes_per_second / 3600

    def summary(self) -> dict[str, Any]:
        """The plan as a row of a table, units in the names."""
        return {
            "source": self.source.url,
            "files": len(self.wanted),
            "already there": len(self.there),
            "to move (MB)": round(self.bytes_to_move / 1e6, 2),
            "to write (MB)": round(self.bytes_to_write / 1e6, 2),
            "disk free (GB)": round(self.disk_free / 1e9, 1),
            "notes": "; ".join(self.notes),
        }


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

    def table(self) -> pd.DataFrame:
        """The rows of `members`."""
        return pd.DataFrame(self.members, columns=["path", "state", "moved", "size", "seconds"])


class IncompleteFetch(FetchError):
    """Members that are broken in the archive itself, by name; all the others are in place, as `report` tells."""

    def __init__(self, message: str, report: Report):
        super().__init__(message)
        self.report = report


def inspect(url: str, patience: Patience = Patience()) -> list[Member]:  # noqa: B008
    """All files of an archive, from its central directory alone; of a local folder, its files.

    Raises:
        FetchError: when it cannot be reached, is no zip archive, or its server honours no ranges.
    """
    path = local_path(url)
    if path is not None and path.is_dir():
        return _files_below(path)
    archive = open_bytes(url, patience)
    if not archive.ranges:
        raise FetchError(f"{url}: the server honours no Range, so the archive cannot be listed without moving it whole")
    return list(read_directory(archive).members)


def plan(source: "Source", raw: Path, patience: Patience = Patience()) -> Plan:  # noqa: B008
    """What has to move so that the wanted members of `source` lie below `raw / source.folder`.

    Args:
        source: url of an archive or folder, folder below `raw`, and patterns of wanted members (`*` also matches `/`).
        raw: folder of all raw files.
        patience: how long and how often to wait for the server.

    Raises:
        FetchError: when the source cannot be reached or read, or nothing in it is wanted.
        BadMember: when a wanted member must not be unpacked (`..`, absolute path, symbolic link, duplicate name ...).
    """
    path = local_path(source.url)
    if path is not None and path.is_dir():
        wanted = tuple(m for m in _files_below(path) if any(fnmatchcase(m.path, p) for p in source.members))
        return Plan(
            source, path, wanted, wanted, notes=("a local folder: used where it lies", *_unmatched(source, wanted))
        )
    return _plan_archive(source, raw / source.folder, patience, Traffic())


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
    began, traffic = time.monotonic(), plan.archive.traffic
    with Shelf(plan.root).locked():
        for _ in range(BEGINNINGS):
            try:
                complete, transfer = _move(plan, on_progress, parallel)
                return _report(complete, transfer, traffic, time.monotonic() - began)
            except Changed as change:
                plan = _plan_archive(plan.source, plan.root, plan.archive.patience, traffic, (str(change),))
            except NoRanges:
                plan = _plan_whole(plan.source, Shelf(plan.root), plan.archive, plan.notes)
            except OSError as error:
                raise (_disk_full(plan, error) if error.errno in FULL else error) from None
    raise Unreachable(f"{plan.source.url}: changed again and again while it was fetched; call again later")


# Planning ------------------------------------------------------------------------------------------------------------


def _plan_archive(
    source: "Source", root: Path, patience: Patience, traffic: Traffic, notes: tuple[str, ...] = ()
) -> Plan:
    """`plan` for an archive. The listing kept from last time serves again while the archive is unchanged."""
    shelf = Shelf(root)
    archive = open_bytes(source.url, patience, shelf.identity, traffic)
    if archive.ranges and not archive.unchanged:
        shelf.remember(archive.identity, read_directory(archive))
    if not archive.unchanged and not archive.ranges:
        return _plan_whole(source, shelf, archive, notes)
    plan = _plan_members(source, shelf, archive, notes)
    return plan if archive.ranges or not plan.missing else _plan_whole(source, shelf, archive, notes)


def _plan_members(source: "Source", shelf: Shelf, archive: Bytes, notes: tuple[str, ...]) -> Plan:
    """The plan for an archive whose listing is on the shelf."""
    wanted = choose(shelf.directory.members, source.members, source.url)
    if not wanted:
        raise FetchError(
            f"{source.url}: {'; '.join(_unmatched(source, wanted))}; it holds {_tops(shelf.directory.members)}"
        )
    there = tuple(member for member in wanted if shelf.has(member))
    notes = (*notes, *_unmatched(source, wanted))
    plan = Plan(source, shelf.root, wanted, there, shelf.directory.bytes, shelf.disk_free(), notes, archive)
    return plan if plan.fits else replace(plan, notes=(*notes, _too_big(plan)))


def _plan_whole(source: "Source", shelf: Shelf, archive: Bytes, notes: tuple[str, ...]) -> Plan:
    """The plan for a server without ranges."""
    size = f"{archive.identity.size / 1e6:.1f} MB" if archive.identity.size else "unknown size"
    notes = (*notes, f"the server honours no Range: the whole archive ({size}) has to move, and a cut begins it anew")
    plan = Plan(source, shelf.root, (), (), 0, shelf.disk_free(), notes, archive, whole=True)
    return plan if plan.fits else replace(plan, notes=(*notes, _too_big(plan)))


def _unmatched(source: "Source", wanted: tuple[Member, ...]) -> tuple[str, ...]:
    """A note for each pattern that matches nothing."""
    lost = [p for p in source.members if not any(fnmatchcase(member.path, p) for member in wanted)]
    return tuple(f"no member matches {pattern!r}" for pattern in lost)


def _too_big(plan: Plan) -> str:
    """That the disk cannot take a plan, and the way out."""
    need, free = plan.bytes_to_write / 1e6, plan.disk_free / 1e6
    return f"{plan.root}: disk too full: {need:,.1f} MB to write, {free:,.1f} MB free; make room or want fewer files"


def _tops(members: tuple[Member, ...]) -> str:
    """The folders of an archive, a few of them, for an error message."""
    folders = sorted({member.path.rpartition("/")[0] or member.path for member in members})
    return ", ".join(folders[:8]) + (" ..." if len(folders) > 8 else "") or "nothing"


def _files_below(folder: Path) -> list[Member]:
    """Files of a local folder as members; they are used as they are, so they have no CRC and no position."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [Member(path.relative_to(folder).as_posix(), (n := path.stat().st_size), n, 0, 0) for path in paths]


# Fetching ------------------------------------------------------------------------------------------------------------


def _move(plan: Plan, on_progress: Progress | None, parallel: int) -> tuple[Plan, Transfer]:
    """Move what is missing; the plan it became (a whole archive tells its members only now), and what happened."""
    if not plan.fits:
        raise FetchError(_too_big(plan))
    plan = _download(plan, on_progress) if plan.whole else plan
    shelf = Shelf(plan.root)
    transfer = Transfer(plan.archive, shelf, on_progress, parallel)
    transfer.run(plan.wanted)
    shelf.tidy()
    return plan, transfer


def _download(plan: Plan, on_progress: Progress | None) -> Plan:
    """Move the whole archive into scratch space, and plan its members from there."""
    shelf = Shelf(plan.root)
    identity = plan.archive.identity
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
    archive = LocalBytes(path, plan.archive.patience, None, Traffic())
    shelf.remember(identity, read_directory(archive))
    local = _plan_members(plan.source, shelf, archive, plan.notes)
    if not local.fits:
        raise FetchError(_too_big(local))
    return local


def _write_whole(plan: Plan, path: Path, on_progress: Progress | None) -> None:
    """The whole archive, in one go."""
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
