"""What is shown of lists before anything moves: the funnel, the hosts, what rows say, what to expect.

Grey is every row of the lists, navy what the filters leave of them; green is what they cost. Raw folders without a
list (tars, NLVR) show nothing here: nothing of theirs has to be fetched.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from stepladder.studies.captions.data import lists, survival
from stepladder.studies.captions.data.funnel import EDGES, Funnel, funnel
from stepladder.studies.captions.params import CaptionsParams
from stepladder.view.style import CHOSEN, INK, MUTED, RIVAL, TRUTH

TOP = 12  # hosts shown
LOGARITHMIC = ("smaller side (pixels)", "longer side over shorter", "characters of the text")


def survey(raw: Sequence[Path], params: CaptionsParams) -> dict[str, pd.DataFrame | Figure]:
    """Title -> table or figure of all lists at or below `raw`; empty where there is none.

    Raises:
        StudyError: as of `funnel.funnel`.
    """
    if not (paths := lists.find(raw)):
        return {}
    found = funnel(paths, params)
    shown: dict[str, pd.DataFrame | Figure] = {"Rows of the lists, and what the filters leave": steps_table(found)}
    if found.broken:
        broken = pd.DataFrame(sorted(found.broken.items()), columns=["broken", "rows or values"])
        shown["Broken lines: counted, and left out or mended"] = broken
    if found.asked:
        shown |= _to_expect(found, params)
    return shown


def _to_expect(found: Funnel, params: CaptionsParams) -> dict[str, pd.DataFrame | Figure]:
    return {
        "Each filter takes its share": steps_figure(found),
        f"Hosts that are asked: about {found.distinct_hosts:,}": hosts_figure(found, params),
        "What rows say of themselves": histograms_figure(found),
        "Hours of asking, by what limits them": survival.hours(found, params).round(2),
        "Pictures and GB to expect, by the age of the list": _rounded(survival.by_age(found.asked, params)),
        "How many links still live": survival_figure(),
    }


def steps_table(found: Funnel) -> pd.DataFrame:
    """The funnel as people read it."""
    return found.steps.assign(share=[f"{share:.1%}" for share in found.steps["share"]])


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """GB with three digits, whatever their size."""
    gigabytes = {name: [float(f"{value:.3g}") for value in table[name]] for name in table if str(name).startswith("GB")}
    return table.assign(**gigabytes)


def steps_figure(found: Funnel) -> Figure:
    """Bars of what is left after each step, what it took in words beside them."""
    steps = found.steps
    figure = Figure(figsize=(7.2, 0.34 * len(steps) + 1.1), layout="constrained")
    axis, place = figure.subplots(), np.arange(len(steps))[::-1]
    axis.barh(place, steps["left"], color=[RIVAL] + [TRUTH] * (len(steps) - 1), height=0.72)
    for y, row in zip(place, steps.itertuples(), strict=True):
        lost = f", {-row.lost:,}" if row.lost else ""
        axis.annotate(f"{row.left:,} ({row.share:.1%}{lost})", (row.left, y), (4, 0), **_BESIDE)
    axis.set_yticks(place, steps["step"])
    axis.set(xlim=(0, 1.38 * max(found.rows, 1)), xlabel="rows left", title="What each filter leaves")
    axis.grid(axis="y", visible=False)
    axis.xaxis.set_major_formatter(FuncFormatter(_count))
    return figure


def hosts_figure(found: Funnel, params: CaptionsParams) -> Figure:
    """Bars of the largest hosts' rows, the hours that each takes beside them."""
    top = found.hosts.head(TOP)
    figure = Figure(figsize=(7.2, 0.27 * len(top) + 1.3), layout="constrained")
    axis, place = figure.subplots(), np.arange(len(top))[::-1]
    axis.barh(place, top["rows"], color=TRUTH, height=0.72)
    for y, row in zip(place, top.itertuples(), strict=True):
        hours = survival.host_hours(row.rows, params).expected
        axis.annotate(f"{row.rows / max(found.asked, 1):.1%}, {_duration(hours)}", (row.rows, y), (4, 0), **_BESIDE)
    axis.set_yticks(place, [str(host)[:40] or "(no host)" for host in top["host"]])
    rest = found.asked - int(top["rows"].sum())
    unsure = f"; a count may be {found.hosts_error:,} too small" if found.hosts_error else ""
    axis.set(
        xlim=(0, 1.25 * max(top["rows"], default=1)),
        xlabel=f"rows asked for ({rest:,} at other hosts{unsure})\n{_pace(params)}",
    )
    axis.set_title("Largest hosts: share of rows, and time")
    axis.grid(axis="y", visible=False)
    axis.xaxis.set_major_formatter(FuncFormatter(_count))
    return figure


_BESIDE = {"textcoords": "offset points", "va": "center", "fontsize": 8, "color": INK}


def _pace(params: CaptionsParams) -> str:
    return f"each with {params.data.per_host} connections, {params.data.per_second:g} requests a second at most"


def _duration(hours: float) -> str:
    """A time in the unit that suits it."""
    for one, name in ((24.0, "days"), (1.0, "h"), (1 / 60, "min")):
        if hours >= 2 * one:
            return f"{hours / one:.0f} {name}"
    return f"{3600 * hours:.0f} s"


def _count(value: float, _: object = None) -> str:
    """A count on an axis: 12.8M rather than 12800000."""
    for one, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= one:
            return f"{value / one:g}{name}"
    return f"{value:g}"


def histograms_figure(found: Funnel) -> Figure:
    """One panel for each value that the lists tell: all rows in grey, what is asked for in navy."""
    names = list(found.histograms)
    lines = -(-len(names) // 2)
    figure = Figure(figsize=(7.2, 1.9 * lines + 0.6), layout="constrained")
    axes = figure.subplots(lines, 2, squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        _histogram(axis, name, found.histograms)
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def _histogram(axis: Axes, name: str, histograms: Mapping[str, np.ndarray]) -> None:
    edges_E, (all_B, asked_B) = EDGES[name], histograms[name]
    axis.stairs(all_B, edges_E, fill=True, color=RIVAL, label="all rows")
    axis.stairs(asked_B, edges_E, fill=True, color=TRUTH, label="asked for")
    if name in LOGARITHMIC:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.xaxis.set_minor_formatter(lambda value, _: "")
    if name == "longer side over shorter":
        axis.set_xticks([1, 2, 3, 5, 10], ["1", "2", "3", "5", "10"])
    axis.set(xlabel=name, ylabel="rows")
    axis.yaxis.set_major_formatter(FuncFormatter(_count))


def survival_figure() -> Figure:
    """The expected share of living links over the age of a list, its interval, and every report it rests on."""
    years_Y = np.linspace(0, survival.OLDEST, 101)
    ranges = [survival.expected(float(years)) for years in years_Y]
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axis = figure.subplots()
    low, high = [one.low for one in ranges], [one.high for one in ranges]
    axis.fill_between(years_Y, low, high, color=CHOSEN, alpha=0.15, linewidth=0, label="all reports lie within")
    axis.plot(years_Y, [one.expected for one in ranges], color=CHOSEN, label="expected")
    for name, marker in zip(survival.REPORTED["list"].unique(), "osD^", strict=False):
        own = survival.REPORTED[survival.REPORTED["list"] == name]
        axis.plot(own["years"], own["share"], marker, color=INK, markersize=5, label=name)
    axis.axhline(0.13, color=MUTED, linewidth=1, linestyle=(0, (4, 2)))
    axis.annotate(
        "DataComp behind a bad proxy: 13 %. So little is a local fault.", (survival.OLDEST, 0.13), (0, 4), ha="right",
        textcoords="offset points", fontsize=8, color=MUTED,
    )  # fmt: skip
    axis.set(ylim=(0, 1), xlim=(0, survival.OLDEST), xlabel="age of the list (years)", ylabel="pictures got")
    axis.set_title("Links die: what others got of lists of this age")
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside lower left", ncols=5)
    return figure
