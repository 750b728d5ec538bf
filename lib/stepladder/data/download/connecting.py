"""Connections that go to checked addresses only.

Decisions:
- A name is resolved once. Every address it has is judged, and one that is not public refuses the name: a host that
  mixes is an attack or a mistake. The connection then goes to those very addresses, numbers by now; there is no second
  lookup that could answer something else (DNS rebinding). Host header and TLS name stay the name's.
- Whatever way a number took, `Gate.socket` judges it once more: no socket is made for an address that was not allowed.
- Loopback is refused like any private address. What serves reserved names in tests and offline is an object handed over
  in code, `Loopback`; names end in `.test`, `.example` or `.invalid`, which no public host does. No address, list,
  parameter or variable makes one.
- Names are looked up as absolute ones, so that a search domain of this machine does not complete them; in threads of
  our own, because the loop's few would all wait for the first slow name server.
- Proxies are used only when `Policy.proxies` says so. They resolve names themselves; then a name is judged by what it
  resolves to here, if it does, and where the proxy goes is the proxy's.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from stepladder.data.download.addresses import plain, refusal

if TYPE_CHECKING:
    from aiohttp import TCPConnector

    from stepladder.data.download.policy import Policy
    from stepladder.data.download.urls import Url

RESERVED = (".test", ".example", ".invalid")  # RFC 6761: nobody's
MOST_ADDRESSES = 8  # of a name that are tried
LOOKUPS = 32  # names looked up at once
LOOKUP_S = 300.0  # how long checked addresses are kept
IDLE_S = 5.0  # how long an idle connection is kept

Lookup = Callable[[str], Awaitable[Sequence[str]]]  # name -> addresses; OSError where there are none
OpenSocket = Callable[[tuple[Any, ...]], socket.socket]  # as of socket.getaddrinfo -> an unconnected socket


class Blocked(OSError):
    """An address that nothing is connected to."""


@dataclass(frozen=True)
class Loopback:
    """Where names under `.test`, `.example` and `.invalid` are served, in tests and offline; made in code only.

    Args:
        address: a loopback address; `ValueError` for any other.
        port: what ports 80 and 443 of those names become.
    """

    address: str
    port: int

    def __post_init__(self) -> None:
        """No other private address becomes reachable this way."""
        if not ip_address(self.address).is_loopback:
            raise ValueError(f"Loopback address {self.address!r}: a loopback address such as 127.0.0.1")


class Gate:
    """What stands between names and sockets: resolves and judges, in the form that aiohttp asks of a resolver."""

    def __init__(
        self,
        policy: Policy,
        loopback: Loopback | None = None,
        lookup: Lookup | None = None,
        open_socket: OpenSocket | None = None,
    ) -> None:
        self._policy = policy
        self._loopback = loopback
        self._lookup = lookup or self._look_up
        self._open = open_socket or _open
        self._threads = ThreadPoolExecutor(LOOKUPS, "lookup")
        self._proxies = getproxies() if policy.proxies else {}
        self._proxy_hosts = {urlsplit(proxy).hostname for proxy in self._proxies.values()}
        self._proxy_addresses = {host for host in self._proxy_hosts if host}

    async def addresses(self, host: str) -> list[str]:
        """The addresses of `host`, each judged; `Blocked` where one is not public, `OSError` where there are none."""
        try:
            async with asyncio.timeout(self._policy.connect_s):
                found = await self._lookup(host)
        except TimeoutError as error:
            raise OSError(f"no answer in {self._policy.connect_s:g} s") from error
        if not found:
            raise OSError("no addresses")
        if host in self._proxy_hosts:
            self._proxy_addresses.update(found)
            return list(found)
        for address in found:
            if why := refusal(address):
                raise Blocked(why)
        return [str(plain(address)) for address in found[:MOST_ADDRESSES]]

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> list[dict[str, Any]]:
        """What aiohttp asks: judged addresses as entries of its resolvers."""
        if self._loopback is not None and host.endswith(RESERVED):
            found, port = [self._loopback.address], self._loopback.port
        else:
            found = await self.addresses(host)
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for address in found
        ]

    def socket(self, wanted: tuple[Any, ...]) -> socket.socket:
        """An unconnected socket for an entry as of `socket.getaddrinfo`, whose address is judged; `Blocked`."""
        address, port = wanted[4][:2]
        if why := refusal(address):
            own = self._loopback is not None and (address, port) == (self._loopback.address, self._loopback.port)
            if not own and address not in self._proxy_addresses:
                raise Blocked(why)
        return self._open(wanted)

    def proxy(self, url: Url) -> str | None:
        """The environment's proxy for `url`, where the policy uses them."""
        if not self._proxies or proxy_bypass(url.host):
            return None
        return self._proxies.get(url.scheme) or self._proxies.get("all")

    def connector(self) -> TCPConnector:
        """A connector whose every address comes from here; in a running loop."""
        import aiohttp

        return aiohttp.TCPConnector(
            resolver=self,  # pyright: ignore[reportArgumentType]
            socket_factory=self.socket,
            limit=self._policy.connections,
            limit_per_host=self._policy.per_host,
            ttl_dns_cache=int(LOOKUP_S),
            keepalive_timeout=IDLE_S,
        )

    async def close(self) -> None:
        """Lookups under way are left to end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look_up(self, host: str) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _getaddrinfo, f"{host}.")
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _getaddrinfo(host: str) -> list[Any]:
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)


def _open(wanted: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = wanted[:3]
    return socket.socket(family, kind, protocol)
