"""Parameters that decide where a run computes, and settings that change on the way."""

import pytest

from stepladder.core import config, paths, profiles
from stepladder.core.config import ParameterError
from stepladder.core.run import Run
from stepladder.core.stages import STAGES, visible

LAUNCHED = {"on": "box1", "budget": 5.0, "alerts": [{"when": ["nan", "loss > 3"], "webhook": "HOOK_URL"}]}


def load(**overrides):
    return profiles.load(paths.project_root(), "plateau", "quick", overrides)


def test_no_result_depends_on_where_it_is_computed(tmp_path):
    run, here, there = Run(tmp_path / "plateau" / "r"), load(), load(launch=LAUNCHED)
    assert there.launch.budget == 5.0 and here.launch.on is None
    one, two = here.model_dump(mode="json"), there.model_dump(mode="json")
    assert one != two
    for part in STAGES:
        assert run.key(part.name, one) == run.key(part.name, two)


def test_changes_on_the_way_concern_training_alone():
    values = load(training={"changes": [{"after": 10, "learning_rate": "1e-4"}]}).model_dump(mode="json")
    assert values["training"]["changes"] == [{"after": 10, "learning_rate": 1e-4}]
    reads = [part.name for part in STAGES if "training.changes" in visible(part.name, values)]
    assert reads == ["05_training", "06_evaluation", "07_visualization"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"launch": {"onn": "box1"}}, "'launch.onn'.*did you mean 'on'"),
        ({"launch": {"budget": 0.0}}, "'launch.budget' = 0.0"),
        ({"launch": {"alerts": [{"when": ["nam"]}]}}, "no alert 'nam'; did you mean 'nan'"),
        ({"launch": {"alerts": [{"when": ["loss > much"]}]}}, "no alert 'loss > much'"),
        ({"launch": {"alerts": [{"when": ["nan"], "webhook": "https://example.org/x"}]}}, "webhook"),
        ({"training": {"changes": [{"after": 9}, {"after": 9}]}}, r"one change at each; here they are \[9, 9\]"),
        ({"training": {"changes": [{"after": 9, "batch": 2}]}}, "unknown parameter"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_name(overrides, said):
    with pytest.raises(ParameterError, match=said):
        load(**overrides)


def test_every_field_of_a_launch_says_what_it_means():
    rows = config.table(type(load()), "launch")
    assert {"launch.on", "launch.budget", "launch.stuck_minutes"} <= {row["name"] for row in rows}
    assert all(row["meaning"] for row in rows)
