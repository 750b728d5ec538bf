"""A model goes to a hub and back: bit by bit, once, without a secret, and whatever the hub does."""

import os
import secrets
from pathlib import Path

import pytest
import torch

from stepladder.core import files
from stepladder.core.run import Run
from stepladder.core.study import find
from stepladder.registry import hub as pushing
from stepladder.registry.hub import Time, follow, load, pause, push
from stepladder.registry.hub_api import Client, HubError, HubUnavailable
from stepladder.training import checkpoint
from tests.loopback import loopback as loopback
from tests.registry.hub_server import serving

REPO = "lab/discs"
SENT = {"model.safetensors", "stepladder.json", "README.md"}


@pytest.fixture
def token() -> str:
    """Looks like a token, is none, and is another one each time."""
    return "hf" + "_" + secrets.token_hex(17)


@pytest.fixture
def server(token, monkeypatch, tmp_path, loopback):
    """A hub that takes the token, which the environment holds."""
    constants = pytest.importorskip("huggingface_hub.constants")
    pytest.importorskip("safetensors")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    with serving(token) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", token)
        yield hub


@pytest.fixture
def trained(run: Run, params) -> Run:
    """A run with two checkpoints, the first of which is the best; with averaged weights."""
    for step in (10, 20):
        save(run, params, step, best=10)
    return run


def save(run: Run, params, step: int, best: int, given=None) -> None:
    """A checkpoint as training leaves it, of a model of its own."""
    torch.manual_seed(step)
    model = find("template").model(params)
    average = {name: value.detach() + 1 for name, value in model.named_parameters()}
    state = {"model": model.state_dict(), "given": given or {}, "optimizer": {}, "average": average, "scaler": None}
    progress = checkpoint.Progress(step, "all", {"step": best, "loss": 1.0}, {}, "code")
    checkpoint.save(run.checkpoints, state, progress)


@pytest.fixture
def client() -> Client:
    return Client(REPO)


class Clock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.at, self.waited = 1e9, []

    def now(self) -> float:
        return self.at

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.at += seconds

    @property
    def time(self) -> Time:
        return Time(self.now, self.wait)


def everything(run: Run) -> str:
    """All text that a run holds, its events and records among it."""
    return "".join(path.read_text("utf-8", "ignore") for path in run.folder.rglob("*") if path.is_file())


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


def test_the_limit_of_commits_is_waited_for():
    asked = [float(at) for at in range(128)]
    assert pause(asked[:127], 200.0) == 0
    assert pause(asked, 200.0) == 3400
    assert pause(asked, 3600.5) == 0
