"""Parameters of the captions study: lengths in pixels and tokens, times in seconds."""

from typing import Literal

from pydantic import Field, model_validator

from stepladder.core.schema import (
    ConversionParams,
    DataParams,
    EvaluationParams,
    Parameters,
    Section,
    TrainingParams,
)
from stepladder.studies.captions.data.layout import ARMS, CONTROLS


class CaptionsData(DataParams):
    """Which list of pictures, which of its rows, how they are asked for, and what is kept of them."""

    synthetic: int = Field(60, ge=12, description="rows of the offline list (source: synthetic)")
    faults: float = Field(0.25, ge=0, lt=0.9, description="share of the offline list's addresses that misbehave")
    moving: int = Field(0, ge=0, description="drawn moving scenes beside the offline list, each of 17 frames")
    lists: list[str] = Field([], description="file:// addresses of lists: parquet, csv, tsv, jsonl (source: remote)")
    rows: int | None = Field(None, ge=1, description="rows taken of what passes the filters; null: all")
    least_clip: float | None = Field(None, description="smallest CLIP L/14 similarity of picture and text; null: any")
    least_side: int = Field(0, ge=0, description="smallest side that the list tells, in pixels")
    most_aspect: float | None = Field(None, ge=1, description="largest ratio of the sides that the list tells")
    basic: bool = Field(False, description="DataComp's basic filter: English, words, sizes")
    english: bool = Field(False, description="only texts that look English")
    contact: str = Field("", description="address or page by which hosts reach you; told to every one of them")
    robots: bool = Field(True, description="ask robots.txt first, and heed noai headers")
    connections: int = Field(64, ge=1, description="pictures asked for at once")
    per_host: int = Field(2, ge=1, description="of those, from one host")
    per_second: float = Field(5.0, gt=0, description="requests per second to one host")
    passes: int = Field(2, ge=1, description="times what failed for a passing reason is asked for")
    block: int = Field(1000, ge=1, description="rows of a list that become one tar")
    side: int = Field(512, ge=32, description="pixels that kept pictures are resized to, as `resize` says")
    resize: Literal["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"] = Field(
        "keep_ratio_largest", description="how, by the names of img2dataset; larger pictures only"
    )
    blur: bool = Field(False, description="blur the faces that the list tells boxes of")


class CaptionsConversion(ConversionParams):
    """What is computed of a picture once: the features of frozen towers."""

    size: Literal["tiny", "small", "gemma3_4b"] = Field(
        "small",
        description="tiny: Gemma 3 and Wan classes with random weights; small: EfficientNet-Lite0 and our own; "
        "gemma3_4b: SigLIP of Gemma 3 4B and the VAE of Cosmos, whose weights are given",
    )
    question: str = Field("Describe this image simply.", description="what every caption answers")
    world_steps: int = Field(0, ge=0, le=4, description="steps of the world tower beyond the first: 1 + 4n frames")
    features: Literal["float16", "int8"] = Field("float16", description="type that features are kept in")
    whole_pixels: bool = Field(
        True,
        description="keep pictures as large as the vision tower sees them; false: at most 224 pixels, enough for pages",
    )
    weights: str | None = Field(None, description="folder or hub name of Gemma 3 (size: gemma3_4b)")
    revision: str | None = Field(None, description="commit of the hub that the weights are pinned to")
    world_weights: str | None = Field(None, description="folder or hub name of the world tower's weights")
    world_revision: str | None = Field(None, description="commit that those are pinned to")


class CaptionsModel(Section):
    """What joins the frozen towers to the frozen language model, and the language model that is made here."""

    projection: Literal["linear", "mlp", "pooled", "resampler"] = Field(
        "resampler", description="how world features become tokens; linear and mlp: a token for every place"
    )
    world: bool = Field(True, description="whether the language model is given world tokens at all")
    world_tokens: int = Field(16, ge=1, le=4096, description="tokens of pooled and resampler; linear and mlp: any")
    length: int = Field(128, ge=16, description="tokens of a sequence, pictures and world included")
    width: int = Field(192, ge=16, multiple_of=8, description="channels of our own language model (size: small)")
    layers: int = Field(4, ge=1, description="its layers")
    controls: list[str] = Field(list(CONTROLS), description=f"arms trained at equal cost, of {', '.join(CONTROLS)}")
    vision: Literal["cached", "computed", "released"] = Field(
        "cached", description="vision features: of the shards, computed in every step, or computed and trained"
    )

    @model_validator(mode="after")
    def _known(self) -> "CaptionsModel":
        if unknown := [name for name in self.controls if name not in CONTROLS]:
            raise ValueError(f"model.controls knows {', '.join(CONTROLS)}, not {unknown[0]!r}")
        return self


class CaptionsTraining(TrainingParams):
    """Training: first the language model where none is given, then each control, then the projection."""

    language_steps: int = Field(200, ge=1, description="optimizer steps of our own language model, on text alone")
    language_rate: float = Field(2e-3, gt=0, description="its peak learning rate")


class CaptionsEvaluation(EvaluationParams):
    """How captions and answers are scored."""

    new_tokens: int = Field(32, ge=1, description="tokens of an answer at most")
    arms: list[str] = Field(list(ARMS), min_length=1, description=f"arms compared, of {', '.join(ARMS)}")

    @model_validator(mode="after")
    def _known(self) -> "CaptionsEvaluation":
        if unknown := [name for name in self.arms if name not in ARMS]:
            raise ValueError(f"evaluation.arms knows {', '.join(ARMS)}, not {unknown[0]!r}")
        return self


class CaptionsParams(Parameters):
    """Parameters of the captions study."""

    data: CaptionsData = CaptionsData.defaults()
    conversion: CaptionsConversion = CaptionsConversion.defaults()
    model: CaptionsModel = CaptionsModel.defaults()
    training: CaptionsTraining = CaptionsTraining.defaults()
    evaluation: CaptionsEvaluation = CaptionsEvaluation.defaults()
