"""A checkpoint on request: whoever watches a training asks for one now, without a word to its process.

Decisions:
- The request is a file, `05_training/save-now`. Training looks for it at its sync points, at most once a second, saves
  and takes the file away; so a file that is gone says that everything until then is saved.
- The first rank looks, and the ranks agree as they do on stopping: a file comes in sight elsewhere later, or never.
- What lies there when training begins counts for nothing: nothing has been done since its last checkpoint.
"""

import time
from pathlib import Path

from stepladder.core.run import Run

PATH = "05_training/save-now"
SECONDS = 1.0  # between two looks


def ask_to_save(run: Run) -> Path:
    """Ask the training of a run for a checkpoint now; returns the file that is gone when it is saved."""
    path = run.folder / PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


class SaveRequest:
    """Whether a training is asked to save.

    Args:
        run: its run.
        looks: whether this process is the one that looks.
    """

    def __init__(self, run: Run, looks: bool):
        self._path, self._looks, self._since = run.folder / PATH, looks, time.monotonic()
        self.answer()

    def asked(self) -> bool:
        """Whether somebody asks; most calls do not look."""
        if not self._looks or time.monotonic() - self._since < SECONDS:
            return False
        self._since = time.monotonic()
        return self._path.exists()

    def answer(self) -> None:
        """All is saved: take the request away."""
        if self._looks:
            self._path.unlink(missing_ok=True)
