"""Which process on which machine: what a lock and a job record say of their holder.

Decisions:
- A pid alone may be given to another process, above all after a container restarted: the start time belongs to it.
- A host name may be shared by many machines of one image. A machine is its name, its boot and its space of pids (two
  containers of one kernel share the boot). Only a process of this machine can be looked at; of another's, nobody here
  knows anything but what it leaves on the disk.
"""

import os
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


@cache
def machine() -> dict[str, str]:
    """What tells this machine from every other: host name, boot id, space of pids."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    return {
        "host": socket.gethostname(),
        "boot": boot.read_text().strip() if boot.exists() else "",
        "pids": os.readlink(namespace) if namespace.is_symlink() else "",
    }


def identity(pid: int | None = None) -> dict[str, Any]:
    """A process of this machine (this one by default) as records keep it: machine, pid, start time."""
    pid = os.getpid() if pid is None else pid
    return {**machine(), "pid": pid, "started": start_ticks(pid)}


def is_here(process: Mapping[str, Any]) -> bool:
    """Whether a recorded process is one of this machine."""
    return {name: process.get(name) for name in machine()} == machine()


def is_alive(process: Mapping[str, Any] | None) -> bool:
    """Whether a recorded process is of this machine and still runs."""
    return process is not None and is_here(process) and start_ticks(process["pid"]) == process["started"] is not None


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (field 22 of /proc/<pid>/stat); None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[19]) if fields[0] != "Z" else None
