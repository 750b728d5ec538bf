"""What 06 shows of captions beyond scores: every arm beside the trained one, and cases from best to worst.

Decisions:
- The sentence and the gates come from `evaluation.arms`; here they are only drawn. A lead whose interval holds zero is
  drawn grey: nothing may be said of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stepladder.core.types import Batch, Check, Dataset, Prediction
from stepladder.studies.captions.evaluation import arms, effect
from stepladder.studies.captions.models import accounting, answering
from stepladder.studies.captions.params import CaptionsParams
from stepladder.studies.captions.pictures import style
from stepladder.view.style import CHOSEN, INK, RIVAL, WRONG

if TYPE_CHECKING:
    from stepladder.studies.captions.models.network import Captioner

ASKED = (("text", "S"), ("likelihood", "C"))  # what every arm says of a batch
SHOWN = 3  # cases at either end and in the middle
COLOURS = {effect.EFFECT: CHOSEN, effect.WORSE: WRONG}


def analysis(
    model: Captioner, cases: Dataset, params: CaptionsParams
) -> Mapping[str, pd.DataFrame | Figure | str | list[Check]]:
    """Gates, the headline, arms as tables and figure, cases, and what the plan's trainable parameters were."""

    answer = _together(model, model.others)
    records = arms.answers(answer, cases, params, model.others)
    told = arms.report(records, params)
    return {
        "Gates of the arms": arms.checks(model, answer, cases, params),
        **told,
        "Leads of the trained arm": leads(arms.table(records, params)),
        "Best, median and worst": extremes(records, cases),
        "The plan's trainable parameters": accounting.table(),
    }


def _together(model: Captioner, others: Sequence[str]) -> Callable[[Batch, str], Prediction]:
    """Asks all arms of a batch at once, which costs little more than one, and hands out each when it is asked for."""
    last: list[tuple[Batch, Prediction]] = []

    def answer(batch: Batch, arm: str) -> Prediction:
        if not last or last[0][0] is not batch:
            last[:] = [(batch, answering.predict(model, batch, effect.TRAINED, others))]
        found = last[0][1]
        if arm == effect.TRAINED:
            return found
        return {**found, **{f"{kind}_B{axis}": found[f"{kind}_{arm}_B{axis}"] for kind, axis in ASKED}}

    return answer


def leads(table: pd.DataFrame, metric: str = effect.MAIN) -> Figure:
    """Leads of the trained arm over every other, with their intervals."""
    rows = table[(table["metric"] == metric) & (table["arm"] != effect.TRAINED)].iloc[::-1]
    figure = Figure(figsize=(7.5, 1.0 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows.itertuples()):
        colour = COLOURS.get(str(row.verdict), RIVAL)
        axes.plot([row.lead_low, row.lead_high], [place, place], color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot([row.lead], [place], "o", color=colour)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [str(arm).replace("_", " ") for arm in rows["arm"]])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(f"lead of the trained arm in {metric}; grey: no effect")
    return figure


def extremes(records: pd.DataFrame, cases: Dataset) -> Figure:
    """Captions of the trained arm beside their references: the best, the middle, the worst by the main metric."""
    own = records[(records["method"] == effect.TRAINED) & (records["metric"] == effect.MAIN) & (records["support"] > 0)]
    free = own[own["answer"] != ""]
    ranked = (free if len(free) else own).sort_values("numerator", ascending=False, kind="stable")
    count = min(SHOWN, max(1, len(ranked) // 3))
    middle = len(ranked) // 2 - count // 2
    chosen = pd.concat([ranked.iloc[:count], ranked.iloc[middle : middle + count], ranked.iloc[-count:]])
    figure = Figure(figsize=(3.1 * count, 9.6), layout="constrained")
    grid = np.array(figure.subplots(3, count, squeeze=False)).ravel()
    names = ["best"] * count + ["median"] * count + ["worst"] * count
    for axes, name, (_, row) in zip(grid, names, chosen.iterrows(), strict=True):
        axes.imshow(np.asarray(cases.sample(int(row["case"]), None)["pixels_MYXC"])[0])
        style.bare(axes, f"{name}: {row['numerator'] / max(row['denominator'], 1e-12):.2f}")
        said = f"says: {style.wrapped(str(row['answer']), 38)}\nis: {style.wrapped(str(row['reference']), 38)}"
        axes.set_xlabel(said, fontsize=7.5, loc="left", color=INK)
    return figure
