"""A model goes to a hub and back: bit by bit, once, without a secret, and whatever the hub does."""

import os
import secrets
import signal
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from stepladder import studies, testing
from stepladder.cli import main
from stepladder.core import files, profiles, study
from stepladder.core.config import ParameterError
from stepladder.core.run import Run
from stepladder.core.stages import before
from stepladder.core.study import find
from stepladder.registry import hub as pushing
from stepladder.registry import hub_card, secrecy
from stepladder.registry.hub import Time, follow, load, pause, push
from stepladder.registry.hub_api import Client, HubError, HubUnavailable
from stepladder.training import checkpoint
from tests.loopback import loopback as loopback
from tests.registry.hub_server import serving

ROOT = Path(__file__).parents[2]
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
def run(outputs, params, monkeypatch) -> Run:
    """A run of the template study that has just begun."""
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(Path(testing.__file__).parent)])
    made = Run.of(ROOT, params)
    made.begin(params)
    return made


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


def evaluated(run: Run, params, method: str = "model") -> None:
    """The stages up to 06 are done, and 06 found numbers."""
    for part in before("06_evaluation"):
        run.finish_stage(part.name, params, [])
    aside = run.make_aside("06_evaluation")
    rows = [
        {
            "group": "all",
            "method": name,
            "metric": "IoU",
            "value": value,
            "low": value - 0.1,
            "high": value + 0.1,
            "units": 9,
        }
        for name, value in ((method, 0.5), ("nothing", 0.25))
    ]
    files.write_json(aside / "metrics.json", {"summary": rows, "gains": []})
    notes = [{"title": "", "columns": [], "rows": [], "note": "world: no effect."}]
    run.finish_stage("06_evaluation", params, [], made=aside, sentence="IoU: level with nothing.", tables=notes)


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


def test_given_weights_are_named_and_must_be_the_same(run, params, server, client, tmp_path):
    save(run, params, 5, best=5, given={"tower.": "sha256 of a tower"})
    pushed = push(run, client)
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


def test_following_sends_every_checkpoint_and_the_best_at_the_end(run, params, server, client, monkeypatch):
    state = {"state": "running"}
    monkeypatch.setattr(Run, "status", lambda self: state)
    training = Training(
        [
            lambda: save(run, params, 1, best=1),
            lambda: save(run, params, 2, best=1),
            lambda: state.update(state="done"),
        ]
    )
    told: list[str] = []
    done = follow(run, client, clock=training.time, tell=told.append)
    assert [one["step"] for one in pushing.commits(run)] == [1, 2, 1] and done.step == 1
    assert len(server.puts) == 2 and len(server.order) == 3  # the best one's weights were there
    first = server.trees[server.order[0]]["README.md"]
    assert b"06_evaluation was not run on it" in first and all(commit in " ".join(told) for commit in server.order)
    asked = len(server.asked)
    assert not follow(run, client, clock=training.time).sent and len(server.asked) == asked


def test_following_outlasts_failures_and_touches_no_training(run, params, server, client, monkeypatch, token):
    state = {"state": "running"}
    monkeypatch.setattr(Run, "status", lambda self: state)
    save(run, params, 1, best=1)
    before = {path: path.read_bytes() for path in run.checkpoints.rglob("*") if path.is_file()}
    faults = iter([(500, {}), (429, {"Retry-After": "400"}), (401, {})])
    server.faults = lambda method, path: next(faults, None) if path == "/api/repos/create" else None
    training = Training([lambda: None] * 3 + [lambda: state.update(state="failed")])
    done = follow(run, client, clock=training.time, tell=lambda text: None)
    assert training.waited == [30, 400, 120, 10] and done.step == 1
    failed = run.events("hub_failed")
    assert [event["attempt"] for event in failed] == [1, 2, 3] and "500" in failed[0]["reason"]
    assert before == {path: path.read_bytes() for path in run.checkpoints.rglob("*") if path.is_file()}
    assert token not in everything(run)


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


def test_the_command_tells_the_commit_and_never_the_token(trained, server, token):
    result = CliRunner().invoke(main.app, ["hub", "push", "template/walk", "--repo", REPO])
    assert result.exit_code == 0 and f"{REPO}@{server.order[0]}" in result.output and server.private[REPO]
    assert token not in result.output + everything(trained)
    result = CliRunner().invoke(main.app, ["hub", "push", "template/walk", "--repo", REPO])
    assert "nothing sent" in result.output


def test_the_command_fails_with_a_sentence_and_exit_code_1(trained, server, token, monkeypatch, capsys):
    server.faults = lambda method, path: (401, {})
    monkeypatch.setattr(sys, "argv", ["stepladder", "hub", "push", "template/walk", "--repo", REPO])
    with pytest.raises(SystemExit) as ended:
        main.main()
    said = capsys.readouterr().out
    assert ended.value.code == 1 and "error: " in said and "the token in HF_TOKEN" in said and token not in said


@pytest.mark.parametrize("name", study.names())
def test_every_study_has_a_card_that_tells_source_licence_and_defects(name, outputs):
    params = profiles.load(ROOT, name, "quick", {})
    facts = {"study": name, "run": "quick", "step": 1, "given": {}}
    told = hub_card.card(find(name), params, facts, hub_card.Scores(why_not="06_evaluation was not run."))
    assert "does not say" not in told and "**06_evaluation was not run.**" in told
    assert not secrecy.text_flaw(told) and "| what | how |" in told


def test_a_missing_package_is_told_with_the_way_out(trained, server, client, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubError, match=r"huggingface_hub: install it with .*captions"):
        push(trained, client)
