from pathlib import Path

import pytest

from stepladder.dev import golden

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("study", golden.STUDIES)
def test_golden_notebooks_are_fresh_executed_and_free_of_local_paths(study):
    assert golden.problems(ROOT, study) == [], "run `make golden` and look at the differences"


def test_a_metric_that_moved_is_named_and_a_small_one_tolerated():
    before = {"model": {"IoU": 0.5, "mIoU": None}}
    assert golden.differences(before, {"model": {"IoU": 0.52, "mIoU": None}}) == []
    assert "model IoU: 0.7 now" in golden.differences(before, {"model": {"IoU": 0.7, "mIoU": None}})[0]
    assert golden.differences(before, {"model": {"IoU": 0.5, "mIoU": 0.1}})
    assert golden.differences(before, {"model": before["model"], "other": {}})


def test_every_sanitise_rule_is_two_adjacent_lines():
    lines = (ROOT / "tests" / "golden" / "sanitize.cfg").read_text().splitlines()
    rules = [n for n, line in enumerate(lines) if line.startswith("regex: ")]
    assert rules and all(lines[n + 1].startswith("replace: ") for n in rules)
