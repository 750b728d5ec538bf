"""A machine as the launcher uses it: run a command there, send files, bring files, by the person's OpenSSH and rsync.

Decisions:
- ssh and rsync are processes, so keys, agents, jump hosts and second factors come from the person's own configuration.
  A question for a password would hang for ever: `BatchMode` makes it an error.
- One connection per machine is opened and shared (ControlMaster). It finds out within fifteen seconds that the other
  side is silent; who uses it connects again.
- A machine's host key is pinned under the machine's own name in a file of ours, for addresses are given away again.
- What cannot be reached now (`Unreachable`) may come back; what refuses us, or fails there, will do so again.
"""

import hashlib
import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stepladder.core.config import ParameterError
from stepladder.core.secrets import redact

CONFIG = "STEPLADDER_SSH_CONFIG"  # environment variable: another file than ~/.ssh/config
SSH_FAILED = 255
REFUSED = ("Permission denied", "Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED")
RSYNC_CUT = {10, 12, 30, 35, SSH_FAILED}  # exit codes of rsync when the other side is gone
SENT = re.compile(r"^Total bytes (sent|received): ([\d,.]+)", re.MULTILINE)
PART = ".coming"  # folder of half-sent files, beside their place


class HostError(ParameterError):
    """A machine cannot be used; the text names it, what went wrong and the way out."""


class Unreachable(HostError):
    """A machine does not answer; it may later."""


class CommandFailed(HostError):
    """A command on a machine failed.

    Attributes:
        code: its exit code.
        stderr: what it said.
    """

    def __init__(self, text: str, code: int, stderr: str):
        super().__init__(text)
        self.code, self.stderr = code, stderr


@dataclass(frozen=True)
class Moved:
    """What a transfer did: bytes over the line, and seconds."""

    bytes: int
    seconds: float


class Host:
    """A machine.

    Attributes:
        name: TARGET/HOST, as ledger and errors call it.
        folder: the launcher's folder there, absolute.
    """

    name: str
    folder: str

    def command(self, argv: Sequence[str]) -> list[str]:
        """What is run here so that `argv` runs there."""
        raise NotImplementedError

    def place(self, path: str) -> str:
        """A folder there as rsync names it."""
        raise NotImplementedError

    def shell(self) -> list[str]:
        """Options of rsync that lead there."""
        raise NotImplementedError

    def call(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> str:
        """Run a command there and wait; what it printed.

        Args:
            argv: the command, as a list: nothing is expanded.
            stdin: what it reads; the only way for a secret.
            timeout: seconds.

        Raises:
            Unreachable: the machine did not answer, or not in time.
            CommandFailed: it ran, and failed.
        """
        try:
            done = subprocess.run(self.command(argv), input=stdin, capture_output=True, timeout=timeout, env=_quiet())
        except subprocess.TimeoutExpired:
            raise Unreachable(f"{self.name}: no answer to {argv[0]} within {timeout:.0f} s") from None
        if done.returncode:
            raise self._failed(argv, done.returncode, done.stderr.decode(errors="replace").strip())
        return done.stdout.decode(errors="replace")

    def open(self, argv: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start a command there, with pipes to its stdin and from its stdout."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self.command(argv), stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=_quiet())

    def push(self, root: Path, names: Iterable[str], to: str) -> Moved:
        """Bring files of `root` to the folder `to` there; what is there already, by size and time, is not sent again.

        Raises:
            Unreachable, CommandFailed: see `call`; what has arrived stays, and the next call goes on from there.
        """
        self.call(["mkdir", "-p", to])
        return self._rsync(f"{root}/", f"{self.place(to)}/", names)

    def pull(self, there: str, to: Path, names: Iterable[str] | None = None) -> Moved:
        """Bring files of the folder `there` to a folder here, all of them where no names are given (see `push`).

        Links do not come: what is written here later would follow one to wherever the machine wants.
        """
        to.mkdir(parents=True, exist_ok=True)
        return self._rsync(f"{self.place(there)}/", f"{to}/", names, "--no-links", "--no-devices", "--no-specials")

    def close(self) -> None:
        """Give up the connection."""

    def _rsync(self, source: str, target: str, names: Iterable[str] | None, *further: str) -> Moved:
        options = ["-a", *further, "--partial", f"--partial-dir={PART}", "--timeout=60", "--stats", *self.shell()]
        listed = None
        if names is not None:
            options += ["--files-from=-", "--from0"]
            listed = b"\0".join(os.fsencode(name) for name in names)
        began = time.monotonic()
        done = subprocess.run(
            ["rsync", *options, source, target], input=listed, capture_output=True, env=_quiet() | {"LC_ALL": "C"}
        )
        if done.returncode:
            raise self._failed(["rsync"], done.returncode, done.stderr.decode(errors="replace").strip())
        moved = sum(int(re.sub(r"\D", "", number)) for _, number in SENT.findall(done.stdout.decode(errors="replace")))
        return Moved(moved, time.monotonic() - began)

    def _failed(self, argv: Sequence[str], code: int, stderr: str) -> HostError:
        """The error that fits how a command ended."""
        said = redact(stderr) or f"exit code {code}"
        last = said.splitlines()[-1]
        return CommandFailed(f"{self.name}: {argv[0]} failed: {last}", code, said)


class LocalHost(Host):
    """This machine."""

    def __init__(self, name: str, folder: Path):
        self.name, self.folder = name, str(folder)

    def command(self, argv: Sequence[str]) -> list[str]:
        """See `Host`."""
        return list(argv)

    def place(self, path: str) -> str:
        """See `Host`."""
        return path

    def shell(self) -> list[str]:
        """See `Host`."""
        return []


class SshHost(Host):
    """A machine that ssh reaches without a question.

    Args:
        name: TARGET/HOST.
        host: its name for ssh.
        folder: the launcher's folder there, from the home folder where it is relative.
        known_hosts: file of the host keys that were seen.
    """

    def __init__(self, name: str, host: str, folder: str, known_hosts: Path):
        self.name, self.host = name, host
        known_hosts.parent.mkdir(parents=True, exist_ok=True)
        self._options = _options(name, known_hosts)
        self.folder = folder
        if not folder.startswith("/"):
            self.folder = f"{self.call(['pwd']).strip()}/{folder}"

    def command(self, argv: Sequence[str]) -> list[str]:
        """See `Host`."""
        return ["ssh", *self._options, self.host, "--", shlex.join(argv)]

    def tunnel(self, port: int, to: str) -> list[str]:
        """What is run here so that a port of this machine alone leads to the socket file `to` there, until it ends.

        It has a connection of its own: others give theirs up without asking.
        """
        alone = ["-oControlMaster=no", "-oControlPath=none", "-oExitOnForwardFailure=yes"]  # the first value counts
        return ["ssh", *alone, *self._options, "-N", "-T", "-L", f"127.0.0.1:{port}:{to}", self.host]

    def place(self, path: str) -> str:
        """See `Host`."""
        return f"{self.host}:{path}"

    def shell(self) -> list[str]:
        """See `Host`."""
        return ["-e", shlex.join(["ssh", *self._options])]

    def close(self) -> None:
        """See `Host`."""
        subprocess.run(["ssh", *self._options, "-O", "exit", self.host], capture_output=True, timeout=10)

    def _failed(self, argv: Sequence[str], code: int, stderr: str) -> HostError:
        if any(words in stderr for words in REFUSED[1:]):
            return HostError(
                f"{self.name}: its host key is not the one that was seen before: where this is another machine under "
                f"an old name, forget the old one with `stepladder machines --forget {self.name}`"
            )
        if REFUSED[0] in stderr:
            return HostError(
                f"{self.name}: ssh was refused ({stderr.splitlines()[-1]}): `ssh {self.host} true` must work without a "
                "question; load the key into an agent, or name it in ~/.ssh/config"
            )
        if code == SSH_FAILED or (argv[0] == "rsync" and code in RSYNC_CUT):
            last = (redact(stderr).splitlines() or ["the connection broke off"])[-1]
            return Unreachable(f"{self.name} cannot be reached: {last}")
        return super()._failed(argv, code, stderr)


def forget(name: str, known_hosts: Path) -> bool:
    """Forget the host key of a machine; whether one was known."""
    if not known_hosts.exists():
        return False
    done = subprocess.run(["ssh-keygen", "-f", str(known_hosts), "-R", _alias(name)], capture_output=True)
    return done.returncode == 0 and b"found" in done.stdout + done.stderr


def _options(name: str, known_hosts: Path) -> list[str]:
    """Options of every ssh."""
    config = os.environ.get(CONFIG)
    short = hashlib.sha256(f"{config} {name} {known_hosts}".encode()).hexdigest()[:16]  # a socket's path is short
    given = {
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
        "ControlMaster": "auto",
        "ControlPath": _quoted(_sockets() / short),
        "ControlPersist": "60",
        "HostKeyAlias": _alias(name),
        "UserKnownHostsFile": _quoted(known_hosts.resolve()),
        "StrictHostKeyChecking": "accept-new",
    }
    return [*(["-F", config] if config else []), *(f"-o{key}={value}" for key, value in given.items())]


def _quoted(path: Path) -> str:
    """A path as the value of an option of ssh, where a space would begin another one, and `%` means something."""
    return f'"{str(path).replace("%", "%%")}"'


def _alias(name: str) -> str:
    return "stepladder-" + re.sub(r"[^A-Za-z0-9.-]", "-", name)


def _sockets() -> Path:
    """Folder of the shared connections, for this person alone."""
    folder = Path(tempfile.gettempdir()) / f"stepladder-ssh-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise HostError(f"{folder} belongs to somebody else, or is open to others: delete it")
    return folder


def _quiet() -> dict[str, str]:
    """The environment of ssh and rsync: no program may be asked for a password in a window."""
    return {name: value for name, value in os.environ.items() if name not in ("SSH_ASKPASS", "DISPLAY")}
