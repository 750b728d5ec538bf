"""Every study found keeps the contract; each question is a test of its own."""

import shutil
from pathlib import Path

import pytest

from stepladder import studies
from stepladder.core import profiles, study
from stepladder.testing import template
from stepladder.testing.contract import QUESTIONS, Contract

ROOT = Path(__file__).parents[2]
STUDIES = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in (*study.names(), "template")]


@pytest.fixture(scope="module")
def contracts(tmp_path_factory):
    """The contract of a study by its name; the template is one of them here."""
    made: dict[str, Contract] = {}

    def contract(name: str) -> Contract:
        if name not in made:
            checked = profiles.load(root if name == "template" else ROOT, name, "smoke")
            made[name] = Contract(study.find(name), checked, tmp_path_factory.mktemp(name))
        return made[name]

    root, testing = tmp_path_factory.mktemp("root"), Path(template.__path__[0]).parent
    shutil.copytree(testing / "template" / "params", root / "params" / "template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "__path__", [*studies.__path__, str(testing)])
        yield contract


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", STUDIES)
def test_contract(contracts, name, question):
    getattr(contracts(name), question)()


def test_the_shared_part_imports_no_study_and_no_study_imports_another():
    package = ROOT / "lib" / "stepladder"
    for path in package.rglob("*.py"):
        home = path.relative_to(package).parts
        inside = home[1] if home[0] == "studies" and len(home) > 2 else None
        for other in study.names():
            if inside != other:
                assert f"stepladder.studies.{other}" not in path.read_text(), f"{path.name} imports the study {other}"
