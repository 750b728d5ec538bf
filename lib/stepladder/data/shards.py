"""Shards: one HDF5 file per asset, written once, mapped for reading.

Decisions:
- Arrays read at random in training are contiguous and uncompressed; a reader maps the file once and looks at them at
  their offset (`dataset.id.get_offset()`): memory speed, and still a file any HDF5 tool opens.
- A map holds no file handle, so the limit of open files (1,024 as a rule) is no limit of shards. Linux's limit of maps
  is: of more than MOST_MAPPED shards the one mapped first is let go, and mapped again when it is asked for.
- Arrays that are only read now and then may be chunked and compressed.
- No locks: a shard never changes once it is in its place, and some file systems of clusters have none.
- The file is written beside its place and renamed, so a shard is absent or whole. Its attributes say what it was made
  from (`recipe`), so a conversion that finds the same recipe skips it.
"""

import json
import os
import weakref
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stepladder.core import files
from stepladder.core.types import ShardContent

ALIGNMENT = 4096
MOST_MAPPED = 30_000  # half of what Linux lets a process map (vm.max_map_count)
FORMAT = 1  # of what this file, and whatever else the shared part does to a shard, makes of it


class ShardError(ValueError):
    """A shard that cannot be read, named with the way out."""


def write(path: Path, content: ShardContent, recipe: str) -> None:
    """Write `content` to `path` atomically; `recipe` is the hash of what it was made from."""
    attributes = {**content.attributes, "recipe": recipe, "issues": [vars(issue) for issue in content.issues]}
    with (
        files.atomic(path) as temporary,
        h5py.File(
            temporary,
            "w",
            libver="latest",
            alignment_threshold=ALIGNMENT,
            alignment_interval=ALIGNMENT,
            locking=False,
        ) as file,
    ):
        file.attrs["stepladder"] = json.dumps(files.plain(attributes), ensure_ascii=False)
        for name, array in content.arrays.items():
            file.create_dataset(name, data=np.ascontiguousarray(array))
        for name, array in content.compressed.items():
            file.create_dataset(name, data=array, chunks=True, compression="gzip", compression_opts=1, shuffle=True)


def recipe_of(path: Path) -> str | None:
    """The recipe a shard was made by; None where there is no readable shard."""
    try:
        return Shard(path).attributes["recipe"]
    except (ShardError, KeyError):
        return None


class Shard:
    """A shard opened for reading. Cheap to pickle: a loader process maps the file anew.

    Raises:
        ShardError: on first use, when the file is missing, cannot be opened or is not a shard.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._attributes: dict[str, Any] | None = None
        self._places: dict[str, tuple[np.dtype, tuple[int, ...], int | None]] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._bytes: np.ndarray | None = None

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Provenance and facts stored with the arrays."""
        self._look()
        return self._attributes or {}

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        self._look()
        return sorted(self._places)

    def array(self, name: str) -> np.ndarray:
        """The array `name`: a read-only view of the mapped file where it is contiguous, else read whole once."""
        if name not in self._arrays:
            self._look()
            if name not in self._places:
                raise ShardError(f"{self.path.name} holds no array {name!r}, only {', '.join(sorted(self._places))}")
            dtype, shape, offset = self._places[name]
            self._arrays[name] = self._read(name) if offset is None else self._view(dtype, shape, offset)
        return self._arrays[name]

    def let_go(self) -> None:
        """Forget arrays and map; the next use opens them again. Arrays in use elsewhere stay whole."""
        self._arrays.clear()
        self._bytes = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])

    def _read(self, name: str) -> np.ndarray:
        with _opened(self.path) as file:
            return file[name][()]

    def _view(self, dtype: np.dtype, shape: tuple[int, ...], offset: int) -> np.ndarray:
        if self._bytes is None:
            self._bytes = _mapped(self.path)
            _keep(self)
        return np.ndarray(shape, dtype, self._bytes.data, offset)

    def _look(self) -> None:
        if self._attributes is not None:
            return
        with _opened(self.path) as file:
            places = {name: (item.dtype, item.shape, item.id.get_offset()) for name, item in file.items()}
            attributes = json.loads(file.attrs["stepladder"])
        self._places, self._attributes = places, attributes


_KEPT: deque[weakref.ref[Shard]] = deque()  # the mapped shards of this process, the first mapped first


def _keep(shard: Shard) -> None:
    """Count a shard that has been mapped; beyond MOST_MAPPED the first is let go."""
    _KEPT.append(weakref.ref(shard))
    while len(_KEPT) > MOST_MAPPED:
        if first := _KEPT.popleft()():
            first.let_go()


def _mapped(path: Path) -> np.ndarray:
    """The bytes of a file as a read-only map that holds no file handle (those of `mmap` and `np.memmap` hold one)."""
    import torch  # only who trains pays for it

    try:
        map_B = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8).numpy()
        map_B.flags.writeable = False
    except (OSError, RuntimeError):  # torch's maps are private: the system may refuse one larger than its memory
        try:
            map_B = np.memmap(path, mode="r")
        except (OSError, ValueError) as error:
            raise ShardError(f"the shard {path} cannot be mapped: {error}") from None
    return map_B


@contextmanager
def _opened(path: Path) -> Generator[h5py.File]:
    """A shard as HDF5; whatever is wrong with it becomes a `ShardError`."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except FileNotFoundError:
        raise ShardError(f"the shard {path} is missing: run the conversion again") from None
    except OSError as error:
        # HDF5 hands the system's errors on with their number; what it says itself is about the content.
        if error.errno:
            raise ShardError(f"the shard {path} cannot be opened: {os.strerror(error.errno)}") from None
        raise _damaged(path, error) from None
    except (KeyError, ValueError, RuntimeError, AttributeError, TypeError) as error:  # HDF5, but not as we write it
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> ShardError:
    return ShardError(f"{path} is not a readable shard ({error}); delete it and convert again")
