"""Every study found keeps the contract; each question is a test of its own."""

from pathlib import Path

import pytest

from stepladder import params, study
from stepladder.testing.contract import QUESTIONS, Contract

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def contracts(tmp_path_factory):
    made: dict[str, Contract] = {}

    def contract(name: str) -> Contract:
        if name not in made:
            checked = params.load(ROOT, name, "smoke")
            made[name] = Contract(study.find(name), checked, tmp_path_factory.mktemp(name))
        return made[name]

    return contract


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", study.names())
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
