"""Parameters of the roofs study: lengths in pixels of the image unless a field says metres."""

from typing import Literal

from pydantic import Field, model_validator

from stepladder.core.schema import (
    ConversionParams,
    DataParams,
    EvaluationParams,
    MixedTrainingParams,
    Parameters,
    Section,
)
from stepladder.studies.roofs.data.labels import STRIDE, TASKS

LEAST_NEW = 32  # pixels that a tile must add: the coarsest stride of the network
SOURCES = ("rid", "roofline", "airs", "simpleroof", "georeferenced")


class RoofsData(DataParams):
    """Which sources a run uses, and what synthetic scenes look like."""

    sources: list[str] = Field(
        [], description=f"of {', '.join(SOURCES)}: those used; empty: every one found in the raw folder"
    )
    layouts: list[Literal["rid", "roofline", "airs"]] = Field(
        ["rid", "roofline", "airs"], min_length=1, description="layouts synthetic scenes are written in, in turn"
    )
    block: int = Field(
        64, ge=1, description="neighbouring crops of imdb.mat that are one asset: they show the same houses"
    )
    side: int = Field(256, ge=64, multiple_of=STRIDE, description="pixels of a synthetic image along each side")
    gsd: float = Field(0.1, gt=0, le=2, description="metres of ground per pixel of a synthetic image")

    @model_validator(mode="after")
    def _known(self) -> "RoofsData":
        for name in self.sources:
            if name not in SOURCES:
                raise ValueError(f"data.sources names {name!r}; there are {', '.join(SOURCES)}")
        return self


class RoofsConversion(ConversionParams):
    """What is done to an image once."""

    annotator: str = Field("reviewed", description="whose masks of RID are used: reviewed, or labeler1 to labeler5")
    bands: list[int] = Field(
        [1, 2, 3], min_length=3, max_length=3, description="bands of a raster taken as red, green, blue"
    )
    window: list[float] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="stored values that become 0 and 255; null: 8-bit files unchanged, others by percentiles 1 and 99",
    )


class RoofsModel(Section):
    """The network, the crop it sees, and the weights of its tasks."""

    encoder: Literal["own", "lite0"] = Field("own", description="own: residual network; lite0: EfficientNet-Lite0")
    weights: Literal["random", "imagenet"] = Field("random", description="imagenet: the published weights of lite0")
    width: int = Field(16, ge=8, multiple_of=8, description="channels of the own encoder's first level")
    decoder: int = Field(32, ge=8, multiple_of=8, description="channels of the decoder")
    crop: int = Field(256, ge=64, multiple_of=32, description="pixels of a training crop along each side")
    gsd: float | None = Field(None, gt=0, description="metres per pixel crops are resampled to; null: as they are")
    augment: bool = Field(True, description="turns by quarters and mirror images, scale, and mild changes of colour")
    scale: float = Field(0.15, ge=0, lt=1, description="largest relative change of size in training")
    tasks: list[str] = Field(list(TASKS), min_length=1, description=f"tasks that are learnt, of {', '.join(TASKS)}")
    task_weights: dict[str, float] = Field({}, description="task -> weight of its loss; 1 where nothing is said")
    balance: Literal["fixed", "learned"] = Field(
        "fixed", description="learned: weights by homoscedastic uncertainty (Kendall et al., 2018)"
    )
    tile: int = Field(512, ge=64, multiple_of=32, description="pixels of a tile of inference along each side")
    overlap: int = Field(64, ge=0, multiple_of=STRIDE, description="pixels that neighbouring tiles share")
    halo: int = Field(64, ge=0, multiple_of=STRIDE, description="pixels at a tile's border that are thrown away")
    tta: bool = Field(False, description="average over the eight turns and mirror images of a tile")

    @model_validator(mode="after")
    def _fits(self) -> "RoofsModel":
        if self.weights == "imagenet" and self.encoder != "lite0":
            raise ValueError("model.weights: imagenet are those of encoder lite0; set model.encoder to lite0")
        if unknown := [name for name in (*self.tasks, *self.task_weights) if name not in TASKS]:
            raise ValueError(f"model.tasks and model.task_weights know {', '.join(TASKS)}, not {unknown[0]!r}")
        if (new := self.tile - self.overlap - 2 * self.halo) < LEAST_NEW:
            raise ValueError(
                f"model.tile = {self.tile} leaves {new} new pixels a tile beside overlap {self.overlap} and twice halo "
                f"{self.halo}; at least {LEAST_NEW} are needed: take a larger tile, or less overlap or halo"
            )
        return self


class RoofsEvaluation(EvaluationParams):
    """How images are scored."""

    batch: int = Field(1, ge=1, le=1, description="images per pass: they differ in size, so one at a time")
    line_threshold: float = Field(
        0.3,
        gt=0,
        lt=1,
        description="score from which a line is drawn and counted in F1; weaker ones divide faces",
    )
    smallest: float = Field(4.0, ge=0, description="square metres below which a face or outline is left out")


class RoofsParams(Parameters):
    """Parameters of the roofs study."""

    data: RoofsData = RoofsData.defaults()
    conversion: RoofsConversion = RoofsConversion.defaults()
    model: RoofsModel = RoofsModel.defaults()
    training: MixedTrainingParams = MixedTrainingParams.defaults()
    evaluation: RoofsEvaluation = RoofsEvaluation.defaults()
