"""The search: which settings are tried, in which order, and which one is chosen.

Decisions:
- Policy `jump`: probe the loader and the step apart, forecast every setting, try the cheapest of the best, and learn
  from what was measured where the forecast was wrong. A few trials take the place of a grid.
- Policy `rungs`: climb a person's list in its order, up to the first rung that does not win.
- Both end with a soak of the chosen setting: a longer trial that sees slow leaks. Where it fails, the search rolls back
  to the best setting that still stands.
- A measurement within the noise of the best is settled by measuring the best again. What stays unsure goes by the
  forecast where that agrees, and is a tie otherwise; of a tie the cheaper one is taken.
- Whatever a job does, the search ends with a `Climb` that says what happened. Only contradictory parameters raise.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from stepladder.ladder import gates
from stepladder.ladder.probing import USABLE_SECONDS, Fakes, StepProbing, probe_loader
from stepladder.ladder.records import Bench, Cell, Climb, FullProbe, Rung, Setting, Trial
from stepladder.ladder.space import price, space
from stepladder.ladder.twin import Limits, Twin, forecast
from stepladder.params import LadderParams, ParameterError, TrainingParams

STEP_PASSES = 8
MOST_TRIALS = 6  # of one jump, without repetitions and soak
RESERVE = 1.5  # the setting to try must be among the best even if loading is this many times slower than forecast
WRONG = 0.10  # a forecast further off than this sends the search to a neighbour
STARVED = 0.65  # a best setting whose step is busy for less of the time does so too: more loading may yet help
WARM_ROUNDS, LEAST_ROUNDS, MOST_ROUNDS = 2, 3, 12  # of a full trial, see `stepladder.ladder.estimate`
LEAST_SAMPLES = 48  # of a full trial: small batches hold few


def climb(
    bench: Bench,
    ladder: LadderParams,
    training: TrainingParams,
    cores: float,
    on_rung: Callable[[Rung], None] = lambda rung: None,
) -> Climb:
    """Search the settings that `ladder` allows for the job on `bench`.

    Args:
        bench: runs the trials.
        ladder: what may be tried, the policy and the gates.
        training: the training to come; `batch`, `steps` and whatever `ladder` leaves to it.
        cores: CPUs all processes may use together.
        on_rung: called with every rung as soon as it is judged.

    Raises:
        ParameterError: the parameters allow no setting at all.
    """
    device = bench.device_limit()
    limits = Limits(bench.memory_limit(), None if device is None else ladder.memory_fraction * device)
    search = Search(bench, ladder, training, limits, on_rung)
    return jump(search, cores) if ladder.policy == "jump" else climb_rungs(search)


@dataclass
class Search:
    """One search under way: what was tried and what stands."""

    bench: Bench
    ladder: LadderParams
    training: TrainingParams
    limits: Limits
    on_rung: Callable[[Rung], None]
    rungs: list[Rung] = field(default_factory=list)
    best: Rung | None = None
    notes: list[str] = field(default_factory=list)

    def attempt(self, setting: Setting, cell: Cell | None = None) -> Rung:
        """Try a setting in full, judge it against the best so far, and note both."""
        trial, remark = self._undisturbed(setting, self._passes(setting, self.ladder.steps, cell), cell)
        if trial.probe and self.ladder.soak and gates.filling(trial, self.limits, self.training):
            trial = _after(trial, self._soaked(setting, cell))
            remark += "; memory grew, so it was tried for longer"
        refused = gates.refusal(trial, self.limits, self.training)
        if refused:
            return self._record(Rung(trial, "refused", refused + remark, cell))
        if self.best is None:
            said = f"the first that runs; {gates.busy(trial.probe, self.ladder)}"
            return self._record(Rung(trial, "better", said + remark, cell))
        cheaper = price(setting, self.training) < price(self.best.setting, self.training)
        verdict, reason = gates.compare(trial.probe, self.best, cheaper, self.ladder)
        rung = Rung(trial, verdict, reason + remark, cell)
        return self._settle(rung) if verdict == "tie" else self._record(rung)

    def soak(self) -> Rung | None:
        """Try the best setting for longer; where that fails, the next best, until one stands or none is left."""
        while self.best:
            setting = self.best.setting
            trial = self._soaked(setting)
            refused = gates.refusal(trial, self.limits, self.training)
            if not refused:
                return Rung(trial, "better", f"nothing gave way in {trial.probe.steps} passes")
            self._record(Rung(trial, "refused", f"soak: {refused}"))
            self.notes.append(f"rolled back from {setting} after the soak ({refused})")
            fallen = {rung.setting for rung in self.rungs if rung.verdict == "refused"}
            standing = [rung for rung in self.rungs if rung.setting not in fallen]
            self.best = max(standing, key=lambda rung: rung.rate, default=None)
        return None

    def finish(self, **found: object) -> Climb:
        """The soak, and the record of everything."""
        soak = self.soak() if self.ladder.soak and self.best else None
        chosen = self.best.setting if self.best else None
        why = "; ".join([self._why(), *self.notes])
        return Climb(self.ladder.policy, tuple(self.rungs), chosen, why, soak=soak, **found)

    def _why(self) -> str:
        if self.best is None:
            last = f": {self.rungs[-1].setting}: {self.rungs[-1].reason}" if self.rungs else ""
            return f"no setting passed the gates{last}"
        tried = len({rung.setting for rung in self.rungs})
        cell = self.best.forecast
        said = f", forecast {cell.rate:.3g}" if cell else ""
        return f"{self.best.rate:.3g} samples/s{said}, the best of {tried} tried"

    def _record(self, rung: Rung) -> Rung:
        self.rungs.append(rung)
        if rung.verdict == "better":
            self.best = rung
        self.on_rung(rung)
        return rung

    def _settle(self, rung: Rung) -> Rung:
        """Measure the best again beside a challenger that lies within the noise (A, B, A), and decide."""
        first, ladder = self.best, self.ladder
        again = self.bench.full(first.setting, self._passes(first.setting, ladder.steps, first.forecast))
        if again.probe is None:
            self._record(Rung(again, "refused", f"measured again: {again.ending}: {again.reason}", first.forecast))
            return self._record(replace(rung, verdict="better", reason=f"{rung.reason}, but that did not run again"))
        rates = first.rate, again.probe.rate
        mean, spread = sum(rates) / 2, abs(rates[0] - rates[1]) / 2
        gain = rung.rate / mean - 1
        noise = (spread + rung.trial.probe.half_width + again.probe.half_width / 2**0.5) / mean
        said = f"{gain:+.0%} against both trials of {first.setting}, noise {noise:.0%}"
        foretold = rung.forecast is not None and rung.forecast.rate / mean - 1 > ladder.gain
        cheaper = price(rung.setting, self.training) < price(first.setting, self.training)
        if gain > max(ladder.gain, noise):
            verdict, end = "better", "a win"
        elif gain > ladder.gain and foretold:
            verdict, end = "better", "unsure, but as forecast"
        elif gain > -ladder.tie and cheaper:
            verdict, end = "better", "a tie, and cheaper"
        elif gain > -ladder.tie:
            verdict, end = "tie", "a tie, and dearer"
        else:
            verdict, end = "not better", "no gain"
        self._record(Rung(again, "tie", f"measured again beside {rung.setting}", first.forecast))
        both = replace(again.probe, rate=mean, half_width=again.probe.half_width / 2**0.5 + spread)
        self.best = replace(first, trial=replace(again, probe=both))  # from here on, what both trials say
        return self._record(replace(rung, verdict=verdict, reason=f"{said}: {end}"))

    def _undisturbed(self, setting: Setting, passes: int, cell: Cell | None) -> tuple[Trial[FullProbe], str]:
        """A trial, and a remark where others took the machine: repeated once, unless all went as forecast anyway."""
        expected = cell.rate if cell else None
        trial = self.bench.full(setting, passes, expected=expected)
        if trial.probe is None or trial.probe.polluted <= gates.POLLUTED:
            return trial, ""
        remark = f"others took the machine ({trial.probe.polluted:.0%} of the time spent in the queue)"
        if cell and abs(trial.probe.rate / cell.rate - 1) <= WRONG:
            return trial, f"; {remark}, but it went as forecast"
        second = _after(trial, self.bench.full(setting, passes, expected=expected))
        if second.probe is None or second.probe.polluted < trial.probe.polluted:
            return second, f"; repeated, for {remark}"
        return replace(trial, seconds=second.seconds), f"; repeated, for {remark}, and still did"

    def _soaked(self, setting: Setting, cell: Cell | None = None) -> Trial[FullProbe]:
        """A trial of as many passes as a soak takes, all of them timed."""
        return self.bench.full(setting, self._passes(setting, self.ladder.soak, cell), whole=True)

    def _passes(self, setting: Setting, most: int, cell: Cell | None = None) -> int:
        """Timed passes of a trial: as many as wanted, fewer where they would not end before the time limit."""
        rounds = math.lcm(max(1, setting.workers), setting.accumulate)
        most = max(most, MOST_ROUNDS * rounds, LEAST_SAMPLES // setting.batch)
        known = [rung.rate for rung in self.rungs if rung.setting == setting and rung.rate]
        rate = known[-1] if known else cell.rate if cell else None
        if rate is None:
            return most
        fits = int(USABLE_SECONDS * self.ladder.seconds * rate / setting.batch) - WARM_ROUNDS * rounds
        return max(LEAST_ROUNDS * rounds, min(most, fits))


def climb_rungs(search: Search) -> Climb:
    """The policy `rungs`."""
    ladder, training = search.ladder, search.training
    if not ladder.rungs:
        raise ParameterError("parameter 'ladder.rungs' is empty: list settings to climb, or set ladder.policy: jump")
    plain = next(iter(space(ladder.model_copy(update={"workers": [0], "batch": [training.batch]}), training)))
    for rung in ladder.rungs:
        setting = replace(plain, workers=rung.workers, batch=rung.batch, accumulate=training.batch // rung.batch or 1)
        setting = setting if ladder.hold_batch else replace(setting, accumulate=1)
        if ladder.hold_batch and training.batch % rung.batch:
            said = f"training.batch = {training.batch} is no multiple of it, and ladder.hold_batch asks for one"
            search._record(Rung(Trial(setting, "skipped", said), "refused", said))
            break
        if search.attempt(setting).verdict != "better":
            break
    return search.finish()


def jump(search: Search, cores: float) -> Climb:
    """The policy `jump`."""
    settings = space(search.ladder, search.training)
    loader = probe_loader(search.bench)
    if loader.probe is None:
        return Climb("jump", (), None, f"the loader alone ended {loader.ending}: {loader.reason}", loader)
    fakes = Fakes(search.bench)
    passes = min(STEP_PASSES, search.ladder.steps)
    steps = StepProbing(search.bench, passes, search.ladder.seconds, search.limits, fakes).trials(settings)
    good = tuple(trial for trial in steps if trial.probe)
    if not good:
        ends = "; ".join(f"{trial.setting}: {trial.ending}: {trial.reason}" for trial in steps)
        return Climb("jump", (), None, f"the step alone never ran to its end ({ends})", loader, tuple(steps))
    twin = Twin(loader.probe, good, cores, fakes)
    first = cells = _cells(search, twin, settings)
    lost = False  # a neighbour was tried in vain
    while len({rung.setting for rung in search.rungs}) < MOST_TRIALS:
        cell = next_cell(search, twin, cells, steps)
        near = cell is None and not lost and (_surprised(search.best) or _starved(search))
        cell = neighbour(search, cells, steps) if near else cell
        if cell is None:
            break
        rung = search.attempt(cell.setting, cell)
        lost = near and rung.verdict != "better"
        if rung.rate is None:
            continue
        if rung.trial.probe.host_growth and rung.verdict == "refused":
            break  # a leak is in the code: no setting heals it
        twin = twin.refit(rung.trial)
        cells = _cells(search, twin, settings)
    if not search.rungs:
        search.notes.append("; ".join(sorted({cell.reason for cell in first})[:2]))
    return search.finish(loader=loader, steps=tuple(steps), cells=tuple(first))


def next_cell(search: Search, twin: Twin, cells: Iterable[Cell], steps: Iterable[Trial]) -> Cell | None:
    """The cheapest of the settings forecast best; None where nothing is forecast to beat what was measured.

    Of settings that tie, those stay that still tie where loading turns out to be `RESERVE` times slower.
    """
    enough = search.best.rate * (1 + search.ladder.gain) if search.best else 0.0
    left = [cell for cell in _open(search, cells, steps) if cell.rate > enough]
    tied = _top(left, {cell: cell.rate for cell in left}, search.ladder.tie)
    sturdy = _top(tied, {cell: twin.rate(cell.setting, RESERVE) for cell in tied}, search.ladder.tie)
    return min(sturdy, key=lambda cell: price(cell.setting, search.training), default=None)


def _top(cells: list[Cell], rates: dict[Cell, float], tie: float) -> list[Cell]:
    """The cells whose rate is within `tie` of the best."""
    return [cell for cell in cells if rates[cell] >= max(rates.values()) * (1 - tie)]


def neighbour(search: Search, cells: Iterable[Cell], steps: Iterable[Trial]) -> Cell | None:
    """The best one step away from the best rung, along what binds it: the loader's axes, or the step's."""
    best = search.best
    data_bound = best.trial.probe.busy < search.ladder.busy
    axes = ("workers", "prefetch", "threads") if data_bound else ("batch", "precision", "compile", "threads")
    near = []
    for axis in axes:
        value = getattr(best.setting, axis)
        line = [cell for cell in _open(search, cells, steps) if _differ_only(cell.setting, best.setting, axis)]
        above = [cell for cell in line if getattr(cell.setting, axis) > value]
        below = [cell for cell in line if getattr(cell.setting, axis) < value]
        near += [min(above, key=lambda cell: getattr(cell.setting, axis))] if above else []
        near += [max(below, key=lambda cell: getattr(cell.setting, axis))] if below else []
    return max(near, key=lambda cell: cell.rate, default=None)


def _cells(search: Search, twin: Twin, settings: list[Setting]) -> list[Cell]:
    """The forecast at the end of training; where a leak would fill any setting, the forecast of a start."""
    cells = forecast(twin, settings, search.limits, search.training.steps * search.training.batch)
    return cells if any(cell.fits for cell in cells) else forecast(twin, settings, search.limits, 0)


def _open(search: Search, cells: Iterable[Cell], steps: Iterable[Trial]) -> list[Cell]:
    tried = {rung.setting for rung in search.rungs}
    trials = [*steps, *(rung.trial for rung in search.rungs)]
    return [c for c in cells if c.fits and c.setting not in tried and not gates.ruled_out(c.setting, trials)]


def _surprised(rung: Rung | None) -> bool:
    return rung is not None and abs(rung.rate / rung.forecast.rate - 1) > WRONG


def _starved(search: Search) -> bool:
    """Whether the best setting waits for data so often that the forecast "nothing helps" is worth a trial."""
    return search.best is not None and search.best.trial.probe.busy < STARVED


def _differ_only(setting: Setting, other: Setting, axis: str) -> bool:
    both = {"batch", "accumulate"} if axis == "batch" else {axis}
    return all(getattr(setting, name) == getattr(other, name) for name in vars(setting) if name not in both)


def _after(before: Trial, trial: Trial) -> Trial:
    """`trial` with the cost of the one it replaces."""
    return replace(trial, seconds=before.seconds + trial.seconds)
