"""The scroll study: papyrus surfaces in CT volumes, scored as the Vesuvius surface-detection challenge does.

This file only joins the parts: `data` (catalogue, readers, synthetic sheets, conversion, samples), `models` (the
network, its losses and inference, baselines), `evaluation` (metrics, scores, what comes after the network) and
`pictures`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from stepladder.core.study import Study
from stepladder.core.types import (
    Asset,
    Baseline,
    Batch,
    Box,
    Dataset,
    Loss,
    Picture,
    Prediction,
    Record,
    Sample,
    ShardContent,
    Source,
    TrainingPhase,
)
from stepladder.studies.scroll.data import catalogue, conversion, kaggle, sheets
from stepladder.studies.scroll.data.cases import Volumes
from stepladder.studies.scroll.data.patches import Patches
from stepladder.studies.scroll.evaluation import scoring
from stepladder.studies.scroll.models import inference, losses, unet
from stepladder.studies.scroll.models.baselines import sheetness
from stepladder.studies.scroll.params import ScrollParams
from stepladder.studies.scroll.pictures import analysis, scenes


class Scroll(Study[ScrollParams]):
    """See `stepladder.core.study.Study` for what each member promises."""

    title = "Scroll: papyrus surfaces in CT volumes"
    card = catalogue.CARD
    Params = ScrollParams
    sizes = catalogue.SIZES
    planned = catalogue.PLANNED
    axes: ClassVar = {"Z": "slices", "Y": "rows", "X": "columns"}

    def catalogue(self, params: ScrollParams) -> pd.DataFrame:
        """The competition's set, labelled cubes and whole scans, one row per scroll and publication."""
        return catalogue.read(params)

    def synthesize(self, folder: Path, count: int, seed: int, params: ScrollParams) -> list[Source]:
        """Rolled, torn, touching sheets in the competition's layout."""
        return sheets.synthesize(folder, count, seed)

    def sources(self, params: ScrollParams) -> list[Source]:
        """A mirror; what else there is needs a token or accepted terms, and is told how to get."""
        return catalogue.sources(params)

    def assets(self, raw: Sequence[Path], params: ScrollParams) -> list[Asset]:
        """Rows of train.csv and volumes without one; the group is the scroll."""
        return kaggle.assets(raw, params)

    def convert(self, asset: Asset, params: ScrollParams, cache: Path) -> ShardContent:
        """Image, label, distance map, medial surface and surface voxels of one volume."""
        return conversion.convert(asset, params)

    def dataset(self, shards: Sequence[Path], params: ScrollParams, keep_clear: Sequence[Box] = ()) -> Dataset:
        """Patches of the volumes, around surfaces more often than not."""
        return Patches(shards, params)

    def evaluation_dataset(
        self, shards: Sequence[Path], params: ScrollParams, keep_clear: Sequence[Box] = ()
    ) -> Dataset:
        """Whole volumes."""
        return Volumes(shards, params)

    def model(self, params: ScrollParams) -> nn.Module:
        """A residual-encoder U-Net."""
        return unet.build(params)

    def phases(self, params: ScrollParams) -> list[TrainingPhase]:
        """One stage."""
        return unet.phases(params)

    def loss(self, model: nn.Module, batch: Batch, phase: TrainingPhase) -> Loss:
        """Cross entropy, Dice, skeleton recall and boundary loss of what is labelled."""
        return losses.loss(model, batch, phase)

    def predict(self, model: nn.Module, batch: Batch) -> Prediction:
        """Sliding windows, then post-processing."""
        return inference.predict(model, batch)

    def baselines(self, params: ScrollParams, train: Sequence[Path]) -> dict[str, Baseline]:
        """Nothing, a threshold, a ridge filter, and that after post-processing."""
        return sheetness.baselines(params)

    def oracle(self, batch: Batch, params: ScrollParams) -> Prediction:
        """The label's surface."""
        return scoring.oracle(batch)

    def protocol(self, params: ScrollParams) -> dict[str, str]:
        """The challenge's metrics, and how volumes are predicted and averaged."""
        return scoring.protocol(params)

    def score(self, batch: Batch, prediction: Prediction, params: ScrollParams) -> list[Record]:
        """The challenge's metrics of every volume."""
        return scoring.score(batch, prediction, params)

    def analysis(self, model: nn.Module, cases: Dataset, params: ScrollParams) -> dict[str, pd.DataFrame | Figure]:
        """Post-processing step by step, and slices of the first test volume."""
        return analysis.analysis(model, cases, params)

    def preview(self, sample: Sample, params: ScrollParams) -> Figure:
        """Three planes of image, label and distance map."""
        return scenes.preview(sample)

    def scenes(self, sample: Sample, prediction: Prediction | None, params: ScrollParams) -> dict[str, Picture]:
        """Sheets as surfaces, and where they are false or missed."""
        return scenes.scenes(sample, prediction)

    def figures(self, shards: Sequence[Path], splits: Mapping[str, Any], params: ScrollParams) -> dict[str, Picture]:
        """A slice of every volume in the colour of its split, and labelled sheets in 3-D."""
        return scenes.figures(shards, splits)


study = Scroll()
