"""A leak is found and its slope is right; what levels off, and small change, is none."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.ladder.measure import levels
from stepladder.ladder.measure.levels import Queue, growth
from stepladder.machine import limits


@settings(max_examples=30)
@given(st.floats(1e5, 1e8), st.floats(0, 1e10), st.integers(20, 60), st.integers(0, 2**32))
def test_a_steady_leak_is_found(slope, base, count, seed):
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, count) * slope
    found = growth(range(count), base + slope * np.arange(count) + noise)
    assert found == pytest.approx(slope, rel=0.4) or slope * count / 2 < 2 * levels.LEAST_RISE


@settings(max_examples=30)
@given(st.floats(1e5, 1e9), st.integers(1, 20), st.integers(41, 60))
def test_a_cache_that_fills_and_levels_off_is_no_leak(slope, full, count):
    assert growth(range(count), np.minimum(np.arange(count), full) * slope) == 0


@settings(max_examples=30)
@given(st.lists(st.integers(0, 10**6), min_size=0, max_size=40))
def test_small_change_is_no_leak(levels):
    assert growth(range(len(levels)), levels) == 0


def queue_after(monkeypatch, cpu, wait, seconds, cpus):
    """The pollution of a trial that computed `cpu` and waited `wait` of `seconds`."""
    monkeypatch.setattr(limits, "cpu_and_queue", lambda pids: (cpu, wait))
    monkeypatch.setattr(limits, "cpus", lambda: cpus)
    monkeypatch.setattr(levels.time, "monotonic", lambda: seconds)
    return Queue(os.getpid(), 0.0, 0.0, 0.0).contended()


def test_waiting_for_others_is_pollution(monkeypatch):
    assert queue_after(monkeypatch, cpu=3.0, wait=1.0, seconds=10.0, cpus=2.0) == 0.25


def test_waiting_for_each_other_is_not(monkeypatch):
    assert queue_after(monkeypatch, cpu=19.0, wait=30.0, seconds=10.0, cpus=2.0) == 0.0


def test_a_trial_that_did_nothing_is_clean(monkeypatch):
    assert queue_after(monkeypatch, cpu=0.0, wait=0.0, seconds=10.0, cpus=2.0) == 0.0
