"""Names that come from elsewhere, of archives' members and of manifests' files: which may be written below a folder.

Decisions:
- What any common file system would refuse, change or mix up is refused everywhere, before anything is written: a name
  that leaves the folder, ends in a dot or a blank, is too long or lies too deep, and two names that differ only in case
  or in how an accent is coded.
- A reason is a few words that follow the name in an error; empty means sound.
"""

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

LONGEST = 255  # bytes of one part, as most file systems have it
LONGEST_PATH = 2048  # bytes of a path, so that the folder it lies in has as much
DEEPEST = 100  # parts


def flaw(path: str, longest: int = LONGEST) -> str:
    """Why a relative path must not be written below a folder; empty when it is sound.

    Args:
        path: with forward slashes.
        longest: bytes that one part may have.
    """
    parts = PurePosixPath(path).parts
    if not parts or path != path.strip() or any(c in "\\\x7f" or c < " " or "\ud800" <= c <= "\udfff" for c in path):
        return "unusable name"
    if path.startswith("/") or path[1:2] == ":":
        return "absolute path"
    if ".." in parts:
        return "leaves the folder"
    if any(part[-1] in ". " for part in parts):
        return "ends in a dot or a blank"
    if len(path.encode()) > LONGEST_PATH or any(len(part.encode()) > longest for part in parts):
        return "name too long"
    return "lies too deep" if len(parts) > DEEPEST else ""


def clashes(paths: Iterable[str]) -> dict[str, str]:
    """Path -> reason, of sound paths that cannot lie in one folder on every file system."""
    seen: dict[str, str] = {}
    found: dict[str, str] = {}
    for path in paths:
        key = _folded(path)
        if (other := seen.get(key)) is not None:
            found[path] = "stands twice" if other == path else f"differs from {shown(other)} only in case or accents"
        seen[key] = path
    folders = _folders(seen)
    found |= {path: "also the folder of another file" for key, path in seen.items() if key in folders}
    return found


def shown(path: str, most: int = 80) -> str:
    """A path as an error shows it: quoted, and cut where it is long."""
    return repr(path) if len(path) <= most else f"{path[:most]!r}... ({len(path)} characters)"


def _folded(path: str) -> str:
    """What two names share that are one on some file system."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _folders(paths: Iterable[str]) -> set[str]:
    """All folders above these paths."""
    found: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
    return found
