"""A checkpoint on request: made, told by the file that goes, and without a trace in what is learnt."""

import time

import pytest
import torch

from stepladder.core.config import merge
from stepladder.training import request
from tests.training.conftest import begin_job, flat, log_of, train_here, untimed, wait_for_step, weights
from tests.training.test_loop import steps

RARE = {"training": {"checkpoint_every": 1000, "validate_every": 1000, "keep": 99}}


def equal(one, two):
    left, right = flat(weights(one)), flat(weights(two))
    assert untimed(one) == untimed(two) and left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)


def test_training_saves_when_asked_and_ends_with_the_same_bits(make_run, monkeypatch):
    monkeypatch.setattr(request, "SECONDS", 0.0)
    monkeypatch.setattr("stepladder.training.parallel.ALONE_SECONDS", 0.0)
    whole, asked = make_run("whole", RARE), make_run("asked", RARE)
    train_here(whole)
    turn = iter(range(1, 1000))

    def ask_at_step_nine():  # called once after every step
        if next(turn) == 9:
            request.ask_to_save(asked)
        return False

    train_here(asked, ask_at_step_nine)
    assert steps(whole) == [30] and steps(asked) == [9, 30]
    assert not (asked.folder / request.PATH).exists()
    assert equal(whole, asked)


def test_a_request_from_before_the_start_counts_for_nothing(make_run, monkeypatch):
    monkeypatch.setattr(request, "SECONDS", 0.0)
    run = make_run("run", RARE)
    request.ask_to_save(run)
    train_here(run)
    assert steps(run) == [30] and not (run.folder / request.PATH).exists()


def test_nobody_looks_more_than_once_a_second(make_run):
    run, looks = make_run("run", RARE), []
    seen = request.SaveRequest(run, True)

    class Path(type(run.folder)):
        def exists(self, **options):
            looks.append(self)
            return super().exists(**options)

    seen._path = Path(seen._path)
    for _ in range(1000):
        seen.asked()
    assert looks == []
    request.ask_to_save(run)
    seen._since -= request.SECONDS
    assert [seen.asked(), seen.asked()] == [True, False] and len(looks) == 1
    assert request.SaveRequest(run, False).asked() is False, "only the first rank looks"


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.parametrize("processes", [1, 2])
def test_a_process_saves_when_asked_and_goes_on(make_run, processes):
    values = merge(RARE, {"model": {"sleep": 0.02}, "training": {"steps": 120, "processes": processes}})
    whole, asked = make_run("whole", values), make_run("asked", values)
    children = [begin_job(whole)]
    assert children[0].wait(timeout=300) == 0, log_of(whole)
    child = begin_job(asked)
    wait_for_step(asked, 5, child)
    path = request.ask_to_save(asked)
    while path.exists():
        assert child.poll() is None, log_of(asked)
        time.sleep(0.01)
    saved = steps(asked)
    assert len(saved) == 1 and 5 <= saved[0] < 120
    assert child.wait(timeout=300) == 0, log_of(asked)
    assert steps(asked) == [*saved, 120] and equal(whole, asked)
