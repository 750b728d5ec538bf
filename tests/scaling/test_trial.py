"""Branches of one training are what trainings of their own would be, on data that nest."""

import itertools

import numpy as np
import pytest

from stepladder.core.config import ParameterError, check, merge
from stepladder.core.study import find
from stepladder.cost.project import training_flops
from stepladder.scaling import grid, trial
from stepladder.scaling.trial import Schedule, Subset
from stepladder.training.smoke import batch


@pytest.fixture
def parts(make_run):
    run, params = make_run()
    study = find("template")
    return study, params, *grid.datasets(run, study, params)


def test_smaller_data_are_among_the_larger(parts):
    _, _, data, _ = parts
    held = [set(Subset(data, units, seed=3).clusters) for units in (2, 5, 12, 36)]
    assert [len(units) for units in held] == [2, 5, 12, 36]
    assert all(small < large for small, large in itertools.pairwise(held))
    assert set(Subset(data, 5, seed=4).clusters) != held[1]


def test_a_subset_gives_the_samples_it_names(parts):
    _, _, data, _ = parts
    part = Subset(data, 5, seed=0)
    whole = {str(unit): place for place, unit in enumerate(data.clusters)}
    for place, unit in enumerate(part.clusters):
        assert part.sample(place, None)["index"] == whole[str(unit)]


def test_more_data_than_there_is_names_both_numbers(parts):
    with pytest.raises(ParameterError, match=r"37 units .* holds 36"):
        Subset(parts[2], 37, seed=0)


def test_a_branch_is_a_training_of_its_budget(parts):
    study, params, data, cases = parts
    both = list(trial.train(study, params, data, cases, Schedule((4, 10), 0.3)))
    alone = [next(trial.train(study, params, data, cases, Schedule((steps,), 0.3))) for steps in (4, 10)]
    for one, other in zip(both, alone, strict=True):
        assert one["scores"] == other["scores"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)
    assert [point["samples"] for point in both] == [16, 40]


def test_a_run_out_of_time_leaves_its_longer_budgets_out(parts):
    study, params, data, cases = parts
    assert list(trial.train(study, params, data, cases, Schedule((4, 8), seconds=0.0))) == []


def test_training_lowers_the_error(parts):
    study, params, data, cases = parts
    first, last = trial.train(study, params, data, cases, Schedule((1, 60)))
    assert last["scores"]["IoU"] > first["scores"]["IoU"] + 0.1 and np.isfinite(last["loss"])


def test_operations_grow_with_the_network(parts):
    study, params, data, _ = parts
    wide = check(study.Params, merge(params.model_dump(), {"model": {"width": 16}}))
    counts = [training_flops(study, p, batch(data, 2))[0] for p in (params, wide)]
    pixels, taps = 32 * 32, 25
    forward = 2 * pixels * (taps * 8 + taps * 64 + 16)  # two products per weight and pixel
    assert 2 * forward < counts[0] <= 3 * forward
    assert counts[1] > 3 * counts[0]
