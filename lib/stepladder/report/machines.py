"""The machines that a launched run was on, as its page shows them: what each cost, beside what 04 had forecast.

Decisions:
- Machines are told by their target, a number in the order of use and their card, not by the names of hosts: pages are
  made to be passed on.
- One sentence tells the whole, for the card on top.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from stepladder.core.errors import Damaged
from stepladder.core.run import Run
from stepladder.core.units import counted
from stepladder.launch import costs
from stepladder.launch.history import Attempt, attempts
from stepladder.report import html

SHORT = 8  # letters of a cell that is not broken
BESIDE = ["quantity", "real", "predicted", "low", "high", "verdict"]
SHOWN = ("time", "dollars", "time of other stages")
FORECAST = (
    "Predicted by 04 for the training alone, for the steps that were kept of each machine; real: all that was paid."
)


class Table(NamedTuple):
    """A table of the page."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str


@dataclass(frozen=True)
class Machines:
    """What the machines of a run cost.

    Attributes:
        sentence: the whole, in words: `$9.62, 5 h 00 min on 2 machines (1 of them lost)`.
        tables: the bill, and what it was beside the forecast.
    """

    sentence: str
    tables: list[Table]


def of(run: Run) -> Machines | None:
    """The machines that a run was launched on; None where no machine was taken."""
    told, bill = attempts(run), costs.table(run)
    if bill.empty:
        return None
    tables = [_table("What each machine cost", _bill(told, bill), costs.NOTE), *_beside(run)]
    return Machines(_sentence(told, bill), tables)


def _bill(told: Sequence[Attempt], bill: pd.DataFrame) -> pd.DataFrame:
    """The bill, dollars before hours; what they are made of only where that is more than the machine."""
    shown = costs.readable(bill)
    parts = [name for name in shown.columns if "$" in name]
    shown["machine"] = [*_numbered(told), "all"]
    shown["card"] = [*(one.device.removeprefix("NVIDIA ") for one in told), ""]
    further = [*(["card"] if any(shown["card"]) else []), "GB", *(parts if len(parts) > 1 else [])]
    return shown[["machine", "ending", "dollars", *costs.TIMES, *further]]


def _numbered(told: Sequence[Attempt]) -> list[str]:
    """`box1 #1`, `box1 #2`, `box1 #1`: the target of each machine, and its number in the order of use."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(one.machine for one in told), 1)}
    return [f"{one.machine.partition('/')[0]} #{numbers[one.machine]}" for one in told]


def _sentence(told: Sequence[Attempt], bill: pd.DataFrame) -> str:
    last = bill.iloc[-1]
    paid = f"${last['dollars']:,.2f}" if last["dollars"] else "no price"
    lost = sum(one.ending == "lost" for one in told)
    among = f" ({lost} of them lost)" if lost else ""
    return f"{paid}, {html.duration(last['paid'] * 3600)} on {counted(len(told), 'machine')}{among}"


def _beside(run: Run) -> Iterator[Table]:
    """The bill beside the forecast of 04, or why it cannot be; nothing where 04 has forecast nothing."""
    try:
        found = costs.beside_forecast(run)
        found, note = found.loc[found["quantity"].isin(SHOWN), BESIDE], FORECAST
    except Damaged as error:
        found, note = pd.DataFrame([["it cannot be told"]], columns=["forecast"]), str(error)
    if len(found):
        yield _table("Beside the forecast", found, note)


def _table(title: str, frame: pd.DataFrame, note: str) -> Table:
    """A table in which a number is not parted from its unit."""
    rows = [
        [str(cell).replace(" ", "\u00a0") if len(str(cell)) <= SHORT else str(cell) for cell in row]
        for row in frame.fillna("").itertuples(index=False)
    ]
    return Table(title, [str(name) for name in frame.columns], rows, note)
