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
- A run that a launched job has (see `claim`) is locked by nobody else, and its job tells its state.
- A record that cannot be read breaks nothing but its own run, which says in a sentence which file it is and the way
  out. Before another takes its place it is set aside as `<name>.damaged`, and an event tells.
"""

import os
import shlex
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, overload

from stepladder.core import (
    aside,
    claim,
    closure,
    config,
    files,
    identity,
    jsonlines,
    launched,
    lock,
    profiles,
    progress,
    records,
    standing,
)
from stepladder.core.config import ParameterError
from stepladder.core.errors import Damaged
from stepladder.core.files import Json
from stepladder.core.identity import Key
from stepladder.core.jsonlines import Records
from stepladder.core.paths import command, outputs_root, project_root
from stepladder.core.provenance import environment, now
from stepladder.core.records import Conversion, Result, Status
from stepladder.core.schema import LABELS, Parameters
from stepladder.core.secrets import redact, redacted
from stepladder.core.stages import STAGES, before, stage, visible
from stepladder.core.standing import StageState as StageState
from stepladder.machine import processes

STATES = {
    "queued": "launched: it waits for a machine, or is being brought to one",
    "running": "at work, here or on the machine that it names",
    "done": "ended well",
    "failed": "a cell or a check failed; the reason says which",
    "oom": "out of memory",
    "preempted": "asked to stop, and saved: run the same again",
    "lost": "its machine answers no more: the next one goes on, or, where none is left, run the same again",
    "timeout": "out of time, or of the budget",
    "stale": "its process is gone without a word, or a record cannot be read",
}
EXIT_CODES = {"done": 0, "failed": 1, "preempted": 75, "lost": 75, "timeout": 124, "oom": 137}
ATTEMPT = "STEPLADDER_ATTEMPT"  # environment variable by which a runner knows the result that its kernel wrote
GONE = progress.GONE
MARKS = ("params.yaml", "run.json")  # a folder that has one of them is a run
CHOICE = "04_scaling/ladder.json"  # the one file that a person may edit and a later stage reads


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
            ladder = records.read(self.folder / CHOICE)
        except Damaged as error:
            raise Damaged(error.path, error.why, f"mend it, or delete it and `{self.command()}`") from None
        return ladder.get("chosen") if ladder else None

    def stage_folder(self, name: str) -> Path:
        """Folder of a stage, made when it is not there."""
        folder = self.folder / stage(name).name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    # Parameters --------------------------------------------------------------------------------------------------

    def values(self) -> dict[str, Any]:
        """The run's parameters as they are saved; empty where nothing has begun.

        Raises:
            Damaged: `params.yaml` cannot be read.
        """
        return self._yaml("params.yaml")

    def overrides(self, profile: str) -> dict[str, Any]:
        """What was set in this run against `profile`; nothing of another profile's.

        Raises:
            Damaged: `overrides.yaml` cannot be read, or `params.yaml`, which says whose they are.
        """
        found = self._yaml("overrides.yaml")
        return found if found and self.values().get("profile") == profile else {}

    def _yaml(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            return config.read_yaml(path) if os.path.lexists(path) else {}
        except Damaged as error:
            way_out = f"mend it, or go back to the profile's parameters with `{self.command()} --forget`"
            raise Damaged(path, error.why, way_out) from None

    def command(self) -> str:
        """What one types to walk this run."""
        try:
            profile = config.read_yaml(self.folder / "params.yaml").get("profile", self.name)
        except Damaged:  # or not there yet
            profile = self.name if (self.root / "params" / self.study / f"{self.name}.yaml").exists() else "quick"
        profile, name, study = (shlex.quote(str(part)) for part in (profile, self.name, self.study))
        run = "" if name == profile else f" --run {name}"
        return f"{command()} run {study}" + (f" --profile {profile}{run}" if run or profile != "quick" else "")

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
            path = self.folder / f"{name}.yaml"
            try:
                if self._yaml(path.name) == values and path.exists():
                    continue
            except Damaged as error:
                self.set_aside(error)
            files.write_text(path, config.dump(values))

    @contextmanager
    def locked(self) -> Generator[lock.Lock | None]:
        """Hold the run while the block runs (see `lock.hold`); an error names outputs that cannot be written.

        Raises:
            Held: somebody else holds it, or a job that was launched has it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ParameterError(
                f"cannot write outputs at {self.folder}: {error.strerror}; set STEPLADDER_OUTPUTS"
            ) from None
        self.refuse_claimed()  # a job of this machine holds the lock too: its claim says more
        with lock.hold(self.folder, f"run {self.study}/{self.name}") as held:
            self.refuse_claimed()  # a claim is made under the lock, perhaps a moment ago
            yield held

    def refuse_claimed(self) -> None:
        """Raise `Held` where a launched job has the run, unless this process is the job's or walks the run already."""
        if not lock.is_inherited(self.folder) and (refusal := claim.refusal(self.folder)):
            raise lock.Held(refusal)

    # Records -----------------------------------------------------------------------------------------------------

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to `events.jsonl`; secrets in it are hidden."""
        jsonlines.append(self.folder / "events.jsonl", {"time": now(), "kind": kind, **redacted(fields)})

    def events(self, kind: str | None = None) -> Records:
        """All events, or those of one kind; a line that is no event counts as damaged."""
        told = jsonlines.read(self.folder / "events.jsonl")
        events = [event for event in told if records.is_event(event)]
        found = Records(event for event in events if kind in (None, event["kind"]))
        found.damaged, found.unreadable = told.damaged + len(told) - len(events), told.unreadable
        return found

    def metrics(self) -> Records:
        """All lines of `metrics.jsonl`; of a long training they are many (see `jsonlines.sample`, `jsonlines.last`)."""
        return jsonlines.read(self.folder / "metrics.jsonl")

    def status(self) -> Status:
        """What the run is doing, or how it ended (see `launched` and `progress`).

        `run.json` counts where it may be believed.

        Where a record of the run cannot be read, the reason says which one and the way out.
        """
        record: Status | None = None
        told: list[str] = []
        try:
            record = cast(Status | None, records.read(self.folder / "run.json"))
        except Damaged as error:
            told.append(f"run.json {error.why}: `{self.command()}` begins it anew and keeps this one beside it")
        for look in (partial(self._yaml, "params.yaml"), partial(self._yaml, "overrides.yaml"), self._claim):
            try:
                look()
            except Damaged as error:
                told.append(str(error))
        if told:
            return cast(Status, {**(record or {}), "state": "stale", "reason": "; ".join(told)})
        return launched.status(self.folder, record) or progress.status(self.folder, record)

    def _claim(self) -> Json | None:
        return claim.read(self.folder)

    def set_status(self, state: str, reason: str = "", **fields: Any) -> None:
        """Write `run.json`; a new attempt is counted whenever the run begins running."""
        assert state in STATES, state
        record: Json = {"created": now(), "attempts": 0}
        try:
            record |= records.read(self.folder / "run.json") or {}
        except Damaged as error:
            self.set_aside(error)
        if state == "running":
            own = {"process": processes.identity(), **environment()}
            record |= {"attempts": record["attempts"] + 1, "started": now(), **own}
        else:
            record["ended"] = now()
        record |= {"state": state, "reason": redact(reason), "exit_code": EXIT_CODES.get(state), **redacted(fields)}
        files.write_json(self.folder / "run.json", record)

    def set_aside(self, error: Damaged) -> None:
        """Keep a damaged record beside the one that takes its place, and say so."""
        kept = files.set_aside(error.path)
        self.event("damaged", file=error.path.name, why=error.why, kept_as=kept.name)

    # Stages ------------------------------------------------------------------------------------------------------

    @overload
    def result(self, name: Literal["02_conversion"]) -> Conversion | None: ...
    @overload
    def result(self, name: str) -> Result | None: ...
    def result(self, name: str) -> Result | None:
        """`result.json` of a stage, or None where there is none that can be read."""
        found = self._result(stage(name).name)
        return None if isinstance(found, Damaged) else found

    def results(self) -> dict[str, Result | Damaged | None]:
        """The results of all stages, each read once; None where there is none, and what is wrong with a damaged one."""
        return {part.name: self._result(part.name) for part in STAGES}

    def _result(self, name: str) -> Result | Damaged | None:
        try:
            return cast(Result | None, records.read(self.folder / name / "result.json"))
        except Damaged as error:
            return error

    def key(self, name: str, values: Mapping[str, Any] | None = None) -> Key:
        """What decides a stage, as things are now.

        Args:
            name: the stage.
            values: parameters, nested; the saved ones where None.
        """
        outputs = {part.name: standing.output(self._result(part.name)) for part in before(name)}
        return self._key(stage(name).name, self.values() if values is None else values, outputs)

    def _key(self, name: str, values: Mapping[str, Any], outputs: Mapping[str, str | None]) -> Key:
        """What decides a stage, given what the stages before it left."""
        inputs: Json = {part.name: outputs[part.name] for part in before(name)}
        if name > "04_scaling":
            inputs["ladder.json"] = self.chosen
        code = closure.of_stage(self.root, name, self.study)
        return Key(visible(name, values), code, files.plain(inputs))

    def states(
        self,
        values: Mapping[str, Any] | None = None,
        verify: bool = False,
        results: Mapping[str, Result | Damaged | None] | None = None,
    ) -> dict[str, StageState]:
        """How every stage stands; see the module's decisions.

        Args:
            values: parameters the run is asked for, nested; the saved ones where None.
            verify: read every file that results vouch for, instead of asking for its size.
            results: those of `results`, where they have been read already.
        """
        results = self.results() if results is None else results
        try:
            values = self.values() if values is None else values
        except Damaged as error:
            return {part.name: StageState(part.name, "stale", str(error)) for part in STAGES}
        found: dict[str, StageState] = {}
        outputs: dict[str, str | None] = {}
        broken: StageState | None = None
        with closure.one_look():
            for part in STAGES:
                result = results[part.name]
                key = partial(self._key, part.name, values, outputs)
                state = standing.judge(part.name, result, key, self.folder, self.hashes, verify)
                if broken and state.state == "done":
                    state = StageState(part.name, "stale", f"{broken.name} is {broken.state}")
                broken = broken or (None if state.state == "done" else state)
                found[part.name], outputs[part.name] = state, standing.output(result)
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

    def refusal(self, state: StageState, asked: str | None = None) -> str:
        """Why nothing can be built on a stage, and the command that mends it and goes on to the stage `asked` for."""
        what = "has no result" if state.state == "missing" else f"is stale ({state.reason})"
        what += f" ({state.reason})" if state.is_damaged else ""
        return (
            f"{state.name} of run {self.study}/{self.name} {what}: run that notebook first, or "
            f"`{self.command()} --stages 1-{stage(asked or state.name).number}`"
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
            old = self._result(name)
            if isinstance(old, Damaged):
                self.set_aside(old)
            earlier = [] if old is None or isinstance(old, Damaged) else old.get("made", [])
            kept = identity.vouch(vouched, self.folder, self.hashes)  # before anything of the old result goes
            (folder / "result.json").unlink(missing_ok=True)
            names = aside.take_place(made, folder, earlier) if made else earlier
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


def _files(path: Path) -> list[Path]:
    """A file, or all files of a folder."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def runs(root: Path, study: str | None = None) -> list[Run]:
    """All runs below the outputs folder, newest first."""
    found = [path for name in MARKS for path in outputs_root(root).glob(f"{study or '*'}/*/{name}")]
    folders = {path.parent for path in found if not path.parent.name.startswith("_")}
    return [Run(folder, root) for folder in sorted(folders, key=_changed, reverse=True)]


def _changed(folder: Path) -> float:
    """When a run was last given parameters, or begun where it has none of its own."""
    for name in MARKS:
        with suppress(OSError):
            return (folder / name).lstat().st_mtime
    return 0.0
