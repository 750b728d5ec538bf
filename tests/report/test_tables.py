"""Tables on a page: nothing is lost by folding, sentences are never beside what scrolls, the same is said once."""

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from stepladder.report import tables

CELLS = st.one_of(
    st.sampled_from(
        ["-", "", "all", "0.512 [0.480, 0.540]", "1,234", "12 %", "a reason of more than forty letters, told"]
    ),
    st.text("abc xyz,.[]", max_size=60),
)


@st.composite
def any_table(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    columns = draw(st.integers(1, 14))
    rows = draw(st.lists(st.lists(CELLS, min_size=columns, max_size=columns), max_size=16))
    return [f"c{i}" for i in range(columns)], rows


@given(any_table())
def test_nothing_is_lost_by_folding(found):
    columns, rows = found
    view = tables.view(columns, rows)
    shown = [cell for part in view.parts for row in part.rows for cell in row]
    told = {str(Markup(cell).striptags()).replace(" ", "") for cell in shown}
    told |= {text.replace(" ", "") for part in view.parts for row in part.details for _, text in row}
    notes = " ".join(view.notes)
    for row in rows:
        for cell in row:
            assert cell in tables.EMPTY or cell in notes or cell.replace(" ", "") in told
    named = {name for part in view.parts for name in part.columns}
    named |= {name for part in view.parts for row in part.details for name, _ in row}
    assert all(
        name in named or name in notes or all(row[i] in tables.EMPTY for row in rows) for i, name in enumerate(columns)
    )
    assert all(len(row) == len(part.columns) == len(part.kinds) for part in view.parts for row in part.rows)
    assert all(len(part.rows) == len(rows) == len(part.details) for part in view.parts)


PRICES = ["GPU", "$/h", "limit", "hours", "hours low", "dollars", "remark"]


def prices(count: int) -> list[list[str]]:
    here = ["this machine", "-", "compute", "under a minute", "under a minute", "-", "measured"]
    return [
        here,
        *([f"GPU {i}", f"0.{i}", "data", "under a minute", "under a minute", "under 0.01", ""] for i in range(count)),
    ]


def test_what_every_row_says_is_said_once():
    view = tables.view(PRICES, prices(13), note="Estimate.")
    assert view.parts[0].columns[:2] == ["GPU", "$/h"] and "hours" not in view.parts[0].columns
    said = "The same in every row: hours, hours low: under a minute; dollars: under 0.01 (not of this machine)."
    assert view.notes == ["Estimate.", said]


def test_a_reason_goes_under_its_row_where_columns_are_many():
    reason = "does not fit: needs 31.0 of 20 GB at batch 64, and nothing smaller was asked for"
    rows = [["a", "1", "2", "3", "4", reason], ["b", "2", "3", "4", "5", ""]]
    part = tables.view(["setting", "v", "w", "x", "y", "reason"], rows).parts[0]
    assert "reason" not in part.columns
    assert part.details == [[("reason", reason)], []]


def test_columns_that_do_not_fit_are_folded_with_the_names_of_their_rows():
    rows = [[f"method {i}", *(f"0.{i}{j}0 [0.100, 0.900]" for j in range(12))] for i in range(6)]
    view = tables.view(["method", *(f"metric {j}" for j in range(12))], rows)
    assert len(view.parts) > 1 and all(part.columns[0] == "method" for part in view.parts)
    later = [name for part in view.parts for name in part.columns[part.names :]]
    assert later == [f"metric {j}" for j in range(12)]


def test_an_interval_is_small_print_and_escaped():
    found = tables.view(["a", "b"], [["<i>", "0.5 [0.4, <b>]"]]).parts[0].rows[0]
    assert found[1] == "0.5<small>[0.4, &lt;b&gt;]</small>"
    assert not isinstance(found[0], Markup)  # the template escapes it


@given(st.lists(CELLS, max_size=4), st.lists(st.one_of(st.lists(CELLS, max_size=6), st.just(None), CELLS), max_size=8))
def test_rows_of_any_length_are_shown_whole(columns, rows):
    view = tables.view(columns, rows)
    shown = " ".join(str(Markup(cell).striptags()) for part in view.parts for row in part.rows for cell in row)
    shown += " ".join(text for part in view.parts for row in part.details for _, text in row) + " ".join(view.notes)
    cells = [cell for row in rows for cell in (row if isinstance(row, list) else [str(row)])]
    assert all(cell in tables.EMPTY or cell.replace(" ", "") in shown.replace(" ", "") for cell in cells)
