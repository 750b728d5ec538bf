"""What a search leaves in the run: the file a person may edit, and the gates of the stage."""

import dataclasses
import math
import subprocess
import sys

import pandas as pd
import pytest

from stepladder.core import files
from stepladder.core.errors import Damaged
from stepladder.core.schema import LadderParams
from stepladder.ladder import figures, run_ladder
from stepladder.ladder.diagnosis import diagnose
from stepladder.ladder.records import Machine
from stepladder.machine.limits import Limits
from stepladder.training.setting import Setting
from tests.ladder import search_results
from tests.machine import drills
from tests.training.conftest import make_run, toy  # noqa: F401  (fixtures)

MADE = [
    search_results.data_bound,
    search_results.compute_bound,
    search_results.troubled,
    search_results.hopeless,
    search_results.empty,
]


@pytest.mark.parametrize("make", MADE)
def test_every_climb_is_saved_with_its_choice_and_its_sentence(tmp_path, make):
    found = make()
    said = diagnose(found, LadderParams(), cores=4)
    run_ladder.save(found, said, tmp_path / "ladder.json")
    record = files.read_json(tmp_path / "ladder.json")
    assert record["sentence"] == said.sentence and len(record["climb"]["rungs"]) == len(found.rungs)
    assert (Setting(**record["chosen"]) if record["chosen"] else None) == found.chosen


HERE = Machine("NVIDIA H200", Limits(10**11, 9 * 10**10, 15.5, 10**9), name="box1/hostA")


@pytest.mark.parametrize("make", MADE)
def test_a_search_that_was_made_elsewhere_is_read_as_it_was(tmp_path, make):
    found = dataclasses.replace(make(), machine=HERE)
    said = diagnose(found, LadderParams(), cores=4)
    path = tmp_path / "ladder.json"
    run_ladder.save(found, said, path)
    read, sentence = run_ladder.read(path)
    assert read == found and sentence == said
    assert run_ladder.checks(read) == run_ladder.checks(found) and str(read.machine) == "box1/hostA (NVIDIA H200)"
    pd.testing.assert_frame_equal(figures.table(read), figures.table(found))


def test_a_loss_that_was_no_number_is_none_when_it_is_read(tmp_path):
    found = search_results.data_bound()
    rung = found.rungs[0]
    probe = dataclasses.replace(rung.trial.probe, losses=(1.0, math.nan), half_width=math.inf)
    bad = dataclasses.replace(rung, trial=dataclasses.replace(rung.trial, probe=probe))
    run_ladder.save(dataclasses.replace(found, rungs=(bad,)), diagnose(found, LadderParams(), 4), tmp_path / "l.json")
    read = run_ladder.read(tmp_path / "l.json")[0].rungs[0].trial.probe
    assert read.losses[0] == 1.0 and math.isnan(read.losses[1]) and math.isnan(read.half_width)


def test_a_file_that_holds_no_search_is_named(tmp_path):
    files.write_json(tmp_path / "ladder.json", {"chosen": None})
    with pytest.raises(Damaged, match=r"ladder.json.*holds no search"):
        run_ladder.read(tmp_path / "ladder.json")


def test_a_climb_that_chose_passes_its_gates():
    assert all(check.ok for check in run_ladder.checks(search_results.data_bound()))


def test_a_climb_without_a_choice_fails_and_says_why():
    found = search_results.hopeless()
    (check,) = run_ladder.checks(found)
    assert not check.ok and check.reason == found.why


@pytest.mark.slow
def test_the_search_alone_leaves_what_a_notebook_reads(make_run):  # noqa: F811
    run = make_run(values={"ladder": {"policy": "rungs", "rungs": [{"batch": 2}], "steps": 4, "soak": 0}})
    command = [sys.executable, "-m", "stepladder.ladder.run_ladder", str(run.folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, said = run_ladder.read(run.folder / "04_scaling/kept/ladder.json")
    assert found.chosen and found.machine.device == "cpu" and found.machine.limits.cpus >= 1
    assert said.sentence in done.stdout and list((run.folder / "04_scaling/kept/trials").iterdir())
    assert len(run.events("rung")) == len(found.rungs)


@pytest.mark.slow
@pytest.mark.drill
def test_a_search_that_is_stopped_takes_its_trials_along(make_run):  # noqa: F811
    run = make_run(values={"ladder": {"seconds": 600}, "model": {"sleep": 0.5}})
    mark, environment = drills.marked()
    command = [sys.executable, "-m", "stepladder.ladder.run_ladder", str(run.folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True) as search:
        drills.wait_for(lambda: len(drills.alive(mark)) > 1)
        search.terminate()
        assert search.wait(60) == 143
    drills.wait_for(lambda: not drills.alive(mark))
