"""What a launched job does with its money: which machine next, how often to save, when to stop, when to give up.

Decisions:
- One pure function a decision; the supervisor here, the agent on the box and the fake market of the tests call it.
- What takes machines away is learnt. The prior (the target's, else the price table's) weighs as one loss seen. With
  rate ~ Gamma(1, M) before, after `losses` in `hours` the mean rate is (1 + losses) / (M + hours), and its inverse is
  taken as the mean hours between losses.
- The next machine is the one expected to finish for the fewest dollars among those that can within the limits; in
  those dollars are its setting up, saving, repeating and restarting. Where nothing is paid it is time that counts, and
  where no speeds are known the order of the hosts. Where none can finish, the one that gets furthest.
- A stage that fails for a reason of its own, or runs out of memory, would do so again: money is not spent on that.
  What a machine did to it (taken, lost, stuck, bad) is tried elsewhere. Only losses in a row between which no
  checkpoint was won are limited: where machines last for 6 h, work of 30 h meets 5 and more losses and ends well, while
  a loop that pays for nothing ends soon. What a job that gets on may cost, budget and hours limit.
- Asked once a heartbeat, `may_go_on` keeps a job within its budget, or passes it by one heartbeat's cost at most.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

from stepladder.cost.offers import best_interval, preemption_loss

PRIOR = 1.0  # losses that the prior weighs as
REFUTED = 168.0  # prior hours of a machine that was said never to be lost, once it has been
FIRST_WAIT, LONGEST_WAIT = 2.0, 600.0  # seconds before the next machine is tried
SHORTEST_SAVE = 1e-3  # seconds: what a checkpoint costs at least
HOUR = 3600.0

Ending = Literal[
    "done", "failed", "oom", "preempted", "lost", "stuck", "budget", "hours", "stopped", "bad machine", "never started"
]
OWN = {
    "failed": "it failed for a reason of its own, which another machine would not mend",
    "oom": "it ran out of memory, which it would on another machine too: lower the batch, or take a card with more",
    "budget": "its budget is spent",
    "hours": "its hours are spent",
    "stopped": "it was stopped",
}


@dataclass(frozen=True)
class Hazard:
    """How often a machine is lost.

    Attributes:
        prior: mean hours until it is taken, as its target or the price table says; None: never.
        hours, losses: hours that it has run, and how often it was lost.
    """

    prior: float | None = None
    hours: float = 0.0
    losses: int = 0

    @property
    def between(self) -> float | None:
        """Mean hours between losses; None where it is never lost."""
        if self.prior is None and not self.losses:
            return None
        return (PRIOR * (self.prior or REFUTED) + self.hours) / (PRIOR + self.losses)

    def seen(self, hours: float, losses: int = 0) -> "Hazard":
        """The hazard after so many more hours of running and so many losses."""
        return replace(self, hours=self.hours + hours, losses=self.losses + losses)


def interval(save: float, restart: float, hazard: Hazard) -> float | None:
    """Seconds from one checkpoint to the next that lose least; None where nothing is lost: steps decide alone.

    Args:
        save: seconds of one checkpoint, measured where they can be.
        restart: seconds from a loss to the same step on another machine.
        hazard: of the machine.
    """
    between = hazard.between
    return None if between is None else best_interval(max(save, SHORTEST_SAVE), restart, HOUR * between)


@dataclass(frozen=True)
class Account:
    """What a job may use in all, and what it has used.

    Attributes:
        budget, hours: dollars and hours of machines that it may use; None: no limit.
        spent, used: dollars and hours so far, over all attempts.
    """

    budget: float | None = None
    hours: float | None = None
    spent: float = 0.0
    used: float = 0.0

    @property
    def dollars_left(self) -> float:
        """Dollars that may still be spent."""
        return math.inf if self.budget is None else max(0.0, self.budget - self.spent)

    @property
    def hours_left(self) -> float:
        """Hours of machines that may still be used."""
        return math.inf if self.hours is None else max(0.0, self.hours - self.used)

    def lasts(self, price: float) -> float | None:
        """Hours after which a machine at this price ends itself, whoever still watches it; None: never."""
        hours = min(self.hours_left, self.dollars_left / price if price else math.inf)
        return hours if math.isfinite(hours) else None


def may_go_on(account: Account, price: float, ending: float, heartbeat: float) -> str:
    """Why a running job has to stop now, beginning with `budget` or `hours`; empty while it may go on.

    Args:
        account: what it has used.
        price: dollars per hour of the machine.
        ending: seconds from a stop until all is safe, two checkpoints among them: it may come in the middle of one.
        heartbeat: seconds until this is asked again.
    """
    needed = (heartbeat + ending) / HOUR
    if account.budget is not None and account.spent + needed * price > account.budget:
        return (
            f"budget: ${account.spent:.2f} of ${account.budget:.2f} are spent, and to the next safe checkpoint it "
            f"would be ${account.spent + needed * price:.2f}"
        )
    if account.hours is not None and account.used + needed > account.hours:
        return f"hours: {account.used:.2f} of {account.hours:.2f} h are used"
    return ""


@dataclass(frozen=True)
class Machine:
    """A machine that could be taken next.

    Attributes:
        name: TARGET/HOST.
        price: dollars per hour, its disk included.
        hazard: how often it is lost.
        rate: samples, or steps, per second that are expected of it, or were measured; None where nothing tells.
        setup: seconds from taking it to the first step.
        fee: dollars that taking it costs beside that, as traffic does.
        bad: why it is not taken (see `ledger.known_bad`); empty where it may be.
    """

    name: str
    price: float = 0.0
    hazard: Hazard = Hazard()
    rate: float | None = None
    setup: float = 0.0
    fee: float = 0.0
    bad: str = ""


@dataclass(frozen=True)
class Work:
    """What is left to do.

    Attributes:
        samples: samples left, or steps, as speeds are counted in; None where nothing tells.
        save: seconds of one checkpoint.
    """

    samples: float | None = None
    save: float = 30.0


class Estimate(NamedTuple):
    """What finishing on one machine is expected to take; infinite nowhere, though its loss may come first."""

    machine: Machine
    hours: float
    dollars: float


class Choice(NamedTuple):
    """The machine to take, None where there is none; and why, in words."""

    machine: Machine | None
    why: str


def estimate(machine: Machine, work: Work, rate: float) -> Estimate:
    """Hours and dollars to finish on a machine, or on ones like it after a loss.

    Args:
        machine: where.
        work: what is left; an hour of it where that is unknown, so that machines can be compared.
        rate: samples per second there.
    """
    hours = 1.0 if work.samples is None else work.samples / rate / HOUR
    between = machine.hazard.between
    if between is not None:
        hours *= 1 + preemption_loss(max(work.save, SHORTEST_SAVE), machine.setup, HOUR * between)
    hours += machine.setup / HOUR
    return Estimate(machine, hours, hours * machine.price + machine.fee)


def choose(machines: Sequence[Machine], work: Work, account: Account | None = None, lost: str = "") -> Choice:
    """Which machine to take next.

    Args:
        machines: those that can be had now, best first where nothing else tells them apart.
        work: what is left to do.
        account: limits, and what is used of them.
        lost: name of the machine that was lost just now: it comes last.
    """
    account = account or Account()
    left_out = [f"{machine.name} is left out ({machine.bad})" for machine in machines if machine.bad]
    sound = [machine for machine in machines if not machine.bad]
    affordable = [machine for machine in sound if _pays_for_a_start(machine, work, account)]
    if not affordable:
        few = f"${account.dollars_left:.2f} and {account.hours_left:.3g} h that are left pay for no start"
        return Choice(None, "; ".join([few if sound else "no machine can be had", *left_out]))
    others = [machine for machine in affordable if machine.name != lost] or affordable
    usual = statistics.median([machine.rate for machine in others if machine.rate] or [1.0])
    told = [estimate(machine, work, machine.rate or usual) for machine in others]
    able = [one for one in told if one.dollars <= account.dollars_left and one.hours <= account.hours_left]
    best = min(able, key=lambda one: (one.dollars, one.hours)) if able else max(told, key=lambda o: _share(o, account))
    return Choice(best.machine, "; ".join([_because(best, bool(able), work, len(told)), *left_out]))


def _pays_for_a_start(machine: Machine, work: Work, account: Account) -> bool:
    """Whether what is left pays for setting up and for one checkpoint after it."""
    hours = (machine.setup + 2 * work.save) / HOUR
    return hours * machine.price + machine.fee <= account.dollars_left and hours <= account.hours_left


def _share(one: Estimate, account: Account) -> float:
    """Share of what is left to do that the limits pay for."""
    hours = min(account.hours_left, (account.dollars_left - one.machine.fee) / max(one.machine.price, 1e-9))
    setup = one.machine.setup / HOUR
    return (hours - setup) / max(one.hours - setup, 1e-9)


def _because(best: Estimate, able: bool, work: Work, among: int) -> str:
    """A choice in words."""
    machine = best.machine
    if work.samples is None or (not machine.price and not machine.rate):
        return f"{machine.name}: {'the cheapest' if machine.price else 'the first'} that can be had"
    told = f"about {best.hours:.2g} h and ${best.dollars:.2f} to finish"
    between = machine.hazard.between
    told += f", lost every {between:.2g} h" if between is not None else ""
    if not able:
        return f"{machine.name}: gets furthest within the limits, which do not pay for the end ({told})"
    return f"{machine.name}: {told}" + (f", the least of {among}" if among > 1 else "")


def count(losses: int, progressed: bool) -> int:
    """Losses in a row after one more, as `what_next` wants them counted.

    Args:
        losses: as they were counted before.
        progressed: whether a checkpoint further than all before was won on the machine that is lost.
    """
    return 1 if progressed else losses + 1


def backoff(losses: int) -> float:
    """Seconds to wait before the next machine is tried: doubled with every loss in a row, up to ten minutes."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(losses - 1, 32)) if losses > 0 else 0.0


class Next(NamedTuple):
    """What follows an attempt, and why, in words."""

    what: Literal["done", "next", "give up"]
    why: str


def what_next(ending: str, losses: int, restarts: int) -> Next:
    """What follows an attempt that ended so.

    Args:
        ending: one of `Ending`.
        losses: losses in a row without progress, this one included (see `count`).
        restarts: how many of them are still followed by the next machine.
    """
    if ending not in get_args(Ending):
        raise ValueError(f"ending = {ending!r}: one of {', '.join(get_args(Ending))}")
    if ending == "done":
        return Next("done", "")
    if ending in OWN:
        return Next("give up", OWN[ending])
    if losses > restarts:
        return Next("give up", f"{ending}, and its {restarts} restarts without progress are used up")
    return Next("next", f"{ending}: the next machine is tried")
