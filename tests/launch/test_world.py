"""The machines that other tests rent: reached by true ssh, and true to what they are made to suffer."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepladder.machine import processes
from tests.launch.rented import ROOT, run
from tests.launch.world import World, lacking, sweep
from tests.machine.drills import wait_for

pytestmark = pytest.mark.drill
SILENT = 255  # ssh's own failure


class Person:
    """Somebody who works on the hosts of a world, over one connection each."""

    def __init__(self, world: World, sockets: str):
        self.world = world
        self.options = ["-F", str(world.ssh_config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=2"]
        self.options += ["-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={world.folder}/known"]
        self.options += ["-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=2", "-o", "ControlMaster=auto"]
        self.options += ["-o", f"ControlPath={sockets}/%C", "-o", "ControlPersist=60"]

    def does(self, host: str, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """What becomes of a command there."""
        argv = ["ssh", *self.options, host, command]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60)

    def sees(self, host: str, command: str) -> str:
        """What a command prints there; an error where it fails."""
        done = self.does(host, command)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def leaves(self, host: str) -> None:
        """Close the connection."""
        subprocess.run(["ssh", *self.options, "-O", "exit", host], capture_output=True)


@pytest.fixture
def person(world: World) -> Iterator[Person]:
    with tempfile.TemporaryDirectory(prefix="ssh") as sockets:  # the path of a socket must be short
        someone = Person(world, sockets)
        yield someone
        for host in world:
            someone.leaves(host.name)


def test_each_host_is_a_machine_of_its_own(world: World, person: Person) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id")
    asked = f"hostname; readlink /proc/self/ns/pid; cat {boot}; cd; pwd; ls -A"
    told = (person.sees(host.name, asked).split("\n", 4) for host in world)
    names, pids, boots, homes, files = zip(*told, strict=True)
    assert names == ("hostA", "hostB")
    assert len({*pids, os.readlink("/proc/self/ns/pid")}) == len({*boots, boot.read_text().strip()}) == 3
    assert homes == tuple(str(host.home) for host in world)
    assert not any(f"{name}\n" in text for text in files for name in (".ssh", ".bashrc", ".config"))
    assert person.does("hostA", f"ls {ROOT}/lib {world.folder}").returncode == 2  # nothing of this machine's
    assert person.sees("hostA", f"{sys.executable} -c 'import numpy; print(numpy.__version__)'")


def test_hosts_reach_each_other_and_share_nothing(world: World, person: Person) -> None:
    person.sees("hostA", "echo mine > ~/x; echo mine > /tmp/x; echo mine > /dev/shm/x")
    assert person.does("hostB", "cat ~/x /tmp/x").returncode == 1
    address = world["hostB"].address
    assert person.sees("hostA", f"bash -c 'read -r line < /dev/tcp/{address}/22; echo $line'").startswith("SSH-2.0")
    assert {
        str(path.relative_to(world["hostA"].disk))
        for path in world["hostA"].files()
        if path.name == "x" and "dev" not in path.parts
    } == {"root/x", "tmp/x"}


def test_rsync_goes_both_ways_over_one_connection(world: World, person: Person, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a b").write_text("ä")
    person.sees("hostA", "true")
    shell = " ".join(["ssh", *person.options])
    run("rsync", "-a", "-e", shell, f"{tmp_path}/here/", "hostA:there/")
    run("rsync", "-a", "-e", shell, "hostA:there/", f"{tmp_path}/back/")
    assert (tmp_path / "back" / "a b").read_text() == "ä"
    assert person.sees("hostA", "ps -e -o args | grep -c '[s]shd: root'") == "1"


def test_a_killed_host_falls_silent_and_comes_back_with_its_disk(world: World, person: Person) -> None:
    host = world["hostA"]
    person.sees("hostA", "setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $! > ~/pid; sync")
    boot = person.sees("hostA", "cat /proc/sys/kernel/random/boot_id")
    (sleeper,) = (process.pid for process in host.processes() if process.argv[0] == "sleep")
    identity = processes.identity(sleeper)
    host.kill()
    wait_for(lambda: not processes.is_alive(identity), 10)
    done = person.does("hostA", "true")
    assert done.returncode == SILENT
    assert "closed by remote host" not in done.stderr  # a machine that vanishes says nothing
    assert person.sees("hostB", "true") == ""
    host.start()
    assert person.sees("hostA", "test -s ~/pid && cat /proc/sys/kernel/random/boot_id") != boot


def test_another_machine_may_get_the_address(world: World, person: Person) -> None:
    person.sees("hostA", "touch ~/x")
    person.leaves("hostA")
    world["hostA"].kill()
    world["hostA"].start(fresh=True)
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in person.does("hostA", "true").stderr
    assert not (world["hostA"].disk / "root/x").exists()


def test_a_cut_link_is_silence_and_the_work_goes_on(world: World, person: Person) -> None:
    person.sees("hostA", "(while sleep 0.05; do date +%s%N > ~/beat; done) </dev/null >/dev/null 2>&1 &")
    beat = world["hostA"].disk / "root/beat"
    wait_for(beat.exists, 10)
    world["hostA"].cut()
    assert person.does("hostA", "true").returncode == SILENT
    old = beat.read_text()
    wait_for(lambda: beat.read_text() not in ("", old), 10)
    world["hostA"].mend()
    assert person.sees("hostA", "cat ~/beat")


def test_a_slow_link_passes_what_it_passes(world: World, person: Person) -> None:
    world["hostA"].slow(8)
    began = time.monotonic()
    assert person.sees("hostA", "head -c 1000000 /dev/zero | wc -c; head -c 1000000 /dev/zero >&2") == "1000000"
    assert time.monotonic() - began > 0.7  # a megabyte at a megabyte per second, less what passes at once
    world["hostA"].slow(None)


def test_a_disk_that_is_full(world: World, person: Person) -> None:
    world["hostA"].leave(megabytes=2)
    done = person.does("hostA", "head -c 5000000 /dev/zero > ~/x")
    assert "No space left on device" in done.stderr
    assert (world["hostA"].disk / "root/x").stat().st_size < 3_000_000
    assert person.does("hostB", "head -c 5000000 /dev/zero > ~/x").returncode == 0
    world["hostA"].leave(megabytes=20)
    assert person.does("hostA", "head -c 5000000 /dev/zero > ~/x").returncode == 0


def test_a_clock_that_is_off(world: World, person: Person) -> None:
    world["hostA"].clock(3600)
    asked = "import threading, time; time.sleep(0.01); threading.Event().wait(0.01); print(time.time())"
    ahead = [float(person.sees(host.name, f"{sys.executable} -c '{asked}'")) - time.time() for host in world]
    assert [round(seconds / 600) for seconds in ahead] == [6, 0]
    world["hostA"].clock(-86400)
    assert int(person.sees("hostA", "date +%s")) < time.time() - 80000


def test_what_must_be_nowhere_is_found_where_it_is(world: World, person: Person) -> None:
    host, secret = world["hostA"], os.urandom(16).hex()
    person.does("hostA", "read -r S; export S; setsid sleep 600 </dev/null >/dev/null 2>&1 &", stdin=secret)
    assert host.traces(secret) == []
    (sleeper,) = (process for process in host.processes() if process.argv[0] == "sleep")
    assert sleeper.argv == ("sleep", "600")
    assert f"S={secret}" in sleeper.environ
    person.sees("hostA", f"echo x{secret}x > ~/x; echo {secret} > /dev/shm/y; mkdir ~/{secret}; touch ~/{secret}/z")
    person.sees("hostA", f"bash -c 'sleep 600; true {secret}' </dev/null >/dev/null 2>&1 &")
    found = host.traces(secret)
    assert [any(sign in trace for trace in found) for sign in ("root/x", "shm/y", "/z", "sleep 600")] == [True] * 4


def test_two_worlds_live_at_once_and_the_next_clears_what_a_dead_one_left(world: World, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    script = "import sys, time; from pathlib import Path; from tests.launch.world import World\n"
    script += "made = World(Path(sys.argv[1]), ['one']).__enter__(); print(made.number, flush=True); time.sleep(600)"
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "other")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    number = int(other.stdout.readline())
    assert number != world.number
    sweep()  # of the living nothing is cleared
    assert Path(f"/sys/class/net/slw{number}").exists()
    other.send_signal(signal.SIGKILL)
    other.wait()
    wait_for(lambda: not any(f"/{number}/one" in argv for argv in _command_lines()), 10)
    sweep()
    assert not Path(f"/sys/class/net/slw{number}").exists()
    assert f"/{number}/one" not in Path("/proc/mounts").read_text()
    assert all(host.lives for host in world)


def test_where_no_machine_can_be_made_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.launch.world.TOOLS", {"no-such-tool": "no-such-package"})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert lacking() == "not installed: no-such-package"


def _command_lines() -> list[str]:
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text().replace("\0", " "))
        except OSError:
            continue
    return found
