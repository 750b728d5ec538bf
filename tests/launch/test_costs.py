"""The bill of a launched run: paid, of use, lost, attempt by attempt, beside what was predicted."""

from datetime import UTC, datetime

import pandas as pd
import pytest

from stepladder.core import jsonlines
from stepladder.core.run import Run
from stepladder.cost import bill
from stepladder.launch import costs, history
from stepladder.launch.history import attempts

START, HOUR = 1_800_000_000.0, 3600.0


def lost_then_done(made):
    """A run of 200 steps on two machines. Times in hours:

    box1/a: taken at 0, 20 GB sent, starts at 0.5, first step at 1, 60 steps an hour; heard last at 3 (step 120; the
    checkpoint of step 90 had come), given up at 3.25. box1/b: taken at 3.5, goes on from step 90 at 4, done at 5.
    """
    write(
        made,
        (0, "taken", {"attempt": 1, "machine": "box1/a", "price": 2.0, "disk": 0.1, "traffic": 0.05}),
        (0.4, "sent", {"bytes": 20e9, "seconds": 1000.0, "what": "data"}),
        (0.45, "checked", {"facts": {"cards": [{"name": "NVIDIA A100-SXM4-40GB"}]}}),
        (0.5, "started", {}),
        (1, "first_step", {"step": 0}),
        (2.5, "pulled", {"bytes": 1e9, "seconds": 9.0, "what": "checkpoint", "step": 90}),
        (3.25, "lost", {"heard": START + 3 * HOUR, "step": 120, "why": "no answer for 15 min"}),
        (3.5, "taken", {"attempt": 2, "machine": "box1/b", "price": 1.0}),
        (3.75, "started", {}),
        (3.75, "checked", {"facts": {"cards": [{"name": "NVIDIA H200"}]}}),
        (4, "first_step", {"step": 90}),
        (5, "ended", {"ending": "done", "step": 200, "why": ""}),
        (5.25, "released", {"verified": True}),
    )


@pytest.fixture
def run(tmp_path):
    """As `lost_then_done`."""
    made = Run(tmp_path / "pde" / "full")
    made.folder.mkdir(parents=True)
    lost_then_done(made)
    return made


def write(run, *lines):
    for at, kind, fields in lines:
        stamp = datetime.fromtimestamp(START + at * HOUR, UTC).isoformat()
        (run.folder / "launch").mkdir(exist_ok=True)
        jsonlines.append(run.folder / "launch" / "attempts.jsonl", {"time": stamp, "kind": kind, **fields})


def test_the_bill_of_a_machine_that_was_lost_and_of_the_one_that_finished(run):
    first, second, total = costs.table(run).to_dict("records")
    assert first["paid"] == pytest.approx(3.25) and second["paid"] == pytest.approx(1.75)
    assert first["setting up"] == pytest.approx(0.5) and second["setting up"] == pytest.approx(0.25)
    assert first["repeated"] == pytest.approx(0.5)  # 30 of 120 steps in 2 h
    assert first["of use"] == pytest.approx(2.5 - 0.5) and second["of use"] == pytest.approx(1.25)
    assert first["closing"] == pytest.approx(0.25)  # silence is paid too
    assert first["GPU $"] == pytest.approx(6.5) and first["traffic $"] == pytest.approx(1.05)
    assert first["disk $"] == pytest.approx(0.325)
    assert total["dollars"] == pytest.approx(6.5 + 1.05 + 0.325 + 1.75)
    assert total["machine"] == "2 machines" and total["ending"] == "done"


def test_every_paid_hour_is_told_once(run):
    for row in costs.table(run).to_dict("records"):
        parts = row["of use"] + row["setting up"] + row["repeated"] + row["closing"]
        assert parts == pytest.approx(row["paid"])


def test_an_attempt_under_way_is_counted_up_to_now(run):
    write(run, (6, "taken", {"machine": "box1/c", "price": 4.0}), (6.5, "started", {}))
    rows = costs.table(run, at=START + 8 * HOUR).to_dict("records")
    assert rows[2]["paid"] == pytest.approx(2.0) and rows[2]["ending"] == "running"
    assert rows[2]["of use"] == pytest.approx(1.5)
    assert rows[3]["dollars"] == pytest.approx(9.625 + 8.0)


def test_steps_after_the_last_checkpoint_are_lost_where_nobody_went_on(tmp_path):
    run = Run(tmp_path / "pde" / "full")
    run.folder.mkdir(parents=True)
    write(
        run,
        (0, "taken", {"machine": "box1/a", "price": 1.0}),
        (0, "started", {}),
        (0, "first_step", {"step": 10}),
        (0.5, "pulled", {"bytes": 5, "what": "checkpoint", "step": 60}),
        (1, "lost", {"step": 110}),
    )
    row = costs.table(run).to_dict("records")[0]
    assert row["repeated"] == pytest.approx(0.5) and row["of use"] == pytest.approx(0.5)


def test_work_without_steps_is_of_use_where_it_came_to_an_end(tmp_path):
    run = Run(tmp_path / "pde" / "full")
    run.folder.mkdir(parents=True)
    lost = (2, "lost", {"why": "no answer"})
    write(run, (0, "taken", {"machine": "box1/a"}), (1, "started", {}), lost)
    write(run, (2, "taken", {"machine": "box1/b"}), (3, "started", {}), (4, "ended", {"ending": "done"}))
    write(run, (4, "released", {"verified": True}))
    first, second, _ = costs.table(run).to_dict("records")
    assert first["of use"] == 0 and first["repeated"] == pytest.approx(1.0)
    assert second["of use"] == pytest.approx(1.0)


def test_a_bad_machine_and_one_that_never_started_were_of_no_use(tmp_path):
    run = Run(tmp_path / "pde" / "full")
    run.folder.mkdir(parents=True)
    write(
        run, (0, "taken", {"machine": "box1/a", "price": 1.0}), (0.1, "bad", {"why": "no GPU"}), (0.2, "released", {})
    )
    write(run, (1, "taken", {"machine": "box1/b", "price": 1.0}), (1.5, "released", {}))
    bad, never, total = costs.table(run).to_dict("records")
    assert bad["ending"] == "bad machine" and bad["setting up"] == pytest.approx(0.1)
    assert never["ending"] == "never started" and never["setting up"] == pytest.approx(0.5)
    assert total["of use"] == 0 and total["dollars"] == pytest.approx(0.7)


def test_an_attempt_whose_supervisor_died_is_counted_to_its_last_line(tmp_path):
    run = Run(tmp_path / "pde" / "full")
    run.folder.mkdir(parents=True)
    write(run, (0, "taken", {"machine": "box1/a", "price": 1.0}), (1, "started", {}))
    write(run, (9, "taken", {"machine": "box1/b", "price": 1.0}))
    first = costs.table(run, at=START + 10 * HOUR).to_dict("records")[0]
    assert first["paid"] == pytest.approx(1.0) and first["ending"] == "lost"


def test_a_run_that_was_never_launched_has_an_empty_bill(tmp_path):
    run = Run(tmp_path / "pde" / "full")
    assert costs.table(run).empty and costs.compare([], run).empty
    assert costs.readable(costs.table(run)).empty


def test_people_read_times_dollars_and_gigabytes(run):
    shown = costs.readable(costs.table(run)).to_dict("records")
    assert shown[0]["paid"] == "3.25 h" and shown[0]["setting up"] == "30 min" and shown[0]["GB"] == "21"
    assert shown[2]["dollars"] == "9.62"
    free = costs.table(run).assign(**{"disk $": 0.0})
    assert "disk $" not in costs.readable(free)


def forecast(name, hours, price):
    row = {"GPU": name, "$/h": price, "samples/s": 1.0}
    for what, value in (("hours", hours), ("dollars", hours * price)):
        row |= {what: value, f"{what} low": 0.8 * value, f"{what} high": 1.2 * value}
    return row


def test_the_bill_stands_beside_what_was_predicted_for_each_machine(run):
    """90 of 200 steps are held against the A100's row, 110 against the H200's."""
    run.event("training_stage", stage="fill", step=0, end=200, total=200)
    rows = [forecast("A100 SXM4 40 GB", 4.0, 2.0), forecast("H200 141 GB", 2.0, 1.0)]
    table = costs.compare(rows, run).set_index("quantity")
    assert table.loc["hours", "predicted"] == pytest.approx(0.45 * 4 + 0.55 * 2)
    assert table.loc["hours", "real"] == pytest.approx(5.0) and table.loc["hours", "verdict"] == "+72%"
    assert table.loc["dollars", "predicted"] == pytest.approx(0.45 * 8 + 0.55 * 2)
    assert table.loc["hours of repeated", "real"] == pytest.approx(0.5)
    assert table.loc["machines lost", "real"] == 1
    shown = bill.readable(table.reset_index()).set_index("quantity")
    assert shown.loc["time of setting up", "real"] == "45 min"


def test_machines_that_nobody_predicted_have_a_real_cost_and_no_verdict(run):
    table = costs.compare([forecast("RTX 3090", 4.0, 2.0)], run).set_index("quantity")
    assert table.loc["dollars", "real"] == pytest.approx(9.625) and pd.isna(table.loc["dollars", "verdict"])


def test_saving_and_restarting_take_what_they_took_before(run):
    assert history.times(Run(run.folder.parent / "other"), save=30.0, restart=600.0) == (30.0, 600.0)
    run.event("checkpoint", stage="fill", step=30, seconds=4.0, bytes=9)
    run.event("checkpoint", stage="fill", step=60, seconds=6.0, bytes=9)
    save, restart = history.times(run, save=30.0, restart=600.0)
    assert save == 5.0 and restart == pytest.approx((1.0 + 0.5) / 2 * HOUR)


def test_losses_are_counted_in_a_row_and_a_checkpoint_won_begins_anew(run):
    assert history.losses(run) == 1  # box1/a; box1/b came to its end
    for at in (10, 20):
        write(run, (at, "taken", {"machine": "box1/a"}), (at + 1, "lost", {"step": 95, "saved": 90}))
    assert history.losses(run) == 3  # of step 90 there was a checkpoint before
    write(run, (30, "taken", {"machine": "box1/a"}), (31, "ended", {"ending": "preempted", "step": 120}))
    write(run, (31.1, "pulled", {"what": "the rest", "bytes": 5, "step": 120}), (32, "released", {}))
    assert history.losses(run) == 1
    write(run, (40, "taken", {"machine": "box1/b"}), (40.1, "bad", {"why": "no GPU"}), (40.2, "released", {}))
    write(run, (41, "taken", {"machine": "box1/b"}), (41.2, "released", {}))
    assert history.losses(run) == 3
    write(run, (50, "taken", {"machine": "box1/a"}))
    assert history.losses(run) == 3  # under way


def test_the_speed_of_each_machine_is_that_of_its_own_steps(run):
    assert history.rates(run) == {
        "box1/a": pytest.approx(120 / (2 * HOUR)),
        "box1/b": pytest.approx(110 / HOUR),
    }
    write(run, (6, "taken", {"machine": "box1/a"}), (7, "started", {}), (8, "first_step", {"step": 200}))
    write(run, (9, "lost", {"step": 240}))
    assert history.rates(run)["box1/a"] == pytest.approx(160 / (3 * HOUR))


def test_a_supervisor_that_takes_over_changes_no_beginning(run):
    before = [(one.begin, one.first) for one in attempts(run)]
    write(run, (4.9, "first_step", {"step": 119}))
    assert [(one.begin, one.first) for one in attempts(run)] == before
