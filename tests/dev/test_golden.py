from pathlib import Path

import pytest

from stepladder.core import study
from stepladder.dev import golden

ROOT = Path(__file__).parents[2]
STUDIES = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in study.names()]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # nbval cuts a cell that hangs
@pytest.mark.parametrize("name", STUDIES)
def test_notebooks_do_again_what_the_golden_ones_show(smoke, name):
    outputs, code = smoke(name)
    assert code == 0, "nbval tells above what differs"
    assert golden.moved(ROOT, name, outputs) == []


@pytest.mark.parametrize("name", study.names())
def test_golden_notebooks_are_fresh_executed_and_free_of_local_paths(name):
    assert golden.problems(ROOT, name) == [], "run `make golden` and look at the differences"


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
