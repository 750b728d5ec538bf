"""JupyterLab on the box: `python -m stepladder.launch.labserver COMMAND FOLDER`, what the tunnel asks there.

    start FOLDER    begin it, unless it runs; `{"token": ...}` comes as a line of JSON on stdin
    status FOLDER   whether it runs
    stop FOLDER     end it and its kernels

    <folder>/lab/projects/<hash>/    copies of the code that notebooks are edited in, one for each code that was sent
                 outputs/            of all of them
                 server.json         its process, with what Python and code it was begun
                 socket              where it listens
                 runtime/            what Jupyter keeps
                 log                 what it printed

Decisions:
- It outlives everybody who looks at it: it has a session of its own.
- It listens on a file that this person alone may open, not on a port: who else is on the machine cannot try.
- The token comes on stdin, goes into the server's environment, and is told again from there. Jupyter itself keeps it in
  its runtime folder, which is closed to others; a token from the environment it does not log.
- People edit notebooks. They get a copy of the code that was sent: that is known by its content, and stays as it is.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from stepladder.core import files
from stepladder.core.files import Json
from stepladder.machine import processes

BEGUN = 120.0  # seconds that it may take to answer: a cold disk, a first start
LONGEST = 100  # bytes of a socket's path that every system allows
LINES = 15  # of its log, shown with an error
TOKEN = "JUPYTER_TOKEN"


class Unix(HTTPConnection):
    """HTTP through a socket file."""

    def __init__(self, path: Path):
        super().__init__("localhost", timeout=5)
        self.path = path

    def connect(self) -> None:
        """See `HTTPConnection`."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(str(self.path))


def main(arguments: list[str] | None = None) -> None:
    """Entry of all commands."""
    commands = {"start": start, "status": status, "stop": stop}
    told = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m stepladder.launch.labserver", description=told)
    parser.add_argument("command", choices=commands)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    print(json.dumps(commands[given.command](given.folder / "lab")), flush=True)


def start(place: Path) -> Json:
    """Begin the Lab, unless it runs; where it listens, its token, the project it shows."""
    asked = json.loads(sys.stdin.readline())
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o700)
    with files.locked(place):
        record = files.read_object(place / "server.json")
        new = record is None or not processes.is_alive(record)
        if record is None or new:
            record = _begin(place, asked["token"])
    _wait(place, record)
    told = {"socket": str(place / "socket"), "project": record["project"], "new": new}
    return {**told, "token": _token(record["pid"])}


def status(place: Path) -> Json:
    """Whether the Lab runs."""
    return {"runs": processes.is_alive(files.read_object(place / "server.json"))}


def stop(place: Path) -> Json:
    """End the Lab and its kernels; whether one ran. A training that was begun there goes on."""
    record = files.read_object(place / "server.json")
    if not processes.is_alive(record):
        return {"ran": False}
    assert record is not None
    for number, patience in ((signal.SIGTERM, 30.0), (signal.SIGKILL, 10.0)):
        with suppress(ProcessLookupError):
            os.kill(record["pid"], number)
        end = time.monotonic() + patience
        while processes.is_alive(record) and time.monotonic() < end:
            time.sleep(0.1)
    return {"ran": True}


def _begin(place: Path, token: str) -> Json:
    """Start the server; its record."""
    if shutil.which("jupyter-lab", path=str(Path(sys.executable).parent)) is None:
        sys.exit("JupyterLab is not installed there: add `lab` to the extras of the target")
    if len(os.fsencode(place / "socket")) > LONGEST:
        sys.exit(f"{place} is too long a path for a socket: give the target a shorter `folder`")
    project = _project(place, Path.cwd())
    (place / "socket").unlink(missing_ok=True)
    (place / "runtime").mkdir(mode=0o700, exist_ok=True)
    options = [
        "--no-browser",
        "--ServerApp.no_browser_open_file=True",
        f"--ServerApp.sock={place / 'socket'}",
        "--ServerApp.sock_mode=0600",
    ]
    options += ["--allow-root"] if os.getuid() == 0 else []
    log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    child = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options],
        cwd=project,
        env=_environment(place, project, token),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    own = {"python": sys.executable, "code": str(Path.cwd()), "project": str(project)}
    record = {**processes.identity(child.pid), **own}
    files.write_json(place / "server.json", record)
    return record


def _project(place: Path, code: Path) -> Path:
    """A copy of the code for people to edit; one that is there is left as they have left it."""
    project = place / "projects" / code.name
    if not project.exists():
        coming = project.with_name(f".{code.name}.part")
        shutil.rmtree(coming, ignore_errors=True)
        shutil.copytree(code, coming, symlinks=True)
        coming.rename(project)
    return project


def _environment(place: Path, project: Path, token: str) -> dict[str, str]:
    ours = project / "lib" / "stepladder" / "notebooks" / "jupyter"
    own: dict[str, Any] = {
        TOKEN: token,
        "JUPYTER_RUNTIME_DIR": place / "runtime",
        "JUPYTER_CONFIG_PATH": ours,
        "PYTHONPATH": project / "lib",
        "STEPLADDER_ROOT": project,
        "STEPLADDER_OUTPUTS": place / "outputs",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    return os.environ | {name: str(value) for name, value in own.items()}


def _wait(place: Path, record: Json) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + BEGUN
    while not _answers(place / "socket"):
        if not processes.is_alive(record) or time.monotonic() > end:
            lines = (place / "log").read_text(errors="replace").splitlines()[-LINES:]
            sys.exit("\n".join([f"JupyterLab does not answer there; last lines of {place / 'log'}:", *lines]))
        time.sleep(0.1)


def _answers(path: Path) -> bool:
    connection = Unix(path)
    try:
        connection.request("GET", "/api")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _token(pid: int) -> str:
    """The token of a server, from its environment."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(pair.partition(b"=")[2].decode() for pair in pairs if pair.startswith(f"{TOKEN}=".encode()))


if __name__ == "__main__":
    main()
