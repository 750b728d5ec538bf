import errno
import json
import multiprocessing
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from stepladder.core import files, jsonlines


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "result.json"
    files.write_json(path, {"value": 1})
    with pytest.raises(RuntimeError), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert files.read_json(path) == {"value": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_a_cut_last_line_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    jsonlines.append(path, {"step": 1})
    with path.open("a") as file:
        file.write('{"step": 2, "lo')
    assert jsonlines.read(path) == [{"step": 1}]


def test_json_holds_numpy_and_no_nan(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": np.float32(1.5), "b": np.arange(2), "c": float("nan"), "d": Path("x")})
    assert json.loads(path.read_text()) == {"a": 1.5, "b": [0, 1], "c": None, "d": "x"}


def _append(path: Path, writer: int) -> None:
    for number in range(200):
        jsonlines.append(path, {"writer": writer, "number": number, "pad": "x" * 200})


def test_several_processes_share_one_log(tmp_path):
    path = tmp_path / "events.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(path, i)) for i in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = jsonlines.read(path)
    assert len(lines) == 600
    assert [line["number"] for line in lines if line["writer"] == 1] == list(range(200))


def test_fingerprint_ignores_the_order_of_keys_and_sees_values():
    assert files.fingerprint({"a": 1, "b": [1.0]}) == files.fingerprint({"b": [1.0], "a": 1})
    assert files.fingerprint({"a": 1}) != files.fingerprint({"a": 2})


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_a_new_file_is_as_the_umask_wants_it_and_an_old_one_keeps_its_mode(tmp_path, umask, mode):
    usual = os.umask(umask)
    try:
        files.write_json(tmp_path / "a.json", 1)
        jsonlines.append(tmp_path / "a.jsonl", {"step": 1})
        assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.json", "a.jsonl")] == [mode, mode]
        (tmp_path / "a.json").chmod(0o640)
        files.write_json(tmp_path / "a.json", 2)
        assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640
    finally:
        os.umask(usual)


def test_a_record_that_is_a_link_is_written_through(tmp_path):
    there = tmp_path / "other disk" / "run.json"
    (tmp_path / "run.json").symlink_to(there)
    for value in (1, 2):  # its target is made, then replaced
        files.write_json(tmp_path / "run.json", value)
        assert (tmp_path / "run.json").is_symlink() and files.read_json(there) == value
    assert [path.name for path in there.parent.iterdir()] == ["run.json"]


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    files.write_json(path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        with pytest.raises(OSError, match=r"No space left: .*/run\.json'") as caught:
            files.write_json(path, 2)
    assert caught.value.errno == errno.ENOSPC
    assert files.read_json(path) == 1 and [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_what_is_damaged_is_set_aside_under_a_name_of_its_own(tmp_path):
    for number in range(3):
        (tmp_path / "run.json").write_text(str(number))
        files.set_aside(tmp_path / "run.json")
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {"run.json.damaged": "0", "run.json.damaged2": "1", "run.json.damaged3": "2"}


def test_what_was_read_has_the_fingerprint_of_what_was_written(tmp_path):
    value = {"b": [1, 2.5, None, True, "ü\u2028"], "a": {"z": {}, "y": [np.float32(0.1), float("nan")]}}
    files.write_json(tmp_path / "x.json", value)
    read = files.read_json(tmp_path / "x.json")
    assert files.fingerprint_read(read) == files.fingerprint(read) == files.fingerprint(value)
    assert files.fingerprint_read({"a": float("inf")}) == files.fingerprint({"a": None})
