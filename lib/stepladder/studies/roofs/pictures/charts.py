"""Charts of 06_evaluation: confusion, boundaries, lines, calibration, people beside the model, and forgetting.

Decisions:
- The model is amber; what people reach is a grey band or tick, and its source is named in the title.
- People agree with each other as far as their masks overlap (`PEOPLE`: five annotators of RID, the 18 images whose
  masks are public, macro over the classes present per pair and image). The model's numbers beside them are averaged
  the same way, per image.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stepladder.evaluation.metrics import number
from stepladder.studies.roofs.data.labels import LINES, SUPERSTRUCTURES, UNTYPED
from stepladder.studies.roofs.evaluation import lines
from stepladder.studies.roofs.evaluation.agreement import Agreement
from stepladder.studies.roofs.evaluation.calibration import Reliability
from stepladder.studies.roofs.evaluation.lines import Scored
from stepladder.studies.roofs.pictures import style
from stepladder.view.style import INK, MODEL, MUTED, RIVAL

PEOPLE: Final = Agreement(
    mean=0.474,
    classes=dict(zip(SUPERSTRUCTURES, (0.643, 0.661, 0.178, 0.144, 0.415, 0.317, 0.427, 0.164, 0.988), strict=True)),
    any_class=0.694,
    outline=0.953,
)
SCHEDULES: Final = ("sequential", "alternating", "mixed")  # in the order they are shown
KEPT: Final = 0.005  # a smaller loss is none
APART: Final = 0.035  # least distance of numbers at the ends of curves, of values


def confusion(pixels_SS: np.ndarray) -> Figure:
    """Rows: what is true; columns: what was said; each row adds up to 100 per cent. Absent classes are left out."""
    true = np.flatnonzero(pixels_SS.sum(axis=1))
    said = np.flatnonzero(pixels_SS.sum(axis=0) + pixels_SS.sum(axis=1))
    counts = pixels_SS[np.ix_(true, said)]
    share = counts / counts.sum(axis=1, keepdims=True)
    names = [SUPERSTRUCTURES[place] for place in said]
    figure = Figure(figsize=(0.72 * len(said) + 2.0, 0.45 * len(true) + 1.5), layout="constrained")
    axis = figure.subplots()
    axis.grid(False)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(share.shape):
        if share[row, column] >= 0.005:
            colour = "white" if share[row, column] > 0.6 else INK
            axis.text(column, row, f"{share[row, column]:.0%}", ha="center", va="center", fontsize=8, color=colour)
    pixels = zip(true, counts.sum(axis=1) / counts.sum(), strict=True)
    axis.set_yticks(range(len(true)), [f"{SUPERSTRUCTURES[place]} ({part:.2%})" for place, part in pixels])
    axis.set_xticks(range(len(said)), names, rotation=30, ha="right")
    axis.set(
        xlabel="predicted", ylabel="true (share of labelled pixels)", title="What each superstructure is taken for"
    )
    return figure


def boundaries(bands: Mapping[float, np.ndarray]) -> Figure:
    """Boundary IoU of outlines over the width of the band, micro over images."""
    widths = sorted(width for width, sums in bands.items() if sums[1])
    values = [bands[width][0] / bands[width][1] for width in widths]
    figure = Figure(figsize=(5.4, 3.4), layout="constrained")
    axis = figure.subplots()
    axis.plot([100 * width for width in widths], values, "o-", color=MODEL)
    for width, value in zip(widths, values, strict=True):
        axis.annotate(number(value), (100 * width, value), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    axis.set(
        xscale="log", ylim=(0, 1.05), xlabel="width of the band (% of the image's diagonal)", ylabel="boundary IoU"
    )
    axis.set_xticks([100 * width for width in widths], [f"{100 * width:g}" for width in widths])
    axis.minorticks_off()
    axis.set_title("Outlines: the narrower the band, the harder")
    return figure


def line_curves(scored: Mapping[int, Sequence[Scored]]) -> Figure:
    """Precision over recall of lines: whatever the type at sAP5, 10 and 15, and by type at sAP10."""
    figure = Figure(figsize=(8.8, 3.9), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for threshold, shade in zip(lines.THRESHOLDS, ("#f0c77a", MODEL, "#8a5a02"), strict=True):
        recall, precision = curve(scored[UNTYPED], threshold)
        label = f"sAP{threshold} = {lines.sap(scored[UNTYPED], threshold):.1f}"
        axes[0].plot(recall, precision, color=shade, label=label)
    for kind in (kind for kind in range(len(LINES)) if any(len(image.truth_L4) for image in scored.get(kind, ()))):
        recall, precision = curve(scored[kind], 10)
        label = f"{style.LINE_NAMES[kind]}: {lines.sap(scored[kind], 10):.1f}"
        axes[1].plot(recall, precision, color=style.LINE_COLOURS[kind], label=label)
    axes[0].set(title="Lines of any type", xlabel="recall", ylabel="precision")
    axes[1].set(title="By type, sAP10", xlabel="recall")
    for axis in axes:
        axis.set(xlim=(0, 1), ylim=(0, 1.02))
        if axis.lines:
            axis.legend(loc="upper right")
    return figure


def curve(images: Sequence[Scored], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision, lines taken in order of falling score over all images; both begin at recall 0."""
    score_N = np.concatenate([image.score_M for image in images])
    hit_N = np.concatenate([lines.hits(image, threshold) for image in images])[np.argsort(-score_N, kind="stable")]
    total = max(sum(len(image.truth_L4) for image in images), 1)
    precision_N = np.cumsum(hit_N) / np.arange(1, len(hit_N) + 1)
    first = precision_N[:1] if len(precision_N) else np.zeros(1)
    return np.append(0, np.cumsum(hit_N) / total), np.concatenate([first, precision_N])


def reliability(sums: Mapping[str, Reliability]) -> Figure:
    """Share that is right over probability, bin by bin; on the diagonal a probability means what it says."""
    figure = Figure(figsize=(3.6 * len(sums) + 0.4, 3.9), layout="constrained")
    axes = figure.subplots(1, len(sums), squeeze=False, sharey=True)[0]
    for axis, (name, own) in zip(axes, sums.items(), strict=True):
        table = own.table()
        axis.plot([0, 1], [0, 1], color=RIVAL, linewidth=1)
        axis.plot(table["probability"], table["right"], "-", color=MODEL)
        size = 10 + 120 * table["pixels"] / table["pixels"].sum()
        axis.scatter(table["probability"], table["right"], s=size, color=MODEL, zorder=3)
        axis.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal", xlabel="probability (area of a dot: pixels)")
        axis.set_title(f"{name}: calibration error {own.error:.1%}")
    axes[0].set_ylabel("share that is right")
    return figure


def beside_people(class_ious: np.ndarray, outline_ious: Sequence[float]) -> Figure:
    """The model's IoU per image beside the annotators' agreement on RID.

    Args:
        class_ious: (images, classes), nan where a class is absent from the image.
        outline_ious: of every image; may be empty.
    """
    rows = [("outline", PEOPLE.outline, np.asarray(outline_ious))] if len(outline_ious) else []
    rows.append(("mean of classes", PEOPLE.mean, np.nanmean(class_ious, axis=1)))
    rows += [(name, PEOPLE.classes[name], class_ious[:, place]) for place, name in enumerate(SUPERSTRUCTURES)]
    figure = Figure(figsize=(7.2, 0.3 * len(rows) + 1.5), layout="constrained")
    axis = figure.subplots()
    for place, (_, people, values) in enumerate(rows):
        axis.barh(place, people, 0.7, color="#dedbd2", label="annotators with each other" if place == 0 else None)
        if np.isfinite(values).any():
            told = {"color": MODEL, "markersize": 7, "label": "model with the reviewed mask" if place == 0 else None}
            axis.plot(np.nanmean(values), place, "o", **told)
            axis.annotate(number(float(np.nanmean(values))), (1.02, place), va="center", fontsize=8, color=MODEL)
        axis.annotate(number(people), (1.12, place), va="center", fontsize=8, color=MUTED)
    for x, title, colour in ((1.02, "model", MODEL), (1.12, "people", MUTED)):
        axis.annotate(title, (x, -0.75), va="center", fontsize=8, color=colour)
    axis.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axis.set_ylim(len(rows) - 0.4, -1.1)
    axis.set(xlim=(0, 1.2), xlabel="IoU, mean over images that hold the class", title="RID: the model beside people")
    axis.set_xticks(np.linspace(0, 1, 6))
    axis.grid(axis="y", visible=False)
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def forgetting(metrics: pd.DataFrame) -> Figure:
    """What becomes of each data set while training goes on to others: one panel a schedule, one curve a data set.

    This answers whether a model survives the transition from one data set to the next. A dot marks the best value of
    a data set, and the number at its end what it lost since.

    Args:
        metrics: columns `step, schedule, source, metric, value`; higher values are better, and each source has one
            metric.
    """
    schedules = [name for name in SCHEDULES if name in set(metrics["schedule"])]
    schedules += sorted(set(metrics["schedule"]) - set(SCHEDULES))
    sources = list(dict.fromkeys(metrics["source"]))
    figure = Figure(figsize=(3.6 * len(schedules) + 0.6, 3.9), layout="constrained")
    axes = figure.subplots(1, len(schedules), squeeze=False, sharey=True, sharex=True)[0]
    colours = dict(zip(sources, style.SOURCES, strict=False))
    for axis, schedule in zip(axes, schedules, strict=True):
        own = metrics[metrics["schedule"] == schedule].sort_values("step")
        lost = _draw_memory(axis, own, colours)
        told = f"up to {lost:.2f} forgotten" if lost >= KEPT else "nothing forgotten"
        axis.set(title=f"{schedule}: {told}", xlabel="training step")
    named = metrics.drop_duplicates("source").set_index("source")["metric"]
    axes[0].set_ylabel("value on the test set (higher is better)")
    handles = [style.patch(f"{name}: {named[name]}", colour) for name, colour in colours.items()]
    style.add_legend(figure, handles)
    return figure


def _draw_memory(axis: Axes, own: pd.DataFrame, colours: Mapping[str, str]) -> float:
    """The curves of one schedule, each with what it lost since its best; the largest loss."""
    last, ends = own["step"].max(), []
    for source, table in own.groupby("source", sort=False):
        steps, values = table["step"].to_numpy(), table["value"].to_numpy()
        best = int(values.argmax())
        axis.plot(steps, values, color=colours[str(source)])
        axis.plot(steps[best], values[best], "o", color=colours[str(source)], markersize=5)
        ends.append((float(values[-1]), float(values[best] - values[-1]), colours[str(source)]))
    height = -np.inf
    for value, lost, colour in sorted(ends):
        height = max(height + APART, value)  # numbers do not stand upon each other
        told = f"-{lost:.2f}" if lost >= KEPT else "kept"
        axis.annotate(told, (1.03 * last, height), va="center", fontsize=8, color=colour)
    axis.set_xlim(right=1.2 * last)
    return max(lost for _, lost, _ in ends)
