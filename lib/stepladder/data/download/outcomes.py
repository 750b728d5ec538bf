"""What can become of one wanted address: the classes of the ledger, in one place.

Decisions:
- The classes are exhaustive: whatever a host does is one of them with a reason, never an exception. A programming error
  is none of them and passes through, because a run that goes on after a NameError records a fault of ours as a fault of
  the web (a real loader rejected every picture for days that way).
- Transient is a property of the class: what may pass by itself is asked again, in a later pass; nothing else is.
- What is seen only after decoding (`decode`, `too_small`, `duplicate`, ...) is listed here too, so that a funnel and an
  error mix have one vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# What one address can become: class -> what it says in tables.
OUTCOMES: Mapping[str, str] = {
    "ok": "a picture arrived",
    "bad_url": "the address is malformed, or of a scheme, port or length that is never asked",
    "blocked_address": "the host is, or resolves to, an address that is not public",
    "dns": "the host's name was not resolved",
    "connect": "no connection was made",
    "tls": "the encrypted connection was refused or its certificate is not valid",
    "timeout": "the connection or the whole answer took too long",
    "cut": "the answer ended early or was not HTTP",
    "forbidden": "the host refuses (401, 403)",
    "gone": "the host no longer has it (404, 410)",
    "too_many": "the host asks for a pause (429)",
    "server": "the host failed (5xx)",
    "status": "the host answered something else than the file",
    "redirects": "a redirect led in a circle, too far, from https to http or nowhere",
    "robots": "the host's robots.txt forbids it, or could not be read",
    "noai": "the host's headers reserve the file from machine learning or indexing",
    "too_big": "more bytes than the cap",
    "expands": "the body was encoded, so that it would expand",
    "not_image": "the bytes are not of a format that is accepted",
    "empty": "no bytes",
    "decode": "the picture could not be decoded within its limits",
    "too_many_pixels": "more pixels than the cap",
    "too_small": "fewer pixels than asked for",
    "hash_changed": "another file than the list's hash says",
    "placeholder": "the same bytes under many addresses: an 'image removed' picture",
    "duplicate": "the same bytes as an earlier row",
    "near_duplicate": "almost the same picture as an earlier row",
    "host_down": "not asked: the host failed too often in a row",
}

# Classes that may pass by themselves: asked again in a later pass.
TRANSIENT = frozenset({"dns", "connect", "timeout", "cut", "too_many", "server", "host_down"})


class Refused(Exception):
    """What one address becomes, raised where it is found out and made an `Answer` where the address is asked."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(f"{outcome}: {reason}")
        self.outcome, self.reason = outcome, reason


@dataclass(frozen=True)
class Answer:
    """What became of one address.

    `outcome` is a key of `OUTCOMES`, `reason` a sentence for the ledger; `body` the bytes where the outcome is `ok`;
    `url` the last address asked, after redirects; `status` its HTTP status, None where none came; `headers` the few
    that are kept (`content_type`, `x_robots`); `seconds` the time from question to answer; `retry_after` the pause in
    seconds that the host asked for, None where it asked for none.
    """

    outcome: str
    reason: str = ""
    body: bytes = b""
    url: str = ""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    retry_after: float | None = None

    def __post_init__(self) -> None:
        """A class that nobody knows is a programming error."""
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome {self.outcome!r}: one of {', '.join(OUTCOMES)}")

    @property
    def transient(self) -> bool:
        """Whether it may pass by itself."""
        return self.outcome in TRANSIENT


def told(text: str) -> str:
    """What a host or list said, for tables and ledgers: one line of at most 200 plain letters, whatever it was."""
    return " ".join(text[:1000].encode("ascii", "backslashreplace").decode().split())[:200]
