"""The scroll study: papyrus surfaces in CT volumes, scored as the Vesuvius surface-detection challenge does.

This file only joins the parts: `data` (catalogue, readers, synthetic sheets, conversion, samples), `models` (the
network, its losses and inference, baselines), `evaluation` (metrics, scores, what comes after the network) and
`pictures`.

What a training needs is imported with this file; catalogue, conversion, scores and pictures when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

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
from stepladder.studies.scroll.card import CARD, PLANNED, SIZES
from stepladder.studies.scroll.data.cases import Volumes
from stepladder.studies.scroll.data.patches import Patches
from stepladder.studies.scroll.models import losses, unet
from stepladder.studies.scroll.params import ScrollParams

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Scroll(Study[ScrollParams]):
    """See `stepladder.core.study.Study` for what each member promises."""

    title = "Scroll: papyrus surfaces in CT volumes"
    card = CARD
    Params = ScrollParams
    sizes = SIZES
    planned = PLANNED
    axes: ClassVar = {"Z": "slices", "Y": "rows", "X": "columns"}

    def catalogue(self, params: ScrollParams) -> pd.DataFrame:
        """The competition's set, labelled cubes and whole scans, one row per scroll and publication."""
        from stepladder.studies.scroll.data import catalogue

        return catalogue.read(params)

    def synthesize(self, folder: Path, count: int, seed: int, params: ScrollParams) -> list[Source]:
        """Rolled, torn, touching sheets in the competition's layout."""
        from stepladder.studies.scroll.data import sheets

        return sheets.synthesize(folder, count, seed)

    def sources(self, params: ScrollParams) -> list[Source]:
        """A mirror; what else there is needs a token or accepted terms, and is told how to get."""
        from stepladder.studies.scroll.data import catalogue

        return catalogue.sources(params)

    def assets(self, raw: Sequence[Path], params: ScrollParams) -> list[Asset]:
        """Rows of train.csv and volumes without one; the group is the scroll."""
        from stepladder.studies.scroll.data import kaggle

        return kaggle.assets(raw, params)

    def convert(self, asset: Asset, params: ScrollParams, cache: Path) -> ShardContent:
        """Image, label, distance map, medial surface and surface voxels of one volume."""
        from stepladder.studies.scroll.data import conversion

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
        from stepladder.studies.scroll.models import inference

        return inference.predict(model, batch)

    def baselines(self, params: ScrollParams, train: Sequence[Path]) -> dict[str, Baseline]:
        """Nothing, a threshold, a ridge filter, and that after post-processing."""
        from stepladder.studies.scroll.models.baselines import sheetness

        return sheetness.baselines(params)

    def oracle(self, batch: Batch, params: ScrollParams) -> Prediction:
        """The label's surface."""
        from stepladder.studies.scroll.evaluation import scoring

        return scoring.oracle(batch)

    def protocol(self, params: ScrollParams) -> dict[str, str]:
        """The challenge's metrics, and how volumes are predicted and averaged."""
        from stepladder.studies.scroll.evaluation import scoring

        return scoring.protocol(params)

    def score(self, batch: Batch, prediction: Prediction, params: ScrollParams) -> list[Record]:
        """The challenge's metrics of every volume."""
        from stepladder.studies.scroll.evaluation import scoring

        return scoring.score(batch, prediction, params)

    def analysis(self, model: nn.Module, cases: Dataset, params: ScrollParams) -> dict[str, pd.DataFrame | Figure]:
        """Post-processing step by step, and slices of the first test volume."""
        from stepladder.studies.scroll.pictures import analysis

        return analysis.analysis(model, cases, params)

    def preview(self, sample: Sample, params: ScrollParams) -> Figure:
        """Three planes of image, label and distance map."""
        from stepladder.studies.scroll.pictures import scenes

        return scenes.preview(sample)

    def scenes(self, sample: Sample, prediction: Prediction | None, params: ScrollParams) -> dict[str, Picture]:
        """Sheets as surfaces, and where they are false or missed."""
        from stepladder.studies.scroll.pictures import scenes

        return scenes.scenes(sample, prediction)

    def figures(self, shards: Sequence[Path], splits: Mapping[str, Any], params: ScrollParams) -> dict[str, Picture]:
        """A slice of every volume in the colour of its split, and labelled sheets in 3-D."""
        from stepladder.studies.scroll.pictures import scenes

        return scenes.figures(shards, splits)


study = Scroll()
