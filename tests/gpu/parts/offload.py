"""Activations that wait in host memory: is the peak lower, the step the same to the last bit, and at what price?"""

from typing import Any

import torch

from tests.benchmarks import bench_offload
from tests.gpu import place as p

LEAST = 0.3  # of the peak of a plain step that offload must save on a card
WAYS = ("offloaded", "recomputed", "both")


def measure(place: p.Place) -> tuple[dict[str, Any], list[p.Check]]:
    """Of each way: milliseconds, and bytes that stay, move and, on a card, are the peak."""
    rows = bench_offload.measure(torch.device(place.device), bench_offload.ROUNDS if place.cuda else 1)
    ways = {row.pop("way"): row for row in rows}
    plain = ways["plain"]
    equal = [name for name in WAYS if ways[name]["equal"]]
    checks = [p.Check("the same losses and gradients", len(equal) == len(WAYS), f"equal: {', '.join(equal)}")]
    if place.cuda:
        told = {
            name: f"{ways[name]['peak'] / plain['peak']:.0%} for {ways[name]['ms'] / plain['ms']:.2f} x"
            for name in WAYS
        }
        saved = 1 - ways["offloaded"]["peak"] / plain["peak"]
        said = (
            f"of {plain['peak'] / 1e9:.1f} GB: {', '.join(f'{name} {words} the time' for name, words in told.items())}"
        )
        checks.append(p.Check("offload saves memory", saved >= LEAST, said))
    return ways, checks
