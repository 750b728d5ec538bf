"""Which row may be asked now: a host's connections, its token bucket, the pause it asked for, and when to give it up.

Decisions:
- Nothing here reads a clock: every call is told the time, so that a test needs no second of real waiting.
- A host at its limit holds up nobody: its rows wait in a queue of its own while others go ahead, in the order given.
- The bucket is kept as one number, the time at which it will be full again less its capacity (the generic cell rate
  algorithm): `per_second` begin within a second on average, and at most that many at once after a silence.
- Retry-After holds for the whole host, whichever row was told it. A pause longer than a pass waits, and failures in a
  row that say that the machine is not there, end the pass for the host: its rows are handed back, to be `host_down`.
  In the next pass its first failure ends it again, its first success is taken for a recovery.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field

from stepladder.data.download.outcomes import Answer
from stepladder.data.download.policy import Policy

# What says of the host, not of the file, that it does not work.
FAULTS = frozenset({"connect", "timeout", "dns", "server"})
UNTOLD_PAUSE_S = 2.0  # after a 429 that does not say how long


@dataclass(slots=True)
class Host:
    """What is known of a host: rows that wait (place in the order, number), and what was seen of it."""

    waiting: deque[tuple[int, int]] = field(default_factory=deque[tuple[int, int]])
    flying: int = 0
    full_at: float = 0.0  # when its bucket is full again
    paused: float = 0.0  # until when it asked to be left alone
    failures: int = 0  # in a row
    listed: bool = False  # whether it stands in one of the heaps


class Polite:
    """Rows that wait to be asked, by host.

    Args:
        policy: connections and requests per second of a host, failures in a row until it is given up.
    """

    def __init__(self, policy: Policy):
        self.policy = policy
        self.waiting = 0
        self._interval = 1 / policy.per_second
        self._slack = max(policy.per_second - 1, 0) * self._interval  # how far ahead of its bucket a burst may run
        self._hosts: dict[str, Host] = {}
        self._ready: list[tuple[int, str]] = []
        self._later: list[tuple[float, str]] = []

    def add(self, host: str, place: int, number: int, now: float) -> None:
        """Let a row wait. Rows of one host are asked in the order they were added; of two hosts the lower place first.

        The host "" is what has no host: nobody is asked, so no limit holds.
        """
        self._of(host).waiting.append((place, number))
        self.waiting += 1
        self._list(host, now)

    def pause(self, host: str, until: float) -> None:
        """Leave a host alone until a time."""
        state = self._of(host)
        state.paused = max(state.paused, until)

    def take(self, now: float) -> tuple[str, int] | None:
        """Host and number of the row to ask now, which then counts as asked; None where none may be."""
        while self._later and self._later[0][0] <= now:
            self._relist(heapq.heappop(self._later)[1], now)
        while self._ready:
            host = heapq.heappop(self._ready)[1]
            state = self._hosts[host]
            if not state.waiting or self._able_at(host, state) > now:  # given up or paused since it was listed
                self._relist(host, now)
                continue
            number = state.waiting.popleft()[1]
            self.waiting -= 1
            state.flying += 1
            state.full_at = max(state.full_at, now) + self._interval
            self._relist(host, now)
            return host, number
        return None

    def wakes(self) -> float | None:
        """The next time at which a host may be asked again that now must not; None where no host waits for a time."""
        return self._later[0][0] if self._later else None

    def done(self, host: str, answer: Answer, now: float) -> tuple[list[int], Answer]:
        """Note what a host answered; the rows that are given up in this pass, and what is recorded of them."""
        state = self._hosts[host]
        state.flying -= 1
        state.failures = state.failures + 1 if answer.outcome in FAULTS else 0
        wait = answer.retry_after
        if wait is None and answer.outcome == "too_many":
            wait = UNTOLD_PAUSE_S
        if host and wait is not None:
            self.pause(host, now + wait)
        given_up: list[int] = []
        left = self.resting(host, now)
        if host and not left and state.failures >= self.policy.failures:
            left = Answer("host_down", f"{state.failures} failures of {host} in a row")
        if left:
            given_up = [number for _, number in state.waiting]
            state.waiting.clear()
            self.waiting -= len(given_up)
        self._list(host, now)
        return given_up, left or answer

    def resting(self, host: str, now: float) -> Answer | None:
        """What is recorded of rows of a host that asked for a longer pause than a pass waits; None for any other."""
        state = self._hosts.get(host)
        pause = state.paused - now if state else 0.0
        if pause <= self.policy.longest_wait_s:
            return None
        return Answer("host_down", f"{host} asked for a pause of {pause:.0f} s", retry_after=pause)

    def forget(self, now: float) -> None:
        """Drop hosts that nothing waits for and that are owed no pause; what was seen of them counts no more."""
        idle = [h for h, s in self._hosts.items() if not (s.waiting or s.flying or s.listed)]
        for host in idle:
            if self._able_at(host, self._hosts[host]) <= now:
                del self._hosts[host]

    def _of(self, host: str) -> Host:
        state = self._hosts.get(host)
        if state is None:
            state = self._hosts[host] = Host()
        return state

    def _able_at(self, host: str, state: Host) -> float:
        """The time from which a host may be asked; its connections aside."""
        return max(state.paused, state.full_at - self._slack) if host else 0.0

    def _relist(self, host: str, now: float) -> None:
        self._hosts[host].listed = False
        self._list(host, now)

    def _list(self, host: str, now: float) -> None:
        """Put a host with rows and a free connection where `take` finds it, once."""
        state = self._hosts[host]
        if state.listed or not state.waiting or (host and state.flying >= self.policy.per_host):
            return
        at = self._able_at(host, state)
        if at <= now:
            heapq.heappush(self._ready, (state.waiting[0][0], host))
        else:
            heapq.heappush(self._later, (at, host))
        state.listed = True
