"""Freeze an executed notebook into HTML that needs nothing from anywhere: no network, no widget library, no scripts.

Decisions:
- One form of each output is kept, the richest that is static: PNG before HTML before text; see `sanitize.py` for HTML.
- Widgets are replaced by what they last showed, from the state that the engine saved in the notebook: an `Output` by
  its outputs, a slider by `name = value`, a progress bar by a bar with its per cent.
- Code is folded. Formulas stay as typed, set as code: no TeX engine is a dependency.
- Notebooks are read as plain JSON; importing nbformat costs more than drawing the page.
- Every function returns `Markup`: what `Markup.format` is given is escaped, unless it is `Markup` itself.
"""

import json
import re
from itertools import zip_longest
from pathlib import Path
from typing import Any

import mistune
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from stepladder.core.secrets import redacted
from stepladder.report.sanitize import STYLE, clean, picture

FATES = {"failed": "this cell failed", "pending": "not run", "running": "its runner was lost while this cell ran"}
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml")
WIDGET = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
BOXES = ("HBoxModel", "VBoxModel", "BoxModel", "GridBoxModel", "AccordionModel", "TabModel", "StackModel")
HIDDEN = ("PlayModel", "LayoutModel")
PYGMENTS = HtmlFormatter(nowrap=True, style="friendly")
COLOURS = Markup(PYGMENTS.get_style_defs("pre"))
CELL = Markup(
    '<section class="cell {}"><details><summary><code>{}</code></summary><pre>{}</pre></details>{}{}</section>'
)


def read(path: Path) -> dict[str, Any]:
    """An executed notebook as JSON, its secrets hidden."""
    return redacted(json.loads(path.read_text(encoding="utf-8")))


def body(nb: dict[str, Any], folder: Path) -> Markup:
    """The notebook's cells as HTML.

    Args:
        nb: a notebook, format 4, as JSON.
        folder: where relative pictures in its prose are looked for.
    """
    state = nb["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})
    return Markup("\n").join(_cell(cell, _Frozen(state), folder) for cell in nb["cells"])


def code(source: str) -> Markup:
    """Python source as coloured HTML (classes of pygments)."""
    return Markup(highlight(source, PythonLexer(), PYGMENTS).rstrip("\n"))


def remark(text: str) -> Markup:
    """A person's remark, in markdown, as HTML; tags in it are shown as typed."""
    return clean(str(_REMARK(text)))


def _cell(cell: dict[str, Any], frozen: "_Frozen", folder: Path) -> Markup:
    source = _text(cell["source"])
    if cell["cell_type"] == "markdown":
        prose = clean(str(_MARKDOWN(source)), folder, cell.get("attachments"))
        return Markup('<section class="prose">{}</section>').format(prose)
    if cell["cell_type"] != "code":
        return Markup("")
    status = cell["metadata"].get("papermill", {}).get("status", "")
    first = next((line for line in source.splitlines() if line.strip()), "empty cell")
    label = "parameters of this run" if "injected-parameters" in cell["metadata"].get("tags", []) else first
    note = Markup('<p class="note">{}</p>').format(FATES[status]) if status in FATES else ""
    return CELL.format(status, label, code(source), note, frozen.outputs(cell.get("outputs", [])))


class _Frozen:
    """Outputs as HTML, with the last state of every widget at hand."""

    def __init__(self, widgets: dict[str, Any]):
        self.widgets = widgets

    def outputs(self, outputs: list[dict[str, Any]]) -> Markup:
        """All outputs of a cell, or of an `Output` widget."""
        shown = filter(None, map(self._output, outputs))
        return Markup("").join(Markup('<div class="output">{}</div>').format(part) for part in shown)

    def _output(self, output: dict[str, Any]) -> Markup:
        kind = output["output_type"]
        if kind == "stream":
            return Markup('<pre class="{}">{}</pre>').format(output["name"], _plain(output["text"]))
        if kind == "error":
            trace = "\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}"
            return Markup('<pre class="error">{}</pre>').format(_plain(trace))
        return self._bundle(output["data"], output.get("metadata", {}))

    def _bundle(self, data: dict[str, Any], metadata: dict[str, Any]) -> Markup:
        """The richest static form of one display."""
        view = data.get(WIDGET, {}).get("model_id")
        if view in self.widgets:
            return self._widget(view)
        plain = _text(data.get("text/plain", ""))
        for mime in PICTURES:
            if mime in data:
                content = _text(data[mime])
                alt = metadata.get("alt", plain)
                return picture(content.encode() if mime == "image/svg+xml" else content, mime, alt)
        if "text/html" in data:
            kept = clean(_text(data["text/html"]))
            if Markup(STYLE.sub("", kept)).striptags() or "<img" in kept:
                return Markup('<div class="rich">{}</div>').format(kept)
        if "text/markdown" in data:
            return clean(str(_MARKDOWN(_text(data["text/markdown"]))))
        return Markup("<pre>{}</pre>").format(_plain(plain)) if plain else Markup("")

    def _widget(self, model_id: str) -> Markup:
        """A widget by what it last showed."""
        model = self.widgets[model_id]
        name, state = model["model_name"], model["state"]
        if name == "OutputModel":
            return self.outputs(state.get("outputs", []))
        if name in BOXES:
            return self._box(state)
        if name in ("HTMLModel", "HTMLMathModel"):
            return clean(state.get("value", ""))
        if name == "LabelModel":
            return Markup("<span>{}</span>").format(state.get("value", ""))
        if name in ("IntProgressModel", "FloatProgressModel"):
            return _bar(state)
        if name == "ImageModel" or "_data_url" in state:
            return _widget_picture(model)
        return Markup("") if name in HIDDEN else _control(name, state)

    def _box(self, state: dict[str, Any]) -> Markup:
        children = [child.removeprefix("IPY_MODEL_") for child in state.get("children", [])]
        parts = [
            Markup("<div>{}{}</div>").format(Markup("<h4>{}</h4>").format(title) if title else "", self._widget(child))
            for child, title in zip_longest(children, (state.get("titles") or [])[: len(children)])
            if child in self.widgets
        ]
        return Markup('<div class="widget">{}</div>').format(Markup("").join(parts))


def _bar(state: dict[str, Any]) -> Markup:
    """A progress widget as a bar with its per cent."""
    low, high, value = state.get("min", 0), state.get("max", 100), state.get("value", 0)
    share = 100 * (value - low) / (high - low) if high > low else 100
    bar = Markup('<div class="control">{} <meter min="0" max="100" value="{:g}"></meter> {:.0f} %</div>')
    return bar.format(state.get("description") or "progress", share, share)


def _widget_picture(model: dict[str, Any]) -> Markup:
    """An image widget, or a canvas (ipympl) that kept its last picture."""
    state = model["state"]
    if "_data_url" in state:
        return clean(Markup('<img alt="figure" src="{}">').format(state["_data_url"]))
    data = next((b["data"] for b in model.get("buffers", []) if b["path"] == ["value"]), "")
    return picture(data, f"image/{state.get('format', 'png')}", state.get("description") or "image widget")


def _control(name: str, state: dict[str, Any]) -> Markup:
    """A slider, menu, check box, button ...: `name = value`."""
    label = state.get("description") or state.get("description_tooltip") or name.removesuffix("Model")
    options, index = state.get("_options_labels"), state.get("index")
    if options and index is not None:
        value: Any = ", ".join(options[i] for i in index) if isinstance(index, list) else options[index]
    elif "lower" in state and "upper" in state:
        value = f"{state['lower']} to {state['upper']}"
    else:
        value = state.get("value")
    shown = f" = {_number(value)}" if value is not None else ""
    return Markup('<div class="control">{}{}</div>').format(label, shown)


def _number(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(_number(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(text: str | list[str]) -> str:
    """Terminal text without its colours."""
    return ANSI.sub("", _text(text)).rstrip("\n")


def _text(value: str | list[str]) -> str:
    """Notebook text, which may be stored as a list of lines."""
    return value if isinstance(value, str) else "".join(value)


class _Renderer(mistune.HTMLRenderer):
    """mistune's renderer with formulas as code."""

    def inline_math(self, text: str) -> str:
        return Markup('<code class="math">{}</code>').format(text)

    def block_math(self, text: str) -> str:
        return Markup('<pre class="math">{}</pre>\n').format(text.strip())


_PLUGINS = ["table", "strikethrough", "url", "math"]
_MARKDOWN = mistune.create_markdown(
    renderer=_Renderer(escape=False, allow_harmful_protocols=True),  # `clean` takes them out
    plugins=_PLUGINS,
)
_REMARK = mistune.create_markdown(renderer=_Renderer(escape=True), plugins=_PLUGINS)
