"""The house style: the project's own notebooks keep it, and every breach is found and named."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from stepladder.core.schema import Parameters
from stepladder.core.stages import STAGES
from stepladder.dev.lint import lint

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
NAMES = "\n".join(f"{name} = None  # the {name}" for name in Parameters.model_fields)


def good() -> nbformat.NotebookNode:
    """A notebook in the house style."""
    cells = [
        new_markdown_cell("# 03 Smoke test\n\nprevious: [a](02_conversion.ipynb) | next: [b](04_scaling.ipynb)"),
        new_markdown_cell("Start."),
        new_code_cell('from stepladder.notebooks import lab\n\nlab.start("03_smoke_test")'),
        new_markdown_cell("The parameters."),
        new_code_cell(NAMES, metadata={"tags": ["parameters"]}),
        new_markdown_cell("Look."),
        new_code_cell('stage = lab.open("03_smoke_test", globals())\nprint("a / b", "/s", "m/s")'),
        new_markdown_cell("Record."),
        new_code_cell("stage.finish()"),
        new_markdown_cell("What next."),
    ]
    return nbformat.v4.new_notebook(cells=cells)


def problems(folder: Path, nb: nbformat.NotebookNode, name: str = "03_smoke_test") -> list[str]:
    """What the linter says about `nb`."""
    path = folder / f"{name}.ipynb"
    nbformat.write(nb, path)
    return lint(path)


def source(index: int, text: str) -> Callable[[nbformat.NotebookNode], None]:
    """Replace the source of a cell."""
    return lambda nb: nb.cells[index].update(source=text)


def parameters(old: str, new: str) -> Callable[[nbformat.NotebookNode], None]:
    """Change the parameters cell."""
    return lambda nb: nb.cells[4].update(source=NAMES.replace(old, new))


BREACHES = [
    ("the title must be `# 03 Smoke test`", source(0, "# Smoke\n(02_conversion.ipynb) (04_scaling.ipynb)")),
    ("one title", source(5, "# Another title")),
    ("link to the next notebook", source(0, "# 03 Smoke test\n\n[a](02_conversion.ipynb)")),
    ("link to the previous notebook", source(0, "# 03 Smoke test\n\n[a](04_scaling.ipynb)")),
    ('must call `lab.start("03_smoke_test")`', source(2, 'lab.start("05_training")')),
    ("exactly one cell tagged `parameters`", lambda nb: nb.cells[4].metadata.update(tags=[])),
    ("exactly one cell tagged `parameters`", lambda nb: nb.cells[6].metadata.update(tags=["parameters"])),
    ("right after the start cell", lambda nb: nb.cells.insert(3, new_code_cell("1"))),
    ("missing parameters: seed", parameters("seed = None  # the seed\n", "")),
    ("unknown parameters: sead", parameters("seed = ", "sead = ")),
    ("say what it means in a comment: `seed = None`", parameters("  # the seed", "")),
    ("nothing else", parameters("seed =", "print(1)\nseed =")),
    ("a sentence of prose before the cell", lambda nb: nb.cells.pop(5)),
    ("a sentence of prose before the cell", source(5, "  ")),
    ("11 lines, at most 10", source(6, "x = 1\n" * 11)),
    ("`helper` is defined here", source(6, "def helper():\n    return 1")),
    ("`Model` is defined here", source(6, "class Model:\n    pass")),
    ("`model` is a parameter", source(6, "model, origin = load()")),
    ("`view` is a parameter", source(6, "from stepladder import view")),
    ("`run` is a parameter", source(6, "for run in runs:\n    print(run)")),
    ("no tqdm", source(6, "from tqdm.auto import tqdm")),
    ("no tqdm", source(6, "import tqdm")),
    ("notebooks install nothing", source(6, "%pip install torch")),
    ("no magics", source(6, "!ls")),
    ("absolute path '/home/me/data'", source(6, "open('/home/me/data')")),
    ("absolute path", source(6, "p = '~/data'")),
    ("absolute path", source(6, "p = 'C:\\\\data'")),
    ("no trailing `;`", source(6, "plot(x);")),
    ("strip the outputs", lambda nb: nb.cells[6].update(outputs=[new_output("stream", text="7")])),
    ("strip the outputs", lambda nb: nb.cells[6].update(execution_count=1)),
    ("looks like a secret", source(6, f"token = 'hf_{'a' * 30}'")),
    ("must record", source(8, "print('done')")),
    ("what next", lambda nb: nb.cells.pop()),
]


def test_a_good_notebook_passes(tmp_path: Path) -> None:
    assert problems(tmp_path, good()) == []


@pytest.mark.parametrize(("words", "breach"), BREACHES, ids=[f"{i}-{w[:24]}" for i, (w, _) in enumerate(BREACHES)])
def test_each_breach_is_found(tmp_path: Path, words: str, breach: Callable[[nbformat.NotebookNode], None]) -> None:
    nb = good()
    breach(nb)
    found = problems(tmp_path, nb)
    assert any(words in problem for problem in found), found
    assert all(problem.startswith("03_smoke_test.ipynb: cell ") for problem in found)


def test_name_outside_the_road_is_found(tmp_path: Path) -> None:
    assert any("09_more is no stage" in problem for problem in problems(tmp_path, good(), "09_more"))


def test_notebooks_of_the_project_keep_the_style() -> None:
    found = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    assert found == [stage.name for stage in STAGES]
    assert [problem for name in found for problem in lint(NOTEBOOKS / f"{name}.ipynb")] == []
