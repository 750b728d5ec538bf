"""Bytes of a file on an HTTP server, by position: the faults of the network stay in this file.

Decisions:
- One tiny first request (one byte) tells everything: the address behind the redirects, the size, the validators (ETag,
  Last-Modified) and whether ranges are honoured. The redirect is then never followed again, unless its target expires.
- `stream` yields the wanted bytes and nothing else. A cut, a stall, a drip, a refusal (429, 5xx) or a lie about the
  length only makes it ask again from where it stands, later and later, as the server's Retry-After asks, up to a cap.
- Every answer is held against the identity of the first one. Another size, ETag or date is `Changed`, never a mixture.
- At most `PER_HOST` connections are open to a host, however many threads fetch.
"""

import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, NoReturn

import requests
import urllib3
from requests.adapters import HTTPAdapter

from stepladder.core.secrets import redact
from stepladder.data.fetch.bytesource import (
    CHUNK,
    Changed,
    FetchError,
    Identity,
    LocalBytes,
    NoRanges,
    Patience,
    Traffic,
    Unreachable,
    local_path,
)

PER_HOST = 4
AGENT = "stepladder"
TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
EXPIRED = {401, 403, 404, 410}  # a signed address behind a redirect, once its time is up
REFUSED = (  # what no second try mends: a redirect that leads nowhere or in circles, an answer that is no HTTP
    *(requests.TooManyRedirects, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema),
    *(requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader, urllib3.exceptions.InvalidHeader),
    ValueError,  # urllib's and the IDNA codec's way to say that an address is none
)
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError)


class _Fault(Exception):
    """One failed request, worth another try; `delay_s` is what the server asked for."""

    def __init__(self, reason: str, delay_s: float | None = None):
        super().__init__(redact(reason))
        self.delay_s = delay_s


def open_bytes(
    url: str, patience: Patience, known: Identity | None = None, traffic: Traffic | None = None
) -> "HttpBytes | LocalBytes":
    """The file at an http(s) or file URL or a path.

    Args:
        url: where it is.
        patience: how long and how often to wait for a server.
        known: the identity seen last time, if any.
        traffic: a counter to go on with.

    Raises:
        FetchError: no such file, or the server refuses.
        Unreachable: no answer, however often it was asked.
    """
    path = local_path(url)
    if path is None:
        return HttpBytes(url, patience, known, traffic or Traffic())
    return LocalBytes(path, patience, known, traffic or Traffic())


def read_json(url: str, patience: Patience = Patience()) -> Any:  # noqa: B008
    """The JSON value an address answers with; asked again after busy answers and broken connections.

    Raises:
        FetchError: the server refuses, or answers something else than JSON.
        Unreachable: no answer, however often it was asked.
    """
    for failures in range(1, patience.tries + 2):
        try:
            answer = session().get(url, headers={"User-Agent": AGENT}, timeout=(patience.connect_s, patience.read_s))
            if answer.status_code == 200:
                return answer.json()
            reason, asked = f"answered {answer.status_code} {answer.reason}", _retry_after(answer)
            if answer.status_code not in TRY_AGAIN:
                raise FetchError(f"{url}: the server {reason}; check the address")
        except requests.exceptions.JSONDecodeError:
            raise FetchError(f"{url}: the answer is not JSON; has the service changed or gone?") from None
        except REFUSED as error:
            raise _cannot_follow(url, error) from None
        except BROKEN as error:
            reason, asked = f"no answer ({_reason(error)})", None
        if failures <= patience.tries:
            time.sleep(patience.wait(failures, asked))
    raise Unreachable(f"{url}: {reason}; gave up after {failures} tries")


class HttpBytes:
    """A file on an HTTP server."""

    def __init__(self, url: str, patience: Patience, known: Identity | None, traffic: Traffic):
        self.url, self.patience, self.traffic, self.cancel = url, patience, traffic, threading.Event()
        self._address, self._not_before = url, 0.0
        self.identity, self.ranges, self.unchanged = Identity(None), True, False
        self._persist(lambda: self._look(known))

    def stream(self, start: int, stop: int) -> Generator[bytes]:
        """The bytes from `start` up to `stop`, in pieces, however often it takes.

        Raises:
            Changed: the file is another one than at the beginning.
            NoRanges: the server sends the whole file instead.
            Unreachable: no new byte came in `patience.tries` requests in a row.
        """
        failures = 0
        while start < stop:
            try:
                for chunk in self._pieces(start, stop):
                    start += len(chunk)
                    failures = 0
                    yield chunk
            except _Fault as fault:
                failures += 1
                self._pause(failures, fault)

    def whole(self) -> Iterator[bytes]:
        """The file from its beginning, in one request: for servers without ranges. A cut raises `Unreachable`."""
        try:
            with self._get({}) as answer:
                self._check_identity(answer)
                yield from self._body(answer, self.identity.size)
        except _Fault as fault:
            raise Unreachable(f"{self.url}: {fault}, and the server cannot resume (no Range)") from None

    # One request -------------------------------------------------------------------------------------------------

    def _look(self, known: Identity | None) -> None:
        """The first request: identity, ranges and the address behind the redirects."""
        condition = {"If-None-Match": known.etag} if known and known.etag else {}
        with self._get({"Range": "bytes=0-0", **condition}, follow=True) as answer:
            self._address = answer.url
            if known and answer.status_code == 304:
                self.identity, self.unchanged = known, True
                return
            self.ranges = answer.status_code == 206
            self.identity = _identity(answer)
            self.unchanged = self.identity.firm and self.identity == known
            if self.ranges and self.identity.size is None:
                raise _Fault("the answer to a Range request does not tell the size of the file")
            if self.ranges:
                list(self._body(answer, 1))

    def _pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """One request for a range. Raises `_Fault` when it brings anything but all of it."""
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if self.identity.etag and not self.identity.etag.startswith("W/"):
            headers["If-Range"] = self.identity.etag  # weak tags are not allowed here; the answer is checked instead
        with self._get(headers) as answer:
            self._check_identity(answer)
            if answer.status_code != 206:
                raise NoRanges(f"{self.url}: asked for a range, the server answered with the whole file")
            where = answer.headers.get("Content-Range", "")
            if not where.startswith(f"bytes {start}-{stop - 1}/"):
                raise _Fault(f"asked for bytes {start}-{stop - 1}, answered {where!r}")
            yield from self._body(answer, stop - start)

    def _get(self, headers: dict[str, str], follow: bool = False) -> requests.Response:
        """The open answer to a GET, its status good. Bodies are never compressed on the way: positions must be true."""
        if self.cancel.wait(max(0.0, self._not_before - time.monotonic())):
            raise Unreachable(f"{self.url}: cancelled")
        self.traffic.add(requests=1)
        address = self.url if follow else self._address
        headers = {"Accept-Encoding": "identity", "User-Agent": AGENT, **headers}
        limits = (self.patience.connect_s, self.patience.read_s)
        try:
            answer = session().get(address, headers=headers, stream=True, timeout=limits)
        except REFUSED as error:
            raise _cannot_follow(self.url, error) from None
        except BROKEN as error:
            raise _Fault(f"no answer ({_reason(error)})") from None
        if answer.status_code in (200, 206, 304):
            return answer
        answer.close()
        self._refused(answer, address)

    def _refused(self, answer: requests.Response, address: str) -> NoReturn:
        """Raise what a status other than 200, 206 and 304 means."""
        code = answer.status_code
        if code in TRY_AGAIN:
            raise _Fault(f"answered {code} {answer.reason}", _retry_after(answer))
        if code in EXPIRED and address != self.url:
            self._resolve_again()
            raise _Fault(f"the redirect's target answered {code}", 0.0)
        if code == 416:
            raise Changed(f"{self.url}: the file is shorter than it was, or empty")
        raise FetchError(f"{self.url}: the server answered {code} {answer.reason}; check the address")

    def _resolve_again(self) -> None:
        """Follow the redirect anew; its target may have expired, or may be another file now."""
        with self._get({"Range": "bytes=0-0"}, follow=True) as answer:
            self._check_identity(answer)
            self._address = answer.url

    def _body(self, answer: requests.Response, length: int | None) -> Iterator[bytes]:
        """The body in pieces, `length` bytes of it; `_Fault` when it ends early, falls silent or only drips."""
        left = length
        mark, since = time.monotonic(), 0
        try:
            while left is None or left > 0:
                chunk = answer.raw.read1(CHUNK, decode_content=False)
                if not chunk:
                    break
                chunk = chunk if left is None else chunk[:left]
                left = None if left is None else left - len(chunk)
                self.traffic.add(bytes=len(chunk))
                yield chunk
                since += len(chunk)
                elapsed = time.monotonic() - mark
                if elapsed > self.patience.read_s:
                    if since < self.patience.least_bps * elapsed:
                        raise _Fault(f"only {since} bytes in {elapsed:.0f} s")
                    mark, since = time.monotonic(), 0
        except BROKEN as error:
            raise _Fault(f"the connection broke ({_reason(error)})") from None
        if left:
            raise _Fault(f"the answer ended {left} bytes early")
        if answer.raw.length_remaining == 0:
            answer.raw.drain_conn()  # nothing is left to read, so the connection can serve the next request

    def _check_identity(self, answer: requests.Response) -> None:
        """`Changed` when an answer belongs to another version of the file."""
        found, first = _identity(answer), self.identity
        for name in ("size", "etag", "modified"):
            before, after = getattr(first, name), getattr(found, name)
            if before and after and before != after:
                raise Changed(f"{self.url}: the file changed while it was fetched ({name} {before} became {after})")

    # Waiting -----------------------------------------------------------------------------------------------------

    def _persist(self, action: Callable[[], None]) -> None:
        """Do `action` until it raises no `_Fault`."""
        for failures in range(1, self.patience.tries + 2):
            try:
                return action()
            except _Fault as fault:
                self._pause(failures, fault)

    def _pause(self, failures: int, fault: _Fault) -> None:
        """Let every thread of this file wait before the next request, or give up."""
        if failures > self.patience.tries:
            told = f"{self.url}: {fault}; gave up after {failures} tries. Call again later: it resumes."
            raise Unreachable(told) from None
        self.traffic.add(retries=1)
        self._not_before = max(self._not_before, time.monotonic() + self.patience.wait(failures, fault.delay_s))


@cache
def session() -> requests.Session:
    """The one session of this process; its pool holds the limit of connections per host."""
    shared = requests.Session()
    adapter = HTTPAdapter(pool_maxsize=PER_HOST, pool_block=True)
    shared.mount("http://", adapter)
    shared.mount("https://", adapter)
    return shared


def _identity(answer: requests.Response) -> Identity:
    """Size and validators an answer carries.

    Raises:
        FetchError: the header that should tell the size tells no number.
    """
    name = "Content-Range" if answer.status_code == 206 else "Content-Length"
    said = answer.headers.get(name, "").strip()
    total = said.rpartition("/")[2]
    size = _number(total)
    if size is None and total not in ("", "*"):
        raise FetchError(f"{answer.url}: the server's header {name} is {said[:100]!r}, which tells no size")
    return Identity(size, answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""))


def _number(text: str) -> int | None:
    """The number a header holds in plain ASCII digits; None for anything else (`²`, to Python, is a digit)."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _retry_after(answer: requests.Response) -> float | None:
    """Seconds the server asks to wait (RFC 9110, 10.2.3: a number, or a date); None when it does not say."""
    text = answer.headers.get("Retry-After", "").strip()
    if (seconds := _number(text)) is not None:
        return float(seconds)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _cannot_follow(url: str, error: Exception) -> FetchError:
    """That a request cannot be made as the server wants it."""
    return FetchError(f"{url}: the server leads where nothing can be fetched ({_reason(error)}); check the address")


def _reason(error: BaseException) -> str:
    """The innermost cause of a network error, in words."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
