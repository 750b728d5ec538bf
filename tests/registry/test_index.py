import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.registry.index import Manifest, Registry, dump, load, version_of
from stepladder.registry.store import RegistryError
from tests.registry.parcels import entry, manifest

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
FACTS = st.dictionaries(
    TEXT, st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT, st.none(), st.lists(TEXT))
)


@given(FACTS, st.lists(TEXT), st.integers(0, 2**60))
@settings(max_examples=40)
def test_a_manifest_survives_yaml_whatever_it_tells(facts, held_out, size):
    made = manifest(parameters=facts, held_out=held_out, files=[entry("a", size=size)])
    assert load(dump(made), "x") == made
    assert version_of(load(dump(made), "x")) == version_of(made)


def test_the_same_content_is_the_same_version_whenever_it_is_published(registry):
    one = registry.add(manifest(created="2026-01-01T00:00:00Z"))
    assert registry.add(manifest(created="2026-02-02T00:00:00Z")) == one
    assert registry.read(f"thing@{one}")[1].created == "2026-01-01T00:00:00Z"
    assert registry.add(manifest(licence="MIT")) != one


def test_aliases_move_and_versions_stay(url):
    registry = Registry(url)
    one = registry.add(manifest(), ("latest", "paper"))
    two = registry.add(manifest(licence="MIT"), ("latest",))
    assert registry.resolve("thing") == registry.resolve("thing@latest") == ("thing", two)
    assert registry.resolve("thing@paper") == ("thing", one)
    registry.point("thing", "paper", two)
    assert registry.aliases("thing") == {"latest": two, "paper": two}
    assert registry.read(f"thing@{one[:6]}") == (one, manifest())
    assert set(registry.versions("thing")) == {one, two} and registry.names() == ["thing"]


@pytest.mark.drill
def test_a_version_that_was_changed_afterwards_is_refused(registry, tmp_path):
    version = registry.add(manifest())
    path = tmp_path / "store" / "artifacts" / "thing" / f"{version}.yaml"
    path.write_text(path.read_text().replace("CC0-1.0", "MIT"))
    with pytest.raises(RegistryError, match="changed after it was published"):
        registry.read("thing")


@pytest.mark.drill
@pytest.mark.parametrize("text", [b"", b"[1", b"name: thing", b"\xff\xfe", b"!!python/object:os.system {}"])
def test_a_broken_manifest_is_named(registry, tmp_path, text):
    version = registry.add(manifest())
    (tmp_path / "store" / "artifacts" / "thing" / f"{version}.yaml").write_bytes(text)
    with pytest.raises(RegistryError, match=rf"thing/{version}\.yaml: no manifest that can be used"):
        registry.read("thing")


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["/etc/passwd"], "absolute path"),
        (["../outside"], "leaves the folder"),
        (["a/../../b"], "leaves the folder"),
        (["C:/windows"], "absolute path"),
        (["a\\..\\b"], "unusable name"),
        (["a\0b"], "unusable name"),
        ([""], "unusable name"),
        (["a", "a"], "stands twice"),
        (["a", "a/b"], "also the folder"),
        ([".artifacts/lock"], "kept for receipts"),
    ],
)
def test_paths_that_would_leave_the_folder_are_refused(paths, why):
    with pytest.raises(ValueError, match=why):
        manifest(files=[entry(path) for path in paths])


def test_an_archive_to_unpack_must_be_one_we_know():
    with pytest.raises(ValueError, match=r"ends in \.tar\.gz"):
        manifest(files=[entry("a.rar", unpack=True)])
    with pytest.raises(ValueError, match="stands twice"):
        manifest(files=[entry("a.zip", unpack=True), entry("a")])


def test_a_manifest_of_another_format_is_refused():
    text = yaml.safe_dump({**manifest().model_dump(mode="json"), "format": 2})
    with pytest.raises(RegistryError, match="format"):
        load(text, "x")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("thinq", "no artifact 'thinq'; did you mean 'thing'"),
        ("thing@papr", "'papr' is neither version nor alias of thing; did you mean 'paper'"),
        ("thing@0123456789abcdef", "no version 0123456789abcdef of thing"),
        ("../thing", "names no artifact"),
        ("thing@../x", "names no artifact"),
    ],
)
def test_what_is_not_there_is_told_with_the_nearest_name(registry, reference, message):
    registry.add(manifest(), ("latest", "paper"))
    with pytest.raises(RegistryError, match=message):
        registry.read(reference)


def test_an_alias_cannot_pose_as_a_version(registry):
    version = registry.add(manifest())
    for bad in ("0" * 16, "a/b", ""):
        with pytest.raises(RegistryError, match="alias"):
            registry.point("thing", bad, version)


def test_a_manifest_tells_its_size():
    assert Manifest.model_validate(manifest(files=[entry("a", size=3), entry("b", size=4)])).bytes == 7
