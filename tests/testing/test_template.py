"""A sixth study is two folders and nothing else, and the road survives a fault in each of its stages.

While each stage runs, something is killed: the next call goes on from there, and the end is what it would have been.
"""

import pytest

from stepladder.core import files
from tests.testing.conftest import FAULTS


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.timeout(1800)
@pytest.mark.xdist_group("template")
def test_the_template_becomes_a_study_and_walks_on_after_a_fault_in_every_stage(survived):
    expected = {stage: (state, code, False) for stage, (_, (state, code)) in FAULTS.items()}
    assert survived.cut == expected, "a stage that was cut told it otherwise, or left a result"
    run = survived.project.run
    assert survived.code == 0, survived.said[-3000:]
    assert run.status()["state"] == "done" and survived.project.states() == "ddddddd"
    metrics = files.read_json(run.folder / "06_evaluation" / "result.json")["metrics"]
    assert metrics["model"]["IoU"] > metrics["all_background"]["IoU"]
    assert (run.folder / "report.html").exists()
