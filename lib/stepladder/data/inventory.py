"""What data exists, how much of it there is, and what it costs to hold: tables and figures of 01_inventory.

A catalogue is a table with one row per group and at least the columns `group, name, region, bytes, year, quality`;
studies may add columns of bytes (one theme, one resolution), `lat` and `lon`. Sizes are decimal: 1 GB = 1e9 bytes; a
table or a chart of bars has one unit, that of its largest value (`core.units`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from stepladder.core import files
from stepladder.core.config import ParameterError, read_yaml
from stepladder.core.paths import project_root
from stepladder.core.types import Check
from stepladder.core.units import readable, unit
from stepladder.data.fetch import Plan
from stepladder.view.style import INK, RIVAL, TRUTH

COLUMNS = ("group", "name", "region", "bytes", "year", "quality")
ALL = "all"
CENT = 0.01
COLOURS = (RIVAL, "#5b7fa6", TRUTH)  # of columns of bytes: everything, and what is wanted of it


def totals(catalogue: pd.DataFrame, by: str = "region", columns: Sequence[str] = ("bytes",)) -> pd.DataFrame:
    """Sums of `columns` and number of groups for each value of `by`, largest first, and over `all`.

    Unknown sizes count as nothing; `unknown` says how many groups have none in the first column.
    """
    columns = list(columns)
    grouped = catalogue.groupby(by, sort=False)
    table = grouped[columns].sum()
    table.insert(0, "groups", grouped.size())
    table["unknown"] = grouped[columns[0]].apply(lambda sizes: int(sizes.isna().sum()))
    table = table.sort_values(columns[0], ascending=False)
    table.loc[ALL] = table.sum()
    return table.astype({"groups": int, "unknown": int})


def storage_prices(path: Path | None = None) -> dict[str, Any]:
    """The dated price table `params/storage_prices.yaml`: `as_of`, `source` and `providers`.

    Raises:
        ParameterError: for a table without date or source, or a provider without prices.
    """
    path = path or project_root() / "params" / "storage_prices.yaml"
    prices = read_yaml(path)
    for key in ("as_of", "source", "providers"):
        if not prices.get(key):
            raise ParameterError(f"{path.name}: needs {key!r}, so that a cost can say where it comes from")
    for provider in prices["providers"]:
        for key in ("name", "dollars_per_gb_month", "dollars_per_gb_out"):
            if key not in provider:
                raise ParameterError(f"{path.name}: provider {provider} needs {key!r}")
    return prices


def storage_cost(sizes: Mapping[str, float], prices: Mapping[str, Any]) -> tuple[pd.DataFrame, str]:
    """Dollars per month at each provider, and dollars to move everything out once; and a note on where prices are from.

    Args:
        sizes: name of what is held -> bytes.
        prices: from `storage_prices`.
    """
    rows = []
    for provider in prices["providers"]:
        monthly = {f"{name} ($/month)": size / 1e9 * provider["dollars_per_gb_month"] for name, size in sizes.items()}
        out = {f"{name} (out, $)": size / 1e9 * provider["dollars_per_gb_out"] for name, size in sizes.items()}
        rows.append({"provider": provider["name"], **monthly, **out})
    note = f"List prices of {prices['as_of']} ({prices['source']}); requests, free allowances and taxes left out."
    return pd.DataFrame(rows).set_index("provider"), note


def save(catalogue: pd.DataFrame, folder: Path) -> Path:
    """Write `inventory.parquet` atomically, best quality first, and return its path.

    Raises:
        ValueError: naming the required columns that are missing, or groups that occur twice.
    """
    missing = [column for column in COLUMNS if column not in catalogue]
    if missing:
        raise ValueError(f"a catalogue needs the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}")
    twice = sorted(set(catalogue["group"][catalogue["group"].duplicated()]))
    if twice:
        raise ValueError(f"groups must be unique; more than once: {', '.join(twice)}")
    path = Path(folder) / "inventory.parquet"
    ordered = catalogue.sort_values(["quality", "group"], ascending=[False, True], na_position="last")
    with files.atomic(path) as temporary:
        ordered.reset_index(drop=True).to_parquet(temporary)
    return path


def totals_figure(table: pd.DataFrame, labels: Mapping[str, str], planned: Mapping[str, float] | None = None) -> Figure:
    """Bars of bytes per region on a logarithmic axis, beside what was planned.

    Args:
        table: from `totals`.
        labels: column of bytes -> what it is; the first is drawn in grey, the others in the accents.
        planned: region (or `all`) -> bytes somebody planned for, drawn as a mark.
    """
    place, height = np.arange(len(table))[::-1], 0.8 / len(labels)
    name, one = unit(table[list(labels)].to_numpy(dtype=float).max())
    sizes = table[list(labels)].to_numpy(dtype=float) / one
    figure, axes = plt.subplots(figsize=(7.2, 0.5 * len(table) + 1.3))
    for i, label in enumerate(labels.values()):
        centre = place + height * ((len(labels) - 1) / 2 - i)
        axes.barh(centre, sizes[:, i], 0.92 * height, label=label, color=COLOURS[i % 3])
        for y, size in zip(centre, sizes[:, i], strict=True):
            axes.text(1.06 * sizes[sizes > 0].min() / 2.5, y, _short(size), va="center", fontsize=7)
    marks = [(planned[row] / one, y) for y, row in zip(place, table.index, strict=True) if planned and row in planned]
    if marks:
        x, y = np.array(marks).T
        axes.vlines(x, y - 0.42, y + 0.42, color=INK, linewidth=2, label="planned")
    axes.set_yticks(place, [f"{row} ({n})" for row, n in zip(table.index, table["groups"], strict=True)])
    axes.set(xscale="log", xlim=(sizes[sizes > 0].min() / 2.5, sizes.max() * 1.5), xlabel=f"{name} (logarithmic)")
    axes.set_title("Bytes by region (number of groups)")
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(LogFormatter())
    figure.legend(loc="outside lower center", ncols=len(labels) + 1)
    return figure


def map_figure(catalogue: pd.DataFrame, labels: Mapping[str, str], note: str = "", named: int = 5) -> Figure:
    """Where the bytes are: one bubble per place, its area in proportion to bytes within its panel.

    Args:
        catalogue: with `lat` and `lon` in degrees; groups at the same place are summed.
        labels: column of bytes -> title of its panel.
        note: what a place is, for the axis.
        named: how many of the largest bubbles of each panel are named, by `place` where there is such a column.
    """
    title = "place" if "place" in catalogue else "name"
    spots = catalogue.groupby(["lat", "lon"]).agg({**dict.fromkeys(labels, "sum"), title: "first", "region": "first"})
    spots = spots.reset_index().rename(columns={title: "title"})
    size = (4.6 * len(labels), 4.6)
    figure, panels = plt.subplots(1, len(labels), figsize=size, sharex=True, sharey=True, squeeze=False)
    west, east, south, north = spots["lon"].min(), spots["lon"].max(), spots["lat"].min(), spots["lat"].max()
    panels[0, 0].set(xlim=(west - 2, east + 0.55 * (east - west)), ylim=(south - 1, north + 1), ylabel="latitude (°N)")
    for axes, (column, label) in zip(panels[0], labels.items(), strict=True):
        axes.set_aspect(1 / np.cos(np.radians(spots["lat"].mean())))
        _bubbles(axes, spots, column)
        _name_largest(axes, spots.nlargest(named, column), column)
        axes.set(title=f"{label}: {readable(spots[column].sum())}", xlabel=f"longitude (°E){note}")
    names = panels[0, 0].get_legend_handles_labels()
    title = "Area in proportion to bytes within each panel"
    legend = figure.legend(*names, loc="outside lower center", ncols=8, title=title, title_fontsize=8)
    for handle in filter(None, legend.legend_handles):
        handle.set(sizes=[30])
    return figure


def _short(size: float) -> str:
    """A size in its unit: one decimal, two digits where it is below 1."""
    return f"{size:,.1f}" if size >= 1 else f"{size:.2g}"


def _bubbles(axes: Axes, spots: pd.DataFrame, column: str) -> None:
    """Draw every place, in the colour of its region, the largest first so that none is hidden."""
    colours = {region: plt.get_cmap("tab10")(i) for i, region in enumerate(sorted(spots["region"].unique()))}
    for region, colour in colours.items():
        axes.scatter([], [], color=colour, label=region)
    ordered = spots.sort_values(column, ascending=False)
    area = (1200 * ordered[column] / ordered[column].max()).astype(float).clip(lower=4)
    colour = [colours[region] for region in ordered["region"]]
    axes.scatter(ordered["lon"], ordered["lat"], s=area, color=colour, alpha=0.65, linewidths=0)


def _name_largest(axes: Axes, largest: pd.DataFrame, column: str) -> None:
    """Name places in a column to the right of all, joined to them by thin lines, so that names never overlap."""
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    ordered = largest.sort_values("lat")
    for i, row in enumerate(ordered.itertuples()):
        middle = ordered["lat"].mean() - (high - low) / 6
        at = (left + 0.66 * (right - left), middle + (high - low) / 16 * (i - (len(ordered) - 1) / 2))
        text = f"{row.title} {readable(getattr(row, column))}"
        line = {"arrowstyle": "-", "relpos": (0, 0.5), "color": "#6b7280", "linewidth": 0.6}
        axes.annotate(text, (row.lon, row.lat), at, fontsize=7, va="center", arrowprops=line)


def overview(catalogue: pd.DataFrame, sizes: Mapping[str, str], planned: Mapping[str, float]) -> dict[str, Figure]:
    """The figures of a catalogue by caption: bytes by region beside what was planned, a map where places are known."""
    beside = ", beside what was planned" if planned else ""
    figures = {f"Bytes by region{beside}.": totals_figure(totals(catalogue, "region", list(sizes)), sizes, planned)}
    if {"lat", "lon"} <= set(catalogue.columns):
        note = f", {catalogue.attrs['place']}" if "place" in catalogue.attrs else ""
        figures["Where the bytes are; a bubble's area is in proportion to its bytes."] = map_figure(
            catalogue, sizes, note
        )
    return figures


def totals_table(catalogue: pd.DataFrame, sizes: Mapping[str, str], planned: Mapping[str, float]) -> pd.DataFrame:
    """Sizes by region and in all, beside the plan's, as people read it: one unit for all (see `core.units`)."""
    sums = totals(catalogue, "region", list(sizes))
    table = pd.DataFrame({"region": sums.index, "groups": sums["groups"].to_numpy()})
    name, one = unit(sums[list(sizes)].to_numpy(dtype=float).max())
    for column, label in sizes.items():
        table[f"{label} ({name})"] = (sums[column] / one).astype(float).to_numpy()
    if planned:
        table[f"planned ({name})"] = [planned.get(region, float("nan")) / one for region in sums.index]
    return table


def ranking(catalogue: pd.DataFrame, count: int = 10) -> pd.DataFrame:
    """The best groups by quality, with the parts it is made of."""
    best = catalogue.nlargest(count, "quality")
    parts = [column for column in best if column.startswith("quality_") and best[column].notna().any()]
    return best[["group", "name", "region", "year", "quality", *parts]].astype({"year": str})


def storage_table(catalogue: pd.DataFrame, sizes: Mapping[str, str]) -> tuple[pd.DataFrame, str]:
    """What holding everything costs per month by provider, to the cent, and what the prices rest on."""
    held = {label: float(catalogue[column].sum()) for column, label in sizes.items()}
    table, note = storage_cost(held, storage_prices())
    return table.map(lambda dollars: f"< {CENT}" if 0 < dollars < CENT else round(dollars, 2)).reset_index(), note


def fetch_table(plans: Sequence[Plan]) -> pd.DataFrame:
    """What this run would fetch: files, megabytes still to move, whether the disk takes it."""
    return pd.DataFrame([(row := plan.summary()) | {"source": row["source"].rpartition("/")[2]} for plan in plans])


def checks(catalogue: pd.DataFrame, plans: Sequence[Plan]) -> list[Check]:
    """The gates of the inventory: groups are unique, something is wanted, the disk takes it."""
    unique, wanted = catalogue["group"].is_unique, sum(len(plan.wanted) for plan in plans)
    full = [plan.source.folder for plan in plans if not plan.fits]
    return [
        Check("groups are unique", bool(unique), f"{len(catalogue)} groups"),
        Check("raw files are found", wanted > 0, f"{wanted} files from {len(plans)} sources"),
        Check("the disk takes them", not full, f"too little room for {', '.join(full)}" if full else "room enough"),
    ]
