import errno
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from stepladder.core import study
from stepladder.core.schema import Parameters
from stepladder.core.types import Asset, Issue, ShardContent, StudyError
from stepladder.data import convert, shards
from stepladder.testing.template.study import DiscParams, Template

PARAMS = DiscParams(study="toy")


class Toy(Template):
    """Converts text files; `broken` in a file is a named error."""

    conversion_code = ("test_convert.py",)

    def convert(self, asset: Asset, params: Parameters, cache: Path) -> ShardContent:
        text = asset.files[0].read_text()
        if "broken" in text:
            raise StudyError(f"{asset.files[0].name}: broken at line 1")
        return ShardContent({"x": np.frombuffer(text.encode(), np.uint8)}, issues=[Issue("short", len(text))])


@pytest.fixture
def assets(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "find", lambda name: Toy())
    found = []
    for name, text in (("a", "hello"), ("b", "broken"), ("c", "world!")):
        path = tmp_path / f"{name}.txt"
        path.write_text(text)
        found.append(Asset(name, "g", (path,)))
    return found


def run(assets, folder):
    return convert.convert(assets, PARAMS, folder, convert.Inline()).set_index("asset")


def test_a_broken_file_is_a_named_row_and_the_others_are_converted(assets, tmp_path):
    report = run(assets, tmp_path / "out")
    assert dict(report["state"]) == {"a": "converted", "b": "failed", "c": "converted"}
    assert report.loc["b", "reason"] == "b.txt: broken at line 1"
    assert not (tmp_path / "out" / "b.h5").exists()


def test_only_what_changed_is_converted_again(assets, tmp_path):
    run(assets, tmp_path / "out")
    assets[0].files[0].write_text("other")
    assert dict(run(assets, tmp_path / "out")["state"]) == {"a": "converted", "b": "failed", "c": "kept"}


def test_a_file_that_breaks_later_takes_its_old_shard_away(assets, tmp_path):
    run(assets, tmp_path / "out")
    assets[0].files[0].write_text("broken now")
    assert run(assets, tmp_path / "out").loc["a", "state"] == "failed"
    assert not (tmp_path / "out" / "a.h5").exists()


def test_a_half_written_shard_is_written_again(assets, tmp_path):
    run(assets, tmp_path / "out")
    path = tmp_path / "out" / "a.h5"
    path.write_bytes(path.read_bytes()[:100])
    assert run(assets, tmp_path / "out").loc["a", "state"] == "converted"


def test_a_full_disk_stops_everything_clearly_and_leaves_no_litter(assets, tmp_path, monkeypatch):
    def full(path, content, recipe):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards, "write", full)
    with pytest.raises(OSError, match=r"cannot write [abc]\.h5: No space left on device; free some space"):
        run(assets, tmp_path / "out")
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


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
