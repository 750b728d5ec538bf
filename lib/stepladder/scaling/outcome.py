"""How far more data and a larger network carry: runs, laws, one forecast outside them and its test, the best size.

Decisions:
- Every metric gets two laws. That of data: parameters and units of training data, at the longest budget. That of time:
  parameters and samples drawn, at the most data; with the operations of a sample it says which size is best for a
  budget of operations.
- The forecast of the run outside the grid is written to `forecast.json` before that run begins. Measured inside the
  band is a hit, outside it a miss; both are printed, and neither fails the stage.
- A metric that is better when higher is fitted as 1 less the metric: a law is of something that falls to a floor.
- Runs that failed, diverged or were cut by time are rows with their reason, and left out of the fit.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stepladder.core import files
from stepladder.core.run import Run
from stepladder.core.schema import Parameters
from stepladder.scaling import figures, grid, law, optimum
from stepladder.scaling.law import Law, Laws
from stepladder.scaling.optimum import Price

NOT_ASKED = "not asked for: set ladder.scaling"
DATA_AXES, TIME_AXES = ("parameters", "units"), ("parameters", "samples")
Track = Callable[[Iterable[Any], str, int, Run], Iterable[Any]]  # `lab.track`


@dataclass(frozen=True)
class Outcome:
    """Everything about a scaling law, empty where none was asked for."""

    plan: grid.Plan | None = None
    records: tuple[dict[str, Any], ...] = ()
    laws: tuple[Laws, ...] = ()
    price: Price | None = None

    @property
    def _asked(self) -> tuple[grid.Plan, Price]:
        """Plan and price of a law that was asked for."""
        assert self.plan is not None and self.price is not None, NOT_ASKED
        return self.plan, self.price

    @property
    def headline(self) -> str:
        """What was asked for, in one line that is the same every time."""
        if self.plan is None:
            return NOT_ASKED
        wanted = self.plan.wanted
        steps = ", ".join(map(str, sorted(wanted.budgets)))
        grid_words = f"{len(self.plan.sizes)} sizes x {len(wanted.units)} data sizes"
        return f"{grid_words}, cooled down at {steps} steps, and one run outside them"

    def shown(self) -> dict[str, pd.DataFrame | Figure]:
        """Tables and figures by title, in the order to be read; none where no law was asked for."""
        if self.plan is None:
            return {}
        pictures = figures.Pictures(self.plan, self.records, self.laws, self._asked[1])
        told = {f"{laws.name} = {laws.data.formula()}": laws.data.terms() for laws in self.laws}
        timed = {f"{laws.name} = {laws.time.formula()}": laws.time.terms() for laws in self.laws}
        return {
            "What the scaling law rests on": self.protocol(),
            "Runs of the scaling law": self.runs(),
            **told,
            "Error against size": pictures.sizes(),
            "The run outside the grid": self.tests(),
            "Forecast and measurement": pictures.forecast(),
            **timed,
            "Equal operations": pictures.equal_flops(),
            "Best size for a budget": self.recommended(),
        }

    def protocol(self) -> pd.DataFrame:
        """What the numbers rest on."""
        plan, price = self._asked
        wanted = plan.wanted
        rows = {
            "runs": f"constant rate, decay to zero over the last {wanted.cooldown:.0%} of every budget; one seed",
            "data": "nested subsets of the training split, counted in independent units",
            "scores": f"the study's own, on {wanted.samples} validation cases",
            "laws": "least squares on logarithms, Huber's loss; bands: bootstrap over runs, forecasts with scatter",
            "FLOPs": f"{price.scale:.3g} parameters^{price.power:.3g} per sample. {optimum.NOT_COUNTED}",
        }
        return pd.DataFrame(rows.items(), columns=["what", "how"])

    def runs(self) -> pd.DataFrame:
        """One row per run: what it was, what it reached at its longest budget, what it cost."""
        rows, wanted = [], self._asked[0].wanted
        for record in self.records:
            points = record.get("points") or []
            last = points[-1] if points else {}
            scores = {name: last.get("scores", {}).get(name) for name in wanted.metrics}
            told = {name: record.get(name) for name in ("name", "parameters", "flops_per_sample")}
            remark = record.get("failed") or _remark(points, wanted)
            rows.append({**told, "steps": last.get("steps"), **scores, "CPU s": last.get("cpu_s"), "remark": remark})
        return pd.DataFrame(rows).rename(columns={"name": "size x units", "flops_per_sample": "FLOPs per sample"})

    def tests(self) -> pd.DataFrame:
        """Forecast of the run outside the grid, beside what it reached; a hit in a wide band says little.

        `spans` is the factor from one end of the band to the other.
        """
        plan, _ = self._asked
        place = f"{plan.beyond_parameters:,} parameters, {plan.beyond.units} units"
        rows = [
            {
                "metric": laws.name,
                "at": place,
                **laws.forecast._asdict(),
                "spans": laws.forecast.high / laws.forecast.low,
            }
            | {"measured": laws.measured, "is": laws.verdict}
            for laws in self.laws
        ]
        return pd.DataFrame(rows).rename(columns={"value": "forecast"})

    def recommended(self) -> pd.DataFrame:
        """The best size for every budget of operations, by every metric."""
        plan, price = self._asked
        budgets = plan.wanted.flops or self._budgets()
        tables = [optimum.table(laws.time, price, budgets, plan.sizes) for laws in self.laws]
        named = [table.assign(metric=laws.name) for laws, table in zip(self.laws, tables, strict=True)]
        return pd.concat(named, ignore_index=True)[["metric", *tables[0].columns]]

    def record(self) -> dict[str, Any] | None:
        """The record for the result of the stage: laws, forecasts, verdicts."""
        if self.plan is None:
            return None
        told = [
            {"metric": laws.name, "data": _told(laws.data), "time": _told(laws.time), "verdict": laws.verdict}
            | {"forecast": laws.forecast._asdict(), "measured": laws.measured}
            for laws in self.laws
        ]
        return {"asked": self.headline, "laws": told, "best": self.recommended().to_dict("records")}

    def _budgets(self) -> list[float]:
        """A tenth of the dearest run, the dearest run, ten times as much."""
        dearest = max(point["flops"] for record in self.records for point in record.get("points", []))
        return [0.1 * dearest, dearest, 10 * dearest]


def plainly(items: Iterable[Any], label: str, total: int, run: Run) -> Iterable[Any]:
    """The `Track` that shows nothing."""
    return items


def measure(run: Run, params: Parameters, folder: Path, track: Track = plainly) -> Outcome:
    """Run what is missing of the grid in `folder`, fit, forecast the run outside, run it, judge.

    Args:
        run: the run; its conversion is done.
        params: its parameters.
        folder: where every run leaves its file, and the forecast.
        track: shows progress, as `lab.track` does.

    Raises:
        ParameterError: a size, data size or metric that cannot be used.
        LawError: too few runs came through for a law.
    """
    if params.ladder.scaling is None:
        return Outcome()
    plan = grid.plan(run, params, folder)
    wanted = plan.wanted
    records = list(track(grid.runs(plan.jobs, wanted.processes), "runs of the scaling law", len(plan.jobs), run))
    records.sort(key=lambda record: (record.get("parameters", 0), record.get("units", 0)))
    done = [record for record in records if record.get("points")]
    laws = [_fit(plan, done, metric, params) for metric in wanted.metrics]
    # Written before the run outside is made: a forecast that has seen its answer would be none.
    files.write_json(folder / "forecast.json", {found.name: found.forecast._asdict() for found in laws})
    (beyond,) = track(grid.runs([plan.beyond], 1), "runs outside the grid", 1, run)
    judged = [_judge(plan, found, metric, beyond) for found, metric in zip(laws, wanted.metrics, strict=True)]
    sizes = {record["parameters"]: record["flops_per_sample"] for record in done}
    price = Price.fit(np.array(list(sizes)), np.array(list(sizes.values())))
    return Outcome(plan, (*records, beyond), tuple(judged), price)


def error_of(plan: grid.Plan, point: dict[str, Any], metric: str) -> float:
    """The loss a law is fitted to; nan where the run diverged."""
    value = point["scores"].get(metric)
    if value is None:
        return math.nan
    return value if plan.study.better == "lower" else 1 - value


def _fit(plan: grid.Plan, records: list[dict[str, Any]], metric: str, params: Parameters) -> Laws:
    """Both laws of a metric, and the forecast of the run outside."""
    longest, most = max(plan.wanted.budgets), max(plan.wanted.units)
    data, time = [], []
    for record in records:
        for point in record["points"]:
            loss = error_of(plan, point, metric)
            usable = math.isfinite(loss) and loss > 0
            # Two laws share the runs: size and data at the longest budget, size and training time with the most data.
            if usable and point["steps"] == longest:
                data.append((record["parameters"], record["units"], loss, record["name"]))
            if usable and record["units"] == most:
                time.append((record["parameters"], point["samples"], loss, record["name"]))
    settings = {"replicates": plan.wanted.bootstrap, "seed": params.seed, "confidence": plan.wanted.confidence}
    of_data, of_time = (_law(axes, rows, settings) for axes, rows in ((DATA_AXES, data), (TIME_AXES, time)))
    forecast = of_data.predict(np.array([[plan.beyond_parameters, plan.beyond.units]]), scatter=True).at(0)
    name = metric if plan.study.better == "lower" else f"1 - {metric}"
    return Laws(name, of_data, of_time, forecast)


def _law(axes: tuple[str, str], rows: list[tuple], settings: dict[str, Any]) -> Law:
    x_P2 = np.array([row[:2] for row in rows], dtype=float).reshape(-1, 2)
    return law.fit(axes, x_P2, np.array([row[2] for row in rows]), [row[3] for row in rows], **settings)


def _judge(plan: grid.Plan, laws: Laws, metric: str, beyond: dict[str, Any]) -> Laws:
    """The laws, with what the run outside the grid reached."""
    points = beyond.get("points") or []
    measured = error_of(plan, points[-1], metric) if points else math.nan
    return Laws(laws.name, laws.data, laws.time, laws.forecast, measured if math.isfinite(measured) else None)


def _remark(points: list[dict[str, Any]], wanted: Any) -> str:
    if not points or points[-1]["steps"] < max(wanted.budgets):
        return f"cut after {wanted.seconds:g} s"
    diverged = [name for name in wanted.metrics if points[-1]["scores"].get(name) is None]
    return f"diverged in {', '.join(diverged)}" if diverged else ""


def _told(found: Law) -> dict[str, Any]:
    return {"formula": found.formula(), "terms": found.terms().to_dict("records")}
