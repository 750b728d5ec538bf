"""The command line, from publishing to fetching elsewhere; and what people get wrong, in one sentence."""

import pytest
from typer.testing import CliRunner

from stepladder.cli import artifacts, main
from stepladder.core import files
from stepladder.core.config import ParameterError
from stepladder.registry import publish
from tests.registry.parcels import TOKEN, manifest


@pytest.fixture
def call(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    told = {"commit": "abc", "dirty": None, "python": "3", "torch": "2"}
    monkeypatch.setattr(publish, "environment", lambda: told)

    def invoke(*arguments) -> str:
        result = CliRunner().invoke(main.app, ["artifact", *map(str, arguments)])
        if isinstance(result.exception, Exception):
            raise result.exception
        return f"{result.output}exit {result.exit_code}"

    return invoke


def test_publish_list_fetch_and_verify(call, run, outputs, tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "_next", lambda manifest: f"stepladder run {manifest.study}")
    store = tmp_path / "store"
    said = call("publish", "template/walk", "--to", store, "--alias", "paper")
    assert "template-walk@" in said and "7 files" in said
    assert "latest, paper" in call("list", store) and "Apache-2.0" in call("list", store)
    assert "7 there" in call("fetch", "template-walk", "--from", store)
    monkeypatch.setenv("STEPLADDER_OUTPUTS", str(tmp_path / "elsewhere"))
    said = call("fetch", "template-walk@paper", "--from", store, "--run", "mine")
    assert "7 fetched" in said and "go on with: stepladder run template" in said
    assert "7 of 7 files verified" in call("verify", "template-walk")
    assert "exit 0" in call("verify", "template-walk", "--from", store)


@pytest.mark.drill
def test_damage_is_named_and_ends_with_exit_code_1(call, run, outputs, tmp_path):
    store = tmp_path / "store"
    call("publish", "template/walk", "--to", store)
    call("fetch", "template-walk", "--from", store, "--into", tmp_path / "target")
    shard = next((tmp_path / "target").rglob("*.h5"))
    shard.write_bytes(b"gone")
    said = call("verify", "template-walk", "--in", tmp_path / "target")
    assert f"differs: {shard.relative_to(tmp_path / 'target')}" in said and said.endswith("exit 1")
    next(path for path in store.glob("sha256/*/*") if path.stat().st_size > 5000).write_bytes(b"gone")
    said = call("verify", "template-walk", "--from", store)
    assert "damaged: " in said and "(sha256/" in said and said.endswith("exit 1")


def test_any_folder_can_be_added_and_an_alias_moved(call, tmp_path):
    files.write_text(tmp_path / "source" / "a.txt", "one")
    store = tmp_path / "store"
    said = call("add", tmp_path / "source", "--to", store, "--name", "things", "--licence", "CC0-1.0")
    version = said.partition("@")[2].partition(":")[0]
    files.write_text(tmp_path / "source" / "a.txt", "two")
    call("add", tmp_path / "source", "--to", store, "--name", "things", "--licence", "CC0-1.0")
    assert f"things@good is {version}" in call("alias", f"things@{version[:6]}", "good", "--at", store)
    call("fetch", "things@good", "--from", store, "--into", tmp_path / "target")
    assert (tmp_path / "target" / "a.txt").read_text() == "one"


def test_a_broken_manifest_is_a_row_of_the_list(call, tmp_path):
    files.write_text(tmp_path / "source" / "a.txt", "one")
    call("add", tmp_path / "source", "--to", tmp_path / "store", "--name", "things", "--licence", "CC0-1.0")
    next((tmp_path / "store" / "artifacts" / "things").glob("*.yaml")).write_text("[")
    assert "BROKEN" in call("list", tmp_path / "store")
    assert "no artifacts" in call("list", tmp_path / "nowhere")


def test_what_people_get_wrong_is_one_sentence_with_the_way_out(call, run, outputs, tmp_path):
    for arguments, message in [
        (("publish", "template/wolk", "--to", tmp_path / "s"), "no run 'template/wolk'; did you mean 'template/walk'"),
        (("fetch", "thing", "--from", tmp_path / "s"), "no artifact 'thing'; the store is empty"),
        (("fetch", "thing", "--from", "nowhere://x"), "for s3:// install s3fs"),
        (("publish", "template/walk", "--to", tmp_path / "s", "--held-out", "grey"), "held out is 'grey'"),
    ]:
        with pytest.raises(ParameterError, match=message):
            call(*arguments)


def test_a_secret_in_a_folder_is_refused_until_it_is_trusted(call, tmp_path):
    files.write_text(tmp_path / "source" / "notes.md", TOKEN)
    arguments = ("add", tmp_path / "source", "--to", tmp_path / "s", "--name", "n", "--licence", "MIT")
    with pytest.raises(ParameterError, match=r"notes\.md: .*--trust notes\.md"):
        call(*arguments)
    assert "1 files" in call(*arguments, "--trust", "notes.md")


def test_the_way_on_sets_what_differs_from_the_profile_here(monkeypatch, outputs, params):
    made = manifest(kind="shards", study="template", run="walk", profile="quick")
    usual = made.model_copy(update={"parameters": {"seed": 0, "splits": {"by": "asset"}}})
    changed = made.model_copy(update={"parameters": {"seed": 3, "splits": {"by": "group", "test": ["a b"]}}})
    monkeypatch.setattr(artifacts.profiles, "load", lambda *arguments: params)
    assert artifacts._next(usual) == "stepladder run template --profile quick --run walk --stages 3-7"
    assert artifacts._next(changed).endswith("""--set 'seed=3' --set 'splits.by="group"' --set 'splits.test=["a b"]'""")
