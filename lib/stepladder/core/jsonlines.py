"""JSON lines: logs that several processes may share and that outlive a kill, a full disk and a power cut.

Decisions:
- A line ends at the byte `\\n` and nowhere else: U+2028, U+0085 and `\\r` inside a text are text.
- Whatever is not a JSON object (NULs, a half line, a cut character) is damage: skipped and counted, never an error.
- A record is appended by one `write`, so a death loses at most the line in hand. Where the file does not end with a
  line break, one is put before the record: what another left half cannot eat it. A write that ends early is gone on
  with, or fails with the file's name.
- What is long is not read whole: `last` reads the end, `sample` looks here and there, `Tail` reads what is new.
"""

import io
import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from stepladder.core.errors import Damaged
from stepladder.core.files import Json, atomic, plain

BLOCK = 1 << 16  # bytes that are read at once, from the end
WHOLE = 1 << 22  # bytes up to which a sample is taken of the whole file, not by jumps
RARE = 200
ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Records(list[Json]):
    """Records of a file, in order.

    Attributes:
        damaged: lines that were none, and are left out.
        unreadable: why nothing at all could be read, in words.
    """

    damaged: int = 0
    unreadable: str = ""

    @property
    def fault(self) -> str:
        """What is missing, in words; empty where nothing is."""
        lines = "1 line is damaged" if self.damaged == 1 else f"{self.damaged} lines are damaged"
        return self.unreadable or (f"{lines} and left out" if self.damaged else "")


def read(path: Path | str) -> Records:
    """All records of a file; none where it does not exist, or cannot be read (`Records.fault` says so)."""
    found = Records()
    try:
        for line in lines(path):
            if (record := parse(line)) is not None:
                found.append(record)
            elif line.strip():
                found.damaged += 1
    except Damaged as error:
        found.unreadable = error.why
    return found


def keep(path: Path, wanted: Callable[[Json], bool]) -> int:
    """Leave only the wanted records in a file, as they are; lines that are none go to `<name>.damaged`.

    Returns:
        Number of damaged lines.

    Raises:
        Damaged: the file cannot be read.
    """
    kept: list[list[int]] = []  # from where to where, so that a long file need not lie in memory
    place, damaged = 0, 0
    for line in lines(path):
        record = parse(line)
        if record is None and line.strip():
            damaged += 1
            _keep_line(path.with_name(f"{path.name}.damaged"), line)
        elif record is None or wanted(record):
            if not kept or kept[-1][1] != place:
                kept.append([place, place])
            kept[-1][1] += len(line)
        place += len(line)
    if kept != [[0, place]][: 1 if place else 0]:
        with atomic(path) as temporary, path.open("rb") as old, temporary.open("wb") as new:
            for begin, end in kept:
                old.seek(begin)
                for size in [BLOCK] * ((end - begin) // BLOCK) + [(end - begin) % BLOCK]:
                    new.write(old.read(size))
    return damaged


def last(path: Path | str, n: int) -> list[Json]:
    """The last `n` whole records of a file, in order, read from its end however long it is."""
    found: list[Json] = []
    with suppress(Damaged):
        for line in _backwards(path) if n > 0 else ():
            if (record := parse(line)) is not None:
                found.append(record)
            if len(found) == n:
                break
    return found[::-1]


def sample(path: Path | str, most: int, holding: str = "") -> list[Json]:
    """About `most` records spread evenly over a file, in order, the first and the last among them; all of a short one.

    Args:
        path: the file.
        most: how many; at least 2.
        holding: records whose line holds this text are rare and wanted: all of them beside the others, or `RARE` to
            twice as many, evenly spread.
    """
    found: dict[int, bytes] = {}
    with suppress(Damaged), _opened(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        found = _jumps(file, size, most) if size > WHOLE else _thinned(file.read(), most)
        if holding:
            found |= _searched(file, holding.encode(), RARE)
    records = (parse(line) for _, line in sorted(found.items()))
    return [record for record in records if record is not None]


class Tail:
    """New records of a growing file, each read once; a file that was cut short or replaced is read anew.

    Attributes:
        damaged: lines met so far that were no records.
    """

    def __init__(self, path: Path):
        self._path, self._offset, self._inode = path, 0, 0
        self.damaged = 0

    def read(self) -> list[Json]:
        """Records written since the last call."""
        try:
            file = self._path.open("rb")
        except OSError:  # not there yet, or nothing that can be read
            return []
        found: list[Json] = []
        with file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._inode, self._offset, self.damaged = status.st_ino, 0, 0
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # in hand: it comes whole next time, or with a line break after its half
                self._offset += len(line)
                if (record := parse(line)) is not None:
                    found.append(record)
                elif line.strip():
                    self.damaged += 1
        return found


class Writer:
    """A file held open to append records; each is on its way to the disk when `write` returns."""

    def __init__(self, path: Path | str):
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)

    def write(self, record: Json) -> None:
        """Append one record.

        Raises:
            OSError: it cannot be written, as on a full disk; names the file. What is half there eats no later record.
        """
        self.write_lines(encode(record))

    def write_lines(self, lines: bytes) -> None:
        """Append whole lines as they are (see `write`)."""
        try:
            data = memoryview(self._mending() + lines)
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _mending(self) -> bytes:
        """A line break where the file ends without one: a writer died in the middle of a line, or the disk was full."""
        size = os.fstat(self._descriptor).st_size
        return b"\n" if size and os.pread(self._descriptor, 1, size - 1) != b"\n" else b""


def append(path: Path | str, record: Json) -> None:
    """Append one record to a file (see `Writer.write`)."""
    append_lines(path, encode(record))


def append_lines(path: Path | str, lines: bytes) -> None:
    """Append whole lines to a file as they are (see `Writer.write`)."""
    writer = Writer(path)
    try:
        writer.write_lines(lines)
    finally:
        writer.close()


def encode(record: Json) -> bytes:
    """A record as its line; non-finite numbers become null."""
    try:
        text = ENCODE(record)
    except (TypeError, ValueError):  # not plain JSON: a NaN, or a number of numpy's
        text = ENCODE(plain(record))
    return text.encode(errors="backslashreplace") + b"\n"


def parse(line: bytes) -> Json | None:
    """The record in a line; None where it is damaged or empty."""
    try:
        value = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return cast(Json, value) if isinstance(value, dict) else None


def each(path: Path | str) -> Iterator[Json]:
    """Records of a file one after another, of which only one lies in memory. `Damaged` where it cannot be read."""
    return (record for line in lines(path) if (record := parse(line)) is not None)


def lines(path: Path | str) -> Generator[bytes]:
    """Lines of a file as they are, one after another; none where it does not exist."""
    with _opened(path) as file:
        yield from file


def _opened(path: Path | str) -> BinaryIO:
    """A file to read; an empty one where it does not exist. `Damaged` where it cannot be read."""
    try:
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError):
        return io.BytesIO()
    except OSError as error:
        raise Damaged(Path(path), f"cannot be read ({error.strerror})") from None


def _keep_line(path: Path, line: bytes) -> None:
    with path.open("ab") as file:
        file.write(line.removesuffix(b"\n") + b"\n")


def _backwards(path: Path | str) -> Iterator[bytes]:
    """Lines of a file from its end on, read block by block."""
    with _opened(path) as file:
        place = file.seek(0, os.SEEK_END)
        pieces: list[bytes] = []  # of the line whose beginning lies further ahead, last piece first
        while place:
            begin = max(0, place - BLOCK)
            file.seek(begin)
            head, *whole = file.read(place - begin).split(b"\n")
            if whole:
                yield b"".join([whole.pop(), *pieces[::-1]])
                yield from reversed(whole)
                pieces = []
            pieces.append(head)
            place = begin
        yield b"".join(pieces[::-1])


def _thinned(data: bytes, most: int) -> dict[int, bytes]:
    """Lines of a short file by their place, every so many of them, and the last."""
    places: list[int] = [0]
    while end := data.find(b"\n", places[-1]) + 1:
        places.append(end)
    ends = dict(zip(places, [*places[1:], len(data)], strict=True))
    begins = [place for place, end in ends.items() if end > place]
    chosen = begins[:: -(-len(begins) // most) or 1] + begins[-1:]
    return {place: data[place : ends[place]] for place in chosen}


def _jumps(file: BinaryIO, size: int, most: int) -> dict[int, bytes]:
    """Lines of a long file by their place: the first to begin at or after each of `most` even steps, and the last."""
    found: dict[int, bytes] = {}
    for place in [size * step // most for step in range(most)]:
        file.seek(max(place - 1, 0))
        if place:
            place += len(file.readline()) - 1
        found[place] = file.readline()
    begin = file.seek(max(size - BLOCK, 0))
    end = file.read().rstrip(b"\n")
    cut = end.rfind(b"\n") + 1
    return found | ({begin + cut: end[cut:]} if cut else {})


def _searched(file: BinaryIO, text: bytes, most: int) -> dict[int, bytes]:
    """Whole lines that hold a text by their place: all, or every so many, so that `most` to twice as many are kept."""
    found: dict[int, bytes] = {}
    begin = file.seek(0)
    rest, met, every = b"", 0, 1
    while block := file.read(WHOLE):
        data = rest + block
        whole = data.rfind(b"\n") + 1
        place = data.find(text, 0, whole)
        while place >= 0:
            start, end = data.rfind(b"\n", 0, place) + 1, data.find(b"\n", place) + 1
            if met % every == 0:
                found[begin + start] = data[start:end]
            met, place = met + 1, data.find(text, end, whole)
        if len(found) > 2 * most:
            step = len(found) // most
            found, every = dict(list(found.items())[::step]), every * step
        begin, rest = begin + whole, data[whole:]
    return found
