"""The attempts of one search: a setting is tried in full, judged against the best so far, and both are noted.

Decisions:
- A measurement within the noise of the best is settled by measuring the best again. What stays unsure goes by the
  forecast where that agrees, and is a tie otherwise; of a tie the cheaper one is taken.
- A trial that others disturbed is repeated once, unless it went as forecast anyway.
- The soak is a longer trial of the best setting, which sees slow leaks. Where it fails, the search rolls back to the
  best setting that still stands.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from stepladder.core.schema import LadderParams, TrainingParams
from stepladder.core.units import digits
from stepladder.ladder import gates
from stepladder.ladder.forecast.cells import Limits
from stepladder.ladder.records import Candidate, Cell, FullProbe, Measurer, SearchResult, Trial
from stepladder.ladder.space import price
from stepladder.training.setting import Setting

USABLE_SECONDS = 0.5  # share of the time limit that the passes of a trial may be planned to take
WRONG = 0.10  # a measurement further off its forecast than this is a surprise
WARM_ROUNDS, LEAST_ROUNDS, MOST_ROUNDS = 2, 3, 12  # of a full trial, see `stepladder.ladder.measure.estimate`
LEAST_SAMPLES = 48  # of a full trial: small batches hold few


@dataclass
class Search:
    """One search under way: what was tried and what stands.

    Attributes:
        best: the rung that stands; None before the first that runs, and after a soak that none survived.
        notes: remarks for the record, beside the reason of every rung.
    """

    measurer: Measurer
    ladder: LadderParams
    training: TrainingParams
    limits: Limits
    on_candidate: Callable[[Candidate], None]
    rungs: list[Candidate] = field(default_factory=list)
    best: Candidate | None = None
    notes: list[str] = field(default_factory=list)

    def attempt(self, setting: Setting, cell: Cell | None = None) -> Candidate:
        """Try a setting in full, judge it against the best so far, and note both."""
        trial, remark = self._undisturbed(setting, self._passes(setting, self.ladder.steps, cell), cell)
        # Memory that would fill may be a start-up that levels off: more passes tell it from a leak.
        if trial.probe and self.ladder.soak and gates.filling(trial, self.limits, self.training):
            trial = _after(trial, self._soaked(setting, cell))
            remark += "; memory grew, so it was tried for longer"
        refused = gates.refusal(trial, self.limits, self.training)
        if refused:
            return self.record(Candidate(trial, "refused", refused + remark, cell))
        if self.best is None:
            said = f"the first that runs; {gates.busy(trial.measured, self.ladder)}"
            return self.record(Candidate(trial, "better", said + remark, cell))
        cheaper = price(setting, self.training) < price(self.best.setting, self.training)
        verdict, reason = gates.compare(trial.measured, self.best, cheaper, self.ladder)
        candidate = Candidate(trial, verdict, reason + remark, cell)
        return self._settle(candidate) if verdict == "tie" else self.record(candidate)

    def record(self, candidate: Candidate) -> Candidate:
        """Note a rung and tell it; it stands where it is the better one."""
        self.rungs.append(candidate)
        if candidate.verdict == "better":
            self.best = candidate
        self.on_candidate(candidate)
        return candidate

    def finish(self, **found: Any) -> SearchResult:
        """Soak the best setting, and make the record of everything; `found` is what a policy adds to it."""
        soak = self._soak() if self.ladder.soak and self.best else None
        if self.best:
            cell, tried = self.best.forecast, len({candidate.setting for candidate in self.rungs})
            said = f", forecast {digits(cell.rate)}" if cell else ""
            why = f"{digits(self.best.trial.measured.rate)} samples/s{said}, the best of {tried} tried"
        else:
            last = f": {self.rungs[-1].setting}: {self.rungs[-1].reason}" if self.rungs else ""
            why = f"no setting passed the gates{last}"
        chosen, why = self.best and self.best.setting, "; ".join([why, *self.notes])
        return SearchResult(self.ladder.policy, tuple(self.rungs), chosen, why, soak=soak, **found)

    def _soak(self) -> Candidate | None:
        """Try the best setting for longer; where that fails, the next best, until one stands or none is left."""
        while self.best:
            setting = self.best.setting
            trial = self._soaked(setting)
            refused = gates.refusal(trial, self.limits, self.training)
            if not refused:
                return Candidate(trial, "better", f"nothing gave way in {trial.measured.steps} passes")
            self.record(Candidate(trial, "refused", f"soak: {refused}"))
            self.notes.append(f"rolled back from {setting} after the soak ({refused})")
            fallen = {candidate.setting for candidate in self.rungs if candidate.verdict == "refused"}
            standing = [candidate for candidate in self.rungs if candidate.setting not in fallen]
            self.best = max(standing, key=lambda candidate: candidate.trial.measured.rate, default=None)
        return None

    def _settle(self, candidate: Candidate) -> Candidate:
        """Measure the best again beside a challenger that lies within the noise (A, B, A), and decide."""
        first, ladder = self.best, self.ladder
        assert first is not None, "the first that runs is no tie"
        again = self.measurer.full(first.setting, self._passes(first.setting, ladder.steps, first.forecast))
        if again.probe is None:
            self.record(Candidate(again, "refused", f"measured again: {again.ending}: {again.reason}", first.forecast))
            return self.record(
                replace(candidate, verdict="better", reason=f"{candidate.reason}, but that did not run again")
            )
        # The challenger is held against the mean of both trials of the best. Their distance is what two trials of one
        # setting differ by, which no interval inside a trial holds: it is noise too.
        rates = first.trial.measured.rate, again.probe.rate
        mean, spread = sum(rates) / 2, abs(rates[0] - rates[1]) / 2
        half_width = again.probe.half_width / 2**0.5  # of the mean of two
        gain = candidate.trial.measured.rate / mean - 1
        noise = (spread + candidate.trial.measured.half_width + half_width) / mean
        said = f"{gain:+.0%} against both trials of {first.setting}, noise {noise:.0%}"
        foretold = candidate.forecast is not None and candidate.forecast.rate / mean - 1 > ladder.gain
        cheaper = price(candidate.setting, self.training) < price(first.setting, self.training)
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
        self.record(Candidate(again, "tie", f"measured again beside {candidate.setting}", first.forecast))
        both = replace(again.probe, rate=mean, half_width=half_width + spread)
        self.best = replace(first, trial=replace(again, probe=both))  # from here on, what both trials say
        return self.record(replace(candidate, verdict=verdict, reason=f"{said}: {end}"))

    def _undisturbed(self, setting: Setting, passes: int, cell: Cell | None) -> tuple[Trial[FullProbe], str]:
        """A trial, and a remark where others took the machine: repeated once, unless all went as forecast anyway."""
        expected = cell.rate if cell else None
        trial = self.measurer.full(setting, passes, expected=expected)
        if trial.probe is None or trial.probe.contended <= gates.CONTENDED:
            return trial, ""
        remark = f"others took the machine ({trial.probe.contended:.0%} of the time spent in the queue)"
        if cell and abs(trial.probe.rate / cell.rate - 1) <= WRONG:
            return trial, f"; {remark}, but it went as forecast"
        second = _after(trial, self.measurer.full(setting, passes, expected=expected))
        if second.probe is None or second.probe.contended < trial.probe.contended:
            return second, f"; repeated, for {remark}"
        return replace(trial, seconds=second.seconds), f"; repeated, for {remark}, and still did"

    def _soaked(self, setting: Setting, cell: Cell | None = None) -> Trial[FullProbe]:
        """A trial of as many passes as a soak takes, all of them timed."""
        return self.measurer.full(setting, self._passes(setting, self.ladder.soak, cell), whole=True)

    def _passes(self, setting: Setting, most: int, cell: Cell | None = None) -> int:
        """Timed passes of a trial: as many as wanted, fewer where they would not end before the time limit."""
        # A round holds one batch of every worker and whole optimizer steps; only whole rounds can be timed.
        rounds = math.lcm(max(1, setting.workers), setting.accumulate)
        most = max(most, MOST_ROUNDS * rounds, LEAST_SAMPLES // setting.batch)
        known = [candidate.rate for candidate in self.rungs if candidate.setting == setting and candidate.rate]
        rate = known[-1] if known else cell.rate if cell else None
        if rate is None:
            return most
        fits = int(USABLE_SECONDS * self.ladder.seconds * rate / setting.batch) - WARM_ROUNDS * rounds
        return max(LEAST_ROUNDS * rounds, min(most, fits))


def _after(before: Trial, trial: Trial) -> Trial:
    """`trial` with the cost of the one it replaces."""
    return replace(trial, seconds=before.seconds + trial.seconds)
