"""The JupyterLab of a machine, opened here: `stepladder lab --on TARGET`.

Decisions:
- One ssh leads a port of this machine alone to the Lab's socket there. It notices within fifteen seconds that the other
  side is silent, as after sleep; then it is begun again on the same port, with growing pauses, for as long as it takes:
  an open tab finds its kernels again.
- Before each beginning the machine is asked whether its Lab runs; after a restart of the machine it is started again,
  with the same token.
- The token goes to the machine and comes back through ssh alone. The browser is sent to the Lab by a page in a folder
  of this person alone, which goes with the tunnel, as Jupyter itself does it: a token on the command line of a browser
  would be seen by everybody here, and one that is printed stays in a terminal's history.
- Ctrl-C closes the tunnel, not the Lab.
"""

import json
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from stepladder.core import study
from stepladder.core.config import ParameterError
from stepladder.core.files import Json
from stepladder.launch import attempt, code, environment
from stepladder.launch.hosts import CommandFailed, SshHost, Unreachable
from stepladder.launch.targets import Target, target

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds
STEADY = 30.0  # seconds after which a link that breaks off is tried again at once
ANSWER = 180.0  # seconds that a Lab may take to start
FIRST = "lab/tree/notebooks/01_inventory.ipynb"
LAB = "stepladder.launch.labserver"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """A machine that can show a Lab: its code and Python there."""

    host: SshHost
    code: str
    python: str

    def ask(self, command: str, stdin: bytes = b"") -> Json:
        """A command of `labserver` there."""
        argv = code.command(self.python, self.code, LAB, command, self.host.folder)
        return json.loads(self.host.call(argv, stdin, ANSWER))


def prepare(root: Path, name: str, say: Say) -> Place:
    """A machine whose Lab runs, or one with the project's code and an environment that has JupyterLab.

    Args:
        root: the project.
        name: TARGET, or TARGET/HOST for another than its first.
        say: told how far it is.

    Raises:
        ParameterError: it is no other machine, or cannot be used.
    """
    host, found = _meant(root, name)
    if running := _running(host):
        return running
    tree = code.look(root)
    if flaws := code.secrets_in(tree):
        raise ParameterError(f"not sent to {host.name}: {'; '.join(flaws)}")
    say(f"{host.name}: sending the code ({tree})")
    place = tree.send(host)
    wanted = environment.needs(root, _with_lab(root, found), study.names()[0])
    return Place(host, place, environment.prepare(host, found, wanted, place, say).python)


def stop(root: Path, name: str) -> bool:
    """End the Lab of a machine; whether one ran."""
    running = _running(_meant(root, name)[0])
    return running is not None and running.ask("stop")["ran"]


def open_lab(place: Place, port: int, say: Say, shown: Callable[[Path], None]) -> None:
    """Keep the Lab of a machine open at a port here until somebody interrupts.

    Args:
        place: the machine.
        port: of this machine.
        say: told when the link breaks off and is there again.
        shown: called once, when the Lab answers, with the page that leads a browser there.

    Raises:
        HostError: the machine refuses, or its Lab does not start.
    """
    token, pause, page = secrets.token_urlsafe(32), FIRST_PAUSE, None
    folder = Path(tempfile.mkdtemp(prefix="stepladder-lab-"))  # of this person alone
    link = Link()
    try:
        while True:
            began = time.monotonic()
            try:
                lab = place.ask("start", json.dumps({"token": token}).encode() + b"\n")
                token = lab["token"]  # of a Lab that ran already, its own
                link.begin(place.host, port, lab["socket"])
                if page is None:
                    page = _page(folder, port, token)
                    shown(page)
                else:
                    say("the link is there again")
                link.wait()
                words = "the link broke off"
            except Unreachable as error:
                words = str(error)
            pause = FIRST_PAUSE if time.monotonic() - began > STEADY else min(2 * pause, LONGEST_PAUSE)
            say(f"{words}; trying again in {pause:.0f} s")
            time.sleep(pause)
    finally:
        link.end()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Link:
    """The ssh process of a tunnel."""

    def __init__(self) -> None:
        self._ssh: subprocess.Popen[bytes] | None = None

    def begin(self, host: SshHost, port: int, to: str) -> None:
        """Open it, and wait until the port answers; `Unreachable` where it does not come to that."""
        self.end()
        none = subprocess.DEVNULL
        self._ssh = subprocess.Popen(
            host.tunnel(port, to), stdin=none, stdout=none, stderr=subprocess.PIPE, start_new_session=True
        )
        while not _listens(port):
            if self._ssh.poll() is not None:
                said = self._ssh.stderr.read().decode(errors="replace").strip() if self._ssh.stderr else ""
                raise Unreachable(f"{host.name}: no tunnel ({said.splitlines()[-1] if said else 'ssh ended'})")
            time.sleep(0.05)

    def wait(self) -> None:
        """Wait until it breaks off."""
        if self._ssh:
            self._ssh.wait()

    def end(self) -> None:
        """Close it."""
        if self._ssh:
            self._ssh.terminate()
            self._ssh.wait()
            if self._ssh.stderr:
                self._ssh.stderr.close()
            self._ssh = None


def _meant(root: Path, name: str) -> tuple[SshHost, Target]:
    """The machine that is meant, and its target."""
    target_name, _, host = name.partition("/")
    found = target(root, target_name)
    if found.kind == "local":
        raise ParameterError(f"target {target_name!r} is this machine: `stepladder lab` opens its JupyterLab")
    machines = attempt.machines(target_name, found)
    wanted = f"{target_name}/{host}" if host else machines[0]
    if wanted not in machines:
        raise ParameterError(f"no machine {wanted!r}; known: {', '.join(machines)}")
    return cast(SshHost, attempt.host_of(root, wanted, found)), found


def _running(host: SshHost) -> Place | None:
    """The place of the Lab that runs on a machine, with the code and the Python it was begun with."""
    try:
        record = json.loads(host.call(["cat", f"{host.folder}/lab/server.json"]))
        place = Place(host, record["code"], record["python"])
        return place if place.ask("status")["runs"] else None
    except CommandFailed:  # none was begun, or its code is gone
        return None


def _with_lab(root: Path, found: Target) -> Target:
    """A target whose environment has JupyterLab and what every study needs."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    studies = [name for name in study.names() if name in project["optional-dependencies"]]
    return found.model_copy(update={"extras": list(dict.fromkeys([*found.extras, "lab", *studies]))})


def _page(folder: Path, port: int, token: str) -> Path:
    """The page that leads to the Lab."""
    path = folder / "open.html"
    path.touch(mode=0o600)
    address = f"http://127.0.0.1:{port}/{FIRST}?token={token}"
    path.write_text(f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={address}"><title>JupyterLab</title>\n')
    return path


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
