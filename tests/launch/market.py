"""A fake market of rented machines, on which `launch.policy` decides: prices move, machines vanish, a budget ends.

Everything that happens is drawn from a seed and by the clock of the market, whoever rents what: so policies can be
compared job by job, and with an optimum that knows the future. Hours and dollars are simulated; no clock is read.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from stepladder.launch import policy
from stepladder.launch.policy import HOUR, Account, Hazard, Machine, Work

DEADLINE = 72.0  # hours of the market after which an unfinished job is given up
HEARTBEAT = 60.0  # seconds
RETRY = 1 / 6  # hours until the market is looked at again where nothing can be had
RESTARTS = 5  # of every strategy: those that a launched job has
CLEARLY = 0.2  # share by which another machine has to be cheaper, for a running one to be left
SAID = 6.0  # hours between interruptions that the price table states for every interruptible machine
SLOT = 1 / 12  # hours of the grid of `hindsight`
CARDS = {"3090": (0.13, 1.0), "4090": (0.29, 2.4), "A100": (0.64, 3.2), "H100": (1.56, 6.5)}  # dollars, relative speed
STEADY = 2.2  # price of a machine that is not taken away, over that of one that is


@dataclass(frozen=True)
class Offer:
    """A machine on the market, as it truly is.

    Attributes:
        name: `4090 spot`.
        prices: dollars per hour, hour by hour.
        forecast, rate: samples per second that 04 expects of it, and true ones.
        said: mean hours until it is taken, as the price table says; None: never.
        gone: hours at which it vanishes, and those at which it is there again.
        setup: seconds to the first step.
    """

    name: str
    prices: tuple[float, ...]
    forecast: float
    rate: float
    said: float | None
    gone: tuple[tuple[float, float], ...]
    setup: float

    def price(self, at: float) -> float:
        """Dollars per hour now."""
        return self.prices[min(int(at), len(self.prices) - 1)]

    def is_there(self, at: float) -> bool:
        """Whether it can be had now."""
        return not any(begin <= at < end for begin, end in self.gone)

    def vanishes(self, at: float) -> float:
        """When it is taken away next."""
        return min([begin for begin, _ in self.gone if begin > at], default=math.inf)


@dataclass(frozen=True)
class Job:
    """A training to be done on the market, and the market it meets.

    Attributes:
        samples: samples to be drawn.
        save: seconds of a checkpoint.
        budget: dollars.
        offers: the machines.
        noise: share by which every checkpoint's time is off, one after the other.
    """

    samples: float
    save: float
    budget: float
    offers: tuple[Offer, ...]
    noise: tuple[float, ...]

    @classmethod
    def draw(cls, seed: int) -> "Job":
        """Job and market of a seed."""
        rng = np.random.default_rng([seed, 12])
        unit = rng.lognormal(math.log(20), 0.5)  # samples per second of the slowest card
        loader = rng.lognormal(math.log(4.0), 0.8)  # speed at which the hosts' loaders bound every card
        setup = rng.uniform(120, 1500)
        offers = []
        for card, (price, speed) in CARDS.items():
            for kind in ("spot", "steady"):
                offers.append(_offer(rng, f"{card} {kind}", price, min(speed, loader) * unit, setup))
        samples = unit * 2.4 * HOUR * math.exp(rng.uniform(math.log(1.5), math.log(40)))
        cheapest = min(samples / offer.forecast / HOUR * offer.prices[0] for offer in offers)
        budget = cheapest * rng.uniform(0.8, 3.0)
        save = math.exp(rng.uniform(math.log(2), math.log(240)))
        return cls(samples, save, budget, tuple(offers), tuple(rng.uniform(-0.1, 0.1, 512)))

    @cached_property
    def named(self) -> dict[str, Offer]:
        """The machines by name."""
        return {offer.name: offer for offer in self.offers}


def _offer(rng: np.random.Generator, name: str, price: float, forecast: float, setup: float) -> Offer:
    """A machine; one in thirty of the steady ones is lost now and then, though nobody says so."""
    spot, hours = name.endswith("spot"), int(DEADLINE)
    walk, level = [], rng.normal(0, 0.25)
    for _ in range(hours):
        level = 0.9 * level + rng.normal(0, 0.12)
        walk.append(price * math.exp(level) if spot else STEADY * price)
    mean = SAID * rng.lognormal(0, 1.0) if spot else (math.inf if rng.random() > 1 / 30 else 20.0)
    gone, at = [], 0.0
    while math.isfinite(mean) and at < DEADLINE:
        begin = at + rng.exponential(mean)
        at = begin + rng.uniform(0.5, 3.0)
        gone.append((begin, at))
    rate = forecast * rng.lognormal(0, 0.25)
    return Offer(name, tuple(walk), forecast, rate, SAID if spot else None, tuple(gone), setup * rng.uniform(0.8, 1.2))


# Who decides ---------------------------------------------------------------------------------------------------------

Decision = tuple[str | None, float | None]  # name of the machine, seconds between checkpoints
Decide = Callable[[Sequence[Machine], Work, Account, str], Decision]


@dataclass(frozen=True)
class Strategy:
    """Which machine is taken next, how often it saves; and whether a running one is left, asked at every whole hour."""

    decide: Decide
    leaves: Callable[[Machine, Sequence[Machine], Work, Account], bool] | None = None


def _ours(machines: Sequence[Machine], work: Work, account: Account, lost: str) -> Decision:
    """`launch.policy`."""
    machine = policy.choose(machines, work, account, lost).machine
    return (machine.name, policy.interval(work.save, machine.setup, machine.hazard)) if machine else (None, None)


def _is_left(current: Machine, others: Sequence[Machine], work: Work, account: Account) -> bool:
    """Whether another machine is expected to finish for clearly fewer dollars, setting up and all.

    No part of `launch.policy`: hosts of one target have one price, and nothing moves. A market would.
    """
    best = policy.choose([one for one in others if one.name != current.name], work, account).machine
    if best is None or not best.rate or not current.rate:
        return False
    whole = policy.estimate(current, work, current.rate).dollars
    stay = whole - current.setup / HOUR * current.price - current.fee
    return policy.estimate(best, work, best.rate).dollars < (1 - CLEARLY) * stay


def _cheapest_first(machines: Sequence[Machine], work: Work, account: Account, lost: str) -> Decision:
    """The lowest price per hour; a checkpoint every half hour."""
    return min(machines, key=lambda machine: machine.price).name if machines else None, 1800.0


def _on_demand_only(machines: Sequence[Machine], work: Work, account: Account, lost: str) -> Decision:
    """Of the machines that are not taken away the one that is expected to finish for least; every half hour."""
    steady = [machine for machine in machines if machine.hazard.prior is None]
    return min(steady, key=lambda m: m.price / (m.rate or 1.0)).name if steady else None, 1800.0


def fixed(order: Sequence[str], interval: float) -> Strategy:
    """The first of a fixed order that can be had, with a fixed interval."""

    def decide(machines: Sequence[Machine], work: Work, account: Account, lost: str) -> Decision:
        there = {machine.name for machine in machines}
        return next((name for name in order if name in there), None), interval

    return Strategy(decide)


OURS, MOVING = Strategy(_ours), Strategy(_ours, _is_left)
CHEAPEST_FIRST, ON_DEMAND_ONLY = Strategy(_cheapest_first), Strategy(_on_demand_only)

# What becomes of a job -----------------------------------------------------------------------------------------------


@dataclass
class Fate:
    """What became of a job; `over`: dollars beyond the budget, `beat`: dollars of its dearest heartbeat."""

    finished: bool = False
    spent: float = 0.0
    hours: float = 0.0
    at: float = 0.0
    losses: int = 0
    moves: int = 0
    machines: int = 0
    over: float = 0.0
    beat: float = 0.0
    ending: str = ""


@dataclass
class _Walk:
    """A job on its way over the market."""

    job: Job
    strategy: Strategy
    heartbeat: float
    fate: Fate = field(default_factory=Fate)
    done: float = 0.0
    saved: float = 0.0
    best: float = 0.0  # samples in the furthest checkpoint when a machine was lost last
    saves: int = 0
    save: float = 0.0  # seconds of a checkpoint as they were measured last
    counted: int = 0
    hazards: dict[str, Hazard] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)

    def account(self) -> Account:
        return Account(budget=self.job.budget, spent=self.fate.spent, used=self.fate.hours)

    def machines(self) -> list[Machine]:
        """What the market offers now, as far as it is known to who rents."""
        return [
            Machine(
                name=offer.name,
                price=offer.price(self.fate.at),
                hazard=self.hazards.get(offer.name, Hazard(offer.said)),
                rate=self.rates.get(offer.name, offer.forecast),
                setup=offer.setup,
            )
            for offer in self.job.offers
            if offer.is_there(self.fate.at)
        ]

    def pay(self, offer: Offer, seconds: float) -> None:
        """Let time pass on a machine."""
        price = offer.price(self.fate.at)
        self.fate.spent += price * seconds / HOUR
        self.fate.beat = max(self.fate.beat, price * self.heartbeat / HOUR)
        self.fate.hours += seconds / HOUR
        self.fate.at += seconds / HOUR


def walk(job: Job, strategy: Strategy, heartbeat: float = HEARTBEAT) -> Fate:
    """Let a strategy do a job: it chooses machines and intervals; when to stop, `policy` says for all alike."""
    state, lost = _Walk(job, strategy, heartbeat, save=job.save), ""
    fate = state.fate
    while not fate.ending:
        if fate.at >= DEADLINE:
            fate.ending = "deadline"
            break
        work = Work((job.samples - state.done), state.save)
        there = [m for m in state.machines() if policy.choose([m], work, state.account()).machine]
        name, interval = strategy.decide(there, work, state.account(), lost)
        if name is None:
            waits = len(there) < len(job.offers) and fate.at + RETRY < DEADLINE and _may_start(state)
            fate.at += RETRY
            fate.ending = "" if waits else "budget"
            continue
        ending = _attempt(state, job.named[name], interval)
        if ending == "lost":
            lost = name
            state.counted = policy.count(state.counted, state.saved > state.best)
            state.best = state.done = state.saved
            decided = policy.what_next("lost", state.counted, RESTARTS)
            fate.losses += 1
            fate.at += policy.backoff(state.counted) / HOUR
            fate.ending = "" if decided.what == "next" else "restarts"
        elif ending == "left":
            lost, fate.moves = "", fate.moves + 1
        else:
            fate.ending, fate.finished = ending, ending == "done"
    fate.over = max(0.0, fate.spent - job.budget)
    return fate


def _may_start(state: _Walk) -> bool:
    """Whether any machine, there or away, could be started on what is left of the budget."""
    work = Work(state.job.samples - state.done, state.save)
    machines = [Machine(o.name, o.price(state.fate.at), rate=o.forecast, setup=o.setup) for o in state.job.offers]
    return policy.choose(machines, work, state.account()).machine is not None


def _attempt(state: _Walk, offer: Offer, interval: float | None) -> str:
    """One machine, from setting up to its end: `done`, `lost`, `left`, `budget` or `deadline`."""
    fate, job = state.fate, state.job
    fate.machines += 1
    begin, gone = fate.at, offer.vanishes(fate.at)
    started, beat = begin + offer.setup / HOUR, begin + state.heartbeat / HOUR
    saving = math.inf if interval is None else started + (interval - state.save) / HOUR  # when the next save begins
    while True:
        finish = max(fate.at, started) + (job.samples - state.done) / offer.rate / HOUR
        events = [beat, saving, finish, gone, math.floor(fate.at) + 1.0, DEADLINE]
        upto = min([*events, started] if fate.at < started else events)
        if fate.at >= started:
            state.done = min(job.samples, state.done + (upto - fate.at) * HOUR * offer.rate)
            state.rates[offer.name] = offer.rate
        state.pay(offer, max(0.0, upto - fate.at) * HOUR)
        if upto == gone:
            state.hazards[offer.name] = _seen(state, offer, fate.at - begin, 1)
            return "lost"
        if upto % 1 == 0 and fate.at > started and _leaves(state, offer):
            state.hazards[offer.name] = _seen(state, offer, fate.at - begin, 0)
            return "left" if _save(state, offer, gone) else "lost"
        if upto in (finish, DEADLINE):
            return "done" if upto == finish else "deadline"
        if upto == saving:
            if not _save(state, offer, gone):
                state.hazards[offer.name] = _seen(state, offer, fate.at - begin, 1)
                return "lost"
            saving = fate.at + (max(interval or 0.0, 1.0 + state.save) - state.save) / HOUR
        if fate.at >= beat - 1e-9:
            beat = fate.at + state.heartbeat / HOUR
            # a stop may come in the middle of a checkpoint, and another one follows
            if policy.may_go_on(state.account(), offer.price(fate.at), 2 * state.save, state.heartbeat):
                if fate.at > started:
                    _save(state, offer, gone)
                return "budget"


def _leaves(state: _Walk, offer: Offer) -> bool:
    """Whether a running machine is left now."""
    there = {machine.name: machine for machine in state.machines()}
    if state.strategy.leaves is None or offer.name not in there or state.done >= state.job.samples:
        return False
    work = Work(state.job.samples - state.done, state.save)
    return state.strategy.leaves(there[offer.name], list(there.values()), work, state.account())


def _save(state: _Walk, offer: Offer, gone: float) -> bool:
    """Make a checkpoint; False where the machine vanishes first."""
    seconds = state.job.save * (1 + state.job.noise[state.saves % len(state.job.noise)])
    state.saves += 1
    left = (gone - state.fate.at) * HOUR
    state.pay(offer, min(seconds, left))
    if left <= seconds:
        return False
    state.saved, state.save = state.done, seconds
    return True


def _seen(state: _Walk, offer: Offer, hours: float, losses: int) -> Hazard:
    return state.hazards.get(offer.name, Hazard(offer.said)).seen(hours, losses)


# With hindsight ------------------------------------------------------------------------------------------------------


def hindsight(job: Job) -> float:
    """A lower bound of the dollars in which anybody could have finished, knowing prices, speeds and losses to come.

    It may wait, switch at every slot, saves at no cost, never repeats a step, and sets up in no time; it pays for
    setting up and for hours. The least cost of a path over (slot, machine) that draws all samples is bounded from below
    by its Lagrangian dual: max over l of  l * samples + min over paths of (dollars - l * samples of the path).
    Infinite where the samples cannot be drawn before the deadline.
    """
    slots = round(DEADLINE / SLOT)
    times = np.arange(slots) * SLOT
    alive = np.array([[_alive(offer, at) for at in times] for offer in job.offers])
    ends = np.array(
        [[offer.vanishes(at) < at + SLOT or not offer.is_there(at) for at in times] for offer in job.offers]
    )
    prices = np.array([[offer.price(at) for at in times] for offer in job.offers])
    rates = np.array([offer.rate for offer in job.offers])[:, None]
    setups = np.array([offer.setup for offer in job.offers])[:, None]
    if (alive * rates).max(0).sum() * SLOT * HOUR < job.samples:
        return math.inf
    cost, drawn = alive * prices * SLOT, alive * rates * SLOT * HOUR
    later = np.minimum(prices, np.roll(prices, -round(1 / SLOT), 1))  # setting up takes less than an hour
    lump = np.where(alive > 0, later * setups / HOUR, np.inf)
    scale = (prices / rates).mean() / HOUR
    grid = scale * np.geomspace(0.02, 200, 48)
    best = grid[int(np.argmax(_dual(grid, cost, drawn, lump, ends, job.samples)))]
    return float(_dual(best * np.linspace(0.8, 1.25, 48), cost, drawn, lump, ends, job.samples).max())


def _alive(offer: Offer, at: float) -> float:
    """Share of a slot in which a machine is there."""
    away = sum(max(0.0, min(end, at + SLOT) - max(begin, at)) for begin, end in offer.gone)
    return 1.0 - min(1.0, away / SLOT)


def _dual(
    grid: np.ndarray, cost: np.ndarray, drawn: np.ndarray, lump: np.ndarray, ends: np.ndarray, samples: float
) -> np.ndarray:
    """The dual function at every multiplier of a grid."""
    idle = np.zeros(len(grid))
    on = np.full((len(grid), len(cost)), np.inf)
    for slot in range(cost.shape[1]):
        enter = np.minimum(on, idle[:, None] + lump[None, :, slot])
        on = enter + cost[None, :, slot] - grid[:, None] * drawn[None, :, slot]
        idle = np.minimum(idle, on.min(1))
        on[:, ends[:, slot]] = np.inf
    return grid * samples + idle
