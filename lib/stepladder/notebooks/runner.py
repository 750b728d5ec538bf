"""Walk the road: run notebooks one after another, and say truly how each ended.

Decisions:
- A stage is done only when its notebook finished *and* left a `result.json` of this very attempt, with the key computed
  before it started. The result of a notebook that did not finish is removed; an older one stays until it is replaced.
- One walker per run: its lock is taken before anything is written, and nothing is written before a stage begins. Stages
  that would build on something missing or stale are refused first, with the reason and the command.
- How a notebook that broke off ended is decided in `outcome.py`.
- A record that cannot be written (a full disk) never takes the place of how a walk ended: it is said on stderr.
- While it runs, `run.json` says `running` with the runner's pid; readers find a vanished runner `stale`. A heartbeat
  goes to `events.jsonl` every ten seconds.
- Importing this module is cheap: papermill (seconds of CPU) is imported when a notebook runs.
"""

import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from stepladder.core.config import ParameterError
from stepladder.core.lock import TOKEN, Lock
from stepladder.core.run import ATTEMPT, EXIT_CODES, Run
from stepladder.core.schema import Parameters
from stepladder.core.secrets import redacted
from stepladder.core.stages import STAGES
from stepladder.core.stages import stage as find_stage
from stepladder.core.units import counted
from stepladder.machine import limits
from stepladder.machine.oom import Memory
from stepladder.machine.signals import GRACE_SECONDS, Stop
from stepladder.notebooks.outcome import Outcome, failed_cell, judge
from stepladder.report import pages

HEARTBEAT_EVERY = 10.0
Listener = Callable[..., None]  # listener(kind, **fields): stage_start, cell_start, cell_end, stage_end, stage_skipped


class Engine:
    """Our engine as papermill's registry knows it (`papermill --engine stepladder`).

    papermill loads this class while it is itself being imported, so the engine proper, which is built on papermill's
    classes, comes in only when a notebook runs.
    """

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, *args: Any, **options: Any) -> Any:
        """See `stepladder.notebooks.engine.KernelEngine.execute_notebook`."""
        from stepladder.notebooks.engine import KernelEngine

        return KernelEngine.execute_notebook(nb, kernel_name, *args, **options)

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """Name of the kernel a notebook asks for."""
        return name or nb.metadata.get("kernelspec", {}).get("name", "python3")

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        """Language a notebook is written in."""
        return language or nb.metadata.get("kernelspec", {}).get("language", "python")


def run_pipeline(
    run: Run,
    stages: Sequence[str],
    params: Parameters,
    root: Path,
    force: bool = False,
    on_event: Listener | None = None,
    cell_timeout: float | None = None,
    grace: float = GRACE_SECONDS,
    overrides: Mapping[str, Any] | None = None,
) -> Outcome:
    """Walk `stages` in order, skipping those that are done; stop at the first that does not end well.

    Calling it again is how a run is resumed.

    Args:
        run: the run directory.
        stages: names of stages, in order.
        params: the resolved parameters.
        root: project root, which holds `notebooks/`.
        force: run stages even when nothing they read has changed.
        on_event: called as `on_event(kind, **fields)` for progress; the same fields go to `events.jsonl`.
        cell_timeout: seconds one cell may take; None for no limit.
        grace: seconds a cell has to end after a request to stop.
        overrides: how `params` differ from the profile; kept for the run from then on.

    Raises:
        Held, Leased: another process walks this run, or may do.
        ParameterError: a notebook is missing, or a stage that is asked for builds on one that is not done.
    """
    _say.cache_clear()
    with run.locked() as held:
        outcome = Outcome("failed", EXIT_CODES["failed"], "the runner itself failed")
        pipeline_run = _PipelineRun(run, params, root, force, on_event, cell_timeout, held, overrides)
        asked = pipeline_run.planned(stages)
        try:
            with Stop(grace) as stop, _token(held):
                outcome = pipeline_run.go(asked, stop)
        except BaseException as error:
            outcome = Outcome("failed", EXIT_CODES["failed"], f"{type(error).__name__}: {error}")
            raise
        finally:
            with _booked(run):
                if pipeline_run.tells(outcome):
                    run.set_status(outcome.state, outcome.reason, exit_code=outcome.exit_code)
    return outcome


@contextmanager
def _booked(run: Run) -> Iterator[None]:
    """A record that cannot be written, as on a full disk, is told once and hides nothing of how the walk ends."""
    try:
        yield
    except OSError as error:
        _say(f"run {run.study}/{run.name}: its records are incomplete: {error}")


@cache
def _say(text: str) -> None:
    print(text, file=sys.stderr)


@contextmanager
def _token(held: Lock | None) -> Iterator[None]:
    """Hand the run's lock on to the kernels started in the block."""
    if held:
        os.environ[TOKEN] = held.token
    try:
        yield
    finally:
        if held:
            del os.environ[TOKEN]


def _run_stage(
    stage: "_StageRun", stop: Stop, cell_timeout: float | None, reason: str = "", held: Lock | None = None
) -> Outcome:
    """Execute a stage and draw its pages; `reason` is why it runs."""
    stage.tell("stage_start", cells=stage.cells, reason=reason)
    began = time.monotonic()
    with _heartbeat(stage.run, stage.name, stop, held):
        outcome = stage.execute(stop, cell_timeout)
    seconds = round(time.monotonic() - began, 3)
    stage.tell("stage_end", state=outcome.state, reason=outcome.reason, seconds=seconds)
    try:
        pages.stage_page(stage.run, stage.name)
        pages.run_page(stage.run)
    except Exception as error:  # a page that cannot be drawn must not undo what was computed; it is said, not hidden
        stage.tell("page_failed", reason=f"{type(error).__name__}: {error}")
    return outcome


@dataclass
class _PipelineRun:
    """One call of `run_pipeline`; `begun` once a stage has started."""

    run: Run
    params: Parameters
    root: Path
    force: bool
    on_event: Listener | None
    cell_timeout: float | None
    held: Lock | None
    overrides: Mapping[str, Any] | None = None
    begun: bool = False

    def tells(self, outcome: Outcome) -> bool:
        """Whether `run.json` is to say how it ended: something happened, or it still tells of an end long mended."""
        if self.held and self.held.lost:
            return False  # it is another walker's now
        complete = all(state.state == "done" for state in self.run.states().values())
        mended = complete and self.run.status()["state"] not in ("done", "stale")
        return self.begun or outcome.state != "done" or mended

    @property
    def values(self) -> dict[str, Any]:
        """The parameters asked for."""
        return self.params.model_dump(mode="json")

    def _parameters_stand(self) -> bool:
        """Whether the run has parameters of its own: one fetched from elsewhere may have none, or they are damaged."""
        try:
            self.run.overrides(self.params.profile)
            return bool(self.run.values())
        except ParameterError:
            return False

    def planned(self, stages: Sequence[str]) -> list[str]:
        """Full names of `stages`; `ParameterError` where one would build on what is not done and not asked for."""
        names = [find_stage(name).name for name in stages]
        states, running = self.run.states(self.values), False
        for name in (part.name for part in STAGES if part.name <= max(names, default="")):
            if name in names:
                running = running or self.force or states[name].state != "done"
            elif states[name].state != "done":
                raise ParameterError(self.run.refusal(states[name], max(names)))
            elif running:
                raise ParameterError(f"{name} reads what runs before it, and was not asked for: ask for it too")
        return names

    def go(self, names: Sequence[str], stop: Stop) -> Outcome:
        """The stages one after another, skipping those that are done."""
        notebook, ran = None, 0
        for name in names:
            if stop.state:
                return Outcome(stop.state, EXIT_CODES[stop.state], f"{stop.reason}, before {name}", notebook)
            state = self.run.states(self.values)[name]
            if not self.force and state.state == "done" and not self._fell_short(name):
                if not self._parameters_stand():
                    self.run.begin(self.params, self.overrides)
                _teller(self.run, name, self.on_event)("stage_skipped", reason="nothing it reads has changed")
                continue
            if not self.begun:
                self.run.begin(self.params, self.overrides)
                self.run.set_status("running", stages=list(names))
                self.begun = True
            reason = state.reason or self._fell_short(name) or "asked for by force"
            stage = _StageRun(self.run, name, self.params, self.root, _teller(self.run, name, self.on_event))
            outcome = _run_stage(stage, stop, self.cell_timeout, reason, self.held)
            notebook, ran = outcome.notebook, ran + 1
            if outcome.state != "done":
                return Outcome(outcome.state, outcome.exit_code, f"{name}: {outcome.reason}", notebook)
        return Outcome(
            "done", 0, f"{counted(len(names), 'stage')} asked for, {ran} run, {len(names) - ran} unchanged", notebook
        )

    def _fell_short(self, name: str) -> str:
        """What a stage that is done was tolerated not to have done, and tries again; empty where there is nothing."""
        failed = (self.run.result(name) or {}).get("failed")
        return f"{len(failed)} assets failed the last time, and are tried again" if failed else ""


@dataclass
class _StageRun:
    """One execution of one stage's notebook."""

    run: Run
    name: str
    params: Parameters
    root: Path
    tell: Listener
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)
    nb: Any = field(init=False)
    before: Memory = field(init=False)

    def __post_init__(self) -> None:
        self.source = self.root / "notebooks" / f"{self.name}.ipynb"
        if not self.source.exists():
            raise ParameterError(f"no notebook notebooks/{self.name}.ipynb in {self.root}")
        self.target = self.run.stage_folder(self.name) / "notebook.ipynb"
        self.nb = self._prepare()

    @property
    def cells(self) -> int:
        """Number of code cells."""
        return sum(cell.cell_type == "code" for cell in self.nb.cells)

    def execute(self, stop: Stop, cell_timeout: float | None) -> Outcome:
        """Run the cells and judge how it ended."""
        expected = self._key()
        self.before = Memory.read()
        error: BaseException | None = None
        try:
            Engine.execute_notebook(
                self.nb,
                Engine.nb_kernel_name(self.nb),
                output_path=str(self.target),
                progress_bar=False,
                watch=self._watch,
                stop=stop,
                execution_timeout=cell_timeout,
                environment=self._environment(),
                folder=self.source.parent,
                kernel_log=self.target.with_name("kernel.log"),
            )
        except OSError as caught:  # a full disk, mostly
            error = self._beneath(caught)
        except Exception as caught:  # the kernel died or never started: `judge` names it
            error = caught
        outcome = judge(self.nb, error, stop, self.before) or self._check_result(expected)
        if outcome.state != "done" and (self.run.result(self.name) or {}).get("attempt") == self.attempt:
            (self.target.parent / "result.json").unlink(missing_ok=True)
        return replace(outcome, notebook=self.target)

    def _beneath(self, error: OSError) -> BaseException | None:
        """What ended the notebook where saving it failed as well; None where a cell did."""
        causes: list[BaseException] = [error]
        while (cause := causes[-1].__context__) is not None:
            causes.append(cause)
        died = next((cause for cause in causes if not isinstance(cause, OSError)), None)
        return died or (None if failed_cell(self.nb) else error)

    def _key(self) -> str:
        """What decides the stage, as things are now."""
        return self.run.key(self.name, self.params.model_dump(mode="json")).hash

    def _watch(self, kind: str, **fields: Any) -> None:
        """Pass an event of the engine on; memory is judged from the start of the cell that fails."""
        if kind == "cell_start":
            self.before = Memory.read()
        self.tell(kind, **fields)

    def _prepare(self) -> Any:
        """The notebook with a cell of injected parameters after its `parameters` cell, as papermill makes it."""
        from papermill.engines import papermill_engines
        from papermill.execute import prepare_notebook_metadata, remove_error_markers
        from papermill.iorw import load_notebook_node
        from papermill.parameterize import parameterize_notebook

        papermill_engines.register("stepladder", Engine)  # a source tree that is only on the path has no entry point
        nb = load_notebook_node(str(self.source))
        nb = parameterize_notebook(nb, self.params.model_dump(mode="json"), engine_name="stepladder")
        shown = self.source.relative_to(self.root).as_posix()
        return remove_error_markers(prepare_notebook_metadata(nb, shown, self.target.name))

    def _environment(self) -> dict[str, str]:
        outputs = self.run.folder.parent.parent.resolve()
        return {
            "STEPLADDER_ROOT": str(self.root.resolve()),
            "STEPLADDER_OUTPUTS": str(outputs),
            "STEPLADDER_HEADLESS": "1",
            ATTEMPT: self.attempt,
        }

    def _check_result(self, expected: str) -> Outcome:
        """Every cell ran: done, if the notebook recorded what it should."""
        result = self.run.result(self.name)
        if result is None or result["attempt"] != self.attempt:
            return Outcome("failed", 1, "the notebook finished but recorded no result: its last cell must call finish")
        if not result["hash"] == expected == self._key():
            return Outcome("failed", 1, "code, parameters or earlier results changed while it ran: run it again")
        return Outcome("done", 0, f"{self.cells} cells")


def _teller(run: Run, stage: str, on_event: Listener | None) -> Listener:
    """A function that writes an event of `stage` to the log and tells the listener."""

    def tell(kind: str, **fields: Any) -> None:
        fields = redacted(fields)
        with _booked(run):
            run.event(kind, stage=stage, **fields)
        if on_event is not None:
            on_event(kind, stage=stage, **fields)

    return tell


@contextmanager
def _heartbeat(run: Run, stage: str, stop: Stop, held: Lock | None) -> Iterator[None]:
    """While the block runs, write an event every ten seconds: alive, and the memory of all children in MB.

    Where another machine took the run over, because this one had been silent for too long, stop instead.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_EVERY):
            if held and held.lost:
                stop.request("preempted", "another machine took this run over while this one was silent")
                return
            children = limits.family(os.getpid())[1:]
            with _booked(run):
                run.event("heartbeat", stage=stage, memory_mb=round(limits.resident_memory(children) / 1e6))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
