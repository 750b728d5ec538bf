"""One rented machine, made here: it is reached by ssh, and it vanishes, fills up, or falls behind when told to.

Decisions:
- Its disk is a tmpfs over this machine's root (overlayfs): it has the programs that are installed here, and what
  anybody wrote there is in one folder (`disk`), to be searched. The project, the home folder and the temporary
  folders are hidden from it, as they would be on a rented machine; only this Python's own folder is there, read-only.
- It has pids and a boot id of its own, so for `machine.processes` it is another machine, and another one again after
  each start. It shares the kernel, its uptime, cores and memory with this one: a limit of the fake.
- To vanish is to fall silent: the link goes first, then every process at once. Nobody hears a connection close.
- It lives as long as the pipe from the process that started it, so it ends with its test, however that ends.
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.machine import drills

if TYPE_CHECKING:
    from tests.launch.world import World

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(pwd.getpwuid(0).pw_dir)
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child=KILL", "--propagation", "private"]
SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
UseDNS no
PermitUserEnvironment no
PidFile none
MaxStartups 100
"""
# Preloaded into every process of a host whose clock is off. (libfaketime 0.9.10 hangs Python's locks, or its sleep.)
CLOCK = """\
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
  int failed = syscall(SYS_clock_gettime, id, at);
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += AHEAD;
  return failed;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  *at = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
  return 0;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
"""
# Pid 1 of a host. The last command ends when the world's end of the pipe closes; then the kernel ends all others.
INIT = """\
set -e
disk=$1 address=$2 name=$3 size=$4; shift 4
root=$disk/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" "$root"
for shown; do mkdir -p "$root$shown"; mount --bind "$shown" "$root$shown"; mount -o remount,bind,ro "$root$shown"; done
mount -t proc proc "$root/proc"
cat /proc/sys/kernel/random/uuid >"$disk/boot"
mount --bind "$disk/boot" "$root/proc/sys/kernel/random/boot_id"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o size=64m tmpfs "$root/dev/shm"
hostname "$name"
echo furnished
read -r plugged
ip link set lo up
ip link set eth0 up
ip address add "$address/24" dev eth0
chroot "$root" /usr/sbin/sshd
echo ready
cat >/dev/null
"""


def run(*argv: str | Path) -> str:
    """Run a command of this machine; its output. A failure is an error with what it said."""
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{' '.join(map(str, argv))}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Process:
    """A process of a host, as this machine sees it.

    Attributes:
        pid: its pid here, not there.
        argv: its command line.
        environ: its environment when it began, `NAME=value` each.
    """

    pid: int
    argv: tuple[str, ...]
    environ: tuple[str, ...]


class Machine:
    """One host.

    Attributes:
        name: what ssh calls it.
        address: where it is.
        home: the home folder there.
    """

    def __init__(self, world: "World", number: int, name: str, megabytes: int):
        self.name, self.address, self.home = name, f"10.77.{world.number}.{10 + number}", HOME
        self._world, self._megabytes, self._place = world, megabytes, world.place / name
        self._link, self._starts = f"slw{world.number}n{number}", 0
        self._init: subprocess.Popen[str] | None = None

    @property
    def disk(self) -> Path:
        """What was written on its disk, seen from here: `disk / "etc/hosts"` is /etc/hosts there."""
        return self._place / "upper"

    def there(self, path: Path | str) -> Path:
        """Where a path of the host lies on this machine: also what it has in memory; only while it lives."""
        return Path(f"/proc/{self._pid}/root/{self._place}/root") / str(path).lstrip("/")

    @property
    def lives(self) -> bool:
        """Whether it runs."""
        return self._init is not None and self._init.poll() is None

    def start(self, fresh: bool = False) -> None:
        """Switch it on and wait until ssh answers: the disk as it was, or `fresh`: another one got the address."""
        assert not self.lives, f"{self.name} runs already"
        if fresh:
            self._scrap()
        if not self._place.exists():
            self._furnish()
        shown = [str(path) for path in dict.fromkeys([sys.prefix, sys.base_prefix]) if not path.startswith("/usr")]
        argv = ["sh", "-c", INIT, "init", str(self._place), self.address, self.name, str(self._megabytes), *shown]
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}  # nothing of this process's gets there
        self._init = subprocess.Popen(
            [*UNSHARE, *argv], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._expect("furnished")
        self._plug_in()
        self._expect("ready")
        drills.wait_for(self._answers, 30)

    def kill(self) -> None:
        """Let it vanish: silent at once, every process dead."""
        if self._init is None:
            return
        run("ip", "link", "delete", self.cable)
        self._init.kill()  # takes its child along, the host's pid 1, and so all others
        self._init.wait()
        self._init = None

    def cut(self) -> None:
        """Cut its link; it works on, and nobody is told."""
        run("ip", "link", "set", self.cable, "down")

    def mend(self) -> None:
        """Mend the link."""
        run("ip", "link", "set", self.cable, "up")

    def slow(self, megabits: float | None) -> None:
        """Let no more than so much per second through its link, each way; None: no limit."""
        for place in ([], ["nsenter", "--net", "--target", str(self._pid)]):
            device = "eth0" if place else self.cable
            limit = f"tbf rate {megabits}mbit burst 64kb latency 500ms" if megabits else "pfifo_fast"
            run(*place, "tc", "qdisc", "replace", "dev", device, "root", *limit.split())

    def leave(self, megabytes: float) -> None:
        """Let its disk have room for no more than so much."""
        used = shutil.disk_usage(self._place).used
        run("mount", "-o", f"remount,size={used // 1024 + round(megabytes * 1024)}k", self._place)

    def clock(self, seconds: int) -> None:
        """Let its clock be ahead by so much, for what is started there from now on; times of files stay true."""
        if not (compiler := shutil.which("cc")):
            pytest.skip("not installed: gcc, libc6-dev (a clock that is off is a small library)")
        library = f"usr/local/lib/clock{seconds:+d}.so"
        made = self._world.folder / "clock.so"
        argv = [compiler, "-shared", "-fPIC", f"-DAHEAD={seconds}", "-x", "c", "-", "-o", str(made)]
        subprocess.run(argv, input=CLOCK, text=True, check=True)
        self._write(library, made.read_bytes())
        self._write("etc/ld.so.preload", f"/{library}\n")

    def processes(self) -> list[Process]:
        """All its processes but its init and sshd."""
        found = _processes(self._pid)
        return [process for process in found if not process.argv[0].startswith(("sshd:", "/usr/sbin/sshd"))]

    def files(self) -> Iterator[Path]:
        """Every file that was written there, on the disk or in memory."""
        yield from (path for path in self.disk.rglob("*") if path.is_file() and not path.is_symlink())
        if self.lives:
            yield from (path for path in self.there("dev/shm").rglob("*") if path.is_file())

    def traces(self, text: str) -> list[str]:
        """Where a text is found that must be nowhere: in a file, a file's name, or a command line there."""
        found = [str(path) for path in self.files() if text in str(path) or text.encode() in path.read_bytes()]
        return found + [" ".join(process.argv) for process in self.processes() if text in "\0".join(process.argv)]

    @property
    def _pid(self) -> int:
        assert self._init is not None, f"{self.name} does not run"
        return int(Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()[0])

    @property
    def cable(self) -> str:
        """The name of its link's end on this machine."""
        return f"{self._link}v{self._starts}"

    def _expect(self, word: str) -> None:
        assert self._init is not None and self._init.stdout is not None
        assert self._init.stdout.readline() == f"{word}\n", f"{self.name} does not start"

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=5) as asked:
                return asked.recv(4) == b"SSH-"
        except OSError:
            return False

    def _plug_in(self) -> None:
        assert self._init is not None and self._init.stdin is not None
        self._starts += 1  # the old link may still be on its way out
        bridge = self._world.bridge
        card = f"02:77:00:00:{self._world.number:02x}:{int(self.address.rpartition('.')[2]):02x}"  # neighbours know it
        there = ["peer", "name", "eth0", "address", card, "netns", str(self._pid)]
        run("ip", "link", "add", self.cable, "type", "veth", *there)
        run("ip", "link", "set", self.cable, "master", bridge, "up")
        self._init.stdin.write("plugged\n")
        self._init.stdin.flush()

    def _furnish(self) -> None:
        self._place.mkdir(parents=True)
        run("mount", "-t", "tmpfs", "-o", f"size={self._megabytes}m,mode=755", "stepladder-world", self._place)
        for folder in ("upper", "work", "root"):
            (self._place / folder).mkdir()
        for hidden in self._world.hidden:
            (folder := self.disk / hidden.relative_to("/")).mkdir(parents=True, exist_ok=True)
            os.setxattr(folder, "trusted.overlay.opaque", b"y")
        (self.disk / "run/sshd").mkdir(parents=True)
        hosts = [f"{machine.address} {machine.name}" for machine in self._world]
        self._write("etc/hosts", "\n".join(["127.0.0.1 localhost", *hosts, ""]))
        self._write("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
        self._write("etc/resolv.conf", "")
        self._write("etc/ssh/sshd_config", SSHD)
        self._write("etc/ssh/authorized_keys", self._world.key.with_suffix(".pub").read_text())
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.disk / "etc/ssh/ssh_host_ed25519_key")

    def _write(self, path: str, content: str | bytes) -> None:
        place = self.there(path) if self.lives else self.disk / path  # below an overlay in use nothing may change
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)

    def _scrap(self) -> None:
        if self._place.exists():
            run("umount", "--lazy", self._place)
            self._place.rmdir()


def _processes(init: int) -> Iterator[Process]:
    """Those of a host's space of pids that see its disk: all but the init and what that waits with."""
    pids, root = os.readlink(f"/proc/{init}/ns/pid"), Path(f"/proc/{init}/root")
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(place / "ns/pid") != pids or (place / "root").samefile(root):
                continue
            argv, environ = ((place / name).read_text(errors="replace") for name in ("cmdline", "environ"))
            if argv:  # else it waits to be reaped
                yield Process(int(place.name), _words(argv), _words(environ))
        except OSError:  # it has ended
            continue


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.rstrip("\0").split("\0"))
