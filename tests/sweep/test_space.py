"""A sweep file in W&B's schema: every field means what it means there, and what is not supported is refused by name."""

import math

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core.config import ParameterError
from stepladder.sweep import space

EVERYTHING = """
program: train.py
command: [python, "${program}"]
project: burgers
entity: a-team
name: rates
description: every field
method: random
metric: {name: nRMSE@rollout, goal: minimize, target: 0.02}
run_cap: 12
parameters:
  seed: {value: 3}
  model:
    parameters:
      width: {values: [16, 32, 64]}
      depth: {distribution: categorical_w_probabilities, values: [1, 2], probabilities: [0.25, 0.75]}
  training.learning_rate: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-2}
  training.weight_decay: {distribution: log_uniform, min: -9, max: -2}
  training.batch: {distribution: q_log_uniform_values, q: 8, min: 8, max: 64}
  training.warmup: {min: 0, max: 20}
  training.clip_norm: {min: 0.5, max: 2.0}
  training.steps: {distribution: q_uniform, min: 100, max: 300, q: 50}
  model.a: {distribution: normal, mu: 5, sigma: 2}
  model.b: {distribution: q_normal, mu: 5, sigma: 2, q: 0.5}
  model.c: {distribution: log_normal, mu: 0, sigma: 0.5}
  model.d: {distribution: q_log_normal, mu: 2, sigma: 0.5, q: 1}
  model.e: {distribution: int_uniform, min: 1, max: 4}
  model.f: {distribution: uniform, min: 1, max: 4}
  model.g: {distribution: constant, value: same}
"""


@pytest.fixture
def read(tmp_path):
    def from_values(values):
        path = tmp_path / "sweep.yaml"
        path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
        return space.read(path)

    return from_values


def test_every_field_and_distribution_of_the_schema_is_understood(read):
    found = read(EVERYTHING)
    assert (found.file.metric.target, found.file.run_cap, found.file.name) == (0.02, 12, "rates")
    middle = found.at([0.5] * len(found.axes))
    assert middle["seed"] == 3 and middle["model.width"] == 32 and middle["model.g"] == "same"
    assert middle["training.learning_rate"] == pytest.approx(1e-3)
    assert middle["training.weight_decay"] == pytest.approx(math.exp(-5.5))
    assert middle["training.batch"] == 24 and isinstance(middle["training.batch"], int)  # sqrt(8 x 64) = 22.6
    assert isinstance(middle["training.warmup"], int) and middle["training.clip_norm"] == pytest.approx(1.25)
    assert middle["training.steps"] == 200 and middle["model.a"] == middle["model.b"] == pytest.approx(5)
    assert middle["model.c"] == pytest.approx(1) and middle["model.d"] == 7 and middle["model.f"] == 2.5
    first = found.at([0.2] * len(found.axes))
    assert (first["model.depth"], middle["model.depth"], first["model.e"]) == (1, 2, 1)


@given(st.floats(0, 1, exclude_max=True))
def test_values_stay_between_their_ends(share):
    knobs = {
        "uniform": space.Knob(distribution="uniform", min=-2.0, max=3.0),
        "log": space.Knob(distribution="log_uniform_values", min=0.1, max=3.0),
        "integer": space.Knob(min=-2, max=3),
    }
    for name, knob in knobs.items():
        assert knob.min - 1e-12 <= space.axis(name, knob).at(share) <= knob.max + 1e-12


def test_integers_are_equally_likely_to_both_ends():
    drawn = [space.axis("n", space.Knob(min=1, max=4)).at(share) for share in np.linspace(0, 1, 4000, endpoint=False)]
    assert np.unique(drawn, return_counts=True)[1].tolist() == [1000] * 4


def test_a_grid_is_every_combination_and_needs_lists(read):
    sweep = {"method": "grid", "metric": {"name": "IoU"}}
    lists = {"model.width": {"values": [2, 4]}, "training.warmup": {"min": 1, "max": 3}, "seed": {"value": 7}}
    grid = read({**sweep, "parameters": lists}).grid()
    assert len(grid) == 6 and grid[1] == {"model.width": 2, "training.warmup": 2, "seed": 7}
    with pytest.raises(ParameterError, match=r"'training\.learning_rate' is continuous"):
        read({**sweep, "parameters": {"training.learning_rate": {"min": 0.1, "max": 0.2}}}).grid()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"early_terminate": {"type": "hyperband"}}, "'early_terminate' is not supported"),
        ({"methode": "grid"}, r"unknown parameter 'methode'.*did you mean 'method'"),
        ({"method": "annealing"}, "'method' = 'annealing'"),
        ({"metric": {"name": "IoU", "gaol": "minimize"}}, r"'metric\.gaol'.*did you mean 'goal'"),
        ({"metric": None}, "metric"),
        ({"parameters": {}}, "parameters"),
        ({"parameters": {"model.w": {"vaules": [1]}}}, r"'model\.w': unknown parameter 'vaules'.*'values'"),
        ({"parameters": {"model.w": {"distribution": "beta", "a": 1}}}, "unknown parameter 'a'"),
        ({"parameters": {"model.w": {"distribution": "inv_log_uniform", "min": 1, "max": 2}}}, "no distribution"),
        ({"parameters": {"model.w": {"distribution": "uniform", "min": 1}}}, "max is missing"),
        ({"parameters": {"model.w": {"min": 3, "max": 1}}}, "not below"),
        ({"parameters": {"model.w": {"distribution": "log_uniform_values", "min": 0, "max": 1}}}, "positive values"),
        ({"parameters": {"model.w": {"values": [1, 2], "probabilities": [0.5]}}}, "2 probabilities that sum to 1"),
        ({"parameters": {"model.w": {}}}, "says nothing"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(read, change, words):
    fine = {"method": "random", "metric": {"name": "IoU"}, "parameters": {"model.width": {"values": [2, 4]}}}
    with pytest.raises(ParameterError, match=words):
        read(fine | change)
