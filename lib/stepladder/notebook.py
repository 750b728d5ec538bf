"""Walk the road: run notebooks one after another, and say truly how each ended.

Decisions:
- A stage is done only when its notebook finished *and* left a `result.json` with the hash computed before it started.
  The old result is removed first, so nothing old can pose as new; so is the result of a notebook that did not finish.
- How a notebook that broke off ended is decided in `verdict.py`.
- While it runs, `run.json` says `running` with the runner's pid; readers find a vanished runner `stale`. A heartbeat
  goes to `events.jsonl` every ten seconds.
- Importing this module is cheap: papermill (seconds of CPU) is imported when a notebook runs.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from stepladder import report
from stepladder.oom import Memory
from stepladder.params import ParameterError, Parameters
from stepladder.run import EXIT_CODES, Run
from stepladder.run import stage as find_stage
from stepladder.signals import GRACE_SECONDS, Stop
from stepladder.verdict import Outcome, judge

HEARTBEAT_EVERY = 10.0
Listener = Callable[..., None]  # listener(kind, **fields): stage_start, cell_start, cell_end, stage_end, stage_skipped


class Engine:
    """Our engine as papermill's registry knows it (`papermill --engine stepladder`).

    papermill loads this class while it is itself being imported, so the engine proper, which is built on papermill's
    classes, comes in only when a notebook runs.
    """

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, *args: Any, **options: Any) -> Any:
        """See `stepladder.engine.KernelEngine.execute_notebook`."""
        from stepladder.engine import KernelEngine

        return KernelEngine.execute_notebook(nb, kernel_name, *args, **options)

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """Name of the kernel a notebook asks for."""
        return name or nb.metadata.get("kernelspec", {}).get("name", "python3")

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        """Language a notebook is written in."""
        return language or nb.metadata.get("kernelspec", {}).get("language", "python")


def run_road(
    run: Run,
    stages: Sequence[str],
    params: Parameters,
    root: Path,
    force: bool = False,
    on_event: Listener | None = None,
    cell_timeout: float | None = None,
    grace: float = GRACE_SECONDS,
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

    Raises:
        ParameterError: another process walks this run, or a notebook is missing.
    """
    record = run.status()
    if record["state"] == "running" and record["pid"] != os.getpid():
        raise ParameterError(
            f"run {run.study}/{run.name} is being walked by process {record['pid']} on {record['host']}: "
            "wait for it, stop it, or choose another --run"
        )
    run.set_status("running", stages=list(stages))
    outcome = Outcome("failed", EXIT_CODES["failed"], "the runner itself failed")
    try:
        with Stop(grace) as stop:
            outcome = _walk(run, stages, params, root, stop, force, on_event, cell_timeout)
    except BaseException as error:
        outcome = Outcome("failed", EXIT_CODES["failed"], f"{type(error).__name__}: {error}")
        raise
    finally:
        run.set_status(outcome.state, outcome.reason, exit_code=outcome.exit_code)
    return outcome


def run_stage(
    run: Run,
    stage_name: str,
    params: Parameters,
    root: Path,
    on_event: Listener | None = None,
    cell_timeout: float | None = None,
    stop: Stop | None = None,
) -> Outcome:
    """Run one notebook with `params` into `<run>/<stage>/notebook.ipynb` and freeze its page `report.html`.

    Leaves `run.json` alone (see `run_road`).

    Args:
        stop: who asks to stop; None listens to this process's signals. The rest as in `run_road`.

    Raises:
        ParameterError: the notebook is missing.
    """
    name = find_stage(stage_name).name
    stage_run = _StageRun(run, name, params, root, _teller(run, name, on_event))
    stage_run.tell("stage_start", cells=stage_run.cells)
    began = time.monotonic()
    with _heartbeat(run, name), nullcontext(stop) if stop else Stop() as stop:
        outcome = stage_run.execute(stop, cell_timeout)
    seconds = round(time.monotonic() - began, 3)
    stage_run.tell("stage_end", state=outcome.state, reason=outcome.reason, seconds=seconds)
    try:
        report.stage_page(run, name)
        report.run_page(run)
    except Exception as error:  # a page that cannot be drawn must not undo what was computed; it is said, not hidden
        stage_run.tell("page_failed", reason=f"{type(error).__name__}: {error}")
    return outcome


def _walk(
    run: Run,
    stages: Sequence[str],
    params: Parameters,
    root: Path,
    stop: Stop,
    force: bool,
    on_event: Listener | None,
    cell_timeout: float | None,
) -> Outcome:
    """The stages one after another; see `run_road`."""
    notebook, ran = None, 0
    for name in stages:
        name = find_stage(name).name
        if stop.state:
            return Outcome(stop.state, EXIT_CODES[stop.state], f"{stop.reason}, before {name}", notebook)
        if not force and run.stage_state(name, params) == "done":
            _teller(run, name, on_event)("stage_skipped", reason="nothing it reads has changed")
            continue
        outcome = run_stage(run, name, params, root, on_event, cell_timeout, stop)
        notebook, ran = outcome.notebook, ran + 1
        if outcome.state != "done":
            return Outcome(outcome.state, outcome.exit_code, f"{name}: {outcome.reason}", notebook)
    return Outcome("done", 0, f"{len(stages)} stages asked for, {ran} run, {len(stages) - ran} unchanged", notebook)


@dataclass
class _StageRun:
    """One execution of one stage's notebook."""

    run: Run
    name: str
    params: Parameters
    root: Path
    tell: Listener
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
        recorded = self.target.parent / "result.json"
        recorded.unlink(missing_ok=True)
        expected = self.run.input_hash(self.name, self.params)
        self.before = Memory.read()
        error = None
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
        except Exception as caught:  # the kernel died or never started: `judge` names it
            error = caught
        outcome = judge(self.nb, error, stop, self.before) or self._check_result(expected)
        if outcome.state != "done":
            recorded.unlink(missing_ok=True)
        return replace(outcome, notebook=self.target)

    def _watch(self, kind: str, **fields: Any) -> None:
        """Pass an event of the engine on; memory is judged from the start of the cell that fails."""
        if kind == "cell_start":
            self.before = Memory.read()
        self.tell(kind, **fields)

    def _prepare(self) -> Any:
        """The notebook with a cell of injected parameters after its `parameters` cell, as papermill makes it."""
        from papermill.execute import prepare_notebook_metadata, remove_error_markers
        from papermill.iorw import load_notebook_node
        from papermill.parameterize import parameterize_notebook

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
        }

    def _check_result(self, expected: str) -> Outcome:
        """Every cell ran: done, if the notebook recorded what it should."""
        result = self.run.result(self.name)
        if result is None:
            return Outcome("failed", 1, "the notebook finished but recorded no result: its last cell must call finish")
        if not result["hash"] == expected == self.run.input_hash(self.name, self.params):
            return Outcome("failed", 1, "code, parameters or earlier results changed while it ran: run it again")
        return Outcome("done", 0, f"{self.cells} cells")


def _teller(run: Run, stage: str, on_event: Listener | None) -> Listener:
    """A function that writes an event of `stage` to the log and tells the listener."""

    def tell(kind: str, **fields: Any) -> None:
        run.event(kind, stage=stage, **fields)
        if on_event is not None:
            on_event(kind, stage=stage, **fields)

    return tell


@contextmanager
def _heartbeat(run: Run, stage: str) -> Iterator[None]:
    """While the block runs, write an event every ten seconds: alive, and the memory of all children in MB."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_EVERY):
            run.event("heartbeat", stage=stage, memory_mb=round(_children_memory() / 1e6))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _children_memory() -> int:
    """Resident memory in bytes of all descendants of this process."""
    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
