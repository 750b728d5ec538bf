"""Parameters of the PLATEAU study: lengths in metres, angles in radians, times in seconds."""

from typing import Literal

from pydantic import Field, model_validator

from stepladder.core.schema import ConversionParams, DataParams, Parameters, Section

Theme = Literal["bldg", "tran", "veg", "frn", "brid", "dem", "luse", "wtr"]


class PlateauData(DataParams):
    """Choice of the cities, tiles and themes a run uses."""

    catalogue: Literal["snapshot", "live"] = Field("snapshot", description="committed table, or the public catalogue")
    cities: list[str] = Field([], description="municipality codes, such as 27100; empty: every city found")
    tiles: list[str] = Field([], description="third-mesh codes (8 digits); empty: every tile found")
    themes: list[Theme] = Field(["bldg", "tran", "dem", "veg", "frn", "brid", "luse", "wtr"], description="themes read")


class PlateauConversion(ConversionParams):
    """How tiles become labelled grids, paths and clips."""

    seed: int = Field(0, ge=0, description="seed of the paths that cars drive")
    voxel_m: float = Field(0.4, gt=0, description="edge of a voxel")
    height_m: float = Field(12.8, gt=0, description="height above the local ground that is stored")
    below_m: float = Field(1.2, ge=0, description="depth below the local ground that is stored")
    halo_m: float = Field(80.0, ge=0, description="margin around a tile, so that a window never leaves its shard")
    frame_s: float = Field(0.5, gt=0, description="time between two frames of a clip")
    frames: int = Field(16, ge=2, description="frames of a clip")
    stride: int = Field(8, ge=1, description="frames between the starts of two clips of one path")
    speed_mps: float = Field(8.0, gt=0, description="cruising speed along a path")
    curve_mps2: float = Field(2.0, gt=0, description="largest sideways acceleration in a curve")
    least_path_m: float = Field(70.0, gt=0, description="shorter pieces of road carry no path")


class PlateauModel(Section):
    """The forecaster and the window it sees."""

    name: Literal["warp_fill", "occworld"] = Field("warp_fill", description="ours, or OccWorld re-implemented")
    window: list[int] = Field(
        [200, 200, 16], min_length=3, max_length=3, description="voxels ahead/behind, left/right, up"
    )
    z_min_m: float = Field(-1.0, description="lower face of the window relative to the ego's ground")
    past: int = Field(5, ge=1, description="frames seen, the present one included")
    future: int = Field(6, ge=1, description="frames forecast")
    width: int = Field(
        32,
        ge=4,
        multiple_of=4,
        description="warp_fill: channels of its first level; occworld: base width of the tokenizer (published: 64)",
    )
    levels: int = Field(3, ge=1, description="warp_fill: levels of its U-Net")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout in training")
    augment: bool = Field(True, description="mirror left/right and shift sideways in training")
    tokenizer_steps: int = Field(200, ge=1, description="occworld: optimizer steps of the first stage")
    codes: int = Field(512, ge=2, description="occworld: entries of the codebook")


class PlateauParams(Parameters):
    """Parameters of the PLATEAU study."""

    data: PlateauData = PlateauData.defaults()
    conversion: PlateauConversion = PlateauConversion.defaults()
    model: PlateauModel = PlateauModel.defaults()

    @model_validator(mode="after")
    def _clip_long_enough(self) -> "PlateauParams":
        needed, frames = self.model.past + self.model.future, self.conversion.frames
        if needed > frames:
            raise ValueError(f"model.past + model.future = {needed} frames, but conversion.frames = {frames}")
        reach = 0.5 * (self.model.window[0] ** 2 + self.model.window[1] ** 2) ** 0.5 * self.conversion.voxel_m
        if reach > self.conversion.halo_m:
            raise ValueError(f"half diagonal of model.window is {reach:.0f} m, more than conversion.halo_m")
        return self
