"""The index of a tar: where every member of every sample lies, so that any of them is one read away.

Decisions:
- The key of a sample is a member's name up to the first dot of its base name, as webdataset has it. Members of a key
  belong together wherever they stand (webdataset wants them side by side).
- The index lies beside the tar (`00000.tar`, `00000.json`). It knows its tar by the size and by headers spread over it,
  which is what offsets depend on; where that does not fit, or there is none, the headers are read once and the index is
  made anew. A JSON file that is no index is left alone.
- What is compressed cannot be read at random, a link has no content, a tar without its end may lack more: refused.
"""

import contextlib
import hashlib
import os
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stepladder.core import files
from stepladder.core.errors import Damaged

FORMAT = 1
LOOKED_AT = 64  # headers that tell a tar from another of its size
NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")  # webdataset's `base_plus_ext`
META = re.compile(r"__[^/]*__($|/)")  # what webdataset passes over
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
Places = dict[str, tuple[int, int]]  # ending -> offset and size in bytes


class TarError(ValueError):
    """A tar that cannot be written or read as one, named with the way out."""


@dataclass(frozen=True)
class Index:
    """Where everything of a tar lies.

    Attributes:
        bytes: size of the tar.
        headers: what `_headers` makes of it.
        samples: key -> ending -> offset and size in bytes, in the order of the tar.
        counts: what came of the rows the tar was made of, by outcome; empty where nobody said.
    """

    bytes: int
    headers: str
    samples: dict[str, Places]
    counts: Mapping[str, int] = field(default_factory=dict)


def index_of(path: Path) -> Index:
    """The index of a tar from anywhere, made by reading its headers once; nothing is written.

    Raises:
        TarError: it is compressed, cut, damaged, or holds links, sparse files or a name twice.
    """
    _refuse_compressed(path)
    samples: dict[str, Places] = {}
    end = _walk(path, samples)
    with path.open("rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile takes what is no header for the end
            raise damaged(path, f"its end is missing at byte {end:,}")
    return index(path, samples, {})


def indexed(path: Path) -> Index:
    """The index beside a tar where there is one that fits; else a new one, left there where that is possible.

    Raises:
        TarError: as `index_of`.
    """
    try:
        stored = files.read_object(path.with_suffix(".json"))
    except Damaged:
        return index_of(path)
    if stored is None:
        return _kept(path, index_of(path))
    if not {"format", "headers", "samples"} <= set(stored):  # somebody else's
        return index_of(path)
    return _fitting(path, stored) or _kept(path, index_of(path))


def keep(path: Path, index: Index) -> None:
    """Write an index beside its tar, atomically."""
    samples = [{"key": key, "members": places} for key, places in index.samples.items()]
    stored = {"format": FORMAT, "bytes": index.bytes, "headers": index.headers}
    files.write_compact(path.with_suffix(".json"), {**stored, "counts": dict(index.counts), "samples": samples})


def index(path: Path, samples: dict[str, Places], counts: Mapping[str, int]) -> Index:
    """The index of a tar whose members are known."""
    return Index(path.stat().st_size, _headers(path, samples), samples, dict(counts))


def enter(path: Path, samples: dict[str, Places], name: str, offset: int, size: int) -> None:
    """Note where a member lies, under its key and its ending in small letters.

    Raises:
        TarError: there is one of this name already, or the name has no key and ending.
    """
    match = NAME.fullmatch(name)
    if match is None or META.match(name):
        raise TarError(f"{name!r} in {path} is no member of a sample: names are KEY.ENDING")
    places = samples.setdefault(match[1], {})
    if match[2].lower() in places:
        raise TarError(f"{path} holds {name!r} twice: delete one and write the tar again")
    places[match[2].lower()] = offset, size


def damaged(path: Path, what: str) -> TarError:
    """A tar that is not whole, with the way out."""
    return TarError(f"{path} is cut or damaged ({what}): fetch or write it again")


def _walk(path: Path, samples: dict[str, Places]) -> int:
    """Enter all members of a tar; the byte at which they end."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if _belongs(path, member):
                    enter(path, samples, member.name, member.offset_data, member.size)
            return tar.offset
    except TarError:
        raise
    except OSError as error:
        raise TarError(f"{path} cannot be read: {error.strerror or error}") from None
    except (tarfile.TarError, ArithmeticError, EOFError, IndexError, ValueError) as error:
        raise damaged(path, str(error)) from None


def _belongs(path: Path, member: tarfile.TarInfo) -> bool:
    """Whether a member is part of a sample; links and the like are refused."""
    if member.isdir():
        return False
    if member.issparse() or not member.isreg():
        kind = "sparse" if member.issparse() else "a link" if member.islnk() or member.issym() else "no plain file"
        raise TarError(f"{member.name!r} in {path} is {kind}: write the tar again with its content (--dereference)")
    return not META.match(member.name) and NAME.fullmatch(member.name) is not None


def _refuse_compressed(path: Path) -> None:
    try:
        with path.open("rb") as file:
            begin = file.read(6)
    except OSError as error:
        raise TarError(f"{path} cannot be read: {error.strerror}") from None
    for magic, name in COMPRESSED.items():
        if begin.startswith(magic):
            raise TarError(f"{path} is compressed ({name}) and cannot be read at random: unpack it to a .tar first")
    if not begin:
        raise damaged(path, "it is empty")


def _fitting(path: Path, stored: Mapping[str, Any]) -> Index | None:
    """A stored index, if it is of this format and of this tar."""
    try:
        samples = {
            sample["key"]: {ending: (int(offset), int(size)) for ending, (offset, size) in sample["members"].items()}
            for sample in stored["samples"]
        }
        found = Index(stored["bytes"], stored["headers"], samples, dict(stored["counts"]))
        same = stored["format"] == FORMAT and path.stat().st_size == found.bytes
        return found if same and _headers(path, samples) == found.headers else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    except OSError as error:
        raise TarError(f"{path} cannot be read: {error.strerror}") from None


def _kept(path: Path, index: Index) -> Index:
    """Keep an index beside a tar of somebody else's, whose folder may be read-only."""
    with contextlib.suppress(OSError):
        keep(path, index)
    return index


def _headers(path: Path, samples: Mapping[str, Places]) -> str:
    """SHA-256 over headers spread evenly over a tar, first and last included: other headers are another layout."""
    offsets = sorted(offset for places in samples.values() for offset, _ in places.values())
    chosen = np.unique(np.linspace(0, len(offsets) - 1, min(LOOKED_AT, len(offsets))).round().astype(int))
    found = hashlib.sha256()
    with path.open("rb") as file:
        for number in chosen:
            found.update(os.pread(file.fileno(), tarfile.BLOCKSIZE, max(0, offsets[number] - tarfile.BLOCKSIZE)))
    return found.hexdigest()
