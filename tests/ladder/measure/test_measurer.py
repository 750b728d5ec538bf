"""A real job on the bench: trials in processes of their own give records, whatever the job does."""

import math
import os

import numpy as np
import pytest
import torch
from torch import nn

from stepladder.ladder.measure.job import open_job
from stepladder.ladder.measure.measurer import ProcessMeasurer
from stepladder.training.setting import Setting


class Small:
    """A quick job; `loss` is what every pass returns."""

    device = torch.device("cpu")

    def __init__(self, loss=1.0):
        self.loss = loss

    def samples(self):
        return [np.zeros(4, np.float32)]

    def order(self, batch, count):
        return [[0] * batch] * count

    def stepper(self, setting):
        layer = nn.Linear(4, 1)

        def one(number, batch, clock):
            layer(batch).sum().backward()
            clock.lap("backward")
            return self.loss + 0.0 * torch.get_num_threads() if self.loss else float(torch.get_num_threads())

        return one

    def fake_bytes(self, setting):
        return None if setting.checkpointing else 1000 * setting.batch + setting.accumulate


def small(loss=1.0):
    return Small(float(loss))


class Crowded(Small):
    """Every pass returns the number of CPUs that it may use."""

    def stepper(self, setting):
        return lambda number, batch, clock: float(len(os.sched_getaffinity(0)))


def crowded():
    return Crowded()


def broken():
    raise KeyError("no shard")


@pytest.fixture
def measurer(warm_runner, tmp_path):
    def make(job="tests.ladder.measure.test_measurer:small", batches=(), processes=1, **arguments):
        return ProcessMeasurer(job, arguments, tmp_path, 60.0, 4e9, batches, warm_runner, processes)

    return make


@pytest.mark.slow
def test_every_probe_comes_back_as_its_record(measurer):
    made = measurer()
    loader, step, full = made.loader(4), made.step(Setting(batch=2), 4), made.full(Setting(batch=2), 4)
    assert [trial.ending for trial in (loader, step, full)] == ["ok"] * 3
    assert loader.probe.sample_bytes == 16
    assert isinstance(loader.probe.sample_seconds, tuple)
    assert step.setting == full.setting == Setting(batch=2)
    assert step.probe.phases["backward"] > 0
    assert full.probe.losses == (1.0, 1.0)
    assert full.peak_bytes > 5e7


def test_a_loss_that_is_not_finite_comes_back_so(measurer):
    losses = measurer(loss="nan").full(Setting(), 4).probe.losses
    assert all(math.isnan(loss) for loss in losses)


def test_threads_of_the_setting_are_in_force(measurer):
    assert measurer(loss=0).full(Setting(threads=2), 4).probe.losses[0] == 2.0


def test_one_of_several_processes_is_measured_on_its_share_of_the_cpus(measurer):
    job, all_cpus = "tests.ladder.measure.test_measurer:crowded", len(os.sched_getaffinity(0))
    used = [measurer(job, processes=count).full(Setting(), 4).probe.losses[0] for count in (2, 1, 1000)]
    assert used == [max(1, all_cpus // 2), all_cpus, 1]


def test_what_the_job_raises_is_a_reason_not_an_error(measurer):
    trial = measurer("tests.ladder.measure.test_measurer:broken").full(Setting(), 4)
    assert (trial.ending, trial.probe) == ("failed", None)
    assert trial.reason == "KeyError: 'no shard'"


def test_a_job_that_does_not_exist_is_named(measurer):
    trial = measurer("tests.ladder.measure.test_measurer:absent").loader(4)
    assert trial.ending == "failed"
    assert "no job 'tests.ladder.measure.test_measurer:absent'" in trial.reason
    with pytest.raises(ValueError, match="name it as module:function"):
        open_job("absent", {})


def test_fake_memory_of_all_candidates_takes_one_process(measurer, tmp_path):
    made = measurer(batches=(1, 2, 4))
    assert made.fake_bytes(Setting(workers=2, batch=1, accumulate=4)) == 1002  # more accumulation takes no more
    assert made.fake_bytes(Setting(batch=4)) == 4001
    assert made.fake_bytes(Setting(batch=2, accumulate=2)) == 2002
    assert len(list(tmp_path.glob("*_fake.json"))) == 1


def test_the_device_is_asked_for_once(measurer, tmp_path):
    made = measurer()
    assert made.device_limit() == made.device_limit()
    assert (made.device_limit() is None) != torch.cuda.is_available()
    assert len(list(tmp_path.glob("*_device.json"))) == 1


def test_fake_memory_may_be_unknown(measurer):
    assert measurer().fake_bytes(Setting(checkpointing=True)) is None
    assert measurer("tests.ladder.measure.test_measurer:broken").fake_bytes(Setting()) is None
