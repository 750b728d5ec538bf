"""Records of a run on their way home: the box tells what is new in its folder, this machine writes it down.

Decisions:
- One connection carries frames: a line of JSON, and the bytes it announces. This machine says first what it has (size,
  time and the end of every file), so a connection that broke off is gone on with, and nothing comes twice.
- Logs (`*.jsonl`, `*.log`) grow: only their new whole lines come. Where a log is no longer what this machine has the
  beginning of (training goes back to a checkpoint), it comes anew. Everything else is small, and replaced whole.
- `events.jsonl` has two writers, for this machine tells of the job too: its new lines are added, each once.
- Never streamed: checkpoints (rsync brings them), locks, what a stage has in hand, what is larger than `MOST`; a long
  log comes in pieces.
- A file that goes away there goes away here, if it was seen there before: what only this machine has is not touched.
- A box is somebody else's machine: what it says is bounded before it is read, and anything but a frame is an error.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from stepladder.core import files, jsonlines
from stepladder.core.aside import PREFIX
from stepladder.core.files import Json

MOST = 64 << 20  # bytes of a file that is streamed, and of a log at a time
LONGEST = 1 << 20  # bytes of the line that begins a frame
LOGS = (".jsonl", ".log")
MERGED = "events.jsonl"
BOX_LOG = "launch/box.log"  # what a job prints there, by the name it has here
ENDS = 256  # bytes before an offset by which a log is known to be the same
BLOCK = 1 << 20
LEFT_OUT = ("checkpoints", ".lock", "launch", PREFIX)  # beginnings of names of folders
Have = dict[str, list[Any]]  # name -> size, time of change in nanoseconds, digest of the end of a log


def scan(folder: Path, prefixes: tuple[str, ...] = ("",)) -> Iterator[tuple[str, os.stat_result]]:
    """Files of a run that are streamed, by name relative to its folder.

    Args:
        folder: the run's folder.
        prefixes: beginnings of the names that are wanted.
    """
    pending = [""]
    while pending:
        place = pending.pop()
        try:
            entries = list(os.scandir(folder / place))
        except (FileNotFoundError, NotADirectoryError):  # replaced meanwhile
            continue
        for entry in entries:
            name = f"{place}{entry.name}"
            if entry.name.startswith(LEFT_OUT) or entry.name.endswith(".part"):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{name}/")
            elif name.startswith(prefixes) and entry.is_file(follow_symlinks=False):
                try:
                    yield name, entry.stat()
                except FileNotFoundError:
                    continue


def have(folder: Path, prefixes: tuple[str, ...] = ("",)) -> Have:
    """What there is of a run here, to say to the box; not the merged log, whose place `Home` keeps."""
    return {
        name: [status.st_size, status.st_mtime_ns, _end(folder / name, status.st_size) if _is_log(name) else ""]
        for name, status in scan(folder, prefixes)
        if name != MERGED
    }


class Sender:
    """The box's side: what is new since the last look, as frames.

    Args:
        folder: the run's folder there.
        out: where frames go.
        known: what the other side has.
        prefixes: beginnings of the names that are wanted.
        logs: further logs, by the name they get: `{BOX_LOG: path}`.
    """

    def __init__(
        self, folder: Path, out: IO[bytes], known: Have, prefixes: tuple[str, ...], logs: dict[str, Path]
    ) -> None:
        self._folder, self._out, self._known, self._prefixes, self._logs = folder, out, known, prefixes, logs
        self._seen: set[str] = set()
        self._checked: set[str] = set()  # logs whose beginning the other side is known to have

    def look(self) -> None:
        """Send what is new."""
        there: set[str] = set()
        found = [(name, self._folder / name, status) for name, status in scan(self._folder, self._prefixes)]
        found += [(name, path, path.stat()) for name, path in self._logs.items() if path.exists()]
        for name, path, status in found:
            there.add(name)
            if self._known.get(name, [])[:2] != [status.st_size, status.st_mtime_ns]:
                self._send(name, path, status)
        for name in self._seen - there:
            self._known.pop(name, None)
            self._frame({"gone": name})
        self._seen = there

    def tell(self, said: Json) -> None:
        """Send a frame without bytes: a sign of life."""
        self._frame(said)

    def _send(self, name: str, path: Path, status: os.stat_result) -> None:
        try:
            with path.open("rb") as file:
                if name == MERGED or _is_log(name):
                    self._send_log(name, file, status)
                elif status.st_size <= MOST:
                    self._bytes(name, 0, file.read(MOST), status, whole=True)
        except FileNotFoundError:  # replaced meanwhile: the next look finds it
            return

    def _send_log(self, name: str, file: IO[bytes], status: os.stat_result) -> None:
        size, _, end = self._known.get(name, [0, 0, ""])
        same = name in self._checked or name == MERGED or _end_of(file, size) == end
        begin = size if size <= status.st_size and same else 0
        self._checked.add(name)
        while data := _whole_lines(file, begin, min(status.st_size - begin, MOST)):
            self._bytes(name, begin, data, status, whole=begin == 0 and name != MERGED)
            begin, size = begin + len(data), 0
        if begin < size or name not in self._known:
            self._bytes(name, begin, b"", status, whole=begin == 0 and name != MERGED)
        self._known[name] = [begin, status.st_mtime_ns, ""]

    def _bytes(self, name: str, begin: int, data: bytes, status: os.stat_result, whole: bool) -> None:
        frame = {"file": name, "at": begin, "size": len(data), "time": status.st_mtime_ns, "whole": whole}
        self._frame(frame, data)
        self._known[name] = [begin + len(data), status.st_mtime_ns, ""]

    def _frame(self, head: Json, data: bytes = b"") -> None:
        self._out.write(json.dumps(head).encode() + b"\n" + data)
        self._out.flush()


class Home:
    """This machine's side: frames become files of the run.

    Args:
        folder: the run's folder here.
        offset: bytes of the box's merged log that were taken in before.
        kept: called with that number whenever it grows.

    Attributes:
        received: bytes that have come.
    """

    def __init__(self, folder: Path, offset: int, kept: Callable[[int], None]) -> None:
        self._folder, self.offset, self._kept = folder, offset, kept
        self._lines: set[bytes] | None = None
        self.received = 0

    def have(self, prefixes: tuple[str, ...]) -> Have:
        """What to say to the box first."""
        own = have(self._folder, prefixes)
        box_log = self._folder / BOX_LOG
        if box_log.exists():
            status = box_log.stat()
            own[BOX_LOG] = [status.st_size, status.st_mtime_ns, _end(box_log, status.st_size)]
        return own | {MERGED: [self.offset, 0, ""]}

    def frames(self, source: IO[bytes]) -> Iterator[Json]:
        """Take in frames until the connection ends; those that tell something are handed on."""
        while line := source.readline(LONGEST):
            if not line.endswith(b"\n"):
                return
            head = _head(line)
            if "file" in head:
                data = source.read(head["size"])
                if len(data) < head["size"]:
                    return  # cut off: it comes again
                self._take(head, data)
                self.received += len(line) + len(data)
            elif "gone" in head:
                self._place(head["gone"]).unlink(missing_ok=True)
            else:
                yield head

    def _take(self, head: Json, data: bytes) -> None:
        path = self._place(head["file"])
        if head["file"] == MERGED:
            self._merge(path, data)
            self.offset = head["at"] + len(data)
            self._kept(self.offset)
            return
        if head["whole"]:
            files.write_bytes(path, data)
        else:
            with path.open("r+b") as file:
                file.truncate(head["at"])  # a longer one was written here in the middle of a line
                file.seek(head["at"])
                file.write(data)
        os.utime(path, ns=(time.time_ns(), head["time"]))

    def _merge(self, path: Path, data: bytes) -> None:
        """Add the lines that are not there yet."""
        if self._lines is None:
            self._lines = set(path.read_bytes().split(b"\n")) if path.exists() else set()
        new = [line for line in data.split(b"\n")[:-1] if line and line not in self._lines]
        if new:
            lines, self._lines = self._lines, None  # where the disk is full, it is read anew what has got there
            jsonlines.append_lines(path, b"".join(line + b"\n" for line in new))
            self._lines = lines.union(new)

    def _place(self, name: str) -> Path:
        """A file of the run; what a box says may not lead elsewhere."""
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder.resolve()) or (name.startswith(LEFT_OUT) and name != BOX_LOG):
            raise ValueError(f"the box tells of a file {name!r}, which is none of its business")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _head(line: bytes) -> Json:
    """The line that begins a frame."""
    head = json.loads(line)
    if not isinstance(head, dict):
        raise ValueError(f"the box says {line[:80]!r}, which is no frame")
    numbers = [head.get(name) for name in ("at", "size", "time")] if "file" in head else []
    sound = all(type(number) is int and number >= 0 for number in numbers) and head.get("size", 0) <= MOST
    sound = sound and ("file" not in head or "whole" in head)
    if not sound or not isinstance(head.get("file", head.get("gone", "")), str):
        raise ValueError(f"the box says {line[:80]!r}, which is no frame")
    return head


def _whole_lines(file: IO[bytes], begin: int, size: int) -> bytes:
    """The whole lines among some bytes of a log."""
    file.seek(begin)
    data = file.read(size)
    return data[: data.rfind(b"\n") + 1]


def _is_log(name: str) -> bool:
    return name.endswith(LOGS)


def _end(path: Path, size: int) -> str:
    with path.open("rb") as file:
        return _end_of(file, size)


def _end_of(file: IO[bytes], size: int) -> str:
    """Digest of the last bytes before `size`."""
    begin = max(0, size - ENDS)
    file.seek(begin)
    return hashlib.sha256(file.read(size - begin)).hexdigest()[:16]
