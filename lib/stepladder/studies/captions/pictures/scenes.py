"""A case with what is said of it: the picture, the question, the reference, and every arm's answer below each other.

Decisions:
- Arms stand in one column with the same prompt, so that what the picture changes is seen by reading down.
- Where a model tells it, the share of attention that answers pay to world tokens stands beside, layer by layer: a
  branch that nobody looks at is seen before it is scored.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stepladder.core.types import Picture, Prediction, Sample
from stepladder.studies.captions.data.cases import decoded
from stepladder.studies.captions.data.layout import ARMS
from stepladder.studies.captions.params import CaptionsParams
from stepladder.studies.captions.pictures import previews, style
from stepladder.view.style import INK, MODEL

WIDTH = 46


def scenes(sample: Sample, prediction: Prediction | None, params: CaptionsParams) -> dict[str, Picture]:
    """How the model reads the case, and what is said of it."""
    read = Picture(previews.preview(sample, params), "The case as the model reads it; what it learns from is amber.")
    return {"sequence": read, "answers": answers(sample, prediction)}


def answers(sample: Sample, prediction: Prediction | None) -> Picture:
    """The pictures of a case with question, reference and the answer of every arm."""
    rows = _rows(sample, prediction)
    deep = sum(style.wrapped(text, WIDTH).count("\n") + 1.5 for _, text, _ in rows)
    figure = Figure(figsize=(9, max(3.2, 0.19 * deep + 0.3)), layout="constrained")
    shares = None if prediction is None else prediction.get("attention_BL", None)
    halves: Any = figure.subfigures(1, 2, width_ratios=[1, 1.9])
    left, right = halves
    count = int(sample["pictures"])
    below = [] if shares is None else [0.55]
    axes = np.atleast_1d(left.subplots(count + len(below), 1, height_ratios=[1] * count + below))
    for number in range(count):
        axes[number].imshow(np.asarray(sample["pixels_MYXC"])[number])
        style.bare(axes[number])
    if shares is not None:
        attention(axes[-1], np.asarray(shares)[0])
    texts = right.subplots()
    style.lines(figure, texts, rows, WIDTH)
    return Picture(figure, "Question and reference, and what every arm answers; the trained one is amber.")


def _rows(sample: Sample, prediction: Prediction | None) -> list[tuple[str, str, str]]:
    """Name, text and colour of every line."""
    choices = [decoded(text_S) for text_S in np.asarray(sample["choices_CS"])[: int(sample["choices"])]]
    rows = [("question", decoded(np.asarray(sample["question_S"])), INK)]
    rows += [("choices", " / ".join(choices), INK)] if int(sample["answer"]) >= 0 else []
    rows += [("reference", decoded(np.asarray(sample["reference_S"])), style.colour_of("reference"))]
    for arm, text in said(prediction).items():
        rows.append((arm.replace("_", " "), text, style.colour_of(arm)))
    return rows


def said(prediction: Prediction | None) -> dict[str, str]:
    """Arm -> its answer, in the order of the arms; of a rival only what it answers."""
    if prediction is None:
        return {}
    names = {"trained": "text_BS", **{arm: f"text_{arm}_BS" for arm in ARMS if arm != "trained"}}
    return {arm: decoded(np.asarray(prediction[name])[0]) for arm, name in names.items() if name in prediction}


def attention(axes: Axes, share_L: np.ndarray) -> None:
    """Share of an answer's attention that goes to world tokens, by layer."""
    axes.bar(np.arange(1, len(share_L) + 1), 100 * share_L, color=MODEL)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("layer", fontsize=8)
    axes.set_ylabel("% on world", fontsize=8)
    axes.tick_params(labelsize=7)
