"""Report pages from the templates beside: text is escaped by Jinja, and only what is `Markup` counts as HTML."""

from itertools import count
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stepladder import __version__
from stepladder.core import files
from stepladder.core.provenance import now
from stepladder.core.secrets import redact
from stepladder.report import static_notebook, tables


def write(path: Path, template: str, **values: Any) -> Path:
    """Write the page that `template` makes of `values`, secrets hidden; returns its path."""
    files.write_text(path, redact(render(template, drawn=now(), **values)))
    return path


def render(template: str, **values: Any) -> Markup:
    """What `template` makes of `values`; `number()` counts what folds, for its label."""
    numbers = count(1)
    return Markup(_PAGES.get_template(template).render(number=lambda: next(numbers), **values))


def duration(seconds: float | None) -> str:
    """`0.8 s`, `42 s`, `3 min 20 s`, `5 h 07 min`."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def moment(stamp: str | None) -> str:
    """An ISO time (UTC) to the minute: `2026-11-22 06:01`."""
    return f"{stamp[:10]} {stamp[11:16]}" if stamp else ""


_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.filters |= {"duration": duration, "moment": moment}
_PAGES.globals |= {"version": __version__, "code_colours": static_notebook.COLOURS, "view": tables.view}
