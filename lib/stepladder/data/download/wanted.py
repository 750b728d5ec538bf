"""What a download is asked for: the rows of a list, as they stand at each step; and how it says that it cannot go on.

A row's host is the one that would be asked, in its one spelling (`urls`), so that a list cannot get round the limits of
a host by writing its name in many ways.
"""

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from stepladder.core import files
from stepladder.core.errors import ParameterError
from stepladder.data.download.urls import Url, check

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a file system says that takes no more


class DownloadError(ParameterError):
    """A download that cannot begin or go on, with the way out."""


def no_space(path: Path) -> DownloadError:
    """The error of a full disk."""
    return DownloadError(
        f"no space left to write {path}: free some and run the same again; what is in the ledger stays, and is not "
        f"asked again"
    )


@dataclass(frozen=True)
class Wanted:
    """One row of a list.

    Attributes:
        number: its place in the plan, which is its identity: rows come in rising order.
        url: the address, as dirty as it is.
        sha256: hex digits its bytes must have; "" where nobody knows.
        facts: what goes into the tar beside the picture, plain JSON; `text` becomes a member of its own, and rows of
            one `family` (pieces of one picture, say) never make a placeholder of each other.
    """

    number: int
    url: str
    sha256: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class Asked(NamedTuple):
    """One attempt, as it is recorded: what came, and where its body lies."""

    number: int
    outcome: str
    reason: str
    status: int | None
    seconds: float
    size: int
    time: float
    due: float | None
    sha: bytes | None
    at: int | None


class Row(NamedTuple):
    """A row of a block as the ledger knows it."""

    number: int
    url: str
    facts: str
    outcome: str | None
    sha: bytes | None
    at: int | None
    size: int | None


class Pending(NamedTuple):
    """A row that is open: how often it was asked, when it may be asked again, the SHA-256 it must have."""

    number: int
    url: str
    host: str
    asked: int
    due: float
    wants: bytes | None


def host_of(url: str) -> str:
    """The host that would be asked; "" where nobody would be."""
    found = check(url)
    return found.host if isinstance(found, Url) else ""


def storable(text: str) -> str:
    """A text as SQLite keeps it: what is no Unicode (half a surrogate pair) becomes a question mark."""
    return text.encode(errors="replace").decode()


def entry(row: Wanted) -> tuple[int, str, str, bytes | None, str]:
    """A row as the ledger keeps it: number, url, host, expected SHA-256, facts."""
    facts = files.CANONICAL(files.plain(dict(row.facts)))
    return row.number, storable(row.url), storable(host_of(row.url)), _digest(row.sha256), storable(facts)


def _digest(text: str) -> bytes | None:
    """The bytes of hex digits; what is none stays as it is, which no file has."""
    try:
        return bytes.fromhex(text) or None
    except ValueError:
        return text.encode()
