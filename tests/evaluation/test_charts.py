import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from stepladder.evaluation.charts import intervals, leading, method_colour, parts
from stepladder.view.style import MODEL

METHODS = ["all_empty", "copy_last", "warp", "model"]


def test_the_model_is_amber_and_later_baselines_are_darker():
    greys = [int(method_colour(name, METHODS)[1:3], 16) for name in METHODS[:3]]
    assert method_colour("model", METHODS) == MODEL
    assert greys == sorted(greys, reverse=True)


def test_absent_parts_are_not_drawn():
    table = pd.DataFrame(
        {
            "method": ["model"] * 3,
            "part": ["road", "car", "tree"],
            "value": [0.5, None, 0.2],
            "support": [30.0, 0.0, 10.0],
        }
    )
    axis = parts(table, "mIoU").axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["road  (75.0%)", "tree  (25.0%)"]
    assert axis.get_xlabel() == "mIoU" and axis.get_ylabel()


def test_a_metric_without_parts_is_a_bar_for_every_method():
    table = pd.DataFrame({"method": METHODS, "part": "", "value": [None, 0.1, 0.2, 0.3], "support": 4.0})
    axis = parts(table, "Dice").axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["all empty", "copy last", "warp", "model"]
    assert [bar.get_width() for bar in axis.patches] == [0.0, 0.1, 0.2, 0.3]
    assert to_hex(axis.patches[3].get_facecolor()) == MODEL


def test_the_first_of_kin_leads_and_of_several_times_the_last():
    names = [f"{kind}@{second}s" for kind in ("IoU", "mIoU", "IoU new", "mIoU new") for second in (1, 2, 3)]
    assert leading(names) == ["IoU@3s", "mIoU@3s", "IoU new@3s"]
    assert leading(["nRMSE@rollout", "nRMSE@first step", "nRMSE@last step", "drift"]) == ["nRMSE@rollout", "drift"]


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_every_panel_of_metrics_is_labelled_and_says_which_way_is_better(better):
    names = ["a@1s", "a@2s", "b", "c", "d"]
    rows = [
        {"group": group, "method": method, "metric": name, "value": 0.5, "low": 0.4, "high": np.nan}
        for group in ("all", "one")
        for method in METHODS
        for name in names
    ]
    axes = intervals(pd.DataFrame(rows), names, better).axes
    assert [axis.get_xlabel() for axis in axes] == [f"{name} ({better} is better)" for name in ("a@2s", "b", "c")]
    assert [text.get_text() for text in axes[0].get_yticklabels()] == [name.replace("_", " ") for name in METHODS]
