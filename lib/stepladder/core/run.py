"""The run directory: plain files that say what ran, what is done and what is stale.

Decisions:
- `outputs/<study>/<run>/` holds everything one walk of the road leaves behind; every page can be rebuilt from it.
- A stage's `result.json` is written last, atomically, with its key (see `identity`), the parameter values among it, and
  with the files it vouches for. A stage is done when its key is what it would be now, its files are there, and all
  stages before it are done. `Run.states` is the only judge: engine, notebooks, `status` and pages ask it.
- What a stage leaves is made aside and takes its place when the stage finishes: looking destroys nothing.
- `params.yaml` and `overrides.yaml` are the run's parameters, written when a stage begins that needs them so, and by
  nobody who does not hold the run's lock. What is set once holds for the run from then on.
- `run.json` tells the state of the run. A run whose holder is gone while its state says `running` is stale, never done.
"""

import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

from stepladder.core import aside, closure, config, files, identity, lock, profiles
from stepladder.core.config import ParameterError
from stepladder.core.files import Json
from stepladder.core.identity import Key
from stepladder.core.paths import outputs_root, project_root
from stepladder.core.provenance import environment, now
from stepladder.core.records import Conversion, Event, Ladder, Result, Status
from stepladder.core.schema import LABELS, Parameters
from stepladder.core.stages import STAGES, before, stage, visible
from stepladder.machine import processes

STATES = ("running", "done", "failed", "oom", "preempted", "timeout", "stale")
EXIT_CODES = {"done": 0, "failed": 1, "preempted": 75, "timeout": 124, "oom": 137}
ATTEMPT = "STEPLADDER_ATTEMPT"  # environment variable by which a runner knows the result that its kernel wrote
CHOICE = "04_scaling/ladder.json"  # the one file that a person may edit and a later stage reads


@dataclass(frozen=True)
class StageState:
    """How a stage stands, and why where it is not `done`."""

    name: str
    state: Literal["done", "stale", "missing"]
    reason: str = ""


class Run:
    """One walk of the road, as files in `outputs/<study>/<run>/`."""

    def __init__(self, folder: Path, root: Path | None = None):
        self.folder = folder
        self._root = root

    @classmethod
    def of(cls, root: Path, checked: Parameters) -> "Run":
        """The run of `checked`; nothing is written."""
        return cls(outputs_root(root) / checked.study / checked.run, root)

    @property
    def root(self) -> Path:
        """The project, whose notebooks the run executes."""
        return self._root or project_root()

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
    def hashes(self) -> Path:
        """Folder of the hashes of files that were read before (see `identity.content`)."""
        return self.data / "hashes"

    @property
    def checkpoints(self) -> Path:
        """Folder of the training checkpoints."""
        return self.folder / "checkpoints"

    @property
    def chosen(self) -> Json | None:
        """The setting in `04_scaling/ladder.json`: what the ladder chose, or a person who edited the file; or None."""
        try:
            ladder: Ladder | None = files.read_json(self.folder / CHOICE)
        except ValueError as error:
            raise ParameterError(
                f"{CHOICE} of {self.study}/{self.name} is no JSON ({error}): mend or delete it"
            ) from None
        return ladder.get("chosen") if ladder else None

    def stage_folder(self, name: str) -> Path:
        """Folder of a stage, made when it is not there."""
        folder = self.folder / stage(name).name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    # Parameters --------------------------------------------------------------------------------------------------

    def values(self) -> dict[str, Any]:
        """The run's parameters as they are saved; empty where nothing has begun."""
        path = self.folder / "params.yaml"
        return config.read_yaml(path) if path.exists() else {}

    def overrides(self, profile: str) -> dict[str, Any]:
        """What was set in this run against `profile`; nothing of another profile's."""
        path = self.folder / "overrides.yaml"
        return config.read_yaml(path) if path.exists() and self.values().get("profile") == profile else {}

    def resolve(
        self, profile: str, given: Mapping[str, Any], forget: bool = False
    ) -> tuple[Parameters, dict[str, Any]]:
        """The parameters of this run, and how they differ from the profile's.

        They are the profile's, changed by what was set in this run before (unless `forget`), then by `given`.
        """
        for label in LABELS:
            if label in given:
                raise ParameterError(
                    f"{label} = {given[label]!r} cannot be set: it names the run (see --run, --profile)"
                )
        mirror = dict(given.get("data") or {}).get("mirror")
        if mirror and "://" not in mirror and not Path(mirror).exists():
            raise ParameterError(f"data.mirror = {mirror!r}: there is no such folder")
        name = {"run": self.name}
        earlier = {} if forget else self.overrides(profile)
        usual = profiles.load(self.root, self.study, profile, name)
        checked = profiles.load(self.root, self.study, profile, config.merge(name, earlier, dict(given)))
        return checked, config.changes(checked.model_dump(mode="json"), usual.model_dump(mode="json"))

    def begin(self, checked: Parameters, overrides: Mapping[str, Any] | None = None) -> None:
        """Save the parameters with which a stage begins. Only for who holds the lock."""
        for name, values in (("overrides", dict(overrides or {})), ("params", checked.model_dump(mode="json"))):
            path, text = self.folder / f"{name}.yaml", config.dump(values)
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                files.write_text(path, text)

    @contextmanager
    def locked(self) -> Generator[lock.Lock | None]:
        """Hold the run while the block runs (see `lock.hold`); an error names outputs that cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ParameterError(
                f"cannot write outputs at {self.folder}: {error.strerror}; set STEPLADDER_OUTPUTS"
            ) from None
        with lock.hold(self.folder, f"run {self.study}/{self.name}") as held:
            yield held

    # Records -----------------------------------------------------------------------------------------------------

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to `events.jsonl`."""
        files.append_line(self.folder / "events.jsonl", {"time": now(), "kind": kind, **fields})

    def events(self, kind: str | None = None) -> list[Event]:
        """All events, or those of one kind."""
        return [e for e in files.read_lines(self.folder / "events.jsonl") if kind in (None, e["kind"])]

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`."""
        return files.read_lines(self.folder / "metrics.jsonl")

    def status(self) -> Status:
        """`run.json` with the state a reader may believe: `stale` when it says running and its holder is gone."""
        record: Status = files.read_json(self.folder / "run.json") or {"state": "stale", "reason": "never started"}
        if record["state"] == "running" and lock.holder(self.folder) is None:
            record = {**record, "state": "stale", "reason": "its process is gone without a word"}
        return record

    def set_status(self, state: str, reason: str = "", **fields: Any) -> None:
        """Write `run.json`; a new attempt is counted whenever the run begins running."""
        assert state in STATES, state
        record: Json = files.read_json(self.folder / "run.json") or {"created": now(), "attempts": 0}
        if state == "running":
            own = {"process": processes.identity(), **environment()}
            record |= {"attempts": record["attempts"] + 1, "started": now(), **own}
        else:
            record["ended"] = now()
        record |= {"state": state, "reason": reason, "exit_code": EXIT_CODES.get(state), **fields}
        files.write_json(self.folder / "run.json", record)

    # Stages ------------------------------------------------------------------------------------------------------

    @overload
    def result(self, name: Literal["02_conversion"]) -> Conversion | None: ...
    @overload
    def result(self, name: str) -> Result | None: ...
    def result(self, name: str) -> Result | None:
        """`result.json` of a stage, or None where there is none that can be read."""
        try:
            return files.read_json(self.folder / stage(name).name / "result.json")
        except ValueError:
            return None

    def key(self, name: str, values: Mapping[str, Any] | None = None) -> Key:
        """What decides a stage, as things are now.

        Args:
            name: the stage.
            values: parameters, nested; the saved ones where None.
        """
        name = stage(name).name
        inputs: Json = {part.name: _output(self.result(part.name)) for part in before(name)}
        if name > "04_scaling":
            inputs["ladder.json"] = self.chosen
        code = closure.of_stage(self.root, name, self.study)
        return Key(visible(name, self.values() if values is None else values), code, files.plain(inputs))

    def states(self, values: Mapping[str, Any] | None = None, verify: bool = False) -> dict[str, StageState]:
        """How every stage stands; see the module's decisions.

        Args:
            values: parameters the run is asked for, nested; the saved ones where None.
            verify: read every file that results vouch for, instead of asking for its size.
        """
        values = self.values() if values is None else values
        found: dict[str, StageState] = {}
        broken: StageState | None = None
        for part in STAGES:
            state = self._state(part.name, values, verify)
            if broken and state.state == "done":
                state = StageState(part.name, "stale", f"{broken.name} is {broken.state}")
            broken = broken or (None if state.state == "done" else state)
            found[part.name] = state
        return found

    @overload
    def require(self, name: Literal["02_conversion"], values: Mapping[str, Any] | None = None) -> Conversion: ...
    @overload
    def require(self, name: str, values: Mapping[str, Any] | None = None) -> Result: ...
    def require(self, name: str, values: Mapping[str, Any] | None = None) -> Result:
        """`result.json` of an earlier stage that is done; else an error that says why not and names the command."""
        state, result = self.states(values)[stage(name).name], self.result(name)
        if state.state != "done" or result is None:
            raise ParameterError(self.refusal(state))
        return result

    def refusal(self, state: StageState) -> str:
        """Why nothing can be built on a stage, and the command that mends it."""
        profile = self.values().get("profile", self.name)
        shown = "" if profile == self.name else f" --profile {profile}"
        run = "" if self.name == "quick" == profile else f" --run {self.name}"
        what = "has no result" if state.state == "missing" else f"is stale ({state.reason})"
        return (
            f"{state.name} of run {self.study}/{self.name} {what}: run that notebook first, or "
            f"`stepladder run {self.study}{shown}{run} --stages 1-{stage(state.name).number}`"
        )

    def make_aside(self, name: str) -> Path:
        """An empty folder for what this process makes in a stage (see `aside`)."""
        return aside.make(self.stage_folder(name))

    def finish_stage(
        self,
        name: str,
        checked: Parameters,
        checks: list[dict[str, Any]],
        vouched: Iterable[Path] = (),
        made: Path | None = None,
        code: Mapping[str, str] | None = None,
        opened: Key | None = None,
        **values: Any,
    ) -> dict[str, Any]:
        """Put what a stage made in its place and write its `result.json`, last of all.

        Args:
            name: the stage.
            checked: its parameters.
            checks: its gates.
            vouched: files it stands for, wherever they are, beside those in `made`.
            made: folder whose entries take the place of those that the last result left (see `make_aside`).
            code: digests of code that ran in another process, where they may be older than the files.
            opened: the key when the stage began; nothing that counts may have changed since.
            values: what later stages read.

        Raises:
            ParameterError: something has changed, or the stage has been recorded already; the old result stays.
        """
        name, folder = stage(name).name, self.stage_folder(name)
        key = self.key(name, checked.model_dump(mode="json"))
        again = "run the notebook again from its first cell (in a new kernel, where code has changed)"
        if opened and (changed := opened.differences(key)):
            raise ParameterError(f"since {name} was opened: {changed}; {again}")
        if made and not made.is_dir():
            raise ParameterError(f"{name} is recorded already: {again}")
        key = Key(key.parameters, {**key.code, **(code or {})}, key.inputs)
        with self.locked():
            old = self.result(name) or {}
            kept = identity.vouch(vouched, self.folder, self.hashes)  # before anything of the old result goes
            (folder / "result.json").unlink(missing_ok=True)
            names = aside.take_place(made, folder, old.get("made", [])) if made else old.get("made", [])
            own = [path for entry in names for path in _files(folder / entry)]
            edited = self.folder / CHOICE  # may become longer, but not disappear
            sizes = {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in own if path != edited}
            record: dict[str, Any] = {
                "stage": name,
                "hash": key.hash,
                "key": {"parameters": key.parameters, "code": key.code, "inputs": key.inputs},
                "attempt": os.environ.get(ATTEMPT),
                "finished": now(),
                "checks": checks,
                "made": names,
                "sizes": sizes | ({CHOICE: None} if edited in own else {}),
                "files": kept,
                **values,
            }
            record["seal"] = files.fingerprint(record)
            files.write_json(folder / "result.json", record)
        return record

    def _state(self, name: str, values: Mapping[str, Any], verify: bool) -> StageState:
        """A stage by itself, without those before it."""
        result = self.result(name)
        if result is None:
            return StageState(name, "missing", "no result yet")
        if "key" not in result:
            return StageState(name, "stale", "it was made before results had keys")
        if result.get("seal") != files.fingerprint({key: value for key, value in result.items() if key != "seal"}):
            return StageState(name, "stale", "result.json was edited")
        if changed := Key(**result["key"]).differences(self.key(name, values)):
            return StageState(name, "stale", changed)
        wrong = identity.faults(result["files"], self.folder, self.hashes, verify)
        wrong += [
            f"{size_name} is missing or has another size"
            for size_name, size in result["sizes"].items()
            if not (path := self.folder / size_name).is_file() or size not in (None, path.stat().st_size)
        ]
        if wrong:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            return StageState(name, "stale", f"{wrong[0]}{more}")
        return StageState(name, "done")


def _output(result: Result | None) -> str | None:
    """What later stages build on: a result's key, and the content of the files it vouches for."""
    if result is None:
        return None
    return files.fingerprint([result.get("hash"), sorted(f["sha256"] for f in result.get("files", {}).values())])


def _files(path: Path) -> list[Path]:
    """A file, or all files of a folder."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def runs(root: Path, study: str | None = None) -> list[Run]:
    """All runs below the outputs folder, newest first."""
    pattern = f"{study or '*'}/*/params.yaml"
    places = [path.parent for path in outputs_root(root).glob(pattern) if not path.parent.name.startswith("_")]
    newest = sorted(places, key=lambda folder: (folder / "params.yaml").stat().st_mtime, reverse=True)
    return [Run(folder, root) for folder in newest]
