import os
import sys
import uuid
from pathlib import Path

import pytest
import torch

from stepladder.core import profiles
from stepladder.core.files import file_sha256
from stepladder.core.run import Run
from stepladder.launch import blobs, data
from stepladder.launch.hosts import LocalHost, Unreachable
from stepladder.launch.targets import Target
from stepladder.registry.store import Store, blob_path
from stepladder.training import checkpoint

ROOT = Path(__file__).parents[2]
SHARDS = ("one.h5", "two.h5")


@pytest.fixture
def run(outputs):
    """A run with three stages done on two shards, records, raw files, and four checkpoints."""
    checked = profiles.load(ROOT, "pde", "smoke", {"run": "walk"})
    run = Run.of(ROOT, checked)
    run.begin(checked)
    for place in ("shards/recipe", "raw"):
        (run.data / place).mkdir(parents=True)
        for name in SHARDS:
            (run.data / place / name).write_bytes(os.urandom(2000))
    run.finish_stage("01", checked, [])
    run.finish_stage("02", checked, [], [run.data / "shards" / "recipe" / name for name in SHARDS])
    run.finish_stage("03", checked, [])
    (run.stage_folder("03") / "figures").mkdir()
    (run.stage_folder("03") / "figures" / "loss.png").write_bytes(b"png")
    (run.stage_folder("03") / ".aside-1-2").mkdir()
    (run.stage_folder("03") / ".aside-1-2" / "half.png").write_bytes(b"half")
    run.event("noted")
    for step in (10, 20, 30):
        progress = checkpoint.Progress(step, "train", {"step": 10, "loss": 0.1})
        checkpoint.save(run.checkpoints, {"model": {"w": torch.ones(step)}}, progress)
    (run.checkpoints / "step_00000040").mkdir()
    (run.checkpoints / "step_00000040" / "state.pt").write_bytes(b"cut short")
    return run


@pytest.fixture
def host(tmp_path):
    return LocalHost("here/one", tmp_path / "box")


def plan_of(host, asked, **prices):
    target = Target(hosts=["one"], **prices)
    return data.plan(host, target, sys.executable, str(ROOT), f"{host.folder}/outputs", asked)


def names(asked) -> set[str]:
    return {name.removeprefix("pde/walk/") for name in asked}


def test_wanted_are_records_shards_and_checkpoints_and_nothing_raw(run):
    asked = names(data.wanted(run, "04_scaling"))
    assert {"params.yaml", "events.jsonl", "02_conversion/result.json", "03_smoke_test/figures/loss.png"} <= asked
    assert {f"pde/_data/shards/recipe/{name}" for name in SHARDS} <= asked
    steps = {name.split("/")[1] for name in asked if name.startswith("checkpoints/")}
    assert steps == {"step_00000010", "step_00000030"}  # the best, and the newest whole one
    assert not [name for name in asked if "raw" in name or "aside" in name or "hashes" in name]


def test_what_will_be_made_again_does_not_move(run):
    asked = names(data.wanted(run, "02_conversion", force=True))
    assert not [name for name in asked if "shards" in name or name.startswith("checkpoints/")]
    values = run.values()
    stale = data.wanted(run, "02_conversion", values={**values, "seed": values["seed"] + 1})
    assert not [name for name in stale if "shards" in name]


def test_a_run_that_has_not_begun_needs_nothing(outputs):
    assert data.wanted(Run(outputs / "pde" / "new", ROOT), "01_inventory") == {}


def test_a_run_moves_once_and_then_only_what_changed(run, host):
    asked = data.wanted(run, "04_scaling")
    first = plan_of(host, asked)
    assert set(first.missing) == set(asked) and first.bytes == first.whole > 4000
    data.send(host, run, first.missing, f"{host.folder}/outputs")
    there = Run(Path(host.folder) / "outputs" / "pde" / "walk", ROOT)
    assert [state.state for state in there.states().values()][:3] == ["done"] * 3
    assert checkpoint.newest(there.checkpoints, lambda *_, **__: None)[1].step == 30
    assert "No data to send" in str(plan_of(host, asked))

    run.event("noted again")
    second = plan_of(host, data.wanted(run, "04_scaling"))
    assert names(second.missing) == {"events.jsonl"}


@pytest.mark.drill
def test_a_file_that_was_damaged_there_comes_again(run, host):
    asked = data.wanted(run, "04_scaling")
    data.send(host, run, asked, f"{host.folder}/outputs")
    shard = Path(host.folder) / "outputs" / "pde" / "_data" / "shards" / "recipe" / "one.h5"
    times = shard.stat().st_mtime_ns
    shard.write_bytes(b"\0" * 2000)
    os.utime(shard, ns=(times, times))  # the size and the time are right
    plan = plan_of(host, asked)
    assert plan.missing == ("pde/_data/shards/recipe/one.h5",)
    data.send(host, run, plan.missing, f"{host.folder}/outputs")
    assert file_sha256(shard) == asked[plan.missing[0]]["sha256"]


def test_shards_on_another_disk_arrive_as_files(run, host, tmp_path):
    away = tmp_path / "large disk"
    run.data.rename(away)
    run.data.symlink_to(away)
    asked = data.wanted(run, "04_scaling")
    data.send(host, run, asked, f"{host.folder}/outputs")
    assert not (Path(host.folder) / "outputs" / "pde" / "_data").is_symlink()
    assert "No data to send" in str(plan_of(host, asked))


def test_a_plan_tells_files_bytes_time_and_dollars():
    asked = {name: {"bytes": 3_000_000_000, "sha256": ""} for name in ("a", "b", "c")}
    plan = data.Plan(asked, ("a", "b"), 10e6, dollars_per_hour=0.36, dollars_per_gb=0.01)
    assert plan.bytes == 6e9 and plan.seconds == 600 and plan.dollars == pytest.approx(0.06 + 0.06)
    assert str(plan) == "Data to send: 2 files, 6.0 GB: 10 min at 10.0 MB/s, $0.12; 1 file, 3.0 GB, there already."
    assert "$" not in str(data.Plan(asked, ("a",), 10e6))
    stored = data.Plan(asked, ("a", "b"), 10e6, ("b",))
    assert stored.bytes == 3e9 and "1 file, 3.0 GB, from the store; 1 file, 3.0 GB, there already." in str(stored)


class Slow(LocalHost):
    """A connection of so many bytes per second, which counts what it carries."""

    carried = 0

    def __init__(self, folder, rate, clock):
        super().__init__("here/slow", folder)
        self.rate, self.clock = rate, clock

    def call(self, argv, stdin=b"", timeout=60.0):
        seconds = 0.1 + len(stdin) / self.rate
        self.clock[0] += min(seconds, timeout)
        self.carried += len(stdin)
        if seconds > timeout:
            raise Unreachable("slow")
        return ""


@pytest.mark.parametrize("rate", [20_000, 1e6, 100e6])
def test_bandwidth_is_measured_in_bounded_time(tmp_path, monkeypatch, rate):
    clock = [0.0]
    monkeypatch.setattr(data.time, "monotonic", lambda: clock[0])
    host = Slow(tmp_path, rate, clock)
    assert data.bandwidth(host) == pytest.approx(rate, rel=0.2)
    assert clock[0] < 25 and host.carried < 10e6


def test_a_connection_that_becomes_slow_is_not_called_fast(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(data.time, "monotonic", lambda: clock[0])

    class Slower(Slow):
        def call(self, argv, stdin=b"", timeout=60.0):
            self.rate = 1e4 if len(stdin) > data.FIRST_BYTES else 1e8
            return super().call(argv, stdin, timeout)

    assert data.bandwidth(Slower(tmp_path, 0, clock)) < data.PROBE_BYTES / data.PROBE_SECONDS * 1.01


# A store of artifacts ------------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(run, request, monkeypatch):
    """A bucket with one of the two shards."""
    request.getfixturevalue("s3_endpoint")
    url = f"s3://shelf/{uuid.uuid4().hex}"
    shard = run.data / "shards" / "recipe" / "one.h5"
    Store(url).put(file_sha256(shard), shard)
    monkeypatch.setenv(blobs.ADDRESS, url)
    monkeypatch.setattr(blobs, "LEAST", 1000)
    return url


ONE = "pde/_data/shards/recipe/one.h5"


@pytest.mark.slow
def test_what_a_store_holds_the_machine_fetches_itself(run, host, shelf):
    asked = data.wanted(run, "04_scaling")
    held = blobs.stored(asked, asked)
    assert held == (ONE,) == plan_of(host, asked).stored
    outputs = f"{host.folder}/outputs"
    assert blobs.fetch(host, sys.executable, str(ROOT), outputs, asked, held, ("AWS_SECRET_ACCESS_KEY",)) == held
    assert ONE not in plan_of(host, asked).missing
    assert blobs.fetch(host, sys.executable, str(ROOT), outputs, asked, ()) == ()


@pytest.mark.slow
@pytest.mark.drill
def test_a_blob_that_is_damaged_in_the_store_is_not_taken(run, host, shelf):
    asked = data.wanted(run, "04_scaling")
    store = Store(shelf)
    store.write(blob_path(asked[ONE]["sha256"]), bytes(2000))
    assert blobs.fetch(host, sys.executable, str(ROOT), f"{host.folder}/outputs", asked, (ONE,)) == ()
    assert ONE in plan_of(host, asked).missing


@pytest.mark.parametrize("address", ["", "/a/folder", "file:///a/folder", "memory://x", "nowhere://x"])
def test_a_store_that_others_cannot_see_holds_nothing_for_them(run, monkeypatch, address):
    monkeypatch.setattr(blobs, "LEAST", 0)
    monkeypatch.setenv(blobs.ADDRESS, address)
    asked = data.wanted(run, "04_scaling")
    assert blobs.stored(asked, asked) == ()
