"""How a download behaves towards hosts and towards this machine: one object, handed to whoever asks or plans.

The defaults are those of a guest: an honest name with a way to complain, two connections and five requests a second for
a host, robots.txt obeyed. Nothing here can make loopback or a private address reachable.
"""

from dataclasses import dataclass, fields

from stepladder.core.errors import ParameterError

AGENT = "Stepladder/0.1"
MAY_BE_ZERO = ("redirects", "seed", "longest_wait_s")


class PolicyError(ParameterError):
    """A policy that no host should meet, or that cannot be followed."""


@dataclass(frozen=True)
class Policy:
    """What is kept to while a list of addresses is downloaded.

    Args:
        contact: mail address or page where whoever runs a host reaches whoever runs this; part of the user agent.
        connections: requests in flight at once, over all hosts.
        per_host: requests in flight at once to one host.
        per_second: requests begun within a second at one host, on average; a burst is one second's worth.
        connect_s: seconds until a connection stands, encryption included.
        deadline_s: seconds until the whole answer is here, redirects included.
        most_bytes: bytes of an answer, counted while it comes, after decompression.
        redirects: how many are followed; each is checked like the first address.
        most_url: characters of an address.
        robots: whether robots.txt and X-Robots-Tag are obeyed.
        passes: how often a row is asked at most when its outcome may pass by itself.
        failures: failures of a host in a row after which it is left alone for the rest of the pass.
        longest_wait_s: longest Retry-After that a pass waits for; what asks for more waits for the next run.
        block: rows of a tar.
        window: blocks over which the hosts are interleaved.
        seed: of the order within a window.
        proxies: whether proxies named in the environment are used.

    Raises:
        PolicyError: a number out of its range, or no contact.
    """

    contact: str
    connections: int = 64
    per_host: int = 2
    per_second: float = 5.0
    connect_s: float = 5.0
    deadline_s: float = 20.0
    most_bytes: int = 20_000_000
    redirects: int = 3
    most_url: int = 4096
    robots: bool = True
    passes: int = 2
    failures: int = 5
    longest_wait_s: float = 60.0
    block: int = 1000
    window: int = 100
    seed: int = 0
    proxies: bool = False

    def __post_init__(self) -> None:
        if not self.contact.strip() or not self.contact.isascii() or not self.contact.isprintable():
            raise PolicyError(f"contact {self.contact!r}: a mail address or page in plain letters, for hosts to reach")
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, bool | str) and (value < 0 or (value == 0 and field.name not in MAY_BE_ZERO)):
                raise PolicyError(f"{field.name} {value}: must be above 0")

    @property
    def user_agent(self) -> str:
        """What every host is told: the program, and whom to write to."""
        return f"{AGENT} (+{self.contact})"
