"""What the machines of a launched run cost, on its page: in one sentence, machine by machine, beside the forecast."""

import shutil
import sys
from pathlib import Path

import pytest

from stepladder.core import files, jsonlines
from stepladder.launch import costs
from stepladder.report import machines, pages
from stepladder.report.summary import RunSummary
from tests.conftest import ROOT
from tests.launch.test_costs import forecast, lost_then_done, write
from tests.report.test_card import card, walked

FORECAST = [forecast("A100 SXM4 40 GB", 4.0, 2.0), forecast("H200 141 GB", 2.0, 1.0)]


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEPLADDER_ROOT", str(tmp_path))
    monkeypatch.delenv("STEPLADDER_OUTPUTS", raising=False)
    (tmp_path / "params").mkdir()
    shutil.copy(ROOT / "params" / "gpu_prices.yaml", tmp_path / "params")


@pytest.fixture
def run(tmp_path):
    """A run whose first machine was lost."""
    made = walked(tmp_path, at_4={"prices": FORECAST})
    lost_then_done(made)
    made.event("training_stage", stage="fill", step=0, end=200, total=200)
    return made


def test_the_card_tells_the_dollars_of_all_machines_lost_ones_among_them(run):
    bill = card(run).bill
    assert bill["launched"] == "$9.62, 5 h 00 min on 2 machines (1 of them lost)"
    assert "dollars" not in bill  # those of training alone are a part of it


def test_each_machine_stands_on_the_page_with_its_ending_and_its_dollars_first(run):
    found = RunSummary(run).machines
    bill, beside = found.tables
    assert bill.columns[:5] == ["machine", "ending", "dollars", "paid", "of use"]
    assert [row[:3] for row in bill.rows] == [
        ["box1\u00a0#1", "lost", "7.88"],
        ["box1\u00a0#2", "done", "1.75"],
        ["all", "done", "9.62"],
    ]
    assert [row[bill.columns.index("card")] for row in bill.rows] == ["A100-SXM4-40GB", "H200", ""]
    assert beside.rows[1] == ["dollars", "9.62", "4.70", "3.76", "5.64", "+105%"]


def test_the_page_names_no_host(run):
    text = pages.run_page(run).read_text()
    assert 'id="machines"' in text and "What each machine cost" in text and "Beside the forecast" in text
    assert "box1/a" not in text and "box1/b" not in text


def test_a_run_that_was_not_launched_has_no_machines_and_stays_light(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "stepladder.report.machines", None)  # importing it would fail
    run = walked(tmp_path)
    assert RunSummary(run).machines is None and "launched" not in card(run).bill
    assert 'id="machines"' not in pages.run_page(run).read_text()


def test_a_launched_run_that_has_ended_is_drawn_the_same_whenever_it_is_drawn(run, monkeypatch):
    now = machines.of(run)
    monkeypatch.setattr(costs.time, "time", lambda: 4e9)
    assert machines.of(run) == now


def test_own_machines_have_hours_and_no_price(tmp_path):
    run = walked(tmp_path)
    write(run, (0, "taken", {"machine": "local/here"}), (0, "started", {}), (2, "ended", {"ending": "done"}))
    write(run, (2, "released", {"verified": True}))
    assert card(run).bill["launched"] == "no price, 2 h 00 min on 1 machine"
    (bill,) = RunSummary(run).machines.tables  # 04 forecast nothing
    assert "GPU $" not in bill.columns


def test_a_launch_that_took_no_machine_yet_has_no_bill(tmp_path):
    run = walked(tmp_path, 3, "running")
    files.write_text(run.folder / "launch" / "attempts.jsonl", "")
    assert RunSummary(run).machines is None


def test_where_nothing_can_be_compared_the_page_says_why(run, tmp_path):
    (tmp_path / "params" / "gpu_prices.yaml").unlink()
    text = pages.run_page(run).read_text()
    assert "gpu_prices.yaml is missing" in text and "7.88" in text


@pytest.mark.parametrize(("time", "told"), [("2026-01-01T00:00:00Z", []), ("2030-01-01T00:00:00Z", ["30\u00a0min"])])
def test_stages_beside_the_training_that_a_job_walked_explain_a_miss(run, time, told):
    event = {"time": time, "kind": "stage_end", "stage": "04_scaling", "state": "done", "seconds": 1800.0}
    jsonlines.append(run.folder / "events.jsonl", event)
    rows = RunSummary(run).machines.tables[1].rows
    assert [row[1] for row in rows if row[0] == "time of other stages"] == told
