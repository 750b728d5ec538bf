import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from stepladder.core import files


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
    files.append_line(path, {"step": 1})
    with path.open("a") as file:
        file.write('{"step": 2, "lo')
    assert files.read_lines(path) == [{"step": 1}]


def test_json_holds_numpy_and_no_nan(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": np.float32(1.5), "b": np.arange(2), "c": float("nan"), "d": Path("x")})
    assert json.loads(path.read_text()) == {"a": 1.5, "b": [0, 1], "c": None, "d": "x"}


def _append(path: Path, writer: int) -> None:
    for number in range(200):
        files.append_line(path, {"writer": writer, "number": number, "pad": "x" * 200})


def test_several_processes_share_one_log(tmp_path):
    path = tmp_path / "events.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(path, i)) for i in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = files.read_lines(path)
    assert len(lines) == 600
    assert [line["number"] for line in lines if line["writer"] == 1] == list(range(200))


def test_fingerprint_ignores_the_order_of_keys_and_sees_values():
    assert files.fingerprint({"a": 1, "b": [1.0]}) == files.fingerprint({"b": [1.0], "a": 1})
    assert files.fingerprint({"a": 1}) != files.fingerprint({"a": 2})
