"""What this process may use, and what a tree of processes does use: memory, CPUs and shared memory.

Decisions:
- psutil and torch report the host. In a container that is the wrong number, and the right one kills. Both cgroup
  versions are read, ancestors included, because a limit may sit on any of them; `max` and huge numbers mean none.
- Memory of a tree is its proportional set size (PSS): shared pages count once. Summed resident sets (RSS) overstate
  loaders 1.5 to 2 times, but cost a sixth to read and are never less, so they serve as the quick upper bound.
- Time spent waiting in the run queue is time others took: it tells a slow job from a busy machine.
- Where there is no /proc (a Mac) there are no cgroups either: the machine's memory and CPUs are the limit, a resident
  set stands for the proportional one, and nobody counts the time in the run queue.
"""

import contextlib
import os
import resource
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import pandas as pd

CGROUPS = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60
PAGE = os.sysconf("SC_PAGE_SIZE")
MAXRSS = 1 if sys.platform == "darwin" else 1024  # bytes in which `getrusage` tells the largest resident set


def memory_limit() -> int:
    """Most bytes of memory this process may use: the smallest cgroup limit, or the machine's memory."""
    limits = [_number(folder / name) for folder in folders() for name in ("memory.max", "memory.limit_in_bytes")]
    return min([psutil.virtual_memory().total, *(limit for limit in limits if limit and limit < UNLIMITED)])


def memory_free() -> int:
    """Bytes this process may still use before its limit or the machine's memory is reached."""
    free = [psutil.virtual_memory().available]
    for folder in folders():
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = _number(folder / limit_name), _number(folder / used_name)
            if limit and used is not None and limit < UNLIMITED:
                # Inactive file cache counts as used, but the kernel gives it back when asked.
                free.append(limit - used + (_stat(folder, "inactive_file") or 0))
    return max(0, int(min(free)))


def allow_open_files() -> None:
    """Raise this process's limit of open files, and that of its children, to the highest it may set itself.

    Tensors that loader processes hand over hold a file handle each, and 1,024 is the usual limit.
    """
    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS names a highest limit that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))


def cores() -> int:
    """CPUs that this process may be put on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpus() -> float:
    """CPUs this process may use: affinity or cgroup quota, whichever is less."""
    available = float(cores())
    for folder in folders():
        quota = _quota(folder)
        if quota:
            available = min(available, quota)
    return available


def shared_memory() -> int:
    """Bytes free in `/dev/shm`, through which loader processes hand over batches (64 MB by default in Docker)."""
    try:
        status = os.statvfs("/dev/shm")
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize


def oom_kills() -> int:
    """How often the kernel has killed a process of this cgroup for memory; compare before and after."""
    counts = [
        _stat(folder, "oom_kill", name) for folder in folders() for name in ("memory.events", "memory.oom_control")
    ]
    return max([0, *(count for count in counts if count is not None)])


def folders() -> list[Path]:
    """Cgroup folders of this process, own first, then ancestors; version 2, version 1 and hybrid mounts."""
    found: list[Path] = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # An empty field is version 2, the others are those of version 1 that limit memory or CPUs.
        if controllers not in ("", "memory", "cpu,cpuacct", "cpu"):
            continue
        base = CGROUPS / controllers if controllers else CGROUPS
        place = base / path.lstrip("/")
        while place != CGROUPS.parent:
            if place.is_dir():
                found.append(place)
            if place == base:
                break
            place = place.parent
    return found


def _quota(folder: Path) -> float | None:
    """CPUs allowed by one cgroup folder; None where there is no quota."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    except (OSError, ValueError):
        return None
    return quota_us / period_us if quota_us and period_us and quota_us > 0 else None


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return None if text == "max" else int(text)


def _stat(folder: Path, key: str, name: str = "memory.stat") -> int | None:
    """One `key value` line of a cgroup's statistics file."""
    try:
        lines = (folder / name).read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.split()[0] == key), None)


def family(pid: int) -> list[int]:
    """Process `pid` and its descendants; empty when it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return []


def proportional_memory(pid: int) -> int:
    """Proportional set size in bytes of a process and its descendants: shared pages counted once, unlike summed RSS."""
    return sum(proportional_memory_of(member) for member in family(pid))


def resident_memory(pids: Iterable[int]) -> int:
    """Summed resident sets in bytes: quick to read, and never less than the proportional set size."""
    return sum(_resident(pid) for pid in pids)


def peak_resident() -> int:
    """Largest resident set of this process in bytes, since its start or since `forget_peak`."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def forget_peak() -> None:
    """Let `peak_resident` begin anew, where Linux allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def cpu_and_queue(pids: Iterable[int]) -> tuple[float, float]:
    """Seconds the threads of `pids` have computed, and seconds they stood ready but waited for a CPU."""
    if sys.platform != "linux":
        return sum(map(_computed, pids)), 0.0
    computed = waited = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError, ValueError):
                run, wait, _ = task.read_text().split()
                computed, waited = computed + int(run), waited + int(wait)
    return computed / 1e9, waited / 1e9


def proportional_memory_of(pid: int) -> int:
    """Proportional set size in bytes of one process; 0 when it is gone."""
    if sys.platform != "linux":
        return _resident(pid)
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _computed(pid: int) -> float:
    with contextlib.suppress(psutil.Error):
        user, system, *_ = psutil.Process(pid).cpu_times()
        return user + system
    return 0.0


def _resident(pid: int) -> int:
    if sys.platform != "linux":
        with contextlib.suppress(psutil.Error):
            return psutil.Process(pid).memory_info().rss
        return 0
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return 0


@dataclass(frozen=True)
class Limits:
    """What a process may use: bytes of memory, and those below them still free; CPUs; bytes of shared memory."""

    memory: int
    memory_free: int
    cpus: float
    shared_memory: int


def read() -> Limits:
    """The limits of this process, as they are now."""
    return Limits(memory_limit(), memory_free(), cpus(), shared_memory())


def table(found: Limits | None = None) -> "pd.DataFrame":
    """Limits as a table, by default those of this process."""
    import pandas as pd  # half a second that no trial needs to pay

    found = found or read()
    rows = [
        ("memory limit", f"{found.memory / 1e9:.1f} GB"),
        ("memory free below it", f"{found.memory_free / 1e9:.1f} GB"),
        ("CPUs", f"{found.cpus:.1f}"),
        ("shared memory for loader processes", f"{found.shared_memory / 1e9:.1f} GB"),
    ]
    return pd.DataFrame(rows, columns=["limit", "value"])
