"""Connections that go to checked addresses only (signatures first)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Loopback:
    """Where the reserved host names (`.test`, `.example`, `.invalid`) are served in tests and offline: handed over in
    code only."""

    address: str
    port: int
