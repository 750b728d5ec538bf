import pandas as pd

from stepladder.evaluation.charts import ACCENT, method_colour, parts


def test_the_model_is_the_accent_and_stronger_baselines_are_darker():
    methods = ["all_empty", "copy_last", "warp", "model"]
    greys = [int(method_colour(name, methods)[1:3], 16) for name in methods[:3]]
    assert method_colour("model", methods) == ACCENT
    assert greys == sorted(greys, reverse=True)


def test_absent_parts_are_not_drawn():
    table = pd.DataFrame(
        {"method": ["model"] * 2, "part": ["road", "car"], "value": [0.5, None], "support": [10.0, 0.0]}
    )
    labels = [text.get_text() for text in parts(table, "mIoU").axes[0].get_yticklabels()]
    assert labels == ["road  (100.0%)"]
