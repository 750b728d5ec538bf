"""The Study interface: what a domain must say so that the shared road can be walked with it.

Decisions:
- A study is the object `study` in `stepladder/studies/<name>/study.py`; the folder name is its name. Discovery is by
  folder, so a sixth study is `lib/stepladder/studies/<name>/` and `params/<name>/` and nothing else.
- The interface follows the road: catalogue -> sources -> assets -> convert -> dataset -> model -> loss -> predict ->
  score -> scene. Everything between (fetching, shards, splits, sampling, training, intervals, rendering) is shared.
- A study subclasses `Study`: what only it can know is required, and refused by name when missing; the rest has a
  default. Pictures come by name with their captions, so that no shared page speaks a study's language.
- Models are single-device; parallelism, precision and compilation are applied from outside.
- The types exchanged are small frozen dataclasses, defined here or in the module that owns them.
"""

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor, nn

from stepladder import studies
from stepladder.core.config import ParameterError, Parameters, nearest

if TYPE_CHECKING:
    from stepladder.view.scene import Scene

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
    """One sample's contribution to one metric; sums over samples give the metric (see `stepladder.evaluation.metrics`).

    The value of a metric is the mean over its parts of `sum(numerator) / sum(denominator)`; a part whose `support`
    sums to zero is absent from the data and left out. `item` is the sample's place in the batch.
    """

    item: int
    metric: str
    numerator: float
    denominator: float
    part: str = ""
    support: float = 1.0


@dataclass(frozen=True)
class Picture:
    """A drawing and the sentence that stands below it; pictures of a study go by name, which is their file's.

    Attributes:
        drawing: flat, or a scene that is rendered and can be turned in its page. Make figures with
            `matplotlib.figure.Figure`: those of pyplot that stay open are shown once more by JupyterLab.
        caption: what is seen and what the colours mean.
    """

    drawing: "Figure | Scene"
    caption: str


Baseline = Callable[[Batch], Prediction]
P = TypeVar("P", bound=Parameters)


class Study(ABC, Generic[P]):
    """What a study says of its domain: subclass it as `Study[MyParams]` and say the required members.

    A missing one is named when the class or its object is made. Members below the line "May be left out" have a
    default, told in their docstring. `params` is always an instance of the study's own `Params`.
    """

    title: str  # one line for lists
    card: str  # markdown: source, licence, citation, units, known defects
    Params: type[P]  # the parameters, with the study's own sections

    def __init_subclass__(cls) -> None:
        """Refuse a study without title, card or parameters; Python itself refuses one without the methods."""
        super().__init_subclass__()
        missing = [name for name in ("title", "card", "Params") if not hasattr(cls, name)]
        if missing:
            raise TypeError(f"study {cls.__name__} does not say {', '.join(missing)}: see stepladder.core.study.Study")

    # Data ------------------------------------------------------------------------------------------------------------

    @abstractmethod
    def catalogue(self, params: P) -> pd.DataFrame:
        """What exists in the world: one row per group with at least `group, name, region, bytes, year, quality`."""

    @abstractmethod
    def synthesize(self, folder: Path, count: int, seed: int, params: P) -> list[Source]:
        """Write `count` tiny valid raw assets in the true format; deterministic in `seed` and `params.data`."""

    @abstractmethod
    def assets(self, raw: Sequence[Path], params: P) -> list[Asset]:
        """The units of conversion found below the folders `raw`, in a stable order."""

    @abstractmethod
    def convert(self, asset: Asset, params: P, cache: Path) -> ShardContent:
        """One asset as arrays. Raises `StudyError` for a file it cannot use; counts what it skips or repairs.

        `cache` is a folder for intermediate files that several assets share; it may be deleted at any time.
        """

    @abstractmethod
    def dataset(self, shards: Sequence[Path], params: P, keep_clear: Sequence[Box] = ()) -> Dataset:
        """Samples of `shards`, without those that come nearer than the split buffer to a `keep_clear` region."""

    # Model -----------------------------------------------------------------------------------------------------------

    @abstractmethod
    def model(self, params: P) -> nn.Module:
        """A freshly initialised single-device model (torch's global generator is seeded by the caller)."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, stage: TrainingStage) -> Loss:
        """Loss of one (micro-)batch, averaged over its samples. Dropout draws from torch's global generator.

        In training `model.optimizer_step` is the number of the step under way, whatever the micro-batch or rank.
        """

    @abstractmethod
    def predict(self, model: nn.Module, batch: Batch) -> Prediction:
        """Inference on one batch, as evaluation and figures use it."""

    # Scores and pictures ---------------------------------------------------------------------------------------------

    @abstractmethod
    def baselines(self, params: P, train: Sequence[Path]) -> dict[str, Baseline]:
        """The honest baselines, trivial ones first, the strong cheap one last; some fitted to the shards `train`."""

    @abstractmethod
    def perfect(self, batch: Batch, params: P) -> Prediction:
        """The truth of a batch in the form of a prediction: it must score perfectly."""

    @abstractmethod
    def score(self, batch: Batch, prediction: Prediction, params: P) -> list[Record]:
        """Records of every sample of the batch."""

    @abstractmethod
    def protocol(self, params: P) -> dict[str, str]:
        """What is printed beside every number: space, split, averaging, horizon, classes."""

    @abstractmethod
    def preview(self, sample: Sample, params: P) -> Figure:
        """A two-dimensional picture of a sample: input and label side by side in the same colours."""

    # May be left out -------------------------------------------------------------------------------------------------

    better: Literal["higher", "lower"] = "higher"  # where a better value of every metric lies; perfect is 1 or 0
    sizes: ClassVar[Mapping[str, str]] = {"bytes": "all files"}  # column of bytes -> what it is, the whole first
    planned: ClassVar[Mapping[str, float]] = {}  # region (or "all") -> bytes somebody planned for
    axes: ClassVar[Mapping[str, str]] = {}  # letter of a shape suffix -> what it counts; names may have no suffix

    @property
    def name(self) -> str:
        """The name of the study's folder."""
        return Path(inspect.getfile(type(self))).parent.name

    def sources(self, params: P) -> list[Source]:
        """Where this run's raw files come from when they are not synthesized; default: the folder `data.mirror`.

        Raises:
            ParameterError: no mirror is named, or another source than a mirror is asked for.
        """
        if params.data.source != "mirror" or not params.data.mirror:
            raise ParameterError(
                f"data.source = {params.data.source!r}, data.mirror = {params.data.mirror!r}: the study {self.name} "
                "reads a folder; set data.source to mirror and data.mirror to the folder of raw files"
            )
        return [Source(params.data.mirror, self.name)]

    def cases(self, shards: Sequence[Path], params: P, keep_clear: Sequence[Box] = ()) -> Dataset:
        """What 06_evaluation scores and 07_visualization shows; default: the samples of `dataset` themselves.

        A study trained on pieces (patches of a volume, windows of a trajectory) is scored on whole ones.
        """
        return self.dataset(shards, params, keep_clear)

    def stages(self, params: P) -> list[TrainingStage]:
        """Stages of training, in order; default: one of `training.steps` steps, in which every parameter learns."""
        return [TrainingStage("train", params.training.steps)]

    def admit(self, stage: TrainingStage, model: nn.Module, batch: Batch) -> Check:
        """Whether `stage` may start on `model` (say, only on a trained tokenizer); default: it may."""
        return Check("may start", True, f"stage {stage.name!r} needs nothing trained before")

    def conclude(self, stage: TrainingStage, model: nn.Module, cases: Dataset, params: P) -> Check:
        """Whether what a `judged` stage trained is kept, by whole validation cases; asked of no other stage.

        The model carries the consequence in a buffer: where the verdict is no, its predecessor answers. Default: kept,
        at its best weights by validation.
        """
        return Check("kept", True, f"stage {stage.name!r} at its best weights by validation")

    def analysis(self, model: nn.Module, cases: Dataset, params: P) -> dict[str, pd.DataFrame | Figure]:
        """What else 06_evaluation shows of the test cases, by title, such as an ablation; default: nothing."""
        return {}

    def scenes(self, sample: Sample, prediction: Prediction | None, params: P) -> dict[str, Picture]:
        """Pictures of one sample and, where there is one, its prediction, the most telling last.

        Default: the preview, which does not show the prediction.
        """
        return {"preview": Picture(self.preview(sample, params), "The sample, without a prediction.")}

    def figures(self, shards: Sequence[Path], splits: Mapping[str, Any], params: P) -> dict[str, Picture]:
        """Overview pictures of the converted data, in the order they are shown (a map, the whole); default: none.

        `splits` gives the stems of the shards in `train`, `validation` and `test`.
        """
        return {}


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
