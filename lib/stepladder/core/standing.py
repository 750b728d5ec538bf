"""How a stage stands, judged from its result, what it would be made from now, and the files it vouches for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stepladder.core import files, identity
from stepladder.core.errors import Damaged, ParameterError
from stepladder.core.identity import Key
from stepladder.core.records import Result

NONE_YET = "no result yet"


@dataclass(frozen=True)
class StageState:
    """How a stage stands, and why where it is not `done`."""

    name: str
    state: Literal["done", "stale", "missing"]
    reason: str = ""

    @property
    def is_damaged(self) -> bool:
        """Whether there is a result that cannot be read."""
        return self.state == "missing" and self.reason not in ("", NONE_YET)


def judge(
    name: str, result: Result | Damaged | None, key: Callable[[], Key], base: Path, memory: Path, verify: bool
) -> StageState:
    """A stage by itself, without those before it.

    Args:
        name: the stage.
        result: its record, or what is wrong with it.
        key: gives what it would be made from now.
        base: the run's folder, to which names of files are relative.
        memory: folder of the hashes of files that were read before.
        verify: read every file that the result vouches for, instead of asking for its size.
    """
    if result is None:
        return StageState(name, "missing", NONE_YET)
    if isinstance(result, Damaged):
        return StageState(name, "missing", f"result.json {result.why}: it is made again, and this one kept beside it")
    reason = _unlike(result, key) or _gone(result, base, memory, verify)
    return StageState(name, "stale" if reason else "done", reason)


def output(result: Result | Damaged | None) -> str | None:
    """What later stages build on: a result's key, and the content of the files it vouches for."""
    if result is None or isinstance(result, Damaged):
        return None
    return files.fingerprint([result.get("hash"), sorted(f["sha256"] for f in result.get("files", {}).values())])


def _unlike(result: Result, key: Callable[[], Key]) -> str:
    """Why a result is not what would be made now, in words; empty where it is."""
    if "key" not in result:
        return "it was made before results had keys"
    if result.get("seal") != files.fingerprint_read({name: value for name, value in result.items() if name != "seal"}):
        return "result.json was edited"
    made_from = result["key"]
    try:
        return Key(made_from["parameters"], made_from["code"], made_from["inputs"]).differences(key())
    except ParameterError as error:  # a record it would be made from cannot be read
        return str(error)


def _gone(result: Result, base: Path, memory: Path, verify: bool) -> str:
    """Which of the files that a result stands for are not there as they were, in words; empty where all are."""
    wrong = identity.faults(result["files"], base, memory, verify)
    for name, size in result["sizes"].items():
        path = base / name
        if not path.is_file() or size not in (None, path.stat().st_size):
            wrong.append(f"{name} is missing or has another size")
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return f"{wrong[0]}{more}" if wrong else ""
