"""Freezing notebooks: every widget visible as text, nothing that runs or loads, nothing lost."""

import json
import re
from html import unescape
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from stepladder.notebooks.runner import Engine
from stepladder.report import static_notebook
from stepladder.report.sanitize import clean

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WIDGETS = f"""
import base64
import ipywidgets as w
from IPython.display import display
out = w.Output()
with out:
    print('inside an output widget')
inner = [w.IntSlider(7, description='epoch'), w.FloatRangeSlider(value=[0.25, 0.5], max=1, description='range')]
tab = w.Tab(children=[w.HTML('<b>first tab</b>'), w.Label('second tab')])
tab.titles = ('Alpha', 'Beta')
bar = w.IntProgress(30, max=40, description='progress of work')
menu = w.Dropdown(options=['road', 'roof'], value='roof', description='class')
several = w.SelectMultiple(options=['x', 'y', 'z'], value=['x', 'z'], description='axes')
image = w.Image(value=base64.b64decode('{PIXEL}'), format='png')
typed = [w.Checkbox(True, description='ticked'), w.Text('typed text', description='note')]
display(w.VBox([*inner, bar, menu, several, *typed, w.Button(description='press'), out]), tab, image)
w.interact(lambda n: print('n is', n), n=w.IntSlider(3, 0, 9))
bar.value = 40
None
"""


@pytest.fixture(scope="module")
def page() -> str:
    """A notebook full of widgets, executed by our engine and frozen."""
    nb = nbformat.v4.new_notebook(cells=[new_code_cell(WIDGETS)])
    nb.metadata["papermill"] = {}
    Engine.execute_notebook(nb, "python3", progress_bar=False)
    assert nb.metadata.widgets, "the engine saved no widget state"
    return static_notebook.body(json.loads(nbformat.writes(nb)), Path("."))


def text_of(page: str) -> str:
    """What a reader sees."""
    return unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<details>.*?</details>", "", page, flags=re.S)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "epoch = 7",
        "range = 0.25 to 0.5",
        "first tab",
        "Alpha",
        "second tab",
        "progress of work  100 %",
        "class = roof",
        "axes = x, z",
        "ticked = True",
        "note = typed text",
        "press",
        "inside an output widget",
        "n = 3",
        "n is 3",
    ],
)
def test_every_widget_is_visible_as_text(page: str, words: str) -> None:
    assert words in re.sub(r"(?<=\S) {2,}(?=\d)", "  ", text_of(page))


@pytest.mark.slow
def test_image_widget_keeps_its_picture(page: str) -> None:
    assert PIXEL in page
    assert "IPY_MODEL" not in page


def frozen(*cells: nbformat.NotebookNode, folder: Path = Path(".")) -> str:
    """Cells as HTML."""
    return static_notebook.body(json.loads(nbformat.writes(nbformat.v4.new_notebook(cells=list(cells)))), folder)


def output(data: dict) -> str:
    """One display as HTML."""
    return frozen(new_code_cell("x", outputs=[new_output("display_data", data)]))


def test_richest_static_form_is_kept() -> None:
    assert "base64" in output({"image/png": PIXEL, "text/html": "<p>h</p>", "text/plain": "p"})
    assert "<p>h</p>" in output({"text/html": "<p>h</p>", "text/plain": "p"})
    assert "<pre>p</pre>" in output({"text/html": "<script>draw()</script>", "text/plain": "p"})
    assert "data:image/svg+xml;base64," in output({"image/svg+xml": "<svg id='a'/>", "text/plain": "p"})
    assert output({"application/x-unknown": "?"}).count("output") == 0


def test_widget_without_saved_state_falls_back_to_text() -> None:
    assert "IntSlider(value=3)" in output(
        {static_notebook.WIDGET: {"model_id": "gone"}, "text/plain": "IntSlider(value=3)"}
    )


def test_code_is_folded_and_escaped() -> None:
    page = frozen(new_code_cell("x = '<script>'"))
    assert "<script>" not in page and page.count("<details>") == 1 and "&lt;script&gt;" in page


def test_pictures_of_prose_are_embedded(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text("<svg/>")
    prose = "![local](a.svg) ![remote](https://example.org/b.png) ![attached](attachment:c.png)"
    cell = new_markdown_cell(prose, attachments={"c.png": {"image/png": PIXEL}})
    page = frozen(cell, folder=tmp_path)
    assert page.count('src="data:image/') == 2 and "example.org" not in page


@pytest.mark.parametrize(
    ("dirty", "kept"),
    [
        ("<b>a</b><script>x()</script>c", "<b>a</b>c"),
        ('<img src="http://e.org/a.png" alt="a">', '<img alt="a">'),
        ("<img src=//e.org/a.png>", "<img>"),
        ('<video poster="http://e.org/p"></video>', "<video></video>"),
        ('<p onclick="x()">a</p>', "<p>a</p>"),
        ('<iframe src="a">b</iframe>c', "c"),
        ('<link rel="stylesheet" href="http://e.org/a.css">d', "d"),
        ("<style>@import 'http://e.org'; p{color:red}</style>", "<style>none p{color:red}</style>"),
        ('<p style="background:url(http://e.org/a)">a</p>', '<p style="background:none">a</p>'),
        ('<a href="https://e.org">a &amp; b &#60;</a>', '<a href="https://e.org">a &amp; b &lt;</a>'),
        ('<a href="javascript:x()">a</a> <a href="data:text/html,b">b</a>', "<a>a</a> <a>b</a>"),
        ('<a href="02_conversion.ipynb">a</a>', '<a href="02_conversion.ipynb">a</a>'),
        ('<form action="http://e.org"><input autofocus onfocus="x()">a</form>', "a"),
        ('<svg viewBox="0 0 1 1"><image xlink:href="http://e.org"/></svg>', '<svg viewBox="0 0 1 1"></svg>'),
        ('<svg><path d="M0 0" fill="url(http://e.org)"/></svg>', '<svg><path d="M0 0" fill="none"></path></svg>'),
        (f'<img src="data:image/png;base64,{PIXEL}">', f'<img src="data:image/png;base64,{PIXEL}">'),
        ("<table><tr><td>a", "<table><tbody><tr><td>a</td></tr></tbody></table>"),
        ("</div>a</section>", "a"),
    ],
)
def test_what_runs_or_loads_is_taken_out(dirty: str, kept: str) -> None:
    assert clean(dirty) == kept


@given(st.lists(st.sampled_from(["<div>", "</div>", "<b>", "</b>", "<br>", "x", "<td>", "</td>"]), max_size=20))
def test_elements_always_balance(parts: list[str]) -> None:
    text = clean("".join(parts))
    for tag in ("div", "b", "td"):
        assert text.count(f"<{tag}>") == text.count(f"</{tag}>")
    assert text.count("x") == parts.count("x")
