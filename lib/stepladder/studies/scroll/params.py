"""Parameters of the scroll study: lengths in voxels, intensities in the units of the file."""

from typing import Literal

from pydantic import Field, model_validator

from stepladder.core.schema import ConversionParams, DataParams, EvaluationParams, Parameters, Section


class ScrollData(DataParams):
    """Choice of the volumes a run uses."""

    collection: Literal["kaggle", "recto_surfaces", "instance_labels", "fiber_skeletons", "full_scrolls"] = Field(
        "kaggle", description="part of the catalogue that data.source: remote means"
    )
    scrolls: list[str] = Field([], description="scroll_id of train.csv, such as 26010; empty: every scroll found")


class ScrollConversion(ConversionParams):
    """What is done to a volume once, so that no training step does it again."""

    seed: int = Field(0, ge=0, description="seed of the surface voxels that are remembered")
    median: bool = Field(False, description="3 x 3 x 3 median filter on the image")
    truncate: int = Field(8, ge=2, le=15, description="voxels from the surface at which stored distances are cut off")
    level: int = Field(0, ge=0, description="level of OME-Zarr pyramids, 0 the finest")
    window: list[float] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="stored values that become 0 and 255; null: 0.5th and 99.5th percentile, and 8-bit files unchanged",
    )

    @model_validator(mode="after")
    def _window_rises(self) -> "ScrollConversion":
        if self.window and self.window[0] >= self.window[1]:
            raise ValueError(f"conversion.window = {self.window}: the first value must be the lower one")
        return self


class ScrollModel(Section):
    """The network, the patch it sees and the weights of its losses."""

    name: Literal["resunet"] = Field("resunet", description="residual-encoder 3-D U-Net")
    patch: list[int] = Field([48, 48, 48], min_length=3, max_length=3, description="voxels of a patch along z, y, x")
    width: int = Field(12, ge=4, description="channels of the first level, doubled at each further one")
    levels: int = Field(3, ge=1, le=6, description="levels of the U-Net")
    blocks: int = Field(1, ge=1, description="residual blocks of each level of the encoder")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout in training")
    augment: bool = Field(True, description="flips, quarter turns and mild changes of intensity in training")
    foreground: float = Field(0.7, ge=0, le=1, description="share of training patches that hold a surface voxel")
    boundary: float = Field(0.1, ge=0, description="weight of the distance loss; 0 switches it off")
    boundary_every: int = Field(1, ge=1, description="optimizer steps between two computations of the distance loss")
    skeleton: float = Field(0.5, ge=0, description="weight of the skeleton recall; 0 switches it off")
    distance: Literal["precomputed", "on_device"] = Field(
        "precomputed", description="distance map from the shard, or computed from the label of each batch"
    )
    overlap: float = Field(0.5, ge=0, lt=1, description="share of a patch that neighbours share in inference")

    @model_validator(mode="after")
    def _patch_large_enough(self) -> "ScrollModel":
        least = 2 ** (self.levels - 1) * 2
        if min(self.patch) < least:
            raise ValueError(f"model.patch = {self.patch}: {self.levels} levels need at least {least} voxels each way")
        return self


class PostParams(Section):
    """Post-processing of the predicted probability; sizes in voxels."""

    threshold: float = Field(0.5, ge=0, le=1, description="probability from which a voxel is sheet")
    smallest: int = Field(100, ge=0, description="components with fewer voxels are dropped; 0: none")
    plug: bool = Field(True, description="make every 2 x 2 x 2 neighbourhood 6-connected")
    patch: bool = Field(True, description="fill the gaps of each sheet's height map")
    closing: float = Field(0.0, ge=0, description="radius of the ball that closes each sheet; 0: none")
    fill: int = Field(100, ge=0, description="cavities of up to so many voxels are filled; 0: none")


class ScrollEvaluation(EvaluationParams):
    """How whole volumes are scored."""

    batch: int = Field(1, ge=1, le=1, description="volumes per pass: they differ in shape, so one at a time")
    post: PostParams = PostParams.defaults()


class ScrollParams(Parameters):
    """Parameters of the scroll study."""

    data: ScrollData = ScrollData.defaults()
    conversion: ScrollConversion = ScrollConversion.defaults()
    model: ScrollModel = ScrollModel.defaults()
    evaluation: ScrollEvaluation = ScrollEvaluation.defaults()
