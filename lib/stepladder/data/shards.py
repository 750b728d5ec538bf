"""Shards: one HDF5 file per asset, written once, mapped for reading.

Decisions:
- Arrays read at random in training are contiguous and uncompressed; a reader maps them at their offset in the file
  (`dataset.id.get_offset()` and `np.memmap`): memory speed, and still a file any HDF5 tool opens.
- Arrays that are only read now and then may be chunked and compressed.
- The file is written beside its place and renamed, so a shard is absent or whole. Its attributes say what it was made
  from (`recipe`), so a conversion that finds the same recipe skips it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stepladder.core import files
from stepladder.core.types import ShardContent

ALIGNMENT = 4096
FORMAT = 1  # of what this file, and whatever else the shared part does to a shard, makes of it


class ShardError(ValueError):
    """A shard that cannot be read, named with the way out."""


def write(path: Path, content: ShardContent, recipe: str) -> None:
    """Write `content` to `path` atomically; `recipe` is the hash of what it was made from."""
    attributes = {**content.attributes, "recipe": recipe, "issues": [vars(issue) for issue in content.issues]}
    with (
        files.atomic(path) as temporary,
        h5py.File(temporary, "w", libver="latest", alignment_threshold=ALIGNMENT, alignment_interval=ALIGNMENT) as file,
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
        ShardError: on first use, when the file is missing or not a shard.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._attributes: dict[str, Any] | None = None
        self._places: dict[str, tuple[np.dtype, tuple[int, ...], int | None]] = {}
        self._arrays: dict[str, np.ndarray] = {}

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
        """The array `name`: a read-only map of the file where it is contiguous, else read whole once."""
        if name not in self._arrays:
            self._look()
            if name not in self._places:
                raise ShardError(f"{self.path.name} holds no array {name!r}, only {', '.join(sorted(self._places))}")
            dtype, shape, offset = self._places[name]
            if offset is None:
                with h5py.File(self.path, "r") as file:
                    self._arrays[name] = file[name][()]
            else:
                self._arrays[name] = np.memmap(self.path, dtype=dtype, mode="r", offset=offset, shape=shape)
        return self._arrays[name]

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])

    def _look(self) -> None:
        if self._attributes is not None:
            return
        try:
            with h5py.File(self.path, "r") as file:
                for name, item in file.items():
                    self._places[name] = (item.dtype, item.shape, item.id.get_offset())
                self._attributes = json.loads(file.attrs["stepladder"])
        except (OSError, KeyError) as error:
            raise ShardError(f"{self.path} is not a readable shard ({error}); delete it and convert again") from None
