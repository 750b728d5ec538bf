import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.ladder import climb, cost, figures, trial
from stepladder.ladder.climb import Ladder, Rung
from stepladder.params import LadderParams

PARAMS = LadderParams(gain=0.03)


def rung(workers, batch, rate, width=0.1, verdict="better", **more):
    shared = {"cached_rate": 2 * rate, "loader_rate": rate, "busy": 0.5, "phases": {"load": 0.1, "forward": 0.1}}
    return Rung(workers, batch, "ok", verdict, "", rate=rate, rate_half_width=width, **{**shared, **more})


def measured(rate, width=0.1, losses=(1.0, 0.9), growth=0.0):
    return {"rate": rate, "rate_half_width": width, "losses": list(losses), "growth_bytes_per_step": growth}


def judge(this, best=None, room=1e9, steps=1000):
    return climb.judge(this, room, steps, best, PARAMS)


def test_the_first_rung_that_runs_is_better():
    assert judge(measured(1.0))[0] == "better"


def test_a_gain_within_the_noise_is_no_gain():
    assert judge(measured(10.5, 1.0), rung(0, 1, 10.0, 1.0))[0] == "not better"
    assert judge(measured(15.0, 1.0), rung(0, 1, 10.0, 1.0))[0] == "better"


def test_a_nan_loss_is_refused():
    assert judge(measured(10.0, losses=(1.0, None))) == ("refused", "the loss is not finite")


def test_a_leak_is_refused_with_the_step_of_death():
    verdict, reason = judge(measured(10.0, growth=2e6), room=1e9, steps=1000)
    assert verdict == "refused" and "step 500 of 1000" in reason
    assert judge(measured(10.0, growth=2e6), room=1e9, steps=400)[0] == "better"


def test_steady_memory_does_not_grow_and_a_leak_does():
    assert trial.growth([100, 101, 99, 100, 101, 99]) == 0.0
    assert trial.growth([100, 110, 120, 130]) == pytest.approx(10.0)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 8), st.floats(0.1, 100)), min_size=1, max_size=12))
def test_the_choice_is_nearly_the_best_and_the_cheapest_of_those(given_rungs):
    rungs = [rung(w, b, r) for w, b, r in given_rungs]
    chosen = climb.choose(rungs, PARAMS)
    top = max(r.rate for r in rungs)
    assert chosen.rate >= top * 0.97
    assert not [r for r in rungs if r.rate >= top * 0.97 and (r.workers, r.batch) < (chosen.workers, chosen.batch)]


def test_refused_rungs_are_never_chosen():
    assert climb.choose([rung(0, 1, 5.0), rung(2, 8, 50.0, verdict="refused")], PARAMS).rate == 5.0
    assert climb.choose([Rung(0, 1, "oom", "refused", "")], PARAMS) is None


def test_the_sentence_names_what_limits():
    assert "Data-bound" in climb.diagnose(rung(1, 2, 10.0), PARAMS)
    compute = rung(1, 2, 10.0, cached_rate=10.0, loader_rate=90.0, busy=0.99)
    assert "Compute-bound" in climb.diagnose(compute, PARAMS) and "forward" in climb.diagnose(compute, PARAMS)
    assert "No rung ran" in climb.diagnose(None, PARAMS)


def test_an_oom_rules_out_everything_larger_without_a_trial():
    rungs = [Rung(1, 4, "oom", "refused", "")]
    assert climb._ruled_out(rungs, 2, 4).outcome == "skipped"
    assert climb._ruled_out(rungs, 0, 8) is None


def test_pictures_of_a_climb_with_failures_draw():
    ladder = Ladder([rung(0, 1, 5.0), Rung(1, 4, "oom", "refused", "too big")], None, "")
    assert figures.staircase(ladder).axes and figures.where_time_goes(ladder).axes
    assert len(figures.table(ladder)) == 2


def test_young_interval_and_loss():
    assert cost.best_interval(30, 6 * 3600) == pytest.approx(1138, abs=1)
    assert cost.preemption_loss(30, 600, 6 * 3600) == pytest.approx(0.080, abs=0.001)


def test_the_cheapest_gpu_comes_first_and_the_limit_is_named(outputs):
    from stepladder.run import project_root

    prices, note = cost.table(project_root() / "params" / "gpu_prices.yaml", 1_000_000, 1e12, 1.0)
    assert list(prices["dollars"]) == sorted(prices["dollars"])
    assert set(prices["limit"]) == {"data"} and "2026" in note
    loaded = prices.set_index("GPU")["samples/s"]
    assert loaded["RTX 4090"] == 16 and loaded["RTX 3090"] == pytest.approx(8.0)


def test_nothing_is_projected_where_no_rung_ran():
    prices, note = cost.project(None, None, Ladder([], None, "No rung ran."), {})
    assert prices.empty and note == "No rung ran."
