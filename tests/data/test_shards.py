import pickle

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stepladder.core.types import Issue, ShardContent
from stepladder.data import shards
from stepladder.data.shards import Shard, ShardError

dtypes = st.sampled_from([np.uint8, np.int16, np.int32, np.float32, np.float64])
arrays = dtypes.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(max_dims=3, max_side=9), elements=st.integers(0, 100)))


@settings(max_examples=25, deadline=None)
@given(arrays, arrays)
def test_arrays_come_back_equal_mapped_or_compressed(tmp_path_factory, mapped, packed):
    path = tmp_path_factory.mktemp("s") / "a.h5"
    shards.write(path, ShardContent({"mapped": mapped}, {"packed": packed}), "r")
    shard = Shard(path)
    assert np.array_equal(shard.array("mapped"), mapped) and shard.array("mapped").dtype == mapped.dtype
    assert np.array_equal(shard.array("packed"), packed)
    with h5py.File(path) as file:
        assert np.array_equal(file["mapped"][()], mapped)  # still a file any HDF5 tool opens


def test_contiguous_arrays_are_maps_not_copies(tmp_path):
    shards.write(tmp_path / "a.h5", ShardContent({"big": np.arange(100_000)}), "r")
    assert isinstance(Shard(tmp_path / "a.h5").array("big"), np.memmap)


def test_a_shard_travels_to_another_process_by_its_path(tmp_path):
    shards.write(tmp_path / "a.h5", ShardContent({"x": np.arange(5)}), "r")
    shard = Shard(tmp_path / "a.h5")
    shard.array("x")
    assert len(pickle.dumps(shard)) < 1000
    assert np.array_equal(pickle.loads(pickle.dumps(shard)).array("x"), np.arange(5))


def test_provenance_comes_back(tmp_path):
    content = ShardContent({}, attributes={"licence": "出典", "origin": (1, 2)}, issues=[Issue("hole", 3, "id")])
    shards.write(tmp_path / "a.h5", content, "recipe")
    attributes = Shard(tmp_path / "a.h5").attributes
    assert attributes["licence"] == "出典" and attributes["origin"] == [1, 2] and attributes["recipe"] == "recipe"
    assert attributes["issues"] == [{"kind": "hole", "count": 3, "example": "id"}]


def test_what_is_no_shard_is_named(tmp_path):
    (tmp_path / "bad.h5").write_bytes(b"not hdf5")
    with pytest.raises(ShardError, match=r"bad\.h5 is not a readable shard"):
        _ = Shard(tmp_path / "bad.h5").attributes
    shards.write(tmp_path / "a.h5", ShardContent({"x": np.zeros(1)}), "r")
    with pytest.raises(ShardError, match="holds no array 'y', only x"):
        Shard(tmp_path / "a.h5").array("y")
    assert shards.recipe_of(tmp_path / "bad.h5") is None
