"""The numbers of a plan: what may be written down, and what follows from it.

Decisions:
- A plan is a YAML file: named setups (a machine, a setting, a job), each with as many of its numbers as are known. A
  number may be one value or a range `[low, high]`; prices are of the whole machine.
- What can be counted wins over what was written: steps from samples and batch, hours from measured steps per hour.
"""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from stepladder.core.config import ParameterError, check, nearest, read_yaml
from stepladder.core.schema import Section

ROUNDING = 0.05  # written numbers are rounded: "about 20 h" for 19.2 h is no contradiction
Range = tuple[float, float]


def _range(value: Any) -> Any:
    """A number as a range of one, a list of two as a range."""
    if value is None or isinstance(value, tuple):
        return value
    ends = value if isinstance(value, list) else [value, value]
    numeric = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    if not (numeric and len(ends) == 2 and 0 < ends[0] <= ends[1]):
        raise ValueError("write a number above zero, or a range [low, high] of two")
    return float(ends[0]), float(ends[1])


Numbers = Annotated[Range, BeforeValidator(_range)]


class Setup(Section):
    """One way to do one job, as the plan has it. Leave out what the plan does not say."""

    samples: int | None = Field(None, ge=1, description="samples of one epoch")
    data: float | None = Field(None, gt=0, description="amount of data, in any unit that all setups share")
    batch: int | None = Field(None, ge=1, description="samples per optimizer step")
    epochs: int | None = Field(None, ge=1, description="passes over the samples")
    steps: int | None = Field(None, ge=1, description="optimizer steps of the whole training")
    steps_per_epoch: int | None = Field(None, ge=1, description="optimizer steps of one epoch, as written")
    steps_per_hour: Numbers | None = Field(None, description="optimizer steps per hour, measured")
    seconds_per_step: Numbers | None = Field(None, description="seconds of one optimizer step, as written")
    hours_per_epoch: Numbers | None = Field(None, description="hours of one epoch, as written")
    hours: Numbers | None = Field(None, description="hours of the whole training, as written")
    gpu: str | None = Field(None, description="kind of GPU; setups of one kind are compared")
    gpus: int = Field(1, ge=1, description="number of GPUs")
    efficiency: Numbers | None = Field(None, description="share of linear scaling over GPUs that the plan counts on")
    dollars_per_hour: float | None = Field(None, gt=0, description="price of the whole machine, in dollars per hour")
    dollars: Numbers | None = Field(None, description="dollars of the whole training, as written")
    checkpoint_every: int | None = Field(None, ge=1, description="optimizer steps between checkpoints")
    checkpoint_minutes: Numbers | None = Field(None, description="minutes that one checkpoint stalls training")
    interruption_hours: float = Field(24.0, gt=0, description="mean hours between interruptions")
    workers: int | None = Field(None, ge=0, description="loader processes")
    slow: Literal["loader", "step"] | None = Field(
        None, description="what the time goes to: samples made by loader processes, or the training process itself"
    )
    against: str | None = Field(None, description="setup that this one is compared with")
    speedup: Numbers | None = Field(None, description="times more samples per hour than `against`, as written")


class Tuning(Section):
    """Something the plan wants to improve by trying."""

    knob: str = Field(description="what is tried, as `workers`")
    stop: str = Field("", description="when trying ends: a number of tries, or a gain below which it is not worth it")


class Plan(Section):
    """The numbers of a plan."""

    name: str = Field(description="shown above the findings")
    setups: dict[str, Setup] = Field(min_length=1, description="name -> setup")
    cheapest: str | None = Field(None, description="setup that the plan recommends for its cost")
    tuning: list[Tuning] = Field([], description="what is to be tuned")


def read(path: Path) -> Plan:
    """The plan in a YAML file; `ParameterError` naming what cannot be used and the nearest known key."""
    return parse(read_yaml(path))


def parse(values: dict[str, Any]) -> Plan:
    """A plan from plain values; `ParameterError` naming what cannot be used, or a setup that is named and not there."""
    setups = values.get("setups")
    for name, setup in setups.items() if isinstance(setups, dict) else ():
        try:
            check(Setup, setup)
        except ParameterError as error:
            raise ParameterError(f"setup {name!r}: {error}") from None
    plan = check(Plan, values)
    named = [plan.cheapest, *(setup.against for setup in plan.setups.values())]
    for name in named:
        if name is not None and name not in plan.setups:
            raise ParameterError(f"the plan names a setup {name!r}{nearest(name, plan.setups)}")
    return plan


# What follows from the numbers of one setup ---------------------------------------------------------------------------


def steps_per_epoch(setup: Setup) -> int | None:
    """Optimizer steps of an epoch: counted from samples and batch where both are known, else as written."""
    if setup.samples and setup.batch:
        return math.ceil(setup.samples / setup.batch)
    return setup.steps_per_epoch


def total_steps(setup: Setup) -> int | None:
    """Optimizer steps of the training: as written, else from those of an epoch."""
    per_epoch = steps_per_epoch(setup)
    return setup.steps or (per_epoch * setup.epochs if per_epoch and setup.epochs else None)


def step_seconds(setup: Setup) -> Range | None:
    """Seconds of an optimizer step: from measured steps per hour where they are known, else as written."""
    if setup.steps_per_hour:
        slow, fast = setup.steps_per_hour
        return 3600 / fast, 3600 / slow
    return setup.seconds_per_step


def compute_hours(setup: Setup) -> Range | None:
    """Hours of the training: from steps and their seconds, else from those of an epoch, else as written."""
    steps, seconds = total_steps(setup), step_seconds(setup)
    if steps and seconds:
        return times(seconds, steps / 3600)
    if setup.hours_per_epoch and setup.epochs:
        return times(setup.hours_per_epoch, setup.epochs)
    return setup.hours


def samples_per_hour(setup: Setup) -> Range | None:
    """Samples per hour, from seconds per step and batch."""
    seconds = step_seconds(setup)
    return (3600 * setup.batch / seconds[1], 3600 * setup.batch / seconds[0]) if seconds and setup.batch else None


# How numbers are held against each other and shown --------------------------------------------------------------------


def differ(said: float, right: float) -> bool:
    """Whether a written number is another than the right one, beyond rounding."""
    return abs(said / right - 1) > ROUNDING


def apart(said: Range, right: Range) -> bool:
    """Whether no number of one range is, by rounding, a number of the other."""
    return said[1] < right[0] * (1 - ROUNDING) or said[0] > right[1] * (1 + ROUNDING)


def times(numbers: Range, factor: float) -> Range:
    """A range with both ends scaled by `factor`."""
    return numbers[0] * factor, numbers[1] * factor


def shown(numbers: Range) -> str:
    """A range in words: `6-10`, or `6` where both ends read the same."""
    low, high = (f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}" for number in numbers)
    return low if low == high else f"{low}-{high}"


def percent(numbers: Range) -> str:
    """A range of shares in words: `67-75%`."""
    low, high = (f"{number:.0%}" for number in numbers)
    return low if low == high else f"{low[:-1]}-{high}"


def in_hours(numbers: Range) -> str:
    """A range of hours in words, in days where there are many."""
    days = f" ({shown(times(numbers, 1 / 24))} days)" if numbers[0] > 72 else ""
    return f"{shown(numbers)} h{days}"
