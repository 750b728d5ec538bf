"""What a row of results says, and the comparisons that decide whether a lead is one.

Decisions:
- Where somebody else answers the same question, the target is the strongest of them, and a lead counts when it is
  clear: intervals apart where there are intervals, else more than CLEAR of the value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stepladder.dev import measured as m

Record = dict[str, Any]
CLEAR = 0.05


@dataclass(frozen=True)
class Row:
    """One row of the results.

    Attributes:
        record: name of the record.
        what: what was measured.
        target: what was aimed at, in words.
        say: how the record says what was measured.
        met: whether the record meets the target; None where the target names no threshold.
        absolute: whether what is said depends on the machine.
        headline: whether it stands in README; all rows stand on the page of results.
    """

    record: str
    what: str
    target: str
    say: m.Say
    met: Callable[[Record], bool] | None
    absolute: bool = False
    headline: bool = False


def above(metric: str, seconds: tuple[str, ...] = ("",)) -> Callable[[Record], bool]:
    """Whether ours leads the strongest rival clearly by a metric of which more is better, at every horizon."""

    def met(record: Record) -> bool:
        for second in seconds:
            ours, best = m.methods(record, metric + second)["model"], m.strongest(record, metric + second)
            if ours["low"] is not None and ours["low"] <= best["high"]:
                return False
            if ours["value"] <= best["value"] * (1 + CLEAR):
                return False
        return True

    return met


def below(task: str, ours: str = "operator", key: str = "nrmse", but: str = "operator") -> Callable[[Record], bool]:
    """Whether ours is clearly below every other method of a task, in every group; `but` begins names that are ours."""

    def met(record: Record) -> bool:
        return all(
            values[ours] < (1 - CLEAR) * value
            for values in m.groups(record, task, key).values()
            for name, value in values.items()
            if not name.startswith(but)
        )

    return met
