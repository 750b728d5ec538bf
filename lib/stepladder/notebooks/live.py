"""A training job followed from a notebook: its curve grows, a button stops it, a closed tab comes back to it.

Decisions:
- Where the job runs it says itself (`Following.where`): a process here, or a rented machine with what it has cost.
- In a person's JupyterLab the cell awaits the end: the cells below wait their turn, while the kernel still hears the
  button, an interrupt, and a person who runs the notebook again (see `takeover`). Nobody has to watch: with the tab
  closed, the cells below run when training ends.
- Only new lines of metrics are read. A picture shows at most `POINTS` of them, so that a long training costs no more
  than a short one.
- What stays in the notebook is a picture and a sentence, no widget: it can be exported.
- Headless nobody looks: the job is waited for, and its metrics are not read at all.
"""

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from html import escape
from typing import Any

from IPython.display import HTML, display

from stepladder.machine.signals import Preempted
from stepladder.notebooks import takeover
from stepladder.notebooks.display import interactive, png_bytes
from stepladder.training import curves

POINTS = 2000  # most training losses in one picture
POLL = 2.0  # seconds between two pictures


async def follow(job: Any) -> str:
    """Wait for a training job; why it ended, in words. In JupyterLab its curve is shown as it grows.

    Raises:
        Preempted, TrainingFailed, OutOfMemoryError: see `Job.follow`.
    """
    if not interactive():
        with interruptible():
            return job.follow()
    panel = _Panel(job)
    with takeover.awaited() as again:
        try:
            return await _watch(job, panel, again)
        except asyncio.CancelledError:  # how an awaiting cell hears of an interrupt
            panel.say(f"Interrupted: {job.noun} goes on by itself. {panel.ways}")
            raise
        except (Exception, Preempted) as error:
            way_on = "; Run All goes on from what is saved" if isinstance(error, Preempted) else ""
            panel.say((str(error).splitlines() or [type(error).__name__])[0] + way_on)
            raise


async def _watch(job: Any, panel: "_Panel", again: asyncio.Event) -> str:
    while job.running() and not again.is_set():
        panel.draw(job)
        with suppress(TimeoutError):
            await asyncio.wait_for(again.wait(), POLL)
    panel.draw(job)
    if again.is_set():
        return f"this cell was run again: that one follows the {job.noun} now"
    ending = job.ending()
    panel.say(ending)
    return ending


class Curve:
    """The metrics of a job as far as they have come, thinned to what a picture can show.

    When training resumes some steps come again; the later line counts.
    """

    def __init__(self) -> None:
        self.train: dict[int, dict[str, Any]] = {}
        self.validation: dict[int, dict[str, Any]] = {}

    def add(self, lines: list[dict[str, Any]]) -> None:
        """Take in new lines."""
        self.train |= {line["step"]: line for line in lines if "loss" in line}
        self.validation |= {line["step"]: line for line in lines if "validation_loss" in line}

    def shown(self) -> list[dict[str, Any]]:
        """Losses evenly spread, the newest among them, and every validation."""
        train = [self.train[step] for step in sorted(self.train, reverse=True)]
        every = -(-len(train) // POINTS) or 1
        return train[::every][::-1] + [self.validation[step] for step in sorted(self.validation)]


class _Panel:
    """What is shown of a job: a sentence with a button, and the curve below."""

    def __init__(self, job: Any):
        import ipywidgets

        self.name = f"{job.run.study}/{job.run.name}"
        self.ways = f"Run All comes back to it; Save and stop, or `stepladder stop {self.name}`, ends it."
        self.curve = Curve()
        self.stop = ipywidgets.Button(description="Save and stop", icon="stop", tooltip=self.ways)
        self.stop.on_click(lambda button: self._stopping(job))
        began = f"attached to the {job.noun} that runs" if job.attached else f"{job.noun} {job.begins}"
        print(f"{began}; {job.lasts}")
        self.control: Any = display(self.stop, display_id=True)
        self.place: Any = display(HTML(escape(job.where())), display_id=True)
        self.picture: Any = display(HTML(f"waiting for the first word of the {job.noun} ..."), display_id=True)

    def draw(self, job: Any) -> None:
        """Show what has come since the last look."""
        self.place.update(HTML(escape(job.where())))
        lines = job.news()
        self.curve.add(lines)
        if lines and self.curve.train:
            self.picture.update({"image/png": png_bytes(curves.training_curve(self.curve.shown()))}, raw=True)

    def say(self, words: str) -> None:
        """The sentence that takes the button's place."""
        self.control.update(HTML(escape(words)))
        self.stop.close()

    def _stopping(self, job: Any) -> None:
        self.stop.disabled, self.stop.description = True, "saving ..."
        job.ask_to_stop()


@contextmanager
def interruptible() -> Generator[None]:
    """Let an interrupt reach code that waits without awaiting: in an `await` cell ipykernel only notes it."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
