"""The loss against the optimizer step as inline SVG: a chart for a run's page, a sparkline for the index.

The chart is matplotlib's, in the package's style; the same metrics give the same bytes. matplotlib is imported when a
chart is drawn, for that costs more than the rest of a page; a sparkline, one bare line, does without it.
"""

import io
import math
from collections.abc import Sequence
from typing import Any, TypeGuard

from markupsafe import Markup

from stepladder.view.style import SPLIT_COLOURS, STYLE

GREY = "#9ca3af"
DRAWN = 1e300  # larger values are no measurement, and no axis takes them
POINTS = 400  # a longer curve is averaged down to this many points
FALL = 20  # a loss that falls by more than this factor is drawn on a logarithmic axis
SIZE = (7.2, 2.9)  # inches
TEXT = {"svg.fonttype": "none", "svg.hashsalt": "stepladder"}  # text stays text; names inside are the same every time
UNDATED = {"Date": None, "Creator": None, "Format": None, "Type": None}
Points = list[tuple[float, float]]


def series(metrics: Sequence[dict[str, Any]], key: str) -> Points:
    """(step, value) of one metric, in order; of a step logged twice (after a resume) the later line counts."""
    return sorted({line["step"]: line[key] for line in metrics if _is_number(line.get(key))}.items())


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether a value can be drawn; what another program wrote into a record may be anything."""
    return isinstance(value, int | float) and abs(value) < DRAWN


def loss(metrics: Sequence[dict[str, Any]]) -> Markup:
    """Training and validation loss against the optimizer step; empty without at least two points."""
    if len(series(metrics, "loss")) < 2:
        return Markup("")
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context([STYLE, TEXT]):
        figure = Figure(figsize=SIZE)
        _plot(figure.subplots(), metrics)
        figure.draw_without_rendering()  # makes the ticks, so that they are met below
        for part in figure.findobj():
            part.set_clip_on(False)  # nothing lies outside; a clip would be an address, `url(...)`, in the page
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata=UNDATED)
    svg = drawn.getvalue().partition("<svg ")[2]  # what stands before it belongs to a file, not into a page
    return Markup(f'<svg class="curve" role="img" aria-label="loss curve" {svg}')


def _plot(axis: Any, metrics: Sequence[dict[str, Any]]) -> None:
    """Both losses, a line where each stage of training begins, and a logarithmic axis for a loss that falls far."""
    train, validation = series(metrics, "loss"), series(metrics, "validation_loss")
    axis.plot(*zip(*_thin(train), strict=True), color=SPLIT_COLOURS["train"], linewidth=1.4, label="training loss")
    if validation:
        axis.plot(
            *zip(*validation, strict=True),
            "o-",
            color=SPLIT_COLOURS["validation"],
            markersize=3.5,
            label="validation loss",
        )
    axis.set(xlabel="optimizer step", ylabel="loss")
    axis.legend()
    for name, step in _stages(metrics).items():
        axis.axvline(step, color=GREY, linewidth=0.8, linestyle="--")
        place = {"xycoords": axis.get_xaxis_transform(), "textcoords": "offset points"}
        axis.annotate(name, (step, 0.02), (3, 0), **place, fontsize=8, parse_math=False)
    values = [value for _, value in train + validation]
    if min(values) > 0 and (fall := max(values) / min(values)) > FALL:
        axis.set(yscale="log", ylabel="loss (log)")
        axis.yaxis.get_major_locator().set_params(subs=(1, 2, 5) if fall < 1000 else (1,))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")


def sparkline(metrics: Sequence[dict[str, Any]], width: int = 96, height: int = 22) -> Markup:
    """The training loss without axes, first and last value in the tooltip; empty without at least two points."""
    points = _thin(series(metrics, "loss"), width)
    if len(points) < 2:
        return Markup("")
    (first, begin), (last, end) = points[0], points[-1]
    low, high = min(y for _, y in points), max(y for _, y in points)
    across, down = (width - 4) / (last - first), (height - 4) / ((high - low) or 1)
    path = " ".join(f"{2 + (x - first) * across:.1f},{2 + (high - y) * down:.1f}" for x, y in points)
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<title>loss {begin:.3g} to {end:.3g} at step {last}</title>"
        f'<polyline points="{path}" fill="none" stroke="{SPLIT_COLOURS["train"]}" stroke-width="1.3"/></svg>'
    )


def _stages(metrics: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The step at which each stage of training begins, when there are several."""
    begins: dict[str, float] = {}
    for line in metrics:
        if "loss" in line and line.get("stage"):
            begins.setdefault(line["stage"], line["step"])
    return begins if len(begins) > 1 else {}


def _thin(points: Points, most: int = POINTS) -> Points:
    """Averages of equal runs of points, so that a long curve stays a small picture."""
    size = max(1, math.ceil(len(points) / most))
    runs = [points[i : i + size] for i in range(0, len(points), size)]
    return [(run[-1][0], sum(y for _, y in run) / len(run)) for run in runs]
