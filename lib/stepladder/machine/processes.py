"""Which process on which machine: what a lock and a job record say of their holder.

Decisions:
- A pid alone may be given to another process, above all after a container restarted: the start time belongs to it.
- A host name may be shared by many machines of one image. A machine is its name, its boot and its space of pids (two
  containers of one kernel share the boot). Only a process of this machine can be looked at; of another's, nobody here
  knows anything but what it leaves on the disk.
- Where there is no /proc (a Mac) the same is asked of `sysctl` and psutil. A Mac's name changes with the network it is
  in, so there the boot alone tells. psutil shifts a start time when the clock was set; its hash of a process does not.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


@cache
def machine() -> dict[str, str]:
    """What tells this machine from every other: host name, boot id, space of pids."""
    namespace = Path("/proc/self/ns/pid")
    return {
        "host": socket.gethostname(),
        "boot": _boot(),
        "pids": os.readlink(namespace) if namespace.is_symlink() else "",
    }


def _boot() -> str:
    """What this start of the machine is called; empty where it has no name."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    if boot.exists():
        return boot.read_text().strip()
    try:
        asked = subprocess.run(
            ["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.strip()


def identity(pid: int | None = None) -> dict[str, Any]:
    """A process of this machine (this one by default) as records keep it: machine, pid, start."""
    pid = os.getpid() if pid is None else pid
    return {**machine(), "pid": pid, "started": start(pid)}


def is_here(process: Mapping[str, Any]) -> bool:
    """Whether a recorded process is one of this machine."""
    me = machine()
    told_by = ("boot", "pids") if sys.platform == "darwin" and me["boot"] else tuple(me)
    return all(process.get(name) == me[name] for name in told_by)


def is_alive(process: Mapping[str, Any] | None) -> bool:
    """Whether a recorded process is of this machine and still runs."""
    if process is None or not is_here(process) or not isinstance(pid := process.get("pid"), int):
        return False
    return start(pid) == process.get("started") is not None


def start(pid: int) -> int | None:
    """What tells a process from an earlier one of its pid; None when it is gone.

    On Linux its start in clock ticks since boot (field 22 of /proc/<pid>/stat), elsewhere psutil's hash of it.
    """
    if sys.platform != "linux":
        return _hash(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[19]) if fields[0] != "Z" else None


def born(process: Mapping[str, Any]) -> float:
    """When a recorded process started, in seconds since 1970; 0 where it is none of this machine, gone, or unknown."""
    if not is_alive(process):
        return 0.0
    if sys.platform == "linux":
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        began = time.time() - uptime + process["started"] / os.sysconf("SC_CLK_TCK")
        return began if began < time.time() else 0.0  # of a container's own uptime it may lie ahead
    return _created(process["pid"])


def _hash(pid: int) -> int | None:
    import psutil  # which Linux can do without

    try:
        found = psutil.Process(pid)
        return None if found.status() == psutil.STATUS_ZOMBIE else hash(found)
    except psutil.Error:
        return None


def _created(pid: int) -> float:
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0
