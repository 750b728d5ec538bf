"""Blocks whose errors are not those of the others: a fault of this machine in those hours, or a stretch of the list.

A low yield is first a local fault (a resolver that was down, a disk that was full, a decoder without numpy), and such a
fault hits some blocks and not others. A block is suspect where one class took so many of its rows that chance does not
explain it, given how the other blocks fared:

    k of n rows are of the class; P(at least k of n) < CHANCE under a binomial law whose rate is
    min(1, median of the others' shares + SPREADS times 1.4826 times their median absolute deviation), at least 1 / N,

where N is the number of rows of the others. The median and the deviation are robust: one bad block, or three of ten,
hide neither themselves nor each other, and where blocks differ by nature the bar is that much higher. Shares that are
larger by less than LEAST are told by nobody's eye and are left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

CHANCE = 1e-6
SPREADS = 3.0
LEAST = 0.1
GAUSS = 1.4826  # median absolute deviations in a standard deviation of a normal law
FINE = "ok"  # the class whose excess needs no explanation


@dataclass(frozen=True)
class Suspect:
    """A block that departs from the others: `outcome` took `share` of its rows, of the others' a `usual` share."""

    block: int
    outcome: str
    share: float
    usual: float

    def __str__(self) -> str:
        return f"{self.block:05d}: {self.share:.0%} {self.outcome}, the other blocks {self.usual:.0%}"


def suspects(blocks: Mapping[int, Mapping[str, int]]) -> list[Suspect]:
    """Blocks whose error mix departs from the others', the strongest class of each, by block.

    Args:
        blocks: block -> rows by outcome.
    """
    outcomes = sorted({outcome for mix in blocks.values() for outcome in mix} - {FINE})
    rows = {block: sum(mix.values()) for block, mix in blocks.items()}
    found: dict[int, Suspect] = {}
    for outcome in outcomes if len(blocks) > 1 else ():
        shares = {block: mix.get(outcome, 0) / max(rows[block], 1) for block, mix in blocks.items()}
        for block, share in shares.items():
            others = [value for other, value in shares.items() if other != block]
            usual = median(others)
            excess = share - usual
            if excess < LEAST or (block in found and excess <= found[block].share - found[block].usual):
                continue
            spread = GAUSS * median(abs(value - usual) for value in others)
            rate = min(1.0, max(usual + SPREADS * spread, 1 / max(sum(rows.values()) - rows[block], 1)))
            if _chance(blocks[block].get(outcome, 0), rows[block], rate) < CHANCE:
                found[block] = Suspect(block, outcome, share, usual)
    return [found[block] for block in sorted(found)]


def _chance(hits: int, rows: int, rate: float) -> float:
    """Probability of at least `hits` of `rows` under a binomial law."""
    from scipy.special import bdtrc

    return float(bdtrc(hits - 1, rows, rate)) if hits else 1.0
