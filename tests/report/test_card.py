"""The card on top of a run's page: what is wrong first, the recorded sentences, one next command, the bill."""

import os
from pathlib import Path
from typing import Any

import pytest

from stepladder.core import claim, files, memory
from stepladder.core.run import Run
from stepladder.core.stages import STAGES
from stepladder.report import card as cards
from stepladder.report import pages
from stepladder.report.card import Card
from stepladder.report.summary import RunSummary
from tests import pipeline

VERDICT = "IoU: the model 0.790, the strongest baseline (warp) 0.777: +0.013 [+0.002, +0.024], better."
SETTING = "Compute-bound: with 2 workers, batch 4 the step is busy 94% of the time."
BILL = [{"quantity": "hours", "real": 1.5}, {"quantity": "dollars", "real": 0.78}]
PRICES = [{"GPU": "here", "dollars": None, "hours": 2.0}, {"GPU": "L4", "dollars": 0.75, "hours": 1.0}]
WON = [{"metric": "IoU", "model": 0.79, "verdict": "better"}]
VALUES: dict[str, dict[str, Any]] = {
    "02_conversion": {"samples": 1275},
    "03_smoke_test": {"parameters": 9518},
    "04_scaling": {"sentence": SETTING, "prices": PRICES},
    "05_training": {"steps": 100, "bill": BILL},
    "06_evaluation": {"sentence": VERDICT, "gains": WON, "better": "higher"},
}


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEPLADDER_ROOT", str(tmp_path))
    monkeypatch.delenv("STEPLADDER_OUTPUTS", raising=False)


def walked(
    root: Path, stages: int = 7, state: str = "done", reason: str = "7 stages", name: str = "walk", **more
) -> Run:
    """A run whose first stages are done; `more` adds to their results."""
    params = pipeline.PARAMETERS.model_copy(update={"run": name})
    run = Run.of(root, params)
    run.begin(params)
    run.set_status("running")
    for stage in STAGES[:stages]:
        values = VALUES.get(stage.name, {}) | more.get(f"at_{stage.number}", {})
        run.finish_stage(stage.name, params, [], **values)
    run.set_status(state, reason)
    return run


def card(run: Run) -> Card:
    return Card(RunSummary(run))


def test_a_finished_run_tells_what_how_good_and_what_it_cost(tmp_path):
    found = card(walked(tmp_path))
    assert found.troubles == [] and found.states == ["done"]
    assert found.verdict == VERDICT and found.setting == SETTING
    for words in ("9,518 parameters", "100 steps", "1,275 training samples", "made on the spot"):
        assert words in found.subject
    assert found.bill["training"] == "1 h 30 min" and found.bill["dollars"] == "$0.78"
    assert "L4" in found.bill["training on the cheapest rented GPU"]


def test_the_sentences_reach_the_page_before_everything_else(tmp_path):
    text = pages.run_page(walked(tmp_path)).read_text()
    top = text[: text.index('<ol class="strip">')]
    assert VERDICT in top and SETTING in top and 'class="command"' in top
    heads = [
        text.index(f'<h2 id="{name}">') for name in ("06_evaluation", "05_training", "04_scaling", "02_conversion")
    ]
    assert heads == sorted(heads)
    assert text.rindex('<h2 id="') == text.index('<h2 id="01_inventory"')


def test_a_sentence_of_old_is_found_among_the_tables(tmp_path):
    note = {
        "title": "In one sentence",
        "columns": [],
        "rows": [],
        "note": "Beside ridge it is better.",
        "measured": True,
    }
    found = card(walked(tmp_path, at_6={"sentence": "", "tables": [note]}))
    assert found.verdict == "Beside ridge it is better."


@pytest.mark.parametrize("state", ["failed", "oom", "preempted", "timeout"])
def test_a_run_that_stopped_says_where_and_how_it_goes_on(tmp_path, state):
    run = walked(tmp_path, 4, state, "05_training: ValueError in cell 3 of 4: no roof")
    found = card(run)
    assert "05_training: ValueError in cell 3 of 4: no roof" in found.troubles[0]
    assert found.next.command == "stepladder run toy --run walk"
    text = pages.run_page(run).read_text()
    assert text.index("no roof") < text.index('class="subject"')


def launched(run: Run, state: str, **facts: Any) -> None:
    """A job on another machine has the run."""
    usual = {"job": "j", "machine": "box1/hostA", "reason": "", "spent": 1.2}
    files.write_json(run.folder / claim.PATH, {**usual, "state": state, **facts})


@pytest.mark.parametrize("state", claim.STATES)
def test_a_launched_run_is_not_walked_from_its_page_but_followed(tmp_path, state):
    run = walked(tmp_path, 4, "running")
    run.event("stage_start", stage="05_training")
    launched(run, state, doing="sending data", reason="no answer for 3 min")
    found = card(run)
    assert found.states == [state] and found.next.command == "stepladder logs -f toy/walk"
    assert not [text for text in found.troubles if "Not finished" in text]
    text = pages.run_page(run).read_text()
    assert "box1/hostA" in text and "$1.20 so far" in text and f'<li class="{state}">' in text
    assert f'<span class="pill {state}">' in pages.index(tmp_path).read_text()


def test_a_run_that_is_queued_before_it_has_a_record_is_not_one_walked_by_hand(tmp_path):
    run = Run.of(tmp_path, pipeline.PARAMETERS)
    run.begin(pipeline.PARAMETERS)
    launched(run, "queued", machine=None)
    assert card(run).states == ["queued"] and "waits for a machine" in RunSummary(run).reason


def test_the_index_remembers_no_run_that_is_launched(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "SETTLED", -60.0)  # as if the run had been left alone for a while
    run = walked(tmp_path)
    assert '<span class="pill done">' in pages.index(tmp_path).read_text()
    for doing in ("sending data", "starting"):
        launched(run, "running", doing=doing)
        assert doing in pages.index(tmp_path).read_text()
    launched(run, "done")
    assert '<span class="pill done">' in pages.index(tmp_path).read_text()


def test_a_run_that_was_lost_for_good_says_so_and_how_it_goes_on(tmp_path):
    found = card(walked(tmp_path, 4, "lost", "5 machines were lost"))
    assert found.troubles[0] == "The run has lost its machine: 5 machines were lost."
    assert found.next.command == "stepladder run toy --run walk"


def test_a_run_whose_runner_is_gone_says_so(tmp_path):
    found = card(walked(tmp_path, 3, "running"))
    assert "ended without a word" in found.troubles[0] and "stepladder run toy" in found.next.command


def test_stale_stages_are_named_before_the_numbers(tmp_path):
    run = walked(tmp_path)
    training = pipeline.PARAMETERS.training.model_copy(update={"steps": 7})
    run.begin(pipeline.PARAMETERS.model_copy(update={"run": "walk", "training": training}))
    found = card(run)
    assert found.states == ["done", "stale"]
    assert "05 training" in found.troubles[0] and "training.steps 100 -> 7" in found.troubles[0]
    assert "01 inventory" not in found.troubles[0]
    assert found.next.words == "Make again what is stale:"


def test_stages_that_were_not_asked_for_are_named(tmp_path):
    found = card(walked(tmp_path, 5))
    assert found.troubles == ["Not finished: 06 evaluation, 07 visualization have no result yet."]
    assert found.next.words.startswith("Go on")


def test_a_model_that_wins_nowhere_is_trained_for_longer(tmp_path):
    lost = [{"metric": "IoU", "model": 0.7, "verdict": "no clear difference"}]
    assert card(walked(tmp_path, at_6={"gains": lost})).next.command.endswith("--set training.steps=200")


def test_data_made_on_the_spot_lead_to_real_files_of_the_same_network(tmp_path):
    run = walked(tmp_path)
    assert "artifact publish toy/walk" in card(run).next.command  # a study without real files
    network = run.values().get("model", {}).get("name")
    for name, source, model in (("a", "mirror", "another"), ("b", "mirror", network), ("c", "synthetic", network)):
        profile = {"data": {"source": source}, "model": {"name": model}}
        files.write_json(tmp_path / "params" / "toy" / f"{name}.yaml", profile)  # JSON is YAML
    files.write_text(tmp_path / "params" / "toy" / "damaged.yaml", "{")
    assert card(run).next.command == "stepladder run toy --profile b --set data.mirror=FOLDER"


def test_results_of_another_version_make_a_page_all_the_same(tmp_path):
    nothing = {
        f"at_{n}": {"gains": None, "bill": None, "prices": [], "sentence": None, "tables": []} for n in "1234567"
    }
    run = walked(tmp_path, **nothing)
    (run.folder / "07_visualization" / "figures").mkdir()
    (run.folder / "07_visualization" / "figures" / "a.png").write_bytes(b"no picture")
    for damage in ("{", "[]", '{"caption": null}'):
        (run.folder / "07_visualization" / "figures" / "a.json").write_text(damage)
        assert "<figcaption>a" in pages.run_page(run).read_text()
    assert card(run).score is None and pages.index(tmp_path).exists()


def test_names_that_a_shell_would_take_apart_are_quoted(tmp_path):
    run = walked(tmp_path, 3, "failed", "x", name="a b; rm")
    assert card(run).next.command == "stepladder run toy --run 'a b; rm'"


def test_a_run_that_has_only_begun_has_a_card(tmp_path):
    run = Run.of(tmp_path, pipeline.PARAMETERS)
    run.begin(pipeline.PARAMETERS)
    text = pages.run_page(run).read_text()
    assert "not trained yet" in text and "Not finished" in text


@pytest.mark.parametrize("name", ["plateau", "pde", "scroll"])
def test_a_study_is_titled_as_it_titles_itself(name):
    from stepladder.core.study import find

    assert cards.study_title(name) == find(name).title


def test_the_index_shows_the_best_and_the_latest_run_with_their_sentences(tmp_path):
    best = [{"metric": "IoU", "model": 0.9, "verdict": "better"}]
    walked(tmp_path, name="older", at_6={"gains": best, "sentence": "The best one."})
    walked(tmp_path, name="newer", at_6={"sentence": "The latest one."})
    for name, stamp in (("older", 1), ("newer", 2)):
        path = tmp_path / "outputs" / "toy" / name / "params.yaml"
        os.utime(path, (stamp, stamp))
    text = pages.index(tmp_path).read_text()
    assert text.index("Best IoU") < text.index("toy/older") < text.index("The best one.")
    assert (
        text.index("Latest")
        < text.index("toy/newer")
        < text.index("The latest one.")
        < text.index("All runs of toy: 2")
    )


def test_of_errors_the_smallest_is_the_best(tmp_path):
    for name, value in (("a", 0.3), ("b", 0.1), ("c", 0.2)):
        gains = [{"metric": "nRMSE", "model": value, "verdict": "better"}]
        walked(tmp_path, name=name, at_6={"gains": gains, "better": "lower", "sentence": f"sentence of {name}"})
    text = pages.index(tmp_path).read_text()
    cards_part = text[: text.index("All runs of")]
    assert "sentence of b" in cards_part
