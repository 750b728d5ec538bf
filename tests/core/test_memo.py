"""What was found in a file is taken for it only while it is the same, and damage costs time alone."""

import json
import os
import time
from pathlib import Path

import pytest

from stepladder.core import closure, memo

OLD = time.time() - 1000


@pytest.fixture
def place(tmp_path) -> Path:
    """A module that asks, with an old file below it."""
    for name in ("asks.py", "read.py"):
        (tmp_path / name).write_text("A = 1\n")
        os.utime(tmp_path / name, (OLD, OLD))
    return tmp_path


def stamp(path: Path, age: float = 1000.0) -> tuple[int, int, int, int]:
    """As `closure` takes it, of a file last changed so many seconds ago."""
    at = int((time.time() - age) * 1e9)
    return at, at, path.stat().st_size, path.stat().st_ino


def opened(place: Path) -> memo.Memo:
    return memo.Memo(place / "asks.py", place)


def test_what_is_kept_comes_back_in_another_process_for_the_same_file_alone(place):
    path, now = place / "read.py", stamp(place / "read.py")
    first = opened(place)
    first.put(path, now, ["digest", ["a"]])
    first.save()
    assert opened(place).get(path, now) == ["digest", ["a"]]
    for other in ((now[0] + 1, *now[1:]), (*now[:2], now[2] + 1, now[3]), (*now[:3], now[3] + 1), None):
        assert opened(place).get(path, other) is None
    assert opened(place).get(place / "asks.py", now) is None


def test_a_file_changed_a_moment_ago_and_one_from_elsewhere_are_not_kept(place, tmp_path):
    first = opened(place)
    first.put(place / "read.py", young := stamp(place / "read.py", age=0.5), 1)
    first.put(Path("/elsewhere/read.py"), stamp(place / "read.py"), 1)
    first.save()
    assert first.get(place / "read.py", young) is None and not list(place.rglob("*.json"))


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"code": 3}', b"\xff\0", b'{"code": "x", "files": {}}'])
def test_a_damaged_memo_or_one_of_other_code_is_none(place, damage):
    path, now = place / "read.py", stamp(place / "read.py")
    first = opened(place)
    first.put(path, now, 1)
    first.save()
    (kept,) = place.rglob("*.json")
    kept.write_bytes(damage)
    assert opened(place).get(path, now) is None
    first.put(path, now, 2)
    first.save()
    assert opened(place).get(path, now) == 2
    (place / "asks.py").write_text("B = 2\n")
    assert opened(place).get(path, now) is None


@pytest.mark.parametrize("entry", [3, "x", [], [1], [[1, 2], 3, 4], {"a": 1}, None])
def test_an_entry_of_another_shape_is_none(place, entry):
    path, now = place / "read.py", stamp(place / "read.py")
    first = opened(place)
    first.put(path, now, 1)
    first.save()
    (kept,) = place.rglob("*.json")
    told = json.loads(kept.read_bytes())
    kept.write_text(json.dumps({**told, "files": {str(path): entry}}))
    assert opened(place).get(path, now) is None


def test_a_folder_that_cannot_be_written_is_no_error(place):
    (place / "__pycache__").write_text("a file where the folder would be")
    first = opened(place)
    first.put(place / "read.py", now := stamp(place / "read.py"), 1)
    first.save()
    assert first.get(place / "read.py", now) == 1 and opened(place).get(place / "read.py", now) is None


def test_a_closure_is_the_same_with_a_memo_and_without(monkeypatch, tmp_path):
    (tmp_path / "code.py").write_text("")
    monkeypatch.setattr(memo, "YOUNG", -1.0)

    def found():
        closure._parse.cache_clear()
        closure._STAGES.clear()
        monkeypatch.setattr(closure, "_MEMO", memo.Memo(tmp_path / "code.py", closure.PACKAGE))
        return closure.of_stage(Path(__file__).parents[2], "06_evaluation", "pde")

    without = found()
    assert len(json.loads(next(tmp_path.rglob("*.json")).read_text())["files"]) > 50
    monkeypatch.setattr(closure, "_named", lambda path: pytest.fail(f"{path} is parsed again"))
    assert found() == without
