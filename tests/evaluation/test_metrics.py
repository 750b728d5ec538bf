import numpy as np
import pandas as pd
import pytest

from stepladder.core.schema import EvaluationParams
from stepladder.evaluation import metrics

PARAMS = EvaluationParams(bootstrap=200)
COLUMNS = ["method", "group", "unit", "metric", "part", "numerator", "denominator", "support"]


def table(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS)


def value(records, metric="mIoU", group="all", method="model"):
    summary = metrics.summarize(records, PARAMS, 0).set_index(["method", "group", "metric"])
    return summary.loc[(method, group, metric), "value"]


def test_a_ratio_is_pooled_not_averaged():
    records = table(
        ("model", "a", "1", "IoU", "", 1, 10, 1),
        ("model", "a", "2", "IoU", "", 9, 10, 1),
        ("model", "a", "3", "IoU", "", 0, 80, 1),
    )
    assert value(records, "IoU") == pytest.approx(10 / 100)


def test_an_absent_class_is_left_out_never_one():
    records = table(
        ("model", "a", "1", "mIoU", "road", 5, 10, 7),
        ("model", "a", "1", "mIoU", "car", 0, 0, 0),
        ("model", "a", "1", "mIoU", "bus", 0, 4, 0),
    )
    assert value(records) == pytest.approx(0.5)  # `bus` was invented by the model: no truth, so no class to average


def test_a_class_present_in_one_group_counts_only_there():
    records = table(
        ("model", "a", "1", "mIoU", "road", 1, 2, 2),
        ("model", "a", "1", "mIoU", "water", 0, 0, 0),
        ("model", "b", "2", "mIoU", "road", 1, 2, 2),
        ("model", "b", "2", "mIoU", "water", 1, 1, 1),
    )
    assert value(records, group="a") == pytest.approx(0.5)
    assert value(records, group="b") == pytest.approx(0.75)


def test_everything_absent_is_nan_not_a_number():
    assert np.isnan(value(table(("model", "a", "1", "mIoU", "car", 0, 0, 0))))


@pytest.mark.slow
def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for trial in range(60):
        draws = rng.normal(0.5, 0.2, 40)
        records = table(*(("model", "a", str(i), "m", "", x, 1, 1) for i, x in enumerate(draws)))
        row = metrics.summarize(records, PARAMS, trial).iloc[0]
        hits += row["low"] <= 0.5 <= row["high"]
    assert 50 <= hits <= 60


def test_paired_differences_are_tighter_than_separate_intervals():
    rng = np.random.default_rng(1)
    hard = rng.normal(0.5, 0.2, 30)
    rows = [("base", "a", str(i), "m", "", x, 1, 1) for i, x in enumerate(hard)]
    rows += [("model", "a", str(i), "m", "", x + 0.05, 1, 1) for i, x in enumerate(hard)]
    difference = metrics.compare(table(*rows), "m", "model", "base", PARAMS, 0)
    assert difference["value"] == pytest.approx(0.05)
    assert difference["low"] == pytest.approx(0.05) and difference["high"] == pytest.approx(0.05)


def test_samples_are_spread_over_the_whole_set():
    class Hundred:
        def __len__(self):
            return 100

    chosen = metrics.choose(Hundred(), 5)
    assert chosen.tolist() == [10, 30, 50, 70, 90]  # the middles of five equal parts
    assert len(metrics.choose(Hundred(), 500)) == 100


def test_a_number_that_is_none_is_never_a_perfect_score():
    records = table(
        ("model", "a", "1", "RMSE", "", float("nan"), 1, 1),
        ("model", "a", "2", "RMSE", "", 0.5, 1, 1),
    )
    assert np.isnan(value(records, "RMSE"))
    failed = [check for check in metrics.checks(records, metrics.summarize(records, PARAMS, 0)) if not check.ok]
    assert any("1 of 2 records hold no number" in check.reason for check in failed)
