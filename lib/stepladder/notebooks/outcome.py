"""How a notebook that did not run to its end ended: state, exit code and reason, decided in one place.

In this order: somebody asked to stop; the kernel died or never started; a cell raised. `oom` needs evidence, or an
exception that says so: a kernel killed by hand is `failed`, with the exit code 137 that shells know for signal 9.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepladder.core.run import EXIT_CODES
from stepladder.core.secrets import redact
from stepladder.machine import limits
from stepladder.machine.oom import Memory
from stepladder.machine.signals import Stop

KILLED = 137
MEMORY_ERRORS = ("MemoryError", "OutOfMemoryError", "_ArrayMemoryError")  # Python's, torch's and ours, numpy's


@dataclass(frozen=True)
class Outcome:
    """How a stage or a walk ended.

    Attributes:
        state: one of `run.STATES`.
        exit_code: 0 done, 1 failed, 75 preempted, 124 timeout, 137 out of memory or killed.
        reason: why, in words; for `done` what was done.
        notebook: the executed notebook, where one was run.
    """

    state: str
    exit_code: int
    reason: str
    notebook: Path | None = None


@dataclass(frozen=True)
class FailedCell:
    """The cell that failed: its number among the code cells, how many there are, and its exception."""

    number: int
    of: int
    name: str
    text: str


def judge(nb: Any, error: BaseException | None, stop: Stop, before: Memory) -> Outcome | None:
    """How the executed notebook `nb` ended; None when every cell ran.

    Args:
        nb: the notebook, its cells' states as the engine left them.
        error: what the engine raised, if it did.
        stop: who could ask to stop.
        before: memory at the start of the last cell that ran.
    """
    cell = failed_cell(nb)
    if error is None and cell is None:
        return None
    where = f"in cell {cell.number} of {cell.of}" if cell else "between two cells"
    if stop.state:
        late = f"; the cell did not end within {stop.grace:g} s and was killed" if stop.killed else ""
        return Outcome(stop.state, EXIT_CODES[stop.state], f"{stop.reason}, {where}{late}")
    return _of_error(error, where, before) if error else cell and _of_cell(cell, where, before)


def failed_cell(nb: Any) -> FailedCell | None:
    """The cell marked failed, if any."""
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, 1):
        if cell.metadata.papermill["status"] == "failed":
            errors = [output for output in cell.outputs if output.output_type == "error"]
            name, text = (errors[-1].ename, errors[-1].evalue) if errors else ("an exception", "no text")
            return FailedCell(number, len(code), name, first_line(text))
    return None


def first_line(text: str, length: int = 300) -> str:
    """The first line of a message, cut to a readable length; secrets in it are hidden."""
    line = (redact(text).strip().splitlines() or [""])[0]
    return line if len(line) <= length else f"{line[:length]} ..."


def _of_error(error: BaseException, where: str, before: Memory) -> Outcome:
    """A kernel that died, or never started."""
    from stepladder.notebooks.engine import KernelDied

    if not isinstance(error, KernelDied):
        return Outcome("failed", 1, f"{type(error).__name__}: {first_line(str(error))}")
    proof = before.evidence(limits.memory_limit())
    if error.returncode == -9 and proof:
        return Outcome("oom", KILLED, f"{error} {where}: {proof}")
    if error.returncode == -9:
        return Outcome("failed", KILLED, f"{error} {where}; no out-of-memory event was counted")
    if error.returncode == -15:
        return Outcome("preempted", EXIT_CODES["preempted"], f"{error} {where}, by somebody else's SIGTERM")
    return Outcome("failed", 1, f"{error} {where}; kernel.log may say more")


def _of_cell(cell: FailedCell, where: str, before: Memory) -> Outcome:
    """A cell that raised: an error, or the word that the machine goes away or is out of memory."""
    reason = f"{cell.name} {where}: {cell.text}"
    killed = before.killed_since()
    if cell.name == "Preempted":
        return Outcome("preempted", EXIT_CODES["preempted"], reason)
    if cell.name in MEMORY_ERRORS or killed:
        return Outcome("oom", EXIT_CODES["oom"], f"{reason}; {killed}" if killed else reason)
    return Outcome("failed", EXIT_CODES["failed"], reason)
