"""A person's remarks on a stage: issues met, solutions found. They lie beside the stage's result and decide nothing.

Decisions:
- A remark belongs to the notebook cell that makes it. The first one after a stage was opened takes the place of all
  earlier ones, and a stage that finishes without one has none: running the notebook again makes its remarks again.
- They are written at once, so that a stage that failed shows them too.
- A cell that only remarks is no code of its stage (see `is_remark`): writing down what happened makes nothing stale.
- All text of a remark passes `_kept`, on its way to the disk.
"""

import ast
import inspect
from pathlib import Path

from stepladder.core import files
from stepladder.core.errors import Damaged
from stepladder.core.files import Json
from stepladder.core.provenance import now
from stepladder.core.secrets import redact

FILE = "remarks.json"


def remark(text: str) -> Json:
    """One remark, with its time."""
    return {"time": now(), "text": _kept(text)}


def write(folder: Path, remarks: list[Json]) -> None:
    """Make `remarks` those of the stage whose folder this is; none removes the file."""
    if remarks:
        files.write_json(folder / FILE, remarks)
    else:
        (folder / FILE).unlink(missing_ok=True)


def read(folder: Path) -> list[Json]:
    """The remarks of a stage, in the order they were made; none where their file is missing or damaged."""
    try:
        found: list[Json] = files.read_json(folder / FILE) or []
        return [{"time": one["time"], "text": str(one["text"])} for one in found]
    except (Damaged, TypeError, KeyError):
        return []


def is_remark(cell: str) -> bool:
    """Whether a cell does nothing but remark: only calls `stage.remark(...)`, with nothing called inside them."""
    try:
        body = ast.parse(cell).body
    except SyntaxError:
        return False
    return bool(body) and all(map(_remarks, body))


def _remarks(node: ast.stmt) -> bool:
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or call.func.attr != "remark":
        return False
    return sum(isinstance(part, ast.Call | ast.NamedExpr | ast.Await) for part in ast.walk(call)) == 1


def _kept(text: str) -> str:
    """A remark's text as it is kept: without the indentation of the cell, secrets hidden."""
    return redact(inspect.cleandoc(text))
