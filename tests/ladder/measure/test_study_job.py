"""The ladder times the very step that training makes, and draws the very samples."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from stepladder.ladder.measure.study_job import StudyJob
from stepladder.testing.template.study import SIDE, DiscParams, study
from stepladder.training.setting import Setting
from stepladder.training.step import Clock, lone_train_state, train_step
from tests.training.toy.pair.study import PairData, PairParams
from tests.training.toy.pair.study import study as pair

SEED = 3
PARAMS = DiscParams(study="template", seed=SEED)


class Images:
    """Images of one group that are functions of their index."""

    groups = np.array(["dark"] * 20, dtype=object)
    units = groups
    weights: ClassVar = {"dark": 1.0}

    def __len__(self):
        return len(self.groups)

    def sample(self, index, rng):
        image_YX = np.random.default_rng(index).random((SIDE, SIDE), dtype=np.float32)
        return {"image_YX": image_YX, "mask_YX": (image_YX > 0.7).astype(np.int64), "index": index}


@pytest.fixture
def job():
    torch.set_num_threads(1)
    return StudyJob(study, PARAMS, Images(), torch.device("cpu"))


def batches(job, batch, count):
    data = job.samples()
    return [default_collate([data[key] for key in keys]) for keys in job.order(batch, count)]


def test_keys_come_in_the_order_of_training(job):
    assert [[n for n, _ in keys] for keys in job.order(2, 3)] == [[0, 1], [2, 3], [4, 5]]
    assert sorted(index for keys in job.order(4, 5) for _, index in keys) == list(range(20))  # one epoch


@pytest.mark.parametrize("accumulate", [1, 3])
def test_passes_add_up_to_the_steps_of_training(job, accumulate):
    setting, clock = Setting(batch=2, accumulate=accumulate), Clock(job.device)
    micros = batches(job, 2, 4 * accumulate)
    stepper = job.stepper(setting)
    losses = [float(stepper(number, batch, clock)) for number, batch in enumerate(micros)]
    torch.manual_seed(SEED)
    training = setting.applied(PARAMS.training)
    train_state = lone_train_state(study, study.model(PARAMS), study.phases(PARAMS)[0], training, SEED)
    for step in range(4):
        mine = slice(step * accumulate, (step + 1) * accumulate)
        wanted = float(train_step(train_state, step, micros[mine]).loss)
        assert np.mean(losses[mine]) == pytest.approx(wanted, rel=1e-6)
    assert set(clock.seconds) == {"host_to_device", "forward", "backward", "optimizer"}


def test_a_study_with_tasks_is_timed_and_forecast_with_all_its_groups():
    """Whatever comes first in training: few passes stand for all of it."""
    training = {"mixing": "sequential", "batch": 4}
    params = PairParams.model_validate({"study": "pair", "training": training})
    job = StudyJob(pair, params, PairData(["a", "b"], 0), torch.device("cpu"))
    keys = job.order(4, 3)
    assert {str(job.train.groups[index]) for pass_ in keys for _, index in pass_} == {"a", "b"}
    clock, stepper = Clock(job.device), job.stepper(Setting(batch=4))
    for number, batch in enumerate(batches(job, 4, 3)):
        assert torch.isfinite(stepper(number, batch, clock))
    assert job.fake_bytes(Setting(batch=8)) > job.fake_bytes(Setting(batch=4)) > 0


def test_memory_of_the_real_step_is_known_before_it_runs(job):
    sizes = [job.fake_bytes(Setting(batch=batch)) for batch in (1, 2, 4)]
    assert sizes[2] - sizes[1] == pytest.approx(2 * (sizes[1] - sizes[0]), rel=0.02)
    assert job.fake_bytes(Setting(batch=4, precision="bfloat16")) < sizes[2]
