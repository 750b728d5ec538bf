import numpy as np
import pytest

from stepladder.core.types import ShardContent
from stepladder.data import shards
from stepladder.registry import leaks
from stepladder.registry.leaks import Leak
from stepladder.registry.store import RegistryError
from tests.registry.parcels import entry, manifest

SHA = [str(number) * 64 for number in range(10)]
GROUPS = {"a": "burgers eps=0.01", "b": "burgers eps=0.1", "c": "burgers eps=0.03", "d": "burgers eps=1"}


def divided(train: str, validation: str, test: str, twins: str = "", **fields):
    """A manifest of the assets a to d; `twins` have the same content."""
    hashes = {asset: SHA[9] if asset in twins else SHA[number] for number, asset in enumerate(GROUPS)}
    entries = [entry(f"{asset}.h5", hashes[asset], asset=asset, group=group) for asset, group in GROUPS.items()]
    splits = {"train": list(train), "validation": list(validation), "test": list(test)}
    return manifest(kind="shards", splits=splits, files=entries, **fields)


def test_disjoint_splits_pass():
    leaks.check(divided("ab", "d", "c", held_out=["eps=0.03"]))
    leaks.check(divided("ab", "d", "c", split_by="group", held_out=["burgers eps=0.03"]))


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (divided("ab", "d", "bc"), "b in both train and test"),
        (divided("ab", "bd", "c"), "b in both train and validation"),
        (divided("ab", "d", "c", twins="bc"), "b = c in both train and test"),
        (
            divided("abc", "d", "", held_out=["eps=0.03"]),
            r"'eps=0\.03' is held out and stands in the split train \(c\)",
        ),
        (divided("ab", "c", "d", held_out=["eps=0.03"]), "stands in the split validation"),
    ],
)
def test_a_leak_is_named(one, message):
    with pytest.raises(Leak, match=message):
        leaks.check(one)


def test_a_divided_group_leaks_only_where_the_split_is_by_group():
    entries = [entry(f"{a}.h5", SHA[n], asset=a, group="same") for n, a in enumerate("abc")]
    splits = {"train": ["a"], "validation": ["b"], "test": ["c"]}
    leaks.check(manifest(splits=splits, files=entries, split_by="asset"))
    with pytest.raises(Leak, match="group same in both train and validation"):
        leaks.check(manifest(splits=splits, files=entries, split_by="group"))


def test_a_misspelt_held_out_group_does_not_pass_in_silence():
    with pytest.raises(RegistryError, match=r"held out is 'eps=0\.3', which is no group"):
        leaks.check(divided("ab", "d", "c", held_out=["eps=0.3"]))


def test_a_split_without_its_file_is_refused():
    with pytest.raises(RegistryError, match="the splits name 'x'"):
        leaks.check(divided("abx", "d", "c"))


@pytest.mark.parametrize(("held", "group"), [("eps=0.1", "burgers eps=0.01"), ("eps=1", "burgers eps=10")])
def test_a_coefficient_is_a_whole_word(held, group):
    assert not leaks.holds(group, held) and leaks.holds(f"{group} {held}", held)


def shard(path, name, array, **others):
    shards.write(path, ShardContent({name: array, **others}), "recipe")
    return path


def test_one_shared_trajectory_is_found_in_shards_that_differ(tmp_path):
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 5, 8, 16, 1))
    two[3] = one[1]
    train = shard(tmp_path / "one.h5", "u_NTXC", one, position_XD=np.zeros((16, 1)))
    test = shard(tmp_path / "two.h5", "u_NTXC", two, position_XD=np.zeros((16, 1)))
    with pytest.raises(Leak, match=r"one/1 = two/3 in both train and test"):
        leaks.check_rows({"train": [train], "test": [test]}, "x")
    leaks.check_rows({"train": [train, test], "test": []}, "x")  # twice in one split is no leak


def test_empty_rows_and_coordinates_are_no_leak(tmp_path):
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 2, (2, 3, 16, 16), dtype=np.uint8)
    one[0] = two[0] = 0
    paths = [shard(tmp_path / f"{n}.h5", "mask_NYX", a, time_T=np.arange(4.0)) for n, a in enumerate((one, two))]
    leaks.check_rows({"train": paths[:1], "test": paths[1:]}, "x")


def test_a_whole_volume_that_stands_twice_is_found(tmp_path):
    volume = np.random.default_rng(0).integers(0, 255, (8, 8, 8), dtype=np.uint8)
    paths = [
        shard(tmp_path / f"{name}.h5", "image_ZYX", volume, label_N3=np.ones((n, 3))) for n, name in enumerate("ab")
    ]
    with pytest.raises(Leak, match="a/image_ZYX = b/image_ZYX in both train and test"):
        leaks.check_rows({"train": paths[:1], "test": paths[1:]}, "x")
