"""Fetching: equal bits, going on after cuts and kills, damage named, nothing overwritten unasked."""

import io
import multiprocessing
import os
import shutil
import tarfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core import files
from stepladder.data.fetch import Patience
from stepladder.registry.index import Registry
from stepladder.registry.leaks import Leak
from stepladder.registry.pull import damaged, fetched, pull, survey
from stepladder.registry.store import RegistryError, Unavailable
from tests.registry.parcels import blob, entry, manifest, publish, wait_for

FILES = {"a.txt": b"hello", "deep/b.bin": bytes(range(256)) * 100, "deep/empty": b"", "copy.txt": b"hello"}
HASTY = Patience(tries=2, first_s=0.0)
NAME = st.from_regex(r"[a-c]{1,2}(/[d-f]{3}){0,2}\.[xy]", fullmatch=True)


def below(folder: Path) -> dict[str, bytes]:
    """Files below a folder, without receipts."""
    found = (path for path in folder.rglob("*") if path.is_file() and ".artifacts" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@given(st.dictionaries(NAME, st.binary(max_size=2000), min_size=1, max_size=6))
@settings(max_examples=25)
def test_any_set_of_files_comes_back_bit_equal(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("round")
    registry = Registry(f"memory://{folder.name}")
    publish(registry, folder / "source", contents)
    assert pull(registry, "thing", folder / "target").states == dict.fromkeys(contents, "fetched")
    assert below(folder / "target") == contents


def test_a_round_trip_over_every_kind_of_store(url, tmp_path):
    publish(Registry(url), tmp_path / "source", FILES)
    done = pull(Registry(url), "thing", tmp_path / "target")
    assert below(tmp_path / "target") == FILES
    assert done.moved == 5 + 25600  # the copy is not moved twice
    again = pull(Registry(url), "thing", tmp_path / "target")
    assert again.moved == 0 and set(again.states.values()) == {"there"}


def test_only_what_is_missing_moves(registry, tmp_path):
    publish(registry, tmp_path / "source", FILES)
    pull(registry, "thing", tmp_path / "target")
    (tmp_path / "target" / "deep" / "b.bin").unlink()
    done = pull(registry, "thing", tmp_path / "target")
    assert done.moved == 25600 and [p for p, s in done.states.items() if s == "fetched"] == ["deep/b.bin"]


def test_a_file_with_other_content_is_never_overwritten_unasked(registry, tmp_path):
    publish(registry, tmp_path / "source", FILES)
    files.write_text(tmp_path / "target" / "a.txt", "mine")
    with pytest.raises(RegistryError, match=r"a\.txt is there with other content.*--replace"):
        pull(registry, "thing", tmp_path / "target")
    assert below(tmp_path / "target") == {"a.txt": b"mine"}
    assert pull(registry, "thing", tmp_path / "target", replace=True).states["a.txt"] == "replaced"
    assert below(tmp_path / "target") == FILES


@pytest.mark.drill
def test_damage_on_the_disk_is_named_without_network(registry, tmp_path):
    publish(registry, tmp_path / "source", FILES)
    version = pull(registry, "thing", tmp_path / "target").version
    shutil.rmtree(tmp_path / "store")
    told, known = fetched(tmp_path / "target", "thing")
    assert told == version and set(survey(known, tmp_path / "target").values()) == {"there"}
    path = tmp_path / "target" / "deep" / "b.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (tmp_path / "target" / "a.txt").unlink()
    wrong = {p: s for p, s in survey(known, tmp_path / "target").items() if s != "there"}
    assert wrong == {"deep/b.bin": "differs", "a.txt": "missing"}


def test_what_was_never_fetched_cannot_be_verified(tmp_path):
    with pytest.raises(RegistryError, match="thing was not fetched into it"):
        fetched(tmp_path, "thing")


class Unreliable:
    """A store that cuts every answer short, and after some bytes fails now and then."""

    def __init__(self, store, most: int, fail: int):
        self.store, self.url, self.most, self.fail, self.asked, self.given = store, store.url, most, fail, 0, 0

    def __getattr__(self, name):
        return getattr(self.store, name)

    def blob(self, sha256, start, stop):
        self.asked += 1
        if self.fail and self.asked % self.fail == 0:
            raise Unavailable("the line is dead")
        data = self.store.blob(sha256, start, min(stop, start + self.most))
        self.given += len(data)
        return data


@pytest.mark.drill
def test_a_faltering_store_is_asked_again_from_where_it_stood(registry, tmp_path):
    publish(registry, tmp_path / "source", FILES)
    bad = Unreliable(registry.store, most=999, fail=3)
    pull(Registry(bad), "thing", tmp_path / "target", patience=HASTY)
    assert below(tmp_path / "target") == FILES and bad.given == 25605


@pytest.mark.drill
def test_a_dead_store_leaves_what_came_and_the_next_call_goes_on(registry, tmp_path):
    publish(registry, tmp_path / "source", {"b.bin": FILES["deep/b.bin"]})
    dying = Unreliable(registry.store, most=1000, fail=0)
    dying.blob = lambda sha, start, stop: Unreliable.blob(dying, sha, start, stop) if start < 9000 else _dead()
    with pytest.raises(Unavailable, match="dead"):
        pull(Registry(dying), "thing", tmp_path / "target", patience=HASTY)
    assert below(tmp_path / "target") == {}
    assert pull(registry, "thing", tmp_path / "target").moved == 25600 - 9000
    assert below(tmp_path / "target") == {"b.bin": FILES["deep/b.bin"]}


def _dead():
    raise Unavailable("dead")


@pytest.mark.drill
def test_a_damaged_part_is_thrown_away_and_fetched_anew(registry, tmp_path):
    made = publish(registry, tmp_path / "source", {"b.bin": FILES["deep/b.bin"]})
    part = tmp_path / "target" / ".artifacts" / f"{made.files[0].sha256}.part"
    for rubbish in (b"rubbish", b"longer" * 10000):
        files.write_bytes(part, rubbish)
        pull(registry, "thing", tmp_path / "target", replace=True)
        assert below(tmp_path / "target") == {"b.bin": FILES["deep/b.bin"]}
        (tmp_path / "target" / "b.bin").unlink()


@pytest.mark.drill
@pytest.mark.parametrize("change", [lambda data: data[:-1] + b"?", lambda data: data[:-9], lambda data: data + b"more"])
def test_a_damaged_blob_in_the_store_is_named_and_never_placed(registry, tmp_path, change):
    made = publish(registry, tmp_path / "source", FILES)
    sha256 = made.files[1].sha256
    path = blob(registry.store, sha256)
    path.write_bytes(change(path.read_bytes()))
    assert damaged(registry.store, made) == {f"deep/b.bin (sha256/{sha256[:2]}/{sha256})": "damaged"}
    if len(path.read_bytes()) > 25600:
        return  # its beginning is right, and only that is ever read
    with pytest.raises(RegistryError, match=rf"deep/b\.bin: its blob .*{sha256} is damaged in the store; delete"):
        pull(registry, "thing", tmp_path / "target")
    assert "deep/b.bin" not in below(tmp_path / "target")
    path.unlink()  # the way out: delete and publish again
    assert list(damaged(registry.store, made).values()) == ["missing"]
    publish(registry, tmp_path / "source", FILES)
    pull(registry, "thing", tmp_path / "target")
    assert below(tmp_path / "target") == FILES


def test_a_full_disk_is_told_before_anything_moves(registry, tmp_path, monkeypatch):
    publish(registry, tmp_path / "source", FILES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1000))
    with pytest.raises(RegistryError, match=r"MB to write, 0\.0 MB free"):
        pull(registry, "thing", tmp_path / "target")
    assert below(tmp_path / "target") == {}


def test_a_manifest_that_leaks_is_not_fetched(registry, tmp_path):
    entries = [entry("a.h5", asset="a", group="g")]
    registry.add(manifest(files=entries, splits={"train": ["a"], "test": ["a"]}))
    with pytest.raises(Leak, match="a in both train and test"):
        pull(registry, "thing", tmp_path / "target")


def test_an_archive_is_fetched_as_a_folder_and_verified_member_by_member(registry, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    with tarfile.open(source / "set.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("in/x.bin")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    sha256 = files.file_sha256(source / "set.tar.gz")
    size = registry.store.put(sha256, source / "set.tar.gz")
    registry.add(manifest(files=[entry("raw/set.tar.gz", sha256, size, unpack=True)]))
    for state, meddle in (("fetched", b"abd"), ("replaced", b"abc")):
        assert pull(registry, "thing", tmp_path / "t", replace=True).states == {"raw/set.tar.gz": state}
        assert below(tmp_path / "t") == {"raw/set/in/x.bin": b"abc"}
        (tmp_path / "t" / "raw" / "set" / "in" / "x.bin").write_bytes(meddle)
    assert pull(registry, "thing", tmp_path / "t").states == {"raw/set.tar.gz": "there"}


@pytest.mark.drill
def test_two_fetches_into_one_folder_wait_for_each_other(registry, tmp_path):
    publish(registry, tmp_path / "source", FILES)
    slow = Unreliable(registry.store, most=2000, fail=0)
    moved = []
    threads = [
        threading.Thread(target=lambda: moved.append(pull(Registry(slow), "thing", tmp_path / "target").moved))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(moved) == [0, 25605] and below(tmp_path / "target") == FILES


def _fetch_slowly(registry: Registry, folder: Path) -> None:
    read = registry.store.blob

    def blob(sha256: str, start: int, stop: int) -> bytes:
        time.sleep(0.02)
        return read(sha256, start, min(stop, start + 4000))

    registry.store.blob = blob
    pull(registry, "thing", folder)


@pytest.mark.drill
def test_a_killed_fetch_goes_on_where_it_stood(registry, tmp_path):
    data = os.urandom(4000 * 200)
    made = publish(registry, tmp_path / "source", {"b.bin": data})
    part = tmp_path / "target" / ".artifacts" / f"{made.files[0].sha256}.part"
    child = multiprocessing.get_context("fork").Process(target=_fetch_slowly, args=(registry, tmp_path / "target"))
    child.start()
    wait_for(lambda: part.exists() and part.stat().st_size >= 12000)
    child.kill()
    child.join()
    have = part.stat().st_size
    assert below(tmp_path / "target") == {}
    assert pull(registry, "thing", tmp_path / "target").moved == len(data) - have < len(data)
    assert below(tmp_path / "target") == {"b.bin": data}
