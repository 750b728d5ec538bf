"""Tars in webdataset's layout: written once, read at random by an index of offsets.

Decisions:
- A tar is plain and its members are whole, so a member is one `pread` at its offset: map-style access for any sampler,
  without a position that threads or forked loaders would share.
- The same members make the same bytes: no time, no owner, USTAR headers, PAX ones before names that need them.
- The index is written first: a tar that is in its place has its index, with the counts that nothing else knows.
- A reader keeps numbers in arrays (about 50 bytes a sample) and pickles as its path. Open files are few and shared, and
  known by what they were when the index was read: a tar that is written anew is never read by the old offsets.
"""

import json
import os
import tarfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepladder.core import files
from stepladder.data.images import tar_index
from stepladder.data.images.tar_index import Index, Places, TarError, index_of

__all__ = ["Index", "TarError", "TarReader", "TarSet", "index_of", "write"]

MOST_OPEN = 128  # files a process keeps open
Identity = tuple[int, int, int]  # inode, size and time of change of a file


def write(path: Path, members: Iterable[tuple[str, bytes]], counts: Mapping[str, int] | None = None) -> Index:
    """Write a tar and the index beside it (`.json`), each atomically.

    Args:
        path: `.../NAME.tar`.
        members: name and content of every member; those of one key side by side.
        counts: what came of the rows it is made of, by outcome; kept in the index.

    Raises:
        TarError: a name is given twice or is none that webdataset reads (`key.ending`).
        OSError: it cannot be written.
    """
    samples: dict[str, Places] = {}
    with files.atomic(path) as temporary:
        with temporary.open("wb") as file:
            for name, content in members:
                file.write(_header(path, name, len(content)))
                tar_index.enter(path, samples, name, file.tell(), len(content))
                file.write(content + bytes(-len(content) % tarfile.BLOCKSIZE))
            file.write(bytes(2 * tarfile.BLOCKSIZE))
            file.write(bytes(-file.tell() % tarfile.RECORDSIZE))
        index = tar_index.index(temporary, samples, counts or {})
        tar_index.keep(path, index)
    return index


class TarReader:
    """The samples of one tar, read in any order, by any number of threads and processes.

    Raises:
        TarError: on first use, as `index_of`.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._endings: dict[str, int] | None = None
        self._identity: Identity = (0, 0, 0)
        self._keys_N = np.zeros(0, "S1")
        self._places_NE2 = np.zeros((0, 0, 2), np.int64)
        self._counts: Mapping[str, int] = {}

    def __len__(self) -> int:
        self._look()
        return len(self._keys_N)

    @property
    def keys(self) -> list[str]:
        """Keys of the samples, in the order of the tar."""
        return [self._key(index) for index in range(len(self))]

    @property
    def counts(self) -> Mapping[str, int]:
        """What came of the rows the tar was made of, by outcome; empty where its index does not say."""
        self._look()
        return self._counts

    def endings(self, index: int) -> list[str]:
        """What a sample consists of: `["jpg", "json", "txt"]`."""
        return [ending for ending, column in self._look().items() if self._places_NE2[index, column, 0] >= 0]

    def read(self, index: int, ending: str) -> bytes:
        """The bytes of a sample's member.

        Raises:
            TarError: the sample has no such member, or the tar was cut since it was indexed.
        """
        column = self._look().get(ending)
        offset, size = (-1, 0) if column is None else self._places_NE2[index, column].tolist()
        if offset < 0:
            raise self._absent(index, ending)
        content = _pread(self.path, self._identity, offset, size)
        if len(content) != size:
            raise tar_index.damaged(self.path, f"{size:,} bytes at {offset:,} are not all there")
        return content

    def json(self, index: int) -> Any:
        """What the member `json` of a sample holds.

        Raises:
            TarError: there is none, or it is no JSON.
        """
        try:
            return json.loads(self.read(index, "json"))
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            key = self._key(index)
            raise TarError(f"{key}.json in {self.path} is no JSON ({error}): make the tar again") from None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])

    def _key(self, index: int) -> str:
        return self._keys_N[index].decode(errors="surrogateescape")

    def _absent(self, index: int, ending: str) -> TarError:
        key, there = self._key(index), self.endings(index)
        packed = next((name for name in there if name in (f"{ending}.gz", f"{ending}.bz2", f"{ending}.xz")), None)
        hint = f"; unpack {packed!r} and write the tar again" if packed else ""
        return TarError(f"{key} in {self.path} has no {ending!r}, only {', '.join(there)}{hint}")

    def _look(self) -> dict[str, int]:
        """Ending -> column, after a look at the index on first use."""
        if self._endings is None:
            self._identity = _identity_of(self.path)  # before the index: what changes in between is noticed
            index = tar_index.indexed(self.path)
            endings = {name: None for places in index.samples.values() for name in places}
            columns = {name: column for column, name in enumerate(sorted(endings))}
            places_NE2 = np.full((len(index.samples), len(columns), 2), -1, np.int64)
            for row, places in enumerate(index.samples.values()):
                for name, place in places.items():
                    places_NE2[row, columns[name]] = place
            self._keys_N = np.array([key.encode(errors="surrogateescape") for key in index.samples], np.bytes_)
            self._places_NE2, self._counts, self._endings = places_NE2, index.counts, columns
        return self._endings


class TarSet:
    """The samples of several tars, numbered through in the order given."""

    def __init__(self, paths: Sequence[Path | str]):
        self.readers = [TarReader(path) for path in paths]
        self._ends: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self._look()[-1]) if self.readers else 0

    def locate(self, index: int) -> tuple[TarReader, int]:
        """The reader that has sample `index`, and its number there.

        Raises:
            IndexError: there is no such sample.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        ends = self._look()
        number = int(np.searchsorted(ends, index, side="right"))
        return self.readers[number], index - (int(ends[number - 1]) if number else 0)

    def read(self, index: int, ending: str) -> bytes:
        """The bytes of a sample's member, as `TarReader.read`."""
        reader, inner = self.locate(index)
        return reader.read(inner, ending)

    def json(self, index: int) -> Any:
        """What the member `json` of a sample holds, as `TarReader.json`."""
        reader, inner = self.locate(index)
        return reader.json(inner)

    def __getstate__(self) -> dict[str, Any]:
        return {"readers": self.readers, "_ends": self._ends}

    def _look(self) -> np.ndarray:
        if self._ends is None:
            self._ends = np.cumsum([len(reader) for reader in self.readers])
        return self._ends


def _header(path: Path, name: str, size: int) -> bytes:
    """The blocks before a member's content: no time, no owner, mode 0644."""
    if name.startswith("/") or "\0" in name or ".." in name.split("/"):
        raise TarError(f"{path.name} cannot hold the name {name!r}: it must be relative and stay inside")
    if not name.isascii() and name.encode(errors="replace").decode() != name:
        raise TarError(f"{path.name} cannot hold the name {name!r}: it is no Unicode text")
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


class _Open:
    """An open file that closes when nobody reads from it any more."""

    def __init__(self, path: Path):
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


_OPEN: OrderedDict[tuple[Path, Identity], _Open] = OrderedDict()  # of this process, the one used last is last


def _opened(path: Path, identity: Identity) -> _Open:
    """A file that is as it was when it had this identity.

    Nothing is locked: a fork would keep the lock closed. Two threads may open a file twice; one is closed after use.
    """
    opened = _OPEN.pop((path, identity), None)
    if opened is None:
        opened = _Open(path)
        if _identity(os.fstat(opened.descriptor)) != identity:
            raise TarError(f"{path} was written anew while it was read: read it with a new reader")
    _OPEN[path, identity] = opened
    while len(_OPEN) > MOST_OPEN:
        _OPEN.popitem(last=False)
    return opened


def _identity(status: os.stat_result) -> Identity:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _identity_of(path: Path) -> Identity:
    try:
        return _identity(path.stat())
    except OSError as error:
        raise TarError(f"{path} cannot be read: {error.strerror}") from None


def _pread(path: Path, identity: Identity, offset: int, size: int) -> bytes:
    """Up to `size` bytes of a file from `offset` on; fewer where it ends."""
    try:
        opened = _opened(path, identity)
        content = os.pread(opened.descriptor, size, offset)
        while 0 < len(content) < size:  # Linux hands over 2 GB at a time
            more = os.pread(opened.descriptor, size - len(content), offset + len(content))
            if not more:
                break
            content += more
        return content
    except OSError as error:
        raise TarError(f"{path} cannot be read: {error.strerror}") from None
