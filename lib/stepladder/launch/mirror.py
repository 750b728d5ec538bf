"""A job's records, brought home while it runs: a connection that is opened again whenever it breaks.

Decisions:
- A thread reads; whoever watches the job looks at `beat` and `silent`. How long silence may last is not decided here.
- Checkpoints come beside the records, one at a time, as often as takes a tenth of the time: the best before the newest
  that goes with it. One counts here once its hash is right. One that is damaged there is not asked for again, the one
  before it is brought; one that is thrown away there meanwhile is no error, the next one comes.
"""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from stepladder.core import files
from stepladder.core.files import Json
from stepladder.launch import stream
from stepladder.launch.hosts import Host, HostError

PAUSES = (0.5, 1, 2, 4, 8, 15)  # seconds before the next try to connect
SHARE, LEAST_PAUSE = 0.1, 3.0  # of the time that bringing checkpoints may take; seconds between two at least
COMING = "checkpoints/.coming"  # where a checkpoint arrives
OFFSET = "launch/offset.json"  # how far the box's log of events has been taken in, by job and attempt


class Mirror:
    """The records of a job that runs on `host`, followed from construction until it has ended, or `close`.

    Args:
        host: its machine.
        argv: the command there that streams.
        run_folder: the run's folder here.
        prefixes: what of the run the job writes.
        attempt: names the job and its machine; decides whether an offset of before still counts.
        begin: bytes of `events.jsonl` that the box was sent.

    Attributes:
        beat: what the box said last; None before it said anything.
        heard: when that was, by `time.time`; the beginning before.
    """

    def __init__(
        self, host: Host, argv: Sequence[str], run_folder: Path, prefixes: tuple[str, ...], attempt: str, begin: int
    ) -> None:
        self._host, self._argv, self._folder, self._prefixes = host, argv, run_folder, prefixes
        known = _read(run_folder / OFFSET)
        offset = known.get("offset") if known.get("attempt") == attempt else begin
        self._attempt = attempt
        self.home = stream.Home(run_folder, offset if type(offset) is int and offset >= 0 else begin, self._keep)
        self.beat: Json | None = None
        self.heard = time.time()
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def silent(self) -> float:
        """Seconds since the box was heard."""
        return time.time() - self.heard

    @property
    def ended(self) -> bool:
        """Whether the box has said that the job runs no more, and all its records are here."""
        return self.beat is not None and self.beat["state"] != "running" and not self._thread.is_alive()

    def close(self) -> None:
        """Stop following."""
        self._over.set()
        if self._process:
            self._process.kill()
        self._thread.join(timeout=30)

    def _follow(self) -> None:
        tries = 0
        while not self._over.is_set():
            before = self.heard
            with suppress(OSError, ValueError):  # a line that was cut off, or a box that tells nonsense
                self._listen()
            if self.beat is not None and self.beat["state"] != "running":
                return
            tries = 0 if self.heard != before else tries + 1
            self._over.wait(PAUSES[min(tries, len(PAUSES) - 1)])

    def _listen(self) -> None:
        self._process = self._host.open(self._argv)
        assert self._process.stdin and self._process.stdout
        try:
            asked = {"have": self.home.have(self._prefixes)}
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()
            for frame in self.home.frames(self._process.stdout):
                self.beat, self.heard = sign(frame), time.time()
                if self._over.is_set():
                    return
        finally:
            self._process.kill()
            self._process.wait()

    def _keep(self, offset: int) -> None:
        files.write_compact(self._folder / OFFSET, {"attempt": self._attempt, "offset": offset})


class Checkpoints:
    """Brings checkpoints of a job home, in a thread of its own.

    Args:
        host: its machine.
        there: the run's folder there.
        run_folder: the run's folder here.
        brought: called with step, bytes and seconds of each that has come whole.
    """

    def __init__(self, host: Host, there: str, run_folder: Path, brought: Callable[[int, int, float], None]) -> None:
        self._host, self._there, self._folder, self._brought = host, there, run_folder, brought
        self._thread: threading.Thread | None = None
        self._damaged: set[str] = set()
        self._next = 0.0

    def look(self, told: Sequence[Json], now: bool = False) -> None:
        """Bring the newest whole one that the box tells of and its best, unless one is on its way, or it is too early.

        Args:
            told: what the box says of its checkpoints, newest first.
            now: it is never too early.
        """
        if (self._thread and self._thread.is_alive()) or (time.monotonic() < self._next and not now):
            return
        sound = [seal for seal in told if seal["sha256"] not in self._damaged]
        steps = {sound[0]["step"], _best(sound[0])} if sound else set[int | None]()
        wanted = [seal for seal in sound if seal["step"] in steps and not _is_here(self._folder, seal["step"])]
        if wanted:
            kept = {saved(self._folder), *steps, *(seal["step"] for seal in told)}  # the one before may yet be needed
            self._thread = threading.Thread(target=self._bring, args=(wanted[::-1], kept), daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait for the one on its way."""
        if self._thread:
            self._thread.join()

    def _bring(self, wanted: Sequence[Json], kept: set[int]) -> None:
        """Bring some, the oldest first: of a checkpoint that is here, the best is here too."""
        began = time.monotonic()
        if all(self._brings(seal) for seal in wanted):
            for old in self._folder.glob("checkpoints/step_*"):  # what the box itself has thrown away
                step = int(old.name[5:]) if old.name[5:].isdigit() else None
                if step is not None and step < wanted[-1]["step"] and step not in kept:
                    shutil.rmtree(old, ignore_errors=True)
        took = time.monotonic() - began
        self._next = time.monotonic() + max(LEAST_PAUSE, took * (1 - SHARE) / SHARE)

    def _brings(self, seal: Json) -> bool:
        """Bring one; whether it has come whole."""
        place, name = _place(self._folder, seal["step"]), f"step_{seal['step']:08d}"
        coming = self._folder / COMING
        try:
            moved = self._host.pull(f"{self._there}/checkpoints/{name}", coming / name)
        except HostError:
            return False  # thrown away there meanwhile, or the line is cut: the next look tries again
        arrived = coming / name
        whole = all((arrived / name).is_file() for name in ("COMMITTED", "state.pt"))
        if not whole or files.file_sha256(arrived / "state.pt") != seal["sha256"]:
            self._damaged.add(seal["sha256"])
            shutil.rmtree(arrived, ignore_errors=True)
            return False
        shutil.rmtree(place, ignore_errors=True)
        arrived.rename(place)
        shutil.rmtree(coming, ignore_errors=True)
        self._brought(seal["step"], moved.bytes, moved.seconds)
        return True


def sign(frame: Json) -> Json:
    """A box's sign of life, as `box.stream` tells it.

    Raises:
        ValueError: it is none.
    """
    seals, ended = frame.get("checkpoints"), frame.get("ended")
    sound = isinstance(seals, list) and all(map(_is_seal, cast(list[Any], seals)))
    if frame.get("state") == "ended":
        sound = sound and isinstance(ended, dict) and {"cause", "reason"} <= cast(Json, ended).keys()
    if not sound or not isinstance(frame.get("state"), str):
        raise ValueError(f"{str(frame)[:80]} is no sign of life")
    return frame


def _is_seal(seal: Any) -> bool:
    """Whether something tells of a checkpoint."""
    if not isinstance(seal, dict):
        return False
    told = cast(Json, seal)
    best = told.get("best")
    steps = [told.get("step"), *([best.get("step", 0)] if isinstance(best, dict) else [])]
    return all(type(step) is int and step >= 0 for step in steps) and isinstance(told.get("sha256"), str)


def saved(folder: Path) -> int:
    """Optimizer steps that the newest checkpoint of the run in `folder` holds; 0 where there is none."""
    steps = [place.parent.name[5:] for place in folder.glob("checkpoints/step_*/COMMITTED")]
    return max((int(step) for step in steps if step.isdigit()), default=0)


def _best(seal: Json) -> int | None:
    return (seal.get("best") or {}).get("step")


def _is_here(folder: Path, step: int) -> bool:
    return (_place(folder, step) / "COMMITTED").exists()


def _place(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step_{step:08d}"


def _read(path: Path) -> Json:
    with suppress(ValueError):
        return files.read_object(path) or {}
    return {}
