"""Gates of a gathering fail where they must: a broken name server, a block unlike the others, a tar that lacks rows."""

from dataclasses import replace
from pathlib import Path

import pytest

from stepladder.data.download.report import Report
from stepladder.data.download.suspect import suspects
from stepladder.data.images import tars
from stepladder.studies.captions.data import gathered
from stepladder.studies.captions.params import CaptionsData

REMOTE = CaptionsData.model_validate({"source": "remote"})


def report(folder: Path, *blocks: dict[str, int]) -> Report:
    """Of a download with these mixes, whose tars hold as many samples as the mixes say."""
    total: dict[str, int] = {}
    for block, mix in enumerate(blocks):
        for outcome, count in mix.items():
            total[outcome] = total.get(outcome, 0) + count
        members = [(f"{block * 1000 + number:08d}.jpg", b"x") for number in range(mix.get("ok", 0))]
        tars.write(folder / f"{block:05d}.tar", members)
    found = dict(enumerate(blocks))
    rows = sum(total.values())
    return Report(folder, rows, total, {}, found, rows, 0, 1.0, True, tuple(suspects(found)))


def verdicts(found: Report, data: CaptionsData = REMOTE) -> list[bool]:
    return [check.ok for check in gathered.checks(found, data)]


def test_an_ordinary_download_passes(tmp_path: Path):
    assert verdicts(report(tmp_path, {"ok": 80, "gone": 20}, {"ok": 78, "gone": 22})) == [True] * 3


def test_a_broken_name_server_is_told_from_link_rot(tmp_path: Path):
    found = report(tmp_path, {"ok": 13, "dns": 87}, {"ok": 14, "dns": 86})
    assert verdicts(found) == [True, False, True]
    reason = gathered.checks(found, REMOTE)[1].reason
    assert "'dns'" in reason and "name server" in reason


def test_twins_and_placeholders_are_no_local_fault(tmp_path: Path):
    """A list of copies says something of the list, nothing of this machine."""
    assert verdicts(report(tmp_path, {"ok": 20, "duplicate": 70, "placeholder": 10})) == [True] * 3


def test_an_offline_web_may_misbehave_as_much_as_it_was_told_to(tmp_path: Path):
    found = report(tmp_path, {"ok": 30, "gone": 70})
    wild = CaptionsData.model_validate({"source": "synthetic", "faults": 0.7})
    assert verdicts(found, wild)[1] and not verdicts(found)[1]


def test_a_block_unlike_the_others_is_named(tmp_path: Path):
    fine = {"ok": 80, "gone": 20}
    found = report(tmp_path, fine, fine, {"ok": 20, "gone": 20, "timeout": 60}, fine)
    assert verdicts(found) == [True, True, False]
    assert gathered.checks(found, REMOTE)[2].reason.startswith("00002: 60% timeout")


@pytest.mark.parametrize("wrong", ["incomplete", "lost"])
def test_rows_without_a_class_and_pictures_without_a_tar_fail(tmp_path: Path, wrong: str):
    found = report(tmp_path, {"ok": 8, "gone": 2})
    found = replace(found, complete=False) if wrong == "incomplete" else replace(found, outcomes={"ok": 9, "gone": 1})
    assert verdicts(found) == [False, True, True]
