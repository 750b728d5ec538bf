"""Bodies and headers of answers, read so that nothing a host sends costs more than its cap.

Decisions:
- Bytes are counted while they come; a Content-Length only refuses sooner, it is never believed.
- Identity is asked for. A body that comes as gzip or deflate all the same is expanded piece by piece up to the cap and
  refused beyond; other encodings are refused, because their decoders have no bound.
- What a file is, its first bytes say; Content-Type is only repeated in the reason.
- X-Robots-Tag is judged before the body is read. Reservations against machine learning (`noai`, `noimageai`, `noml`)
  are obeyed whatever robot they name: they say what the owner wants. Those against indexing (`noindex`,
  `noimageindex`, `none`) are obeyed when they name us, everybody or nobody.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from stepladder.data.download.outcomes import Refused

if TYPE_CHECKING:
    from aiohttp import ClientResponse

Accept = Callable[[bytes], bool]  # of the first `HEAD` bytes
HEAD = 12  # bytes that tell a format
NEVER = frozenset({"noai", "noimageai", "noml"})
UNSEEN = frozenset({"noindex", "noimageindex", "none"})
VALUED = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")  # directives with a colon
YEAR_S = 366 * 86400.0


def images(head: bytes) -> bool:
    """Whether the first `HEAD` bytes are those of a JPEG, PNG, WebP or GIF file."""
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    )  # fmt: skip


async def read(response: ClientResponse, most: int, accept: Accept) -> bytes:
    """The whole body, at most `most` bytes, of a kind that `accept` knows by its first bytes.

    Raises:
        Refused: `too_big`, `expands`, `empty`, `not_image`, `cut`.
    """
    if (response.content_length or 0) > most:
        raise Refused("too_big", f"says it has {response.content_length} bytes, more than {most}")
    body = bytearray()
    known = False
    async for piece in _pieces(response, most):
        body += piece
        if not known and len(body) >= HEAD:
            known = _known(response, bytes(body[:HEAD]), accept)
    if not body:
        raise Refused("empty", "no bytes")
    if not known:
        _known(response, bytes(body), accept)
    return bytes(body)


async def beginning(response: ClientResponse, most: int) -> bytes:
    """The first `most` bytes of the body, expanded where it is encoded; `Refused` (`expands`, `cut`) as `read`."""
    body = bytearray()
    async for piece in _pieces(response, 2 * most):
        body += piece
        if len(body) >= most:
            break
    return bytes(body[:most])


async def _pieces(response: ClientResponse, most: int):
    """The body as it comes, expanded where it is encoded; `Refused` as soon as it passes `most` bytes."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise Refused("expands", f"encoded as {encoding[:40]!r}, although identity was asked for")
    expander = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding not in ("", "identity") else None
    came = left = most
    async for piece in response.content.iter_any():
        came -= len(piece)
        if came < 0:
            raise Refused("too_big", f"more than {most} bytes")
        if expander is None:
            yield piece
            continue
        piece = _expanded(expander, piece, left + 1)
        left -= len(piece)
        if left < 0:
            raise Refused("expands", f"more than {most} bytes when expanded from {most - came}")
        yield piece
    if expander is not None and came < most and not expander.eof:
        raise Refused("cut", "the encoded body ends early")


def _expanded(expander, piece: bytes, most: int) -> bytes:
    try:
        return expander.decompress(piece, most)
    except zlib.error as error:
        raise Refused("expands", f"encoded, and does not decode: {error}") from error


def _known(response: ClientResponse, head: bytes, accept: Accept) -> bool:
    if not accept(head):
        kind = response.headers.get("Content-Type", "no type")
        raise Refused("not_image", f"begins with {head!r}, said to be {kind[:80]!r}")
    return True


def reserved(values: Iterable[str], agent: str) -> str:
    """The directive among X-Robots-Tag header `values` that keeps `agent` (lower case) away; empty where none does.

    A value reads `[robot:] directive, directive, [robot:] directive`; a robot is named until the next one.
    """
    for value in values:
        robot = "*"
        for part in value.lower().split(","):
            name, colon, rest = part.partition(":")
            if colon and name.strip() not in VALUED:
                robot, part = name.strip(), rest
            directive = part.strip()
            if directive in NEVER or (directive in UNSEEN and robot in ("*", "", agent)):
                return directive
    return ""


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, a number or a date, between 0 and a year; None where it says neither."""
    if value is None:
        return None
    value = value.strip()
    try:
        pause_s = float(int(value[:12])) if value.isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(pause_s, 0.0), YEAR_S)
