"""Look before you move: what is wanted of a source, what is already there, how much will move, and whether it fits."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepladder.core.secrets import redact
from stepladder.data.fetch.bytesource import Bytes, FetchError, Patience, Traffic, local_path
from stepladder.data.fetch.cache import Shelf
from stepladder.data.fetch.remote import PER_HOST, open_bytes
from stepladder.data.fetch.remotezip import Member, choose, matcher, read_directory

if TYPE_CHECKING:
    from stepladder.core.types import Source


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
    def opened(self) -> Bytes:
        """The open archive of a plan that has one."""
        assert self.archive is not None, f"{self.source.url} is a local folder"
        return self.archive

    @property
    def missing(self) -> tuple[Member, ...]:
        """Wanted members that are not in place yet."""
        there = {member.path for member in self.there}
        return tuple(member for member in self.wanted if member.path not in there)

    @property
    def bytes_to_move(self) -> int:
        """Compressed bytes still to come; of a whole archive its size, 0 where the server does not tell it."""
        return (self.opened.identity.size or 0) if self.whole else sum(m.compressed for m in self.missing)

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
            "source": redact(self.source.url),
            "files": len(self.wanted),
            "already there": len(self.there),
            "to move (MB)": round(self.bytes_to_move / 1e6, 2),
            "to write (MB)": round(self.bytes_to_write / 1e6, 2),
            "disk free (GB)": round(self.disk_free / 1e9, 1) if self.bytes_to_write else None,
            "notes": "; ".join(self.notes),
        }


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
        match = matcher(source.members)
        wanted = tuple(member for member in _files_below(path) if match(member.path))
        return Plan(
            source, path, wanted, wanted, notes=("a local folder: used where it lies", *_unmatched(source, wanted))
        )
    return plan_archive(source, raw / source.folder, patience, Traffic())


def plan_archive(
    source: "Source", root: Path, patience: Patience, traffic: Traffic, notes: tuple[str, ...] = ()
) -> Plan:
    """`plan` for an archive. The listing kept from last time serves again while the archive is unchanged."""
    shelf = Shelf(root)
    archive = open_bytes(source.url, patience, shelf.identity, traffic)
    if archive.ranges and not archive.unchanged:
        shelf.remember(archive.identity, read_directory(archive))
    if not archive.unchanged and not archive.ranges:
        return plan_whole(source, shelf, archive, notes)
    plan = plan_members(source, shelf, archive, notes)
    return plan if archive.ranges or not plan.missing else plan_whole(source, shelf, archive, notes)


def plan_members(source: "Source", shelf: Shelf, archive: Bytes, notes: tuple[str, ...]) -> Plan:
    """The plan for an archive whose listing is on the shelf."""
    directory = shelf.directory
    assert directory is not None, f"{source.url} has not been listed"
    wanted = choose(directory.members, source.members, source.url)
    if not wanted:
        raise FetchError(f"{source.url}: {'; '.join(_unmatched(source, wanted))}; it holds {_tops(directory.members)}")
    there = tuple(member for member in wanted if shelf.has(member))
    notes = (*notes, *_unmatched(source, wanted))
    plan = Plan(source, shelf.root, wanted, there, directory.bytes, shelf.disk_free(), notes, archive)
    return plan if plan.fits else replace(plan, notes=(*notes, too_big(plan)))


def plan_whole(source: "Source", shelf: Shelf, archive: Bytes, notes: tuple[str, ...]) -> Plan:
    """The plan for a server without ranges."""
    size = f"{archive.identity.size / 1e6:.1f} MB" if archive.identity.size else "unknown size"
    notes = (*notes, f"the server honours no Range: the whole archive ({size}) has to move, and a cut begins it anew")
    plan = Plan(source, shelf.root, (), (), 0, shelf.disk_free(), notes, archive, whole=True)
    return plan if plan.fits else replace(plan, notes=(*notes, too_big(plan)))


def _unmatched(source: "Source", wanted: tuple[Member, ...]) -> tuple[str, ...]:
    """A note for each pattern that matches nothing."""
    lost = [pattern for pattern in source.members if not any(map(matcher([pattern]), (m.path for m in wanted)))]
    return tuple(f"no member matches {pattern!r}" for pattern in lost)


def too_big(plan: Plan) -> str:
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
