"""What tests of a download share: a web of answers without sockets, and a decoder that takes every body as it is."""

import asyncio
import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from stepladder.data.download.downloading import Report, Settled, Wanted, download
from stepladder.data.download.outcomes import Answer
from stepladder.data.download.policy import Policy
from stepladder.data.images.tars import TarReader

GONE = Answer("gone", "status 404", status=404)
SERVER = Answer("server", "status 500", status=500)


def picture(body: bytes | str) -> Answer:
    """An answer with these bytes."""
    return Answer("ok", body=body if isinstance(body, bytes) else body.encode(), status=200)


class Web:
    """Answers by URL, each list of answers in turn and its last for ever; what is not in it has bytes of its own.

    Attributes:
        asked: how often each URL was asked.
    """

    def __init__(self, answers: Mapping[str, Answer | Sequence[Answer]] | None = None, late: Iterable[str] = ()):
        self.answers = dict(answers or {})
        self.late = set(late)
        self.asked: Counter[str] = Counter()

    async def __call__(self, url: str) -> Answer:
        self.asked[url] += 1
        turn = self.asked[url] - 1
        for _ in range(50 if url in self.late else 1):
            await asyncio.sleep(0)
        found = self.answers.get(url, picture(url))
        return found if isinstance(found, Answer) else found[min(turn, len(found) - 1)]


def rows(count: int, hosts: int = 5, **facts: Any) -> list[Wanted]:
    """Rows with URLs of their own, a text, and further facts."""
    return [Wanted(n, f"http://h{n % hosts}.example/{n}", "", {"text": f"picture {n}", **facts}) for n in range(count)]


def as_it_is(bodies: Sequence[tuple[Wanted, bytes]]) -> list[Settled]:
    """Every body is a picture."""
    return [Settled(wanted.number, "ok", "", body, "jpg", {"size": len(body)}) for wanted, body in bodies]


def policy(**changes: Any) -> Policy:
    """Small blocks, hosts without limits worth waiting for."""
    usual: dict[str, Any] = {"block": 10, "window": 2, "per_second": 1e6, "per_host": 8, "connections": 16}
    return Policy("us@here.example", **{**usual, **changes})


def fetched(folder: Path, wanted: Iterable[Wanted], ask: Any, settle: Any = as_it_is, **changes: Any) -> Report:
    """`download` with what tests use."""
    stop = changes.pop("stop", lambda: False)
    return download(wanted, folder, policy(**changes), settle, ask=ask, stop=stop)


def classes(folder: Path) -> dict[int, str | None]:
    """Row -> outcome, by the ledger."""
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as base:
        return dict(base.execute("SELECT number, outcome FROM rows ORDER BY number"))


def attempts(folder: Path) -> Counter[int]:
    """Row -> how often it was asked, by the ledger."""
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as base:
        return Counter(n for (n,) in base.execute("SELECT number FROM attempts WHERE outcome <> 'host_down'"))


def in_tars(folder: Path) -> list[int]:
    """Rows whose pictures are in the tars; each is what its own facts say."""
    numbers: list[int] = []
    for path in sorted(folder.glob("*.tar")):
        reader = TarReader(path)
        for index, key in enumerate(reader.keys):
            assert hashlib.sha256(reader.read(index, "jpg")).hexdigest() == reader.json(index)["sha256"]
            numbers.append(int(key))
    return numbers


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of all tars and indices."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[0-9]*"))}


def agree(folder: Path) -> None:
    """The ledger has a class for every row, and the tars hold those that are pictures, no spool being left."""
    found = classes(folder)
    assert None not in found.values()
    assert in_tars(folder) == [number for number, outcome in found.items() if outcome == "ok"]
    assert not list((folder / "spool").glob("*"))
