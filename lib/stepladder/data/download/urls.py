"""What an address is before any lookup (signatures first)."""

from __future__ import annotations

from dataclasses import dataclass

from stepladder.data.download.outcomes import Answer


@dataclass(frozen=True)
class Url:
    """A normalised address: `text` to store and compare, `host` as asked of DNS, `port` 80 or 443."""

    text: str
    scheme: str
    host: str
    port: int
    target: str  # path and query, percent-encoded ASCII


def check(url: str, longest: int = 4096) -> Url | Answer:
    """`url` normalised, or the answer (`bad_url`, `blocked_address`) it gets without being asked."""
    raise NotImplementedError
