"""The seven stages of the road: their names, and the parameters each may read.

Decisions:
- A stage is handed only the sections named here and in the stages before it (`Parameters.only`), so what its key holds
  and what it can read are the same by construction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stepladder.core import identity
from stepladder.core.config import ParameterError, flat, nearest
from stepladder.core.files import fingerprint
from stepladder.core.paths import outputs_root, project_root


@dataclass(frozen=True)
class PipelineStage:
    """One notebook of the road.

    Attributes:
        name: name of the notebook and of its folder in the run.
        sections: parameter sections it reads beside those of earlier stages; a single field, as `evaluation.samples`,
            is kept from all earlier stages.
    """

    name: str
    sections: tuple[str, ...]

    @property
    def number(self) -> str:
        """Its number as a person types it: `4`."""
        return self.name[:2].lstrip("0")


STAGES = (
    PipelineStage("01_inventory", ("seed", "data")),
    PipelineStage("02_conversion", ("conversion", "splits", "model")),  # it shows samples as the model takes them
    PipelineStage("03_smoke_test", ("training", "evaluation")),
    PipelineStage("04_scaling", ("ladder",)),
    PipelineStage("05_training", ("tracking", "training.changes")),
    PipelineStage("06_evaluation", ("evaluation.samples", "evaluation.bootstrap", "evaluation.confidence")),
    PipelineStage("07_visualization", ("view",)),
)


def stage(name: str) -> PipelineStage:
    """The stage called `name`, or numbered so (`4`, `04`); `ParameterError` with the nearest name."""
    for candidate in STAGES:
        if name in (candidate.name, candidate.name[:2], candidate.number):
            return candidate
    raise ParameterError(f"no stage {name!r}{nearest(name, (s.name for s in STAGES))}")


def before(name: str) -> tuple[PipelineStage, ...]:
    """The stages before `name`, in order."""
    return tuple(candidate for candidate in STAGES if candidate.name < stage(name).name)


def readable(name: str) -> tuple[str, ...]:
    """Top-level names of the parameters that a stage may read."""
    return tuple(part for stage in STAGES if stage.name <= name for part in stage.sections if "." not in part)


def hidden(name: str) -> tuple[str, ...]:
    """Single fields of readable sections that only later stages may read."""
    return tuple(part for stage in STAGES if stage.name > name for part in stage.sections if "." in part)


def visible(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a stage may read, flat: `training.steps` -> 100.

    Of a mirror the place is not told, and of weights that training starts from what they are, not where they lie.
    """
    kept = {key: values[key] for key in readable(name) if key in values}
    later = hidden(name)
    found = {key: value for key, value in flat(kept) if key not in later}
    if found.get("data.source") == "mirror":
        found["data.mirror"] = _place(found.get("data.mirror"))
    if named := found.get("training.start_from"):
        found["training.start_from"] = _weights(named)
    return found


def _place(mirror: str | None) -> str:
    """A mirror without its path, which would name a machine: its digest, or that it is not here."""
    place = Path(mirror.removeprefix("file://")).resolve() if mirror else None
    return f"folder {fingerprint(str(place))}" if place and place.exists() else identity.NOT_HERE


def _weights(named: str) -> str:
    """Weights by their content: the hash of a file, or the seals of the checkpoints of a folder or of a run."""
    place = Path(named)
    if not place.exists():
        place = outputs_root(project_root()) / named / "checkpoints"
    if place.is_file():
        status = place.stat()
        return f"file {_hash(place, (status.st_size, status.st_mtime_ns, status.st_ino))}"
    seals = sorted(place.rglob("COMMITTED"))
    return f"checkpoints {fingerprint([seal.read_text() for seal in seals])}" if seals else identity.NOT_HERE


@cache
def _hash(path: Path, stamp: tuple[int, ...]) -> str:
    """The hash of a file as it is now: asked of every stage, read once."""
    return identity.content(path, None)
