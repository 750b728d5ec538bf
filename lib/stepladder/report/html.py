"""Report pages from the templates beside: text is escaped by Jinja, and only what is `Markup` counts as HTML."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stepladder import __version__
from stepladder.core import files
from stepladder.core.provenance import now
from stepladder.report import static_notebook

NUMBER = re.compile(r"[-+−±]?[\d.,]+(e[-+]?\d+)?\s?%?|-|")


def write(path: Path, template: str, **values: Any) -> Path:
    """Write the page that `template` makes of `values`; returns its path."""
    files.write_text(path, _PAGES.get_template(template).render(drawn=now(), **values))
    return path


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


def kinds(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> list[str | None]:
    """`num` for each column whose every cell is a number (it is set right), None for the others."""
    numeric = (all(NUMBER.fullmatch(str(row[i]).strip()) for row in rows) for i in range(len(columns)))
    return ["num" if rows and flag else None for flag in numeric]


_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.filters |= {"duration": duration, "moment": moment, "kinds": kinds}
_PAGES.globals |= {"version": __version__, "code_colours": static_notebook.COLOURS}
