"""What tests of asking share: names that resolve as a table says, sockets that are recorded, and a run of both."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stepladder.data.download.asking import Asker
from stepladder.data.download.connecting import Loopback
from stepladder.data.download.outcomes import Answer
from stepladder.data.download.policy import Policy
from tests.data.download.hostile_server import CAP, HostileServer

# No test depends on how fast a machine is: most have all the time there is, and what never ends has little.
POLICY = Policy("tests@a.example", deadline_s=60, connect_s=60, most_bytes=CAP, per_host=200, connections=400)
IMPATIENT = replace(POLICY, deadline_s=0.6)


@dataclass
class Names:
    """A name server: each name's answers in turn, the last one for ever; what is not in the table does not exist."""

    table: dict[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.table:
            raise OSError("no such name")
        answers = self.table[host]
        return answers[min(self.asked.count(host), len(answers)) - 1]


@dataclass
class Sockets:
    """Records every address a socket is made for; makes it for `port` of loopback only, refuses all others."""

    port: int = 0
    tried: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, wanted: tuple[Any, ...]) -> socket.socket:
        address = (str(wanted[4][0]), int(wanted[4][1]))
        self.tried.append(address)
        if address != ("127.0.0.1", self.port):
            raise ConnectionRefusedError(f"{address}: recorded and refused")
        return socket.socket(*wanted[:3])


@dataclass
class Run:
    """Answers to `urls` in order, and what was tried."""

    answers: list[Answer]
    names: Names
    sockets: Sockets
    server: HostileServer

    @property
    def outcomes(self) -> list[str]:
        return [answer.outcome for answer in self.answers]


def ask(
    urls: Sequence[str],
    names: Names | None = None,
    policy: Policy = POLICY,
    at_once: bool = True,
    tls: ssl.SSLContext | None = None,
) -> Run:
    """Ask `urls` with reserved names served by the hostile server: all at once, or one after the other."""

    async def run() -> Run:
        resolver = names or Names()
        async with HostileServer(tls=tls) as server:
            sockets = Sockets(server.port)
            home = Loopback("127.0.0.1", server.port)
            async with Asker(policy, home, lookup=resolver, open_socket=sockets) as asker:
                if at_once:
                    answers = list(await asyncio.gather(*(asker.ask(url) for url in urls)))
                else:
                    answers = [await asker.ask(url) for url in urls]
            return Run(answers, resolver, sockets, server)

    return asyncio.run(run())


def ask_beyond(urls: Sequence[str], names: Names | None = None, policy: Policy = POLICY) -> Run:
    """Ask `urls` without any loopback: whatever is connected to is recorded and refused."""

    async def run() -> Run:
        resolver, sockets = names or Names(), Sockets()
        async with Asker(policy, lookup=resolver, open_socket=sockets) as asker:
            answers = [await asker.ask(url) for url in urls]
        return Run(answers, resolver, sockets, HostileServer())

    return asyncio.run(run())
