"""Manifests and archives that somebody else wrote: used, or refused in one sentence; nothing is written elsewhere."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepladder.core import files
from stepladder.registry import index
from stepladder.registry.index import Registry, load, version_of
from stepladder.registry.publish import publish_folder
from stepladder.registry.pull import damaged, pull
from stepladder.registry.store import RegistryError, Store, blob_path
from stepladder.registry.unpack import unpack
from tests.registry.parcels import manifest, publish

DATA = b"content"
SHA = files.hashlib.sha256(DATA).hexdigest()
ENTRY = {"path": "a.bin", "sha256": SHA, "bytes": len(DATA)}
GOOD = {"format": 1, "name": "thing", "kind": "files", "licence": "MIT", "files": [ENTRY]}


def put(registry: Registry, text: str | bytes) -> str:
    """Write a manifest as a hostile publisher would, under the version of its content where it has one."""
    text = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        version = version_of(load(text, "x"))
    except RegistryError:
        version = "0" * 16
    registry.store.write(f"artifacts/thing/{version}.yaml", text)
    registry.store.write(blob_path(SHA), DATA)
    return f"thing@{version}"


def outside(folder: Path) -> dict[str, bytes | None]:
    """Everything around the folder a manifest is fetched into."""
    found = (path for path in folder.rglob("*") if (folder / "target") not in (path, *path.parents))
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in found}


def placed(folder: Path) -> list[str]:
    """Files below the target but receipts."""
    found = (path for path in (folder / "target").rglob("*") if path.is_file() and ".artifacts" not in path.parts)
    return sorted(path.relative_to(folder / "target").as_posix() for path in found)


def refused(registry: Registry, folder: Path, text: str | bytes, why: str) -> str:
    """Fetching what `text` tells is one sentence, that names the manifest, and leaves nothing."""
    reference = put(registry, text)
    before = outside(folder)
    with pytest.raises(RegistryError, match=why) as caught:
        pull(registry, reference, folder / "target")
    assert outside(folder) == before
    assert placed(folder) == []
    assert len(str(caught.value)) < 1000 and "artifacts/thing/" in str(caught.value)
    return str(caught.value)


NAMES = {
    "x" * 300: "name too long",
    "あ" * 90 + ".bin": "name too long",
    "a/" + "y" * 250: "name too long",
    "/".join(["z" * 200] * 12): "name too long",
    "a/" * 1000 + "b": "name too long|too deep",
    "/".join("a" * 200): "too deep",
    "a//b": "write it as 'a/b'",
    "./a": "write it as 'a'",
    "a/./b": "write it as 'a/b'",
    "a/": "write it as 'a'",
    ".": "unusable name",
    "": "unusable name",
    " a": "unusable name",
    "a\0b": "unusable name",
    "a\nb": "unusable name",
    "a\\b": "unusable name",
    "..": "leaves the folder",
    "a/../b": "leaves the folder",
    "../a": "leaves the folder",
    "/etc/passwd": "absolute path",
    "C:\\x": "unusable name",
    "C:x": "absolute path",
    "a.": "ends in a dot",
    "a /b": "ends in a dot or a blank",
    ".artifacts/x": "kept for receipts",
    ".ARTIFACTS/x": "kept for receipts",
}


@pytest.mark.parametrize(("path", "why"), NAMES.items())
def test_a_file_that_must_not_be_written_is_named(registry, tmp_path, path, why):
    said = refused(registry, tmp_path, json.dumps({**GOOD, "files": [ENTRY, {**ENTRY, "path": path}]}), why)
    assert repr(path[:80])[1:20] in said


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["a", "a"], "'a': stands twice"),
        (["a", "a/b"], "'a': also the folder of another file"),
        (["a/b/c", "a/b"], "'a/b': also the folder of another file"),
        (["A/B", "a/b/c"], "'A/B': also the folder of another file"),
        (["Data.bin", "data.BIN"], "'data.BIN': differs from 'Data.bin' only in case"),
        (["caf\u00e9", "cafe\u0301"], "only in case or accents"),
    ],
)
def test_two_files_that_cannot_lie_beside_each_other_are_named(registry, tmp_path, paths, why):
    refused(registry, tmp_path, json.dumps({**GOOD, "files": [{**ENTRY, "path": path} for path in paths]}), why)


@pytest.mark.parametrize("key", ["bytes", "sha256", "path", "unpack", "sources", "asset"])
@pytest.mark.parametrize("value", [-1, 2**63, 10**40, 1.5, True, None, "ten", [], {}, [1], {"a": 1}, "", "0" * 63])
def test_a_value_of_the_wrong_type_names_its_file(registry, tmp_path, key, value):
    text = json.dumps({**GOOD, "files": [ENTRY, {**ENTRY, "path": "other.bin", key: value}]})
    try:
        load(text, "x")
    except RegistryError:
        said = refused(registry, tmp_path, text, rf"files\.1\.{key}|path ''|'unpack'|not fetch|archive")
        assert key == "path" or "other.bin" in said
    else:
        assert (key, value) in (("unpack", True), ("sources", []), ("asset", ""), ("path", "ten"), ("path", "0" * 63),
                                ("asset", "ten"), ("asset", "0" * 63), ("sources", [{}]))  # fmt: skip


@pytest.mark.parametrize("key", [*GOOD, "splits", "parameters", "normaliser", "held_out", "study", "run", "more"])
@pytest.mark.parametrize("value", [None, 1, -1.5, True, [], [[]], {}, {"a": {"b": [1]}}, "x", "../x; rm", "é" * 400])
def test_any_value_anywhere_is_used_or_refused(registry, tmp_path, key, value):
    reference = put(registry, json.dumps({**GOOD, key: value}))
    before = outside(tmp_path)
    try:
        pull(registry, reference, tmp_path / "target")
    except RegistryError:
        assert placed(tmp_path) == []
    else:
        assert placed(tmp_path) == ["a.bin"]
    assert outside(tmp_path) == before


TEXTS = {
    "nothing": (b"", "valid dictionary"),
    "a list": (b"[1]", "valid dictionary"),
    "not UTF-8": (b"name: \xff\xfe\xff", "no manifest"),
    "NUL": (b"name: a\0b", "no manifest"),
    "deep lists": ("parameters: {a: " + "[" * 100_000 + "]" * 100_000 + "}", "50 levels"),
    "deep blocks": ("\n".join(" " * i + "a:" for i in range(300)), "50 levels"),
    "open lists": ("[" * 100_000, "50 levels|no manifest"),
    "aliases": ("a: &a [1]\nb: [*a, *a]", "alias"),
    "a date that is none": ("created: 2026-99-99", "no manifest"),
    "a number without end": ("bytes: " + "9" * 10_000, "no manifest"),
    "a date": (yaml.safe_dump(GOOD) + "parameters: {a: 2026-01-01}", "no manifest"),
    "bytes": (yaml.safe_dump(GOOD) + "parameters: {a: !!binary aGVsbG8=}", "no manifest"),
    "a set": (yaml.safe_dump(GOOD) + "parameters: {a: !!set {b}}", "no manifest"),
    "half a character": (yaml.safe_dump(GOOD) + 'parameters: {a: "\\ud800"}', "no manifest"),
    "a bad number": ("bytes: !!int ''", "no manifest"),
    "a bad date": ("bytes: !!timestamp x", "no manifest"),
    "a bad truth": ("bytes: !!bool x", "no manifest"),
    "a list as key": ("? [a]\n: b", "no manifest"),
    "an object": ("!!python/object/apply:os.system [ls]", "no manifest"),
    "a long key": (json.dumps({**GOOD, "k" * 100_000: 1}), "no manifest"),
    "only tabs": (b"\t\t\n", "no manifest"),
}


@pytest.mark.parametrize(("text", "why"), TEXTS.values(), ids=TEXTS.keys())
def test_a_text_that_is_no_manifest_is_one_sentence(registry, tmp_path, text, why):
    refused(registry, tmp_path, text, why)


def test_a_manifest_too_deep_for_the_parser_does_not_end_the_process():
    """libyaml's composer has no limit of its own: 200,000 brackets overflow the stack of C."""
    code = (
        "from stepladder.registry.index import load\n"
        "try:\n    load('[' * 200_000 + ']' * 200_000, 'x')\n"
        "except ValueError as error:\n    print(type(error).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "RegistryError")


def test_a_manifest_of_too_many_files_is_refused_before_it_is_read(registry, tmp_path, monkeypatch):
    """The limit of 64 MB is lowered here: writing that much would take a minute."""
    monkeypatch.setattr(index, "LARGEST", 10_000)
    text = json.dumps({**GOOD, "files": [{**ENTRY, "path": f"{i}.bin"} for i in range(1000)]})
    refused(registry, tmp_path, text, "MB is no manifest")
    with pytest.raises(RegistryError, match="at most"):
        load(text, "x")


def test_a_huge_size_is_told_before_anything_moves_and_ends_a_verification(registry, tmp_path):
    reference = put(registry, json.dumps({**GOOD, "files": [{**ENTRY, "bytes": 2**62}]}))
    with pytest.raises(RegistryError, match="MB free; make room"):
        pull(registry, reference, tmp_path / "target")
    assert list(damaged(registry.store, registry.read(reference)[1]).values()) == ["damaged"]


@pytest.mark.parametrize("reference", ["thing\n", "thing@latest\n", "x" * 300, "thing@" + "y" * 300, "", "@", "a@b@c"])
def test_a_reference_that_is_none_is_refused(registry, reference):
    with pytest.raises(RegistryError, match="names no artifact"):
        registry.read(reference)


def test_what_lies_in_the_way_is_one_sentence(registry, tmp_path):
    publish(registry, tmp_path / "source", {"a/b.bin": b"x"})
    files.write_text(tmp_path / "target" / "a", "a file where a folder should be")
    with pytest.raises(RegistryError, match=r"'a/b.bin' cannot be written \(.*\); what has come is kept"):
        pull(registry, "thing", tmp_path / "target")
    (tmp_path / "other" / "a" / "b.bin").mkdir(parents=True)
    with pytest.raises(RegistryError, match=r"a/b\.bin is there with other content"):
        pull(registry, "thing", tmp_path / "other")
    with pytest.raises(RegistryError, match="cannot be written"):
        pull(registry, "thing", tmp_path / "other", replace=True)
    files.write_text(tmp_path / "file", "no folder")
    with pytest.raises(RegistryError, match="cannot be written"):
        pull(registry, "thing", tmp_path / "file")


def test_a_link_to_elsewhere_is_not_written_through(registry, tmp_path):
    publish(registry, tmp_path / "source", {"a.bin": b"x"})
    files.write_text(tmp_path / "precious", "mine")
    for target in ("precious", "nowhere"):
        place = tmp_path / "target" / "a.bin"
        place.parent.mkdir(exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(tmp_path / target)
        with pytest.raises(RegistryError, match="is there with other content"):
            pull(registry, "thing", tmp_path / "target")
        pull(registry, "thing", tmp_path / "target", replace=True)
        assert not place.is_symlink() and place.read_bytes() == b"x"
    assert (tmp_path / "precious").read_text() == "mine" and not (tmp_path / "nowhere").exists()


def test_a_damaged_record_of_an_archive_is_no_crash(registry, tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        info = tarfile.TarInfo("./in/x.bin")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    sha256 = files.file_sha256(tmp_path / "set.tar")
    size = registry.store.put(sha256, tmp_path / "set.tar")
    registry.add(manifest(files=[index.Entry(path="set.tar", sha256=sha256, bytes=size, unpack=True)]))
    for record in ("", "[1]", '[{"path": 3}]', "{}x", "nul", "null"):
        pull(registry, "thing", tmp_path / "target", replace=True)
        (tmp_path / "target" / ".artifacts" / f"{sha256}.json").write_text(record)
        with pytest.raises(RegistryError, match=r"set\.tar is there with other content"):
            pull(registry, "thing", tmp_path / "target")


def test_an_archive_packed_as_a_folder_is_taken_and_one_name_twice_is_not(tmp_path):
    (tmp_path / "set").mkdir()
    files.write_text(tmp_path / "set" / "x.txt", "x")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "set", ".")
    assert [row["path"] for row in unpack(tmp_path / "a.tar", tmp_path / "out", "a.tar")] == ["x.txt"]
    for one, two, why in (("x", "./x", "stands twice"), ("x", "X", "only in case"), ("x", "x/y", "also the folder")):
        with tarfile.open(tmp_path / "b.tar", "w") as archive:
            archive.addfile(tarfile.TarInfo(one))
            archive.addfile(tarfile.TarInfo(two))
        with pytest.raises(RegistryError, match=why):
            unpack(tmp_path / "b.tar", tmp_path / "b", "b.tar")
        assert not (tmp_path / "b").exists()


@given(
    st.binary(max_size=1200), st.sampled_from(["tar", "gz", "zip", "raw"]), st.integers(0, 2000), st.integers(0, 255)
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_to_an_archive_is_one_sentence(tmp_path_factory, noise, kind, place, byte):
    folder = tmp_path_factory.mktemp("archive")
    source = folder / f"a.{kind}"
    if kind == "raw":
        source.write_bytes(noise)
    elif kind == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("in/x.bin", noise)
    else:
        with tarfile.open(source, "w:gz" if kind == "gz" else "w") as archive:
            info = tarfile.TarInfo("in/x.bin")
            info.size = len(noise)
            archive.addfile(info, io.BytesIO(noise))
    content = bytearray(source.read_bytes())
    if content:
        content[place % len(content)] = byte
    source.write_bytes(content)
    try:
        unpack(source, folder / "out", "shown")
    except RegistryError as error:
        assert str(error).startswith("shown: ") and not (folder / "out").exists()
    assert {entry.name for entry in folder.iterdir()} <= {source.name, "out"}


def test_a_file_whose_name_nobody_can_write_is_named_when_it_is_published(registry, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "bad\n").write_text("x")
    with pytest.raises(RegistryError, match="unusable name; rename it"):
        publish_folder(registry, tmp_path / "source", "thing", "MIT")


WORDS = st.sampled_from([SHA, "a.bin", "files", "x.tar"])
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), WORDS)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PATHS = st.one_of(
    st.text(st.sampled_from("aAb./\\ é\0\n:~"), max_size=10), st.sampled_from([*NAMES, "ok/a.bin", "x.tar"])
)
ENTRIES = st.fixed_dictionaries(
    {"path": PATHS | VALUES, "sha256": st.just(SHA) | VALUES, "bytes": st.just(len(DATA)) | VALUES},
    optional={"unpack": st.booleans() | VALUES, "asset": st.sampled_from(["a", ""]) | VALUES, "sources": VALUES},
)
SOUND = {key: st.just(value) for key, value in GOOD.items() if key != "files"}
MORE = ("splits", "parameters", "normaliser", "held_out", "study", "run", "created", "code", "split_by")
MANIFESTS = st.fixed_dictionaries(
    {**SOUND, "files": st.lists(ENTRIES, max_size=4) | VALUES}, optional=dict.fromkeys(MORE, VALUES)
)


@given(MANIFESTS, st.booleans())
@settings(max_examples=200)
def test_whatever_a_manifest_says_it_is_fetched_or_refused_and_nothing_else_is_touched(tmp_path_factory, told, plain):
    folder = tmp_path_factory.mktemp("hostile")
    registry = Registry(Store(str(folder / "store")))
    files.write_text(folder / "precious", "mine")
    reference = put(registry, json.dumps(told) if plain else yaml.safe_dump(told, allow_unicode=True))
    before = outside(folder)
    try:
        done = pull(registry, reference, folder / "target")
    except RegistryError as error:
        assert len(str(error)) < 1500
    else:
        assert placed(folder) == sorted(done.states)
        assert all((folder / "target" / path).read_bytes() == DATA for path in done.states)
    assert outside(folder) == before
