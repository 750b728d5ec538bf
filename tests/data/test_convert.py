import errno
import os
import sys
from concurrent.futures.process import BrokenProcessPool

import pytest

from stepladder import studies
from stepladder.core import config, files, identity
from stepladder.core.types import Asset
from stepladder.data import convert, shards
from stepladder.testing.template.study import DiscParams

PARAMS = DiscParams(study="letters")
STUDY = """
import numpy as np

from stepladder.core.types import Issue, ShardContent, StudyError
from stepladder.testing.template.study import Template

SCALE = 1


class Letters(Template):
    def convert(self, asset, params, cache):
        text = asset.files[0].read_text()
        if "broken" in text:
            raise StudyError(f"{asset.files[0].name}: broken at line 1")
        if "seed" in text:
            return params.seed
        return ShardContent({"x": SCALE * np.frombuffer(text.encode(), np.uint8)}, issues=[Issue("short", len(text))])


study = Letters()
"""


@pytest.fixture
def letters(tmp_path, monkeypatch):
    """A study that converts text files; `broken` in a file is a named error."""
    path = tmp_path / "studies" / "letters" / "study.py"
    files.write_text(path, STUDY)
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(tmp_path / "studies")])
    sys.modules.pop("stepladder.studies.letters.study", None)
    return path


@pytest.fixture
def assets(letters, tmp_path):
    found = []
    for name, text in (("a", "hello"), ("b", "broken"), ("c", "world!")):
        path = tmp_path / f"{name}.txt"
        path.write_text(text)
        found.append(Asset(name, "g", (path,)))
    return found


def run(assets, folder, params=PARAMS):
    return convert.convert(assets, params, folder, convert.Inline()).set_index("asset")


def test_a_broken_file_is_a_named_row_and_the_others_are_converted(assets, tmp_path):
    report = run(assets, tmp_path / "out")
    assert dict(report["state"]) == {"a": "converted", "b": "failed", "c": "converted"}
    assert report.loc["b", "reason"] == "b.txt: broken at line 1" and report.loc["b", "shard"] == ""
    assert (tmp_path / "out" / report.loc["a", "shard"]).is_file()


def test_only_what_changed_is_converted_again_and_nothing_is_replaced(assets, tmp_path):
    first = run(assets, tmp_path / "out")
    assets[0].files[0].write_text("other")
    second = run(assets, tmp_path / "out")
    assert dict(second["state"]) == {"a": "converted", "b": "failed", "c": "kept"}
    assert shards.Shard(tmp_path / "out" / first.loc["a", "shard"]).array("x").tobytes() == b"hello"
    assert shards.Shard(tmp_path / "out" / second.loc["a", "shard"]).array("x").tobytes() == b"other"


def test_the_same_bytes_fetched_again_are_converted_already(assets, tmp_path):
    first = run(assets, tmp_path / "out")
    path = assets[0].files[0]
    path.unlink()
    path.write_text("hello")
    os.utime(path, (1, 1))
    again = run(assets, tmp_path / "out")
    assert again.loc["a", "state"] == "kept" and again.loc["a", "shard"] == first.loc["a", "shard"]


@pytest.mark.parametrize("settled", [2.0, -1.0])
def test_a_file_changed_in_place_with_its_old_size_and_time_is_noticed(assets, tmp_path, monkeypatch, settled):
    monkeypatch.setattr(identity, "SETTLED", settled)  # -1: what was hashed is remembered at once
    path = assets[0].files[0]
    run(assets, tmp_path / "out")
    time_ns = path.stat().st_mtime_ns
    path.write_text("jello")
    os.utime(path, ns=(time_ns, time_ns))
    assert run(assets, tmp_path / "out").loc["a", "state"] == "converted"


@pytest.mark.parametrize(
    ("changed", "states"),
    [
        ({"seed": 5}, "kept"),  # no conversion may read it
        ({"model": {"width": 3}}, "kept"),
        ({"conversion": {"workers": 2}}, "kept"),
    ],
)
def test_what_conversion_cannot_read_converts_nothing_again(assets, tmp_path, changed, states):
    run(assets, tmp_path / "out")
    other = config.check(DiscParams, config.merge(PARAMS.model_dump(), changed))
    assert run(assets, tmp_path / "out", other).loc["a", "state"] == states


def test_conversion_is_handed_nothing_that_its_recipe_does_not_hold(assets, tmp_path):
    assets[0].files[0].write_text("seed")
    with pytest.raises(config.ParameterError, match=r"DiscParams\.seed is read where it does not count"):
        run(assets, tmp_path / "out")


def test_code_that_converts_counts(assets, letters, tmp_path):
    run(assets, tmp_path / "out")
    letters.write_text(STUDY.replace("SCALE = 1", "SCALE = 2"))
    assert run(assets, tmp_path / "out").loc["a", "state"] == "converted"


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_a_half_written_or_damaged_shard_is_written_again(assets, tmp_path, damage):
    path = tmp_path / "out" / run(assets, tmp_path / "out").loc["a", "shard"]
    path.write_bytes(damage(path.read_bytes()))
    assert run(assets, tmp_path / "out").loc["a", "state"] == "converted"


def test_a_full_disk_stops_everything_clearly_and_leaves_no_litter(assets, tmp_path, monkeypatch):
    def full(path, content, recipe):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards, "write", full)
    with pytest.raises(OSError, match=r"cannot write [abc]\.h5: No space left on device; free some space"):
        run(assets, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.h5*"))


def test_a_killed_worker_is_a_failed_row(assets, tmp_path):
    class Dying(convert.Inline):
        def submit(self, fn, /, *args, **kwargs):
            if args[0].id != "a":
                return super().submit(fn, *args, **kwargs)
            future = convert.Future()
            future.set_exception(BrokenProcessPool("gone"))
            return future

    report = convert.convert(assets, PARAMS, tmp_path / "out", Dying()).set_index("asset")
    assert report.loc["a", "state"] == "failed" and "killed" in report.loc["a", "reason"]
    assert report.loc["c", "state"] == "converted"


def test_issues_are_summed_with_an_example(assets, tmp_path):
    table = convert.issue_table(run(assets, tmp_path / "out").reset_index())
    assert table.iloc[0].to_dict() == {"kind": "short", "count": 11, "assets": 2, "example": ""}


def test_the_gate_fails_when_most_assets_are_broken(assets, tmp_path):
    for asset in assets[:2]:
        asset.files[0].write_text("broken")
    report = run(assets, tmp_path / "out").reset_index()
    checks = {c.name: c for c in convert.checks(report, {"train": ["c"], "validation": [], "test": []}, [1])}
    assert not checks["most assets were converted"].ok
    assert "a.txt: broken" in checks["most assets were converted"].reason
