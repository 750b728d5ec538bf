"""What a result was made from, and whether what it vouches for is still there.

Decisions:
- A key is what decides a stage: parameters it may read, code, and the results it builds on, each with its content. Two
  keys are equal or differ in words (`training.steps 120 -> 130`), because all of it is kept, not only a hash.
- Content is bytes. Hashes are remembered by place, size and time of a file, so unchanged files are read once; what
  was touched within the last seconds is never remembered, for a clock may be too coarse to tell two writes apart.
- Nothing in a key names a machine: a run fetched elsewhere is done there. What cannot be looked at there, such as the
  mirror its data came from, is no difference: the shards that came of it are what counts, and they are looked at.
"""

import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from stepladder.core import files

NOT_HERE = "not here"  # of what cannot be looked at on this machine
SETTLED = 2.0  # seconds after its last change from which a file's time tells its content
DIGEST = re.compile(r"[0-9a-f]{64}")
NAMED = 3  # differences named in a sentence


class Vouched(TypedDict):
    """A file that a result stands for."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Key:
    """What decides a stage.

    Attributes:
        parameters: name -> value of all it may read.
        code: name -> digest of every file that decides it.
        inputs: what it builds on -> its key and content; None where that is missing.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    code: Mapping[str, str] = field(default_factory=dict[str, str])
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def hash(self) -> str:
        """The key in 16 hex digits."""
        return files.fingerprint(asdict(self))

    def differences(self, now: "Key") -> str:
        """What has changed from this key to another, in words; empty where nothing has."""
        parameters = [
            f"{name} {_value(self.parameters, name)} -> {_value(now.parameters, name)}"
            for name in _unequal(self.parameters, now.parameters)
        ]
        inputs = [
            f"{name} {_value(self.inputs, name)} -> {_value(now.inputs, name)}"
            if name.endswith("json")
            else f"{name} was made again"
            for name in _unequal(self.inputs, now.inputs)
        ]
        code = [
            f"notebook {name[10:12]} was edited" if name.endswith(".ipynb") else f"{name} has changed"
            for name in _unequal(self.code, now.code)
        ]
        return "; ".join(_few(part) for part in (parameters, code, inputs) if part)


def _unequal(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    if before == now:
        return []
    names = [name for name in (*now, *(before.keys() - now.keys())) if now.get(name) != NOT_HERE]
    return [name for name in names if (name in before, before.get(name)) != (name in now, now.get(name))]


def _value(values: Mapping[str, Any], name: str) -> str:
    return str(values[name]) if name in values else "(none)"


def _few(phrases: list[str]) -> str:
    more = f" and {len(phrases) - NAMED} more" if len(phrases) > NAMED else ""
    return ", ".join(phrases[:NAMED]) + more


def content(path: Path, memory: Path | None, verify: bool = False) -> str:
    """SHA-256 of a file, or of the names and contents of all files of a folder.

    Args:
        path: file or folder.
        memory: folder that keeps what was hashed; None: nothing is kept.
        verify: read the bytes whatever is remembered.
    """
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file())
        return files.fingerprint([[f.relative_to(path).as_posix(), content(f, memory, verify)] for f in inside])
    if memory is None:
        return files.file_sha256(path)
    status = path.stat()
    changed = max(status.st_mtime, status.st_ctime)  # nobody can set the latter back
    times = [status.st_mtime_ns, status.st_ctime_ns]
    name = files.fingerprint([str(path.resolve()), status.st_size, status.st_ino, times])
    note = memory / name[:2] / name
    if not verify and (known := _remembered(note)):
        return known
    digest = files.file_sha256(path)
    if time.time() - changed > SETTLED and path.stat().st_ctime_ns == status.st_ctime_ns:
        files.write_text(note, digest)
    return digest


def _remembered(note: Path) -> str | None:
    """The digest that a note holds; None where there is none, or something else than a digest."""
    try:
        text = note.read_bytes().decode("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return text if DIGEST.fullmatch(text) else None


def vouch(paths: Iterable[Path], base: Path, memory: Path | None) -> dict[str, Vouched]:
    """What a result stands for: path relative to `base` -> size and hash."""
    return {
        os.path.relpath(path, base): {"bytes": path.stat().st_size, "sha256": content(path, memory)} for path in paths
    }


def faults(vouched: Mapping[str, Vouched], base: Path, memory: Path | None, verify: bool = False) -> list[str]:
    """What is wrong with files that a result stands for: missing, of another size or, with `verify`, other bytes."""
    found: list[str] = []
    for name, facts in vouched.items():
        path = Path(os.path.normpath(base / name))  # by its name: `base` may be a link to another disk
        if not path.is_file():
            found.append(f"{path.name} is missing")
        elif path.stat().st_size != facts["bytes"]:
            found.append(f"{path.name} has another size")
        elif verify and content(path, memory, verify) != facts["sha256"]:
            found.append(f"{path.name} holds other bytes")
    return found
