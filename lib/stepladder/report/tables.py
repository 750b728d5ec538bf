"""How a table stands on a page: nothing is cut, and what is too long or too wide is folded with a word that says so.

Decisions:
- A column that says the same in every row is said once, under the table; an empty one is named there.
- In a table of many columns a column of sentences (a reason, a remark) goes under its row, over the whole width: what
  explains a row is the last thing to be cut.
- Columns that would not fit beside each other are folded below the table, each part with the names of its rows.
- Rows beyond the first few are folded. On a narrow screen a table scrolls, with a bar that shows it.
- Widths are estimated from the letters; a browser has the last word, and its scroll bar.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

NUMBER = re.compile(r"[-+−±]?[\d.,]+(e[-+]?\d+)?\s?%?|-|")
INTERVAL = re.compile(r"(\S+) (\[[^\]]+\])")
EMPTY = ("", "-", "None", "nan")
WIDTH = 940  # pixels of a page's column of text
LETTER, PADDING = 7.4, 23  # pixels of a letter, and of a cell's sides
SENTENCE = 36  # letters from which a cell is a sentence, which wraps
SENTENCE_WIDTH = 200  # pixels it needs at least
MANY_COLUMNS = 4  # from here on sentences go under their row
ROWS, SPARE = 12, 4  # rows shown of a table that is folded; so few more are shown as well
SAME_ROWS = 3  # fewer do not tell whether a column is always the same


@dataclass(frozen=True)
class Part:
    """Columns that fit beside each other; the first `names` of them name the rows."""

    names: int
    columns: list[str]
    kinds: list[str]  # CSS class of each column: `num`, `text` or nothing
    rows: list[list[Markup | str]]
    details: list[list[tuple[str, str]]]  # of each row: name and text of the sentences under it


@dataclass(frozen=True)
class View:
    """One table as a page shows it."""

    title: str
    parts: list[Part]
    notes: list[str] = field(default_factory=list)

    @property
    def length(self) -> int:
        """How many rows it has."""
        return len(self.parts[0].rows)

    @property
    def shown(self) -> int:
        """How many of them are shown before a reader asks for all."""
        return self.length if self.length <= ROWS + SPARE else ROWS


def view(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "", note: str = "") -> View:
    """A table, folded as this module decides."""
    columns, *cells = _rectangle([columns, *rows])
    same, empty = _same(columns, cells)
    places = [i for i in range(len(columns)) if i not in same and i not in empty] or [0]
    sentences = [i for i in places[1:] if len(places) >= MANY_COLUMNS and _longest(cells, i) > SENTENCE]
    places = [i for i in places if i not in sentences]
    details = [[(columns[i], row[i]) for i in sentences if row[i] not in EMPTY] for row in cells]
    names = _names(cells, places)
    blocks = _blocks(columns, cells, places, names)
    parts = [_part(columns, cells, names, block, [] if number else details) for number, block in enumerate(blocks)]
    told = [f"The same in every row: {_listed(columns, cells, same)}."] if same else []
    told += [f"Empty: {', '.join(columns[i] for i in empty)}."] if empty else []
    return View(title, parts, [text for text in (note, *told) if text])


def _rectangle(rows: Sequence[Sequence[Any]]) -> list[list[str]]:
    """Rows of one length, at least one: a record that was edited may hold others, and no cell of it is lost."""
    told = [[str(cell) for cell in row] if isinstance(row, list | tuple) else [str(row)] for row in rows]
    wide = max(1, *map(len, told))
    return [row + [""] * (wide - len(row)) for row in told]


def _same(columns: Sequence[str], cells: list[list[str]]) -> tuple[list[int], list[int]]:
    """Places of columns that say one thing wherever they say something, and of those that say nothing."""
    if len(cells) < SAME_ROWS:
        return [], []
    said = [{row[i] for row in cells if row[i] not in EMPTY} for i in range(len(columns))]
    empty = [i for i, values in enumerate(said) if not values]
    silent = [sum(row[i] in EMPTY for row in cells) for i in range(len(columns))]
    first = 0 if len(columns) > 2 else 1  # one column of the two is left to name the rows
    same = [i for i, values in enumerate(said) if i >= first and len(values) == 1 and silent[i] <= 1]
    return same, empty


def _listed(columns: Sequence[str], cells: list[list[str]], same: list[int]) -> str:
    """`hours, hours low: under a minute; group: all`: columns that say the same together."""
    found: dict[tuple[str, str], list[str]] = {}
    for i in same:
        value = next(row[i] for row in cells if row[i] not in EMPTY)
        without = next((f" (not of {row[0]})" for row in cells if row[i] in EMPTY), "")
        found.setdefault((value, without), []).append(columns[i])
    return "; ".join(f"{', '.join(names)}: {value}{without}" for (value, without), names in found.items())


def _names(cells: list[list[str]], places: list[int]) -> int:
    """How many of the columns name the rows: those before the first number, one or two."""
    first = next((n for n, i in enumerate(places) if _kind(cells, i) in ("num", "iv")), 1)
    return min(max(first, 1), 2)


def _blocks(columns: Sequence[str], cells: list[list[str]], places: list[int], names: int) -> list[list[int]]:
    """`places` in blocks that fit the page, each beginning with the columns that name its rows."""
    room = WIDTH - sum(_width(columns[i], cells, i) for i in places[:names])
    blocks, left = [places[:names]], room
    for i in places[names:]:
        need = _width(columns[i], cells, i)
        if need > left and len(blocks[-1]) > names:
            blocks, left = [*blocks, places[:names]], room
        blocks[-1] = [*blocks[-1], i]
        left -= need
    return blocks


def _part(
    columns: Sequence[str],
    cells: list[list[str]],
    names: int,
    places: list[int],
    details: list[list[tuple[str, str]]],
) -> Part:
    rows = [[_cell(row[i]) for i in places] for row in cells]
    kinds = [_kind(cells, i) for i in places]
    return Part(names, [columns[i] for i in places], kinds, rows, details or [[] for _ in cells])


def _cell(text: str) -> Markup | str:
    """A cell; of a value with its interval, the interval in small print."""
    found = INTERVAL.fullmatch(text)
    return Markup("{}<small>{}</small>").format(*found.groups()) if found else text


def _kind(cells: list[list[str]], i: int) -> str:
    """CSS class of a column: `num` numbers (set right), `iv` with intervals, `text` sentences (they wrap)."""
    if all(NUMBER.fullmatch(row[i].strip()) for row in cells):
        return "num"
    if any(INTERVAL.fullmatch(row[i]) for row in cells):
        return "iv"
    return "text" if _longest(cells, i) > SENTENCE else ""


def _longest(cells: list[list[str]], i: int) -> int:
    return max((len(row[i]) for row in cells), default=0)


def _width(name: str, cells: list[list[str]], i: int) -> float:
    """Pixels that a column needs at least: sentences wrap, and an interval stands below its value."""
    kind = _kind(cells, i)
    if kind == "text":
        return SENTENCE_WIDTH + PADDING
    words = [word for row in cells for word in (row[i].split(" ", 1) if kind == "iv" else [row[i]])]
    return LETTER * max([*map(len, words), *map(len, name.split())], default=0) + PADDING
