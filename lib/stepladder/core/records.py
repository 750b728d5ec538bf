"""What stages, runs and jobs leave for each other on the disk, file by file, key by key; `Run` writes and reads most.

Plain JSON under names that stay, for a record is read for years, by other versions and by people. The types say what a
record holds; nothing is checked when it is read: whether it may be believed, `Run.states` says.
"""

from typing import Any, Literal, NotRequired, TypedDict

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
