"""The papermill engine's inside: cells run as in stock papermill, but what the notebook says afterwards is true.

Decisions (each answers a measured fault of papermill 2.7, see `tests/notebooks/test_runner.py`):
- After a killed kernel, a signal, a time-out or an error, the cell that ran is `failed`, later ones stay `pending`,
  and the notebook carries an exception. Stock papermill calls them all completed.
- A request to stop goes through `signals.Stop` to the kernel, so that a cell can save and end. A cell's time-out is
  the same thing, asked for by a clock.
- The notebook on disk is always whole (written beside and renamed), and grows while a cell runs.
- Streams are joined as they arrive: 20,000 prints are one output, in their place between the figures.
- Kernels talk over Unix sockets in a private folder: no ports to collide, no warning about unencrypted TCP.
- The kernel's process group dies with the notebook: no worker of a killed kernel stays behind.

Use `stepladder.notebooks.runner.Engine` from outside: papermill loads that class while it is itself being imported.
"""

import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import nbformat
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager
from traitlets.config import Config

from stepladder.core import files
from stepladder.core.paths import PACKAGE
from stepladder.core.secrets import redacted
from stepladder.machine.signals import Stop

SOCKETS = "/tmp"  # a socket's path may have 107 bytes, which a long TMPDIR would exceed
IN_KERNEL = (
    "import stepladder.machine.signals as _s; _s.install_kernel_handler(); _s.die_with_parent(parent={pid}); del _s"
)
OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\n])")  # what a carriage return wiped out on a terminal
LOCAL = re.compile("|".join(re.escape(f"{p}/") for p in (sys.prefix, PACKAGE.parents[1], Path.home())))
Watcher = Callable[..., None]  # watch(kind, **fields), for cell_start and cell_end


class KernelDied(DeadKernelError):
    """The kernel's process ended while a cell ran; `returncode` is minus the signal's number."""

    def __init__(self, returncode: int | None):
        self.returncode = returncode
        died = f"was killed (signal {-(returncode or 0)})" if (returncode or 0) < 0 else f"ended with code {returncode}"
        super().__init__(f"the kernel {died}")


class Stopped(Exception):
    """A request to stop came between two cells; nothing was interrupted."""


class Manager(NotebookExecutionManager):
    """Keeps the states of cells and the notebook on disk true."""

    def __init__(self, nb: Any, watch: Watcher, **options: Any):
        self.watch = watch
        self.titles = list(_titles(nb))
        self.code = [index for index, cell in enumerate(nb.cells) if cell.cell_type == "code"]
        super().__init__(nb, **options)

    def save(self, **kwargs: Any) -> None:
        """Write the notebook, whole or not at all (object stores are papermill's business)."""
        if self.output_path and "://" in str(self.output_path):
            super().save(**kwargs)
        elif self.output_path:
            files.write_text(self.output_path, nbformat.v4.writes(self.nb) + "\n")
        self.last_save_time = self.now()

    def cell_start(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        """A code cell begins."""
        super().cell_start(cell, cell_index, **kwargs)
        self.began = time.monotonic()
        self.watch("cell_start", **self._place(cell_index))

    def cell_complete(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        """A code cell has ended, well or not."""
        for output in cell.outputs:
            if output.output_type == "stream" and "\r" in output.text:
                output.text = OVERWRITTEN.sub("", output.text)
            output.update(nbformat.from_dict(redacted(output)))
        super().cell_complete(cell, cell_index, **kwargs)
        seconds = round(time.monotonic() - self.began, 3)
        self.watch("cell_end", **self._place(cell_index), status=cell.metadata.papermill["status"], seconds=seconds)

    def notebook_complete(self, **kwargs: Any) -> None:
        """The notebook has ended: unlike papermill's, this leaves pending cells pending."""
        self.end_time = self.now()
        record = self.nb.metadata.papermill
        record["end_time"] = self.end_time.isoformat()
        record["duration"] = (self.end_time - (self.start_time or self.end_time)).total_seconds()
        record["exception"] = any(c.metadata.papermill["status"] != self.COMPLETED for c in self.nb.cells) or None
        self.cleanup_pbar()
        self.save()

    def _place(self, index: int | None) -> dict[str, Any]:
        assert index is not None, "nbclient names every cell by its index"
        return {"cell": self.code.index(index) + 1, "of": len(self.code), "title": self.titles[index]}


class Client(PapermillNotebookClient):
    """Runs the cells of one notebook in one kernel, and stops when asked."""

    km: Any  # traits that are None before a kernel runs, and of more kinds than ours
    kc: Any

    def __init__(self, nb_man: Manager, stop: Stop, cell_timeout: float | None = None, **options: Any):
        super().__init__(nb_man, config=Config({"KernelManager": {"transport": "ipc"}}), **options)
        self.stop, self.cell_timeout = stop, cell_timeout

    def execute(self, **kwargs: Any) -> Any:
        """Run all cells; see `KernelEngine.execute_managed_notebook`."""
        self.reset_execution_trackers()
        with self._kernel(**kwargs):
            try:
                self.papermill_execute_cells()
                reply: Any = self.wait_for_reply(self.kc.kernel_info())
                self.nb.metadata["language_info"] = reply["content"]["language_info"]
            except BaseException:
                self.shutdown_kernel = "immediate"  # it may still be busy
                raise
            finally:
                self.set_widgets_metadata()
        return self.nb

    @contextmanager
    def _kernel(self, **kwargs: Any) -> Iterator[None]:
        """A running kernel, and after it neither sockets nor processes."""
        folder = tempfile.mkdtemp(prefix="stepladder-", dir=SOCKETS)
        self.km = self.create_kernel_manager()
        self.km.connection_file = f"{folder}/kernel.json"
        if self.km.ipykernel:
            self.extra_arguments = [f"--IPKernelApp.exec_lines={IN_KERNEL.format(pid=os.getpid())}"]
        pid = None
        try:
            with self.setup_kernel(cleanup_kc=True, **kwargs):
                pid = self.km.provisioner.pid
                self.stop.watch_kernel(pid)
                yield
                self.stop.forget_kernel()
        finally:
            self.stop.forget_kernel()
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)

    def papermill_execute_cells(self) -> None:
        """Run cell after cell until one fails or somebody asks to stop."""
        for index, cell in enumerate(self.nb.cells):
            if cell.cell_type != "code":
                cell.metadata.papermill["status"] = self.nb_man.COMPLETED
                continue
            if self.stop.state:
                raise Stopped(self.stop.reason)
            self.nb_man.cell_start(cell, index)
            try:
                with self._clock(index):
                    self.execute_cell(cell, index)
            except CellExecutionError:
                self.nb_man.cell_exception(cell, cell_index=index)
                return
            except BaseException as error:
                self.nb_man.cell_exception(cell, cell_index=index)
                raise self._named(error, cell) from None
            finally:
                self.nb_man.cell_complete(cell, cell_index=index)

    @contextmanager
    def _clock(self, index: int) -> Iterator[None]:
        """Ask to stop when a cell runs longer than it may."""
        if self.cell_timeout is None:
            yield
            return
        reason = f"cell {self.nb_man.code.index(index) + 1} ran longer than {self.cell_timeout:g} s"
        timer = threading.Timer(self.cell_timeout, self.stop.request, ("timeout", reason))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _named(self, error: BaseException, cell: Any) -> BaseException:
        """A dead kernel as `KernelDied`, said in the cell too, where the reader looks; other errors unchanged."""
        if not isinstance(error, DeadKernelError):
            return error
        process = self.km.provisioner.process
        died = KernelDied(process.poll() if process else None)
        text = self.stop.reason or str(died)
        cell.outputs.append(nbformat.v4.new_output("error", ename="KernelDied", evalue=text, traceback=[text]))
        return died

    def output(self, outs: list[Any], msg: dict[str, Any], display_id: str | None, cell_index: int) -> Any:
        """Take in one output; a stream's text joins the text before it, a traceback loses the paths of this machine."""
        out = super().output(outs, msg, display_id, cell_index)
        if out and out.output_type == "error":
            out.traceback = [LOCAL.sub("", line) for line in out.traceback]
        if out and len(outs) > 1 and out.output_type == "stream" == outs[-2].output_type and outs[-2].name == out.name:
            outs[-2].text += outs.pop().text
        return out


class KernelEngine(NBClientEngine):
    """papermill's nbclient engine with a truthful manager and client."""

    @classmethod
    def execute_notebook(
        cls, nb: Any, kernel_name: str, output_path: str | None = None, watch: Watcher | None = None, **options: Any
    ) -> Any:
        """Execute `nb` in place and return it.

        Args:
            nb: a notebook as papermill prepares it (with its `papermill` metadata).
            kernel_name: name of the Jupyter kernel.
            output_path: where the growing notebook is kept; None keeps it in memory.
            watch: called as `watch("cell_start", cell=1, of=9, title="...")` and `watch("cell_end", ..., status=,
                seconds=)`, cells counted among code cells.
            options: papermill's own (`progress_bar`, `log_output`, `execution_timeout`, ...) and those of
                `execute_managed_notebook`.

        Raises:
            KernelDied: the kernel's process ended while a cell ran.
            Stopped: a request to stop came between two cells.
        A cell's Python error does not raise: it is in the notebook, as papermill expects.
        """
        own = {key: options.pop(key) for key in ("progress_bar", "log_output", "autosave_cell_every") if key in options}
        manager = Manager(nb, watch or _nobody, output_path=output_path, **own)
        manager.notebook_start()
        try:
            cls.execute_managed_notebook(manager, kernel_name, log_output=own.get("log_output", False), **options)
        finally:
            manager.notebook_complete()
        return manager.nb

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Manager,
        kernel_name: str,
        stop: Stop | None = None,
        execution_timeout: float | None = None,
        start_timeout: int = 60,
        environment: dict[str, str] | None = None,
        folder: Path | str | None = None,
        kernel_log: Path | None = None,
        **options: Any,
    ) -> None:
        """Run the cells in a kernel of its own.

        Args:
            stop: who asks to stop; None listens to this process's signals.
            execution_timeout: seconds one cell may take.
            start_timeout: seconds the kernel may take to start.
            environment: variables added to the kernel's environment.
            folder: the kernel's working directory; None is this process's.
            kernel_log: file for what the kernel's process itself says (native libraries, crashes); None: the terminal.
        """
        options.pop("input_path", None)
        client_options = {"kernel_name": kernel_name, "startup_timeout": start_timeout, **options}
        launch: dict[str, Any] = {"env": os.environ | (environment or {})}
        if folder is not None:
            launch["cwd"] = str(folder)
        with ExitStack() as stack:
            if kernel_log is not None:
                launch["stdout"] = launch["stderr"] = stack.enter_context(kernel_log.open("wb"))
            stop = stop or stack.enter_context(Stop())
            Client(nb_man, stop, execution_timeout, **client_options).execute(**launch)


def _nobody(kind: str, **fields: Any) -> None:
    """The watcher of a notebook nobody watches."""


def _titles(nb: Any) -> Iterator[str]:
    """For every cell the nearest markdown heading at or above it."""
    title = ""
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#+\s+(.+)$", cell.source, re.MULTILINE)
            title = headings[-1].strip() if headings else title
        yield title
