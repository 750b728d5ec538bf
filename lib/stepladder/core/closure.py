"""The code that decides a result, computed rather than listed: import closures, and the data files code names.

Decisions:
- Files are parsed, never imported, so a closure needs none of a study's packages; what was found is kept between
  processes (`memo`), so it costs milliseconds. Imports inside functions count; so do strings that name a module of ours
  (`python -m ...`, `module:function`), and strings that name a file beside the module or in `params/` (a price table).
- A study is found by its name at run time, which no import shows: it is a root of its own.
- What lies in `stepladder.launch` is in no closure, whoever imports it: it decides where a stage runs, never what it
  computes, and a result made here must not be stale on a rented machine, nor by an edit of how one is reached.
- A stage's code is its notebook's code cells and the whole closure of what they import. The parameters cell is no code,
  and neither is a cell that only remarks (see `remarks`).
- A shard is dear. Its recipe takes only the study's own side: what the member `convert` names in `study.py`, and the
  closure of that inside the study's folder. `params.py` is left out where it holds no functions, for
  values are in the recipe; what the shared part does to a shard is told by `shards.FORMAT`.
"""

import ast
import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from stepladder import studies
from stepladder.core import remarks
from stepladder.core.memo import Memo

NAME = "stepladder"
PACKAGE = Path(__file__).parents[1]
WHERE = "launch"  # the part of the package that decides nothing of a result
ENTRY = "study.py"
VALUES = "params.py"  # of a study: what it holds reaches a recipe as values
Stamp = tuple[int, int, int, int] | None  # times, size and number of a file, by which a change is noticed
_Stage = tuple[Path, str, str]  # root, notebook, study


@dataclass(frozen=True)
class _Source:
    """What one file of the package names: `modules` are dotted, `texts` may be names of data files."""

    digest: str
    modules: frozenset[str]
    texts: frozenset[str]


@dataclass
class _Look:
    """What was seen in one look."""

    stamps: dict[Path, Stamp] = field(default_factory=dict[Path, Stamp])
    stages: dict[_Stage, dict[str, str]] = field(default_factory=dict[_Stage, dict[str, str]])
    modules: dict[str, list[Path]] = field(default_factory=dict[str, list[Path]])
    data: dict[tuple[Path, Path | None], list[Path]] = field(default_factory=dict[tuple[Path, Path | None], list[Path]])


def of_stage(root: Path, notebook: str, study: str) -> dict[str, str]:
    """Digest of everything that decides a stage, by name: its notebook's code cells, its closure, data files read.

    Args:
        root: project root, which holds `notebooks/` and `params/`.
        notebook: name of the stage, as `06_evaluation`.
        study: name of the study.
    """
    stage = root, notebook, study
    with one_look() as look:
        if stage not in look.stages:
            kept = _STAGES.get(stage)
            if kept is None or any(_stamp(path) != stamp for path, stamp in kept[0].items()):
                kept = _STAGES[stage] = _found(root, notebook, study)
            look.stages[stage] = kept[1]
        return look.stages[stage]


def _found(root: Path, notebook: str, study: str) -> tuple[dict[Path, Stamp], dict[str, str]]:
    """The files that decide a stage with their stamps, and the digests of `of_stage`."""
    path = root / "notebooks" / f"{notebook}.ipynb"
    cells = _code_cells(path) if path.exists() else []
    modules = {name for cell in cells for name in _imports(ast.parse(_plain(cell)), NAME)}
    modules.add(f"{NAME}.studies.{study}.study")
    files = _with_data(_closure(file for module in modules for file in _files(module)), root)
    own = {f"notebooks/{notebook}.ipynb": _digest("\n\n".join(cells).encode())}
    _MEMO.save()
    return {file: _stamp(file) for file in (path, *files)}, own | _digests(files, root)


@contextmanager
def one_look() -> Generator[_Look]:
    """Within the block every file is looked at once, so that many runs are judged by the same code, and quickly."""
    if (look := _LOOK.get()) is not None:
        yield look
        return
    token = _LOOK.set(look := _Look())
    try:
        yield look
    finally:
        _LOOK.reset(token)


def of_modules(*modules: str, within: Path | None = None) -> dict[str, str]:
    """Digest of every file in the import closure of `modules` (dotted names), and of the data files they name.

    Where a folder is given, only files `within` it are followed.
    """
    start = (path for module in modules for path in _files(module))
    return _digests(_with_data(_closure(start, lambda path: within is None or path.is_relative_to(within))))


def of_script(path: Path) -> dict[str, str]:
    """As `of_modules`, of what a script outside the package imports; the script itself under its name."""
    modules = _imports(ast.parse(path.read_bytes()), path.stem)
    return {path.name: _digest(path.read_bytes()), **of_modules(*modules)}


def of_member(study: str, member: str) -> dict[str, str]:
    """Digest of what decides one member of a study, as `convert`: its own text, and the closure inside the study."""
    home = study_home(study)
    path = home / ENTRY
    nodes, modules = _definitions(path, member)
    own = [path] if nodes is None else []  # inherited from another file, say: then the whole of `study.py` counts
    within = _closure((file for name in modules for file in _files(name)), lambda file: _inside(file, home))
    texts = {part.value for node in nodes or () for part in ast.walk(node) if isinstance(part, ast.Constant)}
    data = {path.parent / text for text in texts if isinstance(text, str) and _is_data(path.parent / text)}
    digest = _digest("\n".join(ast.unparse(node) for node in nodes or ()).encode())
    return {f"{ENTRY}:{member}": digest, **_digests(sorted({*own, *_with_data(within), *data}))}


def _inside(file: Path, home: Path) -> bool:
    """Whether a file's content counts for a member: a study's, and not only values that a recipe holds anyway."""
    if not file.is_relative_to(home) or file.name == ENTRY:
        return False
    return file.name != VALUES or any(isinstance(node, ast.FunctionDef) for node in ast.parse(file.read_bytes()).body)


def _is_data(path: Path) -> bool:
    """Whether a text that code holds names a data file."""
    return len(path.name) < 100 and path.suffix not in ("", ".py") and path.is_file()


def study_home(name: str) -> Path:
    """The folder that holds the code of the study `name`, found without importing it."""
    places = [Path(folder) / name for folder in studies.__path__]
    return next((place for place in places if (place / ENTRY).exists()), places[0])


_STAGES: dict[_Stage, tuple[dict[Path, Stamp], dict[str, str]]] = {}  # with the stamps of what was read
_LOOK: ContextVar[_Look | None] = ContextVar("look", default=None)
_MEMO = Memo(Path(__file__), PACKAGE)


def _closure(start: Iterable[Path], wanted: Callable[[Path], bool] = lambda path: True) -> list[Path]:
    """`start` and every file of ours reached from it by imports, as far as `wanted`."""
    found: set[Path] = set()
    ahead = [path for path in start if wanted(path)]
    while ahead:
        path = ahead.pop()
        if path not in found:
            found.add(path)
            ahead += [file for module in _read(path).modules for file in _files(module) if wanted(file)]
    return sorted(found)


def _with_data(closure: Iterable[Path], root: Path | None = None) -> list[Path]:
    """A closure, and the data files that its texts name, beside them or in the project's `params/`."""
    found = set(closure)
    for path in list(found):
        found.update(_data_of(path, root))
    return sorted(found)


def _data_of(path: Path, root: Path | None) -> list[Path]:
    """The data files that a file's texts name, beside it or in the project's `params/`."""
    with one_look() as look:
        if (path, root) not in look.data:
            places = [path.parent, *([root / "params"] if root else [])]
            named = (place / text for text in _read(path).texts for place in places)
            look.data[path, root] = [file for file in named if file.suffix != ".py" and file.is_file()]
        return look.data[path, root]


def _digests(paths: Iterable[Path], root: Path | None = None) -> dict[str, str]:
    return {_shown(p, root): _read(p).digest if p.suffix == ".py" else _digest(p.read_bytes()) for p in paths}


def _files(module: str) -> list[Path]:
    """Files that importing `module` (or `module.attribute`) runs: packages on the way, and the module itself.

    None of those in `stepladder.launch` (see the module's decisions).
    """
    with one_look() as look:
        if module not in look.modules:
            look.modules[module] = list(_run_by(module))
        return look.modules[module]


def _run_by(module: str) -> Iterator[Path]:
    parts = module.split(".")
    if parts[0] != NAME:
        return
    place = PACKAGE
    yield PACKAGE / "__init__.py"
    if parts[1:2] == [WHERE]:
        return
    for number, part in enumerate(parts[1:], 1):
        place = study_home(part) if parts[:number] == [NAME, "studies"] else place / part
        if (place / "__init__.py").exists():
            yield place / "__init__.py"
        elif not place.is_dir():
            if place.with_suffix(".py").exists():
                yield place.with_suffix(".py")
            return  # an attribute of what was found


def _read(path: Path) -> _Source:
    return _parse(path, _stamp(path))


def _stamp(path: Path) -> Stamp:
    """Times, size and number of a file; None where there is none."""
    look = _LOOK.get()
    if look is not None and path in look.stamps:
        return look.stamps[path]
    try:
        status = os.stat(path)
        stamp = status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
    except OSError:
        stamp = None
    if look is not None:
        look.stamps[path] = stamp
    return stamp


@cache
def _parse(path: Path, stamp: Stamp) -> _Source:
    """A file's digest and what it names; parsed again only where its time or size has changed, here or elsewhere."""
    kept = _MEMO.get(path, stamp)
    if kept is None:
        kept = _named(path)
        _MEMO.put(path, stamp, kept)
    digest, modules, texts = kept
    return _Source(digest, frozenset(modules), frozenset(texts))


def _named(path: Path) -> tuple[str, list[str], list[str]]:
    """A file's digest, the modules and the texts it names."""
    data = path.read_bytes()
    nodes = list(ast.walk(ast.parse(data)))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    named = {text.partition(":")[0] for text in texts if text.startswith(f"{NAME}.")}
    files = {text for text in texts if len(text) < 100 and "." in text and text.strip(" ./\n") == text}
    return _digest(data), sorted(_imported(nodes, _dotted(path)) | named), sorted(files)


def _imports(tree: ast.AST, module: str) -> set[str]:
    """Dotted names that a syntax tree imports, `from a import b` as `a.b`; `module` resolves relative ones."""
    return _imported(ast.walk(tree), module)


def _imported(nodes: Iterable[ast.AST], module: str) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            base = ".".join(filter(None, [*above, node.module]))
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == NAME}


def _definitions(path: Path, member: str) -> tuple[list[ast.stmt] | None, set[str]]:
    """Statements of a study's file that `member` consists of and uses, and the modules these import.

    None, and all modules of the file, where the member is not defined in it.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = _dotted(path)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    bound: dict[str, list[ast.stmt]] = {}  # `self.name` of a class's members, `name` of the module's
    for prefix, body in (("", tree.body), *(("self.", node.body) for node in classes)):
        for node in _statements(body):
            for name in _bound(node):
                bound.setdefault(prefix + name, []).append(node)
    if f"self.{member}" not in bound:
        return None, _imports(tree, module)
    seen: set[str] = set()
    ahead = [f"self.{member}", "*"]
    found: dict[tuple[int, int], ast.stmt] = {}
    modules: set[str] = set()
    while ahead:
        name = ahead.pop()
        for node in bound.get(name, ()) if name not in seen else ():
            if isinstance(node, ast.Import | ast.ImportFrom):
                alias = [a for a in node.names if (a.asname or a.name).split(".")[0] == name]
                chosen = ast.Import(alias)
                if isinstance(node, ast.ImportFrom):
                    chosen = ast.ImportFrom(node.module, alias, node.level)
                modules |= {name.removesuffix(".*") for name in _imports(chosen, module)}
            else:
                found[node.lineno, node.col_offset] = node
                modules |= _imports(node, module)
                ahead += _used(node)
        seen.add(name)
    return [found[place] for place in sorted(found)], modules


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, those inside `if`, `try`, `with` and loops too."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.stmt | ast.ExceptHandler)]
            yield from _statements(
                [stmt for part in inner for stmt in (part.body if isinstance(part, ast.ExceptHandler) else [part])]
            )


def _used(node: ast.AST) -> Iterator[str]:
    """Names that a statement uses: of its module as `name`, of its class as `self.name`."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name | ast.Call):
            yield f"self.{part.attr}"  # also of `cls` and `type(self)`; of another object: too much, never too little


def _bound(node: ast.AST) -> list[str]:
    """Names that a statement binds by itself."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [part.id for target in targets if target for part in ast.walk(target) if isinstance(part, ast.Name)]


def _code_cells(path: Path) -> list[str]:
    """Sources of a notebook's code cells but its parameters and its remarks."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in code if "parameters" not in cell["metadata"].get("tags", [])]
    return [source for source in sources if not remarks.is_remark(source)]


def _plain(cell: str) -> str:
    """A cell as Python that parses: magics, shell lines and what a person left half typed import nothing."""
    text = "\n".join(line for line in cell.splitlines() if not line.lstrip().startswith(("%", "!", "?")))
    try:
        ast.parse(text)
    except SyntaxError:
        return ""
    return text


def _dotted(path: Path) -> str:
    """`stepladder.training.loop` for its file; a package's `__init__` counts as a module inside it."""
    return ".".join([NAME, *Path(_shown(path)).with_suffix("").parts])


def _shown(path: Path, root: Path | None = None) -> str:
    """A file's name in records: from the package, a study's from `studies/`, others from the project."""
    for folder in studies.__path__:
        if path.is_relative_to(folder):
            return f"studies/{path.relative_to(folder).as_posix()}"
    if root and path.is_relative_to(root) and not path.is_relative_to(PACKAGE):
        return path.relative_to(root).as_posix()
    return path.relative_to(PACKAGE).as_posix()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
