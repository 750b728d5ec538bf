"""Records come home whole and once, over a connection that breaks off anywhere."""

import io
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core import jsonlines
from stepladder.launch import stream
from stepladder.launch.stream import BOX_LOG, MERGED, Home, Sender

EVENTS = [b'{"n": %d}\n' % n for n in range(6)]


@pytest.fixture
def sides(tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    return there, here


def look(there, here, offset=0, cut=None, logs=(), prefixes=("",)):
    """One connection, in which the box looks once; cut off after so many bytes."""
    kept = [offset]
    home = Home(here, offset, kept.append)
    out = io.BytesIO()
    Sender(there, out, json.loads(json.dumps(home.have(prefixes))), prefixes, dict(logs)).look()
    list(home.frames(io.BytesIO(out.getvalue()[:cut])))
    return len(out.getvalue()), kept[-1]


def test_files_come_home_and_are_not_sent_again(sides):
    there, here = sides
    (there / "05_training").mkdir()
    (there / "05_training" / "result.json").write_text("{}")
    (there / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"step": 2}\n{"st')
    look(there, here)
    assert (here / "05_training" / "result.json").read_text() == "{}"
    assert (here / "metrics.jsonl").read_bytes() == b'{"step": 1}\n{"step": 2}\n'  # no half line
    assert look(there, here)[0] == 0
    with (there / "metrics.jsonl").open("ab") as file:
        file.write(b'ep": 3}\n')
    sent, _ = look(there, here)
    assert sent < 150 and (here / "metrics.jsonl").read_bytes() == (there / "metrics.jsonl").read_bytes()


def test_a_log_that_went_back_comes_anew(sides):
    """Training that resumes leaves out the steps after its checkpoint, and writes others in their place."""
    there, here = sides
    (there / "metrics.jsonl").write_bytes(b"".join(EVENTS))
    look(there, here)
    for text in (b"".join(EVENTS[:2]), b"".join(EVENTS[:2]) + b'{"n": 7}\n{"n": 8}\n{"n": 9}\n{"n": 10}\n'):
        (there / "new").write_bytes(text)
        os.replace(there / "new", there / "metrics.jsonl")
        look(there, here)
        assert (here / "metrics.jsonl").read_bytes() == text


def test_the_log_of_both_sides_holds_every_line_once(sides):
    there, here = sides
    (there / MERGED).write_bytes(b"".join(EVENTS[:2]))
    (here / MERGED).write_bytes(b"".join(EVENTS[:2]))
    offset = (there / MERGED).stat().st_size
    with (there / MERGED).open("ab") as far, (here / MERGED).open("ab") as near:
        far.write(EVENTS[2])
        near.write(b'{"here": 1}\n')
    _, first = look(there, here, offset)
    look(there, here, offset)  # a supervisor that was killed before it noted how far it was
    with (there / MERGED).open("ab") as far:
        far.write(EVENTS[3])
    look(there, here, first)
    found = (here / MERGED).read_bytes().splitlines(keepends=True)
    assert found == [*EVENTS[:2], b'{"here": 1}\n', *EVENTS[2:4]]


def test_what_goes_away_there_goes_away_here_and_nothing_else(sides):
    there, here = sides
    (here / "note.txt").write_text("mine")
    (there / "a.json").write_text("1")
    out = io.BytesIO()
    home = Home(here, 0, lambda offset: None)
    sender = Sender(there, out, home.have(("",)), ("",), {})
    sender.look()
    (there / "a.json").unlink()
    sender.look()
    list(home.frames(io.BytesIO(out.getvalue())))
    assert sorted(path.name for path in here.iterdir()) == ["note.txt"]


def test_checkpoints_locks_and_what_is_in_hand_stay(sides):
    there, here = sides
    for name in ("checkpoints/a", ".lock/00000001", "05_training/.aside-1-2/x", "launch/state.json", ".x.part", "b"):
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_text("x")
    look(there, here)
    assert [path.name for path in here.rglob("*") if path.is_file()] == ["b"]


def test_only_what_the_job_writes_is_taken(sides):
    there, here = sides
    (there / "run.json").write_text("there")
    (there / "metrics.jsonl").write_text("{}\n")
    (here / "run.json").write_text("here")
    look(there, here, prefixes=("metrics.jsonl",))
    assert (here / "run.json").read_text() == "here" and (here / "metrics.jsonl").exists()


def test_a_job_s_output_has_a_name_of_its_own(sides, tmp_path):
    there, here = sides
    (tmp_path / "log").write_text("one\ntwo\n")
    look(there, here, logs={BOX_LOG: tmp_path / "log"})
    assert (here / BOX_LOG).read_text() == "one\ntwo\n"


@pytest.mark.parametrize("name", ["../outside", "checkpoints/step_00000001/state.pt", "launch/state.json", "/etc/x"])
def test_a_box_writes_nowhere_else(sides, name):
    _, here = sides
    frame = json.dumps({"file": name, "at": 0, "size": 1, "time": 0, "whole": True}).encode() + b"\nx"
    with pytest.raises(ValueError, match="none of its business"):
        list(Home(here, 0, lambda offset: None).frames(io.BytesIO(frame)))


@settings(max_examples=40)
@given(cuts=st.lists(st.integers(0, 900), max_size=8), data=st.data())
def test_however_often_it_is_cut_off_all_lines_arrive_once(tmp_path_factory, cuts, data):
    there, here = tmp_path_factory.mktemp("there"), tmp_path_factory.mktemp("here")
    written: dict[str, bytes] = {}
    offset = 0
    for cut in [*cuts, None]:
        for name in ("metrics.jsonl", MERGED, "note.json"):
            lines = data.draw(st.integers(0, 3))
            text = b"".join(b'{"%s": %d}\n' % (name.encode(), len(written.get(name, b"")) + n) for n in range(lines))
            written[name] = written.get(name, b"") + text
            (there / name).write_bytes(written[name])
        _, offset = look(there, here, offset, cut)
    for name, text in written.items():
        assert text == ((here / name).read_bytes() if (here / name).exists() else b""), name


@pytest.mark.parametrize(
    "line",
    [
        "5",
        "[]",
        '{"file": "a"}',
        '{"file": "a", "at": 0, "size": -1, "time": 0, "whole": true}',
        '{"file": "a", "at": 0, "size": 99999999999999, "time": 0, "whole": true}',
        '{"file": 3, "at": 0, "size": 1, "time": 0, "whole": true}',
        '{"gone": 3}',
        "Welcome to box1!",
    ],
)
def test_anything_but_a_frame_is_refused_before_it_is_read(sides, line):
    _, here = sides
    with pytest.raises(ValueError):
        list(Home(here, 0, lambda offset: None).frames(io.BytesIO(line.encode() + b"\nx")))
    assert not list(here.iterdir())


def test_a_line_without_end_is_not_read_whole(sides):
    _, here = sides
    endless = io.BytesIO(b"x" * (3 * stream.LONGEST))
    assert not list(Home(here, 0, lambda offset: None).frames(endless)) and endless.tell() <= stream.LONGEST


def test_a_log_that_is_longer_than_a_frame_comes_whole(sides, monkeypatch):
    there, here = sides
    monkeypatch.setattr(stream, "MOST", 20)
    for name in (MERGED, "metrics.jsonl"):
        (there / name).write_bytes(b"".join(EVENTS))
    (there / "large.json").write_bytes(bytes(21))
    _, offset = look(there, here)
    for name in (MERGED, "metrics.jsonl"):
        assert (here / name).read_bytes() == b"".join(EVENTS)
    assert offset == len(b"".join(EVENTS)) and not (here / "large.json").exists()


def test_lines_that_found_no_room_come_again(sides, monkeypatch):
    """A full disk here, while records of both sides arrive: half a line is left, and the connection ends."""
    there, here = sides
    (there / MERGED).write_bytes(b"".join(EVENTS[:3]))
    out = io.BytesIO()
    home = Home(here, 0, lambda offset: None)
    Sender(there, out, home.have(("",)), ("",), {}).look()

    def half(path, lines):
        with path.open("ab") as file:
            file.write(lines[:13])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(jsonlines, "append_lines", half)
        with pytest.raises(OSError):
            list(home.frames(io.BytesIO(out.getvalue())))
    list(home.frames(io.BytesIO(out.getvalue())))
    assert [record["n"] for record in jsonlines.read(here / MERGED)] == [0, 1, 2]
