"""A tour of what a stamp promises: every way in which a finished run could say done and lie, tried on a real one.

The template study has walked the road, in a copy of the project (see conftest); every stop works on a copy of that.
"""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from stepladder.core import files
from stepladder.core.stages import STAGES
from stepladder.machine import processes
from tests.testing.conftest import RUN, Project

OPEN = """
import os, sys
os.environ["JPY_SESSION_NAME"] = "notebook"
os.environ.pop("STEPLADDER_HEADLESS", None)
from stepladder.notebooks import lab
from stepladder.training import process
"""

pytestmark = [pytest.mark.slow, pytest.mark.drill, pytest.mark.xdist_group("template"), pytest.mark.timeout(1800)]


@pytest.fixture
def project(survived, tmp_path) -> Project:
    """A copy of the finished project."""
    shutil.copytree(survived.project.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


def append(path: Path, text: str = "\nEXTRA = 1\n") -> None:
    path.write_text(path.read_text() + text)


def edit_code(path: Path) -> None:
    """Add a comment to the last code cell of a notebook."""
    nb = json.loads(path.read_text())
    cell = [cell for cell in nb["cells"] if cell["cell_type"] == "code"][-1]
    cell["source"] = ["# once more\n", *cell["source"]]
    path.write_text(json.dumps(nb))


def test_another_learning_rate_is_refused_where_it_would_stand_beside_an_old_evaluation(project):
    before = project.left()
    code, said = project.cli(*RUN, "--stages", "6-7", "--set", "training.learning_rate=0.00777")
    assert code == 1 and "03_smoke_test of run discs/quick is stale (training.learning_rate" in said
    assert "skipped" not in said
    assert project.left() == before and project.states() == "ddddddd"
    code, said = project.cli("report", "discs/quick")
    assert code == 0 and "0.00777" not in (project.run.folder / "report.html").read_text()


def test_another_rate_runs_what_reads_it_and_says_why(project):
    old = project.run.result("05_training")["key"]["parameters"]["training.learning_rate"]
    code, said = project.cli(*RUN, "--stages", "1-3", "--set", "training.learning_rate=0.00777")
    assert code == 0, said
    assert f"03_smoke_test      runs: training.learning_rate {old} -> 0.00777" in said
    assert said.count("skipped: nothing it reads has changed") == 2
    assert project.states() == "dddssss"
    page = (project.run.folder / "report.html").read_text()
    assert f"training.learning_rate {old} -&gt; 0.00777" in page  # beside the stages made with the old one


def test_an_edited_notebook_helper_or_price_table_is_noticed(project):
    lib = project.folder / "lib" / "stepladder"
    edit_code(project.folder / "notebooks" / "06_evaluation.ipynb")
    assert project.states() == "dddddss"
    append(project.folder / "params" / "gpu_prices.yaml", "\n# dearer\n")
    assert project.states() == "dddssss"
    append(next(lib.rglob("smoke.py")))
    assert project.states() == "ddsssss"
    append(next(lib.rglob("lab.py")))
    assert project.states() == "sssssss"
    reasons = {name: state.reason for name, state in project_states(project).items()}
    assert "notebook 06 was edited" in reasons["06_evaluation"]
    assert "params/gpu_prices.yaml has changed" in reasons["04_scaling"]


def project_states(project: Project):
    """States by the project's own code, asked in a process of its own."""
    script = "import sys, json; from pathlib import Path; from stepladder.core.run import Run\n"
    script += "print(json.dumps({n: [s.state, s.reason] for n, s in Run(Path(sys.argv[1])).states().items()}))"
    said, _ = project.start("-c", script, str(project.run.folder)).communicate()

    class State:
        def __init__(self, state, reason):
            self.state, self.reason = state, reason

    return {name: State(*pair) for name, pair in json.loads(said.splitlines()[-1]).items()}


def test_what_cannot_matter_to_a_shard_converts_nothing_and_training_is_kept(project):
    for name in ("data/convert.py", "training/loop.py"):
        append(project.folder / "lib" / "stepladder" / name)
    code, said = project.cli(*RUN, "--stages", "1-5")
    assert code == 0, said
    assert "02_conversion      runs: " in said and "05_training        runs: " in said
    assert "data/convert.py has changed" in said and "training/loop.py has changed" in said
    converted = [event["state"] for event in project.run.events("converted")]
    assert converted[-len(project.run.result("02_conversion")["shards"]) :] == ["kept"] * 6
    resumed = project.run.events("resumed")
    assert resumed and resumed[-1]["code_changed"] is True and not project.run.events("checkpoints_set_aside")


def test_a_running_job_is_not_taken_for_one_with_another_rate(project):
    names = {"study": "discs", "training": {"steps": 100_000}}
    begin = f"stage = lab.open('03_smoke_test', {{**{names!r}, 'In': []}})\n"
    first = project.start("-c", f"{OPEN}{begin}job = process.start(stage.run, stage.params); print('pid', job.pid)")
    said, _ = first.communicate()
    assert "04_scaling of run discs/quick is stale" in said  # nothing is trained on a ladder of other parameters
    code, said = project.cli(*RUN, "--stages", "1-4", "--set", "training.steps=100000")
    assert code == 0, said
    opened = "stage = lab.open('05_training', {'study': 'discs', 'training': %r, 'In': []})\n"
    start = "job = process.start(stage.run, stage.params); print('attached', job.attached)"
    said, _ = project.start("-c", OPEN + opened % {} + start).communicate()
    assert "attached False" in said
    wait_for(lambda: len(project.run.metrics()) > 3)
    said, _ = project.start("-c", OPEN + opened % {} + start).communicate()
    assert "attached True" in said
    rate = "stage.params = stage.params.model_copy(update={'training': stage.params.training.model_copy("
    rate += "update={'learning_rate': 0.5})})\n"
    said, _ = project.start("-c", OPEN + opened % {} + rate + start).communicate()
    assert "running with other settings (training.learning_rate" in said and "stepladder stop discs/quick" in said
    code, said = project.cli("stop", "discs/quick")
    assert code == 0 and "has saved and stopped" in said


def test_a_second_run_of_another_seed_replaces_nothing(project):
    before = project.left()
    shards = {path: files.file_sha256(path) for path in (project.run.data / "shards").rglob("*.h5")}
    code, said = project.cli(*RUN, "--run", "second", "--stages", "1-2", "--set", "seed=5")
    assert code == 0, said
    assert {path: files.file_sha256(path) for path in shards} == shards and project.left() == before
    assert len(list((project.run.data / "shards").rglob("*.h5"))) == 2 * len(shards)
    code, said = project.cli("status", "discs", "--verify")
    assert code == 0 and project.states() == "ddddddd"


def test_a_data_folder_that_is_gone_is_made_again_and_the_training_stands(project):
    shutil.rmtree(project.run.data)
    assert project.states() == "dssssss"
    code, said = project.cli(*RUN)
    assert code == 0, said
    assert "02_conversion      runs: " in said and "is missing" in said
    assert said.count("skipped: nothing it reads has changed") == 6  # the same bytes came of the same bytes
    assert project.states() == "ddddddd"


def test_looking_at_a_finished_stage_destroys_nothing(project):
    before = project.left()
    script = f"{OPEN}stage = lab.open('06_evaluation', {{'study': 'discs', 'In': []}})\n"
    script += "import pandas; stage.table(pandas.DataFrame({'a': [1]}), 'half'); os.kill(os.getpid(), 9)"
    project.start("-c", script).communicate()
    assert project.left() == before and project.states() == "ddddddd"


def test_of_two_starts_one_walks_and_the_other_writes_nothing(project):
    racers = [
        project.start("-m", "stepladder.cli", *RUN, "--stages", "7", "--set", f"view.size=[{width},300]")
        for width in (400, 401)
    ]
    ended = [(racer.communicate()[0], racer.returncode) for racer in racers]
    assert sorted(code for _, code in ended) == [0, 1], ended
    refused = next(said for said, code in ended if code)
    assert "is being walked by process" in refused
    kept = 400 + next(number for number, (_, code) in enumerate(ended) if code == 0)
    assert project.run.values()["view"]["size"] == [kept, 300]


def test_a_replacement_machine_waits_with_75_and_then_goes_on(project):
    other = {**processes.identity(), "boot": "of another machine of this name", "token": "t", "released": False}
    path = project.run.folder / ".lock" / "99999998"
    files.write_json(path, other)
    code, said = project.cli(*RUN)
    assert code == 75 and "another machine" in said and "run the same command again in" in said
    os.utime(path, (time.time() - 61, time.time() - 61))
    assert project.cli(*RUN)[0] == 0


def test_every_stage_holds_the_values_it_was_made_with(project):
    for part in STAGES:
        result = project.run.result(part.name)
        assert result["key"]["parameters"]["seed"] == 0 and result["hash"] and result["key"]["code"]


def wait_for(condition, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
