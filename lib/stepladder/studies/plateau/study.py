"""The PLATEAU study: Japan's city models as semantic occupancy, forecast three seconds ahead.

This file only joins the parts: `data` (catalogue, raw files, a procedural town, tiles, samples), `models` (OccWorld,
baselines), `evaluation` (scores) and `pictures`.

What a training needs is imported with this file; catalogue, conversion, scores and pictures when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import nn

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
from stepladder.studies.plateau.card import CARD, PLANNED, SIZES
from stepladder.studies.plateau.data.samples.clips import Clips
from stepladder.studies.plateau.models import occworld, warp_fill
from stepladder.studies.plateau.params import PlateauParams

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MODELS = {"warp_fill": warp_fill, "occworld": occworld}


class Plateau(Study[PlateauParams]):
    """See `stepladder.core.study.Study` for what each member promises."""

    title = "PLATEAU: forecasting the occupancy of Japan's cities"
    card = CARD
    Params = PlateauParams
    sizes = SIZES
    planned = PLANNED
    axes: ClassVar = {
        "T": "frames",
        "X": "voxels forward",
        "Y": "voxels to the left",
        "Z": "voxels up",
        "4": "x, y, z (m) and yaw (rad)",
    }

    def catalogue(self, params: PlateauParams) -> pd.DataFrame:
        """The municipalities of the national catalogue."""
        from stepladder.studies.plateau.data.catalogue import read as catalogue

        return catalogue.read(params)

    def synthesize(self, folder: Path, count: int, seed: int, params: PlateauParams) -> list[Source]:
        """Two municipalities of a procedural town, in true archives."""
        from stepladder.studies.plateau.data.town import town

        return town.synthesize(folder, count, seed)

    def sources(self, params: PlateauParams) -> list[Source]:
        """The mirror's folder, or the archives of the cities that are asked for."""
        from stepladder.studies.plateau.data.catalogue import read as catalogue

        return catalogue.sources(params)

    def assets(self, raw: Sequence[Path], params: PlateauParams) -> list[Asset]:
        """Third-mesh tiles with their themes; the group is the municipality."""
        from stepladder.studies.plateau.data.tiles import tile

        return tile.assets(raw, params)

    def convert(self, asset: Asset, params: PlateauParams, cache: Path) -> ShardContent:
        """Labelled surface voxels, ground, and paths a car can drive."""
        from stepladder.studies.plateau.data.tiles import tile

        return tile.convert(asset, params, cache)

    def dataset(self, shards: Sequence[Path], params: PlateauParams, keep_clear: Sequence[Box] = ()) -> Dataset:
        """Clips of occupancy along paths."""
        return Clips(shards, params, keep_clear)

    def model(self, params: PlateauParams) -> nn.Module:
        """`warp_fill` or `occworld`."""
        return MODELS[params.model.name].build(params)

    def phases(self, params: PlateauParams) -> list[TrainingPhase]:
        """Those of the network."""
        return MODELS[params.model.name].phases(params)

    def can_start(self, phase: TrainingPhase, model: nn.Module, batch: Batch) -> Check:
        """OccWorld's forecaster starts from a tokenizer that reconstructs."""
        return _module_of(model).can_start(phase, model, batch)

    def loss(self, model: nn.Module, batch: Batch, phase: TrainingPhase) -> Loss:
        """That of the network's module."""
        return _module_of(model).loss(model, batch, phase)

    def predict(self, model: nn.Module, batch: Batch) -> Prediction:
        """Labels of the frames to come."""
        return _module_of(model).predict(model, batch)

    def baselines(self, params: PlateauParams, train: Sequence[Path]) -> dict[str, Baseline]:
        """Copies of the past, at rest and warped by the ego motion."""
        from stepladder.studies.plateau.evaluation import scoring

        return scoring.baselines(params)

    def oracle(self, batch: Batch, params: PlateauParams) -> Prediction:
        """The frames themselves."""
        past = params.model.past
        return {"occ_BFXYZ": batch["occ_TXYZ"][:, past : past + params.model.future]}

    def protocol(self, params: PlateauParams) -> dict[str, str]:
        """What counts as hit, in words."""
        from stepladder.studies.plateau.evaluation import scoring

        return scoring.protocol(params)

    def score(self, batch: Batch, prediction: Prediction, params: PlateauParams) -> list[Record]:
        """IoU and mIoU per horizon, and on newly revealed voxels."""
        from stepladder.studies.plateau.evaluation import scoring

        return scoring.score(batch, prediction, params)

    def preview(self, sample: Sample, params: PlateauParams) -> Figure:
        """Frames of a clip from above."""
        from stepladder.studies.plateau.pictures import scenes

        return scenes.preview(np.asarray(sample["occ_TXYZ"]), params)

    def scenes(self, sample: Sample, prediction: Prediction | None, params: PlateauParams) -> dict[str, Picture]:
        """Truth and forecast at every horizon, in voxels."""
        from stepladder.studies.plateau.evaluation import scoring
        from stepladder.studies.plateau.pictures import scenes

        forecast = None if prediction is None else prediction["occ_BFXYZ"][0].cpu().numpy()
        truth = np.asarray(sample["occ_TXYZ"])
        ahead = scoring.horizons(params)
        return {
            name: Picture(scenes.clip_scene(truth, forecast, frame + 1, params), f"Occupancy {name} ahead, by class.")
            for name, frame in ahead.items()
        }

    def figures(self, shards: Sequence[Path], splits: Mapping[str, Any], params: PlateauParams) -> dict[str, Picture]:
        """Map of the splits, and the city in 3-D."""
        from stepladder.studies.plateau.pictures import scenes

        return {
            "map": Picture(scenes.map_figure(shards, splits), "Tiles and paths from above, coloured by split."),
            "city": Picture(scenes.city_scene(shards, params), "The largest city converted, surfaces by class."),
        }


def _module_of(model: nn.Module) -> Any:
    """The module that defines `model`."""
    return occworld if isinstance(model, occworld.OccWorld) else warp_fill


study = Plateau()
