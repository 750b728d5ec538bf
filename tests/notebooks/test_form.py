"""The form of a stage's parameters: what it offers, what it refuses, and that the run uses what it sets."""

import pytest

from stepladder.core import study
from stepladder.core.stages import STAGES, visible
from stepladder.notebooks import form, lab, opening
from tests.notebooks.test_lab import cells, walk_to


def open_form(stage, **cell):
    """The form as `lab.open` makes it, kept by the same road."""
    run, checked, overrides, given = opening.resolve(cells(**cell))
    return opening.form_of(stage, run, checked, overrides, given)


def test_every_parameter_of_every_study_has_one_field_in_one_notebook(outputs):
    for name in study.names():
        _, checked, *_ = opening.resolve({**cells(), "study": name, "profile": "smoke"})
        offered = [field for part in STAGES for field in form.own(part.name, checked)]
        assert sorted(offered) == sorted(set(offered))
        assert set(offered) == set(visible(STAGES[-1].name, checked.model_dump(mode="json")))
        for part in STAGES:
            shown = form.Form(part.name, checked, {}, {}, lambda values: None)
            assert shown.wanted() == {}, "a form that nobody touched wants nothing"


def test_a_value_that_is_set_holds_for_the_run_as_one_of_the_cell(outputs):
    shown = open_form("01_inventory")
    shown.fields["data.synthetic"].value = 5
    assert shown.told() == "data.synthetic = 5"
    shown.set()
    opened = lab.open("01_inventory", cells())
    assert opened.params.data.synthetic == 5
    assert opened.run.overrides("quick") == {"data": {"synthetic": 5}}
    again = open_form("01_inventory")
    assert "differs from the profile" in again.fields["data.synthetic"].tooltip
    again.fields["data.synthetic"].value = 4
    again.set()
    assert opened.run.overrides("quick") == {}, "the profile's value is no override"


def test_what_the_schema_refuses_is_said_in_the_form_and_nothing_is_kept(outputs):
    lab.open("01_inventory", cells())
    shown = open_form("01_inventory")
    shown.fields["data.mirror"].value = "/no/such/folder"
    shown.set()
    assert "there is no such folder" in shown.told()
    shown = open_form("02_conversion")
    shown.fields["splits.train"].value = "[1, 2"
    assert "cannot be read" in shown.told()
    shown.set()
    assert lab.open("01_inventory", cells()).run.overrides("quick") == {}


def test_fields_follow_the_schema(outputs):
    fields = open_form("03_smoke_test").fields
    steps, precision = fields["training.steps"], fields["training.precision"]
    assert (steps.min, steps.value > 0, steps.description) == (1, True, "steps")
    assert precision.options == ("float32", "bfloat16", "float16")
    assert fields["training.compile"].value is False
    assert "optimizer steps" in steps.tooltip


def test_what_the_cell_sets_is_locked(outputs):
    shown = open_form("01_inventory", data={"synthetic": 3})
    assert shown.fields["data.synthetic"].disabled and not shown.fields["seed"].disabled


def test_a_stage_offers_no_field_that_an_earlier_one_reads(outputs):
    stage = lab.open("01_inventory", cells())
    walk_to(stage, 4)
    assert list(open_form("05_training").fields) == ["training.changes", "tracking"]


@pytest.mark.parametrize("text", ["[1, 2]", "null", "3.0e-4", "a: 1"])
def test_text_that_is_left_alone_changes_nothing(text):
    import yaml

    value = yaml.safe_load(text)
    widget = form._kind(None, value)
    assert form._value(widget, value) == value
