"""The rivals of the network, trivial ones first, each fitted to the training shards alone.

Decisions:
- They learn from the network's own crops, as many as it makes steps, at most `CROPS`, and at most `CASES` whole images,
  spread evenly over the shards.
- A rival answers only the tasks it can; in the others it has no value, and tables say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stepladder.core.types import Baseline, Batch, Dataset, Prediction, Sample
from stepladder.evaluation.metrics import choose
from stepladder.studies.roofs.data.cases import Cases
from stepladder.studies.roofs.data.crops import Crops
from stepladder.studies.roofs.models.baselines import hed, lsd
from stepladder.studies.roofs.models.baselines.constant import Average, nothing
from stepladder.studies.roofs.models.baselines.drawn import DrawnLines
from stepladder.studies.roofs.models.baselines.forest import ClassHeights, Forest
from stepladder.studies.roofs.params import RoofsParams

CROPS, CASES = 48, 6


def baselines(params: RoofsParams, train: Sequence[Path]) -> dict[str, Baseline]:
    """Rivals by name.

    nothing: empty everywhere. average: median rise, height, pitch. class_height: median metres of what the forest sees.
    lsd: line segments of gradients. hed: those, believed as far as a published network sees edges. forest: all tasks.
    """
    crops = _some(Crops(train, params), min(CROPS, params.training.steps))
    cases = _some(Cases(train, params), CASES)
    forest = Forest(crops, params.seed)
    detectors = {"lsd": lsd.detect} | ({} if hed.missing() else {"hed": hed.HedLines()})
    threshold = params.evaluation.line_threshold
    return {
        "nothing": nothing,
        "average": Average(crops),
        "class_height": ClassHeights(forest, crops[: len(crops) // 4 + 1]),
        **{name: DrawnLines(detector, cases, threshold) for name, detector in detectors.items()},
        "forest": Both(forest, DrawnLines(forest.lines, cases, threshold)),
    }


@dataclass(frozen=True)
class Both:
    """What two methods answer between them."""

    one: Baseline
    two: Baseline

    def __call__(self, batch: Batch) -> Prediction:
        """The keys of both."""
        return {**self.one(batch), **self.two(batch)}


def _some(dataset: Dataset, count: int) -> list[Sample]:
    return [dataset.sample(int(index), None) for index in choose(dataset, count)]
