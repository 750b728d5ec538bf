"""The plan linter: contradictions between the numbers of a plan, found before money is spent.

Decisions:
- Every rule derives a number from the others and holds it against the one that is written; a rule whose numbers are
  missing says nothing. So a plan made of consistent numbers has no finding, however it is rounded (`ROUNDING`).
- A finding names both numbers and the right one. What may be written in a plan: `plan_numbers.py`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from stepladder.cost.offers import young_interval
from stepladder.cost.plan_numbers import (
    ROUNDING,
    Plan,
    Range,
    Setup,
    apart,
    compute_hours,
    differ,
    in_hours,
    parse,
    percent,
    read,
    samples_per_hour,
    shown,
    step_seconds,
    steps_per_epoch,
    times,
    total_steps,
)

SAVING = 0.10  # saving that takes more than this share of the time of computing belongs into the plan's hours


@dataclass(frozen=True)
class Finding:
    """One contradiction: where it is, what the plan says, what follows from its other numbers, and which is right."""

    where: str
    said: str
    follows: str
    right: str


def lint(plan: dict[str, Any] | Plan) -> list[Finding]:
    """Every contradiction in a plan, setup by setup, then those between setups."""
    plan = plan if isinstance(plan, Plan) else parse(plan)
    found = [f for name, setup in plan.setups.items() for rule in ALONE for f in rule(name, setup)]
    for name, setup in plan.setups.items():
        if setup.against:
            found += [f for rule in PAIRED for f in rule(name, setup, plan.setups[setup.against])]
    return [*found, *_scaling(plan), *_cheapest(plan), *_no_stop(plan)]


def main(path: Path) -> int:
    """Print the findings of a plan as a table; returns 0 without any, else 1."""
    plan = read(path)
    findings = lint(plan)
    table = Table("where", "the plan says", "from its other numbers", "right", title=plan.name, title_justify="left")
    for f in findings:
        table.add_row(f.where, f.said, f.follows, f.right, end_section=True)
    console = Console(highlight=False)
    if findings:
        console.print(table)
    console.print(f"{len(findings)} contradiction{'' if len(findings) == 1 else 's'} in {plan.name}", soft_wrap=True)
    return 1 if findings else 0


# Rules of one setup ---------------------------------------------------------------------------------------------------


def _epoch_steps(name: str, setup: Setup) -> Iterator[Finding]:
    counted = steps_per_epoch(setup)
    if counted and setup.steps_per_epoch and differ(setup.steps_per_epoch, counted):
        why = f"{setup.samples:,} samples at batch {setup.batch} are {counted:,} steps"
        yield Finding(name, f"{setup.steps_per_epoch:,} steps per epoch", why, f"{counted:,} steps per epoch")


def _steps(name: str, setup: Setup) -> Iterator[Finding]:
    per_epoch = steps_per_epoch(setup)
    if setup.steps and per_epoch and setup.epochs and differ(setup.steps, per_epoch * setup.epochs):
        counted = per_epoch * setup.epochs
        why = f"{setup.epochs} epochs of {per_epoch:,} steps are {counted:,}"
        yield Finding(name, f"{setup.steps:,} steps", why, f"{counted:,} steps")


def _step_time(name: str, setup: Setup) -> Iterator[Finding]:
    seconds = step_seconds(setup)
    if setup.steps_per_hour and seconds and setup.seconds_per_step and apart(setup.seconds_per_step, seconds):
        right = f"{shown(seconds)} s per step"
        why = f"{shown(setup.steps_per_hour)} steps per hour are {right}"
        yield Finding(name, f"{shown(setup.seconds_per_step)} s per step", why, right)


def _epoch_hours(name: str, setup: Setup) -> Iterator[Finding]:
    steps, seconds = steps_per_epoch(setup), step_seconds(setup)
    if setup.hours_per_epoch and steps and seconds:
        right = times(seconds, steps / 3600)
        if apart(setup.hours_per_epoch, right):
            why = f"{steps:,} steps of {shown(seconds)} s are {in_hours(right)}"
            yield Finding(name, f"{in_hours(setup.hours_per_epoch)} per epoch", why, f"{in_hours(right)} per epoch")


def _hours_in_all(name: str, setup: Setup) -> Iterator[Finding]:
    right = compute_hours(setup)
    if right and setup.hours and apart(setup.hours, right):
        steps, seconds = total_steps(setup), step_seconds(setup)
        parts = f"{steps:,} steps of {shown(seconds)} s" if steps and seconds else f"{setup.epochs} epochs"
        yield Finding(
            name, f"{in_hours(setup.hours)} in all", f"{parts} are {in_hours(right)}", f"{in_hours(right)} in all"
        )


def _dollars(name: str, setup: Setup) -> Iterator[Finding]:
    if setup.dollars and setup.hours and setup.dollars_per_hour:
        right = times(setup.hours, setup.dollars_per_hour)
        if apart(setup.dollars, right):
            why = f"{in_hours(setup.hours)} at ${setup.dollars_per_hour:g}/h are ${shown(right)}"
            yield Finding(name, f"${shown(setup.dollars)}", why, f"${shown(right)}")


def _checkpoints(name: str, setup: Setup) -> Iterator[Finding]:
    steps, compute = total_steps(setup), compute_hours(setup)
    if not (steps and compute and setup.checkpoint_every and setup.checkpoint_minutes):
        return
    count = steps // setup.checkpoint_every
    saving = times(setup.checkpoint_minutes, count / 60)
    if saving[1] > SAVING * compute[1]:
        minutes, seconds = sum(setup.checkpoint_minutes) / 2, 3600 * sum(compute) / 2 / steps
        best = young_interval(60 * minutes, 3600 * setup.interruption_hours)
        hours = sum(compute) / 2 * 60 * minutes / best
        yield Finding(
            name,
            f"a checkpoint every {setup.checkpoint_every:,} steps, {shown(setup.checkpoint_minutes)} min each",
            f"{count:,} checkpoints take {in_hours(saving)}, against {in_hours(compute)} of computing",
            f"one every {best / seconds:,.0f} steps ({hours:.1f} h in all), if interrupted once in "
            f"{setup.interruption_hours:g} h",
        )


# Rules between two setups ---------------------------------------------------------------------------------------------


def _speedup_said(name: str, setup: Setup, base: Setup) -> Iterator[Finding]:
    implied, ours, theirs = _implied_speedup(setup, base), samples_per_hour(setup), samples_per_hour(base)
    if setup.speedup and ours and theirs and implied and apart(setup.speedup, implied):
        rates = f"{shown(ours)} samples/h against {shown(theirs)}"
        said = f"{shown(setup.speedup)} times faster than {setup.against}"
        yield Finding(name, said, f"{rates} are {shown(implied)} times", f"{shown(implied)} times by these step times")


def _speedup_possible(name: str, setup: Setup, base: Setup) -> Iterator[Finding]:
    """Loader processes speed up what they do by their number, and what the training process does not at all."""
    claimed = _implied_speedup(setup, base) or setup.speedup
    if not (claimed and base.slow and setup.workers is not None and base.workers is not None):
        return
    workers, before = max(1, setup.workers), max(1, base.workers)
    most = workers / before if base.slow == "loader" else 1.0
    if base.slow == "step" and setup.workers == base.workers:
        return  # whatever makes the step faster, it is not claimed of the workers
    if claimed[0] <= most * (1 + ROUNDING):
        return
    reason = (
        f"{workers} loader processes instead of {before} are at most {most:.3g} times"
        if base.slow == "loader"
        else "the time goes to the training process, where loader processes change nothing"
    )
    gain, limit = f"at most {most:.3g} times" if most > 1 else "no faster", compute_hours(base)
    if limit:
        gain += (", " if most > 1 else ": ") + f"{in_hours(times(limit, 1 / most))} in all or more"
    yield Finding(name, f"{shown(claimed)} times the samples per hour of {setup.against}", reason, gain)


def _more_data(name: str, setup: Setup, base: Setup) -> Iterator[Finding]:
    """On one GPU of one kind, hours grow with the data unless epochs shrink."""
    alike = setup.gpu is not None and (setup.gpu, setup.gpus) == (base.gpu, base.gpus)
    if not (alike and setup.data and base.data and setup.hours and base.hours):
        return
    more = setup.data / base.data * (setup.epochs / base.epochs if setup.epochs and base.epochs else 1)
    right = times(base.hours, more)
    if apart(setup.hours, right):
        ratio = setup.hours[0] / base.hours[1], setup.hours[1] / base.hours[0]
        price = setup.dollars_per_hour
        cost = f", ${shown(times(right, price))}" if price else ""
        yield Finding(
            name,
            f"{in_hours(setup.hours)}, {shown(ratio)} times those of {setup.against}",
            f"{more:.3g} times the samples of {in_hours(base.hours)}",
            f"{in_hours(right)}{cost}, or say how many epochs fewer",
        )


# Rules of the whole plan ----------------------------------------------------------------------------------------------


def _scaling(plan: Plan) -> Iterator[Finding]:
    """Several GPUs against one of the same kind on the same data: the efficiency that the hours imply."""
    for name, setup in plan.setups.items():
        if setup.gpus == 1 or not (setup.gpu and setup.hours):
            continue
        for single in (s for s in plan.setups.values() if s.gpus == 1 and s.gpu == setup.gpu and _same_job(s, setup)):
            if not single.hours:
                continue
            low, high = sorted(one / (setup.gpus * many) for one, many in zip(single.hours, setup.hours, strict=True))
            stated = setup.efficiency or (1.0, 1.0)
            if apart(stated, (low, high)):
                said = f"{percent(setup.efficiency)} of linear" if setup.efficiency else "no word on efficiency"
                hours = f"{in_hours(single.hours)} on one, {in_hours(setup.hours)} on {setup.gpus}"
                implied = f"{percent((low, high))} of linear scaling"
                right = f"count on {implied} and measure it" if high <= 1 else "more than linear: hours are wrong"
                yield Finding(name, said, f"{hours}: {implied}", right)


def _cheapest(plan: Plan) -> Iterator[Finding]:
    """The setup recommended for its cost against the others of the same job."""
    if plan.cheapest is None:
        return
    chosen = plan.setups[plan.cheapest]
    alike = {name: s for name, s in plan.setups.items() if s is not chosen and _same_job(s, chosen)}
    others = {name: setup.dollars for name, setup in alike.items() if setup.dollars}
    if chosen.dollars and others:
        name = min(others, key=lambda other: sum(others[other]))
        if sum(others[name]) < sum(chosen.dollars) * (1 - ROUNDING):
            said = f"recommended for its cost: ${shown(chosen.dollars)}"
            cheaper = f"{name} does it for ${shown(others[name])}"
            yield Finding(plan.cheapest, said, cheaper, f"{name} is the cheapest; this one may be the fastest")


def _no_stop(plan: Plan) -> Iterator[Finding]:
    for tuning in plan.tuning:
        if not tuning.stop.strip():
            follows = "no number of tries and no gain that ends it"
            yield Finding(f"tuning {tuning.knob}", "it is to be optimised", follows, "say when to stop")


Rule = Callable[..., Iterator[Finding]]
ALONE: tuple[Rule, ...] = (_epoch_steps, _steps, _step_time, _epoch_hours, _hours_in_all, _dollars, _checkpoints)
PAIRED: tuple[Rule, ...] = (_speedup_said, _speedup_possible, _more_data)


def _implied_speedup(setup: Setup, base: Setup) -> Range | None:
    """Samples per hour over those of `base`, as a range; None where a number is missing."""
    ours, theirs = samples_per_hour(setup), samples_per_hour(base)
    return (ours[0] / theirs[1], ours[1] / theirs[0]) if ours and theirs else None


def _same_job(one: Setup, other: Setup) -> bool:
    return (one.data, one.samples, one.epochs) == (other.data, other.samples, other.epochs)
