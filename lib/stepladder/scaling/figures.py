"""Pictures of scaling laws: error against size, forecast against measurement, the best size at equal operations.

Decisions:
- One column per metric, the same in all pictures. Colours run from light to dark as data (or operations) grow.
- Green is the size that is recommended; black and dashed is the run outside the grid, by which the law is judged.
"""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from stepladder.scaling import optimum
from stepladder.scaling.grid import Plan
from stepladder.scaling.law import Laws
from stepladder.scaling.optimum import Price
from stepladder.view.style import CHOSEN, INK, MUTED, TRUTH

WIDTH = 7.2  # inches, of every picture
LEVELS = 4  # budgets of operations that are drawn
REACH = 1.5  # factor by which curves go on beyond what was measured


class Pictures:
    """The pictures of one outcome."""

    def __init__(self, plan: Plan, records: Sequence[dict[str, Any]], laws: Sequence[Laws], price: Price) -> None:
        self.plan, self.records, self.laws, self.price = plan, records, laws, price

    def sizes(self) -> Figure:
        """Error against parameters for every data size: measured points, the law, and its band at the most data."""
        figure, axes = self._columns()
        for axis, laws in zip(axes, self.laws, strict=True):
            law = laws.data
            parameters = _between(law.x_PK[:, 0].min(), max(law.x_PK[:, 0].max(), self.plan.beyond_parameters))
            units = sorted({*law.x_PK[:, 1], float(self.plan.beyond.units)})
            for shade, count in zip(_shades(len(units)), units, strict=True):
                measured = law.x_PK[:, 1] == count
                outside = count == self.plan.beyond.units
                colour = INK if outside else shade
                band = law.predict(np.stack([parameters, np.full_like(parameters, count)], axis=1))
                style = {"linestyle": "--" if outside else "-", "linewidth": 1.2}
                axis.plot(parameters, band.value, color=colour, label=f"{count:g} units", **style)
                if count in (units[0], units[-1]):
                    axis.fill_between(parameters, band.low, band.high, color=colour, alpha=0.15, linewidth=0)
                axis.plot(law.x_PK[measured, 0], law.loss_P[measured], "o", color=colour, markersize=4)
            self._outside(axis, laws, self.plan.beyond_parameters)
            _logarithmic(axis)
            axis.set(xlabel="parameters", ylabel=laws.name, title=laws.name)
        return _with_legend(figure, "training data")

    def forecast(self) -> Figure:
        """Measured against fitted error of every run, and the run outside the grid with its band."""
        figure, axes = self._columns(height=3.6)
        for axis, laws in zip(axes, self.laws, strict=True):
            law = laws.data
            fitted = law.predict(law.x_PK).value
            axis.plot(fitted, law.loss_P, "o", color=TRUTH, markersize=4, label="runs of the grid")
            self._outside(axis, laws, laws.forecast.value, across=True)
            seen = [*fitted, *law.loss_P, *laws.forecast, *([laws.measured] if laws.measured else [])]
            ends = np.array([min(seen) / 1.2, max(seen) * 1.2])
            axis.plot(ends, ends, color=MUTED, linewidth=0.8)
            _logarithmic(axis, plain=True)
            axis.set(xlabel="error by the law", ylabel="error measured", title=laws.name)
            axis.set(xlim=ends, ylim=ends, aspect="equal")
        return _with_legend(figure)

    def equal_flops(self) -> Figure:
        """Error against parameters at equal operations: the law's curves and minima, and branches between budgets."""
        figure, axes = self._columns()
        for axis, laws in zip(axes, self.laws, strict=True):
            law = laws.time
            parameters = _between(law.x_PK[:, 0].min() / REACH, law.x_PK[:, 0].max() * REACH)
            levels = self._levels(law.x_PK)
            for shade, flops in zip(_shades(len(levels)), levels, strict=True):
                x_P2 = np.stack([parameters, self.price.samples(flops, parameters)], axis=1)
                axis.plot(parameters, law.predict(x_P2).value, color=shade, linewidth=1.2, label=f"{flops:.1e}")
                axis.plot(*_interpolated(law.x_PK, law.loss_P, self.price, flops), "o", color=shade, markersize=4)
                best = optimum.best(law, self.price, flops)
                if parameters[0] <= best.parameters.value <= parameters[-1]:
                    axis.plot(best.parameters.value, best.loss.value, "v", color=CHOSEN, markersize=7, zorder=3)
            axis.plot([], [], "v", color=CHOSEN, label="best size by the law")
            _logarithmic(axis)
            axis.set(xlabel="parameters", ylabel=laws.name, title=laws.name)
            axis.set(ylim=(law.loss_P.min() / REACH, law.loss_P.max() * REACH))
        return _with_legend(figure, "training FLOPs")

    def _columns(self, height: float = 4.0) -> tuple[Figure, Sequence[Axes]]:
        figure, axes = plt.subplots(1, len(self.laws), figsize=(WIDTH, height), squeeze=False)
        return figure, axes[0]

    def _outside(self, axis: Axes, laws: Laws, x: float, across: bool = False) -> None:
        """The run outside the grid at `x`: its band, its measured error, the verdict."""
        low, value, high = laws.forecast.low, laws.forecast.value, laws.forecast.high
        span = [[value - low], [high - value]]
        wide: dict[str, Any] = {"xerr": span} if across else {"yerr": span}
        y = laws.measured if across and laws.measured else value
        axis.errorbar(x, y, **wide, color=INK, capsize=4, marker="_", label="forecast before the run")
        if laws.measured:
            axis.plot(x, laws.measured, "*", color=INK, markersize=9, label="measured outside the grid", zorder=4)
            axis.set_title(laws.verdict, loc="right", color=INK)

    def _levels(self, x_PK: np.ndarray) -> np.ndarray:
        """Budgets of operations spread over what was measured."""
        flops_P = x_PK[:, 1] * self.price.of(x_PK[:, 0])
        return np.geomspace(np.quantile(flops_P, 0.15), np.quantile(flops_P, 0.85), LEVELS)


def _interpolated(x_PK: np.ndarray, loss_P: np.ndarray, price: Price, flops: float) -> tuple[list[float], list[float]]:
    """Parameters and error at `flops` of every size with branches on both sides, between them on logarithms."""
    sizes, errors = [], []
    for parameters in np.unique(x_PK[:, 0]):
        own = np.flatnonzero(x_PK[:, 0] == parameters)
        own = own[np.argsort(x_PK[own, 1])]
        spent = np.log(x_PK[own, 1] * price.of(parameters))
        if spent[0] <= math.log(flops) <= spent[-1]:
            sizes.append(float(parameters))
            errors.append(float(np.exp(np.interp(math.log(flops), spent, np.log(loss_P[own])))))
    return sizes, errors


def _logarithmic(axis: Axes, plain: bool = False) -> None:
    """Logarithmic axes with round numbers; `plain` writes those of x as those of y, for errors."""
    axis.set(xscale="log", yscale="log")
    for one in (axis.xaxis, axis.yaxis) if plain else (axis.yaxis,):
        one.set_major_locator(LogLocator(subs=(1, 2, 5)))
        one.set_major_formatter("{x:g}")
        one.set_minor_formatter(NullFormatter())


def _with_legend(figure: Figure, title: str | None = None) -> Figure:
    """One legend for all columns, below them, where it hides nothing."""
    handles = dict(zip(*figure.axes[-1].get_legend_handles_labels()[::-1], strict=True))
    figure.legend(
        handles.values(),
        handles.keys(),
        title=title,
        title_fontsize=8,
        loc="outside lower center",
        ncols=min(4, len(handles)),
    )
    return figure


def _between(low: float, high: float) -> np.ndarray:
    return np.geomspace(low, high, 60)


def _shades(count: int) -> np.ndarray:
    """Blues from light to dark."""
    return plt.get_cmap("Blues")(np.linspace(0.4, 1.0, count))
