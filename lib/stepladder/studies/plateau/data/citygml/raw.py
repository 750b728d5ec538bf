"""Raw files: opened plain or gzipped, with one named error for what cannot be read and a tally of what was skipped."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from stepladder.core.types import Issue, StudyError


class RawFileError(StudyError):
    """A raw file that cannot be read, with the file, the place and the way out."""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for reading bytes, unzipped where its name ends in .gz; `RawFileError` where it is absent or cut."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield cast(BinaryIO, file)
    except FileNotFoundError as error:
        raise RawFileError(f"{path}: no such file; check the raw folder or fetch it again") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise RawFileError(f"{path}: compressed data are cut or damaged ({error}); fetch the file again") from error


def stem(path: Path) -> str:
    """A file's name without .gml, .obj and .gz."""
    return path.name.removesuffix(".gz").rpartition(".")[0]


class Tally:
    """Counts what was skipped or repaired, by kind, with the first example of each."""

    def __init__(self) -> None:
        self._issues: dict[str, Issue] = {}

    def add(self, kind: str, count: int = 1, example: str = "") -> None:
        """Count `count` more of `kind`; nothing happens for zero."""
        if count:
            before = self._issues.get(kind, Issue(kind, 0, str(example)))
            self._issues[kind] = Issue(kind, before.count + int(count), before.example)

    def issues(self) -> tuple[Issue, ...]:
        """One issue per kind, in the order first met."""
        return tuple(self._issues.values())
