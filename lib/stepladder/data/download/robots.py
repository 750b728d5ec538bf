"""What a host's robots.txt allows, asked once a day per origin.

Decisions (RFC 9309, read by protego as search engines read it):
- 4xx means there are no rules, so everything is allowed; 429, 5xx and whatever keeps the file from being read means
  nothing is. What may pass by itself keeps its class (`server`, `timeout`, `dns`), so that a later pass asks again;
  the rest is `robots`.
- Rules are kept for 24 hours, a failure for a minute: long enough for those who wait, short enough for a later pass.
- The first 500 KiB count. A file made to be slow (thousands of robots times thousands of rules, thousands of wildcards)
  is not read: fails closed.
- The cache is bounded by what its files make of memory (robots times lines), not by their number.
- Who waits for a file that another asked for shares it; one that gives up does not take it from the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stepladder.data.download.outcomes import TRANSIENT, Answer
from stepladder.data.download.urls import Url, check

if TYPE_CHECKING:
    from protego import Protego

MOST = 500 << 10  # bytes of a robots.txt that count
KEPT_S = 86400.0
FAILED_S = 60.0
CACHE = 20_000_000  # weight of all rules that are kept: characters, and robots times lines; at most some 500 MB
LEAST = 1000  # what an entry weighs at least
WORK = 1_000_000  # robots times lines that are read: 0.5 CPU-s and 25 MB
WILDCARDS = 5_000  # that are read: 50 CPU-ms for an address
SAME = TRANSIENT | {"tls", "blocked_address"}  # classes that the address itself would get


@dataclass
class _Entry:
    task: asyncio.Task[Protego | Answer | None]
    weight: int = LEAST
    until: float = float("inf")


class Robots:
    """The rules of hosts, cached; `fetch` asks for a robots.txt, redirects included, and never raises for a host."""

    def __init__(self, fetch: Callable[[Url], Awaitable[Answer]], agent: str) -> None:
        self._fetch = fetch
        self._agent = agent
        self._entries: dict[str, _Entry] = {}
        self._weight = 0

    async def forbids(self, url: Url) -> Answer | None:
        """Why `url` is not asked, or None where it may be."""
        rules = await asyncio.shield(self._entry(url).task)
        if isinstance(rules, Answer):
            return replace(rules, url=url.text)
        if rules is not None and not rules.can_fetch(url.text, self._agent):
            return Answer("robots", "forbidden by robots.txt", url=url.text)
        return None

    async def close(self) -> None:
        """Give up what is still being asked."""
        tasks = [entry.task for entry in self._entries.values() if not entry.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _entry(self, url: Url) -> _Entry:
        entry = self._entries.get(url.origin)
        if entry is None or entry.until < time.monotonic():
            self._drop(url.origin)
            entry = _Entry(asyncio.get_running_loop().create_task(self._rules(url.origin)))
            self._entries[url.origin] = entry
            self._weight += entry.weight
        return entry

    def _drop(self, origin: str) -> None:
        entry = self._entries.pop(origin, None)
        self._weight -= entry.weight if entry else 0

    async def _rules(self, origin: str) -> Protego | Answer | None:
        """Rules of an origin, None where it has none, or the answer that all its addresses get."""
        url = check(f"{origin}/robots.txt")
        assert isinstance(url, Url), url  # its origin was checked
        answer = await self._fetch(url)
        text = answer.body.decode("utf-8", "replace").removeprefix("\ufeff")
        rules = _parsed(text) if answer.outcome == "ok" else _missing(answer)
        self._keep(origin, len(text) + min(_work(text), WORK), KEPT_S if not isinstance(rules, Answer) else FAILED_S)
        return rules

    def _keep(self, origin: str, weight: int, seconds: float) -> None:
        entry = self._entries.get(origin)
        if entry is None:
            return
        entry.until = time.monotonic() + seconds
        self._weight += max(weight, LEAST) - entry.weight
        entry.weight = max(weight, LEAST)
        while self._weight > CACHE:
            self._drop(next(iter(self._entries)))  # the oldest


def _missing(answer: Answer) -> Answer | None:
    if answer.status is not None and 400 <= answer.status < 500 and answer.status != 429:
        return None
    outcome = answer.outcome if answer.outcome in SAME else "robots"
    return replace(answer, outcome=outcome, reason=f"robots.txt: {answer.reason}")


def _parsed(text: str) -> Protego | Answer:
    from protego import Protego

    if _work(text) > WORK or text.count("*") > WILDCARDS:
        return Answer("robots", "robots.txt: more robots, rules or wildcards than are read")
    return Protego.parse(text)


def _work(text: str) -> int:
    """Robots times lines: a rule is stored once for every robot of its group."""
    lines = text.splitlines()
    return sum("agent" in line.lower() for line in lines) * len(lines)
