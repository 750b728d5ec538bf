"""The grid runs what is missing and nothing else, whatever happened before."""

import multiprocessing
from dataclasses import replace

import pytest

from stepladder.core import files
from stepladder.core.config import ParameterError, check, merge
from stepladder.core.run import Run
from stepladder.core.study import find
from stepladder.scaling import grid, outcome
from stepladder.training import schedule


@pytest.fixture
def asked(make_run):
    run, params = make_run()
    return run, params, run.folder / "04_scaling" / "scaling"


def test_every_size_meets_every_data_size_and_one_run_is_outside(asked):
    plan = grid.plan(*asked)
    assert {(job.size, job.units) for job in plan.jobs} == {
        (size, units) for size in ("tiny", "small", "middle", "large") for units in (4, 8, 24)
    }
    assert (plan.beyond.units, plan.beyond.budgets) == (36, (16,))
    assert (
        plan.sizes["tiny"] < plan.sizes["small"] < plan.sizes["middle"] < plan.sizes["large"] < plan.beyond_parameters
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"sizes": {"a": {"widht": 4}, "b": {}, "c": {}, "d": {}}},
            r"size 'a' .*'model\.widht' = 4; did you mean 'width'",
        ),
        ({"beyond_units": 37}, "37 units"),
        ({"metrics": ["IoUs"]}, "did you mean 'IoU'"),
        ({"beyond_model": {"width": 0}}, r"size 'beyond' .*model\.width"),
        ({"beyond_model": {"width": 2}, "beyond_units": 8}, "lies inside the grid"),
        ({"units": [4, 4, 8]}, r"ladder.scaling.units = \[4, 4, 8\] names one twice"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_trains(make_run, values, words):
    run, params = make_run({"ladder": {"scaling": values}})
    if "sizes" in values:  # merged with the sizes of the fixture otherwise
        raw = merge(params.model_dump(), {})
        raw["ladder"]["scaling"]["sizes"] = values["sizes"]
        params = check(find("template").Params, raw)
    with pytest.raises(ParameterError, match=words):
        grid.plan(run, params, run.folder)
    assert not list(run.folder.glob("*_*.json"))


def test_a_record_of_other_inputs_runs_again(asked, monkeypatch):
    run, params, folder = asked
    job = grid.plan(run, params, folder).jobs[0]
    files.write_json(job.path, {"key": job.key, "points": []})
    assert job.record() is not None
    changed = params.model_copy(update={"seed": 1})
    assert grid.plan(run, changed, folder).jobs[0].record() is None
    monkeypatch.setattr(schedule, "data", lambda run: "other shards")
    assert grid.plan(run, params, folder).jobs[0].record() is None


@pytest.mark.slow
@pytest.mark.drill
def test_a_grid_that_was_killed_goes_on_where_it_was(asked):
    run, params, folder = asked
    jobs = grid.plan(run, params, folder).jobs[-4:]
    pipeline = grid.runs(jobs, processes=2)
    first = next(pipeline)
    pipeline.close()  # as an interrupt does: what runs is killed
    assert not multiprocessing.active_children()
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    assert f"{first['size']}_{first['units']}.json" in kept

    records = list(grid.runs(jobs, processes=2))
    assert sorted(record["name"] for record in records) == sorted(job.name for job in jobs)
    assert all([point["steps"] for point in record["points"]] == [4, 8, 16] for record in records)
    assert all((folder / name).stat().st_mtime_ns == stamp for name, stamp in kept.items())


@pytest.mark.slow
@pytest.mark.drill
def test_a_run_that_fails_or_is_killed_is_told_and_the_others_go_on(asked):
    run, params, folder = asked
    jobs = grid.plan(run, params, folder).jobs[-3:]
    broken = replace(jobs[0], model={"width": 0})
    endless = replace(jobs[1], budgets=(10**6,))
    pipeline = grid.runs([broken, endless, jobs[2]], processes=2)
    first = next(pipeline)
    assert first["name"] == broken.name and "model.width" in first["failed"]
    for child in multiprocessing.active_children():
        child.kill()
    others = {record["name"]: record for record in pipeline}
    assert "SIGKILL" in others[endless.name]["failed"]
    assert others[jobs[2].name]["points"] and [path.stem for path in folder.glob("*.json")] == [jobs[2].path.stem]


def test_a_profile_without_a_law_says_so_and_runs_nothing(make_run):
    run, params = make_run()
    none = check(find("template").Params, params.model_dump() | {"ladder": {}})
    found = outcome.measure(Run(run.folder), none, run.folder / "scaling")
    assert found.headline == "not asked for: set ladder.scaling"
    assert found.shown() == {} and found.record() is None and not (run.folder / "scaling").exists()
