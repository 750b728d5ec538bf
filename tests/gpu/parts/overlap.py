"""Do copies to the card hide behind its computing? By events: on a stream of their own, and as training makes them.

Training copies pinned memory without waiting, on the stream that computes: the host is free at once, while the card
copies and computes in turn. What a stream of its own would gain is the difference of the two.
"""

from collections.abc import Callable
from typing import Any

import torch

from stepladder.training.step import to_device
from tests.gpu import place as p

BYTES = 256 << 20
SIDE = 4096
ROUNDS = 10
HIDDEN = 0.8  # share of the shorter of the two that a stream of its own must hide


def measure(place: p.Place) -> tuple[dict[str, Any], list[p.Check]]:
    """Milliseconds of copying, of computing, and of both in three ways."""
    place.need_card("copies between two memories")
    device = torch.device("cuda")
    pinned, pageable = torch.zeros(BYTES, dtype=torch.uint8).pin_memory(), torch.zeros(BYTES, dtype=torch.uint8)
    a = torch.randn(SIDE, SIDE, device=device)
    copy = milliseconds(lambda: pinned.to(device, non_blocking=True))
    slow = milliseconds(lambda: pageable.to(device, non_blocking=True))
    times = max(1, round(copy / milliseconds(lambda: a @ a)))  # as long as a copy

    def compute() -> None:
        for _ in range(times):
            a @ a

    side = torch.cuda.Stream()

    def apart() -> None:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            pinned.to(device, non_blocking=True)
        compute()
        torch.cuda.current_stream().wait_stream(side)

    def as_training() -> None:
        to_device({"x": pinned}, device)
        compute()

    alone, both, training = milliseconds(compute), milliseconds(apart), milliseconds(as_training)
    hidden, own = ((alone + copy - spent) / min(alone, copy) for spent in (both, training))
    waits = host_waits(lambda: to_device({"x": pinned}, device))
    figures = {
        "copy_ms": copy,
        "pageable_ms": slow,
        "compute_ms": alone,
        "both_ms": both,
        "training_ms": training,
        "hidden": hidden,
        "hidden_in_training": own,
        "pinned_gb_s": BYTES / copy / 1e6,
        "host_waits_ms": waits,
    }
    gb_s = f"{figures['pinned_gb_s']:.0f} GB/s pinned, {BYTES / slow / 1e6:.0f} GB/s pageable"
    return figures, [
        p.Check("a stream of its own hides copies", hidden >= HIDDEN, f"{hidden:.0%} hidden; {gb_s}"),
        p.Check(
            "training's copy lets the host go on", waits < copy / 2, f"{waits:.2f} of {copy:.2f} ms; {own:.0%} hidden"
        ),
    ]


def milliseconds(work: Callable[[], Any]) -> float:
    """Mean of some rounds, by events, after one that does not count."""
    work()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(ROUNDS):
        work()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / ROUNDS


def host_waits(work: Callable[[], Any]) -> float:
    """Milliseconds until the host goes on."""
    import time

    torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    spent = 1e3 * (time.perf_counter() - begin)
    torch.cuda.synchronize()
    return spent
