"""The loss as an inline SVG: a curve with axes for a run's page, a sparkline for the index. No plotting library."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

NAVY, AMBER, LINE = "#1f3a5f", "#d98e04", "#e5e2da"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 250, 62, 14, 14, 40
POINTS = 400  # a longer curve is averaged down to this many points
Points = list[tuple[float, float]]


def series(metrics: Sequence[dict[str, Any]], key: str) -> Points:
    """(step, value) of one metric, in order; of a step logged twice (after a resume) the later line counts."""
    found = {line["step"]: line[key] for line in metrics if line.get(key) is not None and "step" in line}
    return sorted(found.items())


def loss(metrics: Sequence[dict[str, Any]]) -> str:
    """Training and validation loss against the optimizer step; empty without at least two points."""
    train, validation = series(metrics, "loss"), series(metrics, "validation_loss")
    if len(train) < 2:
        return ""
    frame = _Frame(train + validation)
    thin = _thin(train)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{AMBER}"/>' for x, y in map(frame.at, validation))
    legend = _legend("training loss", NAVY, 0) + (_legend("validation loss", AMBER, 120) if validation else "")
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="loss curve">'
        f"{frame.axes()}{_stages(metrics, frame)}{_line(map(frame.at, thin), NAVY, 1.6)}"
        f"{_line(map(frame.at, validation), AMBER, 1.4)}{dots}{legend}</svg>"
    )


def sparkline(metrics: Sequence[dict[str, Any]], width: int = 96, height: int = 22) -> str:
    """The training loss without axes, first and last value in the tooltip; empty without at least two points."""
    points = _thin(series(metrics, "loss"), width)
    if len(points) < 2:
        return ""
    low, high = min(y for _, y in points), max(y for _, y in points)
    first, last = points[0][0], points[-1][0]
    place = [
        (2 + (x - first) / (last - first) * (width - 4), 2 + (high - y) / ((high - low) or 1) * (height - 4))
        for x, y in points
    ]
    title = f"<title>loss {points[0][1]:.3g} to {points[-1][1]:.3g} at step {last}</title>"
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}">{title}{_line(place, NAVY, 1.3)}</svg>'
    )


class _Frame:
    """The mapping from (step, loss) to the picture, logarithmic where the loss falls more than twentyfold."""

    def __init__(self, points: Points):
        steps, values = [x for x, _ in points], [y for _, y in points]
        self.log = min(values) > 0 and max(values) / min(values) > 20
        self.x = (min(steps), max(steps))
        low, high = min(values), max(values)
        pad = 0.0 if self.log else 0.05 * ((high - low) or abs(high) or 1)
        self.y = (low - pad, high + pad)

    def at(self, point: tuple[float, float]) -> tuple[float, float]:
        """Place of a point in the picture."""
        x = LEFT + (point[0] - self.x[0]) / ((self.x[1] - self.x[0]) or 1) * (WIDTH - LEFT - RIGHT)
        low, high, value = (*self.y, point[1])
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.y[0]))
        return x, TOP + (high - value) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)

    def axes(self) -> str:
        """Grid, numbers and the names of both axes."""
        parts = []
        for value in decades(*self.y) if self.log else ticks(*self.y):
            y = self.at((self.x[0], value))[1]
            parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{LINE}"/>')
            parts.append(f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        for value in ticks(*self.x):
            x = self.at((value, self.y[1]))[0]
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>')
        middle = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">optimizer step</text>')
        scale = "loss (log)" if self.log else "loss"
        parts.append(f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{scale}</text>')
        return "".join(parts)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between `low` and `high`, `about` as many as wished."""
    if high <= low:
        return [low]
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    first = math.ceil(low / step)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten between `low` and `high`, with 2 and 5 between them where there are few."""
    span = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(span) <= 4 else (1,)
    return [m * 10.0**power for power in span for m in factors if low <= m * 10.0**power <= high]


def _stages(metrics: Sequence[dict[str, Any]], frame: _Frame) -> str:
    """A line where each stage of training begins, when there are several."""
    begins: dict[str, float] = {}
    for line in metrics:
        if "loss" in line and "stage" in line:
            begins.setdefault(line["stage"], line["step"])
    if len(begins) < 2:
        return ""
    parts = []
    for name, step in begins.items():
        x = frame.at((step, frame.y[1]))[0]
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#9ca3af" stroke-dasharray="3 3"/>')
        parts.append(f'<text x="{x + 4:.1f}" y="{HEIGHT - BOTTOM - 6}">{escape(name)}</text>')
    return "".join(parts)


def _thin(points: Points, most: int = POINTS) -> Points:
    """Averages of equal runs of points, so that a long curve stays a small picture."""
    size = max(1, math.ceil(len(points) / most))
    runs = [points[i : i + size] for i in range(0, len(points), size)]
    return [(run[-1][0], sum(y for _, y in run) / len(run)) for run in runs]


def _line(points: Any, colour: str, width: float) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>' if path else ""


def _legend(text: str, colour: str, offset: int) -> str:
    x = WIDTH - RIGHT - 240 + offset
    stroke = f'<path d="M{x} {TOP + 4}h16" stroke="{colour}" stroke-width="2"/>'
    return f'{stroke}<text x="{x + 21}" y="{TOP + 8}">{text}</text>'
