"""Report pages: whole, offline, true about states, and readable in a browser."""

import base64
import json
import re
import shutil
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from stepladder.cli import console
from stepladder.core import files, jsonlines, memory, remarks
from stepladder.core.config import ParameterError
from stepladder.core.paths import outputs_root
from stepladder.core.run import Run
from stepladder.report import curve
from stepladder.report import pages as report
from tests import pipeline

EXTERNAL = re.compile(
    r"""(?:src|srcset|poster|data)\s*=\s*["']?(?!data:)[^"'\s>]+|<link\b|@import|url\(\s*["']?(?!data:)"""
)
LOADED_LINK = re.compile(r"""href\s*=\s*["'](https?:)?//""")
TABLE = {"title": "IoU in % at 1 s", "columns": ["method", "IoU", "items"], "rows": [["ours", "41.2", "128"]]}


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A study that is not installed, in a project of its own."""
    monkeypatch.setenv("STEPLADDER_ROOT", str(tmp_path))
    monkeypatch.delenv("STEPLADDER_OUTPUTS", raising=False)


def executed() -> nbformat.NotebookNode:
    """An executed notebook with prose, output of several kinds, and a failed cell."""
    done = {"papermill": {"status": "completed"}}
    cells = [
        new_markdown_cell(
            "# 06 Evaluation\n\nnext: [07](07_visualization.ipynb)\n\nThe score is $IoU = TP / (TP + FP + FN)$."
        ),
        new_code_cell("print('hello')", metadata=done, outputs=[new_output("stream", name="stdout", text="hello <b>")]),
        new_code_cell("table", metadata=done, outputs=[new_output("display_data", {"text/html": "<table><tr><td>7"})]),
        new_code_cell(
            "raise ValueError('no roof')",
            metadata={"papermill": {"status": "failed"}},
            outputs=[
                new_output("error", ename="ValueError", evalue="no roof", traceback=["\x1b[31mValueError\x1b[0m"])
            ],
        ),
        new_code_cell("later()", metadata={"papermill": {"status": "pending"}}),
    ]
    return nbformat.v4.new_notebook(cells=cells)


def write_run(root: Path, name: str = "walk", state: str = "failed") -> Run:
    """A run with two stages that ended well and one that failed."""
    params = pipeline.PARAMETERS.model_copy(update={"run": name})
    run = Run.of(root, params)
    run.begin(params)
    run.set_status("running")
    for stage, seconds in (("01_inventory", 3.2), ("05_training", 200.0)):
        run.event("stage_start", stage=stage)
        run.event("stage_end", stage=stage, state="done", reason="5 cells", seconds=seconds)
    run.event("stage_start", stage="06_evaluation")
    run.event("stage_end", stage="06_evaluation", state="failed", reason="ValueError in cell 3 of 4", seconds=1.0)
    run.set_status(state, "06_evaluation: ValueError in cell 3 of 4: no roof")
    sane = {"name": "labels are sane", "ok": True, "reason": "17 of 17 classes"}
    run.finish_stage("01_inventory", params, [sane])
    run.finish_stage("05_training", params, [sane, sane | {"ok": False, "name": "<gate>"}], tables=[TABLE])
    for step in range(1, 301):
        loss = 2.0 * 0.985**step + 0.05
        jsonlines.append(run.folder / "metrics.jsonl", {"step": step, "stage": "forecast", "loss": loss})
        if step % 50 == 0:
            line = {"step": step, "stage": "forecast", "validation_loss": loss * 1.1}
            jsonlines.append(run.folder / "metrics.jsonl", line)
    _draw(run.stage_folder("05_training") / "figures" / "bars.png", "Loss & <things> by class.")
    files.write_text(run.stage_folder("05_training") / "figures" / "bars.html", "<p>a scene")
    nbformat.write(executed(), run.stage_folder("06_evaluation") / "notebook.ipynb")
    return run


def _draw(path: Path, caption: str, inches: float = 5) -> None:
    figure, axis = plt.subplots(figsize=(inches, 3))
    axis.bar(["road", "roof", "tree"], [3, 2, 1], color="#1f3a5f")
    axis.set(ylabel="loss", title="Loss by class")
    with files.atomic(path) as temporary:
        figure.savefig(temporary, format="png")
    plt.close(figure)
    files.write_json(path.with_suffix(".json"), {"caption": caption, "scene": "bars.html"})


def test_pages_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    for page in (report.stage_page(run, "06_evaluation"), report.run_page(run), report.index(tmp_path)):
        text = page.read_text()
        assert not EXTERNAL.search(text), EXTERNAL.search(text)
        assert not LOADED_LINK.search(text) and "<script" not in text
        assert "default-src 'none'" in text  # the browser holds to it, whatever was overlooked
        assert str(tmp_path) not in text


def test_run_page_tells_the_story(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    text = report.run_page(run).read_text()
    for words in (
        "06_evaluation: ValueError in cell 3 of 4: no roof",  # the reason
        "3 min 24 s",  # 3.2 + 200 + 1
        "Checks: 1 of 2 passed",
        "&lt;gate&gt;",
        "IoU in % at 1 s",
        "Loss &amp; &lt;things&gt; by class.",
        "optimizer step",
    ):
        assert words in text, words
    assert 'href="05_training/figures/bars.html"' in text
    encoded = base64.b64encode((run.folder / "05_training/figures/bars.png").read_bytes()).decode()
    assert encoded in text
    assert text.count('<li class="done">') == 1 and text.count('<li class="failed">') == 1
    assert text.count('<li class="missing">') == 4
    assert text.count('<li class="stale">') == 1 and "02_conversion is missing" in text  # nothing stands on nothing


def test_links_between_pages_lead_somewhere(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    pages = [report.stage_page(run, "06_evaluation"), report.run_page(run), report.index(tmp_path)]
    report.run_page(run)
    found = [(page, link) for page in pages for link in re.findall(r'href="([^"#]+)', page.read_text())]
    assert len(found) >= 5
    for page, link in found:
        assert (page.parent / link).exists(), (page.name, link)
    assert "../report.html#07_visualization" in pages[0].read_text()


def test_stage_page_shows_cells_and_their_fate(tmp_path: Path) -> None:
    text = report.stage_page(write_run(tmp_path), "06_evaluation").read_text()
    assert "hello &lt;b&gt;" in text and "<td>7" in text
    assert "this cell failed" in text and "not run" in text
    assert "\x1b" not in text and 'class="math"' in text
    assert text.index("failed</span>") < text.index("hello")  # the verdict comes first


def test_failed_stage_shows_the_checks_it_noted(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    run.event("check", stage="06_evaluation", name="beats the baseline", ok=False, reason="40.1 < 41.2")
    text = report.stage_page(run, "06_evaluation").read_text()
    assert "Checks: 0 of 1 passed" in text and "40.1 &lt; 41.2" in text
    run.event("stage_start", stage="06_evaluation")  # a new attempt: the old verdicts are gone
    assert "40.1" not in report.stage_page(run, "06_evaluation").read_text()


def test_remarks_stand_beside_their_stage_and_cannot_run(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    text = "The **loader** stalled: `a < b`.\n\n<script>alert(1)</script>\n\n![x](http://x/y.png)\n\n[go](javascript:alert(1))"
    remarks.write(run.stage_folder("05_training"), [remarks.remark(text)])
    remarks.write(run.stage_folder("06_evaluation"), [remarks.remark("A stage that failed tells too.")])
    remarks.write(
        run.stage_folder("07_visualization"), [remarks.remark("It raised in JupyterLab: nothing else is left.")]
    )
    page = report.run_page(run).read_text()
    assert "nothing else is left" in page[page.index('<h2 id="07_visualization">') :]
    part = page[page.index('<h2 id="05_training">') :]
    assert "<strong>loader</strong>" in part and "a &lt; b" in part
    assert "&lt;script&gt;" in part and "<script" not in page and "javascript:" not in page
    assert not EXTERNAL.search(page)
    assert "A stage that failed tells too." in page
    assert "A stage that failed tells too." in report.stage_page(run, "6").read_text()


def test_pictures_that_two_stages_draw_stand_once_on_the_page(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    for stage, name in (("02_conversion", "city"), ("07_visualization", "city"), ("07_visualization", "sample_3")):
        run.finish_stage(stage, pipeline.PARAMETERS.model_copy(update={"run": "walk"}), [], shown=[3])
        _draw(run.stage_folder(stage) / "figures" / f"{name}.png", f"{name} as it is")
    text = report.run_page(run).read_text()
    assert text.count("<figcaption>city as it is") == 1 and text.count("<figcaption>sample_3 as it is") == 1
    assert text.index("sample_3 as it is") < text.index('<ol class="strip">')  # the lead picture, on the card
    assert text.index("city as it is") < text.index('<h2 id="02_conversion">')


def test_a_large_picture_has_the_width_of_the_page_to_itself(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    for name, inches in (("small", 5), ("large", 14)):
        _draw(run.folder / "05_training" / "figures" / f"{name}.png", name, inches)
    figures = re.findall(r"<figure.*?</figure>", report.run_page(run).read_text(), re.S)
    wide = {caption for text in figures if 'class="wide' in text for caption in re.findall('alt="([^"]*)"', text)}
    assert wide == {"large"}


def test_every_state_has_a_colour(tmp_path: Path) -> None:
    style = (Path(report.__file__).parent / "templates" / "page.css").read_text()
    for state in console.COLOURS:
        assert re.search(rf"\.{state}\b[^{{}}]*{{ --state:", style), state


def test_events_are_read_as_people_read_numbers(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    run.event("rung", rate=64.25678901234567, spread=[0.123456789012, 2], held={"gb": 1234567.8901})
    run.event("converted", asset="a", state="converted", seconds=0.1)
    run.event("converted", asset="b", state="failed", reason="no end tag")
    text = report.run_page(run).read_text()
    assert "rate: 64.26, spread: 0.1235; 2, held: gb 1,234,568" in text
    assert "asset: b" in text and "asset: a" not in text


def test_stage_without_notebook_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no executed notebook of 02_conversion"):
        report.stage_page(write_run(tmp_path), "2")


def test_parameters_that_differ_from_the_profile_stand_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = pipeline.PARAMETERS.training.model_copy(update={"steps": 9})
    usual = pipeline.PARAMETERS.model_copy(update={"training": training})
    monkeypatch.setattr(report, "load", lambda root, study, profile: usual)
    text = report.run_page(write_run(tmp_path)).read_text()
    changed = text[text.index("<h2>Parameters</h2>") : text.index("all parameters")]
    assert re.findall(r"<td>(training\.\w+)</td>.*?>(\d+)<.*?>(\d+)<", changed) == [("training.steps", "100", "9")]


def test_index_shows_every_state_and_finds_the_dead(tmp_path: Path) -> None:
    for state in ("done", "oom", "preempted"):
        report.run_page(write_run(tmp_path, f"was-{state}", state))
    dead = write_run(tmp_path, "dead")
    dead.set_status("running")
    text = report.index(tmp_path).read_text()
    for state in ("done", "oom", "preempted", "stale"):
        assert f'<span class="pill {state}">' in text
    assert text.count("<tr>") == 5 and 'href="toy/was-oom/report.html"' in text
    assert "its process is gone" in text


def test_a_remembered_row_is_made_again_when_a_notebook_opens_a_stage(tmp_path: Path, monkeypatch) -> None:
    run = write_run(tmp_path)
    monkeypatch.setattr(memory, "SETTLED", -60.0)  # as if the run had been left alone for a while
    assert '<span class="pill open">' not in report.index(tmp_path).read_text()
    assert json.loads((outputs_root(tmp_path) / ".index.json").read_text())["made"], "the row is remembered"
    run.make_aside("02_conversion")
    assert '<span class="pill open">' in report.index(tmp_path).read_text()


def test_run_walked_by_hand_is_not_called_dead(tmp_path: Path) -> None:
    run = Run.of(tmp_path, pipeline.PARAMETERS)
    run.begin(pipeline.PARAMETERS)
    run.finish_stage("01_inventory", pipeline.PARAMETERS, [])
    text = report.run_page(run).read_text()
    assert "walked by hand" in text and '<span class="pill done">' in text


def test_index_without_runs_says_how_to_start(tmp_path: Path) -> None:
    assert "stepladder run" in report.index(tmp_path).read_text()


def test_later_line_of_a_repeated_step_counts() -> None:
    lines = [{"step": 1, "loss": 5.0}, {"step": 2, "loss": 4.0}, {"step": 2, "loss": 3.0}, {"step": 3, "loss": None}]
    assert curve.series(lines, "loss") == [(1, 5.0), (2, 3.0)]


def training(falls_to: float, *stages: str) -> list[dict]:
    """Metrics of 1200 steps whose loss falls from 1 to `falls_to`, in equal `stages`."""
    losses = [falls_to ** (step / 1199) for step in range(1200)]
    stage = [stages[step * len(stages) // 1200] for step in range(1200)]
    return [{"step": step, "stage": stage[step], "loss": loss} for step, loss in enumerate(losses)]


def test_curve_says_what_it_shows() -> None:
    lines = [*training(0.5, "tokenizer", "<flow>"), {"step": 600, "stage": "<flow>", "validation_loss": 0.8}]
    drawn = curve.loss(lines)
    words = re.findall(r"<text[^>]*>\s*([^<]*?)\s*</text>", drawn)
    assert {"optimizer step", "loss", "training loss", "validation loss", "tokenizer", "&lt;flow&gt;"} <= set(words)
    assert "0.6" in words and "1000" in words  # numbers on both axes


def test_curve_that_falls_far_is_logarithmic() -> None:
    far = training(0.01, "fit")
    assert "loss (log)" in curve.loss(far) and "loss (log)" not in curve.loss(training(0.5, "fit"))
    assert {">0.02</text>", ">0.05</text>", ">0.1</text>"} <= set(re.findall(r">[\d.]+</text>", curve.loss(far)))


def test_curve_is_the_same_every_time_and_small() -> None:
    drawn = curve.loss(training(0.5, "fit"))
    assert drawn == curve.loss(training(0.5, "fit")) and drawn.startswith("<svg ")
    assert "<metadata" not in drawn and "<!DOCTYPE" not in drawn and len(drawn) < 40_000


def test_one_point_is_no_curve() -> None:
    assert curve.loss([{"step": 1, "loss": 2.0}]) == curve.sparkline([{"step": 1, "loss": 2.0}]) == ""


def test_pages_are_imported_without_a_plotting_library() -> None:
    code = "import sys, stepladder.report.pages; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def browse(page: Path, shot: Path) -> None:
    """Draw `page` in Debian's chromium as the picture `shot`, or skip."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Debian's chromium is not installed")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]
    command = [chromium, *options, "--window-size=1100,1600", f"--screenshot={shot}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


@pytest.mark.browser
@pytest.mark.slow
def test_browser_draws_the_page(tmp_path: Path) -> None:
    shot = tmp_path / "page.png"
    browse(report.run_page(write_run(tmp_path)), shot)
    pixels = plt.imread(shot)
    assert pixels[..., :3].std() > 0.05  # not a blank page


@pytest.mark.browser
@pytest.mark.slow
def test_browser_asks_nobody_even_for_what_was_overlooked(tmp_path: Path) -> None:
    """An address spelled so that cleaning does not see it is stopped by the page's policy, and by that alone."""
    with socketserver.TCPServer(("127.0.0.1", 0), Asked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        style = rf"<style>p {{ background: u\72l(http://127.0.0.1:{server.server_address[1]}/) }}</style><p>a</p>"
        run = write_run(tmp_path)
        cell = new_code_cell("x", outputs=[new_output("display_data", {"text/html": style})])
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), run.folder / "06_evaluation" / "notebook.ipynb")
        page = report.stage_page(run, "6")
        browse(page, tmp_path / "page.png")
        assert Asked.times == 0
        page.write_text(re.sub("<meta http-equiv.*", "", page.read_text()))
        browse(page, tmp_path / "page.png")
        server.shutdown()
    assert Asked.times > 0


class Asked(socketserver.BaseRequestHandler):
    """Counts how often anybody connects."""

    times = 0

    def handle(self) -> None:
        Asked.times += 1


def test_numbers_stand_beside_the_parameters_they_were_made_with(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    faster = pipeline.PARAMETERS.training.model_copy(update={"learning_rate": 0.5})
    run.begin(pipeline.PARAMETERS.model_copy(update={"run": "walk", "training": faster}))
    text = report.run_page(run).read_text()
    assert "0.001 (asked for since: 0.5)" in text
    assert "training.learning_rate 0.001 -&gt; 0.5" in text and '<li class="stale">' in text
