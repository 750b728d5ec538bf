"""The search: which settings are tried, in which order, and which one is chosen.

Decisions:
- Policy `jump`, in three phases. Probe: the loader and the step apart, the step at the fewest settings that tell its
  line. Jump: forecast every setting, try the cheapest of the best, learn from what was measured where the forecast was
  wrong. Confirm: a soak of the chosen setting. A few trials take the place of a grid.
- A step takes a + c x batch, so each kind of step is probed at its smallest batch and at the largest that surely fits
  in memory and in time; between them lies everything that will be forecast. A probe that fails is an answer: its kind
  of step is left out.
- Activations are recomputed only where some batch does not fit without: that costs time and gains only memory.
- Policy `rungs`: climb a person's list in its order, up to the first rung that does not win, then the same soak.
- How a setting is tried and judged stands in `attempts.py` and `gates.py`.
- Whatever a job does, the search ends with a `SearchResult` that says what happened. Only contradictory parameters
  raise.
"""

from collections.abc import Callable
from dataclasses import replace

from stepladder.core.config import ParameterError
from stepladder.core.schema import LadderParams, TrainingParams
from stepladder.ladder import gates
from stepladder.ladder.attempts import USABLE_SECONDS, WRONG, Search
from stepladder.ladder.forecast.cells import Limits, forecast
from stepladder.ladder.forecast.loader_model import Kind, LoaderModel, kind
from stepladder.ladder.records import Candidate, Cell, LoaderProbe, Measurer, SearchResult, StepProbe, Trial
from stepladder.ladder.space import accumulation, price, space
from stepladder.training.setting import Setting

LOADER_SAMPLES = (24, 4, 1)  # fewer where a probe of more took too long
NO_LOADER = LoaderProbe((0.0,), 0.0, 0.0, 0.0, 0, 0, 0.0)
STEP_PASSES = 8
MOST_TRIALS = 6  # of one jump, without repetitions and soak
RESERVE = 1.5  # the setting to try must be among the best even if loading is this many times slower than forecast
STARVED = 0.65  # a best setting whose step is busy for less of the time: more loading may yet help


def find_setting(
    measurer: Measurer,
    ladder: LadderParams,
    training: TrainingParams,
    cores: float,
    on_candidate: Callable[[Candidate], None] = lambda candidate: None,
) -> SearchResult:
    """Search the settings that `ladder` allows for the job on `measurer`.

    Args:
        measurer: runs the trials.
        ladder: what may be tried, the policy and the gates.
        training: the training to come; `batch`, `steps` and whatever `ladder` leaves to it.
        cores: CPUs that one training process and its loaders may use together.
        on_candidate: called with every candidate as soon as it is judged.

    Raises:
        ParameterError: the parameters allow no setting at all.
    """
    device = measurer.device_limit()
    limits = Limits(measurer.memory_limit(), None if device is None else ladder.memory_fraction * device)
    search = Search(measurer, ladder, training, limits, on_candidate)
    return Jump(search, cores).find_setting() if ladder.policy == "jump" else try_in_order(search)


def try_in_order(search: Search) -> SearchResult:
    """Climb by the policy `rungs`: a person's list, up to the first rung that does not win."""
    ladder, training = search.ladder, search.training
    if not ladder.rungs:
        raise ParameterError("parameter 'ladder.rungs' is empty: list settings to climb, or set ladder.policy: jump")
    plain = next(iter(space(ladder.model_copy(update={"workers": [0], "batch": [1]}), training)))
    for candidate in ladder.rungs:
        passes = accumulation(candidate.batch, ladder, training)
        setting = replace(plain, workers=candidate.workers, batch=candidate.batch, accumulate=passes or 1)
        if not passes:
            among = f" in {training.processes} processes" if training.processes > 1 else ""
            said = (
                f"training.batch = {training.batch} is no multiple of it{among}, and ladder.keep_global_batch asks "
                "for one"
            )
            search.record(Candidate(Trial(setting, "skipped", said), "refused", said))
            break
        if search.attempt(setting).verdict != "better":
            break
    return search.finish()


class Jump:
    """The policy `jump`, phase by phase: probe, jump, confirm.

    Args:
        search: tries settings, judges them and keeps the record.
        cores: CPUs all processes may use together.

    Attributes:
        loader: the probe of the loader alone, once it is made.
        steps: probes of the step alone, those that failed too.
        loader_model: the forecast as it stands, where the probes gave one.
        foreseen, cells: what the loader model says of every setting: before the first trial, and now.
    """

    def __init__(self, search: Search, cores: float):
        self.search, self.measurer, self.cores = search, search.measurer, cores
        self.settings = space(search.ladder, search.training)
        self.loader: Trial[LoaderProbe]
        self.steps: list[Trial[StepProbe]] = []
        self.loader_model: LoaderModel
        self.foreseen: list[Cell] = []
        self.cells: list[Cell] = []
        self._fakes: dict[Setting, int | None] = {}

    def find_setting(self) -> SearchResult:
        """All three phases; where a probe never ran to its end, the record of that."""
        failed = self.probe()
        if failed:
            return SearchResult("jump", (), None, failed, self.loader, tuple(self.steps))
        self.jump()
        return self.confirm()

    # Probe: the loader alone and the step alone ----------------------------------------------------------------------

    def probe(self) -> str:
        """Measure loader and step apart and make their loader model; why there is none, else empty."""
        for samples in LOADER_SAMPLES:
            self.loader = self.measurer.loader(samples)
            if self.loader.ending != "timeout":
                break
        if self.loader.probe is None:
            return f"the loader alone ended {self.loader.ending}: {self.loader.reason}"
        kinds = sorted(dict.fromkeys(kind(setting) for setting in self.settings), key=lambda key: key[2])
        for key in kinds:  # plain ones come before those that recompute activations
            plain = (key[0], key[1], False, key[3])
            if not (key[2] and plain in kinds and self._all_fit(plain)):
                self._probe_steps({s.batch: replace(s, workers=0) for s in self.settings if kind(s) == key})
        good = tuple(trial for trial in self.steps if trial.probe)
        if not good:
            ends = "; ".join(f"{trial.setting}: {trial.ending}: {trial.reason}" for trial in self.steps)
            return f"the step alone never ran to its end ({ends})"
        self.loader_model = LoaderModel(self.loader.probe, good, self.cores, self._fake_bytes)
        return ""

    def _probe_steps(self, batches: dict[int, Setting]) -> None:
        """Probe one kind of step (`batches`: batch -> setting) at its smallest batch and the largest that fits.

        Where memory can be forecast no larger one fails; where it cannot, trying is the only way to know.
        """
        passes, ladder = min(STEP_PASSES, self.search.ladder.steps), self.search.ladder
        smallest, *larger = sorted(batches)
        self.steps.append(self.measurer.step(batches[smallest], passes))
        if self.steps[-1].probe is None:
            return
        loader_model = LoaderModel(NO_LOADER, (self.steps[-1],), 1.0, self._fake_bytes)
        for batch in reversed(larger):
            in_time = loader_model.step_seconds(batches[batch]) * passes < USABLE_SECONDS * ladder.seconds
            if in_time and not self.search.limits.objection(loader_model, batches[batch], 0):
                self.steps.append(self.measurer.step(batches[batch], passes))
                if self.steps[-1].ending == "ok":
                    break

    def _all_fit(self, key: Kind) -> bool:
        """Whether every setting of this kind fits in memory, from what was probed of it."""
        good = tuple(trial for trial in self.steps if trial.probe and kind(trial.setting) == key)
        loader_model = LoaderModel(NO_LOADER, good, 1.0, self._fake_bytes)
        return bool(good) and all(cell.fits for cell in forecast(loader_model, self.settings, self.search.limits, 0))

    def _fake_bytes(self, setting: Setting) -> int | None:
        """The measurer's forecast by fake tensors, asked for once: it takes seconds, and the loader does not matter."""
        bare = replace(setting, workers=0, prefetch=2, threads=1)
        if bare not in self._fakes:
            self._fakes[bare] = self.measurer.fake_bytes(bare)
        return self._fakes[bare]

    # Jump: try what is forecast best ---------------------------------------------------------------------------------

    def jump(self) -> None:
        """Try the setting that the loader model says is best, let it learn, and go on until nothing promises more."""
        search = self.search
        self.foreseen = self.cells = self._forecast()
        in_vain = False  # the last trial was of a neighbour, and did not win
        while len({candidate.setting for candidate in search.rungs}) < MOST_TRIALS:
            cell = self._promising()
            # Nothing promises more. But where the forecast of the best was wrong, or the step still starves, that word
            # is worth a doubt: one neighbour of the best is tried, and another as long as that wins.
            nearby = cell is None and not in_vain and self._doubtful()
            cell = self._neighbour() if nearby else cell
            if cell is None:
                return
            candidate = search.attempt(cell.setting, cell)
            in_vain = nearby and candidate.verdict != "better"
            if candidate.rate is None:
                continue  # it did not run: nothing to learn but that, which `_open` heeds
            if candidate.trial.measured.host_growth and candidate.verdict == "refused":
                return  # a leak is in the code: no setting heals it
            self.loader_model = self.loader_model.refit(candidate.trial)
            self.cells = self._forecast()

    def _forecast(self) -> list[Cell]:
        """The forecast at the end of training; where a leak would fill any setting, the forecast of a start."""
        training, limits = self.search.training, self.search.limits
        samples = training.steps * training.batch // training.processes  # of one process
        cells = forecast(self.loader_model, self.settings, limits, samples)
        return cells if any(cell.fits for cell in cells) else forecast(self.loader_model, self.settings, limits, 0)

    def _open(self) -> list[Cell]:
        """What may still be tried: it fits, was not tried, and nothing that needs less ran out of memory."""
        tried = {candidate.setting for candidate in self.search.rungs}
        trials = [*self.steps, *(candidate.trial for candidate in self.search.rungs)]
        return [c for c in self.cells if c.fits and c.setting not in tried and not gates.ruled_out(c.setting, trials)]

    def _promising(self) -> Cell | None:
        """The cheapest of the settings forecast best; None where none is forecast to beat what was measured.

        Of settings that tie, those stay that still tie where loading turns out to be `RESERVE` times slower.
        """
        ladder, best = self.search.ladder, self.search.best
        enough = best.trial.measured.rate * (1 + ladder.gain) if best else 0.0
        left = [cell for cell in self._open() if cell.rate > enough]
        tied = _top(left, {cell: cell.rate for cell in left}, ladder.tie)
        sturdy = _top(tied, {cell: self.loader_model.rate(cell.setting, RESERVE) for cell in tied}, ladder.tie)
        return min(sturdy, key=lambda cell: price(cell.setting, self.search.training), default=None)

    def _doubtful(self) -> bool:
        """Whether the best was not as forecast, or waits for data so often that more loading may yet help."""
        best = self.search.best
        if best is None or best.forecast is None:
            return False
        probe = best.trial.measured
        return abs(probe.rate / best.forecast.rate - 1) > WRONG or probe.busy < STARVED

    def _neighbour(self) -> Cell | None:
        """The best one step away from the best rung, along what binds it: the loader's axes, or the step's."""
        best, near = self.search.best, []
        assert best is not None, "neighbours are those of a rung that stands"
        data_bound = best.trial.measured.busy < self.search.ladder.busy
        for axis in ("workers", "prefetch", "threads") if data_bound else ("batch", "precision", "compile", "threads"):
            value = getattr(best.setting, axis)
            line = [cell for cell in self._open() if _differ_only(cell.setting, best.setting, axis)]
            above = [cell for cell in line if getattr(cell.setting, axis) > value]
            below = [cell for cell in line if getattr(cell.setting, axis) < value]
            near += [min(above, key=lambda cell: getattr(cell.setting, axis))] if above else []
            near += [max(below, key=lambda cell: getattr(cell.setting, axis))] if below else []
        return max(near, key=lambda cell: cell.rate, default=None)

    # Confirm: the chosen setting for longer --------------------------------------------------------------------------

    def confirm(self) -> SearchResult:
        """Soak what stands, and hand over the record of all three phases."""
        if not self.search.rungs:  # nothing was tried: say why nothing fits
            self.search.notes.append("; ".join(sorted({cell.reason for cell in self.foreseen})[:2]))
        return self.search.finish(loader=self.loader, steps=tuple(self.steps), cells=tuple(self.foreseen))


def _top(cells: list[Cell], rates: dict[Cell, float], tie: float) -> list[Cell]:
    """The cells whose rate is within `tie` of the best."""
    return [cell for cell in cells if rates[cell] >= max(rates.values()) * (1 - tie)]


def _differ_only(setting: Setting, other: Setting, axis: str) -> bool:
    both = {"batch", "accumulate"} if axis == "batch" else {axis}  # accumulation follows the batch
    return all(getattr(setting, name) == getattr(other, name) for name in vars(setting) if name not in both)
