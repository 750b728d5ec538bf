"""Archives unpacked safely: tar (plain or compressed) and zip, into a fresh folder that appears only when it is whole.

Decisions:
- Only plain files and folders are taken. A link, a device or a name that must not be written, or not beside another
  (see `core.names`), refuses the whole archive by the member's name, before anything is written.
- Times, owners and modes of members are not restored: bytes are what an artifact promises.
"""

import gzip
import hashlib
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from stepladder.core import names
from stepladder.registry.store import RegistryError

ENDINGS = (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tar", ".zip")
BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError, struct.error),  # of hostile headers
)
BLOCK = 1 << 20


@dataclass(frozen=True)
class Member:
    """One entry of an archive; `flaw` says why it is refused, empty when it is sound."""

    path: str
    size: int
    folder: bool
    flaw: str
    open: Callable[[], IO[bytes]]


def unpacked_path(path: str) -> str:
    """Where an archive is unpacked: its path without the ending; empty where it has no known ending."""
    ending = next((ending for ending in ENDINGS if path.endswith(ending)), None)
    return path.removesuffix(ending) if ending else ""


def unpack(archive: Path, folder: Path, shown: str) -> list[dict[str, Any]]:
    """Unpack `archive` to `folder`, which must not be there.

    Args:
        archive: a tar or zip file.
        folder: appears by renaming once everything is written.
        shown: the archive's name in errors.

    Returns:
        `path`, `bytes` and `sha256` of every file.

    Raises:
        RegistryError: a member is refused, the archive is broken, or the disk is too small.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with _members(archive, shown) as members:
            _check(members, shown)
            _check_disk(members, part, shown)
            rows = [_write(member, part, shown) for member in members if not member.folder]
        for member in members:
            if member.folder:
                (part / member.path).mkdir(parents=True, exist_ok=True)
        part.rename(folder)
    except OSError as error:
        raise RegistryError(f"{shown}: it cannot be unpacked to {folder} ({error.strerror or error})") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return rows


@contextmanager
def _members(archive: Path, shown: str) -> Iterator[list[Member]]:
    """The open archive's entries, in order."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield [_of_zip(opened, info) for info in opened.infolist() if not _is_root(info.filename)]
        else:
            with tarfile.open(archive) as opened:
                members = [_of_tar(opened, info) for info in opened.getmembers() if not _is_root(info.name)]
                while opened.fileobj.read(BLOCK):  # a compressed archive tells only at its end that it is whole
                    pass
                yield members
    except BROKEN as error:
        raise RegistryError(f"{shown}: not a usable tar or zip archive ({error}); publish it again") from None


def _is_root(name: str) -> bool:
    """Whether an entry is the folder itself, as `tar -c .` writes it first."""
    return name in (".", "./")


def _of_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    linked = stat.S_ISLNK(info.external_attr >> 16)
    flaw = names.flaw(info.orig_filename) or ("a link" if linked else "encrypted" if info.flag_bits & 1 else "")
    return Member(_plain(info.orig_filename), info.file_size, info.is_dir(), flaw, lambda: archive.open(info))


def _of_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    plain = info.isreg() or info.isdir()
    flaw = names.flaw(info.name) or ("" if plain else "a link" if info.issym() or info.islnk() else "no plain file")
    return Member(_plain(info.name), info.size, info.isdir(), flaw, lambda: cast(IO[bytes], archive.extractfile(info)))


def _plain(name: str) -> str:
    """`a/b` of `./a//b/`."""
    return PurePosixPath(name).as_posix()


def _check(members: Sequence[Member], shown: str) -> None:
    """Refuse an archive with a member that must not be written."""
    flaws = {member.path: member.flaw for member in members if member.flaw}
    flaws = flaws or names.clashes(member.path for member in members if not member.folder)
    kept = {member.path for member in members if not member.folder}
    flaws |= {member.path: "a file and a folder" for member in members if member.folder and member.path in kept}
    bad = [f"{names.shown(path)} ({flaw})" for path, flaw in flaws.items()]
    if bad:
        more = " ..." if len(bad) > 5 else ""
        raise RegistryError(f"{shown}: refused {', '.join(bad[:5])}{more}; publish it without these members")


def _check_disk(members: Sequence[Member], place: Path, shown: str) -> None:
    need, free = sum(member.size for member in members), shutil.disk_usage(place).free
    if need > free:
        raise RegistryError(f"{shown}: {need / 1e6:,.1f} MB to unpack, {free / 1e6:,.1f} MB free; make room")


def _write(member: Member, folder: Path, shown: str) -> dict[str, Any]:
    """Write one file and tell its size and hash."""
    target, digest, size = folder / member.path, hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as source, target.open("xb") as out:
        while block := source.read(BLOCK):
            digest.update(block)
            size += len(block)
            out.write(block)
    if size != member.size:
        raise RegistryError(f"{shown}: {member.path!r} holds {size} bytes, {member.size} were promised; publish again")
    return {"path": member.path, "bytes": size, "sha256": digest.hexdigest()}
