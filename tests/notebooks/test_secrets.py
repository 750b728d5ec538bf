"""Pages are made to be passed on: whatever a cell printed, an event or a table told, no secret stands on them."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from stepladder.core import files, jsonlines
from stepladder.core.run import Run
from stepladder.notebooks.engine import Manager
from stepladder.report import pages
from tests import pipeline
from tests.core.secret_samples import BARE, NAMED, WORTH

WRITTEN = [BARE[kind] for kind in ("GitHub fine-grained", "OpenAI project", "Hugging Face", "JSON web token")]
ADDRESS, _ = NAMED["password in a URL"]
ALL = (*WRITTEN, WORTH)


def outputs() -> list[nbformat.NotebookNode]:
    """The ways a cell tells things."""
    first, second, third, fourth = WRITTEN
    table = f"<table><tr><td title='{second}'>{first}</td></tr></table>"
    trace = [f"\x1b[31mHTTPError\x1b[0m: {ADDRESS} {third[:10]}\x1b[1m{third[10:]}\x1b[0m"]
    return [
        new_output("stream", name="stdout", text=f"using {first}\n{second}\n"),
        new_output("execute_result", {"text/plain": repr({"password": WORTH}), "text/html": table}),
        new_output("display_data", {"text/markdown": f"see `{fourth}`", "text/plain": ""}),
        new_output("error", ename="HTTPError", evalue=f"{ADDRESS} {third}", traceback=trace),
    ]


def test_a_cell_s_outputs_are_saved_without_secrets():
    cells = [new_code_cell("print(key)", metadata={"papermill": {}})]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"papermill": {}})
    manager = Manager(notebook, lambda kind, **fields: None)
    manager.notebook_start()
    manager.cell_start(notebook.cells[0], 0)
    notebook.cells[0].outputs = outputs()
    manager.cell_complete(notebook.cells[0], 0)
    saved = nbformat.v4.writes(notebook)
    nbformat.validate(notebook)
    assert not [secret for secret in ALL if secret in saved]
    assert "(hidden)" in saved and "using" in saved


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """A run whose files tell secrets, as an older version or another program may have left them."""
    monkeypatch.setenv("STEPLADDER_ROOT", str(tmp_path))
    monkeypatch.delenv("STEPLADDER_OUTPUTS", raising=False)
    made = Run.of(tmp_path, pipeline.PARAMETERS)
    made.begin(pipeline.PARAMETERS)
    rows = [[WRITTEN[0], ADDRESS, "1"]]
    table = {"title": f"Sources {WRITTEN[1]}", "columns": ["a", "b", "c"], "rows": rows}
    made.finish_stage(
        "01_inventory", pipeline.PARAMETERS, [{"name": "c", "ok": True, "reason": ADDRESS}], tables=[table]
    )
    event = {
        "time": "2026-01-01T00:00:00+00:00",
        "kind": "mirror_failed",
        "stage": "01_inventory",
        "reason": WRITTEN[2],
    }
    jsonlines.append(made.folder / "events.jsonl", event)
    status = {"state": "failed", "reason": f"{WRITTEN[3]} {ADDRESS}", "created": event["time"], "attempts": 1}
    files.write_json(made.folder / "run.json", status)
    cells = [
        new_markdown_cell(f"# 01 Inventory\n\n{WRITTEN[0]}"),
        new_code_cell(f"key = {WRITTEN[1]!r}  # {WRITTEN[2]}", outputs=outputs()),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), made.folder / "01_inventory" / "notebook.ipynb")
    return made


def test_no_page_shows_a_secret_that_the_files_hold(run, tmp_path):
    found = [pages.stage_page(run, "01"), pages.run_page(run), pages.index(tmp_path)]
    for path in found:
        text = path.read_text(encoding="utf-8")
        assert not [secret for secret in ALL if secret in text], path.name
        assert not [secret for secret in ALL if secret[8:] in text], path.name
    assert "(hidden)" in found[0].read_text() and "mirror_failed" in found[1].read_text()
