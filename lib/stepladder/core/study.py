"""The Study interface: what a domain must say so that the shared road can be walked with it.

Decisions:
- A study is the object `study` in `stepladder/studies/<name>/study.py`; the folder name is its name. Discovery is by
  folder, so a sixth study is `lib/stepladder/studies/<name>/` and `params/<name>/` and nothing else.
- The interface follows the road: catalogue -> sources -> assets -> convert -> dataset -> model -> loss -> predict ->
  score -> scene. Everything between (fetching, shards, splits, sampling, training, intervals, rendering) is shared.
- Names and parameters of a study are read without the study: it brings torch and more, which `stepladder status` and a
  refused command do not need. So are the packages of its extra looked for, before anything runs.
- A study subclasses `Study`: what only it can know is required, and refused by name when missing; the rest has a
  default. Pictures come by name with their captions, so that no shared page speaks a study's language.
- Models are single-device; parallelism, precision and compilation are applied from outside.
- What study and shared part hand to each other is in `types`.
"""

from __future__ import annotations

import importlib
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from stepladder import studies
from stepladder.core.config import ParameterError, nearest
from stepladder.core.schema import Parameters
from stepladder.core.types import (
    Asset,
    Baseline,
    Batch,
    Box,
    Check,
    Dataset,
    Gathered,
    Loss,
    Picture,
    Prediction,
    Record,
    Sample,
    ShardContent,
    Source,
    TrainingPhase,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor, nn

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
    def loss(self, model: nn.Module, batch: Batch, phase: TrainingPhase) -> Loss:
        """Loss of one (micro-)batch, averaged over its samples. Noise comes from `data.draws`, dropout from layers.

        In training `model.optimizer_step` is the number of the step under way, whatever the micro-batch or rank.
        A study with `tasks` returns what `training.tasks.combine` makes of its sums over labelled units.
        """

    @abstractmethod
    def predict(self, model: nn.Module, batch: Batch) -> Prediction:
        """Inference on one batch, as evaluation and figures use it."""

    # Scores and pictures ---------------------------------------------------------------------------------------------

    @abstractmethod
    def baselines(self, params: P, train: Sequence[Path]) -> dict[str, Baseline]:
        """The honest baselines, trivial ones first, the strong cheap one last; some fitted to the shards `train`."""

    @abstractmethod
    def oracle(self, batch: Batch, params: P) -> Prediction:
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
    guessed: ClassVar[tuple[str, ...]] = ()  # metrics in which a guess among few choices is right now and then
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

    def survey(self, raw: Sequence[Path], params: P) -> dict[str, pd.DataFrame | Figure]:
        """What 01 shows, by title, of what is known of the raw folders that are here already; default: nothing.

        Of a list of addresses, say: how many rows pass which filter, and what fetching them will take.
        """
        return {}

    def gather(self, raw: Sequence[Path], params: P, folder: Path, tell: Callable[[str], None]) -> Gathered:
        """Bring what the raw files only name, such as pictures by their addresses, into `folder`; default: nothing.

        Done again it moves nothing again, and after a kill it goes on. `tell` takes sentences on how far it is.
        """
        return Gathered()

    def evaluation_dataset(self, shards: Sequence[Path], params: P, keep_clear: Sequence[Box] = ()) -> Dataset:
        """What 06_evaluation scores and 07_visualization shows; default: the samples of `dataset` themselves.

        A study trained on pieces (patches of a volume, windows of a trajectory) is scored on whole ones.
        """
        return self.dataset(shards, params, keep_clear)

    def phases(self, params: P) -> list[TrainingPhase]:
        """Stages of training, in order; default: one of `training.steps` steps, in which every parameter learns."""
        return [TrainingPhase("train", params.training.steps)]

    def tasks(self, model: nn.Module) -> Mapping[str, tuple[str, ...]]:
        """Tasks that samples may lack the labels of: task -> prefixes of the parameters that serve it alone.

        Default: none, every sample has every label. A task that nothing in a step labels learns nothing in it.
        """
        return {}

    def label_counts(self, batch: Batch) -> Mapping[str, Tensor]:
        """Task -> number of labelled units (pixels, images) in a batch, as scalar float tensors on its device.

        Asked of a study with `tasks`, of batches of any size before they are moved to the device. Those of tasks that
        the model does not learn may be told too. Default: nothing.
        """
        return {}

    def fit(self, phase: TrainingPhase, model: nn.Module, batch: Batch) -> None:
        """What `phase` takes from data before its first step, such as sizes of channels; default: nothing.

        `batch` holds all samples of that step, the same in every training process, however the step will be divided.
        """

    def can_start(self, phase: TrainingPhase, model: nn.Module, batch: Batch) -> Check:
        """Whether `phase` may start on `model` (say, only on a trained tokenizer); default: it may."""
        return Check("may start", True, f"stage {phase.name!r} needs nothing trained before")

    def accept(self, phase: TrainingPhase, model: nn.Module, cases: Dataset, params: P) -> Check:
        """Whether what a `keep_if_better` stage trained is kept, by whole validation cases; asked of no other stage.

        The model carries the consequence in a buffer: where the verdict is no, its predecessor answers. Default: kept,
        at its best weights by validation.
        """
        return Check("kept", True, f"stage {phase.name!r} at its best weights by validation")

    def analysis(
        self, model: nn.Module, cases: Dataset, params: P
    ) -> Mapping[str, pd.DataFrame | Figure | str | list[Check]]:
        """What else 06_evaluation shows of the test cases, by title, such as an ablation; default: nothing.

        A table, a figure, a sentence, or gates of 06.
        """
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

    def sanity(self, shards: Sequence[Path], params: P) -> list[Check]:
        """Gates of 02: whether the labels of the converted data can be right at all; default: nothing is asked.

        What raises no error when it is read wrongly (a mask inverted, channels in another order, another unit) is
        asked here, of the data itself.
        """
        return []

    def foretold(self, params: P) -> str:
        """What 04 says of memory beside its forecast, such as a planned design that cannot fit; default: nothing."""
        return ""


def names() -> list[str]:
    """Names of all studies: the sub-packages of `stepladder.studies` that hold a `study` module."""
    folders = [Path(folder) for folder in studies.__path__]
    return sorted({path.parent.name for folder in folders for path in folder.glob("*/study.py")})


def find(name: str) -> Study[Any]:
    """The study called `name`; `ParameterError` with the nearest name, or naming the missing optional package."""
    return _imported(name, "study").study


def schema(name: str) -> type[Parameters]:
    """The class of the parameters of the study `name`; `ParameterError` as of `find`.

    It comes from the study's `params.py` where there is one, without the study and the packages it works with.
    """
    places = [Path(folder) / name for folder in studies.__path__]
    if any((place / "study.py").exists() and (place / "params.py").exists() for place in places):
        own = _schemas(_imported(name, "params"))
        if len(own) == 1:
            return own[0]
    return find(name).Params


def _schemas(module: ModuleType) -> list[type[Parameters]]:
    """The classes of parameters that a module defines."""
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Parameters)]
    return [kind for kind in found if kind.__module__ == module.__name__]


def _imported(name: str, part: str) -> ModuleType:
    """The module `part` of the study `name`, whose packages are installed."""
    if name not in names():
        raise ParameterError(f"no study {name!r}{nearest(name, names())}")
    if missing := _missing(name):
        raise _not_installed(name, missing)
    try:
        return importlib.import_module(f"{studies.__name__}.{name}.{part}")
    except ModuleNotFoundError as error:
        raise _not_installed(name, [error.name or str(error)]) from error


def _not_installed(name: str, missing: Sequence[str]) -> ParameterError:
    return ParameterError(
        f"study {name!r} needs {', '.join(missing)}, not installed: `make demo STUDY={name}` brings it, or "
        f"pip install -c constraints.txt -e '.[{name}]'"
    )


def _missing(extra: str) -> list[str]:
    """Packages of an extra of this project (a study's has its name) that are not installed.

    A source tree that is only on the path declares none: then an import that fails says it.
    """
    try:
        declared = metadata.requires("stepladder") or ()
    except metadata.PackageNotFoundError:
        return []
    asked = [line for line in declared if f'extra == "{extra}"' in line]
    return [name for name in (re.split(r"[^\w.-]", line)[0] for line in asked) if not _is_installed(name)]


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
