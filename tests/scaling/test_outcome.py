"""From runs to a verdict: the forecast comes before the run, and a miss is called a miss."""

import json

import numpy as np
import pytest
from matplotlib import pyplot as plt

from stepladder.core import files
from stepladder.notebooks import display
from stepladder.scaling import grid, outcome

PARAMETERS = {1: 300, 2: 1000, 4: 10_000, 8: 100_000, 12: 400_000}  # by width


def train_by_law(jobs, processes):
    """Stands for `grid.runs`: losses by a law with a little noise; the run outside the grid is `off` times as bad."""
    for job in jobs:
        parameters = PARAMETERS[job.model["width"]]
        rng = np.random.default_rng(len(job.name) * 100 + job.units)
        points = []
        for budget in job.budgets:
            error = 0.02 + 2 * parameters**-0.5 + 0.3 * job.units**-0.6 + 0.5 * budget**-0.7
            error *= np.exp(0.02 * rng.standard_normal()) * (train_by_law.off if job.size == "beyond" else 1)
            samples = 4 * budget
            point = {"steps": budget, "samples": samples, "flops": samples * 6 * parameters, "cpu_s": 1.0, "loss": 1.0}
            points.append({**point, "scores": {"IoU": 1 - error}})
        if job.size == "beyond":
            assert (job.path.parent / "forecast.json").exists(), "the forecast comes before the run"
        told = {"name": job.name, "size": job.size, "units": job.units, "parameters": parameters}
        yield {**told, "flops_per_sample": 6 * parameters, "points": points}


@pytest.fixture
def measured(make_run, monkeypatch):
    """`measured(off)`: an outcome on a known law, where the run outside the grid is `off` times as bad as it says."""
    monkeypatch.setattr(grid, "runs", train_by_law)

    def measure(off, **law):
        train_by_law.off = off
        run, params = make_run({"ladder": {"scaling": law}})
        monkeypatch.setattr(grid, "learning", lambda study, changed: PARAMETERS[changed.model.width])
        return run, outcome.measure(run, params, run.folder / "scaling")

    return measure


def test_a_forecast_that_holds_is_a_hit_and_one_that_does_not_is_a_miss(measured):
    run, held = measured(1.0)
    assert [laws.verdict for laws in held.laws] == ["hit"]
    told = files.read_json(run.folder / "scaling" / "forecast.json")
    assert told["1 - IoU"]["value"] == pytest.approx(held.laws[0].forecast.value)
    _, missed = measured(1.5)
    assert [laws.verdict for laws in missed.laws] == ["miss"]
    assert missed.tests()["is"].tolist() == ["miss"]


def test_everything_shown_can_be_shown_and_recorded(measured, monkeypatch):
    _, found = measured(1.0)
    assert found.headline == "4 sizes x 3 data sizes, cooled down at 4, 8, 16 steps, and one run outside them"
    shown = found.shown()
    for title, item in shown.items():
        if hasattr(item, "savefig"):
            assert all(axis.get_xlabel() and axis.get_ylabel() for axis in item.axes), title
            plt.close(item)
        else:
            assert len(item), title
    assert "FFTs" in str(shown["What the scaling law rests on"])
    assert len(shown["Runs of the scaling law"]) == 13
    json.dumps(files.plain(found.record()), allow_nan=False)


def test_runs_without_a_score_are_rows_with_their_reason_and_left_out(measured, monkeypatch):
    def with_gaps(jobs, processes):
        for record in train_by_law(jobs, processes):
            if record["name"] == "large x 4":
                record = {"name": record["name"], "failed": "killed (SIGKILL), perhaps for memory"}
            if record["name"] == "small x 8":
                record["points"][-1]["scores"]["IoU"] = None
            if record["name"] == "small x 4":
                record["points"].pop()
            yield record

    monkeypatch.setattr(grid, "runs", with_gaps)
    _, found = measured(1.0, units=[4, 8, 16, 24])
    remarks = found.runs().set_index("size x units")["remark"]
    assert remarks["large x 4"].startswith("killed") and remarks["small x 8"] == "diverged in IoU"
    assert remarks["small x 4"].startswith("cut after")
    assert len(found.laws[0].data.loss_P) == 16 - 3


@pytest.mark.slow
def test_a_small_law_from_start_to_end(make_run):
    run, params = make_run()
    found = outcome.measure(run, params, run.folder / "scaling", display.track)
    assert len(found.records) == 13 and all(record["points"] for record in found.records)
    assert found.laws[0].measured is not None and found.laws[0].verdict in ("hit", "miss")
    before = {path.name: path.stat().st_mtime_ns for path in (run.folder / "scaling").glob("*_*.json")}
    again = outcome.measure(run, params, run.folder / "scaling")
    assert again.laws[0].forecast == found.laws[0].forecast
    assert before == {path.name: path.stat().st_mtime_ns for path in (run.folder / "scaling").glob("*_*.json")}
