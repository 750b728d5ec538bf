"""Ask one hostile address: all rules that concern one request, in the order in which they are cheap.

Decisions:
- The address is judged (`urls`), then robots.txt (`robots`), then its host's addresses (`connecting`), then the status
  and the headers, then the first bytes, then the rest (`reading`). A redirect starts again at the first.
- One deadline for everything, robots.txt and redirects included; a limit per read never ends against a slow drip.
- Whatever a host does is an `Answer`. Only what aiohttp and the network raise is caught: an error of ours passes.
- One session for all: no cookies are kept, no netrc, no proxy of the environment unless the policy says so, nothing
  is decompressed by aiohttp, no redirect is followed by it, headers are limited to 8 KiB a line and 128 lines.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import TracebackType

import aiohttp
from yarl import URL

from stepladder.data.download.connecting import Blocked, Gate, Lookup, Loopback, OpenSocket
from stepladder.data.download.outcomes import Answer, Refused, told
from stepladder.data.download.policy import Policy
from stepladder.data.download.reading import Accept, beginning, images, read, reserved, retry_after
from stepladder.data.download.robots import MOST, Robots
from stepladder.data.download.urls import Url, check, follow

REDIRECTS = (301, 302, 303, 307, 308)
STATUSES = {401: "forbidden", 403: "forbidden", 404: "gone", 410: "gone", 429: "too_many"}
# What aiohttp and the network raise -> class; the first that fits.
ERRORS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    ((aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError, ssl.SSLError), "tls"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    (aiohttp.ClientConnectorError, "connect"),
    (TimeoutError, "timeout"),
    (aiohttp.InvalidURL, "bad_url"),
    ((aiohttp.ClientError, OSError), "cut"),
)

Read = Callable[[aiohttp.ClientResponse], Awaitable[bytes]]


class Asker:
    """Asks addresses; an async context manager of which one serves many concurrent `ask` calls.

    Args:
        policy: limits, and who asks.
        loopback: where reserved names are served, in tests and offline; see `Loopback`.
        lookup: name -> addresses, in place of the system's.
        open_socket: makes sockets for judged addresses, in place of `socket.socket`.
    """

    def __init__(
        self,
        policy: Policy,
        loopback: Loopback | None = None,
        *,
        lookup: Lookup | None = None,
        open_socket: OpenSocket | None = None,
    ) -> None:
        self._policy = policy
        self._gate = Gate(policy, loopback, lookup, open_socket)
        self._agent = policy.user_agent.partition("/")[0].lower()
        self._robots = Robots(self._robots_file, self._agent)

    async def __aenter__(self) -> Asker:
        """Open the session, in the running loop."""
        self._session = aiohttp.ClientSession(
            connector=self._gate.connector(),
            headers={"User-Agent": self._policy.user_agent, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._policy.connect_s),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session; what is still being asked is given up."""
        await self._robots.close()
        await self._session.close()
        await self._gate.close()

    async def ask(self, url: str, *, accept: Accept = images) -> Answer:
        """What `url` answers, within the policy's deadline; never raises for what a host does.

        `accept` judges the first 12 bytes of a body. The answer's `url` is the last address of a chain of redirects.
        """
        began = time.monotonic()
        found = check(url, self._policy.most_url)
        if isinstance(found, Url):
            found = await self._timed(found, lambda step: self._page(step, accept))
        return replace(found, seconds=time.monotonic() - began)

    async def _timed(self, url: Url, visit: Callable[[Url], Awaitable[Answer | Url]]) -> Answer:
        try:
            async with asyncio.timeout(self._policy.deadline_s):
                return await self._chain(url, visit)
        except TimeoutError:
            return Answer("timeout", f"no whole answer in {self._policy.deadline_s:g} s", url=url.text)

    async def _chain(self, url: Url, visit: Callable[[Url], Awaitable[Answer | Url]]) -> Answer:
        """`visit` from redirect to redirect, as many as the policy allows."""
        for _ in range(self._policy.redirects + 1):
            step = await visit(url)
            if isinstance(step, Answer):
                return step
            url = step
        return Answer("redirects", f"more than {self._policy.redirects}", url=url.text)

    async def _page(self, url: Url, accept: Accept) -> Answer | Url:
        if self._policy.robots and (forbidden := await self._robots.forbids(url)):
            return forbidden
        return await self._visit(
            url, lambda response: read(response, self._policy.most_bytes, accept), self._policy.robots
        )

    async def _robots_file(self, url: Url) -> Answer:
        """A robots.txt; what its own headers reserve concerns nobody who does not keep it."""
        return await self._timed(url, lambda step: self._visit(step, lambda response: beginning(response, MOST), False))

    async def _visit(self, url: Url, body: Read, obey: bool) -> Answer | Url:
        """One request: an answer, or where a redirect leads. `obey` headers that reserve it, `body` reads the rest."""
        try:
            proxy = await self._proxy(url)
            async with self._session.get(URL(url.text, encoded=True), allow_redirects=False, proxy=proxy) as response:
                return await self._answer(url, response, body, obey)
        except (aiohttp.ClientError, OSError) as error:
            return Answer(_outcome(error), _sentence(error), url=url.text)

    async def _proxy(self, url: Url) -> str | None:
        """The proxy for `url`, if one is used; a name that resolves here is judged before a proxy is asked for it."""
        proxy = self._gate.proxy(url)
        if proxy is not None:
            try:
                await self._gate.addresses(url.host)
            except OSError as error:
                if isinstance(error, Blocked):  # behind a proxy, names often do not resolve at all
                    raise
        return proxy

    async def _answer(self, url: Url, response: aiohttp.ClientResponse, body: Read, obey: bool) -> Answer | Url:
        """What status and headers say, and where they let it be read, the body."""
        headers = response.headers
        tags = headers.getall("X-Robots-Tag", [])
        begun = Answer(
            "ok",
            url=url.text,
            status=response.status,
            headers={"content_type": told(headers.get("Content-Type", "")), "x_robots": told(", ".join(tags))},
            retry_after=retry_after(headers.get("Retry-After")),
        )
        if obey and (directive := reserved(tags, self._agent)):
            return replace(begun, outcome="noai", reason=f"X-Robots-Tag: {directive}")
        if response.status in REDIRECTS:
            return follow(url, headers.get("Location", ""), self._policy.most_url)
        if response.status != 200:
            return replace(begun, outcome=_of_status(response.status), reason=f"status {response.status}")
        try:
            return replace(begun, body=await body(response))
        except Refused as refusal:
            return replace(begun, outcome=refusal.outcome, reason=refusal.reason)
        except (aiohttp.ClientError, OSError) as error:
            return replace(begun, outcome=_outcome(error), reason=_sentence(error))


def _of_status(status: int) -> str:
    return STATUSES.get(status, "server" if 500 <= status < 600 else "status")


def _outcome(error: Exception) -> str:
    if isinstance(_cause(error), Blocked):
        return "blocked_address"
    return next(outcome for kinds, outcome in ERRORS if isinstance(error, kinds))


def _cause(error: Exception) -> Exception:
    return error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error


def _sentence(error: Exception) -> str:
    """The error in one line, since some hold what a host sent."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection ended within the headers"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the body ends early or is garbled"
    cause = _cause(error)
    text = f"no HTTP: {cause.message}" if isinstance(cause, aiohttp.ClientResponseError) else str(cause)
    return told(text or type(cause).__name__)
