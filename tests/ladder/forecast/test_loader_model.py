"""The loader model forecasts what an in-order loader and a step do together, and what memory they take."""

import heapq
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.ladder.forecast import loader_model
from stepladder.ladder.forecast.cells import Limits, forecast
from stepladder.ladder.forecast.loader_model import LoaderModel, step_ends
from stepladder.ladder.records import FullProbe, LoaderProbe, StepProbe, Trial
from stepladder.training.setting import Setting

GB = 10**9


def brute_force(prep_J, step, workers, prefetch):
    """Events of an in-order loader, one at a time: index queues, busy workers, a training process that waits."""
    queues, busy, ready, events = [[] for _ in range(workers)], [False] * workers, set(), []
    asked = taken = 0
    stepping, ends = False, []

    def begin(worker, now):
        if queues[worker] and not busy[worker]:
            busy[worker] = True
            batch = queues[worker].pop(0)
            heapq.heappush(events, (now + prep_J[batch], 1, worker, batch))

    def ask(now):
        nonlocal asked
        if asked < len(prep_J):
            queues[asked % workers].append(asked)
            asked += 1
            begin((asked - 1) % workers, now)

    for _ in range(workers * prefetch):
        ask(0.0)
    while len(ends) < len(prep_J):
        now, what, worker, batch = heapq.heappop(events)
        if what:
            busy[worker] = False
            ready.add(batch)
            begin(worker, now)
        else:
            stepping = False
            ends.append(now)
        if not stepping and taken in ready:
            taken, stepping = taken + 1, True
            ask(now)
            heapq.heappush(events, (now + step, 0, 0, 0))
    return ends


def loader(seconds=0.1, spread=0.0, count=64, **more):
    times = np.random.default_rng(0).normal(seconds, spread * seconds, count).clip(0.01 * seconds)
    plain = {"cpu_share": 0.0, "sample_bytes": 0, "process_bytes": 0, "growth_bytes_per_sample": 0.0}
    return LoaderProbe(tuple(times), seconds, 0.0, **{**plain, **more})


def step(batch, seconds, **more):
    setting = {name: more.pop(name) for name in ("threads", "precision", "checkpointing") if name in more}
    return Trial(Setting(0, batch, **setting), "ok", "", probe=StepProbe(seconds, 0.0, **more))


def full(setting, rate, busy, **more):
    return Trial(setting, "ok", "", probe=FullProbe(rate, 0.0, busy, 12, **more))


@settings(max_examples=60)
@given(
    st.lists(st.floats(0.001, 1.0), min_size=1, max_size=60),
    st.floats(0.001, 1.0),
    st.integers(1, 16),
    st.integers(1, 4),
)
def test_the_recurrence_equals_a_simulation_of_the_loader(prep_J, one_step, workers, prefetch):
    np.testing.assert_allclose(
        step_ends(prep_J, one_step, workers, prefetch), brute_force(prep_J, one_step, workers, prefetch)
    )


def test_without_workers_loading_and_stepping_take_turns():
    assert step_ends([1.0, 2.0], 0.5, 0, 2) == [1.5, 4.0]


@settings(max_examples=20)
@given(st.integers(1, 8), st.integers(1, 8), st.floats(0.01, 0.3), st.floats(0.01, 0.3))
def test_even_samples_give_the_rate_of_the_slower_side(workers, batch, sample, one_step):
    model = LoaderModel(loader(sample), (step(batch, one_step),), cores=100)
    slower = min(workers / sample, batch / one_step)
    assert model.rate(Setting(workers, batch)) == pytest.approx(slower, rel=0.06)


def test_uneven_samples_cost_something_and_prefetch_wins_it_back():
    uneven = LoaderModel(loader(0.1, spread=0.6), (step(1, 0.025),), cores=100)
    assert uneven.rate(Setting(4, 1)) < 0.95 * LoaderModel(loader(0.1), (step(1, 0.025),), cores=100).rate(
        Setting(4, 1)
    )
    assert uneven.rate(Setting(4, 1, prefetch=8)) > 1.02 * uneven.rate(Setting(4, 1))


def test_cpu_time_is_conserved():
    model = LoaderModel(loader(0.1, cpu_share=1.0), (step(1, 0.05, cpu_seconds=0.1),), cores=2)
    assert model.rate(Setting(8, 1)) == pytest.approx(10.0, rel=0.01)  # 2 cores over 0.1 + 0.1 CPU seconds a sample


def test_a_step_is_a_line_through_its_probes():
    model = LoaderModel(loader(1e-6), (step(1, 0.03), step(4, 0.06), step(4, 0.5, precision="bfloat16")), cores=100)
    assert model.step_seconds(Setting(0, 8)) == pytest.approx(0.10)
    assert model.step_seconds(Setting(0, 8, precision="bfloat16")) == pytest.approx(1.0)  # one probe: no offset


@settings(max_examples=20)
@given(st.integers(1, 8), st.floats(0.3, 3.0))
def test_after_a_refit_the_twin_says_what_was_measured(workers, factor):
    model = LoaderModel(loader(0.1, spread=0.3), (step(2, 0.001),), cores=100)
    setting = Setting(workers, 2)
    measured = model.rate(setting) * factor
    again = model.refit(full(setting, measured, busy=0.001 * measured / 2))
    assert again.rate(setting) == pytest.approx(measured, rel=0.02)


def test_a_busy_step_that_is_slower_than_forecast_is_slower_everywhere():
    model = LoaderModel(loader(0.001), (step(8, 0.3),), cores=100)
    again = model.refit(full(Setting(1, 8), 0.95 * model.rate(Setting(1, 8)), busy=0.97))
    assert again.rate(Setting(4, 8)) == pytest.approx(0.95 * model.rate(Setting(4, 8)), rel=0.01)


def test_contention_learnt_at_many_workers_bends_the_cells_between():
    model = LoaderModel(loader(0.1), (step(1, 0.001),), cores=100)
    again = model.refit(full(Setting(9, 1), 45.0, busy=0.05))
    assert again.slowdown(1) == 1.0
    assert again.slowdown(5) == pytest.approx(1.5, rel=0.05)
    assert again.slowdown(12) == again.slowdown(9)


def test_device_memory_is_the_fake_forecast_and_the_largest_offset():
    probes = (step(1, 0.1, device_bytes=3 * GB), step(2, 0.1, device_bytes=4 * GB + GB // 2))
    model = LoaderModel(loader(), probes, 8, fakes=lambda setting: (1 + setting.batch) * GB)
    assert model.device_bytes(Setting(2, 8)) == 9 * GB + GB + GB // 2


def test_without_a_fake_forecast_memory_goes_on_as_steeply_as_it_was():
    assert loader_model.straight_up([(1, 100), (2, 150), (4, 200)], 8) == 400
    assert loader_model.straight_up([(2, 100)], 4) == 200
    assert loader_model.straight_up([(1, 100), (2, 90)], 8) == 90  # less for more is noise


def test_host_memory_counts_processes_batches_ahead_and_what_grows():
    probe = loader(process_bytes=GB, sample_bytes=10**7, growth_bytes_per_sample=1000.0)
    model = LoaderModel(probe, (step(1, 0.1, process_bytes=2 * GB, device_bytes=1),), 8, fakes=lambda setting: 1)
    none, four = model.host_bytes(Setting(0, 8), 0), model.host_bytes(Setting(4, 8), 0)
    assert none == 2 * GB + GB + 8 * 10**7
    assert four == pytest.approx(2 * GB + 4 * (GB + loader_model.FORKED_BYTES) + (4 * 2 + 1) * 8 * 10**7)
    assert model.host_bytes(Setting(0, 8), 10**6) == none + GB


def test_memory_that_was_measured_raises_the_forecast_and_never_trusts_an_empty_queue():
    probe = loader(process_bytes=GB, sample_bytes=10**8)
    model = LoaderModel(probe, (step(1, 0.1, process_bytes=2 * GB, device_bytes=1),), 8, fakes=lambda setting: 1)
    setting = Setting(4, 1)
    known = model.host_bytes(setting, 0)
    more = model.refit(full(setting, 10.0, 0.5, host_bytes=known + GB))
    assert more.host_bytes(setting, 0) == pytest.approx(known + GB, rel=1e-6)
    fewer = model.refit(full(setting, 10.0, 0.5, host_bytes=known - GB // 2))
    assert fewer.host_bytes(setting, 0) == known


def test_what_does_not_fit_says_how_much_it_needs():
    model = LoaderModel(loader(), (step(1, 0.1, device_bytes=2 * GB),), 8, fakes=lambda setting: 2 * setting.batch * GB)
    cells = forecast(model, [Setting(1, 1), Setting(1, 4)], Limits(100 * GB, 7 * GB), samples=100)
    assert [cell.fits for cell in cells] == [True, False]
    assert cells[1].reason == "needs 8.00 GB of device memory, 7.00 GB may be used"


def test_kinds_that_were_not_probed_are_not_forecast():
    model = LoaderModel(loader(), (step(1, 0.1),), 8)
    assert forecast(model, [replace(Setting(1, 1), compile=True)], Limits(GB), 1) == []
