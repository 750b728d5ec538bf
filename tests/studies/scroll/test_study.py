"""The study as the road sees it: its interface, and which of its files make a shard stale."""

import ast
from pathlib import Path

from stepladder.core.study import Study, home
from stepladder.studies.scroll.study import study

NOT_DECIDING = {"params.py"}  # parameters count by value


def reached_from(folder: Path, name: str, seen: set[str]) -> set[str]:
    """Files of the study that `name` imports, directly or not, beside those `seen` already."""
    seen.add(name)
    for node in ast.walk(ast.parse((folder / name).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stepladder.studies.scroll"):
            tail = node.module.removeprefix("stepladder.studies.scroll").lstrip(".").replace(".", "/")
            for found in [tail, *(f"{tail}/{alias.name}".lstrip("/") for alias in node.names)]:
                if (folder / f"{found}.py").exists() and f"{found}.py" not in seen:
                    reached_from(folder, f"{found}.py", seen)
    return seen


def test_every_file_that_decides_a_shard_makes_it_stale():
    reached = reached_from(home(study), "data/conversion.py", set(NOT_DECIDING)) - NOT_DECIDING
    assert reached == set(study.conversion_code)


def test_the_study_keeps_the_interface():
    assert isinstance(study, Study)
