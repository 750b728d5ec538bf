"""A small true HTTP server that misbehaves on command, for tests and tutorials.

It serves a folder with Range, ETag, Last-Modified, If-Range and If-None-Match, counts every request and byte, and takes
a script of faults. A fault meets the next requests whose path it matches, as often as it says; faults of several kinds
meet the same request together:

    with FaultyServer(folder) as server:
        server.add(Status(429, retry_after="1", times=2), Cut(after=1000, skip=2))
        ...download server.url("archive.zip")...
        assert server.requests("archive.zip") == 4

It listens on the loopback interface only, at a free port.
"""

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BLOCK = 1 << 14


@dataclass
class Fault:
    """What goes wrong `times` times with requests whose path matches `path`, after `skip` requests that go well."""

    path: str = field(default="*", kw_only=True)
    times: int = field(default=1, kw_only=True)
    skip: int = field(default=0, kw_only=True)


@dataclass
class Status(Fault):
    """Answer `code` and nothing else, with Retry-After when given (seconds or a date)."""

    code: int
    retry_after: str = ""


@dataclass
class Cut(Fault):
    """Close the connection after `after` bytes of the body."""

    after: int


@dataclass
class Stall(Fault):
    """Fall silent for `seconds` after `after` bytes of the body, then close."""

    after: int
    seconds: float


@dataclass
class Drip(Fault):
    """Send the body `block` bytes at a time, `seconds` apart."""

    block: int
    seconds: float


@dataclass
class WrongLength(Fault):
    """Say a Content-Length that is `by` bytes off, and a body that agrees with nobody: it has its true length."""

    by: int


@dataclass
class WrongRange(Fault):
    """Answer with a range `by` bytes further on than asked for."""

    by: int


@dataclass
class WrongBytes(Fault):
    """Turn over the bits of the byte at `position` of the body."""

    position: int


@dataclass
class Change(Fault):
    """Replace the file by `content` before answering."""

    content: bytes


@dataclass
class Header(Fault):
    """Say `value` in the header `name`, whatever would be true."""

    name: str
    value: str


@dataclass
class NoRange(Fault):
    """Ignore Range and send the whole file, as some servers do."""


@dataclass
class Served:
    """One request as it was answered: `start` and `stop` are the asked range, `sent` the bytes of the body."""

    path: str
    status: int
    start: int | None = None
    stop: int | None = None
    sent: int = 0


class FaultyServer:
    """Serves `folder` on a free loopback port while used as a context manager.

    Attributes:
        log: every request, in order of arrival.
        redirects: path -> path or URL it is redirected to (302).
        answers: path -> JSON value, or a function of the query (dict of lists) that gives one, or gives bytes.
        etags: `strong`, `weak` or `none`.
        dates: whether Last-Modified is sent.
    """

    def __init__(self, folder: Path, *faults: Fault, etags: str = "strong", dates: bool = True):
        self.folder, self.etags, self.dates = Path(folder), etags, dates
        self.log: list[Served] = []
        self.redirects: dict[str, str] = {}
        self.answers: dict[str, Any] = {}
        self._faults = list(faults)
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"faulty": self}))
        self._http.daemon_threads = True

    def __enter__(self) -> "FaultyServer":
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def address(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def url(self, path: str) -> str:
        """URL of a path below the folder."""
        return f"{self.address}/{path.lstrip('/')}"

    def add(self, *faults: Fault) -> None:
        """Append faults to the script."""
        with self._lock:
            self._faults.extend(faults)

    def clear(self) -> None:
        """Forget the script and the log."""
        with self._lock:
            self._faults.clear()
            self.log.clear()

    def requests(self, path: str = "*") -> int:
        """Number of requests for paths that match."""
        return len(self.served(path))

    def bytes_sent(self, path: str = "*") -> int:
        """Bytes of bodies sent for paths that match."""
        return sum(served.sent for served in self.served(path))

    def served(self, path: str = "*") -> list[Served]:
        """The log of requests for paths that match."""
        with self._lock:
            return [served for served in self.log if fnmatchcase(served.path.lstrip("/"), path.lstrip("/"))]

    def _next_faults(self, path: str) -> list[Fault]:
        """Faults that apply to this request, their counts run down."""
        due = []
        with self._lock:
            for fault in self._faults:
                if not fnmatchcase(path.lstrip("/"), fault.path.lstrip("/")):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                elif fault.times > 0:
                    fault.times -= 1
                    due.append(fault)
        return due


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection; the server it belongs to is the class attribute `faulty`."""

    faulty: FaultyServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep quiet: the log is `FaultyServer.log`."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        """Send what the script and the request ask for."""
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        faults = {type(fault): fault for fault in self.faulty._next_faults(path)}
        self._served = Served(path, 200)
        with self.faulty._lock:
            self.faulty.log.append(self._served)
        try:
            self._said = {fault.name: fault.value} if isinstance(fault := faults.get(Header), Header) else {}
            if isinstance(refusal := faults.get(Status), Status):
                wait = refusal.retry_after
                self._head(refusal.code, {"Content-Length": "0"} | ({"Retry-After": wait} if wait else {}))
            elif path in self.faulty.redirects:
                self._head(302, {"Content-Length": "0", "Location": self.faulty.redirects[path]})
            elif path in self.faulty.answers:
                self._send_json(self.faulty.answers[path], parse_qs(parts.query), body)
            else:
                self._send_file(path, faults, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _send_json(self, value: Any, query: dict[str, list[str]], body: bool) -> None:
        value = value(query) if isinstance(value, Callable) else value
        content = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()
        self._head(200, {"Content-Length": str(len(content)), "Content-Type": "application/json"})
        self._body(content if body else b"", {})

    def _send_file(self, path: str, faults: dict[type, Any], body: bool) -> None:
        file = (self.faulty.folder / path.lstrip("/")).resolve()
        if not file.is_relative_to(self.faulty.folder.resolve()) or not file.is_file():
            return self._head(404, {"Content-Length": "0"})
        if Change in faults:
            file.write_bytes(faults[Change].content)
        headers = self._validators(file)
        if headers.get("ETag") and self.headers.get("If-None-Match") == headers["ETag"]:
            return self._head(304, headers)
        content = file.read_bytes()
        wanted = None if NoRange in faults else self._range(len(content), headers)
        status = 200
        if wanted is not None:
            status, headers, content = self._part(content, *wanted, headers, faults)
        if NoRange not in faults:
            headers["Accept-Ranges"] = "bytes"
        length = len(content) + (faults[WrongLength].by if WrongLength in faults else 0)
        self._head(status, {**headers, "Content-Length": str(length)})
        if body:
            self._body(content, faults)

    def _part(
        self, content: bytes, start: int, stop: int, headers: dict[str, str], faults: dict[type, Any]
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a range request."""
        self._served.start, self._served.stop = start, stop
        if start >= len(content):
            return 416, {**headers, "Content-Range": f"bytes */{len(content)}"}, b""
        moved = faults[WrongRange].by if WrongRange in faults else 0
        span = f"bytes {start + moved}-{stop - 1 + moved}/{len(content)}"
        return 206, {**headers, "Content-Range": span}, content[start + moved : stop + moved]

    def _range(self, size: int, headers: dict[str, str]) -> tuple[int, int] | None:
        """The range asked for (start, stop), unless there is none or If-Range names another version."""
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if not match or (condition and (condition != headers.get("ETag") or condition.startswith("W/"))):
            return None
        first, last = match.groups()
        if not first:
            return max(0, size - int(last)), size
        return int(first), min(size, int(last) + 1) if last else size

    def _validators(self, file: Path) -> dict[str, str]:
        """ETag and Last-Modified of a file."""
        stat = file.stat()
        headers = {"Last-Modified": formatdate(stat.st_mtime, usegmt=True)} if self.faulty.dates else {}
        if self.faulty.etags != "none":
            weak = "W/" if self.faulty.etags == "weak" else ""
            headers["ETag"] = f'{weak}"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
        return headers

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self._served.status = status
        self.send_response(status)
        for name, value in {**headers, **self._said}.items():
            self.send_header(name, value)
        self.end_headers()

    def _body(self, content: bytes, faults: dict[type, Any]) -> None:
        """Send the body as the faults want it, counting what goes out."""
        if WrongBytes in faults and faults[WrongBytes].position < len(content):
            at = faults[WrongBytes].position
            content = content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]
        cut = min([len(content), *(faults[kind].after for kind in (Cut, Stall) if kind in faults)])
        block, pause = (faults[Drip].block, faults[Drip].seconds) if Drip in faults else (BLOCK, 0.0)
        for start in range(0, cut, block):
            piece = content[start : min(start + block, cut)]
            # Counted first: who has read the last byte may ask at once how many were sent.
            self._served.sent += len(piece)
            try:
                self.wfile.write(piece)
            except OSError:
                self._served.sent -= len(piece)
                raise
            time.sleep(pause)
        if Stall in faults:
            time.sleep(faults[Stall].seconds)
        if cut < len(content) or WrongLength in faults or {Cut, Stall} & faults.keys():
            self.close_connection = True
