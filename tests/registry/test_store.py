from pathlib import Path

import pytest

from stepladder.core import files
from stepladder.registry.store import RegistryError, Store, Unavailable, blob_path


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(bytes(range(256)) * 40)
    return path


def test_a_blob_comes_back_whole_and_in_parts_and_is_moved_once(url, file):
    store, sha256 = Store(url), files.file_sha256(file)
    assert store.put(sha256, file) == 10240
    assert Store(url).put(sha256, file) == 0
    assert store.blob(sha256, 0, 10240) == file.read_bytes()
    assert store.blob(sha256, 10000, 10240) == file.read_bytes()[10000:]


def test_small_files_are_written_over_and_listed(url):
    store = Store(url)
    assert store.read("a/b.txt") is None and store.size("a/b.txt") is None and store.names("a") == []
    store.write("a/b.txt", b"one")
    Store(url).write("a/b.txt", b"other")
    Store(url).write("a/c/d.txt", b"deep")
    assert store.read("a/b.txt") == b"other" and store.size("a/b.txt") == 5
    assert store.names("a") == ["b.txt", "c"]


def test_a_missing_blob_is_named(url):
    with pytest.raises(RegistryError, match=r"sha256/00/0+ is missing"):
        Store(url).blob("0" * 64, 0, 1)


@pytest.mark.drill
def test_a_half_written_blob_is_written_again(tmp_path, file):
    store, sha256 = Store(str(tmp_path / "store")), files.file_sha256(file)
    store.put(sha256, file)
    place = tmp_path / "store" / blob_path(sha256)
    place.write_bytes(place.read_bytes()[:77])
    assert store.put(sha256, file) == 10240
    assert files.file_sha256(place) == sha256


def test_an_unknown_protocol_names_the_way_out():
    with pytest.raises(RegistryError, match="s3fs"):
        Store("nowhere://bucket/place")


def test_a_password_in_the_address_is_never_shown(tmp_path):
    assert "geheim" not in Store("memory://me:geheim@host/place").url


def test_what_the_file_system_throws_is_one_sentence(tmp_path):
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(Unavailable, match=r"writing a\.txt failed \(.*Error: .*call again"):
        Store(str(tmp_path / "store")).write("a.txt", b"")
