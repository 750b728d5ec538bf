"""The house style of notebooks, checked: `stepladder lint`.

A notebook is a page to read: a title and the question, prose before every cell, short cells without logic, one cell of
annotated parameters, a record at the end. What a machine can check of that is checked here; each problem says where it
is and what to do.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepladder.core.schema import Parameters
from stepladder.core.secrets import find
from stepladder.core.stages import STAGES

MOST_LINES = 10
INSTALL = re.compile(r"\bpip3?\s+install\b|\bconda\s+install\b")
ABSOLUTE = re.compile(r"^(~/|[A-Z]:[\\/]|/[\w.-]+/|/(home|root|tmp|data|mnt|content)\b)")
Problems = Iterator[tuple[int, str]]  # (number of the cell, what is wrong)


@dataclass(frozen=True)
class _Cell:
    """One cell: its number (from 1), kind, text, tags and, for code that is valid Python, its syntax tree."""

    number: int
    kind: str
    text: str
    tags: tuple[str, ...]
    raw: dict[str, Any]

    @property
    def tree(self) -> ast.Module | None:
        """Syntax tree of the code; None when it is not plain Python (a magic, a shell line)."""
        try:
            return ast.parse(self.text)
        except SyntaxError:
            return None

    @property
    def lines(self) -> list[str]:
        """Lines that are neither empty nor only a comment."""
        return [line for line in self.text.splitlines() if line.strip() and not line.strip().startswith("#")]


def lint(path: Path) -> list[str]:
    """What breaks the house style in the notebook at `path`, as `name: cell 4: what to do`; nothing if all is well."""
    nb = json.loads(path.read_text(encoding="utf-8"))
    cells = [
        _Cell(number, raw["cell_type"], "".join(raw["source"]), tuple(raw["metadata"].get("tags", [])), raw)
        for number, raw in enumerate(nb["cells"], 1)
    ]
    found = [f"{path.name}: cell {number}: {words}" for check in CHECKS for number, words in check(cells, path.stem)]
    return sorted(found, key=lambda text: int(text.split("cell ")[1].split(":")[0]))


def _title(cells: list[_Cell], name: str) -> Problems:
    """The first cell carries the only title, which is the notebook's name in words."""
    titles = [cell.number for cell in cells if cell.kind == "markdown" for _ in re.findall(r"^# ", cell.text, re.M)]
    if titles != [1]:
        yield (titles or [1])[-1], f"one title (`# ...`), in the first cell; found {len(titles)}"
    expected = f"# {name[:2]} {name[3:].replace('_', ' ').capitalize()}"
    if cells[0].text.splitlines()[:1] != [expected]:
        yield 1, f"the title must be `{expected}`, as the file is called"


def _numbering(cells: list[_Cell], name: str) -> Problems:
    """The file is a stage of the road."""
    if name not in [stage.name for stage in STAGES]:
        yield 1, f"{name} is no stage: {', '.join(stage.name for stage in STAGES)}"


def _links(cells: list[_Cell], name: str) -> Problems:
    """The first cell links to the notebooks before and after."""
    names = [stage.name for stage in STAGES]
    if name not in names:
        return
    place = names.index(name)
    for word, wanted in (("previous", names[place - 1] if place else None), ("next", (*names, None)[place + 1])):
        if wanted and f"({wanted}.ipynb)" not in cells[0].text:
            yield 1, f"link to the {word} notebook: `{word}: [{wanted}]({wanted}.ipynb)`"


def _start(cells: list[_Cell], name: str) -> Problems:
    """The first code cell starts the notebook under its own name; the parameters come next, and only once."""
    code = [cell for cell in cells if cell.kind == "code"]
    if not code or f'lab.start("{name}")' not in code[0].text:
        yield (code or cells)[0].number, f'the first code cell must call `lab.start("{name}")`'
    tagged = [cell for cell in cells if "parameters" in cell.tags]
    if len(tagged) != 1 or code[1:2] != tagged:
        yield (tagged or cells)[-1].number, "exactly one cell tagged `parameters`, right after the start cell"


def _parameters(cells: list[_Cell], name: str) -> Problems:
    """The parameters cell names every parameter, one a line, each with a comment."""
    for cell in (cell for cell in cells if "parameters" in cell.tags):
        named = re.findall(r"^(\w+)\s*=", cell.text, re.M)
        wanted = list(Parameters.model_fields)
        for word, names in (("missing", set(wanted) - set(named)), ("unknown", set(named) - set(wanted))):
            if names:
                yield cell.number, f"{word} parameters: {', '.join(sorted(names))}"
        if len(named) != len(set(named)) or len(named) != len(cell.lines):
            yield cell.number, "one `name = value  # meaning` a line, nothing else"
        for line in cell.lines:
            if not re.search(r"\s# \S", line):
                yield cell.number, f"say what it means in a comment: `{line.strip()}`"


def _untouched(cells: list[_Cell], name: str) -> Problems:
    """No other cell gives a parameter's name to something else: the cell that opens the stage may be run again."""
    for cell in (cell for cell in cells if "parameters" not in cell.tags):
        nodes = list(ast.walk(cell.tree)) if cell.tree else []
        bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        bound |= {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}
        for taken in sorted(bound & set(Parameters.model_fields)):
            yield cell.number, f"`{taken}` is a parameter: give what this cell binds another name"


def _prose(cells: list[_Cell], name: str) -> Problems:
    """A sentence comes before every code cell."""
    for before, cell in zip([None, *cells], cells, strict=False):
        if cell.kind == "code" and (before is None or before.kind != "markdown" or not before.text.strip()):
            yield cell.number, "a sentence of prose before the cell"


def _short(cells: list[_Cell], name: str) -> Problems:
    """Cells are short; what is longer belongs into the package, where it is tested."""
    for cell in cells:
        if cell.kind == "code" and "parameters" not in cell.tags and len(cell.lines) > MOST_LINES:
            yield cell.number, f"{len(cell.lines)} lines, at most {MOST_LINES}: the rest belongs into the package"


def _plain(cells: list[_Cell], name: str) -> Problems:
    """Code is plain Python: no definitions, no magics, nothing installed, no tqdm, no trailing semicolon."""
    for cell in (cell for cell in cells if cell.kind == "code"):
        if INSTALL.search(cell.text):
            yield cell.number, "notebooks install nothing: put it into pyproject.toml"
        if cell.tree is None:
            yield cell.number, "plain Python only: no magics or shell lines, and no syntax errors"
            continue
        for node in ast.walk(cell.tree):
            yield from ((cell.number, words) for words in _node(node))
        if any(line.rstrip().endswith(";") for line in cell.lines):
            yield cell.number, "no trailing `;`: end with `stage.show(...)`, a table or a print"


def _node(node: ast.AST) -> Iterator[str]:
    """What is wrong with one node of the syntax tree."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield f"`{node.name}` is defined here: put it into the package and test it"
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
        if any(module.split(".")[0] == "tqdm" for module in modules):
            yield "no tqdm (it stays at 0 % headless): use `lab.track`"
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and ABSOLUTE.search(node.value):
        yield f"absolute path {node.value!r}: build it from `stage.folder` or `stage.home`"


def _clean(cells: list[_Cell], name: str) -> Problems:
    """Sources carry no outputs, no counts and no secrets."""
    for cell in cells:
        if cell.raw.get("outputs") or cell.raw.get("execution_count") is not None:
            yield cell.number, "strip the outputs: sources are committed without them"
        for kind in find(cell.text):
            yield cell.number, f"this looks like a secret ({kind}): only names of environment variables may appear"


def _record(cells: list[_Cell], name: str) -> Problems:
    """The last code cell records the result, and prose says what comes next."""
    code = [cell for cell in cells if cell.kind == "code"]
    if not code or not re.search(r"\.finish\(", code[-1].text):
        yield (code or cells)[-1].number, "the last code cell must record: `stage.finish(...)`"
    if cells[-1].kind != "markdown":
        yield cells[-1].number, "end with a cell of prose: what next"


CHECKS: tuple[Callable[[list[_Cell], str], Problems], ...] = (
    _numbering, _title, _links, _start, _parameters, _untouched, _prose, _short, _plain, _clean, _record
)  # fmt: skip
