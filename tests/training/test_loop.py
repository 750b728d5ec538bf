"""The loop: what it writes, what it refuses, what it keeps."""

import math

import pytest
import torch

from stepladder import files
from stepladder.sampling import Order
from stepladder.signals import Preempted
from stepladder.training.loop import TrainingError
from tests.training.conftest import flat, train_here, untimed, weights


def test_loss_falls_and_every_step_is_told(make_run):
    run = make_run()
    job = train_here(run)
    lines = [m for m in run.metrics() if "loss" in m]
    assert [m["step"] for m in lines] == list(range(1, 31))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert {"stage", "loss_absolute", "lr", "norm", "samples_per_s", "time"} <= lines[0].keys()
    assert [m["step"] for m in run.metrics() if "validation_loss" in m] == [7, 14, 21, 28, 30]
    assert job.progress.step == 30 and math.isfinite(job.progress.best["loss"])
