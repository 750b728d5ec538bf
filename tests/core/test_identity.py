import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import files, identity
from stepladder.core.identity import Key

names = st.text(min_size=1, max_size=4)
values = st.dictionaries(names, st.integers() | st.none() | st.lists(st.integers()), max_size=4)
keys = st.builds(Key, values, st.dictionaries(names, st.text(max_size=3), max_size=4), values)


@given(keys, keys)
def test_keys_are_equal_or_differ_in_words(one, other):
    said = one.differences(other)
    same = (one.parameters, one.code, one.inputs) == (other.parameters, other.code, other.inputs)
    assert bool(said) != same
    assert one.differences(one) == ""


def test_differences_are_said_in_words_and_few():
    before = Key({"training.steps": 120, "seed": 0}, {"notebooks/06_evaluation.ipynb": "a", "view/web.py": "b"}, {})
    now = Key({"training.steps": 130, "seed": 0}, {"notebooks/06_evaluation.ipynb": "c", "view/web.py": "d"}, {"x": 1})
    assert before.differences(now) == (
        "training.steps 120 -> 130; notebook 06 was edited, view/web.py has changed; x was made again"
    )
    module = Key({}, {"notebooks/display.py": "a"}).differences(Key({}, {"notebooks/display.py": "b"}))
    assert module == "notebooks/display.py has changed"
    many = Key({f"p{number}": number for number in range(9)})
    assert Key().differences(many).endswith("p2 (none) -> 2 and 6 more")


def test_what_is_not_here_is_no_difference():
    assert Key({"data.mirror": "folder ab"}).differences(Key({"data.mirror": identity.NOT_HERE})) == ""
    assert Key({"data.mirror": "folder ab"}).differences(Key({"data.mirror": "folder cd"}))


def test_a_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    path, memory = tmp_path / "a.bin", tmp_path / "memory"
    path.write_bytes(b"one")
    monkeypatch.setattr(identity, "SETTLED", -1.0)
    read = []
    whole = files.file_sha256
    monkeypatch.setattr(files, "file_sha256", lambda place: read.append(place) or whole(place))
    first = identity.content(path, memory)
    assert identity.content(path, memory) == first and len(read) == 1
    assert identity.content(path, memory, verify=True) == first and len(read) == 2
    status = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert identity.content(path, memory) != first


@pytest.mark.parametrize("damage", [b"", b"\0" * 64, b"0123", "é".encode() * 32])
def test_a_damaged_memory_is_not_believed(tmp_path, monkeypatch, damage):
    path, memory = tmp_path / "a", tmp_path / "hashes"
    path.write_bytes(b"one")
    monkeypatch.setattr(identity, "SETTLED", -1.0)
    true = identity.content(path, memory)
    [note] = [file for file in memory.rglob("*") if file.is_file()]
    note.write_bytes(damage)
    assert identity.content(path, memory) == true == hashlib.sha256(b"one").hexdigest()
    assert note.read_text() == true, "and it is mended"


def test_a_file_just_written_is_not_remembered(tmp_path):
    path, memory = tmp_path / "a.bin", tmp_path / "memory"
    path.write_bytes(b"one")
    identity.content(path, memory)
    assert not memory.exists()


def test_a_folder_is_known_by_its_names_and_bytes(tmp_path):
    for name in ("one", "two"):
        files.write_text(tmp_path / name / "deep" / "x", "1")
    same = [identity.content(tmp_path / name, None) for name in ("one", "two")]
    assert same[0] == same[1]
    (tmp_path / "two" / "deep" / "x").rename(tmp_path / "two" / "deep" / "y")
    assert identity.content(tmp_path / "two", None) != same[0]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "a.h5 is missing"),
        (lambda path: path.write_text("longer"), "a.h5 has another size"),
        (lambda path: path.write_text("dat2"), "a.h5 holds other bytes"),
    ],
)
def test_faults_of_vouched_files_are_named(tmp_path, damage, said):
    path = tmp_path / "data" / "a.h5"
    files.write_text(path, "data")
    (tmp_path / "run").mkdir()
    vouched = identity.vouch([path], tmp_path / "run", None)
    assert list(vouched) == ["../data/a.h5"] and identity.faults(vouched, tmp_path / "run", None, verify=True) == []
    damage(path)
    assert identity.faults(vouched, tmp_path / "run", None, verify=True) == [said]
