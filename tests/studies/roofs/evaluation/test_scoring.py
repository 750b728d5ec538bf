"""Scores: the truth is perfect, what is not labelled or answered has no value, each fault costs what it should."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from stepladder.core import files
from stepladder.core.schema import EvaluationParams
from stepladder.core.types import Record
from stepladder.evaluation import charts, rivals
from stepladder.evaluation import metrics as shared
from stepladder.studies.roofs.data.labels import TASKS
from stepladder.studies.roofs.evaluation import metrics, scoring
from stepladder.studies.roofs.params import RoofsParams
from tests.studies.roofs.evaluation import gable

PARAMS = RoofsParams(study="roofs")
ALL = [metric.name for metric in metrics.METRICS]


def scored(prediction, tasks=TASKS, batch=None) -> dict[str, float | None]:
    return gable.values(scoring.score(batch or gable.batch(tasks), prediction, PARAMS))


def test_truth_scores_exactly_one_in_every_metric():
    batch = gable.batch()
    assert scored(scoring.oracle(batch, PARAMS)) == dict.fromkeys(ALL, 1.0)


@pytest.mark.parametrize("task", TASKS)
def test_image_labelled_for_one_task_supports_its_metrics_alone(task):
    batch = gable.batch((task,))
    found = scored(scoring.oracle(batch, PARAMS), batch=batch)
    assert found == {m.name: 1.0 if m.task == task else None for m in metrics.METRICS}


def test_prediction_without_a_key_has_not_answered():
    found = scored({"lines_BLF": scoring.oracle(gable.batch(), PARAMS)["lines_BLF"]})
    assert {name for name, value in found.items() if value is not None} == {"line F1", "line F1 by type"}
    assert list(found) == ALL


def test_metrics_are_those_of_the_tasks_that_are_learnt():
    params = PARAMS.model_copy(update={"model": PARAMS.model.model_copy(update={"tasks": ["outline"]})})
    batch = gable.batch()
    records = scoring.score(batch, scoring.oracle(batch, params), params)
    assert {record.metric for record in records} == {"outline IoU", "outline boundary IoU", "outline F1"}
    assert set(scoring.protocol(params)) >= {"space", "averaging", "outline IoU"}
    assert "face IoU" not in scoring.protocol(params)


def test_superstructures_beyond_the_annotated_building_do_not_count_but_false_roofs_do():
    batch = gable.batch()
    batch["focus_YX"] = batch["outline_YX"].clone()
    guess = scoring.oracle(batch, PARAMS)
    guess["superstructure_BSYX"][:, :, 30:60, 112:] = torch.eye(9)[0][:, None, None]
    assert scored(guess, batch=batch) == dict.fromkeys(ALL, 1.0)
    guess["outline_BYX"][:] = 1
    assert scored(guess, batch=batch)["outline IoU"] < 0.5


def test_what_its_own_labels_leave_out_does_not_count():
    """A neighbour that nobody labelled, drawn by the model."""
    batch = gable.batch()
    batch["outline_YX"][:, :, 110:] = batch["face_YX"][:, :, 110:] = 255
    batch["line_labelled_YX"][:, :, 110:] = 0
    guess = scoring.oracle(batch, PARAMS)
    guess["outline_BYX"][:, 30:60, 112:] = 1
    guess["face_id_BYX"][:, 30:60, 112:] = 3
    guess["lines_BLF"] = torch.cat([guess["lines_BLF"], torch.tensor([[[112, 30, 127, 60, 0, 1.0]]])], dim=1)
    assert scored(guess, batch=batch) == dict.fromkeys(ALL, 1.0)


def test_nothing_found_scores_nothing():
    batch = gable.batch()
    oracle = scoring.oracle(batch, PARAMS)
    guess = {name: torch.zeros_like(value) for name, value in oracle.items()} | {"lines_BLF": torch.zeros(1, 0, 6)}
    guess["superstructure_BSYX"][:, -1], guess["face_BFYX"][:, -1] = 1, 1
    found = scored(guess)
    zero = {name for name, value in found.items() if value == 0}
    assert zero == set(ALL) - {"superstructure IoU", "face IoU", "rise within 0.5 m"}
    assert found["superstructure IoU"] < 0.5  # background alone, of two classes


@pytest.mark.parametrize("offset, right", [(1.5, True), (2.5, False)])
def test_line_counts_within_two_pixels(offset, right):
    guess = scoring.oracle(gable.batch(), PARAMS)
    guess["lines_BLF"] = guess["lines_BLF"][:, :1] + torch.tensor([0, offset, 0, offset, 0, 0])
    found = gable.values([r for r in scoring.score(gable.batch(), guess, PARAMS) if r.part == "ridge"])
    # Beyond 2 pixels only its ends are right, which lie near the gables; typed, these are another part.
    assert found["line F1 by type"] == float(right)


def test_line_of_low_score_is_not_drawn_and_one_of_wrong_type_is_false():
    guess = scoring.oracle(gable.batch(), PARAMS)
    guess["lines_BLF"][..., 5] = 0.2
    assert scored(guess)["line F1"] == 0
    guess["lines_BLF"][..., 5] = 0.9
    guess["lines_BLF"][..., 4] = metrics.UNTYPED
    assert (scored(guess)["line F1"], scored(guess)["line F1 by type"]) == (1, 0)


def test_height_of_ground_is_left_out():
    guess = scoring.oracle(gable.batch(), PARAMS)
    guess["height_BYX"] = torch.where(guess["outline_BYX"] > 0, guess["height_BYX"], 99.0)
    assert scored(guess)["height within 1 m"] == 1


def test_faces_joined_into_one_are_not_found():
    guess = scoring.oracle(gable.batch(), PARAMS)
    guess["face_id_BYX"] = guess["face_id_BYX"].clamp(max=1)
    assert scored(guess)["face F1"] == 0  # each half is exactly half of the whole


def test_pitch_off_by_six_degrees_is_wrong_and_by_four_is_right():
    for degrees, value in ((39, 1.0), (41, 0.0)):
        guess = scoring.oracle(gable.batch(), PARAMS)
        guess["slope_BGYX"] *= np.tan(np.radians(degrees)) / np.tan(np.radians(35))
        assert scored(guess)["pitch within 5°"] == value


def test_small_faces_are_left_out_on_both_sides():
    guess = scoring.oracle(gable.batch(), PARAMS)
    guess["face_id_BYX"][0, 30:35, 30:35] = 7  # 1 square metre
    assert scored(guess)["face F1"] == 1


# The shared part, with methods that do not answer everything ---------------------------------------------------------


MIXED = (("outline",), ("line", "superstructure"), ("line",))


def evaluated(images: tuple[tuple[str, ...], ...] = MIXED) -> pd.DataFrame:
    """Records as of `metrics.evaluate`: a method of lines alone beside one of everything, on unlike images."""
    rows = []
    for unit, tasks in enumerate(images):
        batch = gable.batch(tasks)
        oracle = scoring.oracle(batch, PARAMS)
        for method, guess in (("lines only", {"lines_BLF": oracle["lines_BLF"]}), ("model", oracle)):
            records: list[Record] = scoring.score(batch, guess, PARAMS)
            rows += [{"method": method, "group": "rid", "unit": str(unit), **vars(record)} for record in records]
    return pd.DataFrame(rows).drop(columns="item")


def test_shared_tables_charts_and_checks_bear_methods_that_lack_metrics(tmp_path):
    records, params = evaluated(), EvaluationParams(bootstrap=20)
    summary = shared.summarize(records, params, 0)
    names = shared.headline(summary)
    assert all(check.ok for check in shared.checks(records, summary))
    gains = rivals.gains(records, names, "higher", params, 0)
    verdicts = dict(zip(gains["metric"], gains["verdict"], strict=True))
    assert verdicts["outline IoU"] == rivals.NO_RIVAL
    assert verdicts["line F1"] == rivals.UNCLEAR
    assert "lines only in " in rivals.note(records, names)
    assert names[0] == "superstructure IoU"
    assert shared.wide(summary, names).set_index("method").loc["lines only", "outline IoU"] == "absent"
    figure = charts.intervals(summary, names, "higher")
    figure.savefig(tmp_path / "intervals.png")
    charts.parts(shared.parts(records, "superstructure IoU"), "superstructure IoU").savefig(tmp_path / "parts.png")
    shared.save(tmp_path / "metrics.json", summary, gains)
    files.write_json(tmp_path / "values.json", shared.values(summary))
    json.loads((tmp_path / "values.json").read_text(), parse_constant=pytest.fail)


def test_metrics_that_no_image_supports_are_absent_and_break_nothing(tmp_path):
    """A test set of AIRS alone: the main metric has no value for anybody."""
    records, params = evaluated((("outline",), ("outline",))), EvaluationParams(bootstrap=20)
    summary = shared.summarize(records, params, 0)
    assert all(check.ok for check in shared.checks(records, summary))
    names = list(dict.fromkeys(summary["metric"]))
    gains = rivals.gains(records, names, "higher", params, 0).set_index("metric")
    assert gains.loc["superstructure IoU", "verdict"] == rivals.NO_RIVAL
    assert gains.loc["outline IoU", "model"] == 1
    assert rivals.sentence(gains.reset_index())
    charts.intervals(summary, names, "higher").savefig(tmp_path / "intervals.png")
    charts.parts(shared.parts(records, shared.parted(records)), "parts").savefig(tmp_path / "parts.png")
