"""What a notebook does with a job that trains for it, wherever that runs: wait, read its metrics, stop it.

Decisions:
- A job is followed by files of its run alone, so one that runs on another machine (see `launch.training`) is followed
  like one that runs here (`process.Job`); they differ in how they are told to stop and in how they say that they ended.
- A kernel that is told to stop (`Preempted`) passes it on, waits for the checkpoint, and stops then.
"""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stepladder.core.jsonlines import Tail
from stepladder.core.run import Run
from stepladder.machine.signals import Preempted

TAIL = 15  # lines of the log shown with an error


class TrainingFailed(RuntimeError):
    """The training process failed; the text says why and where its log is."""


class OutOfMemoryError(TrainingFailed):
    """The training process ran out of memory, of the GPU or of the machine."""


class Following(ABC):
    """What a notebook does with a job, wherever that runs: wait for it, read its metrics, stop it.

    Attributes:
        run: its run.
        code: digests of the code it runs.
        attached: whether it was found running rather than started.
        noun: what it does.
        begins: what is said when it was begun.
        lasts: what does not end it, in JupyterLab.
    """

    run: Run
    code: Mapping[str, str]
    attached: bool
    noun: str = "training"
    begins: str = "has started"
    lasts: str = "closing this tab does not stop it"
    _tail: Tail | None = None

    @abstractmethod
    def running(self) -> bool:
        """Whether it is still to be waited for."""

    @abstractmethod
    def where(self) -> str:
        """Where it runs, in words, and what else is known of it there."""

    @abstractmethod
    def ask_to_stop(self) -> None:
        """Ask the job to save and stop, without waiting."""

    @abstractmethod
    def ending(self) -> str:
        """Why a job that runs no more has ended, in words, or the exception that fits it (see `follow`)."""

    def follow(self, on_metrics: Callable[[list[dict[str, Any]]], None] | None = None, poll: float = 0.5) -> str:
        """Wait for the end, handing over new lines of metrics; returns the reason in words.

        Args:
            on_metrics: called with every batch of `news`; without it nothing is read.
            poll: seconds between looks.

        Raises:
            Preempted: the job was preempted, or this kernel was told to stop and the job has saved and stopped.
            OutOfMemoryError, TrainingFailed: it failed.
            KeyboardInterrupt: a person interrupted; in JupyterLab the job goes on, under an engine it saves and stops.
        """
        try:
            while self.running():
                self._hand_over(on_metrics)
                time.sleep(poll)
        except Preempted:
            self.stop()
            raise
        except KeyboardInterrupt:
            if headless():
                self.stop()
            raise
        self._hand_over(on_metrics)
        return self.ending()

    def news(self) -> list[dict[str, Any]]:
        """Lines of metrics written since the last call, at first all.

        When training resumes some steps come again; the later line counts.
        """
        self._tail = self._tail or Tail(self.run.folder / "metrics.jsonl")
        return self._tail.read()

    def stop(self) -> None:
        """Ask the job to save and stop, and wait until it has."""
        self.ask_to_stop()
        while self.running():
            time.sleep(0.05)

    def _hand_over(self, on_metrics: Callable[[list[dict[str, Any]]], None] | None) -> None:
        if on_metrics and (lines := self.news()):
            on_metrics(lines)


def last_lines(run: Run, log: Path) -> str:
    """The last lines of a log of a run, under its name."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return f"last lines of {log.relative_to(run.folder)}:\n" + "\n".join(lines[-TAIL:])


def headless() -> bool:
    """Whether no person's JupyterLab is watching."""
    return "JPY_SESSION_NAME" not in os.environ or "STEPLADDER_HEADLESS" in os.environ
