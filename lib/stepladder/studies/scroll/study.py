"""The scroll study: papyrus surfaces in CT volumes, scored as the Vesuvius surface-detection challenge does.

This file only joins the parts; each part is a file of this folder: raw files (`kaggle`, `volumes`, `catalogue`,
`sheets`), shards and samples (`conversion`, `distance`, `skeleton`, `patches`, `cases`), the model (`unet`, `losses`,
`inference`), what comes after it (`postprocess`), scores (`metrics`, `topology`, `sheetness`, `scoring`) and pictures
(`scenes`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from stepladder.studies.scroll import catalogue, conversion, inference, kaggle, losses, scenes, scoring, sheets, unet
from stepladder.studies.scroll.cases import Volumes
from stepladder.studies.scroll.params import ScrollParams
from stepladder.studies.scroll.patches import Patches
from stepladder.study import (
    Asset,
    Baseline,
    Batch,
    Box,
    Check,
    Dataset,
    Loss,
    Prediction,
    Record,
    Sample,
    ShardContent,
    Source,
    TrainingStage,
)


class Scroll:
    """See `stepladder.study.Study` for what each member promises."""

    name = "scroll"
    title = "Scroll: papyrus surfaces in CT volumes"
    card = catalogue.CARD
    Params = ScrollParams
    better = "higher"
    conversion_code = ("conversion.py", "distance.py", "kaggle.py", "skeleton.py", "volumes.py")

    sizes = catalogue.SIZES
    planned = catalogue.PLANNED

    def catalogue(self, params: ScrollParams) -> pd.DataFrame:
        return catalogue.read(params)

    def synthesize(self, folder: Path, count: int, seed: int, params: ScrollParams) -> list[Source]:
        return sheets.synthesize(folder, count, seed)

    def sources(self, params: ScrollParams) -> list[Source]:
        return catalogue.sources(params)

    def assets(self, raw: Sequence[Path], params: ScrollParams) -> list[Asset]:
        return kaggle.assets(raw, params)

    def convert(self, asset: Asset, params: ScrollParams, cache: Path) -> ShardContent:
        return conversion.convert(asset, params)

    def dataset(self, shards: Sequence[Path], params: ScrollParams, keep_clear: Sequence[Box] = ()) -> Dataset:
        return Patches(shards, params)

    def cases(self, shards: Sequence[Path], params: ScrollParams, keep_clear: Sequence[Box] = ()) -> Dataset:
        return Volumes(shards, params)

    def model(self, params: ScrollParams) -> nn.Module:
        return unet.build(params)

    def stages(self, params: ScrollParams) -> list[TrainingStage]:
        return unet.stages(params)

    def admit(self, stage: TrainingStage, model: nn.Module, batch: Batch) -> Check:
        return unet.admit(stage, model, batch)

    def loss(self, model: nn.Module, batch: Batch, stage: TrainingStage) -> Loss:
        return losses.loss(model, batch, stage)

    def predict(self, model: nn.Module, batch: Batch) -> Prediction:
        return inference.predict(model, batch)

    def baselines(self, params: ScrollParams, train: Sequence[Path]) -> dict[str, Baseline]:
        return scoring.baselines(params)

    def perfect(self, batch: Batch, params: ScrollParams) -> Prediction:
        return scoring.perfect(batch)

    def protocol(self, params: ScrollParams) -> dict[str, str]:
        return scoring.protocol(params)

    def score(self, batch: Batch, prediction: Prediction, params: ScrollParams) -> list[Record]:
        return scoring.score(batch, prediction, params)

    def analysis(self, model: nn.Module, cases: Dataset, params: ScrollParams) -> dict[str, pd.DataFrame | Figure]:
        return {"Post-processing, step by step": scoring.ablation(model, cases, params)}

    def preview(self, sample: Sample, params: ScrollParams) -> Figure:
        return scenes.preview(sample)

    def scenes(self, sample: Sample, prediction: Prediction | None, params: ScrollParams) -> dict[str, Any]:
        return scenes.scenes(sample, prediction)

    def figures(self, shards: Sequence[Path], splits: Mapping[str, Any], params: ScrollParams) -> dict[str, Any]:
        return scenes.figures(shards, splits)


study = Scroll()
