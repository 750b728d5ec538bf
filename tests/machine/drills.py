"""What processes of drills do, and how to see whether any is left. Light, for they import it."""

import os
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from stepladder.machine import signals

MARK = "DRILL_MARK"  # environment variable


class Awkward(Exception):
    """An error that cannot be made again from its pickle."""

    def __init__(self, one: str, two: str):
        super().__init__(f"{one} and {two}")


def die(folder: Path, signum: int, times: int, item: str) -> str:
    """The item; one called guilty kills its process, so many times."""
    flags = [folder / f"{item} {number}" for number in range(times)]
    left = [flag for flag in flags if not flag.exists()]
    if item.startswith("guilty") and left:
        left[0].touch()
        os.kill(os.getpid(), signum)
        time.sleep(60)
    return item


def die_a_parent(folder: Path, item: str) -> str:
    """Killed, with a forked child that lives on; its pid is the name of a file."""
    if (child := os.fork()) == 0:
        time.sleep(600)
        os._exit(0)
    (folder / str(child)).touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def fail(folder: Path, item: str) -> str:
    """`boom` raises, once another is at work; what is slow or deaf writes its pid and sleeps; all else returns."""
    if item == "boom":
        wait_for(lambda: any(folder.iterdir()))
        raise KeyError(item)
    if item == "quick":
        wait_for(lambda: any(folder.iterdir()))
        return item
    if item == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    temporary = folder.parent / f"{folder.name} {item}"
    temporary.write_text(str(os.getpid()))
    temporary.replace(folder / item)
    try:
        time.sleep(600)
    finally:
        (folder / f"{item} cleared away").touch()
    return item


def awkward(item: str) -> str:
    """An error of a library that nobody can pickle."""
    raise Awkward("one", "two")


def score(item: str) -> str:
    """How gladly Linux takes this process."""
    return Path("/proc/self/oom_score_adj").read_text().strip()


def interrupt(item: str) -> str:
    """The item, in spite of a Ctrl-C, which a terminal sends to all."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)
    return item


def tied(path: Path) -> None:
    """Ask to die with the parent, which lives, and go on."""
    signals.die_with_parent()
    path.touch()


def marked() -> tuple[bytes, dict[str, str]]:
    """A mark, and an environment that holds it: every process started from there has it."""
    mark = uuid.uuid4().hex
    return mark.encode(), {**os.environ, MARK: mark}


def alive(mark: bytes) -> list[int]:
    """Processes of this machine that hold a mark and are not only waiting to be reaped."""
    found: list[int] = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (place / "environ").read_bytes() and not gone(int(place.name)):
                found.append(int(place.name))
        except OSError:
            continue
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.02)
