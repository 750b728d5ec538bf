"""What a job needs of its run on another machine: told first, with bytes, minutes and dollars; then what is missing.

    python -m stepladder.launch.data OUTPUTS    on the box: which of the files that standard input names are whole

Decisions:
- A job needs the run's records, the files that its results vouch for (shards), and the checkpoints that training goes
  on from: the newest whole one and the best. Raw data never moves: where a stage reads it, it is fetched there.
- What is there is told by size and hash, in one question. A file of the right size and other bytes is deleted there,
  for rsync would take it for the same.
- Who asks for stages while those before them are not done is refused (see `refusals`): nothing could be built on.
- Bandwidth is measured by bytes that no compression shortens, over the connection that will be used.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stepladder.core import files
from stepladder.core.config import ParameterError
from stepladder.core.errors import Damaged
from stepladder.core.files import Json
from stepladder.core.identity import Vouched, content
from stepladder.core.progress import TRAINING, duration
from stepladder.core.run import Run
from stepladder.core.units import counted, readable
from stepladder.launch import blobs, code, stream
from stepladder.launch.blobs import Wanted
from stepladder.launch.hosts import Host, Unreachable
from stepladder.launch.targets import Target

PROBE_BYTES, FIRST_BYTES = 8 << 20, 256 << 10
PROBE_SECONDS = 10.0
ASKED_BYTES = 100e6  # per second that a machine hashes, to know how long to wait for its answer


@dataclass(frozen=True)
class Plan:
    """What moves to a machine before a job begins there.

    Attributes:
        wanted: all that must be there.
        missing: names of what is not.
        bandwidth: bytes per second, measured.
        stored: names of the missing ones that the machine fetches from a store itself (see `blobs`).
        dollars_per_hour, dollars_per_gb: prices of the target.
    """

    wanted: Wanted
    missing: tuple[str, ...]
    bandwidth: float
    stored: tuple[str, ...] = ()
    dollars_per_hour: float = 0.0
    dollars_per_gb: float = 0.0

    @cached_property
    def bytes(self) -> int:
        """Bytes that are sent."""
        return self._size(set(self.missing) - set(self.stored))

    @cached_property
    def whole(self) -> int:
        """Bytes that must be there."""
        return self._size(self.wanted)

    def _size(self, names: Iterable[str]) -> int:
        return sum(self.wanted[name]["bytes"] for name in names)

    @property
    def seconds(self) -> float:
        """That sending takes."""
        return self.bytes / self.bandwidth

    @property
    def dollars(self) -> float:
        """Price of sending: traffic, and the machine's time meanwhile."""
        return self.bytes / 1e9 * self.dollars_per_gb + self.seconds / 3600 * self.dollars_per_hour

    def __str__(self) -> str:
        """`Data to send: 3 files, 3.1 GB: 5 min at 10.0 MB/s, $0.03; 12 files, 1.0 GB, there already.`"""
        there = self.wanted.keys() - set(self.missing)
        kept = f"{_files(len(there), self._size(there))}, there already."
        if self.stored:
            kept = f"{_files(len(self.stored), self._size(self.stored))}, from the store; {kept}"
        count = len(self.missing) - len(self.stored)
        if not count:
            return f"No data to send: {kept}"
        price = f", ${self.dollars:,.2f}" if self.dollars_per_hour or self.dollars_per_gb else ""
        took = f"{duration(self.seconds)} at {readable(self.bandwidth)}/s{price}"
        return f"Data to send: {_files(count, self.bytes)}: {took}; {kept}"


def _files(count: int, size: int) -> str:
    return f"{counted(count, 'file')}, {readable(size)}"


def wanted(run: Run, first: str, force: bool = False, values: Mapping[str, Any] | None = None) -> Wanted:
    """What must be on a machine that walks a run from the stage `first` on.

    Args:
        run: the run.
        first: full name of the first stage that was asked for.
        force: the asked stages are made again, whatever there is of them.
        values: parameters the run is asked for, nested; the saved ones where None.

    Raises:
        ParameterError: a file that a result vouches for lies outside the outputs.
    """
    vouched: dict[Path, Vouched] = {}
    for name, state in run.states(values).items():
        result = run.result(name)
        if result and state.state == "done" and not (force and name >= first):
            vouched |= {Path(os.path.normpath(run.folder / path)): facts for path, facts in result["files"].items()}
    records = [run.folder / name for name, _ in stream.scan(run.folder)]
    checkpoints = [] if force and first <= TRAINING else _checkpoints(run)
    paths = sorted({*records, *vouched, *checkpoints})
    return {_name(path, run): vouched.get(path) or _vouch(path, run) for path in paths}


def _checkpoints(run: Run) -> list[Path]:
    """Files of the newest whole checkpoint, of which every byte was looked at, and of the best of its stage."""
    for place in sorted(run.checkpoints.glob("step_*"), reverse=True):
        if seal := _seal(place):
            best = run.checkpoints / f"step_{(seal['best'] or seal)['step']:08d}"
            return [kept / name for kept in {place, best} if _seal(kept) for name in ("state.pt", "COMMITTED")]
    return []


def _seal(place: Path) -> Json | None:
    """What a checkpoint says of itself; None where it is not what it says."""
    with suppress(Damaged, KeyError):
        seal, state = files.read_object(place / "COMMITTED"), place / "state.pt"
        if seal and state.is_file() and files.file_sha256(state) == seal["sha256"]:
            return seal
    return None


def missing(host: Host, python: str, place: str, outputs: str, asked: Wanted) -> tuple[str, ...]:
    """Which of the wanted files a machine has not, or has with other bytes (see the module's decisions).

    Args:
        host: the machine.
        python: a Python there that can run us.
        place: the code there.
        outputs: the job's outputs folder there.
        asked: what must be there.
    """
    command = code.command(python, place, "stepladder.launch.data", outputs)
    patience = 120.0 + sum(facts["bytes"] for facts in asked.values()) / ASKED_BYTES
    whole = set(json.loads(host.call(command, stdin=json.dumps(asked).encode(), timeout=patience)))
    return tuple(name for name in asked if name not in whole)


def plan(host: Host, target: Target, python: str, place: str, outputs: str, asked: Wanted) -> Plan:
    """What would move, how long it takes and what it costs; see `missing` for the arguments."""
    absent = missing(host, python, place, outputs, asked)
    price = target.dollars_per_hour + target.disk_dollars_per_hour
    stored = blobs.stored(asked, absent)
    rate = bandwidth(host) if len(absent) > len(stored) else float("inf")
    return Plan(asked, absent, rate, stored, price, target.dollars_per_gb)


def send(host: Host, run: Run, names: Iterable[str], outputs: str) -> int:
    """Bring files of the run's outputs to the folder `outputs` there; bytes that went over the line.

    Folders that are links here, to another disk, are folders there.
    """
    base, moved = run.folder.parent.parent, 0
    ahead = list(names)
    for root in (run.checkpoints, run.folder, run.data / "shards", run.data):
        below = f"{root.relative_to(base).as_posix()}/"
        own = [name.removeprefix(below) for name in ahead if name.startswith(below)]
        ahead = [name for name in ahead if not name.startswith(below)]
        if own:
            moved += host.push(root.resolve(), own, f"{outputs}/{below.rstrip('/')}").bytes
    assert not ahead, f"outside the run and its data: {ahead[0]}"
    return moved


def bandwidth(host: Host) -> float:
    """Bytes per second to a machine, measured by 8 MB, or by what goes in ten seconds."""
    quick = _sent(host, 0)
    first = max(_sent(host, FIRST_BYTES) - quick, 1e-3)
    rate = FIRST_BYTES / first
    if rate * PROBE_SECONDS < PROBE_BYTES:
        return rate
    try:
        return PROBE_BYTES / max(_sent(host, PROBE_BYTES) - quick, 1e-3)
    except Unreachable:  # it became slower
        return min(rate, PROBE_BYTES / PROBE_SECONDS)


def _sent(host: Host, size: int) -> float:
    """Seconds in which random bytes arrive there."""
    data, began = os.urandom(size), time.monotonic()
    host.call(["sh", "-c", "cat >/dev/null"], stdin=data, timeout=2 * PROBE_SECONDS)
    return time.monotonic() - began


def _name(path: Path, run: Run) -> str:
    """The path of a file below the outputs folder."""
    base = run.folder.parent.parent
    for root in (run.folder, run.data):
        if path.is_relative_to(root):
            return path.relative_to(base).as_posix()
    raise ParameterError(f"{path.name} lies outside the outputs of {run.study}/{run.name}: it cannot be sent")


def _vouch(path: Path, run: Run) -> Vouched:
    return {"bytes": path.stat().st_size, "sha256": content(path, run.hashes)}


def main(arguments: Sequence[str]) -> None:
    """Print which of the files named on standard input are whole, as JSON."""
    print(json.dumps(blobs.whole(Path(arguments[0]), json.load(sys.stdin))))


if __name__ == "__main__":
    main(sys.argv[1:])
