"""The Study interface: what a domain must say so that the shared road can be walked with it.

Decisions:
- A study is the object `study` in `stepladder/studies/<name>/study.py`; the folder name is its name. Discovery is by
  folder, so a sixth study is `lib/stepladder/studies/<name>/` and `params/<name>/` and nothing else.
- The interface follows the road: catalogue -> sources -> assets -> convert -> dataset -> model -> loss -> predict ->
  score -> scene. Everything between (fetching, shards, splits, sampling, training, intervals, rendering) is shared.
- Models are single-device; parallelism, precision and compilation are applied from outside.
- The types exchanged are small frozen dataclasses, defined here or in the module that owns them.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor, nn

from stepladder import studies
from stepladder.params import ParameterError, Parameters, nearest

Sample = dict[str, Any]  # name -> numpy array or number; names carry shape suffixes, as in `occ_TXYZ`
Batch = dict[str, Tensor]  # collated samples: every array with a leading batch axis
Prediction = dict[str, Tensor]  # what `predict` and a baseline return, and `score` and `scene` read
Box = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max in the study's length unit


class StudyError(ValueError):
    """Input a study cannot use, named with the way out."""


@dataclass(frozen=True)
class Source:
    """One place raw files come from: a zip archive (http, https or file URL, or a path) or a folder.

    `members` are glob patterns of wanted paths inside it; `folder` is where they land below the raw folder.
    A local folder is used where it lies and never copied.
    """

    url: str
    folder: str
    members: tuple[str, ...] = ("*",)


@dataclass(frozen=True)
class Asset:
    """One unit of conversion: what becomes one shard.

    Attributes:
        id: unique and stable; the shard is `<id>.h5`.
        group: the stratum results are split by.
        files: the raw files it is made of, primary first.
        neighbours: further raw files that may contribute (adjacent tiles).
        region: bounding box in the study's length unit, for buffers and maps.
        kin: equal where assets show the same thing (trajectories from the same first states): such assets are never
            divided between splits by asset; empty where an asset is like no other.
        meta: small facts kept in the inventory.
    """

    id: str
    group: str
    files: tuple[Path, ...]
    neighbours: tuple[Path, ...] = ()
    region: Box | None = None
    kin: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Issue:
    """Something skipped or repaired, counted: a row of the conversion report."""

    kind: str
    count: int = 1
    example: str = ""


@dataclass(frozen=True)
class ShardContent:
    """What `convert` returns for one asset.

    Attributes:
        arrays: name -> array, stored contiguous and uncompressed so that readers map them.
        compressed: name -> array, stored chunked and compressed; for what is not read at random in training.
        attributes: provenance and facts (JSON types): units, coordinates, licence, counts.
        issues: everything skipped or repaired.
    """

    arrays: Mapping[str, np.ndarray]
    compressed: Mapping[str, np.ndarray] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    issues: Sequence[Issue] = ()


@runtime_checkable
class Dataset(Protocol):
    """Samples of one split, addressable by index. Must be picklable (loader processes)."""

    groups: np.ndarray  # (N,) group name of every sample
    units: np.ndarray  # (N,) name of the independent unit (a trajectory, a clip) that intervals resample
    weights: Mapping[str, float]  # group -> share of draws in training

    def __len__(self) -> int: ...

    def sample(self, index: int, rng: np.random.Generator | None) -> Sample:
        """Sample `index`; augmented with `rng`, plain when it is None."""
        ...


@dataclass(frozen=True)
class TrainingStage:
    """One stage of training: which parts learn, for how long.

    Attributes:
        name: shown in metrics and curves.
        steps: optimizer steps.
        trainable: prefixes of parameter names that learn; everything else is frozen.
        learning_rate: peak rate; None takes the profile's.
        judged: at its end the model goes back to its best weights by validation, and `Study.conclude` says what
            becomes of them.
    """

    name: str
    steps: int
    trainable: tuple[str, ...] = ("",)
    learning_rate: float | None = None
    judged: bool = False


@dataclass(frozen=True)
class Loss:
    """A differentiable total and the parts it is made of (detached scalars, for the curves)."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A gate with a verdict and a reason in words."""

    name: str
    ok: bool
    reason: str
    value: float | str | None = None
    limit: float | str | None = None


@dataclass(frozen=True)
class Record:
    """One sample's contribution to one metric; sums over samples give the metric (see `stepladder.evaluation`).

    The value of a metric is the mean over its parts of `sum(numerator) / sum(denominator)`; a part whose `support`
    sums to zero is absent from the data and left out. `item` is the sample's place in the batch.
    """

    item: int
    metric: str
    numerator: float
    denominator: float
    part: str = ""
    support: float = 1.0


Baseline = Callable[[Batch], Prediction]


@runtime_checkable
class Study(Protocol):
    """What every study provides. `params` is always an instance of the study's own `Params`."""

    name: str
    title: str
    card: str  # markdown: source, licence, citation, units, known defects
    Params: type[Parameters]
    better: Literal["higher", "lower"]  # where a better value of every metric lies

    sizes: Mapping[str, str]  # column of bytes in the catalogue -> what it is, the whole first
    planned: Mapping[str, float]  # region (or "all") -> bytes somebody planned for; may be empty

    def catalogue(self, params: Parameters) -> pd.DataFrame:
        """What exists in the world: one row per group with at least `group, name, region, bytes, year, quality`."""
        ...

    def synthesize(self, folder: Path, count: int, seed: int, params: Parameters) -> list[Source]:
        """Write `count` tiny valid raw assets in the true format; deterministic in `seed` and `params.data`."""
        ...

    def sources(self, params: Parameters) -> list[Source]:
        """Where this run's raw files come from when they are not synthesized."""
        ...

    def assets(self, raw: Sequence[Path], params: Parameters) -> list[Asset]:
        """The units of conversion found below the folders `raw`, in a stable order."""
        ...

    def convert(self, asset: Asset, params: Parameters, cache: Path) -> ShardContent:
        """One asset as arrays. Raises `StudyError` for a file it cannot use; counts what it skips or repairs.

        `cache` is a folder for intermediate files that several assets share; it may be deleted at any time.
        """
        ...

    def dataset(self, shards: Sequence[Path], params: Parameters, keep_clear: Sequence[Box] = ()) -> Dataset:
        """Samples of `shards`, without those that come nearer than the split buffer to a `keep_clear` region."""
        ...

    def cases(self, shards: Sequence[Path], params: Parameters, keep_clear: Sequence[Box] = ()) -> Dataset:
        """What 06_evaluation scores and 07_visualization shows: the samples themselves, or what they were cut from.

        A study trained on pieces (patches of a volume, windows of a trajectory) is scored on whole ones.
        """
        ...

    def model(self, params: Parameters) -> nn.Module:
        """A freshly initialised single-device model (torch's global generator is seeded by the caller)."""
        ...

    def stages(self, params: Parameters) -> list[TrainingStage]:
        """Stages of training, in order."""
        ...

    def admit(self, stage: TrainingStage, model: nn.Module, batch: Batch) -> Check:
        """Whether `stage` may start on `model` (say, only on a trained tokenizer)."""
        ...

    def conclude(self, stage: TrainingStage, model: nn.Module, cases: Dataset, params: Parameters) -> Check:
        """Whether what a `judged` stage trained is kept, by whole validation cases; asked of no other stage.

        The model carries the consequence in a buffer: where the verdict is no, its predecessor answers.
        """
        ...

    def loss(self, model: nn.Module, batch: Batch, stage: TrainingStage) -> Loss:
        """Loss of one (micro-)batch, averaged over its samples. Dropout draws from torch's global generator.

        In training `model.optimizer_step` is the number of the step under way, whatever the micro-batch or rank.
        """
        ...

    def predict(self, model: nn.Module, batch: Batch) -> Prediction:
        """Inference on one batch, as evaluation and figures use it."""
        ...

    def baselines(self, params: Parameters, train: Sequence[Path]) -> dict[str, Baseline]:
        """The honest baselines, trivial ones first, the strong cheap one last; some fitted to the shards `train`."""
        ...

    def perfect(self, batch: Batch, params: Parameters) -> Prediction:
        """The truth of a batch in the form of a prediction: it must score perfectly."""
        ...

    def protocol(self, params: Parameters) -> dict[str, str]:
        """What is printed beside every number: space, split, averaging, horizon, classes."""
        ...

    def score(self, batch: Batch, prediction: Prediction, params: Parameters) -> list[Record]:
        """Records of every sample of the batch."""
        ...

    def analysis(self, model: nn.Module, cases: Dataset, params: Parameters) -> dict[str, pd.DataFrame | Figure]:
        """What else 06_evaluation shows of the test cases, by title: an ablation, say; may be empty."""
        ...

    def preview(self, sample: Sample, params: Parameters) -> Figure:
        """A two-dimensional picture of a sample: input and label side by side in the same colours."""
        ...

    def scenes(self, sample: Sample, prediction: Prediction | None, params: Parameters) -> "dict[str, Any]":
        """Named `stepladder.view.Scene` objects of one sample, with the prediction where there is one."""
        ...

    def figures(self, shards: Sequence[Path], splits: Mapping[str, Any], params: Parameters) -> "dict[str, Any]":
        """Named overview figures or scenes of the converted data (a map, the whole city)."""
        ...


def names() -> list[str]:
    """Names of all studies: the sub-packages of `stepladder.studies` that hold a `study` module."""
    folders = [Path(folder) for folder in studies.__path__]
    return sorted({path.parent.name for folder in folders for path in folder.glob("*/study.py")})


def find(name: str) -> Study:
    """The study called `name`; `ParameterError` with the nearest name, or naming the missing optional package."""
    if name not in names():
        raise ParameterError(f"no study {name!r}{nearest(name, names())}")
    try:
        return importlib.import_module(f"{studies.__name__}.{name}.study").study
    except ModuleNotFoundError as error:
        raise ParameterError(
            f"study {name!r} needs the package {error.name!r}, which is not installed: pip install 'stepladder[{name}]'"
        ) from error
