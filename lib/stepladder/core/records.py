"""What stages, runs and jobs leave for each other on the disk, file by file, key by key; `Run` writes and reads most.

Plain JSON under names that stay, for a record is read for years, by other versions and by people. The types say what a
record holds. When it is read, what its readers take for granted is looked at (`read`), so that a cut or foreign file is
told by its name and breaks nothing else; whether it may be believed, `Run.states` says.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, cast

from stepladder.core import files
from stepladder.core.errors import Damaged
from stepladder.core.files import Json
from stepladder.core.identity import Vouched

Event = Json  # a line of `events.jsonl`: `time` (ISO), `kind`, mostly `stage`, and what belongs to its kind
Split = Literal["train", "validation", "test"]


class KeyRecord(TypedDict):
    """An `identity.Key`."""

    parameters: dict[str, Any]
    code: dict[str, str]
    inputs: dict[str, Any]


class Result(TypedDict):
    """`result.json` of any stage; a stage's own values stand beside these keys."""

    stage: str
    hash: str  # of the key
    key: NotRequired[KeyRecord]  # results of old have none
    attempt: str | None  # of the runner under which it was made; None by hand
    finished: str  # ISO time
    checks: list[Json]  # as `types.Check`
    made: list[str]  # entries of the stage's folder
    sizes: dict[str, int]  # path relative to the run's folder -> bytes, of every file in them
    files: dict[str, Vouched]  # path relative to the run's folder, mostly outside it
    tables: NotRequired[list[Json]]  # what the notebook showed: title, columns, rows, note, measured


class Splits(TypedDict):
    """Asset ids of each split, and how they were divided; `splits.json`."""

    train: list[str]
    validation: list[str]
    test: list[str]
    by: str
    buffer: float
    units: dict[str, list[str]]


class Conversion(Result):
    """Result of `02_conversion`."""

    shards: dict[str, str]  # asset id -> path relative to the study's outputs
    splits: Splits
    samples: int  # of the training split
    failed: dict[str, str]  # asset id -> reason


class Scaling(Result):
    """Result of `04_scaling`."""

    chosen: str  # the setting, in words
    prices: list[Json]  # rows of the price table
    limit: str  # what limits this machine, and the same with the next move in a sentence
    sentence: str


class Training(Result):
    """Result of `05_training`; losses of the last stage of training."""

    steps: int
    loss: float
    validation_loss: float
    best_validation_loss: float


class Evaluation(Result):
    """Result of `06_evaluation`."""

    samples: int
    metrics: dict[str, dict[str, float]]  # method -> metric -> value over all groups


class Environment(TypedDict, total=False):
    """Where a run happens."""

    device: str
    cpus: int
    python: str
    torch: str
    commit: str | None
    dirty: str | None  # hash of what was not committed


class Status(Environment):
    """`run.json`."""

    state: str  # one of `run.STATES`
    reason: str
    created: NotRequired[str]  # these from the first attempt on
    attempts: NotRequired[int]


class Job(TypedDict):
    """`05_training/job.json`: the training process, as `processes.identity` tells it, and its key."""

    pid: int
    run: str
    key: KeyRecord


class Ladder(TypedDict):
    """`04_scaling/ladder.json`: the chosen setting, which a person may edit; the diagnosis; the whole search."""

    chosen: Json | None
    sentence: str
    climb: Json


class Either(list[Any]):
    """Shapes of which a value has one."""


# What readers take for granted of what is there: its kind, one of several in (..), item by item in [..], value by value
# under `...`.
TEXT, REAL = (str, type(None)), (int, float)
BEYOND = 2**53  # what no number of steps or seconds reaches
SHAPES: dict[str, Json] = {
    "run.json": {"state": str, "reason": str, "attempts": int, "created": str, "started": str, "ended": str}
    | dict.fromkeys(("device", "python", "torch", "commit", "dirty"), TEXT),
    "result.json": {
        "stage": str,
        "hash": str,
        "key": {"parameters": dict, "code": dict, "inputs": dict},
        "attempt": TEXT,
        "finished": str,
        "checks": [{"name": str, "ok": bool, "reason": str}],
        "made": [str],
        "sizes": {...: (int, type(None))},
        "files": {...: {"bytes": int, "sha256": str}},
        "tables": [{"title": str, "columns": list, "rows": [list]}],
    },
    "ladder.json": {"chosen": (dict, type(None))},
    "job.json": {"pid": int, "run": str, "key": {"parameters": dict, "code": dict, "inputs": dict}},
    "outcome.json": {"state": str, "reason": str},
    "state.json": {"job": str, "state": str, "reason": str, "machine": TEXT, "supervisor": dict, "doing": str}
    | {"spent": REAL, "price": REAL, "heard": (*REAL, type(None)), "clock": REAL},
    "COMMITTED": dict.fromkeys(("stage", "code", "sha256"), str)
    | {"step": int, "bytes": int, "best": Either([{"step": int}, type(None)]), "config_fingerprint": dict},
}
NEEDED = {"run.json": {"state"}, "state.json": {"job", "state"}} | {
    name: set(SHAPES[name]) for name in ("job.json", "outcome.json", "COMMITTED")
}


def read(path: Path) -> Json | None:
    """A record as its readers may take it; None where there is none.

    Raises:
        Damaged: it cannot be read, or holds something else than its readers expect.
    """
    record, shape = files.read_object(path), SHAPES[path.name]
    if record is None:
        return None
    missing = NEEDED.get(path.name, set[str]()) - record.keys()
    wrong = [name for name, value in record.items() if name in shape and not _fits(value, shape[name])]
    for name in (*missing, *wrong):
        raise Damaged(path, f"lacks {name!r}" if name in missing else f"holds something foreign as {name!r}")
    return record


def is_event(record: Json) -> bool:
    """Whether a line of `events.jsonl` is an event: its kind is a text, its stage too, and its time can be reckoned."""
    if not isinstance(record.get("kind"), str) or not isinstance(record.get("stage"), TEXT):
        return False
    try:
        return bool(seconds(record))
    except (KeyError, TypeError, ValueError, OverflowError):
        return False


def is_step(record: Json) -> bool:
    """Whether a line of `metrics.jsonl` tells of a step: its step and time are such numbers, its stage is a text."""
    numbers = record.get("step"), record.get("time", 0)
    sound = all(
        isinstance(value, kind) and abs(value) < BEYOND for value, kind in zip(numbers, (int, REAL), strict=True)
    )
    return sound and isinstance(record.get("stage"), TEXT)


def seconds(event: Json) -> float:
    """When an event was, in seconds since 1970."""
    return datetime.fromisoformat(event["time"]).timestamp()


def _fits(value: Any, shape: Any) -> bool:
    """Whether a value is what a shape says; inside a record's fields nothing may be missing."""
    if isinstance(shape, Either):
        return any(_fits(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(item, shape[0]) for item in cast(list[Any], value))
    if not isinstance(shape, Mapping):
        return isinstance(value, shape) and not (shape is int and isinstance(value, bool))
    if not isinstance(value, dict):
        return False
    of_all = cast(Json, shape).get(cast(Any, ...))
    if of_all is not None:
        return all(_fits(item, of_all) for item in cast(Json, value).values())
    return all(name in value and _fits(value[name], part) for name, part in cast(Json, shape).items())
