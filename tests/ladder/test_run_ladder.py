"""What a search leaves in the run: the file a person may edit, and the gates of the stage."""

import pytest

from stepladder.core import files
from stepladder.core.schema import LadderParams
from stepladder.ladder import run_ladder
from stepladder.ladder.diagnosis import diagnose
from stepladder.training.setting import Setting
from tests.ladder import search_results


@pytest.mark.parametrize(
    "make",
    [
        search_results.data_bound,
        search_results.compute_bound,
        search_results.troubled,
        search_results.hopeless,
        search_results.empty,
    ],
)
def test_every_climb_is_saved_with_its_choice_and_its_sentence(tmp_path, make):
    found = make()
    said = diagnose(found, LadderParams(), cores=4)
    run_ladder.save(found, said, tmp_path / "ladder.json")
    record = files.read_json(tmp_path / "ladder.json")
    assert record["sentence"] == said.sentence and len(record["climb"]["rungs"]) == len(found.rungs)
    assert (Setting(**record["chosen"]) if record["chosen"] else None) == found.chosen


def test_a_climb_that_chose_passes_its_gates():
    assert all(check.ok for check in run_ladder.checks(search_results.data_bound()))


def test_a_climb_without_a_choice_fails_and_says_why():
    found = search_results.hopeless()
    (check,) = run_ladder.checks(found)
    assert not check.ok and check.reason == found.why
