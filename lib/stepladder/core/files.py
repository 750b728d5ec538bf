"""Small file operations every part relies on.

A file other code may find is either absent or whole: text and JSON are written beside their target and renamed. What is
damaged all the same is told by its name (`Damaged`) and never overwritten: it is set aside. Logs are `jsonlines`.
"""

import errno
import fcntl
import hashlib
import json
import math
import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from stepladder.core.errors import Damaged

Json = dict[str, Any]  # what a JSON object holds
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what a file system says that knows none
PLAIN = (str, int, bool, type(None))  # what is plain JSON whatever its value


@contextmanager
def atomic(path: Path | str) -> Generator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` on success, delete it on failure.

    The file keeps the mode it had; a new one is as the umask wants it. Where `path` is a link, its target is replaced.

    Raises:
        OSError: it cannot be written, as on a full disk; names the file.
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(temporary, like=path)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _create(temporary: Path, like: Path) -> None:
    """Make an empty file with the mode of another, or as the umask wants it where there is no other."""
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        if like.exists():
            os.fchmod(descriptor, stat.S_IMODE(like.stat().st_mode))
    finally:
        os.close(descriptor)


def set_aside(path: Path) -> Path:
    """Rename a damaged file (or whatever stands in its place) to `<name>.damaged`, with a number if need be."""
    number = 1
    while os.path.lexists(kept := path.with_name(f"{path.name}.damaged{number if number > 1 else ''}")):
        number += 1
    return path.rename(kept)


@contextmanager
def locked(folder: Path) -> Generator[bool]:
    """Let one process at a time into the block, by a file `lock` in `folder`; the others wait. A death frees it.

    Yields whether it is alone: where the file system knows no locks the block runs without one. Whatever is written
    there is written aside and renamed, so two do the same work and the last one's stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            yield False
        else:
            yield True


def write_text(path: Path | str, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically; non-finite numbers become null."""
    write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_compact(path: Path | str, value: Any) -> None:
    """Write plain JSON that no person reads to `path` atomically."""
    write_text(path, json.dumps(value, separators=(",", ":")))


def read_json(path: Path | str) -> Any:
    """Read a JSON file; `None` where the file does not exist.

    Raises:
        Damaged: it cannot be read, or is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_bytes().decode())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Damaged(path, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise Damaged(path, f"is no text (byte {error.start})") from None
    except RecursionError:
        raise Damaged(path, "is nested too deeply") from None
    except ValueError as error:
        raise Damaged(path, f"is no JSON ({error})" if path.stat().st_size else "is empty") from None


def read_object(path: Path | str) -> Json | None:
    """Read a JSON object; `None` where the file does not exist.

    Raises:
        Damaged: it cannot be read, or is no JSON object.
    """
    value = read_json(path)
    if value is not None and not isinstance(value, dict):
        raise Damaged(Path(path), f"holds {type(value).__name__}, not an object")
    if value is None and os.path.lexists(path) and Path(path).exists():
        raise Damaged(Path(path), "holds null, not an object")
    return cast(Json | None, value)


def plain(value: Any) -> Any:
    """`value` as JSON types: numpy scalars and arrays, paths and sets converted, NaN and infinities as None."""
    if value.__class__ in PLAIN:  # most of what there is
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in cast(Json, value).items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast(list[Any], value)]
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in cast(set[Any], value))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | bool):
        return value
    return str(value)


def fingerprint(value: Any) -> str:
    """First 16 hex digits of the SHA-256 of `value` as canonical JSON."""
    return text_sha256(CANONICAL(plain(value)))[:16]


def fingerprint_read(value: Json) -> str:
    """The `fingerprint` of what was read from a JSON file, which is plain already, in a quarter of the time."""
    try:
        return text_sha256(CANONICAL(value))[:16]
    except ValueError:  # a NaN, which only other programs write
        return fingerprint(value)


def text_sha256(text: str) -> str:
    """SHA-256 of a text, hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes, hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
