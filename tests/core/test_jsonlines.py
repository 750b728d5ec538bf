"""JSON lines: what is damaged costs its own line and nothing else; long files are read from where it matters."""

import errno
import itertools
import json
import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import jsonlines
from stepladder.core.jsonlines import Tail

DAMAGE = {
    "NULs after a power cut": b"\0" * 4096,
    "a half line": b'{"step": 2, "lo',
    "a cut character": '{"text": "ä'.encode()[:-1],
    "no object": b"3",
    "a list": b"[1, 2]",
    "two records in a line": b'{"step": 2}{"step": 3}',
    "another encoding": '{"step": 2}'.encode("utf-16"),
    "deep nesting": b'{"a":' + b"[" * 100_000,
    "a number without end": b'{"a": ' + b"1" * 5000 + b"}",
}
SEPARATORS = "a\u2028b\u2029c\u0085d\re\x0bf\x0cg\x1ch"


def log(path: Path, count: int, first: int = 1) -> list[dict]:
    """`count` records, written plainly."""
    records = [{"step": step, "loss": 1 / step} for step in range(first, first + count)]
    with path.open("ab") as file:
        file.write(b"".join(json.dumps(record).encode() + b"\n" for record in records))
    return records


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_costs_its_own_line(path, damage):
    before = log(path, 3)
    with path.open("ab") as file:
        file.write(damage)  # and the machine went down
    tail = Tail(path)
    assert tail.read() == before
    jsonlines.append(path, {"step": 9})
    after = log(path, 2, first=10)
    found = jsonlines.read(path)
    assert found == [*before, {"step": 9}, *after] and found.damaged == 1
    assert tail.read() == [{"step": 9}, *after] and tail.damaged == 1
    assert jsonlines.last(path, 4) == [before[-1], {"step": 9}, *after]
    assert jsonlines.sample(path, 100) == found


def test_only_a_newline_ends_a_line(path):
    record = {"text": SEPARATORS, SEPARATORS: 1}
    jsonlines.append(path, record)
    with path.open("ab") as file:
        file.write(json.dumps(record, ensure_ascii=False).encode() + b"\r\n")  # edited on another system
    for found in (jsonlines.read(path), Tail(path).read(), jsonlines.last(path, 9), jsonlines.sample(path, 9)):
        assert found == [record, record]


@given(st.lists(st.dictionaries(st.text(), st.text() | st.none() | st.integers()), max_size=6))
def test_what_is_written_is_read(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    for record in records:
        jsonlines.append(path, record)
    assert jsonlines.read(path) == Tail(path).read() == jsonlines.last(path, 9) == jsonlines.sample(path, 9) == records


def test_half_a_character_of_utf_16_is_written_as_it_is(path):
    jsonlines.append(path, {"name": "\ud800"})
    assert jsonlines.read(path) == [{"name": "\ud800"}]


def test_a_write_that_ends_early_is_gone_on_with(path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:7]))
    for step in range(3):
        jsonlines.append(path, {"step": step, "text": "a longer record"})
    monkeypatch.undo()
    assert [record["step"] for record in jsonlines.read(path)] == [0, 1, 2]


def test_a_full_disk_names_the_file_and_costs_one_record(path):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = log(path, 5)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, usual[1]))
        with pytest.raises(OSError, match=r"log\.jsonl") as caught:
            jsonlines.append(path, {"step": 6, "text": "longer than what is left"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes().endswith(b'{"step": 6')  # what still had room
    jsonlines.append(path, {"step": 7})
    found = jsonlines.read(path)
    assert found == [*before, {"step": 7}] and found.damaged == 1


def _append(path: Path, writer: int) -> None:
    for number in range(200):
        jsonlines.append(path, {"writer": writer, "number": number, "pad": "x" * 200})


def test_several_processes_share_one_log(path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(path, i)) for i in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = jsonlines.read(path)
    assert len(lines) == 600 and lines.damaged == 0
    assert [line["number"] for line in lines if line["writer"] == 1] == list(range(200))


# Long files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 2, 7, 64, 1 << 16])
@pytest.mark.parametrize("ending", [b"", b'{"step": 99, "lo', b"\n\n\n", b"\0\n", b'{"step": 7}'])
def test_the_last_records_are_read_from_the_end_whatever_the_size_of_a_block(path, monkeypatch, block, ending):
    monkeypatch.setattr(jsonlines, "BLOCK", block)
    log(path, 6)
    with path.open("ab") as file:
        file.write(ending)
    whole = jsonlines.read(path)
    for n in range(9):
        assert jsonlines.last(path, n) == whole[max(len(whole) - n, 0) :]
    assert jsonlines.last(path.with_name("none"), 3) == []


def test_the_end_of_a_file_of_any_size_is_read_without_the_rest(path):
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole: 1 TB of NULs
        file.seek(0, os.SEEK_END)
        file.write(b'\n{"step": 1}\n{"step": 2}\n')
    assert jsonlines.last(path, 2) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("whole", [0, 1 << 22])
def test_a_sample_is_even_holds_both_ends_and_what_is_rare(path, monkeypatch, whole):
    monkeypatch.setattr(jsonlines, "WHOLE", max(whole, 1000))
    for hundred in range(20):
        log(path, 100, 1 + 100 * hundred)
        jsonlines.append(path, {"step": 100 * (hundred + 1), "validation_loss": 1.0})
    found = jsonlines.sample(path, 50, holding='"validation_loss"')
    assert [record["step"] for record in found if "validation_loss" in record] == list(range(100, 2001, 100))
    steps = [record["step"] for record in found if "loss" in record]
    assert steps[0] == 1 and steps == sorted(set(steps)) and 45 <= len(steps) <= 55
    assert max(b - a for a, b in itertools.pairwise(steps)) <= 100
    assert found[-1] == {"step": 2000, "validation_loss": 1.0}
    assert jsonlines.sample(path.with_name("none"), 9) == []


def test_rare_records_that_are_many_are_thinned_too(path, monkeypatch):
    monkeypatch.setattr(jsonlines, "WHOLE", 1000)
    monkeypatch.setattr(jsonlines, "RARE", 20)
    log(path, 3000)
    found = jsonlines.sample(path, 20, holding='"loss"')
    assert 20 <= len(found) <= 80 and found[0]["step"] == 1 and found[-1]["step"] == 3000


# Following ------------------------------------------------------------------------------------------------------------


def test_new_lines_come_once_whole_and_again_after_a_cut(path):
    tail = Tail(path)
    assert tail.read() == []
    with path.open("a") as file:
        file.write('{"step": 1}\n{"step": 2}\n{"st')
    assert tail.read() == [{"step": 1}, {"step": 2}] and tail.read() == []
    with path.open("a") as file:
        file.write('ep": 3}\n')
    assert tail.read() == [{"step": 3}]
    path.write_text('{"step": 1}\n')
    assert tail.read() == [{"step": 1}]


def test_a_follower_reads_no_byte_twice(path, monkeypatch):
    tail, parsed = Tail(path), []
    parse = jsonlines.parse
    monkeypatch.setattr(jsonlines, "parse", lambda line: parsed.append(line) or parse(line))
    for turn in range(20):
        log(path, 10, 1 + 10 * turn)
        assert len(tail.read()) == 10
    assert b"".join(parsed) == path.read_bytes()
