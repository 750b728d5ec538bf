"""Some rented machines on a network of their own, made here.

    world = World(folder, ["hostA", "hostB"])        STEPLADDER_SSH_CONFIG=<world.ssh_config>
    with world:
        ssh -F <world.ssh_config> hostA true
        world["hostA"].kill()

Decisions:
- A world has a number, 10.77.<number>.0/24, and holds its lock, so several may live at once.
- Its hosts end with its process, however that ends (see `rented`). What then is left, a bridge and mounts, is cleared
  by the next world, which finds the lock free.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from tests.launch.rented import HOME, ROOT, Machine, run

PLACE = Path("/run/stepladder-worlds")
TOOLS = {"sshd": "openssh-server", "rsync": "rsync", "ip": "iproute2", "tc": "iproute2", "unshare": "util-linux"}


def lacking() -> str | None:
    """Why no host can be made here; None where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "making machines takes root on Linux"
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    if missing := sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)}):
        return f"not installed: {', '.join(missing)}"
    trial = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/m && ip link add type veth && "
    trial += "mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/m"
    done = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "sh", "-c", trial], capture_output=True)
    return f"namespaces and overlayfs cannot be used: {done.stderr.decode().strip()}" if done.returncode else None


class World:
    """Some hosts on a network of their own; a context, at whose end nothing of them is left.

    Attributes:
        folder: what this machine has of it: the key, ssh's configuration.
        number: of its network, 10.77.<number>.0/24; this machine is .1 there.
        ssh_config: what to give to `ssh -F`; it knows the hosts by name.
        key: the private key that they let in.
        hidden: folders of this machine that its hosts do not see.
    """

    def __init__(self, folder: Path, names: Sequence[str] = ("hostA", "hostB"), megabytes: int = 512):
        self.number, self._lock = _claim()
        self.place, self.bridge = PLACE / str(self.number), f"slw{self.number}"
        self.hidden = (HOME, ROOT, Path(tempfile.gettempdir()).resolve(), folder.resolve())
        self.folder, self.ssh_config, self.key = folder, folder / "ssh_config", folder / "key"
        self._machines = {name: Machine(self, number, name, megabytes) for number, name in enumerate(names)}
        self._write_ssh_config()

    def __getitem__(self, name: str) -> Machine:
        return self._machines[name]

    def __iter__(self) -> Iterator[Machine]:
        return iter(self._machines.values())

    def __enter__(self) -> "World":
        try:
            run("ip", "link", "add", self.bridge, "type", "bridge")
            run("ip", "address", "add", f"10.77.{self.number}.1/24", "dev", self.bridge)
            run("ip", "link", "set", self.bridge, "up")
            for machine in self:
                machine.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all hosts and clear what they were made of."""
        for machine in self:
            machine.kill()
        _clear(self.number)
        self._lock.close()

    def _write_ssh_config(self) -> None:
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        common = f"  User root\n  IdentityFile {self.key}\n  IdentitiesOnly yes\n"
        hosts = [f"Host {machine.name}\n  HostName {machine.address}\n{common}" for machine in self]
        self.ssh_config.write_text("".join(hosts))


def sweep() -> None:
    """Clear what dead processes left of their worlds."""
    for path in PLACE.glob("*.lock"):
        if lock := _locked(path):
            _clear(int(path.stem))
            lock.close()


def _claim() -> tuple[int, IO[str]]:
    PLACE.mkdir(exist_ok=True)
    sweep()
    for number in range(1, 255):
        if lock := _locked(PLACE / f"{number}.lock"):
            _clear(number)
            return number, lock
    raise RuntimeError(f"every network 10.77.0.0/16 is taken: see {PLACE}")


def _locked(path: Path) -> IO[str] | None:
    lock = path.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _clear(number: int) -> None:
    """Remove the bridge, the mounts and the folders of a world; its hosts are dead, for their pipe is."""
    if Path(f"/sys/class/net/slw{number}").exists():
        run("ip", "link", "delete", f"slw{number}")
    for place in (PLACE / str(number)).glob("*"):
        if place.is_mount():
            run("umount", "--lazy", place)
        place.rmdir()
    if (PLACE / str(number)).exists():
        (PLACE / str(number)).rmdir()
