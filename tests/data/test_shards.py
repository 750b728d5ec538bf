import fcntl
import os
import pickle
import resource
import subprocess
import sys
from collections import deque
from pathlib import Path
from unittest.mock import Mock

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
    shards.write(tmp_path / "a.h5", ShardContent({"big": np.arange(100_000), "more": np.arange(100_000)}), "r")
    shard = Shard(tmp_path / "a.h5")
    big, more = shard.array("big"), shard.array("more")
    assert str(tmp_path / "a.h5") in Path("/proc/self/maps").read_text()
    assert abs(big.ctypes.data - more.ctypes.data) < (tmp_path / "a.h5").stat().st_size  # one map for both
    assert not big.flags.writeable and not more.flags.writeable


def test_a_map_that_the_system_refuses_as_private_is_shared(tmp_path, monkeypatch):
    shards.write(tmp_path / "a.h5", ShardContent({"x": np.arange(5)}), "r")
    monkeypatch.setattr("torch.from_file", Mock(side_effect=RuntimeError("unable to mmap: Cannot allocate memory")))
    assert Shard(tmp_path / "a.h5").array("x").tolist() == [0, 1, 2, 3, 4]


HANDLES = """
import os, sys
from stepladder.data.shards import Shard
Shard(sys.argv[1]).array("x")  # what is imported and opened once
before = os.listdir("/proc/self/fd")
opened = [Shard(sys.argv[1]) for _ in range(10)]
assert all(len(shard.array("x")) + len(shard.array("y")) == 11 for shard in opened)
print(len(os.listdir("/proc/self/fd")) - len(before))
"""


def test_maps_hold_no_file_handle(tmp_path):
    """In a process of its own: here another test's files may be closed in between."""
    shards.write(tmp_path / "a.h5", ShardContent({"x": np.arange(5), "y": np.arange(6)}), "r")
    assert subprocess.check_output([sys.executable, "-c", HANDLES, str(tmp_path / "a.h5")], text=True) == "0\n"


def test_beyond_the_most_maps_the_first_is_let_go_and_mapped_again_when_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MOST_MAPPED", 3)
    monkeypatch.setattr(shards, "_KEPT", deque())
    for n in range(6):
        shards.write(tmp_path / f"{n}.h5", ShardContent({"x": np.full(9, n)}), "r")
    opened = [Shard(tmp_path / f"{n}.h5") for n in range(6)]
    held = opened[0].array("x")
    for _ in range(2):
        assert [int(shard.array("x").sum()) for shard in opened] == [0, 9, 18, 27, 36, 45]
        assert Path("/proc/self/maps").read_text().count(str(tmp_path)) <= 4  # the three, and the one in use
    assert held.tolist() == [0] * 9


@pytest.mark.slow
def test_twenty_thousand_shards_in_two_loader_processes_at_the_common_limit_of_open_files(tmp_path):
    """All are drawn through a loader while its processes may open 1,024 files."""
    shards.write(tmp_path / "0.h5", ShardContent({"x_N": np.arange(7), "y": np.ones(3)}), "r")
    for n in range(1, 20_000):
        (tmp_path / f"{n}.h5").hardlink_to(tmp_path / "0.h5")
    done = subprocess.run([sys.executable, "-c", MANY, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.strip() == str(20_000 * 21), done.stderr[-2000:]


MANY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
from pathlib import Path
from stepladder.data.sampling import loader
from stepladder.data.shards import Shard

class Many:
    def __init__(self, folder):
        self.shards = [Shard(folder / f"{n}.h5") for n in range(20_000)]
    def __getitem__(self, n):
        return self.shards[n].array("x_N") + self.shards[n].array("y").sum().astype(int) * 0

batches = [list(range(first, first + 100)) for first in range(0, 20_000, 100)]
print(sum(int(batch.sum()) for batch in loader(Many(Path(sys.argv[1])), batches, 2, 2)))
"""


def test_a_shard_can_be_read_and_written_where_locks_cannot_be_had(tmp_path):
    """As on a file system without locks: somebody else holds the one that HDF5 would take."""
    shards.write(tmp_path / "a.h5", ShardContent({"x": np.arange(5)}), "r")
    with (tmp_path / "a.h5").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="unable to lock"):
            h5py.File(tmp_path / "a.h5", "r", locking=True)
        assert Shard(tmp_path / "a.h5").array("x").tolist() == [0, 1, 2, 3, 4]


def test_only_a_damaged_shard_is_to_be_deleted(tmp_path):
    with pytest.raises(ShardError, match=r"gone\.h5 is missing: run the conversion again"):
        _ = Shard(tmp_path / "gone.h5").attributes
    shards.write(tmp_path / "a.h5", ShardContent({"x": np.arange(5)}), "r")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(next_handle := os.open(tmp_path, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_handle, limits[1]))
    try:
        with pytest.raises(ShardError, match=r"a\.h5 cannot be opened: Too many open files$"):
            _ = Shard(tmp_path / "a.h5").attributes
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file.create_group("group")
    with pytest.raises(ShardError, match=r"foreign\.h5 is not a readable shard .*; delete it"):
        _ = Shard(tmp_path / "foreign.h5").attributes
    (tmp_path / "cut.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:2000])
    with pytest.raises(ShardError, match=r"cut\.h5 is not a readable shard .*; delete it"):
        _ = Shard(tmp_path / "cut.h5").attributes


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
