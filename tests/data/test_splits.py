import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core.config import ParameterError
from stepladder.core.schema import SplitParams
from stepladder.core.types import Asset
from stepladder.data import splits


def assets(groups: int, each: int) -> list[Asset]:
    return [Asset(f"g{g}t{t}", f"g{g}", (), region=(g, t, g + 1, t + 1)) for g in range(groups) for t in range(each)]


@given(st.integers(3, 12), st.integers(1, 4), st.integers(0, 1000), st.sampled_from(["group", "asset"]))
def test_every_asset_is_in_exactly_one_split_and_units_are_whole(groups, each, seed, by):
    given_assets = assets(groups, each)
    result = splits.split(given_assets, SplitParams(by=by), seed)
    ids = [id for name in splits.NAMES for id in result[name]]
    assert sorted(ids) == sorted(asset.id for asset in given_assets)
    assert all(result[name] for name in splits.NAMES)
    if by == "group":
        seen = [{id.split("t")[0] for id in result[name]} for name in splits.NAMES]
        assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert result == splits.split(given_assets, SplitParams(by=by), seed)


def test_too_few_groups_are_refused_with_the_way_out():
    with pytest.raises(ParameterError, match=r"splits\.by: asset"):
        splits.split(assets(2, 5), SplitParams(by="group"), 0)


def test_named_units_are_kept_and_a_leak_is_refused():
    chosen = splits.split(assets(4, 1), SplitParams(by="group", test=["g2"]), 0)
    assert chosen["test"] == ["g2t0"]
    with pytest.raises(ParameterError, match="would leak"):
        splits.split(assets(4, 1), SplitParams(train=["g0"], validation=["g0"], test=["g1"]), 0)
    with pytest.raises(ParameterError, match=r"splits\.validation names 'gl', which is not in the data"):
        splits.split(assets(4, 1), SplitParams(train=["g0"], validation=["gl"], test=["g1"]), 0)


def siblings(numbers: int, tasks: int) -> list[Asset]:
    """Files of several tasks; those of one number begin alike."""
    return [
        Asset(f"task{t}_{n}", f"task{t}", (), split_group=f"start{n}") for t in range(tasks) for n in range(numbers)
    ]


@given(st.integers(3, 12), st.integers(1, 4), st.integers(0, 1000))
def test_assets_that_begin_alike_are_never_divided(numbers, tasks, seed):
    result = splits.split(siblings(numbers, tasks), SplitParams(by="asset"), seed)
    seen = [{id.rsplit("_")[-1] for id in result[name]} for name in splits.NAMES]
    assert sum(map(len, seen)) == numbers == len(set.union(*seen))
    alone = [Asset(asset.id, asset.group, ()) for asset in siblings(numbers, 1)]
    if tasks == 1:
        assert result == splits.split(alone, SplitParams(by="asset"), seed), "kin of its own changes no draw"


def test_naming_half_a_family_is_a_leak():
    with pytest.raises(ParameterError, match=r"'task1_0' in splits.\w+ .* begin alike, so that would leak"):
        splits.split(siblings(4, 2), SplitParams(by="asset", test=["task0_0"]), 0)
    chosen = splits.split(siblings(4, 2), SplitParams(by="asset", test=["task0_0", "task1_0"]), 0)
    assert chosen["test"] == ["task0_0", "task1_0"]
    assert splits.split(siblings(4, 3), SplitParams(by="group"), 0), "by group, coefficients are what is held out"
