"""The PLATEAU study: Japan's city models as semantic occupancy, forecast three seconds ahead.

This file only joins the parts: `data` (catalogue, raw files, a procedural town, tiles, samples), `models` (OccWorld,
baselines), `evaluation` (scores) and `pictures`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
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
from stepladder.studies.plateau.data.catalogue import read as catalogue
from stepladder.studies.plateau.data.samples.clips import Clips
from stepladder.studies.plateau.data.tiles import tile
from stepladder.studies.plateau.data.town import town
from stepladder.studies.plateau.evaluation import scoring
from stepladder.studies.plateau.models import occworld, warp_fill
from stepladder.studies.plateau.params import PlateauParams
from stepladder.studies.plateau.pictures import scenes

MODELS = {"warp_fill": warp_fill, "occworld": occworld}

CARD = """
**Source.** Project PLATEAU of Japan's Ministry of Land, Infrastructure, Transport and Tourism: CityGML models of 306
municipalities (buildings, roads, terrain, vegetation, furniture, bridges, land use, water), one archive per city.

**Licence.** PLATEAU site policy, Public Data License 1.0, stated compatible with CC BY 4.0. Attribution:
出典：国土交通省 PLATEAU. Copyright of the models lies with each municipality.

**Units.** Metres in the plane-rectangular zone of the tile (EPSG:6669 to 6687); angles in radians; time in seconds.

**Known defects.** Roads of LOD1 lie at z = 0 and are draped on the ground; terrain is missing for many cities and is
then interpolated from building bases; heights of 9999 and -9999 are sentinels; features on a tile's border belong to
one tile only; a mesh holds whole walls, where a vehicle's sensors see only their faces; nothing moves.

**Model after.** Zheng et al., OccWorld: Learning a 3D Occupancy World Model for Autonomous Driving (ECCV 2024); labels
of Tian et al., Occ3D (NeurIPS 2023).
"""


class Plateau(Study[PlateauParams]):
    """See `stepladder.core.study.Study` for what each member promises."""

    title = "PLATEAU: forecasting the occupancy of Japan's cities"
    card = CARD
    Params = PlateauParams
    sizes: ClassVar = {"zip_bytes": "whole archives", "bldg_bytes": "buildings only, compressed"}
    planned = catalogue.PLANNED
    axes: ClassVar = {
        "T": "frames",
        "X": "voxels forward",
        "Y": "voxels to the left",
        "Z": "voxels up",
        "4": "x, y, z (m) and yaw (rad)",
    }

    def catalogue(self, params: PlateauParams) -> pd.DataFrame:
        """The municipalities of the national catalogue."""
        return catalogue.read(params)

    def synthesize(self, folder: Path, count: int, seed: int, params: PlateauParams) -> list[Source]:
        """Two municipalities of a procedural town, in true archives."""
        return town.synthesize(folder, count, seed)

    def sources(self, params: PlateauParams) -> list[Source]:
        """The mirror's folder, or the archives of the cities that are asked for."""
        return catalogue.sources(params)

    def assets(self, raw: Sequence[Path], params: PlateauParams) -> list[Asset]:
        """Third-mesh tiles with their themes; the group is the municipality."""
        return tile.assets(raw, params)

    def convert(self, asset: Asset, params: PlateauParams, cache: Path) -> ShardContent:
        """Labelled surface voxels, ground, and paths a car can drive."""
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
        return scoring.baselines(params)

    def oracle(self, batch: Batch, params: PlateauParams) -> Prediction:
        """The frames themselves."""
        past = params.model.past
        return {"occ_BFXYZ": batch["occ_TXYZ"][:, past : past + params.model.future]}

    def protocol(self, params: PlateauParams) -> dict[str, str]:
        """What counts as hit, in words."""
        return scoring.protocol(params)

    def score(self, batch: Batch, prediction: Prediction, params: PlateauParams) -> list[Record]:
        """IoU and mIoU per horizon, and on newly revealed voxels."""
        return scoring.score(batch, prediction, params)

    def preview(self, sample: Sample, params: PlateauParams) -> Figure:
        """Frames of a clip from above."""
        return scenes.preview(np.asarray(sample["occ_TXYZ"]), params)

    def scenes(self, sample: Sample, prediction: Prediction | None, params: PlateauParams) -> dict[str, Picture]:
        """Truth and forecast at every horizon, in voxels."""
        forecast = None if prediction is None else prediction["occ_BFXYZ"][0].cpu().numpy()
        truth = np.asarray(sample["occ_TXYZ"])
        ahead = scoring.horizons(params)
        return {
            name: Picture(scenes.clip_scene(truth, forecast, frame + 1, params), f"Occupancy {name} ahead, by class.")
            for name, frame in ahead.items()
        }

    def figures(self, shards: Sequence[Path], splits: Mapping[str, Any], params: PlateauParams) -> dict[str, Picture]:
        """Map of the splits, and the city in 3-D."""
        return {
            "map": Picture(scenes.map_figure(shards, splits), "Tiles and paths from above, coloured by split."),
            "city": Picture(scenes.city_scene(shards, params), "The largest city converted, surfaces by class."),
        }


def _module_of(model: nn.Module) -> Any:
    """The module that defines `model`."""
    return occworld if isinstance(model, occworld.OccWorld) else warp_fill


study = Plateau()
