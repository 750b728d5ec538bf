"""Publishing a run: what is fetched elsewhere is that part of the run, and what must not be published is refused."""

import multiprocessing
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from stepladder.core import claim, files
from stepladder.core.config import ParameterError
from stepladder.core.run import Run
from stepladder.core.types import ShardContent
from stepladder.data import loading, shards
from stepladder.data.shards import Shard
from stepladder.notebooks import runner
from stepladder.registry import publish
from stepladder.registry.index import Registry
from stepladder.registry.leaks import Leak
from stepladder.registry.normaliser import facts
from stepladder.registry.publish import publish_folder, publish_run
from stepladder.registry.pull import pull
from stepladder.registry.store import RegistryError
from stepladder.training import checkpoint, worker
from tests.registry.parcels import TOKEN, blob, wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_git(monkeypatch):
    """What git says takes long and matters nowhere here."""
    told = {"commit": "abc", "dirty": None, "python": "3", "torch": "2"}
    monkeypatch.setattr(publish, "environment", lambda: told)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The outputs folder of another machine, with the same project."""
    monkeypatch.setenv("STEPLADDER_OUTPUTS", str(tmp_path / "elsewhere"))
    return tmp_path / "elsewhere"


def test_a_fetched_run_goes_on_without_converting(run, params, registry, elsewhere):
    published = publish_run(registry, run)
    assert published.name == "template-walk" and published.moved == published.manifest.bytes
    pull(registry, "template-walk", elsewhere)
    there = Run.of(ROOT, params)
    walked = runner.run_pipeline(there, ["01_inventory", "02_conversion"], params, ROOT)
    assert walked.state == "done" and "2 unchanged" in walked.reason
    train, validation, cases = loading.datasets(there, worker.read_parameters(there)[0], params)
    assert len(train) == 24 and len(validation) == len(cases) == 12
    assert train.sample(0, None)["image_YX"].shape == (32, 32)


def test_one_set_of_shards_serves_runs_of_any_name(run, params, registry, elsewhere):
    publish_run(registry, run)
    pull(registry, "template-walk", elsewhere, run="mine")
    there = Run.of(ROOT, params.model_copy(update={"run": "mine"}))
    assert there.states(params.model_dump(mode="json"))["02_conversion"].state == "done"
    assert not (elsewhere / "template" / "walk").exists()


def test_nothing_is_fetched_into_a_run_that_a_launched_job_has(registry, run, outputs):
    publish_run(registry, run)
    place = outputs / "template" / "mine"
    files.write_json(place / claim.PATH, {"job": "j", "state": "running", "machine": "box1/hostA"})
    with pytest.raises(RegistryError, match=r"template/mine is running on box1/hostA.*fetch into another run"):
        pull(registry, "template-walk", outputs, run="mine")
    assert not list(place.glob("0*"))
    files.write_json(place / claim.PATH, {"job": "j", "state": "done"})
    pull(registry, "template-walk", outputs, run="mine")
    assert (place / "02_conversion" / "result.json").exists()


def test_the_manifest_tells_everything(run, registry):
    made = publish_run(registry, run, aliases=["paper"], held_out=[]).manifest
    by_asset = {entry.asset: entry for entry in made.files if entry.asset}
    conversion = run.require("02_conversion")
    assert made.splits == {name: conversion["splits"][name] for name in ("train", "validation", "test")}
    for asset, path in conversion["shards"].items():
        told, own = by_asset[asset], Shard(run.folder.parent / path)
        assert (told.recipe, told.group) == (own.attributes["recipe"], own.attributes["group"])
        assert told.sha256 == files.file_sha256(own.path) and told.bytes == own.path.stat().st_size
    assert (made.licence, made.source) == ("Apache-2.0.", "Made on the spot.")
    assert made.parameters["splits"]["by"] == "asset" and made.parameters["data"]["mirror"] is None
    assert (made.study, made.run, made.profile, made.kind) == ("template", "walk", "quick", "shards")
    assert registry.aliases("template-walk").keys() == {"latest", "paper"}


def test_no_path_of_this_machine_is_published(run, registry, tmp_path):
    publish_run(registry, run)
    texts = [path.read_text() for path in (tmp_path / "store" / "artifacts").rglob("*") if path.is_file()]
    assert texts and not any(str(tmp_path) in text for text in texts)


def test_the_normaliser_looks_at_the_training_split_alone(tmp_path):
    one = np.array([[[1.0, 10.0]], [[3.0, np.nan]]], dtype=np.float32)
    for name in "ab":
        shards.write(tmp_path / f"{name}.h5", ShardContent({"u_NXC": one, "kind_N": np.zeros(2, np.int8)}), "recipe")
    told = facts([tmp_path / "a.h5", tmp_path / "b.h5"])
    assert told == {"u_NXC": {"mean": [2.0, 10.0], "std": [1.0, 0.0], "values": 6, "not_finite": 2}}


def test_publishing_again_moves_nothing_and_makes_no_version(run, registry):
    first = publish_run(registry, run)
    again = publish_run(registry, run)
    assert again.moved == 0 and again.version == first.version and registry.versions(first.name) == [first.version]


def test_a_leak_is_refused_before_anything_is_stored(run, params, registry, tmp_path):
    result = run.require("02_conversion")
    result["splits"]["train"] = [*result["splits"]["train"], result["splits"]["test"][0]]
    run.finish_stage("02_conversion", params, [], **{k: result[k] for k in ("shards", "splits")})
    with pytest.raises(Leak, match="in both train and test"):
        publish_run(registry, run)
    assert not (tmp_path / "store").exists()


def test_something_held_out_in_training_is_refused(run, registry):
    with pytest.raises(Leak, match="'dark' is held out and stands in the split"):
        publish_run(registry, run, held_out=["dark"])


def test_what_is_held_out_is_judged_by_the_shards_alone(run, registry):
    with pytest.raises(RegistryError, match="publish the shards"):
        publish_run(registry, run, kind="checkpoints", held_out=["dark"])


def test_a_stale_run_is_refused_with_the_command_that_mends_it(run, params, registry):
    run.begin(params.model_copy(update={"seed": 7}))
    with pytest.raises(ParameterError, match=r"02_conversion .* is stale \(.*stepladder run template .*--stages 1-2"):
        publish_run(registry, run)


def test_a_run_that_is_not_there_yet_names_what_to_run(params, registry, outputs, run):
    (run.folder / "02_conversion" / "result.json").unlink()
    with pytest.raises(ParameterError, match="02_conversion of run template/walk has no result"):
        publish_run(registry, run)
    with pytest.raises(ParameterError, match="05_training of run template/walk has no result"):
        publish_run(registry, run, kind="checkpoints")


def test_checkpoints_are_published_with_the_records_of_the_stages_before(run, params, registry, elsewhere):
    for step in (1, 2, 3):
        state = run.checkpoints / f"step_{step:08d}" / "state.pt"
        files.write_bytes(state, b"\0weights %d" % step)
        reached = checkpoint.Progress(step=step, stage="all", best={"step": 2, "loss": 0.1})
        seal = {"sha256": files.file_sha256(state), "bytes": state.stat().st_size}
        files.write_json(state.with_name("COMMITTED"), {**vars(reached), **seal})
    for stage in ("03_smoke_test", "04_scaling", "05_training"):
        vouched = [run.checkpoints / "step_00000003" / "state.pt"] if stage == "05_training" else []
        run.finish_stage(stage, params, [], vouched=vouched)
    made = publish_run(registry, run, kind="checkpoints")
    assert made.name == "template-walk-model" and not made.manifest.splits
    pull(registry, made.name, elsewhere)
    places = sorted(path.parent.name for path in elsewhere.rglob("state.pt"))
    assert places == ["step_00000002", "step_00000003"]  # the best and the last
    states = Run.of(ROOT, params).states(params.model_dump(mode="json"))
    assert "is missing" in states["02_conversion"].reason  # the shards are an artifact of their own
    publish_run(registry, run)
    pull(registry, "template-walk", elsewhere)
    states = Run.of(ROOT, params).states(params.model_dump(mode="json"))
    assert states["05_training"].state == "done"


def test_a_secret_in_what_the_manifest_itself_tells_is_refused(registry, tmp_path):
    files.write_text(tmp_path / "source" / "a.txt", "plain")
    with pytest.raises(RegistryError, match=r"manifest of thing: it holds .*Hugging Face token") as caught:
        publish_folder(registry, tmp_path / "source", "thing", "MIT", source=f"made by curl -H {TOKEN}")
    assert TOKEN not in str(caught.value) and not (tmp_path / "store").exists()


@pytest.mark.parametrize("place", ["file", "shard"])
def test_a_secret_is_refused_and_not_repeated(run, params, registry, tmp_path, place):
    result = run.require("02_conversion")
    paths = {asset: run.folder.parent / path for asset, path in result["shards"].items()}
    path = next(iter(paths.values()))
    aside = run.make_aside("02_conversion")
    if place == "file":
        path = run.folder / "02_conversion" / "splits.json"
        files.write_json(aside / path.name, {"token": TOKEN})
    else:
        content = ShardContent({"image_NYX": np.ones((1, 2, 2))}, attributes={"group": "g", "from": TOKEN})
        shards.write(path, content, "recipe")
    kept = {name: result[name] for name in ("shards", "splits")}
    run.finish_stage("02_conversion", params, [], vouched=paths.values(), made=aside, **kept)
    refusal = rf"{path.name}: it holds something that looks like a secret \(Hugging Face token\)"
    with pytest.raises(RegistryError, match=refusal) as caught:
        publish_run(registry, run)
    assert TOKEN not in str(caught.value) and not (tmp_path / "store").exists()
    trusted = path.relative_to(run.folder.parents[1]).as_posix()
    assert publish_run(registry, run, trusted=[trusted]).version


def test_a_folder_of_anything_is_published_and_comes_back(url, tmp_path):
    for name, data in {"a.txt": b"one", "deep/b.bin": bytes(9000), "deep/c.bin": bytes(9000)}.items():
        files.write_bytes(tmp_path / "source" / name, data)
    made = publish_folder(Registry(url), tmp_path / "source", "things", "CC0-1.0", "by hand", ["v1"])
    assert made.moved == 9003 and made.manifest.source == "by hand"
    assert pull(Registry(url), "things@v1", tmp_path / "target").states.keys() == {
        "a.txt",
        "deep/b.bin",
        "deep/c.bin",
    }
    with pytest.raises(RegistryError, match="no files to publish"):
        publish_folder(Registry(url), tmp_path / "nothing", "things", "CC0-1.0")


def test_a_fetched_folder_can_be_published_again(registry, tmp_path):
    files.write_text(tmp_path / "source" / "a.txt", "one")
    first = publish_folder(registry, tmp_path / "source", "things", "CC0-1.0")
    pull(registry, "things", tmp_path / "target")
    assert publish_folder(registry, tmp_path / "target", "things", "CC0-1.0").version == first.version


@pytest.mark.parametrize(("name", "licence"), [("a thing", "CC0-1.0"), ("thing", "")])
def test_a_name_or_licence_that_cannot_be_used_is_named(registry, tmp_path, name, licence):
    files.write_text(tmp_path / "source" / "a.txt", "one")
    with pytest.raises(RegistryError, match=r"source: no manifest that can be used \((name|licence) "):
        publish_folder(registry, tmp_path / "source", name, licence)


@pytest.mark.drill
def test_a_file_that_changes_meanwhile_is_not_published_under_a_wrong_hash(registry, tmp_path, monkeypatch):
    path = tmp_path / "source" / "a.txt"
    files.write_text(path, "before")
    put, sha256 = registry.store.put, files.file_sha256(path)

    def meddle(digest, source):
        path.write_text("after!")
        return put(digest, source)

    monkeypatch.setattr(registry.store, "put", meddle)
    with pytest.raises(RegistryError, match=r"a\.txt: it changed while it was published"):
        publish_folder(registry, tmp_path / "source", "things", "CC0-1.0")
    assert not blob(registry.store, sha256).exists() and registry.names() == []


@pytest.mark.drill
def test_two_publishers_at_once_do_not_hurt_each_other(url, tmp_path):
    barrier, made = threading.Barrier(4), []
    for number in range(4):
        files.write_bytes(tmp_path / str(number) / "common.bin", bytes(50000))
        files.write_bytes(tmp_path / str(number) / "own.bin", b"%d" % (number % 3))

    def go(number: int) -> None:
        barrier.wait()
        made.append(publish_folder(Registry(url), tmp_path / str(number), "things", "CC0-1.0").version)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    registry = Registry(url)
    assert len(made) == 4 and set(registry.versions("things")) == set(made) and len(set(made)) == 3
    for version in made:
        pull(registry, f"things@{version}", tmp_path / "target" / version)
    assert registry.resolve("things")[1] in made


def _publish_slowly(registry: Registry, folder: Path) -> None:
    put = registry.store.put

    def slowly(sha256: str, source: Path) -> int:
        time.sleep(0.1)
        return put(sha256, source)

    registry.store.put = slowly
    publish_folder(registry, folder, "things", "CC0-1.0")


@pytest.mark.drill
def test_a_killed_publisher_leaves_nothing_that_can_be_fetched_and_the_next_goes_on(registry, tmp_path):
    for number in range(80):
        files.write_bytes(tmp_path / "source" / f"{number}.bin", b"\0%d" % number)
    child = multiprocessing.get_context("fork").Process(target=_publish_slowly, args=(registry, tmp_path / "source"))
    child.start()
    wait_for(lambda: len(list((tmp_path / "store").glob("sha256/*/*"))) > 10)
    child.kill()
    child.join()
    assert registry.names() == []
    made = publish_folder(registry, tmp_path / "source", "things", "CC0-1.0")
    assert 0 < made.moved < made.manifest.bytes
    assert len(pull(registry, "things", tmp_path / "target").states) == 80
