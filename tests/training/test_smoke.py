"""The smoke test of ten samples claims no more than its numbers and its gate say."""

import math

import matplotlib.pyplot as plt
import pytest
from torch import nn

from stepladder.training import curves
from stepladder.training.smoke import Learnt, check_overfit


@pytest.mark.parametrize(
    ("after", "words", "passes"),
    [
        (0.1, "learnt by heart", True),
        (1.0, "learnt in part", True),
        (1.4, "learnt in part", False),
        (2.5, "not learnt", False),
        (math.nan, "not learnt", False),
    ],
)
def test_words_fit_the_numbers_and_the_gate(after, words, passes):
    learnt = Learnt(nn.Identity(), [2.4, after], 2.4, after, 1.2)
    assert words in learnt.sentence and f"2.4 -> {after:.3g}" in learnt.sentence
    check = check_overfit(learnt)
    assert check.ok == passes and "1.2 is enough" in check.reason and "by heart" not in check.name
    axis = curves.loss_curve(learnt.losses, learnt.enough, learnt.sentence).axes[0]
    assert [line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == "--"] == [1.2]
    assert axis.get_title("left") + axis.get_title() == learnt.sentence and axis.get_xlabel() and axis.get_ylabel()
    plt.close("all")
