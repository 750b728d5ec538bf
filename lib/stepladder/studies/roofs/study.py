"""The roofs study: one network for faces, superstructures, outlines, lines and heights, from labels in part.

This file only joins the parts: `data` (catalogue, readers, synthetic scenes, conversion, crops), `models` (the network,
its losses and inference, from maps to polygons, baselines), `evaluation` (metrics and scores) and `pictures`.

What a training needs is imported with this file; catalogue, conversion, scores and pictures when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from stepladder.core.study import Study
from stepladder.core.types import (
    Asset,
    Baseline,
    Batch,
    Box,
    Check,
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
from stepladder.studies.roofs.card import CARD, PLANNED, SIZES
from stepladder.studies.roofs.data.cases import Cases
from stepladder.studies.roofs.data.crops import Crops
from stepladder.studies.roofs.models import losses, network
from stepladder.studies.roofs.params import RoofsParams

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Roofs(Study[RoofsParams]):
    """See `stepladder.core.study.Study` for what each member promises."""

    title = "Roofs: faces, lines, outlines and heights from aerial images"
    card = CARD
    Params = RoofsParams
    sizes = SIZES
    planned = PLANNED
    axes: ClassVar = {
        "Y": "rows",
        "X": "columns",
        "C": "colours",
        "G": "components of the way down: east, north",
        "K": "line types",
        "D": "cosine and sine of twice the angle",
        "V": "rows of cells",
        "U": "columns of cells",
        "L": "lines",
        "F": "numbers of a line",
    }

    def catalogue(self, params: RoofsParams) -> pd.DataFrame:
        """Published sets of roofs, what each labels, and how to get it."""
        from stepladder.studies.roofs.data import catalogue

        return catalogue.read(params)

    def synthesize(self, folder: Path, count: int, seed: int, params: RoofsParams) -> list[Source]:
        """Parametric roofs, drawn as aerial images, in the layouts of RID, Roofline and AIRS."""
        from stepladder.studies.roofs.data.synthesis import layouts

        return layouts.synthesize(folder, count, seed, params)

    def sources(self, params: RoofsParams) -> list[Source]:
        """A mirror; what else there is asks for terms to be accepted, and is told how to get."""
        from stepladder.studies.roofs.data import catalogue

        return catalogue.sources(params)

    def assets(self, raw: Sequence[Path], params: RoofsParams) -> list[Asset]:
        """Images, and blocks of crops; the group is the source."""
        from stepladder.studies.roofs.data.readers import find

        return find.assets(raw, params)

    def convert(self, asset: Asset, params: RoofsParams, cache: Path) -> ShardContent:
        """Image and labels of one asset, those it has."""
        from stepladder.studies.roofs.data import conversion

        return conversion.convert(asset, params)

    def dataset(self, shards: Sequence[Path], params: RoofsParams, keep_clear: Sequence[Box] = ()) -> Dataset:
        """Crops of the images."""
        return Crops(shards, params, keep_clear)

    def evaluation_dataset(
        self, shards: Sequence[Path], params: RoofsParams, keep_clear: Sequence[Box] = ()
    ) -> Dataset:
        """Whole images."""
        return Cases(shards, params)

    def model(self, params: RoofsParams) -> nn.Module:
        """An encoder, a decoder to a quarter of the resolution, and a head for each task."""
        return network.build(params)

    def tasks(self, model: nn.Module) -> Mapping[str, tuple[str, ...]]:
        """The tasks that are learnt, and the parameters that serve each alone."""
        return losses.tasks(model)

    def label_counts(self, batch: Batch) -> dict[str, Tensor]:
        """How many pixels or cells each task is labelled in."""
        return losses.counts(batch)

    def loss(self, model: nn.Module, batch: Batch, phase: TrainingPhase) -> Loss:
        """Of every task, over what is labelled."""
        return losses.loss(model, batch, phase)

    def predict(self, model: nn.Module, batch: Batch) -> Prediction:
        """Maps of whole images by tiles, and the lines and faces in them."""
        from stepladder.studies.roofs.models import inference

        return inference.predict(model, batch)

    def baselines(self, params: RoofsParams, train: Sequence[Path]) -> dict[str, Baseline]:
        """Constants, a random forest, and detectors of lines and edges."""
        from stepladder.studies.roofs.models.baselines import rivals

        return rivals.baselines(params, train)

    def oracle(self, batch: Batch, params: RoofsParams) -> Prediction:
        """The labels, as a prediction."""
        from stepladder.studies.roofs.evaluation import scoring

        return scoring.oracle(batch, params)

    def protocol(self, params: RoofsParams) -> dict[str, str]:
        """What is measured where, and how it is averaged."""
        from stepladder.studies.roofs.evaluation import scoring

        return scoring.protocol(params)

    def score(self, batch: Batch, prediction: Prediction, params: RoofsParams) -> list[Record]:
        """Areas, lines, polygons and heights of every image."""
        from stepladder.studies.roofs.evaluation import scoring

        return scoring.score(batch, prediction, params)

    def analysis(self, model: nn.Module, cases: Dataset, params: RoofsParams) -> dict[str, pd.DataFrame | Figure]:
        """Where it errs: worst cases first, confusion, lines, calibration, heights."""
        from stepladder.studies.roofs.models import inference
        from stepladder.studies.roofs.pictures import analysis

        return analysis.analysis(lambda batch: inference.predict(model, batch), cases, params)

    def sanity(self, shards: Sequence[Path], params: RoofsParams) -> list[Check]:
        """Whether labels are what their source says they are."""
        from stepladder.studies.roofs.data import sanity

        return sanity.checks(shards)

    def preview(self, sample: Sample, params: RoofsParams) -> Figure:
        """A crop beside its labels."""
        from stepladder.studies.roofs.pictures import overlay

        return overlay.preview(sample, params)

    def scenes(self, sample: Sample, prediction: Prediction | None, params: RoofsParams) -> dict[str, Picture]:
        """Overlay, heights, and the roof in three dimensions."""
        from stepladder.studies.roofs.pictures import scenes

        return scenes.scenes(sample, prediction, params)

    def figures(self, shards: Sequence[Path], splits: Mapping[str, Any], params: RoofsParams) -> dict[str, Picture]:
        """Every image with its labels, and what the sources label."""
        from stepladder.studies.roofs.pictures import sheets

        return sheets.figures(shards, splits, params)


study = Roofs()
