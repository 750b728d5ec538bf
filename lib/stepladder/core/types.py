"""What a study and the shared part hand to each other: small frozen dataclasses, and names for dicts of arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:  # who only asks for names and parameters does without numpy and torch
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor

Sample = dict[str, Any]  # name -> numpy array or number; names carry shape suffixes, as in `occ_TXYZ`


Batch = dict[str, "Tensor"]  # collated samples: every array with a leading batch axis


Prediction = dict[str, "Tensor"]  # what `predict` and a baseline return, and `score` and `scene` read


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
class Gathered:
    """What `Study.gather` brought beside the files that were fetched.

    Attributes:
        root: the folder it lies in; None where nothing was brought.
        paths: the files of it that count.
        shown: tables and figures of how it went, by title.
        checks: gates of 02 on it.
    """

    root: Path | None = None
    paths: frozenset[Path] = frozenset()
    shown: Mapping[str, pd.DataFrame | Figure] = field(default_factory=dict[str, "pd.DataFrame | Figure"])
    checks: Sequence[Check] = ()


@dataclass(frozen=True)
class Asset:
    """One unit of conversion: what becomes one shard.

    Attributes:
        id: unique and stable; the shard is `<id>.h5`.
        group: the stratum results are split by.
        files: the raw files it is made of, primary first.
        neighbours: further raw files that may contribute (adjacent tiles).
        region: bounding box in the study's length unit, for buffers and maps.
        split_group: equal where assets show the same thing (trajectories from the same first states): such assets are
            never divided between splits by asset; empty where an asset is like no other.
        meta: small facts kept in the inventory.
    """

    id: str
    group: str
    files: tuple[Path, ...]
    neighbours: tuple[Path, ...] = ()
    region: Box | None = None
    split_group: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])


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
    compressed: Mapping[str, np.ndarray] = field(default_factory=dict[str, "np.ndarray"])
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    issues: Sequence[Issue] = ()


@runtime_checkable
class Dataset(Protocol):
    """Samples of one split, addressable by index. Must be picklable (loader processes)."""

    groups: np.ndarray  # (N,) group name of every sample
    clusters: np.ndarray  # (N,) name of the independent unit (a trajectory, a clip) that intervals resample

    @property
    def weights(self) -> Mapping[str, float]:
        """Group -> share of draws in training."""
        ...

    def __len__(self) -> int: ...

    def sample(self, index: int, rng: np.random.Generator | None) -> Sample:
        """Sample `index`; augmented with `rng`, plain when it is None."""
        ...


@dataclass(frozen=True)
class TrainingPhase:
    """One stage of training: which parts learn, for how long.

    Attributes:
        name: shown in metrics and curves.
        steps: optimizer steps.
        trainable: prefixes of parameter names that learn; everything else is frozen.
        learning_rate: peak rate; None takes the profile's.
        keep_if_better: at its end the model goes back to its best weights by validation, and `Study.accept` says what
            becomes of them.
    """

    name: str
    steps: int
    trainable: tuple[str, ...] = ("",)
    learning_rate: float | None = None
    keep_if_better: bool = False


@dataclass(frozen=True)
class Loss:
    """A differentiable total and the parts it is made of (detached scalars, for the curves)."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict[str, "Tensor"])


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
        drawing: a flat figure, or a `view.scene.Scene`, which is rendered and can be turned in its page. Make figures
            with `matplotlib.figure.Figure`: those of pyplot that stay open are shown once more by JupyterLab.
        caption: what is seen and what the colours mean.
        files: further files of what is drawn, such as a mesh: ending (`.glb`) -> what writes it to a path.
    """

    drawing: Any
    caption: str
    files: Mapping[str, Callable[[Path], object]] = field(default_factory=dict[str, Callable[[Path], object]])


Baseline = Callable[[Batch], Prediction]
