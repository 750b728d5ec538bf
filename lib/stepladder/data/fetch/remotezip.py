"""The zip format over ranges: list an archive from its last bytes, unpack a member from its own bytes.

Decisions:
- Python's `zipfile` reads the directory (end record in the last 64 KiB, zip64, prefixed archives); it sees the archive
  through a window that turns its few reads into few requests. Usually three in all, whatever the archive's size.
- A member's bytes are fetched with its local header, whose length only the header itself tells. So the plan asks for a
  close upper bound, never beyond the next member, and the header then gives the truth.
- What cannot be trusted is refused by the member's name: paths that leave the folder or meet another's (see
  `core.names`), the fetcher's own folder, symbolic links, encryption, unknown methods, members that overlap. Only
  wanted members are judged; the others are never touched.
"""

import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from itertools import pairwise
from pathlib import Path, PurePosixPath

from stepladder.core import names
from stepladder.data.fetch.bytesource import Bytes, FetchError

TAIL = 4096  # holds the end records of nearly every archive; a longer comment costs one more request
HEADER = struct.Struct("<4s5H3I2H")  # local file header (APPNOTE 4.3.7)
SLACK = 64  # what the extra field of the local header may be longer than that of the directory
STATE = ".fetch"  # folder of what is kept beside the members (see `cache`)
METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflate"}


class BadMember(FetchError):
    """A member that must not or cannot be unpacked, by name."""


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    Attributes:
        path: path inside the archive, with forward slashes.
        compressed: bytes of its data in the archive.
        size: bytes when unpacked.
        crc: CRC-32 of the unpacked bytes.
        offset: position of its local header in the archive.
        stop: upper bound of the end of its data: what to fetch before the local header is known.
        limit: position of whatever follows it; its data must not reach beyond.
        method: 0 stored, 8 deflate.
        flaw: why it is refused if wanted; empty when it is sound.
    """

    path: str
    compressed: int
    size: int
    crc: int
    offset: int
    stop: int = 0
    limit: int = 0
    method: int = zipfile.ZIP_STORED
    flaw: str = ""


@dataclass(frozen=True)
class Directory:
    """The central directory of an archive: its files in order of position, and its own size in bytes."""

    members: tuple[Member, ...]
    bytes: int


def read_directory(source: Bytes) -> Directory:
    """List an archive without reading its members.

    Raises:
        FetchError: when it is no zip archive, or its directory is cut or inconsistent.
    """
    window = _Window(source)
    try:
        with zipfile.ZipFile(window) as archive:
            infos, start = archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error) as error:
        raise FetchError(f"{source.url}: not a usable zip archive ({error}); is the download complete?") from None
    starts = sorted({info.header_offset for info in infos} | {start})
    following = dict(pairwise(starts))
    files = [_member(info, following.get(info.header_offset, start)) for info in infos if not info.is_dir()]
    return Directory(tuple(sorted(files, key=lambda m: (m.offset, m.path))), window.size - start)


def choose(members: Iterable[Member], patterns: Iterable[str], archive: str) -> tuple[Member, ...]:
    """Members that match any pattern, in order of position.

    Raises:
        BadMember: naming every chosen member that must not be unpacked, and why.
    """
    wanted = matcher(patterns)
    chosen = tuple(member for member in members if wanted(member.path))
    flaws = {member.path: member.flaw for member in chosen if member.flaw} or names.clashes(m.path for m in chosen)
    bad = [f"{names.shown(path)} ({flaw})" for path, flaw in sorted(flaws.items())]
    if bad:
        raise BadMember(
            f"{archive}: refused {', '.join(bad[:5])}{' ...' if len(bad) > 5 else ''}; "
            "choose patterns that leave these members out"
        )
    return chosen


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a path matches any of the glob patterns (`*` also matches `/`); quick for archives of 50,000 members."""
    patterns = tuple(patterns)
    endings = tuple(re.split(r"[*?\]]", pattern)[-1] for pattern in patterns)
    match = re.compile("|".join(translate(pattern) for pattern in patterns)).match
    return lambda path: path.endswith(endings) and match(path) is not None


def data_stop(member: Member, raw: Path) -> int:
    """Where the data of `member` ends in the archive: exactly once `raw` holds its local header, else the bound."""
    if not raw.exists() or raw.stat().st_size < HEADER.size:
        return member.stop
    return member.offset + _header_length(member, raw) + member.compressed


def unpack(member: Member, raw: Path, target: Path) -> None:
    """Write the content of `member` to `target` from `raw`, which holds its bytes from the local header on.

    Raises:
        BadMember: when the bytes are not those the directory promises (header, size or CRC-32).
    """
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.method else None
    crc = size = 0
    try:
        with raw.open("rb") as packed, target.open("wb") as out:
            packed.seek(_header_length(member, raw))
            for piece in _inflated(packed, member.compressed, inflate):
                crc, size = zlib.crc32(piece, crc), size + len(piece)
                if size > member.size:
                    break
                out.write(piece)
    except zlib.error as error:
        raise BadMember(f"{member.path}: its compressed data is broken ({error})") from None
    if (size, crc) != (member.size, member.crc):
        raise BadMember(
            f"{member.path}: expected {member.size} bytes with CRC-32 {member.crc:08x}, unpacked {size} with {crc:08x}"
        )


def crc_of(path: Path) -> int:
    """CRC-32 of a file's bytes."""
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            crc = zlib.crc32(piece, crc)
    return crc


class _Window(io.RawIOBase):
    """A seekable view of remote bytes that keeps the archive's last bytes and reads the rest in one piece each."""

    def __init__(self, source: Bytes):
        self._source, self.size, self._position = source, source.identity.size or 0, 0
        self._begin, self._held = self.size, b""
        if self.size:
            self._extend(max(0, self.size - TAIL))

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError("seek before the beginning")
        self._position = base + offset
        return self._position

    def read(self, length: int = -1) -> bytes:
        if self._position < self._begin:  # zipfile only steps back for the end record and the directory
            self._extend(self._position)
        begin = self._position - self._begin
        data = self._held[begin:] if length < 0 else self._held[begin : begin + length]
        self._position += len(data)
        return data

    def _extend(self, start: int) -> None:
        """Hold everything from `start` to the end of the archive."""
        self._held = b"".join(self._source.stream(start, self._begin)) + self._held
        self._begin = start


def _member(info: zipfile.ZipInfo, limit: int) -> Member:
    """A directory entry as a `Member`, with the reason to refuse it, if any."""
    header = HEADER.size + len(info.orig_filename.encode()) + len(info.extra) + SLACK
    path = PurePosixPath(info.orig_filename.replace("\\", "/"))  # some Windows tools write backslashes
    return Member(
        path=path.as_posix(),
        compressed=info.compress_size,
        size=info.file_size,
        crc=info.CRC,
        offset=info.header_offset,
        stop=min(info.header_offset + header + info.compress_size, limit),
        limit=limit,
        method=info.compress_type,
        flaw=_flaw(info, path),
    )


def _flaw(info: zipfile.ZipInfo, path: PurePosixPath) -> str:
    """Why a member must not be unpacked; empty when it is sound."""
    if flaw := names.flaw(path.as_posix()):
        return flaw
    if path.parts[0].casefold() == STATE:
        return "kept for the fetcher's own records"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "symbolic link"
    if info.flag_bits & 0x1:
        return "encrypted"
    if info.compress_type not in METHODS:
        return f"compression method {info.compress_type}, only stored and deflate are read"
    return ""


def _header_length(member: Member, raw: Path) -> int:
    """Bytes of the local header; `BadMember` when there is none, or the data would reach into the next member."""
    with raw.open("rb") as file:
        head = file.read(HEADER.size)
    if len(head) < HEADER.size or head[:4] != b"PK\3\4":
        raise BadMember(f"{member.path}: no local header at byte {member.offset} of the archive")
    fields = HEADER.unpack(head)
    length = HEADER.size + fields[-2] + fields[-1]
    if member.offset + length + member.compressed > member.limit:
        raise BadMember(f"{member.path}: its data overlaps what follows it in the archive")
    return length


def _inflated(packed: io.BufferedReader, compressed: int, inflate: "zlib._Decompress | None") -> Iterator[bytes]:
    """The content of the next `compressed` bytes in pieces of about a megabyte."""
    while compressed > 0 and (piece := packed.read(min(1 << 16, compressed))):
        compressed -= len(piece)
        yield inflate.decompress(piece) if inflate else piece
    if inflate:
        yield inflate.flush()
