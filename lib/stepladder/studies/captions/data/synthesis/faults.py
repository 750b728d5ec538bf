"""What goes wrong on the offline web: every class of the ledger that one machine can play, in a promised mix.

Decisions:
- A fault is either in the file (a page under the name of a picture, half a picture) or in how the host answers. The
  second kind is written to `faults.json` as plain data, which the server plays without knowing why.
- The list tells no hash of a file that is not what it was: else rows of one file would fall before they are asked for.
- The mix goes through the kinds in order and begins anew, so that a list of 200 rows meets all of them. Drawn pictures
  meet them first: there are few photographs.
"""

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from stepladder.studies.captions.data.synthesis import drawing

TWINS = 5  # addresses of one "image removed" picture
DEAD = 6  # addresses of a host that answers nobody
HTML = b"<!DOCTYPE html><html><title>Not here</title><body>This picture has moved.</body></html>\n"
FORBIDS = b"User-agent: *\nDisallow: /\n"


@dataclass
class Row:
    """A row of the offline list while it is made: what it says, and the file behind its address."""

    number: int
    text: str
    family: str
    group: str
    questions: list[dict[str, Any]]
    body: bytes
    width: int
    height: int
    host: str
    path: str
    faces: list[list[float]] = field(default_factory=list[list[float]])
    url: str = ""  # where it is not that of host and path
    sha256: str | None = None  # where it is not that of the file

    @property
    def address(self) -> str:
        """Host and path: the key of its file and of its answer."""
        return self.host + self.path


@dataclass
class Web:
    """The rows and what is served: further files by address, answers by address or host, and what was done to rows."""

    rows: list[Row]
    rng: np.random.Generator
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    answers: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    faults: dict[int, str] = field(default_factory=dict[int, str])
    spared: list[Row] = field(default_factory=list[Row])  # nothing happens to them; they may be copied
    turn: int = 0  # how many faults there were


@dataclass(frozen=True)
class Kind:
    """A fault: what it does to rows of a web, the classes the ledger may give them, and how many rows it takes."""

    play: Callable[[Web, Sequence[Row]], None]
    outcomes: tuple[str, ...]
    rows: int = 1


def spread(web: Web, share: float) -> None:
    """Let `share` of the rows misbehave."""
    order = [web.rows[place] for place in web.rng.permutation(len(web.rows))]
    free = sorted(order, key=lambda row: row.group != "drawn")
    left = round(share * len(free))
    web.spared = free[left:]
    while left:
        for name, kind in KINDS.items():
            if kind.rows <= left:
                rows, free, left = free[: kind.rows], free[kind.rows :], left - kind.rows
                web.faults |= {row.number: name for row in rows}
                _play(kind, web, rows)


def _play(kind: Kind, web: Web, rows: Sequence[Row]) -> None:
    before = [row.body for row in rows]
    kind.play(web, rows)
    web.turn += 1
    for row, body in zip(rows, before, strict=True):
        if row.body is not body:
            row.sha256 = ""


def removed() -> bytes:
    """The picture that stands for one that was removed."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (161, 81), (225, 225, 225))
    ImageDraw.Draw(image).text((24, 32), "image no longer available", fill=(90, 90, 90))
    return drawing.jpeg(image)


def bomb(side: int) -> bytes:
    """A PNG of a hundred bytes whose header promises `side` x `side` pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    whole = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(whole)


def _answer(**answer: Any) -> Callable[[Web, Sequence[Row]], None]:
    """The host answers so, whatever the file is."""

    def play(web: Web, rows: Sequence[Row]) -> None:
        web.answers |= {row.address: answer for row in rows}

    return play


def _file(make: Callable[[Row], bytes]) -> Callable[[Web, Sequence[Row]], None]:
    """The file is another."""

    def play(web: Web, rows: Sequence[Row]) -> None:
        for row in rows:
            row.body = make(row)

    return play


def _elsewhere(web: Web, rows: Sequence[Row]) -> None:
    """The picture has moved to another host, and the address says so."""
    moved = f"cdn{web.turn}.example/moved{rows[0].path}"
    web.files[moved] = rows[0].body
    web.answers[rows[0].address] = {"status": 302, "headers": {"Location": f"http://{moved}"}}


def _circle(web: Web, rows: Sequence[Row]) -> None:
    web.answers[rows[0].address] = {"status": 302, "headers": {"Location": rows[0].path}}


def _forbidden_host(web: Web, rows: Sequence[Row]) -> None:
    for row in rows:
        row.host = f"private{web.turn}.example"
        web.files[f"{row.host}/robots.txt"] = FORBIDS


def _dead_host(web: Web, rows: Sequence[Row]) -> None:
    for row in rows:
        row.host = f"dead{web.turn}.example"
        web.answers[row.host] = {"close": True}


def _no_address(web: Web, rows: Sequence[Row]) -> None:
    rows[0].url = f"ftp://{rows[0].address}"


def _private_address(web: Web, rows: Sequence[Row]) -> None:
    rows[0].url = f"http://10.0.0.{1 + web.turn % 250}{rows[0].path}"


def _changed(web: Web, rows: Sequence[Row]) -> None:
    rows[0].sha256 = f"{rows[0].number:064x}"


def _copied(web: Web, rows: Sequence[Row]) -> None:
    first, copy = _twins(web, rows[0])
    copy.body = first.body


def _copied_anew(web: Web, rows: Sequence[Row]) -> None:
    """The picture of another row, compressed once more."""
    from PIL import Image

    first, copy = _twins(web, rows[0])
    with Image.open(io.BytesIO(first.body)) as image:
        copy.body = drawing.jpeg(image.convert("RGB"), quality=60)


def _twins(web: Web, row: Row) -> tuple[Row, Row]:
    """A row and a spared one in their order; the later one becomes the copy, and the fault is its."""
    spared = web.spared.pop(0) if len(web.spared) > 1 else web.spared[0]
    first, copy = sorted((row, spared), key=lambda row: row.number)
    web.faults[copy.number] = web.faults.pop(row.number)
    copy.sha256 = ""
    return first, copy


def _half(row: Row) -> bytes:
    return row.body[: len(row.body) // 2]


def _removed(row: Row) -> bytes:
    return removed()


def _expanding(web: Web, rows: Sequence[Row]) -> None:
    """A thousandth of what it becomes."""
    rows[0].body = gzip.compress(bytes(30_000_000), 9, mtime=0)
    web.answers[rows[0].address] = {"headers": {"Content-Encoding": "gzip"}}


def _dot(row: Row) -> bytes:
    """One pixel, of a colour of its own: twins would be duplicates."""
    from PIL import Image

    return drawing.encoded(Image.new("RGB", (1, 1), (row.number % 256, row.number // 256 % 256, 0)), ".png")


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "404": Kind(_answer(status=404), ("gone",)),
        "500 once": Kind(_answer(status=500, times=1), ("ok",)),
        "403": Kind(_answer(status=403), ("forbidden",)),
        "page for a picture": Kind(_file(lambda row: HTML), ("not_image",)),
        "429 once": Kind(_answer(status=429, times=1, headers={"Retry-After": "1"}), ("ok",)),
        "cut once": Kind(_answer(cut=0.5, times=1), ("ok",)),
        "half a picture": Kind(_file(_half), ("decode",)),
        "moved": Kind(_elsewhere, ("ok",)),
        "moved to a private address": Kind(
            _answer(status=302, headers={"Location": "http://169.254.169.254/latest/"}), ("blocked_address",)
        ),
        "robots.txt forbids": Kind(_forbidden_host, ("robots",)),
        "noai": Kind(_answer(headers={"X-Robots-Tag": "noai"}), ("noai",)),
        "503": Kind(_answer(status=503), ("server",)),
        "copy": Kind(_copied, ("duplicate",)),
        "410": Kind(_answer(status=410), ("gone",)),
        "empty": Kind(_file(lambda row: b""), ("empty",)),
        "many pixels": Kind(_file(lambda row: bomb(60_000 + row.number)), ("too_many_pixels",)),
        "one pixel": Kind(_file(_dot), ("too_small",)),
        "slow": Kind(_answer(pause=0.05), ("ok",)),
        "private address": Kind(_private_address, ("blocked_address",)),
        "another file": Kind(_changed, ("hash_changed",)),
        "removed": Kind(_file(_removed), ("placeholder",), TWINS),
        "dead host": Kind(_dead_host, ("connect", "cut", "host_down"), DEAD),
        "copy compressed anew": Kind(_copied_anew, ("near_duplicate",)),
        "circle": Kind(_circle, ("redirects",)),
        "no address": Kind(_no_address, ("bad_url",)),
        "expands": Kind(_expanding, ("expands",)),
        "endless": Kind(_answer(endless=True), ("too_big",)),
    }
)
