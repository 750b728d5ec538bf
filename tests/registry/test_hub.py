"""A model goes to a hub and back: bit by bit, once, with a card, without a secret."""

import secrets
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from stepladder.cli import main
from stepladder.core import profiles, study
from stepladder.core.config import ParameterError
from stepladder.core.study import find
from stepladder.registry import hub as pushing
from stepladder.registry import hub_card, secrecy
from stepladder.registry.hub import load, push
from stepladder.registry.hub_api import Client, HubError
from stepladder.training import checkpoint
from tests.loopback import loopback as loopback
from tests.registry.hub_runs import REPO, evaluated, everything, save

ROOT = Path(__file__).parents[2]
SENT = {"model.safetensors", "stepladder.json", "README.md"}


def test_the_best_model_comes_back_bit_by_bit(trained, params, server, client, tmp_path):
    pushed = push(trained, client)
    assert set(server.head) == SENT == set(pushed.sent) and pushed.step == 10
    pulled = load(REPO, pushed.commit, cache=tmp_path / "cache")
    judged = checkpoint.load_model(find("template"), params, trained.checkpoints)[0].state_dict()
    assert pulled.tensors.keys() == judged.keys()
    assert all(torch.equal(pulled.tensors[name], value) for name, value in judged.items())
    assert all(pulled.tensors[name].dtype == value.dtype for name, value in judged.items())
    assert pulled.facts["checkpoint"] == checkpoint.sha256_of(trained.checkpoints / "step_00000010")
    fresh = find("template").model(params)
    pulled.restore(fresh)
    assert all(torch.equal(value, judged[name]) for name, value in fresh.state_dict().items())


def test_what_was_sent_is_not_sent_again(trained, server, client):
    first = push(trained, client)
    asked = len(server.asked)
    again = push(trained, client)
    assert (again.commit, again.sent) == (first.commit, ()) and len(server.asked) == asked
    assert pushing.commits(trained)[0]["commit"] == first.commit


def test_the_repository_is_private_unless_public_is_said(trained, server, client):
    push(trained, client)
    assert server.private == {REPO: True}
    push(trained, Client("lab/open"), public=True)
    assert server.private["lab/open"] is False
    checkpoints = server.order.copy()
    with pytest.raises(HubError, match=r"lab/open is public.*--public"):
        push(trained, Client("lab/open"), step=20)
    assert server.order == checkpoints


def test_a_name_alone_is_the_owners(trained, server):
    assert push(trained, Client("discs")).repo == REPO


def test_a_token_is_only_ever_named(trained, server, token, monkeypatch):
    with pytest.raises(HubError, match="not the name of a variable") as caught:
        push(trained, Client(REPO, token))
    assert token not in str(caught.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="HF_TOKEN is not set"):
        push(trained, Client(REPO))
    assert not server.asked


def test_nothing_secret_leaves_and_nothing_of_this_machine(trained, params, server, monkeypatch, token):
    """The token under a name that says nothing; fakes in events and in files beside; folders and machines."""
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("MINE", token)
    fake = "hf" + "_" + secrets.token_hex(17)
    data = params.data.model_copy(update={"mirror": str(Path.home() / "private" / "mirror")})
    launch = params.launch.model_copy(update={"on": "box-of-somebody"})
    trained.begin(params.model_copy(update={"data": data, "launch": launch}))
    (trained.folder / ".env").write_text(f"HF_TOKEN={fake}")
    (trained.checkpoints / "step_00000010" / "notes.txt").write_text(fake)
    push(trained, Client(REPO, "MINE"))
    sent = b"\n".join([*server.received, *server.head.values()])
    assert set(server.head) == SENT and b'"mirror": "mirror"' in server.head["stepladder.json"]
    for hidden in (token, fake, "box-of-somebody", str(trained.folder), str(Path.home())):
        assert hidden.encode() not in sent
    assert token not in everything(trained)


def test_parameters_with_a_secret_are_refused(trained, params, server, client):
    data = params.data.model_copy(update={"mirror": f"https://mirror.example/{'hf' + '_' + secrets.token_hex(17)}"})
    trained.begin(params.model_copy(update={"data": data}))
    with pytest.raises(ParameterError, match=r"'data.mirror' holds what looks like a secret"):
        push(trained, client)
    assert not server.asked


def test_the_token_itself_is_found_whatever_it_looks_like(trained, server, monkeypatch):
    """A token of a hub that gives its own no form, in a variable whose name says nothing."""
    monkeypatch.setenv("MINE", token := "".join(secrets.choice("bcdfgh") for _ in range(20)))
    monkeypatch.setattr(type(find("template")), "title", f"Discs {token}")
    with pytest.raises(HubError, match=r"README.md is not sent") as caught:
        push(trained, Client(REPO, "MINE"))
    assert token not in str(caught.value)


@pytest.mark.parametrize("place", ["README.md", "metrics.json", "model.safetensors"])
def test_a_file_with_a_secret_is_refused_by_name(place, trained, params, server, client, monkeypatch):
    fake = "hf" + "_" + secrets.token_hex(17)
    if place == "README.md":
        monkeypatch.setattr(type(find("template")), "title", f"Discs {fake}")
    elif place == "metrics.json":
        evaluated(trained, params, method=fake)
    else:
        state = checkpoint.read(trained.checkpoints, 10)
        state["model"][fake] = torch.zeros(1)
        checkpoint.save(trained.checkpoints, state, checkpoint.Progress(10, "all", {"step": 10, "loss": 1.0}))
    with pytest.raises(HubError, match=rf"{place} is not sent: .*looks like a secret") as caught:
        push(trained, client)
    assert fake not in str(caught.value) and not server.asked


def test_the_card_tells_data_licence_numbers_and_limits(trained, params, server, client):
    evaluated(trained, params)
    push(trained, client)
    card = server.head["README.md"].decode()
    assert card.startswith("---\nlicense: other\n") and "- template\n---\n" in card
    for told in ("Apache-2.0", "**Source.**", "**Known defects.**", "| model | 0.500 [0.400, 0.600] |", "hub.load("):
        assert told in card
    assert card.index("IoU: level with nothing.") < card.index("world: no effect.") < card.index("| model | 0.500")
    assert set(server.head) == SENT | {"metrics.json"}


def test_the_card_says_plainly_that_nothing_was_measured(trained, server, client):
    push(trained, client)
    assert b"**06_evaluation was not run: nothing is known of how good this model is.**" in server.head["README.md"]


def test_given_weights_are_named_and_must_be_the_same(begun, params, server, client, tmp_path):
    save(begun, params, 5, best=5, given={"tower.": "sha256 of a tower"})
    pushed = push(begun, client)
    assert b'`tower.` = "sha256 of a tower"' in server.head["README.md"]
    pulled = load(REPO, pushed.commit, cache=tmp_path / "cache")
    with pytest.raises(ValueError, match="tower"):
        pulled.restore(find("template").model(params))


def test_a_branch_is_no_revision(server):
    with pytest.raises(HubError, match="'main' may mean other weights tomorrow"):
        load(REPO, "main")


def test_weights_that_are_not_those_that_were_sent_are_refused(trained, server, client, tmp_path):
    pushed = push(trained, client)
    server.trees[pushed.commit]["model.safetensors"] += b"\0"
    with pytest.raises(HubError, match=r"model\.safetensors is not what was sent"):
        load(REPO, pushed.commit, cache=tmp_path / "cache")


def test_the_command_tells_the_commit_and_never_the_token(trained, server, token):
    result = CliRunner().invoke(main.app, ["hub", "push", "template/walk", "--repo", REPO])
    assert result.exit_code == 0 and f"{REPO}@{server.order[0]}" in result.output and server.private[REPO]
    assert token not in result.output + everything(trained)
    result = CliRunner().invoke(main.app, ["hub", "push", "template/walk", "--repo", REPO])
    assert "nothing sent" in result.output


@pytest.mark.parametrize("name", study.names())
def test_every_study_has_a_card_that_tells_source_licence_and_defects(name, outputs):
    params = profiles.load(ROOT, name, "quick", {})
    facts = {"study": name, "run": "quick", "step": 1, "given": {}}
    told = hub_card.card(find(name), params, facts, hub_card.Scores(why_not="06_evaluation was not run."))
    assert "does not say" not in told and "**06_evaluation was not run.**" in told
    assert not secrecy.text_flaw(told) and "| what | how |" in told
