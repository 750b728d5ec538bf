"""What a download of 5,000 addresses over 300 hosts costs, and what ten kills do to it.

Run `python tests/benchmarks/bench_download.py`. A server in a process of its own answers for hosts `hNNN.example` with
a mix of faults that is known row by row (404, 429 with Retry-After, 500 once, cut, slow, redirected, noai, no picture,
the same picture under many names); the download runs in another, once undisturbed and once killed (SIGKILL) ten times
at random numbers of requests. Nothing is decoded: bodies go into the tars as they came.

Counted: rows in the class that their kind says; requests of a row that the ledger had settled before a kill (none may
be asked again); rows asked without a trace in the ledger (in hand at a kill); bytes of the tars of both runs (equal);
CPU of the undisturbed process from the call to the report, the interpreter's start aside, per picture.

The record is tests/benchmarks/records/download.json.
"""

import asyncio
import json
import os
import random
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from stepladder.data.download.connecting import Loopback
from stepladder.data.download.downloading import Report, Settled, Wanted, download
from stepladder.data.download.policy import Policy
from stepladder.data.download.walking import BATCH
from stepladder.data.images.tars import TarReader
from stepladder.dev import records

ROWS, HOSTS, KILLS = 5_000, 300, 10
POLICY = Policy("bench@here.example", block=500, window=2)
BYTES = 22_600  # mean of img2dataset's pictures at 256 px
JPEG = b"\xff\xd8\xff\xe0"
# kind -> weight of 100, final class
KINDS = {
    "fine": (75, "ok"),
    "404": (5, "gone"),
    "429 once": (2, "ok"),
    "500 once": (3, "ok"),
    "500": (1, "server"),
    "cut": (1, "cut"),
    "slow": (2, "ok"),
    "redirect": (4, "ok"),
    "noai": (2, "noai"),
    "html": (3, "not_image"),
    "removed": (2, "placeholder"),
}
REQUEST = re.compile(rb"GET /(\d+)(/there)? ")


def kind(row: int) -> str:
    """What the server does with a row: of hundred rows in a row as many as its weight says."""
    turn = random.Random(row // 100).sample([name for name, (weight, _) in KINDS.items() for _ in range(weight)], 100)
    return turn[row % 100]


def body(row: int) -> bytes:
    """The picture of a row."""
    return JPEG + random.Random(row).randbytes(BYTES)


def wanted(rows: int, hosts: int) -> Iterator[Wanted]:
    """The list."""
    for row in range(rows):
        yield Wanted(row, f"http://h{row % hosts:03}.example/{row}", "", {"text": f"picture {row}"})


# The server


class Server:
    """Answers by kind; a line of `log` for every request of a row."""

    def __init__(self, rows: int, log: Path):
        self.kinds = [kind(row) for row in range(rows)]
        self.seen: Counter[int] = Counter()
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                asked = REQUEST.match(head)
                writer.write(await self._answer(int(asked[1]), bool(asked[2])) if asked else http(b"", "404 No"))
                await writer.drain()
                if asked and self.kinds[int(asked[1])] == "cut":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, row: int, there: bool) -> bytes:
        if there:
            return http(body(row))
        os.write(self.log, b"%d\n" % row)
        self.seen[row] += 1
        match self.kinds[row]:
            case "404":
                return http(b"", "404 Not Found")
            case "429 once" if self.seen[row] == 1:
                return http(b"", "429 Too Many Requests", "Retry-After: 1")
            case "500 once" if self.seen[row] == 1:
                return http(b"", "500 Oh")
            case "500":
                return http(b"", "500 Oh")
            case "cut":
                return http(body(row))[: BYTES // 2]
            case "slow":
                await asyncio.sleep(0.5)
            case "redirect":
                return http(b"", "302 Found", f"Location: /{row}/there")
            case "noai":
                return http(body(row), "200 OK", "X-Robots-Tag: noai")
            case "html":
                return http(b"<!DOCTYPE html><title>no</title>")
            case "removed":
                return http(body(-1))
        return http(body(row))


def http(content: bytes, status: str = "200 OK", header: str = "Content-Type: image/jpeg") -> bytes:
    """An answer."""
    return f"HTTP/1.1 {status}\r\n{header}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


async def serving(rows: int, log: Path) -> None:
    """Serve until killed; the port is printed."""
    server = await asyncio.start_server(Server(rows, log).serve, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def served(rows: int, log: Path) -> Iterator[int]:
    """The port of a server in a process of its own."""
    log.touch()
    with subprocess.Popen([sys.executable, __file__, "serve", str(rows), str(log)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


# The download


@dataclass(frozen=True)
class Size:
    """Rows and hosts of a list, requests in flight at once."""

    rows: int = ROWS
    hosts: int = HOSTS
    connections: int = POLICY.connections


def as_it_is(bodies: Sequence[tuple[Wanted, bytes]]) -> list[Settled]:
    """No decoding."""
    return [Settled(row.number, "ok", "", content) for row, content in bodies]


def downloaded(folder: Path, port: int, rows: int, hosts: int, connections: int) -> tuple[Report, float]:
    """The report, and CPU-seconds of this process from the call on."""
    began, policy = time.process_time(), replace(POLICY, connections=connections)
    report = download(wanted(rows, hosts), folder, policy, as_it_is, loopback=Loopback("127.0.0.1", port))
    return report, time.process_time() - began


def start(folder: Path, port: int, size: Size) -> subprocess.Popen[bytes]:
    """The download in a process of its own; it prints its CPU-seconds."""
    arguments = ["download", str(folder), str(port), *map(str, astuple(size))]
    return subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE)


# The drill


@dataclass
class Drilled:
    """What ten kills did: counts as the record has them."""

    rows: int
    right: int  # rows in the class their kind says
    unclassed: int
    asked_though_settled: int
    in_hand: list[int]  # rows asked without a trace in the ledger, by kill
    twice: int  # rows asked more often than the ledger says
    tars_differ: int  # rows that are in a tar and not `ok`, or the other way round
    seconds: float


def outcomes(folder: Path) -> dict[int, tuple[str | None, int]]:
    """Row -> class and attempts, by the ledger."""
    with closing(sqlite3.connect(folder / "ledger.sqlite", timeout=60)) as base:
        tables = base.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('rows', 'attempts')").fetchone()[0]
        if tables < 2:
            return {}
        found = base.execute(
            "SELECT r.number, r.outcome, coalesce(a.times, 0) FROM rows r LEFT JOIN (SELECT number, count(*) AS times "
            "FROM attempts WHERE outcome <> 'host_down' GROUP BY number) a ON a.number = r.number"
        )
        return {number: (outcome, times) for number, outcome, times in found}


def asked(log: Path) -> Counter[int]:
    """Row -> requests, by the server."""
    return Counter(int(line) for line in log.read_bytes().splitlines())


def pictures(folder: Path) -> set[int]:
    """Rows that are in the tars."""
    return {int(key) for path in folder.glob("*.tar") for key in TarReader(path).keys}


def drill(folder: Path, size: Size, kills: int, seed: int = 0) -> Drilled:
    """Download a list in processes that are killed at random numbers of requests, then to its end."""
    log, place, rows, began = folder / "requests", folder / "killed", size.rows, time.monotonic()
    draws = random.Random(seed)
    final: dict[int, int] = {}  # rows that the ledger had done with at a kill -> requests by then
    in_hand, before, left = [], 0, rows
    with served(rows, log) as port:
        for kill in range(kills):
            more = min(size.connections, left / 2) + draws.random() * left / (kills + 1 - kill)
            until = asked(log).total() + more
            with start(place, port, size) as process:
                while process.poll() is None and log.read_bytes().count(b"\n") < until:
                    time.sleep(0.005)
                time.sleep(draws.choice([0.0, 0.0, 0.2]))
                process.kill()
            requests, known = asked(log), outcomes(place) if place.exists() else {}
            left = rows - sum(outcome is not None for outcome, _ in known.values())
            missing = requests.total() - sum(times for _, times in known.values())
            in_hand.append(missing - before)
            before = missing
            done = (row for row, (outcome, _) in known.items() if outcome in ("ok", "gone", "noai", "not_image"))
            final |= {row: requests[row] for row in done if row not in final}
        with start(place, port, size) as process:
            process.wait()
    requests, known = asked(log), outcomes(place)
    ok = {row for row, (outcome, _) in known.items() if outcome == "ok"}
    return Drilled(
        rows=rows,
        right=sum(known[row][0] == KINDS[kind(row)][1] for row in range(rows)),
        unclassed=sum(known[row][0] is None for row in range(rows)),
        asked_though_settled=sum(requests[row] != times for row, times in final.items()),
        in_hand=in_hand,
        twice=sum(requests[row] > known[row][1] for row in range(rows)),
        tars_differ=len(ok ^ pictures(place)),
        seconds=time.monotonic() - began,
    )


def undisturbed(folder: Path, size: Size) -> dict[str, Any]:
    """The same list downloaded in one go: what its process said of itself."""
    with served(size.rows, folder / "requests_undisturbed") as port, start(folder / "plain", port, size) as process:
        assert process.stdout
        return json.loads(process.stdout.read())


def tars_equal(folder: Path) -> bool:
    """Whether the killed download and the undisturbed one left the same bytes."""
    kept = [{path.name: path.read_bytes() for path in (folder / name).glob("[0-9]*")} for name in ("killed", "plain")]
    return kept[0] == kept[1]


def main() -> None:
    """Download, kill, compare, record."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = undisturbed(folder, Size())
        drilled = drill(folder, Size(), KILLS)
        record = {
            "rows": ROWS,
            "hosts": HOSTS,
            "kills": KILLS,
            "pictures": plain["pictures"],
            "cpu_ms_per_picture": round(1e3 * plain["cpu_s"] / plain["pictures"], 3),
            "seconds_undisturbed": round(plain["seconds"], 1),
            "memory_MB": round(plain["memory_MB"]),
            "right_class": drilled.right,
            "unclassed": drilled.unclassed,
            "asked_though_settled": drilled.asked_though_settled,
            "in_hand_at_kills": drilled.in_hand,
            "most_in_hand": POLICY.connections + BATCH,
            "asked_twice": drilled.twice,
            "tars_differ_from_ledger": drilled.tars_differ,
            "tars_equal_undisturbed": tars_equal(folder),
            "seconds_killed": round(drilled.seconds, 1),
        }
    for key, value in record.items():
        print(f"{key}: {value}")
    records.write(__file__, record)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serving(int(sys.argv[2]), Path(sys.argv[3])))
    elif sys.argv[1:2] == ["download"]:
        told, cpu_s = downloaded(Path(sys.argv[2]), *map(int, sys.argv[3:7]))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        known = {"cpu_s": cpu_s, "pictures": told.outcomes["ok"], "seconds": told.seconds, "memory_MB": memory}
        print(json.dumps(known))
    else:
        main()
