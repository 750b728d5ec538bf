"""A sweep run here: trials of a W&B sweep file, a local table, and the best row.

Decisions:
- A trial is one training in this process, as the runs of a scaling law are (`trial.train`): constant rate, decay over
  the last fifth of `training.steps`, scored on validation cases. What such a trial does not obey (`training.schedule`,
  workers, the ladder, the data) cannot be varied here and is refused by name.
- `trials.jsonl` grows by one line per trial; `trials.csv` is written from it. Trial n of a grid or of random search is
  a function of the file and n, so a sweep that was killed goes on where it was. A Gaussian process sees all lines,
  those of failed trials as good as the worst.
- A trial whose setting cannot be built or whose training diverges is a line with its reason, and the sweep goes on.
- The folder is named after the file and the hash of everything that decides a trial: another file, other parameters or
  other code make another table beside it.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stepladder.core import files, jsonlines
from stepladder.core.config import ParameterError, check, merge, nearest, nested
from stepladder.core.run import Run
from stepladder.core.schema import Parameters, TrainingParams
from stepladder.core.study import Study, find
from stepladder.core.types import Dataset
from stepladder.data.sampling import philox
from stepladder.scaling.grid import SHAPING, code, datasets
from stepladder.scaling.trial import Schedule, metric_names, train
from stepladder.sweep import bayes, space
from stepladder.sweep.space import Space
from stepladder.training import schedule

TRIALS = 20  # of random search and Gaussian processes, where the file has no run_cap
TRAINING = ("steps", *(name for name in SHAPING if name != "precision"))  # of training, that a trial obeys
DRAWS = 9  # stream of the random numbers of a sweep


@dataclass(frozen=True)
class Sweep:
    """A sweep of a run.

    Attributes:
        space: the checked file.
        study, params: what every trial varies.
        data: training samples and validation cases.
        folder: where `trials.jsonl` and `trials.csv` are.
    """

    space: Space
    study: Study
    params: Parameters
    data: tuple[Dataset, Dataset]
    folder: Path

    @property
    def sign(self) -> int:
        """The factor by which a score is multiplied so that lower is better."""
        return 1 if self.space.file.metric.goal == "minimize" else -1

    def lines(self) -> list[dict[str, Any]]:
        """All trials so far."""
        return jsonlines.read(self.folder / "trials.jsonl")

    def best(self) -> dict[str, Any] | None:
        """The trial with the best score."""
        scored = [line for line in self.lines() if line["score"] is not None]
        return min(scored, key=lambda line: self.sign * line["score"], default=None)

    def run(self, told: Callable[[dict[str, Any]], None] = lambda line: None) -> dict[str, Any] | None:
        """Make the trials that are missing; the best of all. `told` is called with every new line."""
        for number, shares, setting in self._settings():
            line = {"trial": number, "setting": setting, "shares": shares, **self._trial(setting)}
            jsonlines.append(self.folder / "trials.jsonl", line)
            files.write_text(self.folder / "trials.csv", table(self.lines()).to_csv(index=False))
            told(line)
        return self.best()

    def _settings(self) -> Iterator[tuple[int, list[float] | None, dict[str, Any]]]:
        """Number, place in the unit cube and values of every trial to come."""
        file = self.space.file
        grid = self.space.grid() if file.method == "grid" else None
        last = min(file.run_cap or math.inf, len(grid) if grid else file.run_cap or TRIALS)
        while (number := len(self.lines())) < last and not self._reached():
            if grid:
                yield number, None, grid[number]
            else:
                shares = self._shares(number).tolist()
                yield number, shares, self.space.at(shares)

    def _shares(self, number: int) -> np.ndarray:
        rng = np.random.Generator(philox(self.params.seed, DRAWS, number))
        scored = [line for line in self.lines() if line["score"] is not None]
        if self.space.file.method == "random" or len(scored) < bayes.FIRST:
            return rng.random(len(self.space.axes))
        # Failures count as the worst seen, so that the process keeps away from them.
        worst = max(self.sign * line["score"] for line in scored)
        losses = [worst if line["score"] is None else self.sign * line["score"] for line in self.lines()]
        return bayes.propose(np.array([line["shares"] for line in self.lines()]), np.array(losses), rng)

    def _reached(self) -> bool:
        best, target = self.best(), self.space.file.metric.target
        return best is not None and target is not None and self.sign * best["score"] <= self.sign * target

    def _trial(self, setting: dict[str, Any]) -> dict[str, Any]:
        """Score, seconds and reason of one trial."""
        begin, metric = time.process_time(), self.space.file.metric.name
        try:
            params = varied(self.study, self.params, setting)
            samples = params.evaluation.samples
            cut = Schedule((params.training.steps,), samples=samples)
            (point,) = train(self.study, params, *self._data(params), cut)
            value = point["scores"][metric]
            reason = "" if math.isfinite(value) else "diverged"
        except Exception as error:  # of this setting: the others may do
            value, reason = math.nan, f"{type(error).__name__}: {error}"
        score = value if math.isfinite(value) else None
        return {"score": score, "cpu_s": time.process_time() - begin, "reason": reason}

    def _data(self, params: Parameters) -> tuple[Dataset, Dataset]:
        """The samples, made anew where the model's parameters (a rollout, say) decide what a sample is."""
        if params.model == self.params.model:
            return self.data
        return datasets(Run(self.folder.parent.parent), self.study, params)


def open_sweep(path: Path, run: Run, params: Parameters) -> Sweep:
    """The sweep of a file on the data of a run.

    Raises:
        ParameterError: the file cannot be used, or the run has no converted data.
    """
    found, study = space.read(path), find(params.study)
    for axis in found.axes:
        _check_name(axis.name)
        varied(study, params, {axis.name: axis.at(0.5)})
    data = datasets(run, study, params)
    metric, known = found.file.metric.name, metric_names(study, params, data[1])
    if metric not in known:
        raise ParameterError(f"{path.name}: metric.name: no metric {metric!r}{nearest(metric, known)}")
    decides = [found.file.model_dump(), params.model_dump(mode="json")]
    key = files.fingerprint([decides, schedule.data(run), code(study.name)])
    folder = run.folder / "sweeps" / f"{found.file.name or path.stem}-{key[:8]}"
    files.write_text(folder / "sweep.yaml", path.read_text(encoding="utf-8"))
    return Sweep(found, study, params, data, folder)


def varied(study: Study, params: Parameters, setting: dict[str, Any]) -> Parameters:
    """`params` with a setting; `ParameterError` where the study refuses it."""
    changed = (nested(name, value) for name, value in setting.items())
    return check(study.Params, merge(params.model_dump(), *changed))


def table(lines: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per trial: number, every parameter, score, CPU-seconds, reason."""
    rows = [
        {"trial": line["trial"], **line["setting"], **{k: line[k] for k in ("score", "cpu_s", "reason")}}
        for line in lines
    ]
    return pd.DataFrame(rows)


def _check_name(name: str) -> None:
    """Refuse what a trial would not obey."""
    section, _, key = name.partition(".")
    if section == "model" or name == "seed" or (section == "training" and key in TRAINING):
        return
    if section == "training" and key in TrainingParams.model_fields:
        reason = f"a trial here does not obey it; it obeys {', '.join(TRAINING)}"
    else:
        reason = "sweeps vary `model.*`, `training.*` and `seed`"
    raise ParameterError(f"sweep parameter {name!r} cannot be varied: {reason}")
