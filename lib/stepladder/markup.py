"""Pieces of HTML that report pages are made of. Everything given as text is escaped here, once."""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from stepladder import __version__, freeze, offline
from stepladder.provenance import now

HERE = Path(__file__).parent
SYMBOLS = {"done": "✓", "running": "▸", "failed": "✕", "oom": "✕", "preempted": "‖", "timeout": "✕", "stale": "~"}
NUMBER = re.compile(r"[-+−±]?[\d.,]+(e[-+]?\d+)?\s?%?|-|")


def page(title: str, body: str) -> str:
    """A whole HTML page that loads nothing."""
    template = Template((HERE / "page.html").read_text(encoding="utf-8"))
    style = (HERE / "page.css").read_text(encoding="utf-8") + freeze.PYGMENTS.get_style_defs("pre")
    return template.substitute(title=escape(title), style=style, body=body, version=__version__, drawn=moment(now()))


def pill(state: str) -> str:
    """A state as a coloured word."""
    return f'<span class="pill {state}">{escape(state)}</span>'


def facts(pairs: Mapping[str, Any]) -> str:
    """Small labelled facts; those that are None are left out."""
    items = (f"<div><dt>{escape(k)}</dt><dd>{escape(str(v))}</dd></div>" for k, v in pairs.items() if v is not None)
    return f'<dl class="facts">{"".join(items)}</dl>'


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", note: str = "") -> str:
    """A table; columns whose every cell is a number are set right."""
    texts = [[str(cell) for cell in row] for row in rows]
    numeric = [bool(texts) and all(NUMBER.fullmatch(row[i].strip()) for row in texts) for i in range(len(columns))]
    kinds = [' class="num"' if flag else "" for flag in numeric]
    head = "".join(f"<th{kind}>{escape(str(c))}</th>" for c, kind in zip(columns, kinds, strict=True))
    lines = ("".join(f"<td{kind}>{escape(c)}</td>" for c, kind in zip(row, kinds, strict=True)) for row in texts)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return _table(title, head, body, note)


def checks(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of checks: verdict, name, reason; a failed one stands out."""
    lines = []
    for row in rows:
        kind, word = ("pass", "pass") if row["ok"] else ("fail", "FAIL")
        cells = f'<td class="{kind}">{word}</td><td>{escape(row["name"])}</td><td>{escape(row["reason"])}</td>'
        lines.append(f'<tr class="{kind}">{cells}</tr>')
    passed = sum(bool(row["ok"]) for row in rows)
    return _table(f"Checks: {passed} of {len(rows)} passed", "<th></th><th>check</th><th>reason</th>", "".join(lines))


def strip(steps: Iterable[tuple[str, str, str, str | None]]) -> str:
    """The stages of a run side by side: (name, state, small print, link)."""
    items = []
    for name, state, small, link in steps:
        number, _, title = name.partition("_")
        text = f"<b>{number} {escape(title.replace('_', ' '))}</b><i>{escape(small)}</i>"
        inner = f'<a href="{escape(link, quote=True)}">{text}</a>' if link else f'<span class="step">{text}</span>'
        items.append(f'<li class="{state}">{inner}</li>')
    return f'<ol class="strip">{"".join(items)}</ol>'


def dots(steps: Iterable[tuple[str, str]]) -> str:
    """The stages of a run as one small square each: (name, state)."""
    squares = (
        f'<span class="{state}" title="{escape(f"{name}: {state}", quote=True)}">{SYMBOLS.get(state, "")}</span>'
        for name, state in steps
    )
    return f'<span class="dots">{"".join(squares)}</span>'


def figure(path: Path, caption: str, scene: str | None) -> str:
    """A PNG with its caption, and a link to its scene in 3-D where there is one."""
    link = f' <a href="{escape(scene, quote=True)}">open in 3-D</a>' if scene else ""
    image = offline.picture(path.read_bytes(), "image/png", caption or path.stem)
    return f"<figure>{image}<figcaption>{escape(caption)}{link}</figcaption></figure>"


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


def _table(title: str, head: str, body: str, note: str = "") -> str:
    caption = f"<caption>{escape(title)}</caption>" if title else ""
    foot = f"<p><small>{escape(note)}</small></p>" if note else ""
    return (
        f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{foot}</div>'
    )
