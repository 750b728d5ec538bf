"""What a climb leaves in the run: the file a person may edit, and the gates of the stage."""

import pytest

from stepladder.core import files
from stepladder.core.schema import LadderParams
from stepladder.ladder import climb
from stepladder.ladder.diagnosis import diagnose
from stepladder.training.setting import Setting
from tests.ladder import climbs


@pytest.mark.parametrize(
    "make", [climbs.data_bound, climbs.compute_bound, climbs.troubled, climbs.hopeless, climbs.empty]
)
def test_every_climb_is_saved_with_its_choice_and_its_sentence(tmp_path, make):
    found = make()
    said = diagnose(found, LadderParams(), cores=4)
    climb.save(found, said, tmp_path / "ladder.json")
    record = files.read_json(tmp_path / "ladder.json")
    assert record["sentence"] == said.sentence and len(record["climb"]["rungs"]) == len(found.rungs)
    assert (Setting(**record["chosen"]) if record["chosen"] else None) == found.chosen


def test_a_climb_that_chose_passes_its_gates():
    assert all(check.ok for check in climb.checks(climbs.data_bound()))


def test_a_climb_without_a_choice_fails_and_says_why():
    found = climbs.hopeless()
    (check,) = climb.checks(found)
    assert not check.ok and check.reason == found.why
