"""A small server on loopback that does what hosts do and should not, by path; robots.txt by host name.

Everything is written by hand on a raw connection, so that answers may be no HTTP at all. What was asked is recorded.
"""

import asyncio
import gzip
import re
import ssl
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)
JPEG = b"\xff\xd8\xff\xe0" + bytes(200)
WEBP = b"RIFF\x00\x00\x00\x00WEBP" + bytes(200)
GIF = b"GIF89a" + bytes(200)
CAP = 20_000  # what tests set as `most_bytes`
BOMB = PNG[:8] + bytes(10_000_000)  # 10 MB that compress to 10 kB

Page = Callable[[asyncio.StreamWriter], Awaitable[None]]
PAGES: dict[str, Page] = {}


def http(body: bytes = PNG, status: str = "200 OK", length: int | None = None, **headers: str) -> bytes:
    """A plain answer; header names with `_` for `-`; `length` lies about the body."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def always(path: str, answer: bytes) -> None:
    """Serve `answer` at `path`, then close."""

    async def page(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    PAGES[path] = page


def page(path: str) -> Callable[[Page], Page]:
    """Serve what the decorated coroutine writes."""

    def put(function: Page) -> Page:
        PAGES[path] = function
        return function

    return put


def squeezed(body: bytes, wbits: int) -> bytes:
    """`body` by zlib with `wbits`."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return packer.compress(body) + packer.flush()


# Pictures and what only looks like one
always("/png", http(PNG, Content_Type="image/png"))
always("/jpeg", http(JPEG, Content_Type="text/html"))
always("/webp", http(WEBP))
always("/gif", http(GIF))
always("/html", http(b"<!DOCTYPE html><html>no</html>", Content_Type="image/png"))
always("/svg", http(b"<svg xmlns='http://www.w3.org/2000/svg'/>", Content_Type="image/svg+xml"))
always("/pdf", http(b"%PDF-1.7 and more of it", Content_Type="image/jpeg"))
always("/short", http(b"\xff\xd8"))
always("/empty", http(b""))
always("/big-said", http(PNG, length=CAP + 1))
always("/big", http(PNG + bytes(CAP)))
always("/just-fits", http((PNG + bytes(CAP))[:CAP]))
always("/length-too-long", http(PNG, length=5000))
always("/length-too-short", http(PNG, length=100))
always("/length-negative", http(PNG, length=-5))
always("/length-twice", http(PNG, length=208).replace(b"\r\n\r\n", b"\r\nContent-Length: 100\r\n\r\n", 1))
always("/length-huge", http(PNG, length=10**30))
always("/until-close", b"HTTP/1.0 200 OK\r\n\r\n" + PNG)
always("/chunks-cut", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n" + PNG[:10])
always("/chunks-junk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + PNG)
always("/chunk-huge", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n" + PNG)
# Encodings
always("/gzip", http(gzip.compress(PNG), Content_Encoding="gzip"))
always("/deflate", http(zlib.compress(PNG), Content_Encoding="deflate"))
always("/gzip-bomb", http(gzip.compress(BOMB, 9), Content_Encoding="gzip"))
always("/deflate-bomb", http(squeezed(BOMB, 15), Content_Encoding="deflate"))
always("/gzip-false", http(PNG, Content_Encoding="gzip"))
always("/gzip-cut", http(gzip.compress(PNG)[:-12], Content_Encoding="gzip"))
always("/gzip-twice", http(gzip.compress(gzip.compress(PNG)), Content_Encoding="gzip, gzip"))
always("/br", http(b"\x0b\x02\x80abc\x03", Content_Encoding="br"))
always("/zstd", http(b"(\xb5/\xfd\x04\x00", Content_Encoding="zstd"))
# Statuses
for number in (201, 204, 206, 300, 304, 400, 401, 402, 403, 404, 410, 418, 451, 500, 502, 503, 599):
    always(f"/{number}", http(b"x" if number not in (204, 304) else b"", f"{number} Whatever"))
always("/429", http(b"", "429 Too Many", Retry_After="120"))
always("/429-date", http(b"", "429 Too Many", Retry_After="Fri, 01 Jan 2100 00:00:00 GMT"))
always("/429-past", http(b"", "429 Too Many", Retry_After="Fri, 01 Jan 1999 00:00:00 GMT"))
always("/429-junk", http(b"", "429 Too Many", Retry_After="soon, perhaps"))
always("/503-later", http(b"", "503 Busy", Retry_After="7"))
# Reserved
for name, value in {
    "noai": "noai",
    "noimageai": "NoImageAI",
    "noindex": "noindex",
    "noimageindex": "index, NOIMAGEINDEX",
    "none": "none",
    "noml": "noml",
    "named": "stepladder: noindex",
    "everybody": "*: noindex",
    "other-noai": "gptbot: noai",
    "other-noindex": "googlebot: noindex, nofollow",
    "other-then-us": "googlebot: noindex, Stepladder: none",
    "until": "unavailable_after: 25 Jun 2010 15:00:00 PST, noindex",
    "fine": "index, follow, max-image-preview: large",
}.items():
    always(f"/x-{name}", http(PNG, X_Robots_Tag=value))
always(
    "/x-several",
    http(PNG, X_Robots_Tag="follow").replace(
        b"\r\n\r\n", b"\r\nx-robots-tag: archive\r\nX-ROBOTS-TAG: noai\r\n\r\n", 1
    ),
)
# No HTTP, or too much of it
always("/nothing", b"")
always("/status-junk", b"HELLO I AM A FISH\r\n\r\n" + PNG)
always("/status-number", b"HTTP/1.1 2x0 OK\r\n\r\n" + PNG)
always("/status-long", b"HTTP/1.1 200 " + b"a" * 100_000 + b"\r\n\r\n" + PNG)
always("/header-cut", b"HTTP/1.1 200 OK\r\nContent-Le")
always("/header-long", http(PNG, X_Long="a" * 100_000))
always("/header-many", http(PNG, **{f"X_{i}": "a" for i in range(5000)}))
always("/header-junk", b"HTTP/1.1 200 OK\r\n\x00\xff: \x01\r\nContent-Length: 208\r\n\r\n" + PNG)
always("/header-folded", b"HTTP/1.1 200 OK\r\nX-A: b\r\n c: d\r\nContent-Length: 208\r\n\r\n" + PNG)
always("/http-0.9", PNG)
always("/http-2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
always("/ssh", b"SSH-2.0-OpenSSH_9.6\r\n")
always("/switching", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + PNG)
always("/cookie", http(PNG, Set_Cookie="id=7; Path=/"))


# Redirects
def moved(location: str, status: str = "302 Found") -> bytes:
    """A redirect."""
    return http(b"", status, Location=location)


REDIRECTS = {
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "metadata-name": "http://metadata.google.internal/computeMetadata/v1/",
    "loopback": "http://127.0.0.1/png",
    "loopback-number": "http://2130706433/png",
    "localhost": "http://localhost/png",
    "ipv6": "http://[::1]/png",
    "private": "http://10.0.0.1/png",
    "inside": "http://inside.com/png",
    "file": "file:///etc/passwd",
    "data": "data:image/png;base64,iVBORw0KGgo=",
    "gopher": "gopher://a.example/1",
    "javascript": "javascript:alert(1)",
    "port": "http://a.example:22/png",
    "userinfo": "http://a.example@10.0.0.1/png",
    "backslash": "http:\\\\a.example\\png",
    "empty": "",
    "junk": "http://[::1",
    "half": "\xff\xfe\xfd",
    "schemeless": "//b.example/png",
    "relative": "../png",
    "tls": "https://a.example/png",
    "http": "http://a.example/png",
    "loop": "/to-loop",
    "1": "/png",
    "2": "/to-1",
    "3": "/to-2",
    "4": "/to-3",
    "long": "/" + "a" * 5000,
    "noai": "/x-noai",
    "robots": "http://robots-all.example/png",
    "404": "/404",
}
for name, location in REDIRECTS.items():
    always(f"/to-{name}", moved(location))
for number in (301, 303, 307, 308):
    always(f"/by-{number}", moved("/png", f"{number} Moved"))
always("/to-nowhere", http(b"", "302 Found"))
always("/to-noai-itself", http(b"", "302 Found", Location="/png", X_Robots_Tag="noai"))


# Slow and endless
async def drip(writer: asyncio.StreamWriter, piece: bytes, pause_s: float = 0.05) -> None:
    """`piece` again and again, each soon enough for any limit per read."""
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause_s)


@page("/drip-body")
async def _(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + PNG)
    await drip(writer, b"a")


@page("/drip-status")
async def _(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 ")
    await drip(writer, b"O")


@page("/drip-headers")
async def _(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    await drip(writer, b"X-A: b\r\n")


@page("/drip-continue")
async def _(writer: asyncio.StreamWriter) -> None:
    await drip(writer, b"HTTP/1.1 100 Continue\r\n\r\n")


@page("/endless-continue")
async def _(writer: asyncio.StreamWriter) -> None:
    await drip(writer, b"HTTP/1.1 100 Continue\r\n\r\n" * 100, 0)


def silent_after(path: str, head: bytes) -> None:
    """Serve a head, whose body never comes."""

    async def page(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        await asyncio.sleep(60)

    PAGES[path] = page


silent_after("/silent-noai", b"HTTP/1.1 200 OK\r\nX-Robots-Tag: noai\r\nContent-Length: 99\r\n\r\n")
silent_after("/silent-404", b"HTTP/1.1 404 No\r\nContent-Length: 99\r\n\r\n")
silent_after("/silent-big", b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n")
silent_after("/silent-302", b"HTTP/1.1 302 Found\r\nLocation: /png\r\nContent-Length: 99\r\n\r\n")
silent_after("/silent-200", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")


@page("/silent")
async def _(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


@page("/endless")
async def _(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + PNG)
    await drip(writer, bytes(4096), 0)


@page("/endless-chunks")
async def _(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n" + PNG[:8] + b"\r\n")
    await drip(writer, b"400\r\n" + bytes(1024) + b"\r\n", 0)


@page("/endless-headers")
async def _(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    await drip(writer, b"X-A: " + b"b" * 1000 + b"\r\n", 0)


@page("/endless-line")
async def _(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-A: ")
    await drip(writer, b"b" * 1000, 0)


@page("/endless-html")
async def _(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n<html>")
    await drip(writer, b" " * 4096, 0)


@page("/reset")
async def _(writer: asyncio.StreamWriter) -> None:
    writer.write(http(PNG, length=5000))
    await writer.drain()
    writer.transport.abort()


# What a robots.txt says: first label of the host -> the answer to /robots.txt; for all others, 404
ROBOTS: dict[str, bytes] = {
    "robots-all": http(b"User-agent: *\nDisallow: /\n"),
    "robots-us": http(b"User-agent: Stepladder\nDisallow: /\n\nUser-agent: *\nAllow: /\n"),
    "robots-others": http(b"User-agent: GPTBot\nDisallow: /\n\nUser-agent: *\nDisallow: /private/\n"),
    "robots-path": http(b"\xef\xbb\xbfUser-agent: *\r\nDisallow: /*.gif$\r\nAllow: /png\r\nDisallow: /p\r\n"),
    "robots-empty": http(b""),
    "robots-html": http(b"<!DOCTYPE html><html>agent</html>"),
    "robots-binary": http(bytes(range(256)) * 20),
    "robots-401": http(b"", "401 No"),
    "robots-tagged": http(b"User-agent: *\nAllow: /\n", X_Robots_Tag="noindex, noai"),
    "robots-410": http(b"", "410 Gone"),
    "robots-429": http(b"", "429 Slow", Retry_After="30"),
    "robots-500": http(b"", "500 Oh"),
    "robots-503": http(b"", "503 Oh"),
    "robots-cut": http(b"User-agent: *\nAllow: /\n", length=500),
    "robots-garbage": b"WHAT\r\n\r\n",
    "robots-moved": moved("http://b.example/robots-elsewhere"),
    "robots-inside": moved("http://169.254.169.254/robots.txt"),
    "robots-file": moved("file:///robots.txt"),
    "robots-loop": moved("/robots.txt"),
    "robots-slow-rules": http(b"".join(b"User-agent: a%d\n" % i for i in range(9000)) + b"Disallow: /a\n" * 9000),
    "robots-stars": http(b"User-agent: *\nDisallow: /" + b"*a" * 60_000 + b"b\n"),
    "robots-long": http(b"User-agent: *\n" + b"# much\n" * 100_000 + b"Disallow: /\n"),
    "robots-bomb": http(gzip.compress(b"User-agent: *\nDisallow: /\n"), Content_Encoding="gzip"),
}
always("/robots-elsewhere", http(b"User-agent: *\nDisallow: /\n"))


@dataclass
class HostileServer:
    """The server, with TLS where a context is given; `asked` are (host, path) in order, `heads` the requests' heads.

    An async context manager.
    """

    tls: ssl.SSLContext | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    async def __aenter__(self) -> "HostileServer":
        self._tasks: set[asyncio.Task] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1000, ssl=self.tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            first = await reader.readexactly(1)
            if first == b"\x16":  # the greeting of TLS, which is not spoken here
                writer.write(http(b"", "400 What"))
                return
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            host = re.search(r"(?mi)^host: (.*?)\r$", head)
            path = head.split(" ")[1]
            self.heads.append(head)
            self.asked.append((host[1] if host else "", path))
            await self._answer(host[1] if host else "", path.partition("?")[0], writer)
        except (OSError, asyncio.CancelledError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def _answer(self, host: str, path: str, writer: asyncio.StreamWriter) -> None:
        robot = host.partition(".")[0]
        if path == "/robots.txt" and robot in ("robots-slow", "robots-silent"):
            await asyncio.sleep(0.2 if robot == "robots-slow" else 60)
        if path == "/robots.txt":
            writer.write(ROBOTS.get(robot, http(b"", "404 None")))
        elif path in PAGES:
            await PAGES[path](writer)
        else:
            writer.write(http(b"", "404 None"))
        await writer.drain()
