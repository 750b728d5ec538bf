"""Drills: training processes are killed, stopped and given other ranks, and the outcome is the same.

Several ranks agree on stopping about once a second, so the toys that are stopped take a few seconds in all.
"""

import random
import signal

import numpy as np
import pytest
import torch

from stepladder.core.config import merge
from stepladder.training import checkpoint
from tests.training.conftest import (
    begin_job,
    begin_worker,
    flat,
    kill_all,
    log_of,
    train_here,
    untimed,
    wait_for_step,
    weights,
)

pytestmark = [pytest.mark.slow, pytest.mark.drill]
SLOW = {"model": {"sleep": 0.005}}


def finish(child, run, code=0):
    assert child.wait(timeout=300) == code, log_of(run)


def consumed(path):
    """Sample indices in the order the loss saw them."""
    return [int(word) for word in path.read_text().split()]


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_a_random_step_and_resumed_equals_uninterrupted(make_run, workers):
    whole = make_run("whole", {**SLOW, "training": {"workers": workers}})
    train_here(whole)
    killed = make_run("killed", {**SLOW, "training": {"workers": workers}})
    step = random.randint(3, 27)
    child = begin_worker(killed)
    wait_for_step(killed, step, child)
    kill_all(child)
    saved = [at for at, _ in checkpoint.committed(killed.checkpoints)][:1]  # on a busy machine it went on a little
    assert saved or step < 6
    finish(begin_worker(killed), killed)
    assert [event["step"] for event in killed.events("resumed")] == saved
    assert untimed(killed) == untimed(whole), f"killed at step {step}"
    one, two = flat(weights(whole)), flat(weights(killed))
    assert one.keys() == two.keys() and len(one) > 20
    assert all(torch.equal(one[name], two[name]) for name in one), f"killed at step {step}"


def test_sigterm_saves_exits_143_and_the_next_start_continues(make_run):
    run, whole = make_run("run", SLOW), make_run("whole", SLOW)
    child = begin_job(run)
    wait_for_step(run, 8, child)
    child.send_signal(signal.SIGTERM)
    finish(child, run, 143)
    reached = max(m["step"] for m in run.metrics())
    assert (run.checkpoints / f"step_{reached:08d}" / "COMMITTED").exists() and reached < 30
    finish(begin_job(run), run)
    assert run.events("resumed")[0]["step"] == reached
    train_here(whole)
    assert untimed(run) == untimed(whole)
    assert all(
        torch.equal(a, b) for a, b in zip(flat(weights(run)).values(), flat(weights(whole)).values(), strict=True)
    )


def test_one_rank_then_two_then_one_loses_no_sample_and_repeats_none(make_run, tmp_path):
    log, values = tmp_path / "consumed", {"model": {"sleep": 0.06, "samples": 20}, "training": {"steps": 60}}
    for processes, until in ((1, 6), (2, 16), (1, 60)):
        run = make_run("run", merge(values, {"training": {"processes": processes}}))
        child = begin_job(run, TOY_LOG=str(log))
        if until < 60:
            wait_for_step(run, until, child)
            child.send_signal(signal.SIGTERM)
            finish(child, run, 143)
        else:
            finish(child, run)
    counts = np.bincount(consumed(log), minlength=20)
    assert counts.tolist() == [60 * 4 // 20] * 20
    whole = make_run("whole", values)
    train_here(whole)
    assert [m["step"] for m in run.metrics()] == [m["step"] for m in whole.metrics()]
    last, same = run.metrics()[-1]["validation_loss"], whole.metrics()[-1]["validation_loss"]
    assert last == pytest.approx(same, rel=1e-3)  # with dropout on


@pytest.mark.parametrize("shard", [False, True])
def test_two_ranks_equal_one_process(make_run, shard):
    values = {"training": {"batch": 5, "accumulate": 2, "steps": 12, "shard": shard}}
    one, two = make_run("one", values), make_run("two", merge(values, {"training": {"processes": 2}}))
    train_here(one)
    finish(begin_job(two), two)
    for single, double in zip(one.metrics(), two.metrics(), strict=True):
        for key in single.keys() & {"loss", "loss_absolute", "norm", "validation_loss", "lr"}:
            assert single[key] == pytest.approx(double[key], rel=1e-4), (single, double)
    single, double = flat(weights(one)), flat(weights(two))
    assert single.keys() == double.keys()
    assert all(torch.allclose(single[name], double[name], atol=1e-5) for name in single)


def test_a_sharded_run_continues_in_one_process(make_run):
    values = {"model": {"sleep": 0.06}, "training": {"shard": True, "steps": 60}}
    run = make_run("run", merge(values, {"training": {"processes": 2}}))
    child = begin_job(run)
    wait_for_step(run, 8, child)
    child.send_signal(signal.SIGTERM)
    finish(child, run, 143)
    make_run("run", values)
    finish(begin_worker(run), run)
    whole = make_run("whole", values)
    train_here(whole)
    for one, two in zip(run.metrics(), whole.metrics(), strict=True):
        key = "loss" if "loss" in one else "validation_loss"
        assert one[key] == pytest.approx(two[key], rel=1e-3)
