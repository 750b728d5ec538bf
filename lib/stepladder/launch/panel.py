"""The table of launched jobs in a notebook: it lives, and every job has a button that stops it.

Decisions:
- It is drawn anew every `EVERY` seconds between the cells, by a task of the kernel's own loop: no cell waits for it.
  There is one such task in a kernel; calling again takes its place.
- A button asks and returns: saving and coming home take their time, and the table shows them.
- Headless the table is text, once.
"""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from IPython.display import display

from stepladder.core.config import ParameterError
from stepladder.core.paths import command
from stepladder.launch import launching, overview
from stepladder.launch.overview import COLUMNS, Row
from stepladder.notebooks.display import interactive, table_html, table_text

EVERY = 3.0  # seconds between two looks
TITLE = "Jobs"

_task: "asyncio.Task[None] | None" = None


def show(root: Path) -> None:
    """Show the jobs that were launched from here: a living table in JupyterLab, text elsewhere."""
    if interactive():
        _live(Table(root))
        return
    found = overview.rows(root)
    text = table_text(TITLE, list(COLUMNS), _cells(found), _note(found))
    display({"text/html": _html(found), "text/plain": text}, raw=True)


class Table:
    """The living table.

    Args:
        root: the project.

    Attributes:
        box: the widget to display: the table, and a button for each job that is under way.
    """

    def __init__(self, root: Path):
        import ipywidgets

        self.root = root
        self._buttons: dict[str, Any] = {}  # by job
        self._text, self._below = ipywidgets.HTML(), ipywidgets.HBox(layout={"justify_content": "center"})
        self._text.add_class("jp-RenderedHTMLCommon")  # as JupyterLab draws tables elsewhere
        self.box = ipywidgets.VBox([self._text, self._below])
        self.draw()

    def draw(self) -> None:
        """Show the jobs as they stand; what has not changed is not sent again."""
        found = overview.rows(self.root)
        self._text.value = _html(found)
        buttons = [self._button(row) for row in found if row.is_open]
        if buttons != list(self._below.children):
            self._below.children = buttons

    def _button(self, row: Row) -> Any:
        """The button of a job, the same one as long as it is under way."""
        import ipywidgets

        if row.job not in self._buttons:
            layout = ipywidgets.Layout(width="auto")
            button = ipywidgets.Button(description=f"Save and stop {row.name}", icon="stop", layout=layout)
            button.on_click(lambda pressed: _stop(row, pressed))
            self._buttons[row.job] = button
        return self._buttons[row.job]


def _stop(row: Row, button: Any) -> None:
    button.disabled, button.description = True, f"{row.name} is saving ..."
    with suppress(ParameterError):  # it has ended since
        launching.stop(row.run, wait=False)


def _html(found: list[Row]) -> str:
    return table_html(TITLE, list(COLUMNS), _cells(found), _note(found), measured=True)


def _cells(found: list[Row]) -> list[list[str]]:
    return [list(row.cells()) for row in found]


def _note(found: list[Row]) -> str:
    return "" if found else f"none yet: `{command()} launch`, or launch = {{...}} in the parameters of 04 and 05"


def _live(table: Table) -> None:
    """Display a table, and draw it anew from now on."""
    global _task
    display(table.box)
    if _task is not None:
        _task.cancel()
    _task = asyncio.get_running_loop().create_task(_redraw(table))


async def _redraw(table: Table) -> None:
    while True:
        await asyncio.sleep(EVERY)
        table.draw()
