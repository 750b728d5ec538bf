"""What the probes measure is true: no rate faster than its parts, no leak invented, none missed."""

import math
import mmap
import os
import time

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from stepladder.ladder.measure.probes import full_probe, loader_probe, step_probe
from stepladder.training.setting import Setting

SAMPLE_SECONDS, STEP_SECONDS = 0.02, 0.01


class Sleeping(Dataset):
    """Samples of 4000 bytes that take a while to make; `keeps` bytes of each are never freed."""

    def __init__(self, keeps=0):
        self.keeps, self.kept = keeps, []

    def __getitem__(self, key):
        time.sleep(SAMPLE_SECONDS)
        if self.keeps:
            self.kept.append(mmap.mmap(-1, self.keeps))  # new pages: the heap may have old ones to give
            self.kept[-1].write(bytes(self.keeps))
        return np.full(1000, key, np.float32)


class Job:
    device = torch.device("cpu")

    def __init__(self, keeps=0):
        self.data, self.seen, self.optimizer_steps = Sleeping(keeps), [], 0

    def samples(self):
        return self.data

    def order(self, batch, count):
        return [list(range(first, first + batch)) for first in range(0, batch * count, batch)]

    def stepper(self, setting):
        def one(number, batch, clock):
            time.sleep(STEP_SECONDS)
            clock.lap("forward")
            self.seen.append((number, batch[:, 0].tolist()))
            if (number + 1) % setting.accumulate == 0:
                self.optimizer_steps += 1
                clock.lap("optimizer")
            return torch.tensor(float(number))

        return one


def test_the_loader_alone():
    probe = loader_probe(Job(), 6)
    assert len(probe.sample_seconds) == 5  # the first one of a process is not like the others
    assert min(probe.sample_seconds) >= SAMPLE_SECONDS
    assert probe.cold_seconds >= SAMPLE_SECONDS
    assert probe.sample_bytes == 4000
    assert probe.cpu_share < 0.7  # it sleeps
    assert probe.growth_bytes_per_sample == 0
    assert probe.hot.startswith("Sleeping.__getitem__ in test_probes.py:")
    assert sum(probe.stages.values()) == pytest.approx(np.mean(probe.sample_seconds))


class Compiling(Sleeping):
    """The first samples of each of two kinds of a process take `WAIT` seconds longer."""

    WAIT = 0.4

    def __init__(self):
        super().__init__()
        self.known = set()

    def __getitem__(self, key):
        if (os.getpid(), key % 2) not in self.known:
            self.known.add((os.getpid(), key % 2))
            time.sleep(self.WAIT)
        return super().__getitem__(key)


def test_what_a_process_pays_once_is_in_no_sample_and_told_apart():
    job = Job()
    job.data = Compiling()
    probe = loader_probe(job, 16)
    assert max(probe.sample_seconds) < probe.cold_seconds + Compiling.WAIT / 2 < Compiling.WAIT
    assert sum(probe.stages.values()) == pytest.approx(np.mean(probe.sample_seconds))
    assert probe.first_seconds == pytest.approx(Compiling.WAIT, rel=0.3)
    assert loader_probe(Job(), 6).first_seconds < SAMPLE_SECONDS


def test_slow_samples_are_fewer():
    probe = loader_probe(Job(), 1000, seconds=0.4)
    assert 1 <= len(probe.sample_seconds) < 20


@pytest.mark.slow
def test_a_loader_that_keeps_its_samples_is_seen():
    probe = loader_probe(Job(keeps=1_000_000), 20)
    assert probe.growth_bytes_per_sample == pytest.approx(1e6, rel=0.2)
    assert probe.process_bytes > 15e6


def test_the_step_alone():
    job = Job()
    probe = step_probe(job, Setting(batch=3, accumulate=4), 6)
    assert probe.seconds >= STEP_SECONDS
    assert probe.phases["forward"] >= STEP_SECONDS
    assert len(job.seen) == 4 * (1 + 3)  # a warm-up and at least three optimizer steps, all whole
    assert job.optimizer_steps == 4
    assert {len(keys) for _, keys in job.seen} == {3}
    assert probe.process_bytes > 1e7


@pytest.mark.parametrize(("workers", "batch", "accumulate"), [(0, 1, 1), (2, 1, 1), (2, 2, 3)])
def test_loader_and_step_together(workers, batch, accumulate):
    job = Job()
    probe = full_probe(job, Setting(workers, batch, accumulate=accumulate), 6)
    rounds = math.lcm(max(1, workers), accumulate)
    assert probe.steps % rounds == 0
    assert probe.steps >= 3 * rounds
    assert [keys[0] for _, keys in job.seen] == [batch * number for number in range(len(job.seen))]
    assert probe.losses == (0.0, len(job.seen) - 1.0)
    ahead = probe.steps / (probe.steps - 2 * workers)  # what lay ready when the clock started
    assert 0 < probe.rate <= ahead * max(1, workers) / SAMPLE_SECONDS  # no faster than its parts, as bursts look
    assert probe.rate <= batch / STEP_SECONDS
    assert 0 < probe.busy < 1
    assert probe.phases["load"] > 0
    assert probe.host_bytes > 1e7
    assert 0 <= probe.contended <= 1


def test_a_leak_keeps_a_trial_running_to_its_last_pass():
    probe = full_probe(Job(keeps=2_000_000), Setting(workers=1), 30)
    assert probe.steps == 30
    assert probe.host_growth == pytest.approx(2e6, rel=0.3)
