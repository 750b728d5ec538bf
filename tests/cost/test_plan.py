"""The plan linter: the known contradictions of the plans are found with both numbers, consistent plans stay silent."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core.config import ParameterError
from stepladder.cost import plan

PLANS = Path(__file__).parent / "plans"

# What is said, what follows and what is right must hold these words
KNOWN = {
    "scroll_hours": [
        ("20 h per epoch", "4,000 steps of 19.7 s", "21.9 h per epoch"),
        ("26.7 days", "128,000 steps of 19.7 s", "29.1 days"),
    ],
    "scroll_speedup": [
        ("6-10 times", "4,800-7,200 samples/h against 183", "26.2-39.3 times"),
        ("26.2-39.3 times", "4 loader processes instead of 1", "at most 4 times, 175 h (7.29 days) in all or more"),
    ],
    "scroll_batch": [
        ("4,000 steps per epoch", "4,000 samples at batch 4", "1,000 steps per epoch"),
        ("2-3 h per epoch", "1,000 steps of 2-3 s", "0.556-0.833 h per epoch"),
    ],
    "scroll_loss": [("1.97-2.19 times", "loader processes change nothing", "no faster: 699 h (29.1 days) in all")],
    "caption_checkpoints": [
        (
            "every 50 steps, 5-10 min each",
            "375 checkpoints take 31.2-62.5 h, against 15.6 h",
            "every 2,939 steps (0.8 h in all)",
        )
    ],
    "city_data": [("200-300 h", "30 times the samples of 48 h", "1,440 h (60 days), $187")],
    "city_cheapest": [("its cost: $50-75", "RTX 3090 does it for $26-39", "RTX 3090 is the cheapest")],
    "city_gpus": [("no word on efficiency", "60-80 h on one, 10-15 h on 8", "67-75% of linear")],
    "workers_stop": [("to be optimised", "no number of tries", "say when to stop")],
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_contradiction_is_found_with_both_numbers_and_the_right_one(name):
    found = plan.lint(plan.read(PLANS / f"{name}.yaml"))
    assert len(found) == len(KNOWN[name])
    for finding, (said, follows, right) in zip(found, KNOWN[name], strict=True):
        assert said in finding.said and follows in finding.follows and right in finding.right


def test_a_plan_that_adds_up_has_no_finding():
    assert plan.lint(plan.read(PLANS / "consistent.yaml")) == []


def rounded(number, share):
    """A number as somebody would write it down: off by up to `share`."""
    return number * (1 + share)


@st.composite
def consistent(draw):
    """A plan whose numbers follow from a few, each written down with a rounding of up to 2 %."""

    def near(number):
        return rounded(number, draw(st.floats(-0.02, 0.02)))

    samples, batch, epochs = draw(st.integers(100, 10**6)), draw(st.integers(1, 64)), draw(st.integers(1, 200))
    seconds, workers, gain = draw(st.floats(0.01, 60)), draw(st.integers(1, 8)), draw(st.integers(1, 4))
    price, count = draw(st.floats(0.1, 5)), draw(st.integers(2, 8))
    efficiency, share = draw(st.floats(0.3, 1)), draw(st.floats(0.001, 0.09))
    per_epoch = -(-samples // batch)
    hours = per_epoch * epochs * seconds / 3600
    every = draw(st.integers(1, max(1, per_epoch * epochs)))
    one = {
        "samples": samples, "batch": batch, "epochs": epochs, "steps_per_epoch": per_epoch, "steps": per_epoch * epochs,
        "steps_per_hour": near(3600 / seconds), "seconds_per_step": near(seconds), "gpu": "A100",
        "hours_per_epoch": near(hours / epochs), "hours": hours, "dollars_per_hour": price,
        "dollars": near(hours * price),
        "checkpoint_every": every, "checkpoint_minutes": share * seconds * every / 60, "workers": workers * gain,
        "against": "before", "speedup": near(gain), "data": 1.0,
    }  # fmt: skip
    before = {"samples": samples, "batch": batch, "epochs": epochs, "seconds_per_step": seconds * gain, "data": 1.0}
    before |= {"workers": workers, "slow": "loader", "hours": near(hours * gain)}
    many = {
        "samples": samples,
        "epochs": epochs,
        "gpu": "A100",
        "gpus": count,
        "efficiency": near(efficiency),
        "data": 1.0,
    }
    many |= {"hours": hours / count / efficiency, "dollars": 2 * hours * price}
    return {
        "name": "drawn", "cheapest": "one", "setups": {"one": one, "before": before, "many": many},
        "tuning": [{"knob": "workers", "stop": "6 rungs"}],
    }  # fmt: skip


@given(consistent(), st.data())
@settings(max_examples=30)
def test_a_consistent_plan_never_has_a_finding_whatever_it_leaves_out(drawn, data):
    assert plan.lint(drawn) == []
    one = drawn["setups"]["one"]
    left_out = data.draw(st.sets(st.sampled_from(sorted(one))))
    drawn["setups"]["one"] = {key: value for key, value in one.items() if key not in left_out}
    assert plan.lint(drawn) == []


@given(consistent(), st.sampled_from(["hours", "dollars", "hours_per_epoch", "speedup", "steps"]), st.floats(1.5, 4))
@settings(max_examples=20)
def test_one_wrong_number_is_always_found(drawn, key, factor):
    one = drawn["setups"]["one"]
    one[key] = int(one[key] * factor) + 1 if key == "steps" else one[key] * factor
    assert any(finding.where == "one" for finding in plan.lint(drawn))


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        ({"hour": 3}, "did you mean 'hours'"),
        ({"hours": "long"}, "write a number above zero"),
        ({"hours": [3, 1]}, "a range \\[low, high\\]"),
        ({"hours": 0}, "write a number above zero"),
        ({"batch": 2.5}, "batch"),
        ({"against": "befor"}, "names a setup 'befor'"),
    ],
)
def test_a_plan_that_cannot_be_read_is_refused_by_name(setup, words):
    with pytest.raises(ParameterError, match=words):
        plan.lint({"name": "bad", "setups": {"before": setup}})


def test_the_command_prints_a_table_and_says_by_its_code_whether_the_plan_holds(capsys):
    assert plan.main(PLANS / "caption_checkpoints.yaml") == 1
    assert "1 contradiction in caption plan" in capsys.readouterr().out
    assert plan.main(PLANS / "consistent.yaml") == 0
    assert "0 contradictions in a plan that adds up" in capsys.readouterr().out
