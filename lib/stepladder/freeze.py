"""Freeze an executed notebook into HTML that needs nothing from anywhere: no network, no widget library, no scripts.

Decisions:
- One form of each output is kept, the richest that is static: PNG before HTML before text; see `offline.py` for HTML.
- Widgets are replaced by what they last showed, from the state that the engine saved in the notebook: an `Output` by
  its outputs, a slider by `name = value`, a progress bar by a bar with its per cent.
- Code is folded. Formulas stay as typed, set as code: no TeX engine is a dependency.
- Notebooks are read as plain JSON; importing nbformat costs more than drawing the page.
"""

import html
import json
import re
from pathlib import Path
from typing import Any

import mistune
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from stepladder.offline import clean, picture

FATES = {"failed": "this cell failed", "pending": "not run", "running": "its runner was lost while this cell ran"}
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml")
WIDGET = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
BOXES = ("HBoxModel", "VBoxModel", "BoxModel", "GridBoxModel", "AccordionModel", "TabModel", "StackModel")
HIDDEN = ("PlayModel", "LayoutModel")
PYGMENTS = HtmlFormatter(nowrap=True, style="friendly")


def read(path: Path) -> dict[str, Any]:
    """An executed notebook as JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def body(nb: dict[str, Any], folder: Path) -> str:
    """The notebook's cells as HTML.

    Args:
        nb: a notebook, format 4, as JSON.
        folder: where relative pictures in its prose are looked for.
    """
    state = nb["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})
    return "\n".join(_cell(cell, _Frozen(state), folder) for cell in nb["cells"])


def markdown(text: str) -> str:
    """Markdown as HTML; formulas as code."""
    return _MARKDOWN(text)


def code(source: str) -> str:
    """Python source as coloured HTML (classes of pygments)."""
    return highlight(source, PythonLexer(), PYGMENTS).rstrip("\n")


def _cell(cell: dict[str, Any], frozen: "_Frozen", folder: Path) -> str:
    source = _text(cell["source"])
    if cell["cell_type"] == "markdown":
        return f'<section class="prose">{clean(markdown(source), folder, cell.get("attachments"))}</section>'
    if cell["cell_type"] != "code":
        return ""
    status = cell["metadata"].get("papermill", {}).get("status", "")
    tags = cell["metadata"].get("tags", [])
    first = next((line for line in source.splitlines() if line.strip()), "empty cell")
    label = "parameters of this run" if "injected-parameters" in tags else first
    folded = f"<details><summary><code>{html.escape(label)}</code></summary><pre>{code(source)}</pre></details>"
    outputs = frozen.outputs(cell.get("outputs", []))
    note = f'<p class="note">{FATES[status]}</p>' if status in FATES else ""
    return f'<section class="cell {status}">{folded}{note}{outputs}</section>'


class _Frozen:
    """Outputs as HTML, with the last state of every widget at hand."""

    def __init__(self, widgets: dict[str, Any]):
        self.widgets = widgets

    def outputs(self, outputs: list[dict[str, Any]]) -> str:
        """All outputs of a cell, or of an `Output` widget."""
        return "".join(f'<div class="output">{shown}</div>' for shown in map(self._output, outputs) if shown)

    def _output(self, output: dict[str, Any]) -> str:
        kind = output["output_type"]
        if kind == "stream":
            return f'<pre class="{html.escape(output["name"])}">{_plain(output["text"])}</pre>'
        if kind == "error":
            trace = "\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}"
            return f'<pre class="error">{_plain(trace)}</pre>'
        return self._bundle(output["data"], output.get("metadata", {}))

    def _bundle(self, data: dict[str, Any], metadata: dict[str, Any]) -> str:
        """The richest static form of one display."""
        view = data.get(WIDGET, {}).get("model_id")
        if view in self.widgets:
            return self._widget(view)
        plain = _text(data.get("text/plain", ""))
        for mime in PICTURES:
            if mime in data:
                svg = mime == "image/svg+xml"
                content = _text(data[mime])
                return picture(content.encode() if svg else content, mime, metadata.get("alt", plain))
        if "text/html" in data:
            kept = clean(_text(data["text/html"]))
            if re.sub(r"<style.*?</style>|<[^>]+>", "", kept, flags=re.S).strip() or "<img" in kept:
                return f'<div class="rich">{kept}</div>'
        if "text/markdown" in data:
            return clean(markdown(_text(data["text/markdown"])))
        return f"<pre>{_plain(plain)}</pre>" if plain else ""

    def _widget(self, model_id: str) -> str:
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
            return f"<span>{html.escape(state.get('value', ''))}</span>"
        if name in ("IntProgressModel", "FloatProgressModel"):
            return _bar(state)
        if name == "ImageModel" or "_data_url" in state:
            return _widget_picture(model)
        return "" if name in HIDDEN else _control(name, state)

    def _box(self, state: dict[str, Any]) -> str:
        children = [child.removeprefix("IPY_MODEL_") for child in state.get("children", [])]
        titles = state.get("titles") or []
        parts = []
        for number, child in enumerate(children):
            title = f"<h4>{html.escape(titles[number])}</h4>" if number < len(titles) and titles[number] else ""
            parts.append(f"<div>{title}{self._widget(child)}</div>" if child in self.widgets else "")
        return f'<div class="widget">{"".join(parts)}</div>'


def _bar(state: dict[str, Any]) -> str:
    """A progress widget as a bar with its per cent."""
    low, high, value = state.get("min", 0), state.get("max", 100), state.get("value", 0)
    share = 100 * (value - low) / (high - low) if high > low else 100
    label = html.escape(state.get("description") or "progress")
    return f'<div class="control">{label} <meter min="0" max="100" value="{share:g}"></meter> {share:.0f} %</div>'


def _widget_picture(model: dict[str, Any]) -> str:
    """An image widget, or a canvas (ipympl) that kept its last picture."""
    state = model["state"]
    if "_data_url" in state:
        return f'<img alt="figure" src="{html.escape(state["_data_url"], quote=True)}">'
    data = next((b["data"] for b in model.get("buffers", []) if b["path"] == ["value"]), "")
    return picture(data, f"image/{state.get('format', 'png')}", state.get("description") or "image widget")


def _control(name: str, state: dict[str, Any]) -> str:
    """A slider, menu, check box, button ...: `name = value`."""
    label = state.get("description") or state.get("description_tooltip") or name.removesuffix("Model")
    options, index = state.get("_options_labels"), state.get("index")
    if options and index is not None:
        value: Any = ", ".join(options[i] for i in index) if isinstance(index, list) else options[index]
    elif "lower" in state and "upper" in state:
        value = f"{state['lower']} to {state['upper']}"
    else:
        value = state.get("value")
    shown = f" = {html.escape(_number(value))}" if value is not None else ""
    return f'<div class="control">{html.escape(str(label))}{shown}</div>'


def _number(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(_number(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(text: str | list[str]) -> str:
    """Terminal text as HTML text: colours dropped."""
    return html.escape(ANSI.sub("", _text(text)).rstrip("\n"), quote=False)


def _text(value: str | list[str]) -> str:
    """Notebook text, which may be stored as a list of lines."""
    return value if isinstance(value, str) else "".join(value)


class _Renderer(mistune.HTMLRenderer):
    """mistune's renderer with formulas as code."""

    def inline_math(self, text: str) -> str:
        return f'<code class="math">{html.escape(text)}</code>'

    def block_math(self, text: str) -> str:
        return f'<pre class="math">{html.escape(text.strip())}</pre>\n'


_MARKDOWN = mistune.create_markdown(
    renderer=_Renderer(escape=False, allow_harmful_protocols=["attachment:"]),
    plugins=["table", "strikethrough", "url", "math"],
)
