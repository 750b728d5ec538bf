"""In which order the rows of a window are asked: hosts interleaved, each spread evenly over the whole of it.

Lists come sorted by host, or with one host in every sixteenth row. Read front to back they send a burst to one machine
and then wait for it. Here every host has its due share at every moment, so the largest begins at once, runs at the rate
it is allowed from the first to the last second, and is never the tail that everything waits for.

The rule is that of fair queues: of W rows, n of one host, row k belongs between the places k W / n and (k + 1) W / n,
and at every place the row whose span ends first is taken. Such a schedule always exists (taking the earliest deadline
finds it), so among any L rows in a row at most L n / W + 3 are of one host. Ties fall by the seed.
"""

import heapq
import random
from collections.abc import Sequence


def interleaved(hosts: Sequence[str], seed: str) -> list[int]:
    """Every index of `hosts` once, so that equal hosts lie evenly apart; those of one host stay in their order."""
    of_host: dict[str, list[int]] = {}
    for index, host in enumerate(hosts):
        of_host.setdefault(host, []).append(index)
    count, draws = len(hosts), random.Random(seed)
    groups = list(of_host.values())
    draws.shuffle(groups)
    # (place from which it may come, place before which it must, tie, index)
    waiting = [
        (k * count // len(group), -(-(k + 1) * count // len(group)), tie, index)
        for tie, group in enumerate(groups)
        for k, index in enumerate(group)
    ]
    waiting.sort()
    order: list[int] = []
    coming, due = iter(waiting), []
    ahead = next(coming, None)
    for place in range(count):
        while ahead is not None and ahead[0] <= place:
            heapq.heappush(due, ahead[1:])
            ahead = next(coming, None)
        order.append(heapq.heappop(due)[-1])
    return order
