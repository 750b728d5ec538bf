"""Rivals: the strongest baseline is the one that measured best, and table and sentence tell the same."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core.schema import EvaluationParams
from stepladder.evaluation import rivals

PARAMS = EvaluationParams(bootstrap=50)
COLUMNS = ["method", "group", "unit", "metric", "part", "numerator", "denominator", "support"]
NUMBERS = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan]), st.floats(-2, 2, allow_subnormal=False))


def table(scores: dict[str, dict[str, list[float]]]) -> pd.DataFrame:
    """Records of method -> metric -> one value per unit."""
    rows = [
        (method, "g", f"u{unit}", metric, "", value, 1.0, 1.0)
        for method, metrics in scores.items()
        for metric, values in metrics.items()
        for unit, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


@st.composite
def score_tables(draw: st.DrawFn) -> dict[str, dict[str, list[float]]]:
    """Scores of the model and up to four baselines in up to three metrics on one to six units."""
    units = draw(st.integers(1, 6))
    metrics = [f"m{i}" for i in range(draw(st.integers(1, 3)))]
    methods = draw(st.permutations(["model", *(f"b{i}" for i in range(draw(st.integers(0, 4))))]))
    values = st.lists(NUMBERS, min_size=units, max_size=units)
    return {method: {metric: draw(values) for metric in metrics} for method in methods}


@settings(max_examples=40, deadline=None)
@given(scores=score_tables(), better=st.sampled_from(["higher", "lower"]))
def test_the_rival_measured_best_and_the_verdict_is_that_of_the_interval(scores, better):
    metrics = list(scores["model"])
    found = rivals.gains(table(scores), metrics, better, PARAMS, 0)
    assert list(found["metric"]) == metrics
    said = rivals.sentence(found)
    for row in found.itertuples():
        means = {name: np.mean(values[row.metric]) for name, values in scores.items()}
        own = means.pop("model")
        answered = {name: mean for name, mean in means.items() if math.isfinite(mean)}
        if not answered:
            assert pd.isna(row.against) and row.verdict == rivals.NO_RIVAL
            continue
        best = (max if better == "higher" else min)(answered.values())
        assert answered[row.against] == pytest.approx(best, abs=1e-12)
        if math.isnan(own):
            assert row.verdict == rivals.MUTE
            continue
        # The lead over the rival is the smallest over all baselines.
        sign = 1 if better == "higher" else -1
        leads = [sign * (own - mean) for mean in answered.values()]
        assert sign * row.value == pytest.approx(min(leads), abs=1e-9)
        if row.units == 1:
            assert row.verdict == rivals.ALONE and math.isnan(row.low)
        elif row.low <= 0 <= row.high:
            assert row.verdict == rivals.UNCLEAR
        else:
            assert row.verdict == (rivals.BETTER if sign * row.low > 0 and sign * row.high > 0 else rivals.WORSE)
    assert parsed(said) == dict(zip(found["metric"], found["verdict"], strict=True))
    assert ("train longer" in said) == (rivals.BETTER not in set(found["verdict"]))


def parsed(said: str) -> dict[str, str]:
    """What a sentence says of each metric, read as a person would: metric -> verdict."""
    first, _, rest = said.removesuffix(rivals.ADVICE).strip().partition(". Of the others ")
    main = first.partition(":")[0]
    told = {main: next(word for word in rivals.ORDER if first.rstrip(".").endswith(word))}
    for clause in filter(None, rest.rstrip(".").split("; ")):
        word = next(word for word in rivals.ORDER if clause.startswith(f"{word} in "))
        told |= dict.fromkeys(clause.removeprefix(f"{word} in ").split(", "), word)
    return told


@settings(max_examples=20, deadline=None)
@given(scores=score_tables(), better=st.sampled_from(["higher", "lower"]))
def test_a_baseline_without_an_answer_is_no_rival_and_is_named(scores, better):
    metrics = list(scores["model"])
    records = table(scores)
    found = rivals.gains(records, metrics, better, PARAMS, 0).set_index("metric")
    mute = {(name, metric) for name in scores for metric in metrics if np.isnan(np.sum(scores[name][metric]))}
    told = {(name, metric) for name, lacks in rivals.unanswered(records, metrics).items() for metric in lacks}
    assert told == {pair for pair in mute if pair[0] != "model"}
    assert not {(found["against"][metric], metric) for metric in metrics} & mute
    note = rivals.note(records, metrics)
    assert all(f"{name} in " in note for name, _ in told)


def test_the_order_of_the_study_does_not_make_a_rival():
    scores = {"strong": {"IoU": [0.8, 0.9]}, "weak": {"IoU": [0.1, 0.2]}, "model": {"IoU": [0.5, 0.6]}}
    found = rivals.gains(table(scores), ["IoU"], "higher", PARAMS, 0).iloc[0]
    assert found["against"] == "strong" and found["verdict"] == "worse"
    assert found["value"] == pytest.approx(-0.3)


def test_each_metric_has_its_own_rival():
    scores = {"a": {"m": [0.8, 0.9], "n": [0.1, 0.1]}, "b": {"m": [0.1, 0.2], "n": [0.7, 0.7]}}
    scores["model"] = {"m": [0.9, 1.0], "n": [0.6, 0.6]}
    found = rivals.gains(table(scores), ["m", "n"], "higher", PARAMS, 0)
    assert list(found["against"]) == ["a", "b"] and list(found["verdict"]) == ["better", "worse"]


def test_a_positive_lead_whose_interval_holds_zero_is_never_called_better():
    scores = {"base": {"m": [0.5, 0.5, 0.5, 0.5]}, "model": {"m": [0.9, 0.2, 0.9, 0.2]}}
    found = rivals.gains(table(scores), ["m"], "higher", PARAMS, 0)
    assert found["value"].iloc[0] > 0 and found["verdict"].iloc[0] == rivals.UNCLEAR
    said = rivals.sentence(found)
    assert "better" not in said and "no clear difference" in said and "[-" in said


def test_the_sentence_tells_values_rival_and_interval():
    rows = {"base": {"nRMSE": [0.4, 0.5, 0.6]}, "model": {"nRMSE": [0.1, 0.2, 0.3]}}
    said = rivals.sentence(rivals.gains(table(rows), ["nRMSE"], "lower", PARAMS, 0))
    assert re.match(r"nRMSE: the model 0\.200, the strongest baseline \(base\) 0\.500: -0\.300 \[-0\.300, ", said)
    assert said.endswith("better.")
