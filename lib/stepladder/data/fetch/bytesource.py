"""Bytes of a file by position, wherever it lies: the types every part of fetching shares, and the local case."""

import threading
import urllib.parse
import urllib.request
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stepladder.core.secrets import redact

CHUNK = 1 << 16


class FetchError(ValueError):
    """A download that cannot go on, with its address and the way out; what an address must not tell is hidden."""

    def __init__(self, message: object = ""):
        super().__init__(redact(str(message)))


class Changed(FetchError):
    """The file behind the address is no longer the one that was begun."""


class NoRanges(FetchError):
    """The server honours no Range, so the file can only be had whole."""


class Unreachable(FetchError):
    """The server did not give the bytes, however often it was asked."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often.

    Attributes:
        connect_s: time to open a connection.
        read_s: silence after which a connection is given up.
        least_bps: mean bytes per second over `read_s` below which a connection is given up.
        tries: failed requests in a row, without one new byte, before giving up.
        first_s: wait after the first failure; it doubles with each further one.
        longest_s: cap of any wait, also of a server's Retry-After.
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    least_bps: float = 1000.0
    tries: int = 7
    first_s: float = 0.5
    longest_s: float = 60.0

    def wait(self, failures: int, asked_s: float | None) -> float:
        """Seconds to wait after `failures` failures in a row, when the server asked for `asked_s` (or nothing)."""
        own = self.first_s * 2 ** (failures - 1)
        return min(self.longest_s, own if asked_s is None else max(asked_s, own))


@dataclass(frozen=True)
class Identity:
    """What tells one version of a file from another. `size` is None where the server does not say."""

    size: int | None
    etag: str = ""
    modified: str = ""

    @property
    def firm(self) -> bool:
        """Whether another version would be told from this one; the size alone is no proof."""
        return bool(self.etag or self.modified)


@dataclass
class Traffic:
    """What moved: bytes of answers' bodies, requests, and how many of them were tries after a failure."""

    bytes: int = 0
    requests: int = 0
    retries: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, bytes: int = 0, requests: int = 0, retries: int = 0) -> None:
        """Count; safe from any thread."""
        with self.lock:
            self.bytes += bytes
            self.requests += requests
            self.retries += retries


class Bytes(Protocol):
    """A file whose bytes can be read by position.

    Attributes:
        identity: size and validators of the version being read.
        ranges: whether bytes can be had by position; without it only `HttpBytes.whole` works.
        unchanged: it is still the version known from last time.
        cancel: set it to end every wait at once; `stream` then raises `Unreachable`.
    """

    url: str
    identity: Identity
    ranges: bool
    unchanged: bool
    patience: Patience
    traffic: Traffic
    cancel: threading.Event

    def stream(self, start: int, stop: int) -> Generator[bytes]:
        """The bytes from `start` up to `stop`, in pieces."""
        ...


def local_path(url: str) -> Path | None:
    """The path a file URL or a plain path names; None for http and https.

    Raises:
        FetchError: the URL is of another kind, or none.
    """
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise FetchError(f"{url}: this is no address ({error}); give a path, or an http, https or file URL") from None
    if parts.scheme in ("http", "https"):
        return None
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    if "://" in url:
        raise FetchError(f"{url}: only http, https and file URLs and paths can be fetched")
    return Path(url).expanduser()


class LocalBytes:
    """A file on this machine."""

    ranges = True

    def __init__(self, path: Path, patience: Patience, known: Identity | None, traffic: Traffic):
        if not path.is_file():
            raise FetchError(f"{path}: no such file or folder; check data.mirror, or use an http(s) URL")
        stat = path.stat()
        self.url, self.path, self.patience, self.traffic = str(path), path, patience, traffic
        self.identity = Identity(stat.st_size, modified=str(stat.st_mtime_ns))
        self.unchanged, self.cancel = self.identity == known, threading.Event()

    def stream(self, start: int, stop: int) -> Generator[bytes]:
        """The bytes from `start` up to `stop`, in pieces."""
        with self.path.open("rb") as file:
            file.seek(start)
            while start < stop:
                chunk = file.read(min(CHUNK, stop - start))
                if not chunk:
                    raise Changed(f"{self.path} became shorter while it was read")
                start += len(chunk)
                self.traffic.add(bytes=len(chunk))
                yield chunk
