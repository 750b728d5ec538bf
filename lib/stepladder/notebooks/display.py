"""What a notebook shows: progress, sliders or a contact sheet, numbers and tables as people read them.

Only in a person's JupyterLab (`interactive()`) are there sliders and moving progress; headless, `explore` draws a
contact sheet and `track` writes to the event log, so the executed notebook and the report lose nothing and stay the
same every time.
"""

import io
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import psutil
from IPython.display import HTML, display
from matplotlib.figure import Figure

from stepladder.core.run import Run
from stepladder.core.units import digits

PROGRESS_SECONDS = 10.0


def interactive() -> bool:
    """Whether a person's JupyterLab runs this kernel, rather than an engine without anybody watching."""
    return "JPY_SESSION_NAME" in os.environ and "STEPLADDER_HEADLESS" not in os.environ


def track(items: Iterable[Any], label: str, total: int | None = None, run: Run | None = None) -> Iterator[Any]:
    """Iterate over `items` and show how far it is: count, rate, time left, memory.

    In JupyterLab one line is updated in place; headless one event is logged every ten seconds. The last line, printed
    in both cases, is the same every time.
    """
    total = total if total is not None else len(items) if isinstance(items, Sequence) else None
    begin = said = time.monotonic()
    line = display(HTML(f"{label} ..."), display_id=True) if interactive() else None
    count = 0
    for count, item in enumerate(items, 1):
        yield item
        clock = time.monotonic()
        if clock - said >= (0.2 if line else PROGRESS_SECONDS):
            said = clock
            text = progress_line(label, count, total, clock - begin)
            if line:
                line.update(HTML(text))
            elif run is not None:
                run.event("progress", label=label, done=count, total=total, text=text)
    if line:
        line.update(HTML(progress_line(label, count, total, time.monotonic() - begin)))
    print(f"{label}: {count} done")


@contextmanager
def telling(run: Run) -> Generator[Callable[[str], None]]:
    """Gives what takes sentences on how far a long job is: one line in JupyterLab, headless an event in ten seconds."""
    line = display(HTML("..."), display_id=True) if interactive() else None
    said = time.monotonic() - PROGRESS_SECONDS

    def tell(text: str) -> None:
        nonlocal said
        clock = time.monotonic()
        if clock - said >= (0.2 if line else PROGRESS_SECONDS):
            said = clock
            if line:
                line.update(HTML(escape(text)))
            else:
                run.event("progress", text=text)

    yield tell


def progress_line(label: str, done: int, total: int | None, seconds: float) -> str:
    """`label 12/40, 3.1/s, 9 s left, 512 MB` for one moment of a long job."""
    rate = done / max(seconds, 1e-9)
    left = "" if total is None else f", {max(total - done, 0) / max(rate, 1e-9):.0f} s left"
    memory = psutil.Process().memory_info().rss / 1e6
    return f"{label} {done}{'' if total is None else f'/{total}'}, {digits(rate, 2)}/s{left}, {memory:.0f} MB"


def explore(function: Callable[..., Figure], sheet: int = 6, **controls: Sequence[Any]) -> None:
    """Look at `function(**choice)` over choices: sliders in JupyterLab, a contact sheet headless.

    Args:
        function: returns a matplotlib figure for one value of every control.
        sheet: most pictures on the contact sheet.
        controls: name -> values to choose from. The sheet runs over the first control, the others at their first value.
    """
    if interactive():
        import ipywidgets

        def draw(**choice: Any) -> None:
            display({"image/png": png_bytes(function(**choice))}, raw=True)

        wide = {"layout": {"width": "36em"}}
        sliders = {name: ipywidgets.SelectionSlider(options=list(values), **wide) for name, values in controls.items()}
        ipywidgets.interact(draw, **sliders)
        return
    (name, values), *others = controls.items()
    fixed = {other: options[0] for other, options in others}
    chosen = [
        values[i] for i in np.unique(np.linspace(0, len(values) - 1, min(sheet, len(values))).round().astype(int))
    ]
    pictures = [plt.imread(io.BytesIO(png_bytes(function(**{name: value}, **fixed)))) for value in chosen]
    display(
        {
            "image/png": png_bytes(contact_sheet(pictures, [f"{name} = {value}" for value in chosen])),
            "text/plain": f"explore {name}",
        },
        raw=True,
    )


def contact_sheet(pictures: list[np.ndarray], titles: list[str]) -> Figure:
    """Pictures in a grid of up to two columns, each under its title."""
    columns = min(2, len(pictures))
    rows = -(-len(pictures) // columns)
    height, width = pictures[0].shape[:2]
    figure, axes = plt.subplots(rows, columns, figsize=(6 * columns, (6 * height / width + 0.3) * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture, title in zip(axes.flat, pictures, titles, strict=False):
        axis.imshow(picture, interpolation="antialiased")
        axis.set_title(title)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """A figure as PNG; it is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


def cell_text(value: Any) -> Any:
    """A table cell as people read numbers: three significant digits, thousands apart, a dash for nothing."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "-"
    if isinstance(value, float | np.floating):
        return digits(float(value))
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def table_text(title: str, columns: list[str], rows: list[list[str]], note: str) -> str:
    """A table as plain text, cells apart by bars."""
    lines = [title, " | ".join(columns), *(" | ".join(row) for row in rows)]
    return "\n".join([*lines, note] if note else lines)


def table_html(title: str, columns: list[str], rows: list[list[str]], note: str, measured: bool) -> str:
    """A table as HTML; the body of a measured one is marked so."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    kind = ' class="measured"' if measured else ""
    caption = f"<caption><b>{escape(title)}</b></caption>"
    foot = f"<p><small>{escape(note)}</small></p>" if note else ""
    return f"<table{kind}>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{foot}"
