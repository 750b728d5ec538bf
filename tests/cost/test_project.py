"""Hours and dollars: the arithmetic of four printed cost tables, what limits a machine, and what a run really cost."""

import dataclasses
import json
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core import profiles
from stepladder.core.config import ParameterError
from stepladder.core.run import Run
from stepladder.core.schema import Parameters, TrainingParams
from stepladder.core.types import Loss, TrainingPhase
from stepladder.cost import bill, offers
from stepladder.cost import project as cost
from stepladder.cost.offers import Span, read_prices
from stepladder.ladder.records import Machine
from stepladder.machine.limits import Limits
from stepladder.training.setting import Setting
from tests.ladder import search_results

# What the plans print ------------------------------------------------------------------------------------------------

TOKYO = [  # GPU, hours, dollars printed
    ("RTX 3090", 48, 6),
    ("RTX 3090 Ti", 45, 6),
    ("RTX 4090", 36, 10),
    ("A100 PCIe 40 GB", 30, 16),
    ("A100 80 GB", 24, 19),
]
JAPAN = [  # GPU, hours and dollars printed, low and high
    ("RTX 3090", (200, 300), (26, 39)),
    ("A100 PCIe 40 GB", (100, 150), (52, 78)),
    ("A100 80 GB", (60, 80), (47, 63)),
    ("4 x A100", (20, 30), (50, 75)),
    ("8 x A100", (10, 15), (50, 75)),
]
EARLIER = [  # setup, dollars per hour, hours, dollars printed, dollars that follow
    ("one A100", (0.52, 0.52), (30, 30), (15, 15), (15.6, 15.6)),
    ("8 x A100", (4, 6), (48, 72), (200, 400), (192, 432)),
    ("two nodes of 8 x A100", (8, 12), (24, 36), (200, 350), (192, 432)),
]
SCROLL = [  # step, seconds per step, hours per epoch of 4,000 steps printed, hours that follow
    ("now", (3600 / 183, 3600 / 183), (20, 20), (21.9, 21.9)),
    ("2 workers", (9, 10), (10, 10), (10.0, 11.1)),
    ("batch 2", (5, 6), (5, 6), (5.6, 6.7)),
    ("4 workers", (3, 4), (3, 4), (3.3, 4.4)),
    ("batch 4", (2, 3), (2, 3), (2.2, 3.3)),
]


PRICES = read_prices(Path(__file__).parents[2] / "params" / "gpu_prices.yaml")


@pytest.fixture
def prices():
    return PRICES


def price(prices, name):
    return next(offer.dollars_per_hour for offer in prices.gpus if offer.name == name)


@pytest.mark.parametrize(("name", "hours", "printed"), TOKYO)
def test_the_table_of_one_city_adds_up(prices, name, hours, printed):
    assert round(hours * price(prices, name)) == printed


@pytest.mark.parametrize(("name", "hours", "printed"), JAPAN)
def test_the_table_of_the_country_adds_up_row_by_row(prices, name, hours, printed):
    assert tuple(math.floor(h * price(prices, name) + 0.5) for h in hours) == printed


def test_but_its_nodes_cost_less_than_the_cards_in_them_at_the_plans_own_price(prices):
    """Printed: $50 for 20 h of 4 x A100. Four of its 80 GB cards are $63.20, which is what a plan should count on."""
    cards = 4 * price(prices, "A100 80 GB")
    assert 20 * price(prices, "4 x A100") == 50 and 20 * cards == pytest.approx(63.20)


def test_and_its_rows_leave_out_what_thirty_times_the_data_take(prices):
    """Printed: 200-300 h on the RTX 3090. Thirty times the 48 h of one city are 1,440 h and $187."""
    hours = 60 / 2 * TOKYO[0][1]
    assert hours == 1440 and hours * price(prices, "RTX 3090") == pytest.approx(187.2)


@pytest.mark.parametrize(("name", "rate", "hours", "printed", "right"), EARLIER)
def test_the_earlier_edition_prints_upper_ends_that_are_too_low(name, rate, hours, printed, right):
    follows = tuple(r * h for r, h in zip(rate, hours, strict=True))
    assert follows == pytest.approx(right)
    short = {"8 x A100": 400, "two nodes of 8 x A100": 350}.get(name)
    assert (printed[1] < 0.95 * follows[1]) == (short is not None) and printed[1] == (short or 15)


@pytest.mark.parametrize(("name", "seconds", "printed", "right"), SCROLL)
def test_the_scroll_table_prints_hours_up_to_a_tenth_short(name, seconds, printed, right):
    follows = tuple(4000 * s / 3600 for s in seconds)
    assert follows == pytest.approx(right, abs=0.06)
    assert all(0.88 < p / f <= 1.0 for p, f in zip(printed, follows, strict=True))


def test_the_scroll_total_is_29_days_and_not_27(prices):
    """Printed: 26.7 days for 32 epochs, and no dollars. 29.1 days follow, $553 at the city plan's price of the card."""
    hours = 32 * 4000 / 183
    assert hours / 24 == pytest.approx(29.1, abs=0.05)
    assert hours * price(prices, "A100 80 GB") == pytest.approx(553, abs=1)


def test_the_four_rows_an_optimiser_was_fed_with(prices):
    rows = [("RTX 3090", 1, 250, 32.50), ("H100 SXM 80 GB", 1, 30, 46.80), ("A100 PCIe 40 GB", 1, 125, 65.00)]
    rows += [("A100 80 GB", 4, 20, 63.20)]
    for name, count, hours, dollars in rows:
        assert count * hours * price(prices, name) == pytest.approx(dollars)


# Interruptions -------------------------------------------------------------------------------------------------------


def simulated_loss(save, restart, between, interval, seed=0, intervals=20_000):
    """Share of time lost by a machine interrupted after exponential times of running, restarts not interrupted."""
    rng = np.random.default_rng(seed)
    clock, left = 0.0, rng.exponential(between)
    for _ in range(intervals):
        while left < interval:
            clock += left + restart
            left = rng.exponential(between)
        clock, left = clock + interval, left - interval
    return clock / (intervals * (interval - save)) - 1


@pytest.mark.parametrize(("save", "restart", "hours"), [(30, 600, 6), (300, 600, 24), (10, 180, 2)])
def test_the_loss_to_interruptions_is_what_a_simulation_finds(save, restart, hours):
    between = 3600 * hours
    interval = offers.best_interval(save, restart, between)
    assert offers.preemption_loss(save, restart, between) == pytest.approx(
        simulated_loss(save, restart, between, interval), rel=0.06
    )


@given(st.floats(1, 600), st.floats(0, 1800), st.floats(2, 48), st.floats(0.2, 5))
@settings(max_examples=30)
def test_no_interval_between_checkpoints_loses_less_than_the_best(save, restart, hours, factor):
    between = 3600 * hours
    best = offers.best_interval(save, restart, between)
    other = save + factor * (best - save)
    assert (
        offers.preemption_loss(save, restart, between) <= offers.preemption_loss(save, restart, between, other) + 1e-12
    )


def test_youngs_interval_agrees_where_saving_is_quick():
    assert offers.young_interval(30, 6 * 3600) == pytest.approx(1138, abs=1)
    assert offers.best_interval(30, 600, 6 * 3600) == pytest.approx(1138, rel=0.05)


# What limits a machine -----------------------------------------------------------------------------------------------


def need(**more):
    given = {"samples": 1_000_000, "flops": 1e12, "setting": Setting(4, 8, precision="bfloat16")}
    given |= {"load": Span.around(3.0, 0.1), "share": Span(0.15, 0.3, 0.5), "bytes": 20 * 10**9}
    return cost.Need(**{**given, **more})


def rows(prices, wanted, **more):
    return pd.DataFrame(cost.table(prices, wanted, save=30.0, **more)).set_index("GPU")


def test_a_data_bound_job_is_limited_by_cpus_and_the_cheap_host_wins(prices):
    table = rows(prices, need())
    assert table.loc["H200 141 GB", "limit"] == "data" and table.loc["H200 141 GB", "samples/s"] == 3.0 * 24
    assert table.loc["RTX 3090", "samples/s"] == pytest.approx(0.3 * 71)
    assert table.index[0] == "RTX 3090 Ti"  # at the price of the RTX 3090, a little faster
    assert 3 * table.loc["RTX 3090", "dollars"] < table.loc["H100 SXM 80 GB", "dollars"]


def test_a_compute_bound_job_scales_by_the_data_sheet_of_its_precision(prices):
    half, single = need(load=Span.around(1e6, 0.1)), need(load=Span.around(1e6, 0.1), setting=Setting(4, 8))
    assert rows(prices, half).loc["A100 80 GB", "samples/s"] == pytest.approx(0.3 * 312)
    assert rows(prices, single).loc["A100 80 GB", "samples/s"] == pytest.approx(0.3 * 19.5)
    assert rows(prices, half).loc["8 x A100", "limit"] in ("compute", "data")
    assert rows(prices, half).loc["4 x A100", "samples/s"] == pytest.approx(4 * 0.71 * 0.3 * 312)


def test_too_small_a_memory_keeps_its_row_and_says_both_numbers(prices):
    table = rows(prices, need(bytes=30 * 10**9), memory_fraction=0.85)
    small = table.loc["RTX 4090"]
    assert small["limit"] == "memory" and math.isnan(small["dollars"])
    assert small["remark"] == "does not fit: needs 30.0 of 20 GB at batch 8"
    assert table.loc["A100 PCIe 40 GB", "remark"] == "30.0 of 34 GB"


@pytest.mark.parametrize(
    ("held", "words"), [(36e6, "36 MB of 34 GB"), (2e5, "0.2 MB of 34 GB"), (58e7, "0.6 of 34 GB")]
)
def test_memory_that_is_small_is_told_in_its_own_unit(prices, held, words):
    table = rows(prices, need(bytes=int(held)), memory_fraction=0.85)
    assert table.loc["A100 PCIe 40 GB", "remark"] == words
    fits = table["dollars"].notna()
    assert len(table) == len(prices.gpus) and list(fits) == sorted(fits, reverse=True)
    assert (rows(prices, need(bytes=None))["remark"] == "memory unknown").all()


@given(st.floats(0.01, 1e4), st.floats(0, 0.9), st.floats(1e6, 1e15), st.integers(1, 10**9))
@settings(max_examples=30)
def test_low_likely_and_high_are_in_order_and_dollars_follow_from_hours(load, spread, flops, samples):
    wanted = need(load=Span.around(load, spread), flops=flops, samples=samples)
    for row in cost.table(PRICES, wanted, save=30.0):
        for name in ("hours", "dollars"):
            assert row[f"{name} low"] <= row[name] <= row[f"{name} high"]
        assert row["dollars"] == pytest.approx(row["hours"] * row["$/h"])


def test_a_machine_that_is_not_taken_away_loses_nothing(prices):
    offer = prices.gpus[0]
    safe = prices.model_copy(
        update={"gpus": [offer, offer.model_copy(update={"name": "safe", "interruptible": False})]}
    )
    table = rows(safe, need())
    loss = offers.preemption_loss(30.0, 600.0, 6 * 3600.0)
    assert table.loc["RTX 3090", "hours"] == pytest.approx(table.loc["safe", "hours"] * (1 + loss))


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA GeForce RTX 3090", "RTX 3090"),
        ("NVIDIA GeForce RTX 3090 Ti", "RTX 3090 Ti"),
        ("NVIDIA A100-SXM4-80GB", "A100 80 GB"),
        ("NVIDIA A100 80GB PCIe", "A100 80 GB"),
        ("NVIDIA A100-SXM4-40GB", "A100 SXM4 40 GB"),
        ("NVIDIA A100-PCIE-40GB", "A100 PCIe 40 GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM 80 GB"),
        ("NVIDIA H200", "H200 141 GB"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("cpu", None),
        ("NVIDIA T4", None),
    ],
)
def test_cuda_names_are_recognised(prices, device, name):
    offer = prices.match(device)
    assert (offer.name if offer else None) == name


@pytest.mark.parametrize("key", ["restart_minutes", "dollars_per_hour"])
def test_a_misspelt_price_table_is_refused_with_the_nearest_key(tmp_path, key):
    path = tmp_path / "gpu_prices.yaml"
    text = (Path(__file__).parents[2] / "params" / "gpu_prices.yaml").read_text()
    path.write_text(text.replace(f"{key}:", f"{key}x:"))
    with pytest.raises(ParameterError, match=f"did you mean '{key}'"):
        read_prices(path)


# From a search to the table ------------------------------------------------------------------------------------------


class Tiny:
    """A study of two stages: a linear layer of 64 x 64, and the same with its weights frozen but the bias."""

    def tasks(self, model):
        return {}

    def foretold(self, params):
        return "Ours fits."

    def phases(self, params):
        return [TrainingPhase("all", 300), TrainingPhase("bias", 100, ("bias",))]

    def model(self, params):
        return torch.nn.Linear(64, 64)

    def loss(self, model, batch, stage):
        return Loss(model(batch["x"]).square().mean())


PARAMS = Parameters(study="tiny", training=TrainingParams(batch=8))
BATCH = {"x": torch.zeros(2, 64)}


def project(result, **more):
    frame, note = cost.project(Tiny(), PARAMS, result, BATCH, **{"device": "cpu", **more})
    return frame.set_index("GPU") if len(frame) else frame, note


def test_operations_are_counted_for_every_stage():
    first, mean = cost.training_flops(Tiny(), PARAMS, BATCH)
    assert first == 4 * 64 * 64  # forward, and backward to the weights; two operations each
    assert mean == pytest.approx(0.75 * first + 0.25 * 2 * 64 * 64)


def test_the_note_ends_with_what_the_study_foretells():
    assert project(search_results.data_bound())[1].endswith("loses least. Ours fits.")


def test_the_measured_machine_comes_first_and_its_hours_follow_from_its_rate():
    result = search_results.data_bound()
    frame, note = project(result)
    here = frame.iloc[0]
    assert frame.index[0] == "this machine (cpu)" and here["limit"] == "data"
    assert here["samples/s"] == result.soak.rate  # the longest trial of the chosen setting
    assert here["hours"] == pytest.approx(8 * 400 / result.soak.rate / 3600)
    for said in ("3,200 samples", "2026-01", "One loader process delivers 2.8 samples/s", "15% to 50%", "assumed"):
        assert said in note


def test_a_search_on_a_rented_machine_is_projected_and_billed_as_that_machine():
    there = Machine("NVIDIA H200", Limits(10**11, 9 * 10**10, 15.5, 10**9), name="box1/hostA")
    frame, note = cost.project(Tiny(), PARAMS, dataclasses.replace(search_results.on_a_gpu(), machine=there), BATCH)
    assert frame["GPU"][0] == "box1/hostA (NVIDIA H200)" and "on H200 141 GB" in note
    assert bill.row_of(frame, "NVIDIA H200")["samples/s"] == frame["samples/s"][0], "what was measured, not the offer"
    assert bill.row_of(frame, "cpu") is None


def test_a_step_measured_on_a_known_gpu_is_scaled_by_data_sheets(prices):
    result = search_results.on_a_gpu()
    frame, note = project(result, device="NVIDIA A100-SXM4-80GB")
    share, _ = cost.utilisation(prices, result, cost.measured(result), 1e9, "NVIDIA A100-SXM4-80GB")
    assert share.likely * 312e12 / 1e9 == pytest.approx(measured_rate(result))
    assert "on A100 80 GB" in note and "on a GPU: 36.4 GB" in note
    assert frame.loc["RTX 4090", "limit"] == "memory" and frame.loc["H200 141 GB", "remark"].startswith("36.4 of")


def measured_rate(result):
    """The step alone by the phases of the full probe: the step probes are of another precision."""
    probe = cost.measured(result)
    return result.chosen.batch / sum(seconds for phase, seconds in probe.phases.items() if phase != "load")


def test_fake_bytes_say_what_fits_where_the_ladder_had_no_gpu():
    frame, note = project(dataclasses.replace(search_results.data_bound(), fake_bytes=33 * 10**9))
    assert "by fake tensors: 33.0 GB" in note
    assert frame.loc["RTX 5090", "limit"] == "memory" and frame.loc["A100 80 GB", "limit"] != "memory"


def test_a_climb_without_probes_is_projected_from_its_rungs():
    result = search_results.troubled()
    frame, note = project(result)
    assert len(frame) == len(read_prices().gpus) + 1 and frame["dollars"].iloc[1:].notna().all()
    assert "memory is unknown" in note and "by a rung that waits" in note
    alone = dataclasses.replace(result, chosen=Setting(0, 1), rungs=(at_home(result),))
    assert "Loading in the training process" in project(alone)[1]


def at_home(result):
    candidate = result.rungs[0]
    return dataclasses.replace(candidate, trial=dataclasses.replace(candidate.trial, setting=Setting(0, 1)))


@pytest.mark.parametrize("kind", ["hopeless", "empty"])
def test_nothing_is_projected_where_nothing_was_chosen(kind):
    result = search_results.ALL[kind]()
    frame, note = project(result)
    assert frame.empty and note == result.why


def test_the_seconds_of_a_checkpoint_come_from_the_run_where_it_has_made_some(tmp_path):
    run = Run(tmp_path)
    run.event("checkpoint", seconds=2.5)
    assert "2.5 s to save (measured)" in project(search_results.data_bound(), run=run)[1]


# After the run -------------------------------------------------------------------------------------------------------

START = 1_800_000_000.0


@pytest.fixture
def trained(outputs):
    """A run of 12 steps, batch 4, at 8 samples/s: cut after step 6, resumed from a checkpoint an hour later."""
    root = Path(__file__).parents[2]
    checked = profiles.load(root, "plateau", "smoke")
    run = Run.of(root, checked)
    run.begin(checked)

    def event(after, kind, **fields):
        stamp = datetime.fromtimestamp(START + after, UTC).isoformat()
        with (run.folder / "events.jsonl").open("a") as file:
            file.write(json.dumps({"time": stamp, "kind": kind, **fields}) + "\n")

    def metrics(**fields):
        with (run.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(fields) + "\n")

    event(-7200, "stage_start", stage="01_inventory")
    event(0, "training_started", pid=1)
    for step in range(1, 7):
        metrics(step=step, loss=1.0, samples_per_s=1.0 if step == 1 else 8.0, time=START + 4 + 0.5 * step)
    metrics(step=6, validation_loss=1.0, seconds=2.0, time=START + 9)
    event(10, "checkpoint", step=6, seconds=1.0, bytes=10)
    event(3600, "training_started", pid=2)
    event(3601, "resumed", step=6)
    for step in range(7, 13):
        metrics(step=step, loss=1.0, samples_per_s=2.0 if step == 7 else 8.0, time=START + 3602 + 0.5 * (step - 6))
    event(3610, "checkpoint", step=12, seconds=3.0, bytes=10)
    event(9000, "check", stage="06_evaluation")
    return run


def predicted(rate=8.0, spread=0.1, samples=48, name="this machine (cpu)"):
    hours = samples / rate / 3600
    row = {"GPU": name, "$/h": None, "samples/s": rate, "hours": hours, "dollars": None}
    row |= {"hours low": hours / (1 + spread), "hours high": hours / (1 - spread)}
    return pd.DataFrame([{**row, "dollars low": None, "dollars high": None}])


def test_the_real_rate_leaves_out_the_start_of_every_attempt(trained):
    table = bill.compare(predicted(), trained).set_index("quantity")
    assert table.loc["samples/s", "real"] == pytest.approx(8.0)
    assert table.loc["samples/s", "verdict"] == "confirmed"
    kept = json.loads(json.dumps(predicted(rate=16.0).to_dict("records")))  # as a result file gives it back
    assert bill.compare(kept, trained)["verdict"][0] == "-50%"


def test_people_read_times_in_their_unit_and_a_large_miss_as_a_factor(trained):
    table = bill.readable(bill.compare(predicted(rate=80.0, spread=0.01), trained)).set_index("quantity")
    assert table.loc["time", "real"] == "20 s" and table.loc["time", "predicted"] == "0.6 s"
    assert table.loc["time", "verdict"] == "33 times the prediction"
    assert table.loc["time of saving", "real"] == "4 s" and table.loc["samples/s", "verdict"] == "-90%"
    assert not [cell for cell in table.to_numpy().ravel() if isinstance(cell, str) and "e-" in cell]


def test_real_hours_are_those_of_all_attempts_and_their_parts_are_named(trained):
    table = bill.compare(predicted(), trained).set_index("quantity")
    assert table.loc["hours", "real"] == pytest.approx((10 + 10) / 3600)
    assert table.loc["hours of saving", "real"] == pytest.approx(4 / 3600)
    assert table.loc["hours of validation", "real"] == pytest.approx(2 / 3600)
    assert table.loc["seconds of one checkpoint", "real"] == 2.0 and table.loc["interruptions", "real"] == 1
    assert table["verdict"].isna().sum() == 5 and pd.isna(table.loc["dollars", "real"])


def test_hours_of_training_are_not_those_of_the_walk_around_it(outputs):
    """Two walks of seven stages with a heartbeat every ten seconds; the first is killed, the second comes hours later.

    Known: attempt one lives 95 s (its last word is a heartbeat of its own), attempt two 40 s.
    """
    run = begun()
    log = [(at, "heartbeat", {"stage": "02_conversion", "memory_mb": 700}) for at in range(-600, 0, 10)]
    log += [
        (0, "stage_start", {"stage": "05_training", "cells": 11, "reason": "no result yet"}),
        (5, "training_started", {"pid": 7, "processes": 1}),
        (11, "training_stage", {"stage": "fill", "step": 0, "end": 12}),
        (20, "checkpoint", {"step": 3, "seconds": 1.0, "bytes": 9}),
        (100, "heartbeat", {"stage": "05_training", "step": 5}),  # the training's own
        *((at, "heartbeat", {"stage": "05_training", "memory_mb": 900}) for at in range(10, 400, 10)),
        (400, "stage_end", {"stage": "05_training", "state": "failed", "reason": "killed", "seconds": 400.0}),
        *((at, "heartbeat", {"stage": "01_inventory", "memory_mb": 900}) for at in range(7000, 7100, 10)),
        (7200, "training_started", {"pid": 8, "processes": 1}),
        (7210, "resumed", {"step": 3, "stage": "fill", "code_changed": False}),
        (7240, "checkpoint", {"step": 12, "seconds": 1.0, "bytes": 9}),
        *((at, "heartbeat", {"stage": "06_evaluation", "memory_mb": 900}) for at in range(7300, 9000, 10)),
    ]
    write_log(run, log)
    lines = [{"step": n, "loss": 1.0, "samples_per_s": 4.0, "time": START + 12 + n} for n in range(1, 4)]
    lines += [{"step": n, "loss": 1.0, "samples_per_s": 4.0, "time": START + 7210 + n} for n in range(4, 13)]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = bill.compare(predicted(), run).set_index("quantity")
    assert table.loc["hours", "real"] == pytest.approx((95 + 40) / 3600)


def test_a_training_that_sets_another_aside_pays_for_its_own_start_alone(outputs):
    run = begun()
    log = [
        (0, "training_started", {"pid": 7}),
        (500, "checkpoint", {"step": 9, "seconds": 1.0, "bytes": 9}),
        (1000, "training_started", {"pid": 8}),
        (1006, "checkpoints_set_aside", {"folder": "set_aside_1", "changed": ["seed"]}),
        (1030, "checkpoint", {"step": 12, "seconds": 1.0, "bytes": 9}),
    ]
    write_log(run, log)
    (run.folder / "metrics.jsonl").write_text(
        "".join(
            json.dumps({"step": n, "loss": 1.0, "samples_per_s": 4.0, "time": START + 1010 + n}) + "\n"
            for n in range(1, 13)
        )
    )
    table = bill.compare(predicted(), run).set_index("quantity")
    assert table.loc["hours", "real"] == pytest.approx(30 / 3600)


def begun():
    """A run of the smallest profile that has begun."""
    root = Path(__file__).parents[2]
    checked = profiles.load(root, "plateau", "smoke")
    run = Run.of(root, checked)
    run.begin(checked)
    return run


def write_log(run, log):
    """`events.jsonl` of (seconds after START, kind, fields), in order of time."""
    lines = [
        {"time": datetime.fromtimestamp(START + at, UTC).isoformat(), "kind": kind, **fields}
        for at, kind, fields in sorted(log, key=lambda line: line[0])
    ]
    (run.folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_run_under_way_is_held_against_the_steps_it_has_done(trained):
    lines = (trained.folder / "metrics.jsonl").read_text().splitlines()[:6]
    (trained.folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    table = bill.compare(predicted(), trained).set_index("quantity")
    assert table.loc["hours", "predicted"] == pytest.approx(0.5 * 48 / 8 / 3600)


def test_a_run_on_a_rented_gpu_is_held_against_its_row(trained):
    trained.set_status("running")
    record = json.loads((trained.folder / "run.json").read_text())
    (trained.folder / "run.json").write_text(json.dumps({**record, "state": "done", "device": "NVIDIA H200"}))
    both = pd.concat([predicted(), predicted(name="H200 141 GB").assign(**{"$/h": 2.19})], ignore_index=True)
    table = bill.compare(both, trained).set_index("quantity")
    assert table.loc["dollars", "real"] == pytest.approx(20 / 3600 * 2.19)
    with pytest.raises(ParameterError, match="'NVIDIA H200', which was not predicted"):
        bill.compare(predicted(), trained)


def test_a_run_on_two_machines_is_held_against_both_by_the_steps_of_each(outputs):
    """Six steps kept of a slow machine, six of a fast one whose clock is an hour behind; two more were lost."""
    run = begun()
    lines = [
        (0, "training_started", {"pid": 1, "device": "cpu"}),
        (2, "training_stage", {"stage": "fill", "step": 0, "end": 12, "total": 12}),
        (100, "heartbeat", {"stage": "05_training", "step": 8}),
        (-3500, "training_started", {"pid": 2, "device": "NVIDIA H200"}),
        (-3499, "resumed", {"step": 6, "stage": "fill", "code_changed": False}),
        (-3498, "training_stage", {"stage": "fill", "step": 6, "end": 12, "total": 12}),
        (-3450, "checkpoint", {"step": 12, "seconds": 1.0, "bytes": 9}),
    ]
    events = [
        {"time": datetime.fromtimestamp(START + at, UTC).isoformat(), "kind": kind, **more} for at, kind, more in lines
    ]
    (run.folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in events))
    times = {step: 10 + step if step <= 6 else step - 3490 for step in range(1, 13)}
    metrics = [{"step": n, "loss": 1.0, "samples_per_s": 4.0, "time": START + at} for n, at in times.items()]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    slow = predicted(rate=4.0).assign(**{"$/h": 1.0, "dollars": 2.0, "dollars low": 1.0, "dollars high": 3.0})
    fast = predicted(rate=12.0, name="H200 141 GB").assign(
        **{"$/h": 2.0, "dollars": 4.0, "dollars low": 3.0, "dollars high": 5.0}
    )
    table = bill.compare(pd.concat([slow, fast], ignore_index=True), run).set_index("quantity")
    assert table.loc["hours", "real"] == pytest.approx((100 + 50) / 3600)
    assert table.loc["hours", "predicted"] == pytest.approx((24 / 4 + 24 / 12) / 3600)
    assert table.loc["dollars", "real"] == pytest.approx((100 * 1 + 50 * 2) / 3600)
    assert table.loc["dollars", "predicted"] == pytest.approx(3.0)
    assert table.loc["samples/s", "predicted"] == pytest.approx(48 / (24 / 4 + 24 / 12))


def test_a_run_that_never_trained_is_told_so(outputs):
    root = Path(__file__).parents[2]
    checked = profiles.load(root, "plateau", "smoke")
    run = Run.of(root, checked)
    run.begin(checked)
    with pytest.raises(ParameterError, match="run 05_training first"):
        bill.compare(predicted(), run)


def test_people_read_no_hours_of_a_millisecond():
    frame = pd.DataFrame(
        {"GPU": ["a", "b"], "hours": [1e-6, 2.5], "hours low": [1e-7, np.nan], "dollars": [0.001, 3.0]}
    )
    shown = cost.readable(frame)
    assert shown["hours"].tolist() == ["under a minute", 2.5] and shown["dollars"].tolist() == ["under 0.01", 3.0]
    assert shown["hours low"][0] == "under a minute" and np.isnan(shown["hours low"][1])


def test_attention_is_counted():
    class Attending(Tiny):
        def model(self, params):
            return torch.nn.Linear(8, 8)

        def loss(self, model, batch, stage):
            x = model(batch["x"].view(-1, 1, 8, 8))
            return Loss(torch.nn.functional.scaled_dot_product_attention(x, x, x).square().mean())

    linear = 6 * 8 * 8 * 8 - 2 * 8 * 8 * 8  # the input needs no gradient
    first, _ = cost.training_flops(Attending(), PARAMS, BATCH)
    assert first == linear + 3 * 2 * 2 * 8 * 8 * 8, "two products forward, four backward"
