"""The memory of what was made of files: right when they change, come or go; worth nothing more when it is damaged."""

import os
import time

import pytest

from stepladder.core import memory
from stepladder.core.memory import Memory


@pytest.fixture
def ask(tmp_path):
    """Ask a fresh memory for what a file holds; tells whether it had to look."""
    (tmp_path / "a").write_text("old")
    os.utime(tmp_path / "a", (1e9, 1e9))

    def ask(by="code", places=("a", "b")):
        looked = []

        def make():
            looked.append(1)
            return " ".join(p.read_text() for p in (tmp_path / name for name in places) if p.exists())

        own = Memory(tmp_path / "memory.json", by)
        made = own.made("run", make, lambda: [tmp_path / name for name in places])
        own.save()
        return made, bool(looked)

    return ask


def replaced(folder):
    """Another file of the same size and time in the place of the old one."""
    (folder / "c").write_text("new")
    os.utime(folder / "c", (1e9, 1e9))
    (folder / "c").replace(folder / "a")


def settle(monkeypatch):
    """Let the last seconds be long ago."""
    monkeypatch.setattr(memory, "time", type("Clock", (), {"time": staticmethod(lambda: time.time() + 10)}))


def test_what_is_unchanged_is_made_once(ask, monkeypatch):
    assert ask() == ("old", True) and ask() == ("old", True), "touched within the last seconds: looked at again"
    settle(monkeypatch)
    assert [ask() for _ in range(3)] == [("old", True), ("old", False), ("old", False)]


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a").write_text("new"),  # of the same size
        lambda folder: (folder / "a").unlink(),
        lambda folder: (folder / "b").write_text("more"),
        replaced,
    ],
    ids=["edited", "gone", "come", "replaced with the times of the old one"],
)
def test_a_change_is_noticed(ask, tmp_path, monkeypatch, change):
    settle(monkeypatch)
    ask()
    change(tmp_path)
    made, looked = ask()
    assert looked and made == " ".join(p.read_text() for p in (tmp_path / "a", tmp_path / "b") if p.exists())


def test_other_code_remembers_nothing(ask, monkeypatch):
    settle(monkeypatch)
    ask()
    assert ask(by="other code") == ("old", True)


def test_what_goes_on_is_never_remembered(tmp_path, monkeypatch):
    settle(monkeypatch)
    for _ in range(2):
        own = Memory(tmp_path / "memory.json", "code")
        assert own.made("run", lambda: "now", lambda: None) == "now"
        own.save()
    assert not (tmp_path / "memory.json").exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"by": "code"}', '{"by": "code", "made": {"run": {"stamp": 1}}}', "\0"]
)
def test_a_damaged_memory_is_made_anew(ask, tmp_path, monkeypatch, text):
    settle(monkeypatch)
    (tmp_path / "memory.json").write_text(text)
    assert [ask(), ask()] == [("old", True), ("old", False)]
