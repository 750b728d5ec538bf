"""What all commands share: the terminal they print to, its colours, progress and paths on it."""

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

WIDTH = 160  # of tables that go to a file or a pipe, where there is no terminal to fit
console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
COLOURS = {
    "done": "green",
    "queued": "blue",
    "running": "blue",
    "open": "blue",
    "failed": "red",
    "oom": "red",
    "preempted": "yellow",
    "lost": "yellow",
    "timeout": "red",
    "stale": "yellow",
    "begun": "yellow",
    "missing": "dim",
    "new": "dim",
}


def shown(path: Path) -> str:
    """A path as short as it can be typed from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


class Narrator:
    """Progress of the road on the terminal: one line per stage, and where it is now on a terminal that can show it."""

    def __init__(self) -> None:
        self.status = console.status("")

    def __enter__(self) -> "Narrator":
        self.status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.status.stop()

    def __call__(self, kind: str, stage: str, **fields: Any) -> None:
        """One event of the walk, as a line or in the status line."""
        if kind == "cell_start":
            self.status.update(f"{stage}  cell {fields['cell']} of {fields['of']}: {fields['title']}")
        elif kind == "stage_start" and fields.get("reason"):
            console.print(f"  {stage:18} runs: {escape(fields['reason'])}", soft_wrap=True)
        elif kind == "stage_skipped":
            console.print(f"  {stage:18} [dim]skipped: {fields['reason']}[/]")
        elif kind == "stage_end":
            colour = COLOURS.get(fields["state"], "yellow")
            console.print(f"  {stage:18} [{colour}]{fields['state']}[/]  {fields['seconds']:6.1f} s")
