"""What 06_evaluation shows beside the tables: the best, median and worst trajectory, and what an error costs.

Decisions:
- The breakeven panel lays error against CPU time per trajectory for the network and for classical solvers on grids of
  several sizes, measured on the same trajectories in the same process. It is the picture in which a network has to
  justify itself: left and below the line of the classical solvers, or not.
- Where a profile trains later stages, a table says what each is worth, by evaluations of its network.
- Breakeven is the number of forecasts after which training has paid for itself: training time over the time saved per
  forecast, against the cheapest classical solver that is as accurate. Where that one is faster, it is never.
"""

import time
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from stepladder.core.types import Batch, Dataset, Prediction
from stepladder.evaluation import metrics as evaluation
from stepladder.studies.pde.data import equations
from stepladder.studies.pde.data.dataset import key
from stepladder.studies.pde.evaluation import metrics
from stepladder.studies.pde.evaluation.scoring import answer
from stepladder.studies.pde.models.baselines import classical
from stepladder.studies.pde.models.stages import plan
from stepladder.studies.pde.models.stages.forecaster import Forecaster
from stepladder.studies.pde.params import PdeParams
from stepladder.studies.pde.pictures import scenes
from stepladder.view.style import MODEL, MUTED, RIVAL

CELLS = (16, 32, 64, None)  # of the classical solvers; None: all points of the sample
MOST = 24  # trajectories looked at


@torch.inference_mode()
def analysis(model: Forecaster, cases: Dataset, params: PdeParams) -> dict[str, pd.DataFrame | Figure]:
    """Figures and tables by title, of up to `MOST` cases spread over the set."""
    indices = evaluation.choose(cases, MOST)
    batches = [batch for _, batch in evaluation.batches(cases, indices, 1)]
    found = {}
    if "input_XC" in batches[0] and "edge_E2" not in batches[0]:
        found["Best, median and worst trajectory"] = extremes(model, cases, indices, batches, params)
    solved = [batch for batch in batches if equations.NAMES[int(batch["equation"][0])] in classical.SOLVERS]
    if solved:
        found["What an error costs"] = cost_figure(costs(model, solved))
    if hasattr(model, "flow"):
        found["What the stages are worth"] = plan.worth(model, plan.batches(model, cases, params), params)
    return found


@torch.inference_mode()
def extremes(model: Forecaster, cases: Dataset, indices: np.ndarray, batches: list[Batch], params: PdeParams) -> Figure:
    """Truth, forecast, error, spectrum and drift of the best, the median and the worst trajectory by nRMSE."""
    predictions = [model.predict(batch) for batch in batches]
    order = np.argsort([_error(batch, guess) for batch, guess in zip(batches, predictions, strict=True)])
    chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    rows = {
        f"{name}: nRMSE {_error(batches[i], predictions[i]):.2g}": (cases.sample(int(indices[i]), None), predictions[i])
        for name, i in chosen.items()
    }
    return scenes.forecast_figure(rows, params)


@torch.inference_mode()
def costs(model: Forecaster, batches: list[Batch]) -> pd.DataFrame:
    """Mean nRMSE and CPU milliseconds per trajectory: columns `method, error, ms`; the network first."""
    methods: dict[str, Callable[[Batch], Prediction]] = {"network": model.predict}
    points = len(batches[0][key(batches[0], "input_")][0])
    for cells in (cells for cells in CELLS if cells is None or cells < points):
        methods["all points" if cells is None else f"{cells} cells"] = lambda b, cells=cells: classical.solver(b, cells)
    rows = []
    for name, method in methods.items():
        method(batches[0])  # what is only paid once
        begin = time.process_time()
        predictions = [method(batch) for batch in batches]
        spent = 1000 * (time.process_time() - begin) / len(batches)
        error = np.mean([_error(batch, guess) for batch, guess in zip(batches, predictions, strict=True)])
        rows.append({"method": name, "error": float(error), "ms": spent})
    return pd.DataFrame(rows)


def breakeven(table: pd.DataFrame) -> float:
    """Forecasts per CPU-second of training after which the network has paid for itself; infinite where it never has."""
    network, others = table.iloc[0], table.iloc[1:]
    rivals = others[others["error"] <= network["error"]]
    saved = (rivals["ms"].min() - network["ms"]) / 1000 if len(rivals) else np.nan
    if np.isnan(saved):
        return 0.0
    return float("inf") if saved <= 0 else 1 / saved


def cost_figure(table: pd.DataFrame) -> Figure:
    """Error against CPU time, both logarithmic; the verdict in the title."""
    figure, axis = plt.subplots(figsize=(6.4, 4.0))
    network, others = table.iloc[0], table.iloc[1:]
    coarse = others[others["method"].str.endswith("cells")]
    axis.loglog(coarse["ms"], coarse["error"], "-", color=RIVAL)
    axis.loglog(others["ms"], others["error"], "o", color=MUTED, label="classical solvers")
    for row in others.itertuples():
        axis.annotate(row.method, (row.ms, row.error), (5, 5), textcoords="offset points", fontsize=7)
    axis.loglog(network["ms"], network["error"], "o", color=MODEL, markersize=8, label="network")
    solves = breakeven(table)
    verdict = {0.0: "no classical solver shown is as accurate", float("inf"): "never: a classical solver is cheaper"}
    told = verdict.get(solves, f"{solves:,.0f} forecasts per CPU-second of training")
    axis.set(xlabel="CPU time per trajectory (ms)", ylabel="nRMSE of the rollout", title=f"Breakeven: {told}")
    axis.margins(0.15)
    axis.legend()
    return figure


def _error(batch: Batch, prediction: Prediction) -> float:
    truth = batch[key(batch, "target_")].double()
    return float(metrics.nrmse(answer(prediction).double(), truth).mean())
