"""A person's remarks: kept beside the stage, read back whole, and no code of it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import remarks


def test_remarks_are_read_back_in_order_and_none_leaves_no_file(tmp_path):
    remarks.write(tmp_path, [remarks.remark("first"), remarks.remark("second\u2028line")])
    assert [one["text"] for one in remarks.read(tmp_path)] == ["first", "second\u2028line"]
    remarks.write(tmp_path, [])
    assert remarks.read(tmp_path) == [] and not (tmp_path / remarks.FILE).exists()


@given(damage=st.one_of(st.binary(), st.text().map(str.encode), st.sampled_from([b"3", b"[1]", b'{"a": 1}', b"[{}]"])))
def test_a_damaged_file_holds_no_remarks_and_raises_nothing(tmp_path_factory, damage):
    folder = tmp_path_factory.mktemp("stage")
    (folder / remarks.FILE).write_bytes(damage)
    assert isinstance(remarks.read(folder), list)


def test_a_remark_loses_the_indentation_of_its_cell():
    assert (
        remarks.remark("""First line.
        - a point
            deeper
    """)["text"]
        == "First line.\n- a point\n    deeper"
    )


@pytest.mark.parametrize(
    "cell, expected",
    [
        ('stage.remark("the loader stalled")', True),
        ('# a comment\nstage.remark(f"loss {loss:.3f}")\nstage.remark("again")', True),
        ("stage.remark('''\n- one\n- two\n''')", True),
        ("stage.remark(str(train()))", False),  # something is called inside it
        ('stage.remark("a"); x = 3', False),
        ("x = stage.remark('a')", False),
        ("remark('a')", False),
        ("stage.table(frame, 'remark')", False),
        ("stage.remark(y := 3)", False),
        ("", False),
        ("stage.remark('half", False),
    ],
)
def test_only_a_cell_that_does_nothing_else_is_a_remark(cell, expected):
    assert remarks.is_remark(cell) is expected


def test_the_file_is_plain_json(tmp_path):
    remarks.write(tmp_path, [remarks.remark("a <b> & c")])
    assert json.loads((tmp_path / "remarks.json").read_text())[0]["text"] == "a <b> & c"
