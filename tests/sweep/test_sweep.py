"""A sweep runs here, goes on after a kill, and names the best setting."""

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from stepladder.cli import main
from stepladder.core import files
from stepladder.core.config import ParameterError
from stepladder.sweep import bayes, sweep

FILE = {
    "method": "grid",
    "metric": {"name": "IoU", "goal": "maximize"},
    "parameters": {"training.learning_rate": {"values": [1e-6, 2e-2]}, "training.steps": {"values": [2, 30]}},
}


@pytest.fixture
def opened(make_run, tmp_path):
    """`opened({...})`: the sweep of a file changed so, on a converted run."""

    def open_it(change=None):
        run, params = make_run()
        path = tmp_path / "rates.yaml"
        path.write_text(yaml.safe_dump(FILE | (change or {})))
        return sweep.open_sweep(path, run, params)

    return open_it


def test_a_grid_finds_that_learning_beats_not_learning(opened):
    found = opened()
    best = found.run()
    assert best["setting"] == {"training.learning_rate": 2e-2, "training.steps": 30}
    table = pd.read_csv(found.folder / "trials.csv")
    assert table["trial"].tolist() == [0, 1, 2, 3] and table["score"].idxmax() == 3
    assert {"training.learning_rate", "training.steps", "score", "cpu_s"} <= set(table.columns)


def test_a_killed_sweep_goes_on_with_the_trials_it_would_have_made(opened):
    random = {"method": "random", "run_cap": 4, "parameters": {"training.learning_rate": {"min": 0.0, "max": 0.02}}}
    whole = opened(random)
    whole.run()
    wanted = whole.lines()
    lines = (whole.folder / "trials.jsonl").read_text().splitlines(keepends=True)
    files.write_text(whole.folder / "trials.jsonl", lines[0] + lines[1] + lines[2][:20] + "\n")  # cut in the third
    told = []
    opened(random).run(told.append)
    assert [line["trial"] for line in told] == [2, 3]
    assert [(line["setting"], line["score"]) for line in whole.lines()] == [
        (line["setting"], line["score"]) for line in wanted
    ]


def test_another_file_makes_another_table(opened):
    assert opened().folder == opened().folder != opened({"run_cap": 1}).folder


def test_no_trial_begins_after_the_target(opened):
    found = opened({"metric": {"name": "IoU", "goal": "maximize", "target": 0.0}})
    found.run()
    assert len(found.lines()) == 1


def test_a_setting_that_cannot_be_built_is_a_row_with_its_reason(opened):
    found = opened({"parameters": {"training.steps": {"values": [1]}, "model.width": {"values": [0, 2, 4]}}})
    assert found.run()["setting"]["model.width"] in (2, 4)
    assert "model.width" in found.lines()[0]["reason"] and found.lines()[0]["score"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": {"name": "IoUs"}}, "did you mean 'IoU'"),
        ({"parameters": {"training.schedule": {"values": ["cosine"]}}}, "a trial here does not obey it"),
        ({"parameters": {"data.synthetic": {"values": [3, 4]}}}, "sweeps vary"),
        ({"parameters": {"model.widht": {"values": [3, 4]}}}, "did you mean 'width'"),
    ],
)
def test_what_a_trial_cannot_vary_is_refused_before_anything_trains(opened, change, words):
    with pytest.raises(ParameterError, match=words):
        opened(change)


def test_bayes_asks_near_the_best_once_it_knows_the_slope():
    rng = np.random.default_rng(0)
    tried_ND = rng.random((bayes.FIRST, 2))

    def loss(points_ND):
        return ((points_ND - [0.3, 0.7]) ** 2).sum(1)

    for _ in range(12):
        tried_ND = np.vstack([tried_ND, bayes.propose(tried_ND, loss(tried_ND), rng)])
    random = rng.random((200, len(tried_ND), 2))
    luck = np.median([loss(points).min() for points in random])
    assert loss(tried_ND).min() < 0.1 * luck


def test_bayes_sweeps_end_with_the_trials_asked_for(opened):
    near = {"training.learning_rate": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-1}}
    found = opened({"method": "bayes", "run_cap": bayes.FIRST + 2, "parameters": near})
    assert found.run()["score"] is not None and len(found.lines()) == bayes.FIRST + 2


def test_the_command_prints_the_best_row(make_run, outputs, tmp_path, monkeypatch):
    run, params = make_run()
    monkeypatch.setattr("stepladder.core.profiles.load", lambda *arguments: params)
    monkeypatch.setenv("STEPLADDER_OUTPUTS", str(run.folder.parents[1]))
    path = tmp_path / "rates.yaml"
    path.write_text(yaml.safe_dump(FILE | {"program": "train.py"}))
    result = CliRunner().invoke(main.app, ["sweep", str(path), f"template/{run.name}"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "best of 4 trials: trial 3" in result.output and "`program` is for W&B's agents" in result.output


def test_bayes_leaves_the_region_where_trials_fail(opened, monkeypatch):
    near = {"training.learning_rate": {"distribution": "uniform", "min": 0.0001, "max": 1.0}}
    found = opened({"method": "bayes", "run_cap": 30, "parameters": near})

    def trial(sweep, setting):  # the better the nearer to 0.5, and nothing works beyond it
        rate = setting["training.learning_rate"]
        return {"score": None if rate > 0.5 else rate, "cpu_s": 0.0, "reason": ""}

    monkeypatch.setattr(type(found), "_trial", trial)
    found.run()
    asked = [line["setting"]["training.learning_rate"] for line in found.lines()[15:]]
    assert sum(rate > 0.5 for rate in asked) <= 5 and found.best()["score"] > 0.4
