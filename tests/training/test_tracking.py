"""Tracking: the record file is exact, mirrors repeat it, and a broken mirror is felt by nobody."""

import json
import os

import pytest

from stepladder.core import files, jsonlines
from stepladder.core.schema import Parameters
from stepladder.training import tracking
from stepladder.training.tracking import All, Jsonl, numbers, replay

TOKEN = "hf_" + "a1B2" * 6  # the shape of a token, not a token


def records(count, first=1):
    return [{"step": s, "stage": "all", "loss": 1 / s, "time": 1e9 + s} for s in range(first, first + count)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "toy" / "run" / "05_training").mkdir(parents=True)
    return tmp_path / "toy" / "run"


@pytest.fixture
def events():
    """Collects reports, like `Run.event`."""

    class Events(list):
        def __call__(self, kind, **fields):
            self.append({"kind": kind, **fields})

    return Events()


class Memory:
    """A mirror that remembers."""

    def __init__(self):
        self.seen, self.state = [], None

    def log(self, record):
        self.seen.append(record)

    def finish(self, state):
        self.state = state


def test_lines_past_the_resumed_step_are_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = Jsonl(path, 0)
    for record in records(7):
        first.log(record)
    with path.open("a") as file:
        file.write('{"step": 8, "lo')  # killed in the middle of a line
    second = Jsonl(path, 5)
    second.log({"step": 6, "loss": 0.5})
    assert jsonlines.read(path) == [*records(5), {"step": 6, "loss": 0.5}]


def test_a_new_training_starts_an_empty_record(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    Jsonl(tmp_path / "metrics.jsonl", 0)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_each_line_is_on_disk_at_once(tmp_path):
    tracker = Jsonl(tmp_path / "metrics.jsonl", 0)
    for record in records(3):
        tracker.log(record)
        assert jsonlines.read(tmp_path / "metrics.jsonl")[-1] == record
    tracker.log({"step": 4, "loss": float("nan")})
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1]) == {"step": 4, "loss": None}


@pytest.mark.parametrize("when", ["start", "log", "finish"])
def test_a_failing_mirror_is_told_once_and_training_goes_on(folder, events, monkeypatch, when):
    class Broken(Memory):
        def __init__(self, folder, config):
            super().__init__()
            self._fail("start")

        def log(self, record):
            self._fail("log")

        def finish(self, state):
            self._fail("finish")

        def _fail(self, here):
            if here == when:
                raise ConnectionError(f"no route, key {TOKEN}")

    monkeypatch.setitem(tracking.MIRRORS, "wandb", Broken)
    tracker = All(folder, Parameters(study="toy", tracking=["jsonl", "wandb"]), 0, events)
    for record in records(4):
        tracker.log(record)
    tracker.finish("done")
    assert events == [{"kind": "mirror_failed", "mirror": "wandb", "reason": "ConnectionError: no route, key (hidden)"}]
    assert jsonlines.read(folder / "metrics.jsonl") == records(4)


def test_replay_feeds_a_recorded_run_to_any_tracker(folder):
    Jsonl(folder / "metrics.jsonl", 0)
    for record in records(3):
        jsonlines.append(folder / "metrics.jsonl", record)
    files.write_json(folder / "run.json", {"state": "preempted"})
    memory = Memory()
    assert replay(folder, memory) == 3
    assert memory.seen == records(3) and memory.state == "preempted"


def test_curves_show_numbers_only():
    assert numbers({"step": 3, "stage": "all", "loss": 0.5, "time": 1.0, "lr": 1}) == {"loss": 0.5, "lr": 1}


@pytest.mark.slow
def test_wandb_mirrors_offline_without_a_key_and_without_secrets(folder, events, monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    params = Parameters(study="toy", run="run", tracking=["jsonl", "wandb"], data={"mirror": f"/raw/{TOKEN}"})
    tracker = All(folder, params, 0, events)
    for record in records(5):
        tracker.log(record)
    tracker.finish("done")
    assert not events
    written = list((folder / "05_training" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(written) == 1
    content = written[0].read_bytes()
    assert b"loss" in content and b"learning_rate" in content
    for path in (folder / "05_training" / "wandb").rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_tensorboard_mirrors(folder, events):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="an extra")
    tracker = All(folder, Parameters(study="toy", tracking=["tensorboard"]), 0, events)
    for record in records(3):
        tracker.log(record)
    tracker.finish("done")
    found = accumulator.EventAccumulator(str(folder / "05_training" / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(s, pytest.approx(1 / s)) for s in (1, 2, 3)]
    assert not events


@pytest.mark.parametrize(
    "damage",
    [b"\0" * 300, b'{"step": 4, "lo', '{"step": 4, "name": "ä'.encode()[:-1], b"3\n", b'{"step": 4, "loss": \xff}\n'],
    ids=["NULs", "half a line", "half a character", "no object", "no text"],
)
def test_training_goes_on_over_a_damaged_record_and_says_so(folder, events, damage):
    path = folder / "metrics.jsonl"
    first = Jsonl(path, 0)
    for record in records(3):
        first.log(record)
    with path.open("ab") as file:
        file.write(damage)  # and the machine went down
    jsonlines.append(path, {"step": 9, "note": "\u2028 and \u0085 and \r"})
    tracker = All(folder, Parameters(study="toy"), 9, events)
    tracker.log({"step": 10, "loss": 0.1})
    tracker.finish("done")
    found = jsonlines.read(path)
    assert found == [*records(3), {"step": 9, "note": "\u2028 and \u0085 and \r"}, {"step": 10, "loss": 0.1}]
    assert not found.fault
    assert events == [{"kind": "damaged", "file": path.name, "lines": 1, "kept_as": "metrics.jsonl.damaged"}]
    assert (folder / "metrics.jsonl.damaged").read_bytes().strip(b"\n") == damage.strip(b"\n")


def test_a_record_without_a_future_is_left_as_it_is(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1,    "loss": 1.0}\n{"note": "of no step"}\n')
    before = path.stat()
    Jsonl(path, 1).finish("done")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_cutting_the_future_of_a_long_record_needs_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonlines, "BLOCK", 1000)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join(jsonlines.encode(record) for record in records(500)) + b"\0\n")
    assert Jsonl(path, 300).damaged == 1
    assert jsonlines.read(path) == records(300)
