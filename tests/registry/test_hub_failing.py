"""A hub that refuses or is gone, a push that is killed, a training that goes on: told, waited for, nothing twice."""

import os
import secrets
import signal
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from stepladder.cli import main
from stepladder.core import files
from stepladder.core.run import Run
from stepladder.registry import hub as pushing
from stepladder.registry.hub import follow, pause, push
from stepladder.registry.hub_api import HubError, HubUnavailable
from tests.loopback import loopback as loopback
from tests.registry.hub_runs import REPO, Clock, everything, save

SENT = {"model.safetensors", "stepladder.json", "README.md"}


def test_the_limit_of_commits_is_waited_for():
    asked = [float(at) for at in range(128)]
    assert pause(asked[:127], 200.0) == 0
    assert pause(asked, 200.0) == 3400
    assert pause(asked, 3600.5) == 0


def test_a_push_beyond_the_limit_waits_and_tells(trained, server, client):
    clock = Clock()
    files.write_json(
        trained.folder / "hub.json", {"format": 1, "asked": [clock.at - 3000 - at for at in range(128)], "commits": []}
    )
    push(trained, client, clock=clock.time)
    assert clock.waited == [pytest.approx(600 - 127)] and len(server.order) == 1
    assert trained.events("hub_waits")[0]["reason"] == "128 commits in the last hour"


def test_commits_that_failed_count_too(trained, server, client):
    server.faults = lambda method, path: (500, {}) if "/commit/" in path else None
    with pytest.raises(HubUnavailable):
        push(trained, client)
    assert len(files.read_object(trained.folder / "hub.json")["asked"]) == 1


@pytest.mark.parametrize(
    ("fault", "said", "after"),
    [
        ((401, {}), r"does not know the token in HF_TOKEN.*401", 0),
        ((403, {}), r"may not do this.*403", 0),
        ((429, {"Retry-After": "77"}), r"asked too often.*429", 77),
        ((500, {}), r"500", 0),
    ],
)
def test_a_single_push_fails_with_a_sentence(fault, said, after, trained, server, client, token):
    server.faults = lambda method, path: fault if "/commit/" in path else None
    with pytest.raises(HubUnavailable, match=said) as caught:
        push(trained, client)
    assert caught.value.after == after and token not in str(caught.value)
    server.faults = lambda method, path: None
    assert push(trained, client).sent and len(server.puts) == 1  # the weights were there already


def test_a_date_to_come_back_at_is_understood(trained, server, client):
    server.faults = lambda method, path: (429, {"Retry-After": formatdate(time.time() + 100, usegmt=True)})
    with pytest.raises(HubUnavailable, match="429") as caught:
        push(trained, client)
    assert 60 < caught.value.after <= 100


def test_what_could_not_be_sent_is_not_left_lying_about(trained, server, client):
    server.faults = lambda method, path: (500, {})
    with pytest.raises(HubUnavailable):
        push(trained, client)
    assert not list(trained.folder.rglob("*.safetensors"))


def test_a_wrong_token_is_told_without_it(trained, server, client, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", wrong := "hf" + "_" + secrets.token_hex(17))
    with pytest.raises(HubUnavailable, match="HF_TOKEN") as caught:
        push(trained, client)
    assert wrong not in str(caught.value)


def test_no_network_is_told(trained, server, client, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnavailable, match=r"127.0.0.1:9: opening lab/discs failed: .*refused"):
        push(trained, client)


def test_a_damaged_best_checkpoint_is_not_replaced_by_another(trained, server, client):
    (trained.checkpoints / "step_00000010" / "state.pt").write_bytes(b"cut")
    with pytest.raises(HubError, match=r"step_00000010 cannot be sent: state\.pt has 3 bytes"):
        push(trained, client)


@pytest.mark.slow
@pytest.mark.parametrize(("when", "made"), [("before", 0), ("after", 1)])
def test_a_kill_around_the_commit_sends_nothing_twice(when, made, trained, server, client, monkeypatch):
    victim: list[subprocess.Popen] = []

    def kill(path: str) -> None:
        os.kill(victim[0].pid, signal.SIGKILL)
        victim[0].wait()

    if when == "before":
        server.faults = lambda method, path: kill(path) or (500, {}) if "/commit/" in path else None
    else:
        server.answered = kill
    code = "import sys; from stepladder.api import find; from stepladder.registry.hub import Client, push; "
    code += "from stepladder import studies; studies.__path__.append(sys.argv[1]); "
    code += "push(find('template/walk'), Client('lab/discs'))"
    template = str(Path(main.__file__).parents[1] / "testing")
    victim.append(subprocess.Popen([sys.executable, "-c", code, template]))
    assert victim[0].wait(120) == -signal.SIGKILL
    assert len(server.puts) == 1 and len(server.order) == made
    server.faults, server.answered = lambda method, path: None, lambda path: None
    pushed = push(trained, client)
    assert len(server.puts) == 1 and len(server.order) == 1 and pushed.commit == server.order[0]
    assert push(trained, client).commit == pushed.commit


class Training(Clock):
    """A training that goes on while the follower waits: what happens at each wait is a script."""

    def __init__(self, script) -> None:
        super().__init__()
        self.script = iter(script)

    def wait(self, seconds: float) -> None:
        super().wait(seconds)
        next(self.script)()


def test_following_sends_every_checkpoint_and_the_best_at_the_end(begun, params, server, client, monkeypatch):
    state = {"state": "running"}
    monkeypatch.setattr(Run, "status", lambda self: state)
    training = Training(
        [
            lambda: save(begun, params, 1, best=1),
            lambda: save(begun, params, 2, best=1),
            lambda: state.update(state="done"),
        ]
    )
    told: list[str] = []
    done = follow(begun, client, clock=training.time, tell=told.append)
    assert [one["step"] for one in pushing.commits(begun)] == [1, 2, 1] and done.step == 1
    assert len(server.puts) == 2 and len(server.order) == 3  # the best one's weights were there
    first = server.trees[server.order[0]]["README.md"]
    assert b"06_evaluation was not run on it" in first and all(commit in " ".join(told) for commit in server.order)
    asked = len(server.asked)
    assert not follow(begun, client, clock=training.time).sent and len(server.asked) == asked


def test_following_outlasts_failures_and_touches_no_training(begun, params, server, client, monkeypatch, token):
    state = {"state": "running"}
    monkeypatch.setattr(Run, "status", lambda self: state)
    save(begun, params, 1, best=1)
    before = {path: path.read_bytes() for path in begun.checkpoints.rglob("*") if path.is_file()}
    faults = iter([(500, {}), (429, {"Retry-After": "400"}), (401, {})])
    server.faults = lambda method, path: next(faults, None) if path == "/api/repos/create" else None
    training = Training([lambda: None] * 3 + [lambda: state.update(state="failed")])
    done = follow(begun, client, clock=training.time, tell=lambda text: None)
    assert training.waited == [30, 400, 120, 10] and done.step == 1
    failed = begun.events("hub_failed")
    assert [event["attempt"] for event in failed] == [1, 2, 3] and "500" in failed[0]["reason"]
    assert before == {path: path.read_bytes() for path in begun.checkpoints.rglob("*") if path.is_file()}
    assert token not in everything(begun)


def test_following_gives_up_when_the_training_is_over(trained, server, client):
    server.faults = lambda method, path: (503, {})
    clock = Clock()
    with pytest.raises(HubUnavailable, match="503"):
        follow(trained, client, clock=clock.time, tell=lambda text: None)
    assert clock.waited == [30, 60, 120, 240, 480, 900, 900]


def test_following_leaves_out_a_damaged_checkpoint(trained, params, server, client, monkeypatch):
    state = {"state": "running"}
    monkeypatch.setattr(Run, "status", lambda self: state)
    (trained.checkpoints / "step_00000020" / "state.pt").write_bytes(b"cut")
    follow(trained, client, clock=Training([lambda: state.update(state="done")]).time, tell=lambda text: None)
    assert [event["step"] for event in trained.events("hub_left_out")] == [20]
    assert pushing.commits(trained)[-1]["step"] == 10


def test_the_command_fails_with_a_sentence_and_exit_code_1(trained, server, token, monkeypatch, capsys):
    server.faults = lambda method, path: (401, {})
    monkeypatch.setattr(sys, "argv", ["stepladder", "hub", "push", "template/walk", "--repo", REPO])
    with pytest.raises(SystemExit) as ended:
        main.main()
    said = capsys.readouterr().out
    assert ended.value.code == 1 and "error: " in said and "the token in HF_TOKEN" in said and token not in said


def test_a_missing_package_is_told_with_the_way_out(trained, server, client, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubError, match=r"huggingface_hub: install it with .*captions"):
        push(trained, client)
