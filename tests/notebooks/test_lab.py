import io
from contextlib import redirect_stdout

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.figure import Figure

from stepladder.core import closure, files, paths, profiles, remarks
from stepladder.core.config import ParameterError
from stepladder.core.lock import Held
from stepladder.core.stages import STAGES
from stepladder.core.types import Check
from stepladder.data import fetch
from stepladder.launch import job as jobs
from stepladder.launch.job import State
from stepladder.notebooks import display, lab
from stepladder.report import pages

QUICK = {"study": "plateau", "profile": "quick", "run": "t"}


def cells(*sources, **names):
    """The names of a notebook whose cells were `sources`."""
    return {"In": ["", *sources], **QUICK, **names}


@pytest.fixture
def stage(outputs):
    return lab.open("01_inventory", cells())


def walk_to(stage, count):
    """Results of the first stages, without their notebooks."""
    for part in STAGES[:count]:
        stage.run.finish_stage(part.name, stage.run.resolve("quick", {})[0], [])


def figure(value=1.0):
    drawn, axis = plt.subplots()
    axis.plot([0, value])
    return drawn


def test_an_empty_cell_takes_the_profile_and_a_filled_one_wins(outputs):
    usual = profiles.load(paths.project_root(), "plateau", "quick")
    assert lab.open("01_inventory", cells(data={}, seed=None)).params.data == usual.data
    assert lab.open("01_inventory", cells(data={"synthetic": 3})).params.data.synthetic == 3
    with pytest.raises(ParameterError, match="did you mean 'steps'"):
        lab.open("01_inventory", cells(training={"step": 3}))


def test_what_one_notebook_sets_holds_in_the_next(outputs, capsys):
    lab.open("01_inventory", cells(training={"steps": 3}))
    opened = lab.open("01_inventory", cells(training={"batch": 2}))
    walk_to(opened, 2)
    later = lab.open("03_smoke_test", cells()).params.training
    assert (later.steps, later.batch) == (3, 2)


@pytest.mark.parametrize(
    "source",
    [
        "# Parameters\nprofil = 'smoke'\n",
        "study = 'plateau'\nprofil = 'smoke'\nprofile = 'quick'",
    ],
)
def test_a_name_that_is_no_parameter_is_refused_with_the_nearest(outputs, source):
    with pytest.raises(ParameterError, match="no parameter 'profil'; did you mean 'profile'"):
        lab.open("01_inventory", cells("lab.start('01_inventory')", source))
    assert not outputs.exists()


def test_a_mended_cell_and_names_of_other_cells_are_no_error(outputs):
    bad, good = "study = 'plateau'\nprofil = 'smoke'", "study = 'plateau'\nprofile = 'quick'"
    lab.open("01_inventory", cells(bad, good, "x = 3", "stage = 1\ncatalogue = 2", profil="smoke"))
    lab.open("01_inventory", cells(good, "stage = f()", "def broken(", good))  # Run All twice


def test_parameters_that_change_an_earlier_stage_are_refused_and_nothing_is_written(stage):
    walk_to(stage, 7)
    before = (stage.run.folder / "params.yaml").read_text()
    with pytest.raises(ParameterError, match=r"06_evaluation cannot begin .*03_smoke_test .*training.steps"):
        lab.open("06_evaluation", cells(training={"steps": 3}))
    assert (stage.run.folder / "params.yaml").read_text() == before
    assert lab.open("07_visualization", cells(view={"samples": 1})).params.view.samples == 1


def test_a_run_that_a_runner_walks_is_refused(stage):
    with stage.run.locked(), pytest.raises(Held, match="being walked by process"):
        lab.open("01_inventory", cells(data={"synthetic": 3}))


def test_opening_shows_the_parameters_it_reads_with_those_changed_marked(outputs, monkeypatch):
    shown = []
    monkeypatch.setattr(lab, "display", lambda data, **kwargs: shown.append(data))
    lab.open("01_inventory", cells(data={"synthetic": 3}))
    assert "data.synthetic = 3" in shown[0]["text/plain"] and "<b>data.synthetic</b>" in shown[0]["text/html"]
    assert "training" not in shown[0]["text/html"]


def test_outputs_that_cannot_be_written_are_named(outputs):
    outputs.write_text("a file where the folder should be")
    with pytest.raises(ParameterError, match="cannot write outputs"):
        lab.open("01_inventory", cells())


def test_an_earlier_stage_that_is_missing_names_the_command(stage):
    with pytest.raises(ParameterError, match=r"stepladder run plateau --profile quick --run t --stages 1-2"):
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


def test_looking_at_a_finished_stage_destroys_nothing(stage):
    stage.show(figure(), "curve", "What it shows.")
    stage.finish()
    again = lab.open("01_inventory", cells())
    again.show(figure(2.0), "other", "Another.")
    left = stage.run.folder / "01_inventory" / "figures"
    assert again.run.states()["01_inventory"].state == "done" and (left / "curve.png").exists()
    again.finish()
    assert sorted(path.name for path in left.iterdir()) == ["other.json", "other.png"]


@pytest.mark.slow
def test_a_remark_is_kept_at_once_and_made_again_by_its_cell(stage, monkeypatch):
    shown = []
    monkeypatch.setattr(lab, "display", lambda data, **options: shown.append(data))
    stage.remark("""The mirror was slow.

        *Solution*: fetch at night.""")
    kept = "The mirror was slow.\n\n*Solution*: fetch at night."
    assert shown[-1]["text/markdown"] == kept
    assert [one["text"] for one in remarks.read(stage.run.stage_folder("1"))] == [kept]  # before anything is recorded
    stage.finish()
    stage.remark("Seen afterwards.")
    assert [one["text"] for one in remarks.read(stage.run.stage_folder("1"))] == [kept, "Seen afterwards."]
    assert stage.run.states()["01_inventory"].state == "done"  # a remark decides nothing
    lab.open("01_inventory", cells())
    assert len(remarks.read(stage.run.stage_folder("1"))) == 2  # looking destroys nothing
    lab.open("01_inventory", cells()).finish()
    assert remarks.read(stage.run.stage_folder("1")) == []  # its cells are gone


def test_recording_twice_is_a_sentence_and_takes_nothing_away(stage):
    stage.finish(answer=1)
    with pytest.raises(ParameterError, match="01_inventory is recorded already: run the notebook again"):
        stage.finish(answer=2)
    assert stage.run.result("01_inventory")["answer"] == 1


def test_what_changed_since_the_stage_was_opened_is_refused(stage, monkeypatch):
    stage.finish(answer=1)
    again = lab.open("01_inventory", cells())
    real = closure.of_stage
    monkeypatch.setattr(closure, "of_stage", lambda *a: {**real(*a), "notebooks/01_inventory.ipynb": "edited"})
    with pytest.raises(ParameterError, match="since 01_inventory was opened: notebook 01 was edited"):
        again.finish(answer=2)
    assert stage.run.result("01_inventory")["answer"] == 1


def test_synthetic_files_of_another_seed_lie_elsewhere(outputs):
    folders = set()
    for seed in (0, 1, 0):
        opened = lab.open("01_inventory", {**cells(), "study": "pde", "profile": "smoke", "seed": seed})
        folders.add(opened.sources()[0].url)
    assert len(folders) == 2


def test_tracking_gives_every_item_and_one_stable_line():
    said = io.StringIO()
    with redirect_stdout(said):
        assert list(display.track(range(5), "things")) == list(range(5))
    assert said.getvalue() == "things: 5 done\n"


def test_exploring_headless_draws_a_sheet_over_the_first_control(capsys, monkeypatch):
    shown, seen = [], []
    monkeypatch.setattr(display, "display", lambda data, **kwargs: shown.append(data))

    def draw(time, layer):
        seen.append((time, layer))
        return figure(time)

    display.explore(draw, time=range(20), layer=["a", "b"])
    assert [layer for _, layer in seen] == ["a"] * 6
    assert seen[0][0] == 0 and seen[-1][0] == 19
    assert shown[0]["image/png"].startswith(b"\x89PNG")


def test_measured_tables_hide_their_numbers_from_regression_checks(stage, monkeypatch):
    shown = []
    monkeypatch.setattr(lab, "display", lambda data, **kwargs: shown.append(data))
    stage.table(pd.DataFrame({"seconds": [1.234]}), "Times", measured=True)
    assert "1.23" not in shown[0]["text/plain"] and 'class="measured"' in shown[0]["text/html"]


def test_progress_says_how_long_it_will_take():
    assert display.progress_line("reading", 25, 100, 5.0).startswith("reading 25/100, 5/s, 15 s left")


def test_a_picture_of_a_real_run_is_not_left_open(stage):
    before = len(plt.get_fignums())
    stage.show(figure(), "x", "y")
    assert len(plt.get_fignums()) == before


def test_interactive_only_in_a_persons_jupyterlab(monkeypatch):
    monkeypatch.delenv("STEPLADDER_HEADLESS", raising=False)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert not display.interactive()
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook")
    assert display.interactive()
    monkeypatch.setenv("STEPLADDER_HEADLESS", "1")
    assert not display.interactive()


@pytest.mark.slow
@pytest.mark.parametrize(("study", "more", "less"), [("plateau", 4, 3), ("pde", 3, 2), ("scroll", 4, 3)])
def test_files_of_an_earlier_larger_plan_are_not_converted(outputs, study, more, less):
    found = []
    for count in (more, less):
        names = {**cells(), "study": study, "profile": "smoke", "data": synthetic(study, count)}
        lab.open("01_inventory", names).finish()
        stage = lab.open("02_conversion", names)
        reports = [fetch.fetch(fetch.plan(source, stage.run.data / "raw")) for source in stage.sources()]
        found.append([asset.id for asset in stage.assets(reports)])
    assert [len(ids) for ids in found] == [more, less]


def synthetic(study, count):
    task = {"equation": "advection", "files": count, "trajectories": 2, "points": 16}
    return {"tasks": [task]} if study == "pde" else {"synthetic": count}


def test_where_it_computes_is_no_parameter_of_a_stage(outputs):
    opened = lab.open("01_inventory", cells(launch={"on": "box1", "budget": 5}))
    assert (opened.launch.on, opened.launch.budget, opened.launch.restarts) == ("box1", 5, 5)
    with pytest.raises(ParameterError, match="launch is read where it does not count"):
        _ = opened.params.launch
    assert lab.open("01_inventory", cells()).launch.on == "box1", "what is set once holds for the run"
    with pytest.raises(ParameterError, match="did you mean 'budget'"):
        lab.open("01_inventory", cells(launch={"budgit": 5}))


def test_another_launch_while_a_job_has_the_run_is_said_to_need_its_end_and_is_not_kept(outputs, capsys):
    run = lab.open("01_inventory", cells(launch={"on": "box1", "budget": 5})).run
    jobs.write_state(run, State("job0", "running", machine="box1/hostA"))
    lab.open("01_inventory", cells(launch={"on": "box1", "budget": 9}))
    assert "a job of this run is under way" in (said := capsys.readouterr().out) and "stop plateau/t" in said
    assert run.values()["launch"]["budget"] == 5
    with pytest.raises(Held, match="launched from here"):
        lab.open("01_inventory", cells(launch={"on": "box1", "budget": 9}, seed=3))
    jobs.write_state(run, State("job0", "done"))
    lab.open("01_inventory", cells(launch={"on": "box1", "budget": 9}))
    assert run.values()["launch"]["budget"] == 9


def test_further_files_of_a_picture_lie_beside_it_and_the_page_links_them(stage):
    figure = Figure()
    figure.subplots().plot([0, 1], [0, 1])
    stage.show(figure, "roof", "A roof.", {".glb": lambda path: path.write_bytes(b"mesh")})
    place = stage.folder / "figures"
    assert (place / "roof.glb").read_bytes() == b"mesh"
    assert files.read_json(place / "roof.json")["files"] == [".glb"]
    [found] = pages._figures(stage.folder)
    assert found["files"] == [f"{stage.folder.name}/figures/roof.glb"]
