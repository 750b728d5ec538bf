"""The run directory: plain files that say what ran, what is done and what is stale.

Decisions:
- `outputs/<study>/<run>/` holds everything one walk of the road leaves behind; every page can be rebuilt from it.
- A stage's `result.json` is written last, atomically, and carries the hash of what went in: the parameters the stage
  reads, the results of the stages before it, and the source of the code it runs. Same hash: the stage is skipped.
  Another hash: it and everything after it are stale.
- `run.json` tells the state of the run. A run whose process is gone while its state says `running` is reported stale,
  never done.
"""

import hashlib
import os
import platform
import socket
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stepladder import files
from stepladder.params import ParameterError, Parameters, dump, nearest

PACKAGE = Path(__file__).parent
STATES = ("running", "done", "failed", "oom", "preempted", "timeout", "stale")
EXIT_CODES = {"done": 0, "failed": 1, "preempted": 75, "timeout": 124, "oom": 137}
HEARTBEAT_SECONDS = 60.0


@dataclass(frozen=True)
class Stage:
    """One notebook of the road: what it reads decides when it is stale.

    Attributes:
        name: name of the notebook and of its folder in the run.
        sections: parameter sections it reads, beside `study` and `seed`.
        code: files and folders of the package it runs; `{study}` is the study's folder, `{conversion}` only those files
            of it that decide what shards hold.
    """

    name: str
    sections: tuple[str, ...]
    code: tuple[str, ...]


STAGES = (
    Stage("01_inventory", ("data",), ("inventory.py", "fetch", "{conversion}")),
    Stage("02_conversion", ("data", "conversion", "splits"), ("convert.py", "shards.py", "splits.py")),
    Stage("03_smoke_test", ("model", "training"), ("{study}", "sampling.py", "training/step.py")),
    Stage("04_scaling", ("model", "training", "ladder", "evaluation"), ("ladder", "scaling")),
    Stage("05_training", ("model", "training", "tracking"), ("training",)),
    Stage("06_evaluation", ("evaluation",), ("evaluation.py",)),
    Stage("07_visualization", ("view",), ("view.py",)),
)


def project_root(start: Path | None = None) -> Path:
    """The folder that holds `notebooks/` and `params/`, from `$STEPLADDER_ROOT` or upwards from `start` (or here)."""
    if os.environ.get("STEPLADDER_ROOT"):
        return Path(os.environ["STEPLADDER_ROOT"])
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "notebooks").is_dir() and (folder / "params").is_dir():
            return folder
    raise ParameterError(f"no project above {start}: a folder with notebooks/ and params/ (or set STEPLADDER_ROOT)")


def outputs_root(root: Path) -> Path:
    """Where runs are kept: `$STEPLADDER_OUTPUTS` or `outputs/` of the project."""
    return Path(os.environ.get("STEPLADDER_OUTPUTS") or root / "outputs")


def stage(name: str) -> Stage:
    """The stage called `name`, or numbered so (`4`, `04`); `ParameterError` with the nearest name."""
    for candidate in STAGES:
        if name in (candidate.name, candidate.name[:2], candidate.name[:2].lstrip("0")):
            return candidate
    raise ParameterError(f"no stage {name!r}{nearest(name, (s.name for s in STAGES))}")


class Run:
    """One walk of the road, as files in `outputs/<study>/<run>/`."""

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def open(cls, root: Path, params: Parameters) -> "Run":
        """The run of `params`, made when it is not there; saves the resolved parameters."""
        run = cls(outputs_root(root) / params.study / params.run)
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ParameterError(
                f"cannot write outputs at {run.folder}: {error.strerror}; set STEPLADDER_OUTPUTS"
            ) from None
        files.write_text(run.folder / "params.yaml", dump(params))
        return run

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.folder.name

    @property
    def study(self) -> str:
        """Name of the study."""
        return self.folder.parent.name

    @property
    def data(self) -> Path:
        """Raw files and shards of the study, shared by its runs."""
        return self.folder.parent / "_data"

    @property
    def checkpoints(self) -> Path:
        """Folder of the training checkpoints."""
        return self.folder / "checkpoints"

    @property
    def chosen(self) -> dict[str, Any] | None:
        """The setting in `04_scaling/ladder.json`: what the ladder chose, or a person who edited the file; or None."""
        return (files.read_json(self.folder / "04_scaling" / "ladder.json") or {}).get("chosen")

    def stage_folder(self, name: str) -> Path:
        """Folder of a stage, made when it is not there."""
        folder = self.folder / stage(name).name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    # Records -----------------------------------------------------------------------------------------------------

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to `events.jsonl`."""
        files.append_line(self.folder / "events.jsonl", {"time": now(), "kind": kind, **fields})

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """All events, or those of one kind."""
        return [e for e in files.read_lines(self.folder / "events.jsonl") if kind in (None, e["kind"])]

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`."""
        return files.read_lines(self.folder / "metrics.jsonl")

    def status(self) -> dict[str, Any]:
        """`run.json` with the state a reader may believe: `stale` when it says running and its process is gone."""
        record = files.read_json(self.folder / "run.json") or {"state": "stale", "reason": "never started"}
        if record["state"] == "running" and not self._alive(record):
            record = {**record, "state": "stale", "reason": "its process is gone without a word"}
        return record

    def set_status(self, state: str, reason: str = "", **fields: Any) -> None:
        """Write `run.json`; a new attempt is counted whenever the run begins running."""
        assert state in STATES, state
        record = files.read_json(self.folder / "run.json") or {"created": now(), "attempts": 0}
        if state == "running":
            own = {"pid": os.getpid(), "pid_started": start_ticks(os.getpid())}
            record |= {"attempts": record["attempts"] + 1, "started": now(), **own, **environment()}
        else:
            record["ended"] = now()
        record |= {"state": state, "reason": reason, "exit_code": EXIT_CODES.get(state), **fields}
        files.write_json(self.folder / "run.json", record)

    def _alive(self, record: dict[str, Any]) -> bool:
        """Whether the process of a running record lives; one of another host lives while its heartbeat is fresh."""
        if record["host"] == socket.gethostname():
            return start_ticks(record["pid"]) == record["pid_started"]
        signs = [self.folder / "run.json", self.folder / "events.jsonl"]
        return any(p.exists() and time.time() - p.stat().st_mtime < HEARTBEAT_SECONDS for p in signs)

    # Stages ------------------------------------------------------------------------------------------------------

    def result(self, name: str) -> dict[str, Any] | None:
        """`result.json` of a stage, or None."""
        return files.read_json(self.folder / stage(name).name / "result.json")

    def require(self, name: str) -> dict[str, Any]:
        """`result.json` of an earlier stage; an error naming the command that makes it."""
        result = self.result(name)
        if result is None:
            number = stage(name).name[:2].lstrip("0")
            raise ParameterError(
                f"run {self.name!r} has no result of {stage(name).name}: run that notebook first, or "
                f"`stepladder run {self.study} --run {self.name} --stages {number}`"
            )
        return result

    def input_hash(self, name: str, params: Parameters) -> str:
        """Hash of everything that decides the outcome of a stage: parameters, upstream results, code."""
        this = stage(name)
        upstream = [(s.name, (self.result(s.name) or {}).get("hash")) for s in STAGES if s.name < this.name]
        sections = {key: params.model_dump(mode="json")[key] for key in ("study", "seed", *this.sections)}
        chosen = self.chosen if this.name > "04_scaling" else None
        return files.fingerprint([sections, upstream, chosen, code_hash(this, params.study)])

    def stage_state(self, name: str, params: Parameters) -> str:
        """`done`, `stale` (made from other inputs) or `missing`."""
        result = self.result(name)
        if result is None:
            return "missing"
        return "done" if result["hash"] == self.input_hash(name, params) else "stale"

    def finish_stage(
        self, name: str, params: Parameters, checks: list[dict[str, Any]], **values: Any
    ) -> dict[str, Any]:
        """Write a stage's `result.json`, last of all its files."""
        record = {
            "stage": stage(name).name,
            "hash": self.input_hash(name, params),
            "finished": now(),
            "checks": checks,
            **values,
        }
        files.write_json(self.stage_folder(name) / "result.json", record)
        return record


def runs(root: Path, study: str | None = None) -> list[Run]:
    """All runs below the outputs folder, newest first."""
    pattern = f"{study or '*'}/*/params.yaml"
    found = [Run(path.parent) for path in outputs_root(root).glob(pattern) if not path.parent.name.startswith("_")]
    return sorted(found, key=lambda run: (run.folder / "params.yaml").stat().st_mtime, reverse=True)


def code_hash(this: Stage, study: str) -> str:
    """Hash of the source files a stage runs."""
    from stepladder.study import find, home

    tenant = find(study)
    folder = home(tenant)
    special = {"{study}": [folder], "{conversion}": [folder / name for name in tenant.conversion_code]}
    digest = hashlib.sha256()
    for path in [path for entry in this.code for path in special.get(entry, [PACKAGE / entry])]:
        assert path.exists(), f"{this.name} names code that is not there: {path.name}"
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def environment() -> dict[str, Any]:
    """Where a run happens: host, device, versions, git commit and hash of uncommitted changes."""
    import torch

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    commit = _git("rev-parse", "HEAD")
    changes = _git("diff", "HEAD")
    return {
        "host": socket.gethostname(),
        "device": device,
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit or None,
        "dirty": hashlib.sha256(changes.encode()).hexdigest()[:12] if changes else None,
    }


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _git(*arguments: str) -> str:
    """Output of a git command in the package's checkout; empty where git or a checkout is missing."""
    try:
        return subprocess.run(
            ["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (field 22 of /proc/<pid>/stat); None when it is gone.

    A pid alone may have been given to another process, above all after a container restarted.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[19]) if fields[0] != "Z" else None
