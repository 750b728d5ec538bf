"""Damaged records: what is cut, foreign or unreadable is told by its name, breaks no other run, and is not lost."""

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stepladder.cli.main import app
from stepladder.core import closure, files, jsonlines, profiles
from stepladder.core.config import ParameterError
from stepladder.core.identity import Key
from stepladder.core.run import Run, runs
from stepladder.core.stages import STAGES
from stepladder.machine import processes
from stepladder.notebooks import runner
from stepladder.report import pages
from stepladder.training import process
from stepladder.training.tracking import Jsonl
from tests import pipeline

ROOT = Path(__file__).parents[2]
TABLE = {"title": "IoU in %", "columns": ["method", "IoU"], "rows": [["ours", "41.2"]], "note": "", "measured": False}
KEY: dict[str, dict] = {"parameters": {}, "code": {}, "inputs": {}}
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))


def text(content: str | bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def field(name: str, value: object) -> Callable[[Path], None]:
    return lambda path: files.write_json(path, files.read_json(path) | {name: value})


JSON = {
    "cut": cut,
    "empty": text(""),
    "NULs": text(b"\0" * 512),
    "not UTF-8": text(b"\x93NUMPY\xff\xfe"),
    "a list": text("[]"),
    "a word": text('"done"'),
    "null": text("null"),
    "deep nesting": text("[" * 100_000),
    "a folder in its place": folder,
}
YAML = {
    "cut": text("study: plateau\ntraining: {steps: 1"),
    "empty": text(""),
    "NULs": text(b"\0" * 512),
    "not UTF-8": text(b"study: \xff\xfe"),
    "a list": text("- plateau"),
    "a foreign tag": text("study: !!python/object/apply:os.system [ls]"),
    "a bomb of aliases": text(BOMB),
    "an alias of itself": text("study: &a [*a]"),
    "no such date": text("study: 2026-13-45"),
    "deep nesting": text("a: " + "[" * 100_000),
    "a folder in its place": folder,
}
WRONG = [
    ("run.json", "no state", text('{"reason": "x"}')),
    ("run.json", "a number as state", field("state", 3)),
    ("run.json", "a text as attempts", field("attempts", "many")),
    ("run.json", "a number as start", field("started", 1.5)),
    *((f"06_evaluation/{name}", what, field(what, value)) for name, what, value in (
        ("result.json", "key", "none"),
        ("result.json", "files", {"a.h5": None}),
        ("result.json", "checks", [{"ok": True}]),
        ("result.json", "tables", [[1, 2]]),
        ("result.json", "sizes", [3]),
        ("result.json", "made", None),
    )),
    ("04_scaling/ladder.json", "a text as choice", field("chosen", "the best")),
]  # fmt: skip
CASES = [
    *((name, what, make) for name in ("run.json", "04_scaling/ladder.json") for what, make in JSON.items()),
    *(("06_evaluation/result.json", what, make) for what, make in JSON.items()),
    *((name, what, make) for name in ("params.yaml", "overrides.yaml") for what, make in YAML.items()),
    *WRONG,
]
CASES = [case for case in CASES if case[:2] != ("04_scaling/ladder.json", "a folder in its place")]  # 04 is made again


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs with two runs that are done."""
    outputs = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPLADDER_OUTPUTS", str(outputs))
        patch.setattr("stepladder.core.run.environment", pipeline.bare)
        for name in ("quick", "neighbour"):
            checked = profiles.load(ROOT, "plateau", "quick", {"run": name})
            run = Run.of(ROOT, checked)
            run.begin(checked, {"training": {"steps": 7}})
            run.set_status("running")
            for part in STAGES:
                run.event("stage_start", stage=part.name, cells=3, reason="no result yet")
                run.event("check", stage=part.name, name="sane", ok=True, reason="it is")
                aside = run.make_aside(part.name)
                if part.name == "04_scaling":
                    files.write_json(aside / "ladder.json", {"chosen": {"workers": 1, "batch": 2}})
                sane = {"name": "sane", "ok": True, "reason": "it is"}
                run.finish_stage(part.name, checked, [sane], made=aside, tables=[TABLE])
                run.event("stage_end", stage=part.name, state="done", reason="3 cells", seconds=1.5)
            run.set_status("done", "7 stages asked for, 7 run, 0 unchanged")
    return outputs


@pytest.fixture
def walked(made: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, Run]:
    """Two runs that are done: one to be damaged, and its neighbour."""
    monkeypatch.setattr("stepladder.core.run.environment", pipeline.bare)
    shutil.copytree(made, outputs)
    return Run(outputs / "plateau" / "quick", ROOT), Run(outputs / "plateau" / "neighbour", ROOT)


@pytest.mark.parametrize(("name", "what", "make"), CASES, ids=[f"{name}: {what}" for name, what, _ in CASES])
def test_a_damaged_record_is_told_and_breaks_nothing_else(walked, monkeypatch, name, what, make):
    run, neighbour = walked
    path = run.folder / name
    make(path)
    left = path.is_dir() or path.read_bytes()

    assert {found.name for found in runs(ROOT)} == {"quick", "neighbour"}
    told = [run.status()["reason"], *(state.reason for state in run.states().values())]
    assert any(path.name in words for words in told), told
    assert all("\n" not in words and str(ROOT) not in words for words in told)
    assert neighbour.status()["state"] == "done" and {s.state for s in neighbour.states().values()} == {"done"}

    index = pages.index(ROOT).read_text()
    assert "neighbour" in index and "plateau/quick" in index
    if not name.startswith("04"):
        assert path.name in index
    assert path.name in pages.run_page(run).read_text()
    listed = CliRunner().invoke(app, ["status"], catch_exceptions=False)
    assert listed.exit_code == 0 and "plateau/neighbour" in listed.output.replace("\n", "")

    assert goes_on_or_says(run, path, monkeypatch)
    kept = path if not path.with_name(f"{path.name}.damaged").exists() else path.with_name(f"{path.name}.damaged")
    assert (kept.is_dir() or kept.read_bytes()) == left, "what was there is lost"


def goes_on_or_says(run: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """`stepladder run`, its notebooks done by a stroke of the pen: it ends well, or names the file and a command."""

    def stroke(stage, *rest):
        run.finish_stage(stage.name, stage.params, [])
        return runner.Outcome("done", 0, "by a stroke of the pen")

    monkeypatch.setattr(runner, "_run_stage", stroke)
    try:
        checked, overrides = run.resolve("quick", {})
        outcome = runner.run_pipeline(run, [part.name for part in STAGES], checked, ROOT, overrides=overrides)
    except ParameterError as error:
        assert path.name in str(error) and "`stepladder run plateau" in str(error)
        if path.suffix == ".yaml":  # and the command helps
            checked, overrides = run.resolve("quick", {}, forget=True)
            outcome = runner.run_pipeline(run, [part.name for part in STAGES], checked, ROOT, overrides=overrides)
            assert outcome.state == "done" and run.status()["state"] == "done"
        return True
    assert outcome.state == "done" and run.status()["state"] == "done"
    assert {state.state for state in run.states().values()} == {"done"}
    return True


def test_a_record_of_another_kind_is_no_reason_to_lose_the_whole_list(walked):
    run, _ = walked
    (run.folder / "params.yaml").unlink()
    assert len(runs(ROOT)) == 2, "a run without parameters of its own is listed by its run.json"
    (run.folder.parent / "a file").write_text("among the runs")
    (run.folder.parent / "gone").mkdir()
    (run.folder.parent / "gone" / "params.yaml").symlink_to("nowhere")
    assert [found.name for found in runs(ROOT)].count("gone") <= 1
    for found in runs(ROOT):
        found.status(), found.states()
    assert "quick" in pages.index(ROOT).read_text()


@pytest.mark.parametrize(
    "line",
    [b'{"kind": 3, "time": 1}', b'{"time": "2026"}', b'{"kind": "stage_end"}', b"\0\0\0", b'{"kind": "stage_e'],
)
def test_events_of_no_sense_are_counted_on_the_page(walked, line):
    run, _ = walked
    with (run.folder / "events.jsonl").open("ab") as file:
        file.write(line + b"\n")
    run.event("stage_end", stage="06_evaluation")
    run.event("check", stage="06_evaluation")
    run.event("stage_start", stage="no such stage")
    assert run.events("stage_end")[-1]["stage"] == "06_evaluation"
    assert "events.jsonl: 1 line is damaged and left out" in pages.index(ROOT).read_text()
    assert "1 line is damaged" in pages.run_page(run).read_text()


def test_logs_that_cannot_be_read_are_told(walked):
    run, _ = walked
    for name in ("events.jsonl", "metrics.jsonl"):
        (run.folder / name).unlink(missing_ok=True)
        (run.folder / name).mkdir()
    assert "events.jsonl: cannot be read (Is a directory)" in pages.index(ROOT).read_text()
    assert run.metrics() == [] and pages.run_page(run)
    with pytest.raises(ParameterError, match=r"metrics\.jsonl cannot be read"):
        Jsonl(run.folder / "metrics.jsonl", 0)


def test_a_figure_whose_caption_is_damaged_is_shown_under_its_name(walked):
    run, _ = walked
    figures = run.folder / "06_evaluation" / "figures"
    files.write_bytes(figures / "curve.png", bytes.fromhex("89504e470d0a1a0a"))
    (figures / "curve.json").write_text('{"cap')
    assert "curve" in pages.run_page(run).read_text()


@pytest.mark.parametrize("seed", range(20))
def test_bytes_changed_at_random_break_no_list(walked, seed):
    """What no list of cases foresees: pieces of every record overwritten, cut out or doubled."""

    run, neighbour = walked
    jsonlines.append(run.folder / "metrics.jsonl", {"step": 1, "loss": 1.0})
    rng = random.Random(seed)
    names = ["run.json", "params.yaml", "overrides.yaml", "events.jsonl", "metrics.jsonl", "04_scaling/ladder.json"]
    for name in [*names, *(f"{part.name}/result.json" for part in STAGES)]:
        data = (run.folder / name).read_bytes()
        for _ in range(rng.randrange(4)):
            begin = rng.randrange(len(data) + 1)
            end = min(len(data), begin + rng.randrange(40))
            other = rng.choice([b"", data[begin:end] * 2, rng.randbytes(end - begin), b"\0" * 8])
            data = data[:begin] + other + data[end:]
        (run.folder / name).write_bytes(data)
    assert len([(found.status(), found.states()) for found in runs(ROOT)]) == 2
    assert "neighbour" in pages.index(ROOT).read_text() and pages.run_page(run)
    assert neighbour.status()["state"] == "done"


@pytest.mark.parametrize("make", [*JSON.values(), text("{}")], ids=[*JSON, "an empty object"])
@pytest.mark.parametrize("name", ["job.json", "outcome.json"])
def test_a_damaged_record_of_a_job_is_no_dead_end(walked, monkeypatch, name, make):
    """It says nothing of a process that lives, so the next training begins, and what was there is kept."""
    run, _ = walked
    path = run.stage_folder("05_training") / name
    files.write_json(path, {"pid": 1, "run": "plateau/quick", "key": KEY, "state": "done", "reason": "all is done"})
    make(path)
    left = path.is_dir() or path.read_bytes()
    assert not process.stop(run)
    with pytest.raises(process.TrainingFailed, match="killed or lost"):
        process.Job(run, pid=0).ending()
    assert [found.status()["state"] for found in runs(ROOT)] == ["done", "done"] and pages.index(ROOT)

    monkeypatch.setattr(process.schedule, "job_key", lambda run, params: Key())
    monkeypatch.setattr(process.sys, "executable", "/bin/true")
    process.start(run, run.resolve("quick", {}, forget=True)[0])
    kept = path.with_name(f"{name}.damaged")
    assert (kept.is_dir() or kept.read_bytes()) == left
    assert run.events("damaged")[-1]["kept_as"] == kept.name


def places(value: object) -> Iterator[tuple[str | int, ...]]:
    """The way to every value inside a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (key,)
        yield from ((key, *rest) for rest in places(item))


@pytest.mark.parametrize("seed", range(30))
def test_a_value_of_another_kind_anywhere_breaks_no_list(walked, monkeypatch, seed):
    """Records that are sound JSON, and yet not ours: of another version, another tool, a slip of the hand."""
    run, neighbour = walked
    files.write_json(run.folder / "05_training/job.json", {**processes.identity(), "run": "plateau/quick", "key": KEY})
    for kind in ("training_started", "resumed", "training_stage"):
        run.event(kind, stage="05_training", step=0, total=9)
    for step in (1, 2, 3):
        record = {"step": step, "stage": "fill", "loss": 1.0, "time": time.time() + step}
        jsonlines.append(run.folder / "metrics.jsonl", record)
    monkeypatch.setattr(closure, "of_stage", lambda *stage: {})
    rng = random.Random(seed)
    names = ["run.json", "events.jsonl", "metrics.jsonl", "04_scaling/ladder.json", "05_training/job.json"]
    for path in [run.folder / name for name in (*names, "06_evaluation/result.json", "05_training/result.json")]:
        lines = path.read_text().splitlines(keepends=True) if path.suffix == ".jsonl" else [path.read_text()]
        for _ in range(4):
            number = rng.randrange(max(0, len(lines) - 6), len(lines))
            value = part = json.loads(lines[number])
            *way, last = rng.choice(list(places(value)))
            for key in way:
                part = part[key]
            part[last] = rng.choice([None, -1, 0.5, "x", [], {}, [[1]], {"a": 1}, True, 10**400])
            if "seal" in value:  # a result of another version is sealed all the same
                value |= {"seal": files.fingerprint({key: item for key, item in value.items() if key != "seal"})}
            lines[number] = json.dumps(value) + "\n"
        path.write_text("".join(lines))
    assert len([(found.status(), found.states()) for found in runs(ROOT)]) == 2
    assert "neighbour" in pages.index(ROOT).read_text() and pages.run_page(run)
    assert neighbour.status()["state"] == "done"
