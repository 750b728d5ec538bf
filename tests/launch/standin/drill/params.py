"""Parameters of the drills' study; apart, so that who only asks for them needs no torch."""

from pydantic import Field

from stepladder.core.schema import Parameters, Section


class DrillModel(Section):
    """What the drills turn: the toy study's members, and those of the stand-in for training."""

    width: int = Field(16, description="hidden units")
    dropout: float = Field(0.2, description="dropout in training")
    noise: float = Field(0.1, description="augmentation")
    samples: int = Field(20, description="training samples")
    stages: list[str] = Field(["all"], description="names of the stages; each trains its part")
    can_start: bool = Field(True, description="verdict of the gate")
    nan_at: int = Field(-1, description="index of a training sample whose target is nan")
    worsens: bool = Field(False, description="every validation is worse than the one before")
    sleep: float = Field(0.05, description="seconds a step takes at least")
    given: str = Field("", description="identity of the first part, which is given then")
    keep_if_better: bool = Field(False, description="every stage is judged at its end")
    eat: int = Field(0, description="megabytes each step takes and never gives back")
    hang_at: int = Field(-1, description="step after which the stand-in computes nothing more, the first time")
    deaf: bool = Field(False, description="the stand-in does not hear SIGTERM")
    padding: int = Field(0, description="megabytes of a checkpoint of the stand-in")


class DrillParams(Parameters):
    """Parameters of the study."""

    model: DrillModel = DrillModel()
