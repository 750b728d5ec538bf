"""The parameters themselves: every section with its fields, defaults and meanings.

Decisions:
- Sections are strict pydantic models. An unknown key, a wrong type or a contradiction is refused (see `config.check`).
- A study narrows sections by subclassing `Parameters`; it never adds a second way to configure something.
"""

import re
from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from stepladder.core.config import ParameterError, nearest

LABELS = ("study", "profile", "run")  # what a run is called; no result depends on it
ALERTS = ("nan", "stalled", "preempted", "lost", "over_budget", "finished", "failed")  # what a job is watched for
LEVEL = re.compile(r"(\w+) ([<>]) (\S+)")  # and a level that a metric passes
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"  # name of an environment variable


class Section(BaseModel):
    """Base of every parameter section: unknown keys refused, types strict, values frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())

    @classmethod
    def defaults(cls) -> Self:
        """The section with every field at its default; `cls()`, but a type checker knows no defaults of pydantic's."""
        return cls.model_validate({})

    def __getattr__(self, name: str) -> Any:
        if name in type(self).model_fields:  # taken out by `Parameters.only`
            raise ParameterError(
                f"{type(self).__name__}.{name} is read where it does not count: a stage's key holds only what "
                "`stages.STAGES` lets it read, a shard's recipe only `conversion`; name it there or read something else"
            )
        inherited: Any = super()
        return inherited.__getattr__(name)  # pydantic has it, and hides it from type checkers


class DataParams(Section):
    """What raw data this run uses and where it comes from."""

    source: Literal["synthetic", "mirror", "remote"] = Field(
        "synthetic", description="synthetic: made on the spot; mirror: a folder or file:// copy; remote: over HTTP"
    )
    mirror: str | None = Field(None, description="folder or file:// URL that holds the raw files (source: mirror)")
    synthetic: int = Field(4, ge=3, description="raw assets made on the spot (source: synthetic)")


class ConversionParams(Section):
    """How raw files become shards."""

    workers: int = Field(1, ge=1, description="processes that convert assets side by side")
    failed_share: float = Field(
        0.02, ge=0, lt=1, description="share of the assets that may fail to convert; each is named all the same"
    )


class SplitParams(Section):
    """How shards are divided into train, validation and test."""

    by: Literal["group", "asset"] = Field("group", description="unit that is never divided between splits")
    train: list[str] | None = Field(None, description="names of the units; null: drawn by the seed")
    validation: list[str] | None = Field(None, description="names of the units; null: drawn by the seed")
    test: list[str] | None = Field(None, description="names of the units; null: drawn by the seed")
    buffer: float = Field(0.0, ge=0, description="distance kept free between splits, in the study's length unit")


class Change(Section):
    """Settings of the training that change on the way: part of its parameters, so that it can be done again."""

    after: int = Field(ge=1, description="optimizer steps, over all stages of training, done before it comes in force")
    learning_rate: float | None = Field(None, gt=0, description="peak learning rate from then on; null: as before")
    clip_norm: float | None = Field(None, gt=0, description="largest L2 norm of the gradient; null: as before")
    weight_decay: float | None = Field(None, ge=0, description="decoupled weight decay; null: as before")

    @model_serializer(mode="wrap")
    def _what_is_set(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if value is not None}


class TrainingParams(Section):
    """The training run. Steps are optimizer steps; `batch` is the global batch, whatever the number of processes."""

    steps: int = Field(100, ge=1, description="optimizer steps of each training stage unless the study says otherwise")
    batch: int = Field(4, ge=1, description="samples per optimizer step, over all processes")
    accumulate: int = Field(1, ge=1, description="micro-batches each optimizer step is divided into")
    workers: int = Field(0, ge=0, description="loader processes per training process; 0 loads in the process itself")
    prefetch: int = Field(2, ge=1, description="batches each loader process prepares ahead")
    processes: int = Field(1, ge=1, description="training processes (one per GPU; gloo on CPU)")
    threads: int = Field(0, ge=0, description="intra-op threads per training process; 0 leaves torch's choice")
    use_ladder: bool = Field(True, description="take workers and batch from 04_scaling when it has chosen them")
    start_from: str | None = Field(
        None,
        description="weights that training begins with: a run as study/run (its best checkpoint), the folder of a "
        "checkpoint, or a file of safetensors; null: random ones",
    )
    start_from_missing: list[str] = Field(
        [], description="prefixes of the names of parameters that start_from lacks and that begin at random"
    )
    start_from_surplus: list[str] = Field(
        [], description="prefixes of the names of tensors in start_from that the model does not have"
    )
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")
    schedule: Literal["cosine", "linear", "constant", "wsd", "plateau"] = Field(
        "cosine",
        description="learning-rate schedule after warm-up; plateau: constant until validation stands still, then lower",
    )
    plateau_factor: float = Field(0.1, gt=0, lt=1, description="what a plateau multiplies the learning rate by")
    plateau_patience: int = Field(
        10, ge=0, description="validations in a row without a better loss that are waited for before the rate is cut"
    )
    plateau_threshold: float = Field(
        1e-4, ge=0, lt=1, description="share by which a validation loss must be below the best one to count as better"
    )
    plateau_floor: float = Field(
        0.0, ge=0, le=1, description="share of the peak learning rate that plateaus do not go below"
    )
    warmup: int = Field(10, ge=0, description="optimizer steps of linear warm-up")
    clip_norm: float = Field(1.0, gt=0, description="largest allowed L2 norm of the gradient")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the averaged weights used for evaluation; 0 switches off")
    precision: Literal["float32", "bfloat16", "float16"] = Field("float32", description="autocast type of the step")
    compile: bool = Field(False, description="torch.compile the model")
    activation_checkpointing: bool = Field(False, description="recompute activations in backward to save memory")
    activation_offload: bool = Field(
        False, description="keep activations in host memory between forward and backward to save the accelerator's"
    )
    shard: bool = Field(False, description="FSDP2 instead of DDP when there are several processes")
    validate_every: int = Field(50, ge=1, description="optimizer steps between validations")
    validation_batches: int = Field(4, ge=1, description="batches of one validation")
    checkpoint_every: int = Field(
        50,
        ge=0,
        description="optimizer steps between checkpoints; 0: as many as lose the least time, as it is measured",
    )
    interruption_hours: float = Field(
        24.0, gt=0, description="mean hours between interruptions of the machine, for checkpoint_every: 0"
    )
    keep: int = Field(2, ge=1, description="newest checkpoints kept beside the best one")
    overfit_threshold: float = Field(
        0.5, gt=0, lt=1, description="share of the first loss at which 03_smoke_test says that ten samples are learnt"
    )
    log_every: int = Field(1, ge=1, description="optimizer steps between lines of metrics.jsonl")
    changes: list[Change] = Field(
        [], description="settings that change on the way, in their order, as `stepladder rollback` adds them"
    )

    @model_validator(mode="after")
    def _from_somewhere(self) -> Self:
        if self.start_from is None and (self.start_from_missing or self.start_from_surplus):
            raise ValueError("start_from_missing and start_from_surplus say nothing without start_from: name weights")
        return self

    @field_validator("changes")
    @classmethod
    def _in_order(cls, changes: list[Change]) -> list[Change]:
        steps = [change.after for change in changes]
        if steps != sorted(set(steps)):
            raise ValueError(f"their steps must grow, one change at each; here they are {steps}")
        return changes


class MixedTrainingParams(TrainingParams):
    """Training on several groups of samples: how they are mixed. A study that offers this narrows `training` to it."""

    mixing: Literal["mixed", "alternating", "sequential"] = Field(
        "mixed",
        description="mixed: every step draws from all groups by their shares; alternating: whole steps of one group, "
        "in turn; sequential: one group after the other, each for its share of a stage's steps",
    )
    temperature: float | None = Field(
        None,
        ge=0,
        description="a group's share of the draws is (its samples) ** temperature: 0 equal shares, 1 as many as it "
        "has; null: the shares the study says",
    )

    @model_validator(mode="after")
    def _in_turn(self) -> Self:
        if self.mixing == "alternating" and self.temperature is not None:
            raise ValueError(
                f"mixing alternating gives every group as many steps, so temperature = {self.temperature:g} has no "
                "effect: set it to null, or mixing to mixed"
            )
        return self


class RungParams(Section):
    """One rung of the policy `rungs`."""

    workers: int = Field(0, ge=0, description="loader processes")
    batch: int = Field(1, ge=1, description="samples of one forward pass")


class ScalingParams(Section):
    """The scaling law of 04_scaling: which runs it is fitted to, and the one run outside that tests it."""

    sizes: dict[str, dict[str, Any]] = Field(
        min_length=4, description="name -> overrides of `model`: the sizes of the grid, the smallest first"
    )
    units: list[int] = Field(
        min_length=3,
        description="data sizes of the grid: independent units (trajectories, clips) to train on",
    )
    budgets: list[int] = Field(min_length=3, description="optimizer steps at which a run is cooled down and scored")
    metrics: list[str] = Field(min_length=1, description="metrics that get a law each, on validation cases")
    beyond_model: dict[str, Any] = Field(description="overrides of `model` of the run outside the grid")
    beyond_units: int = Field(ge=1, description="units of training data of the run outside the grid")
    cooldown: float = Field(0.2, gt=0, lt=1, description="share of a budget over which the rate falls to zero")
    samples: int = Field(16, ge=1, description="validation cases every branch is scored on, spread evenly")
    processes: int = Field(2, ge=1, description="runs side by side, each a process of its own")
    seconds: float = Field(300.0, gt=0, description="a run that takes longer is cut: its longer budgets are missing")
    flops: list[float] = Field(
        [], description="budgets to recommend a size for; empty: the dearest run's, a tenth, ten times"
    )
    bootstrap: int = Field(200, ge=20, description="bootstrap replicates of each law")
    confidence: float = Field(0.95, gt=0, lt=1, description="coverage of the bands of each law")


class LadderParams(Section):
    """What 04_scaling may try, how it searches, and the gates it judges by."""

    policy: Literal["jump", "rungs"] = Field(
        "jump", description="jump: probe, predict every cell, try the best; rungs: climb the list `rungs`"
    )
    rungs: list[RungParams] = Field([], description="settings to climb in order (policy: rungs)")
    workers: list[int] = Field([0, 1, 2], min_length=1, description="loader processes to consider")
    batch: list[int] = Field([1, 2, 4], min_length=1, description="samples per forward pass to consider")
    threads: list[int] = Field([1], min_length=1, description="intra-op threads to consider; 0 leaves torch's choice")
    prefetch: list[int] = Field([2], min_length=1, description="batches prepared ahead per loader process to consider")
    precision: list[Literal["float32", "bfloat16", "float16"]] = Field(
        [], description="autocast types to consider; empty: the training's own"
    )
    checkpointing: list[bool] = Field([], description="recomputing of activations; empty: the training's own")
    compile: list[bool] = Field([], description="torch.compile; empty: the training's own")
    keep_global_batch: bool = Field(
        True, description="keep training.batch samples per optimizer step: smaller forward passes are accumulated"
    )
    steps: int = Field(
        12,
        ge=4,
        description="timed forward passes of one trial, after warm-up; more where 48 samples or 12 rounds of all "
        "workers take more; fewer as soon as the rate is sure",
    )
    soak: int = Field(40, ge=0, description="forward passes of the last trial, which looks for leaks; 0: none")
    seconds: float = Field(60.0, gt=0, description="a trial that takes longer is stopped")
    memory_fraction: float = Field(0.85, gt=0, le=1, description="share of the memory limit a trial may use")
    gain: float = Field(0.03, ge=0, description="relative gain in samples/s below which a dearer rung is not worth it")
    tie: float = Field(
        0.02, ge=0, description="settings forecast within this share of the best are ties: take the cheapest"
    )
    busy: float = Field(0.9, gt=0, le=1, description="target share of time in the step rather than waiting for data")
    variants: dict[str, list[Any]] = Field(
        {},
        description="field of `model` -> values: after the search each combination is measured at the chosen setting, "
        "and none is chosen",
    )
    scaling: ScalingParams | None = Field(None, description="the scaling law; null: not asked for")


class EvaluationParams(Section):
    """How 06_evaluation scores."""

    samples: int = Field(16, ge=1, description="test samples scored, spread evenly over the test set")
    batch: int = Field(1, ge=1, description="samples per forward pass")
    bootstrap: int = Field(1000, ge=10, description="bootstrap replicates of each interval")
    confidence: float = Field(0.95, gt=0, lt=1, description="coverage of the intervals")


class ViewParams(Section):
    """What 07_visualization draws."""

    samples: int = Field(2, ge=1, description="test samples shown")
    size: list[int] = Field([1000, 700], description="pixels of a rendered scene, width and height")


class AlertRule(Section):
    """Where alerts go, beside the run's events, which tell them all."""

    when: list[str] = Field(
        min_length=1, description=f"which: {', '.join(ALERTS)}, or a level of a metric as `validation_loss > 2.5`"
    )
    wandb: bool = Field(False, description="as an alert of Weights & Biases, offline too")
    webhook: str | None = Field(
        None, pattern=VARIABLE, description="name of the environment variable that holds an URL; gets JSON by POST"
    )
    command: list[str] = Field([], description="a program with its arguments; gets the alert as JSON on stdin")

    @field_validator("when")
    @classmethod
    def _known(cls, when: list[str]) -> list[str]:
        for name in when:
            if name not in ALERTS and level(name) is None:
                raise ValueError(f"no alert {name!r}{nearest(name, (*ALERTS, 'METRIC > NUMBER'))}")
        return when


class LaunchParams(Section):
    """Where 04 and 05 compute, and what that may cost. No result depends on it."""

    on: str | None = Field(None, description="name of a target in params/targets.yaml; null: here")
    budget: float | None = Field(None, gt=0, description="most dollars of a job; null: the target's own limit")
    hours: float | None = Field(None, gt=0, description="most hours of machines of a job; null: the target's own limit")
    restarts: int = Field(
        5,
        ge=0,
        description="losses in a row, with no checkpoint won between them, after which a job is still tried again",
    )
    stuck_minutes: float = Field(30.0, gt=0, description="minutes without progress after which a job is ended")
    stalled_minutes: float = Field(10.0, gt=0, description="minutes without progress after which an alert says so")
    alerts: list[AlertRule] = Field([], description="where alerts go beside the run's events")


def level(text: str) -> tuple[str, bool, float] | None:
    """Metric, whether above it, and the number of `validation_loss > 2.5`; None where it says no such thing."""
    found = LEVEL.fullmatch(text)
    try:
        return (found[1], found[2] == ">", float(found[3])) if found else None
    except ValueError:
        return None


class Parameters(Section):
    """Everything one walk of the road needs. Studies narrow the sections."""

    study: str = Field(description="name of the study")
    profile: str = Field("quick", description="params/<study>/<profile>.yaml gives every value not set here")
    run: str = Field("quick", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="folder in outputs/<study>/")
    seed: int = Field(0, ge=0, description="seed of everything random")
    data: DataParams = DataParams.defaults()
    conversion: ConversionParams = ConversionParams.defaults()
    splits: SplitParams = SplitParams.defaults()
    model: Section = Section.defaults()
    training: TrainingParams = TrainingParams.defaults()
    ladder: LadderParams = LadderParams.defaults()
    evaluation: EvaluationParams = EvaluationParams.defaults()
    view: ViewParams = ViewParams.defaults()
    tracking: list[Literal["jsonl", "wandb", "tensorboard"]] = Field(["jsonl"], description="where metrics go")
    launch: LaunchParams = LaunchParams.defaults()

    def only(self, sections: Iterable[str], hidden: Iterable[str] = ()) -> Self:
        """A copy that holds the names of the run and `sections`: reading anything else is a `ParameterError`.

        Args:
            sections: names of top-level fields.
            hidden: fields taken out of them again, as `evaluation.samples`.
        """
        kept = {*LABELS, *sections}
        copy = self.model_copy()
        values: dict[str, Any] = vars(copy)
        for name in set(type(self).model_fields) - kept:
            values.pop(name, None)
        for section, _, field in (name.partition(".") for name in hidden):
            if section in kept:
                part: Section = values[section].model_copy()
                values[section] = part
                vars(part).pop(field, None)
        return copy
