"""Parameters: one YAML profile per study, checked and frozen before anything runs.

Decisions:
- A profile's top-level keys are exactly the names in each notebook's `parameters` cell, so the same file feeds
  `stepladder run`, stock `papermill -f` and a person editing the cell.
- Sections are strict pydantic models. An unknown key, a wrong type or a contradiction is refused with the key, the
  value and the nearest known name; nothing is coerced, with one exception: `3e-4`, which YAML 1.1 reads as text.
- A study narrows sections by subclassing `Parameters`; it never adds a second way to configure something.
- Secrets are never parameters. Only names of environment variables may appear.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
SECRET = re.compile(
    r"hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|sk-[A-Za-z0-9-]{20,}|[0-9a-f]{40}"
)


LABELS = ("study", "profile", "run")  # what a run is called; no result depends on it


class ParameterError(ValueError):
    """A parameter that cannot be used, with its name, its value and the way out."""


class Section(BaseModel):
    """Base of every parameter section: unknown keys refused, types strict, values frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())

    def __getattr__(self, name: str) -> Any:
        if name in type(self).model_fields:  # taken out by `Parameters.only`
            raise ParameterError(
                f"{type(self).__name__}.{name} is read where it does not count: a stage's key holds only what "
                "`stages.STAGES` lets it read, a shard's recipe only `conversion`; name it there or read something else"
            )
        return super().__getattr__(name)  # pyright: ignore[reportAttributeAccessIssue] (pydantic hides it)


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


class SplitParams(Section):
    """How shards are divided into train, validation and test."""

    by: Literal["group", "asset"] = Field("group", description="unit that is never divided between splits")
    train: list[str] | None = Field(None, description="names of the units; null: drawn by the seed")
    validation: list[str] | None = Field(None, description="names of the units; null: drawn by the seed")
    test: list[str] | None = Field(None, description="names of the units; null: drawn by the seed")
    buffer: float = Field(0.0, ge=0, description="distance kept free between splits, in the study's length unit")


class TrainingParams(Section):
    """The training run. Steps are optimizer steps; `batch` is the global batch, whatever the number of processes."""

    steps: int = Field(100, ge=1, description="optimizer steps of each training stage unless the study says otherwise")
    batch: int = Field(4, ge=1, description="samples per optimizer step, over all processes")
    accumulate: int = Field(1, ge=1, description="micro-batches each optimizer step is divided into")
    workers: int = Field(0, ge=0, description="loader processes per training process; 0 loads in the process itself")
    prefetch: int = Field(2, ge=1, description="batches each loader process prepares ahead")
    processes: int = Field(1, ge=1, description="training processes (one per GPU; gloo on CPU)")
    threads: int = Field(0, ge=0, description="intra-op threads per training process; 0 leaves torch's choice")
    obey_ladder: bool = Field(True, description="take workers and batch from 04_scaling when it has chosen them")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")
    schedule: Literal["cosine", "constant", "wsd"] = Field("cosine", description="learning-rate schedule after warm-up")
    warmup: int = Field(10, ge=0, description="optimizer steps of linear warm-up")
    clip_norm: float = Field(1.0, gt=0, description="largest allowed L2 norm of the gradient")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the averaged weights used for evaluation; 0 switches off")
    precision: Literal["float32", "bfloat16", "float16"] = Field("float32", description="autocast type of the step")
    compile: bool = Field(False, description="torch.compile the model")
    activation_checkpointing: bool = Field(False, description="recompute activations in backward to save memory")
    shard: bool = Field(False, description="FSDP2 instead of DDP when there are several processes")
    validate_every: int = Field(50, ge=1, description="optimizer steps between validations")
    validation_batches: int = Field(4, ge=1, description="batches of one validation")
    checkpoint_every: int = Field(50, ge=1, description="optimizer steps between checkpoints")
    keep: int = Field(2, ge=1, description="newest checkpoints kept beside the best one")
    by_heart: float = Field(
        0.5, gt=0, lt=1, description="share of the first loss at which 03_smoke_test says that ten samples are learnt"
    )
    log_every: int = Field(1, ge=1, description="optimizer steps between lines of metrics.jsonl")


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
    hold_batch: bool = Field(
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


class Parameters(Section):
    """Everything one walk of the road needs. Studies narrow the sections."""

    study: str = Field(description="name of the study")
    profile: str = Field("quick", description="params/<study>/<profile>.yaml gives every value not set here")
    run: str = Field("quick", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="folder in outputs/<study>/")
    seed: int = Field(0, ge=0, description="seed of everything random")
    data: DataParams = DataParams()
    conversion: ConversionParams = ConversionParams()
    splits: SplitParams = SplitParams()
    model: Section = Section()
    training: TrainingParams = TrainingParams()
    ladder: LadderParams = LadderParams()
    evaluation: EvaluationParams = EvaluationParams()
    view: ViewParams = ViewParams()
    tracking: list[Literal["jsonl", "wandb", "tensorboard"]] = Field(["jsonl"], description="where metrics go")

    def only(self, sections: Iterable[str], hidden: Iterable[str] = ()) -> Self:
        """A copy that holds the names of the run and `sections`: reading anything else is a `ParameterError`.

        Args:
            sections: names of top-level fields.
            hidden: fields taken out of them again, as `evaluation.samples`.
        """
        kept = {*LABELS, *sections}
        copy = self.model_copy()
        for name in set(type(self).model_fields) - kept:
            copy.__dict__.pop(name, None)
        for section, _, field in (name.partition(".") for name in hidden):
            if section in kept:
                part = copy.__dict__[section] = copy.__dict__[section].model_copy()
                part.__dict__.pop(field, None)
        return copy


def profile_path(root: Path, study: str, profile: str) -> Path:
    """Path of a profile; `ParameterError` with the nearest name when there is none."""
    folder = root / "params" / study
    path = folder / f"{profile}.yaml"
    if not path.exists():
        raise ParameterError(
            f"no profile {profile!r} for study {study!r}{nearest(profile, (p.stem for p in folder.glob('*.yaml')))}"
        )
    return path


def load(root: Path, study: str, profile: str = "quick", overrides: dict[str, Any] | None = None) -> Parameters:
    """Read, merge and check the parameters of one run.

    Args:
        root: project root, which holds `params/`.
        study: name of the study, whose `Params` class checks the values.
        profile: name of the YAML file in `params/<study>/`.
        overrides: nested values that win over the profile, such as `{"training": {"steps": 10}}`.

    Raises:
        ParameterError: for anything that cannot be used, naming key, value and the nearest known key.
    """
    from stepladder.core.study import find

    schema = find(study).Params
    text = read_yaml(profile_path(root, study, profile))
    return check(schema, merge(text, {"study": study, "profile": profile}, overrides or {}))


def check(schema: type[Parameters], values: dict[str, Any]) -> Parameters:
    """`values` as a frozen instance of `schema`; see `load` for the errors."""
    try:
        return schema.model_validate(_numbers(values))
    except ValidationError as error:
        raise ParameterError("\n".join(_explain(schema, item) for item in error.errors())) from None


def parse_assignment(text: str) -> dict[str, Any]:
    """`training.steps=10` as `{"training": {"steps": 10}}`; the value is read as YAML."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise ParameterError(f"{text!r} is not an assignment: write section.key=value, as in training.steps=10")
    nested: Any = yaml.safe_load(value)
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return nested


def merge(*layers: dict[str, Any]) -> dict[str, Any]:
    """Deep merge of dictionaries, later ones win; lists are replaced whole."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merge(result[key], value) if both else value
    return result


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping; `ParameterError` with the place when it is not valid YAML or not a mapping."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ParameterError(f"{path.name} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ParameterError(f"{path.name} must be a mapping of section names, found {type(values).__name__}")
    return values


def dump(values: dict[str, Any]) -> str:
    """Parameters as YAML, in their order."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested parameters as (`training.steps`, 100)."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def changes(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `values` that differs from `usual`, nested alike."""
    found = {}
    for key, value in values.items():
        other = usual.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            if inner := changes(value, other):
                found[key] = inner
        elif value != other or key not in usual:
            found[key] = value
    return found


def table(schema: type[BaseModel], section: str | None = None) -> list[dict[str, str]]:
    """One row per parameter: name, type, default, meaning. `section` limits to one section."""
    rows = []
    for name, field in schema.model_fields.items():
        nested = _section_type(field.annotation)
        if section is not None and name != section:
            continue
        if nested is not None:
            default = field.default if isinstance(field.default, BaseModel) else None
            for row in table(type(default) if default is not None else nested):
                rows.append({**row, "name": f"{name}.{row['name']}"})
        else:
            default = "required" if field.is_required() else repr(field.get_default(call_default_factory=True))
            kind = re.sub(r"typing\.|<class '|'>", "", str(field.annotation))
            rows.append({"name": name, "type": kind, "default": default, "meaning": field.description or ""})
    if not rows:
        raise ParameterError(f"no section {section!r}{nearest(section or '', schema.model_fields)}")
    return rows


def nearest(name: str, known: Any) -> str:
    """`; did you mean 'x'? (known: ...)` for an error message, or the list alone when nothing is near."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (known: {', '.join(known) or 'none'})"


def _numbers(value: Any) -> Any:
    """Text such as `3e-4` as the number a person meant; everything else unchanged."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if isinstance(value, str) and SCIENTIFIC.fullmatch(value):
        return float(value)
    return value


def _section_type(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model behind an annotation, through `X | None` and `list[X]`."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _explain(schema: type[BaseModel], item: Any) -> str:
    """One pydantic error as a sentence that names key, value and the way out."""
    place = ".".join(str(part) for part in item["loc"]) or schema.__name__
    shown = "(hidden: it looks like a secret)" if SECRET.search(str(item["input"])) else repr(item["input"])
    if item["type"] == "extra_forbidden":
        model: type[BaseModel] = schema
        for part in item["loc"][:-1]:
            field = model.model_fields.get(str(part))  # None at a place in a list
            model = (_section_type(field.annotation) if field else None) or model
        return f"unknown parameter {place!r} = {shown}{nearest(str(item['loc'][-1]), model.model_fields)}"
    return f"parameter {place!r} = {shown}: {item['msg']}"
