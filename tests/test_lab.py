import io
from contextlib import redirect_stdout

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from stepladder import fetch, files, lab
from stepladder.params import ParameterError
from stepladder.study import Check

QUICK = {"study": "plateau", "profile": "quick"}


@pytest.fixture
def stage(outputs):
    return lab.open_stage("01_inventory", **QUICK, run="t")


def figure(value=1.0):
    drawn, axis = plt.subplots()
    axis.plot([0, value])
    return drawn


def test_an_empty_cell_takes_the_profile_and_a_filled_one_wins(outputs):
    assert lab.open_stage("01_inventory", **QUICK, training={}, seed=None).params.training.steps > 1
    assert lab.open_stage("01_inventory", **QUICK, training={"steps": 3}).params.training.steps == 3
    with pytest.raises(ParameterError, match="did you mean 'steps'"):
        lab.open_stage("01_inventory", **QUICK, training={"step": 3})


def test_outputs_that_cannot_be_written_are_named(outputs):
    outputs.write_text("a file where the folder should be")
    with pytest.raises(ParameterError, match="cannot write outputs"):
        lab.open_stage("01_inventory", **QUICK)


def test_an_earlier_stage_that_is_missing_names_the_command(stage):
    with pytest.raises(ParameterError, match=r"stepladder run plateau --run t --stages 2"):
        stage.require("02_conversion")


def test_a_figure_is_saved_with_its_caption(stage):
    stage.show(figure(), "curve", "What it shows.")
    assert (stage.folder / "figures" / "curve.png").stat().st_size > 1000
    assert files.read_json(stage.folder / "figures" / "curve.json")["caption"] == "What it shows."


def test_tables_reach_the_result_and_a_failed_check_stops_the_stage(stage):
    stage.table(pd.DataFrame({"n": [1200, 3], "x": [0.12345, float("nan")]}), "Numbers")
    stage.check(Check("fine", True, "yes"))
    stage.verdicts()
    stage.finish(answer=42)
    result = stage.run.result("01_inventory")
    assert result["answer"] == 42
    assert result["tables"][0]["rows"] == [["1,200", "0.123"], ["3", "-"]]

    stage.check(Check("broken", False, "the disk is full"))
    with pytest.raises(AssertionError, match="broken: the disk is full"):
        stage.verdicts()


def test_opening_a_stage_again_takes_its_old_result_away(stage):
    stage.finish()
    again = lab.open_stage("01_inventory", **QUICK, run="t")
    assert again.run.result("01_inventory") is None


def test_tracking_gives_every_item_and_one_stable_line():
    said = io.StringIO()
    with redirect_stdout(said):
        assert list(lab.track(range(5), "things")) == list(range(5))
    assert said.getvalue() == "things: 5 done\n"


def test_exploring_headless_draws_a_sheet_over_the_first_control(capsys, monkeypatch):
    shown, seen = [], []
    monkeypatch.setattr(lab, "display", lambda data, **kwargs: shown.append(data))

    def draw(time, layer):
        seen.append((time, layer))
        return figure(time)

    lab.explore(draw, time=range(20), layer=["a", "b"])
    assert [layer for _, layer in seen] == ["a"] * 6
    assert seen[0][0] == 0 and seen[-1][0] == 19
    assert shown[0]["image/png"].startswith(b"\x89PNG")


def test_measured_tables_hide_their_numbers_from_regression_checks(stage, monkeypatch):
    shown = []
    monkeypatch.setattr(lab, "display", lambda data, **kwargs: shown.append(data))
    stage.table(pd.DataFrame({"seconds": [1.234]}), "Times", measured=True)
    assert "1.23" not in shown[0]["text/plain"] and 'class="measured"' in shown[0]["text/html"]


def test_progress_says_how_long_it_will_take():
    assert lab.progress_line("reading", 25, 100, 5.0).startswith("reading 25/100, 5/s, 15 s left")


def test_a_picture_of_a_real_run_is_not_left_open(stage):
    before = len(plt.get_fignums())
    stage.show(figure(), "x", "y")
    assert len(plt.get_fignums()) == before


def test_interactive_only_in_a_persons_jupyterlab(monkeypatch):
    monkeypatch.delenv("STEPLADDER_HEADLESS", raising=False)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert not lab.interactive()
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook")
    assert lab.interactive()
    monkeypatch.setenv("STEPLADDER_HEADLESS", "1")
    assert not lab.interactive()


@pytest.mark.parametrize(("study", "more", "less"), [("plateau", 4, 3), ("pde", 3, 2), ("scroll", 4, 3)])
def test_files_of_an_earlier_larger_plan_are_not_converted(outputs, study, more, less):
    found = []
    for count in (more, less):
        stage = lab.open_stage("02_conversion", study=study, profile="smoke", run="t", data=synthetic(study, count))
        reports = [fetch.fetch(fetch.plan(source, stage.run.data / "raw")) for source in stage.sources()]
        found.append([asset.id for asset in stage.assets(reports)])
    assert [len(ids) for ids in found] == [more, less]


def synthetic(study, count):
    task = {"equation": "advection", "files": count, "trajectories": 2, "points": 16}
    return {"tasks": [task]} if study == "pde" else {"synthetic": count}
