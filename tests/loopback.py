"""No test of fetching reaches beyond this machine: every other connection, and every look-up of a name, is refused.

What was asked for is recorded, and a test at whose end something is still recorded fails; a test that means to try
clears the list after it has looked at it.
"""

import ipaddress
import socket
import threading
from collections.abc import Iterator

import pytest

NAMES = ("localhost", "", None)


def is_here(host: object) -> bool:
    """Whether a host is this machine."""
    host = host.decode() if isinstance(host, bytes) else host
    if host in NAMES:
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Hosts beyond this machine that were asked for, each of them refused."""
    refused: list[str] = []
    # Threads that an earlier test's package left behind (wandb's) are refused too, but are none of this test's.
    others = set(threading.enumerate()) - {threading.current_thread()}

    def guarded(name: str, host_of, owner=socket.socket):
        original = getattr(owner, name)

        def call(*arguments, **options):
            host = host_of(arguments)
            if not is_here(host):
                if threading.current_thread() not in others:
                    refused.append(f"{name} {host}")
                raise ConnectionRefusedError(f"{host} is beyond this machine: tests do not go there")
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    def of_address(arguments):
        own, address = arguments[0], arguments[-1]
        return address[0] if own.family in (socket.AF_INET, socket.AF_INET6) else None

    for name in ("connect", "connect_ex", "sendto"):
        guarded(name, of_address)
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
        guarded(name, lambda arguments: arguments[0] if arguments else None, socket)
    yield refused
    assert not refused, f"the test asked for {refused}"
