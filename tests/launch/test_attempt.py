"""What a machine says of a job is believed only where it makes sense."""

import json

import pytest

from stepladder.core import files
from stepladder.core.run import Run
from stepladder.launch import mirror
from stepladder.launch.attempt import Attempt, Where
from stepladder.launch.hosts import HostError, LocalHost
from stepladder.launch.job import Job
from stepladder.launch.targets import Target


class Says(LocalHost):
    """A machine that says what it wants."""

    def __init__(self, folder, text):
        super().__init__("box1/a", folder)
        self.text = text

    def call(self, argv, stdin=b"", timeout=60.0):
        return self.text


def attempt(tmp_path, text):
    """An attempt at a run, on a machine that says `text` to everything."""
    run = Run(tmp_path / "outputs" / "pde" / "one", tmp_path)
    made = Attempt(
        run,
        Job("pde", "one", "quick", "box1"),
        Target(hosts=["a"]),
        "box1/a",
        1,
        lambda doing: None,
        lambda *a, **b: None,
    )
    made.where = Where(made.name, "box1/a", "python", "/code", str(tmp_path / "there"))
    made.host = Says(tmp_path, text)
    return made


@pytest.mark.parametrize("text", ["Welcome to box1!\n{}", "[]", "5", "", '{"stat'])
def test_anything_but_an_answer_is_an_error_that_says_what_was_said(tmp_path, text):
    for ask in (Attempt.status, Attempt.settle, Attempt.clean):
        with pytest.raises(HostError, match="box1/a"):
            ask(attempt(tmp_path, text))


@pytest.mark.parametrize(
    "name",
    [
        "pde/one/../../.machines.jsonl",
        ".ssh/known_hosts",
        "pde/other/run.json",
        "pde/one/launch/job.json",
        "/etc/passwd",
    ],
)
def test_a_machine_brings_nothing_home_but_what_its_job_leaves(tmp_path, name):
    files.write_text(tmp_path / "there" / "outputs" / "pde" / "one" / "run.json", "theirs")
    text = json.dumps({name: {"bytes": 6, "sha256": "0"}})
    with pytest.raises(HostError, match="none of its business"):
        attempt(tmp_path, text).settle()


def test_links_do_not_come_home(tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    files.write_text(there / "a.json", "1")
    (there / "b.json").symlink_to("/etc/passwd")
    LocalHost("box1/a", tmp_path).pull(str(there), here)
    assert [path.name for path in here.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"state": "running"},
        {"state": "running", "checkpoints": [3]},
        {"state": "running", "checkpoints": [{"step": "../../x", "sha256": ""}]},
        {"state": "running", "checkpoints": [{"step": 3, "sha256": "", "best": {"step": "x"}}]},
        {"state": "ended", "checkpoints": [], "ended": None},
    ],
)
def test_anything_but_a_sign_of_life_is_none(said):
    with pytest.raises(ValueError):
        mirror.sign(said)


def test_a_sign_of_life_is_one():
    seal = {"step": 3, "bytes": 1, "sha256": "0", "best": None}
    assert mirror.sign({"state": "running", "checkpoints": [seal], "beat": None})
