"""The worst cases first: the roof plan of each, truth above, prediction below, with what it scored.

Decisions:
- Whoever looks for what is wrong looks at the worst; the median and the best stand at the end as a measure.
- Cases are predicted again for the gallery, so that no maps are kept meanwhile.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from stepladder.core.types import Prediction, Sample
from stepladder.studies.roofs.data.labels import FLAT
from stepladder.studies.roofs.params import RoofsParams
from stepladder.studies.roofs.pictures import overlay, style

WORST: Final = 3
INCHES: Final = 2.6


def chosen(order: Sequence[int]) -> dict[str, int]:
    """Title -> number of a case, of cases in order, the worst first: up to three worst, the median, the best."""
    worst = {f"worst {place + 1}" if place else "worst": case for place, case in enumerate(order[:WORST])}
    rest = {"median": order[len(order) // 2], "best": order[-1]}
    return worst | {name: case for name, case in rest.items() if case not in worst.values()}


def figure(
    order: Sequence[int],
    scores: Sequence[float],
    case_of: Callable[[int], tuple[Sample, Prediction]],
    params: RoofsParams,
) -> Figure:
    """The gallery of cases `order`, the worst first.

    Args:
        order: numbers of the cases.
        scores: of all cases, by number.
        case_of: number -> the case and its prediction.
    """
    shown = chosen(order)
    drawn = Figure(figsize=(INCHES * len(shown) + 0.3, 2 * INCHES + 1.3), layout="compressed")
    axes = drawn.subplots(2, len(shown), squeeze=False)
    handles, sectors = [], set[int]()
    for (above, below), (title, number) in zip(axes.T, shown.items(), strict=True):
        case, prediction = case_of(number)
        rgb_YXC = style.pixels(case["image_CYX"])
        found = overlay.found_of(overlay.first(prediction), params.evaluation.line_threshold)
        for axis, side in ((above, overlay.truth_of(case)), (below, found)):
            style.draw(axis, overlay.veiled(rgb_YXC, case), rgb_YXC.shape)
            handles += overlay.draw_plan(axis, side, rgb_YXC.shape, compass=False, width=1.4)
            axis.set(xticks=[], yticks=[])
            sectors |= set(np.unique(side.get("face_YX", ())).tolist())
        style.scale_bar(above, rgb_YXC.shape, float(case["gsd_m"]))
        above.set_title(f"{title}, case {number}: {scores[number]:.2f}", fontsize=9)
    if any(sector <= FLAT for sector in sectors):
        style.compass(axes[1, 0], sectors)
    axes[0, 0].set_ylabel("truth")
    axes[1, 0].set_ylabel("prediction")
    style.add_legend(drawn, sorted(handles, key=style.rank), columns=9)
    return drawn
