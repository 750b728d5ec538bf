"""Surfaces: round trip, clipping and joining tiles that overlap."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core.types import Issue
from stepladder.studies.plateau.data.citygml.raw import RawFileError, Tally
from stepladder.studies.plateau.data.citygml.surfaces import COLUMNS, Surfaces, concatenate


def surfaces(ids: list[str], seed: int = 0, zone: int = 6677, at: float = 0.0, issues: dict[str, int] | None = None):
    """One to four random triangles of each feature, at `at` + 100 m times its row."""
    rng = np.random.default_rng(seed)
    feature_N = np.repeat(np.arange(len(ids)), rng.integers(1, 5, len(ids))).astype(np.int32)
    triangles_N33 = rng.random((len(feature_N), 3, 3)) + at + 100.0 * feature_N[:, None, None]
    tally = Tally()
    for kind, count in (issues or {}).items():
        tally.add(kind, count, example=f"an example of {kind}")
    described = [(name, "bldg", "Building", 1 + row % 2) for row, name in enumerate(ids)]
    return Surfaces.of(triangles_N33, rng.integers(20, 24, len(feature_N)), feature_N, described, zone, tally)


def assert_equal(one: Surfaces, other: Surfaces) -> None:
    """Bit for bit the same, types included."""
    for name in ("triangles_N33", "label_N", "feature_N"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    pd.testing.assert_frame_equal(one.features, other.features)
    assert (one.zone, one.issues) == (other.zone, other.issues)


NAMES = st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1), unique=True, max_size=6)


@settings(max_examples=40)
@given(ids=NAMES, seed=st.integers(0, 99))
def test_what_is_saved_is_loaded_exactly(tmp_path_factory, ids, seed):
    path = tmp_path_factory.mktemp("cache") / "tile.npz"
    before = surfaces(ids, seed, issues={"open ring closed": 3, "建物": 1})
    before.save(path)
    assert_equal(Surfaces.load(path), before)
    assert [file.name for file in path.parent.iterdir()] == ["tile.npz"]


def test_columns_and_bounds():
    f = surfaces(["a", "b"]).features
    assert tuple(f.columns) == COLUMNS
    assert f.dtypes.astype(str).tolist() == ["object"] * 3 + ["int8", "bool"] + ["float64"] * 6
    assert (f.x_min >= [0, 100]).all() and (f.x_max <= [1, 101]).all() and (f.z_min <= f.z_max).all()


def test_flat_means_every_height_is_zero():
    triangles_N33 = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 0], [1, 0, 0], [0, 1, 0.1]]], dtype=float)
    described = [("flat", "tran", "Road", 1), ("bent", "tran", "Road", 1)]
    made = Surfaces.of(triangles_N33, np.array([30, 30]), np.array([0, 1]), described, 6677, Tally())
    assert made.features.flat.tolist() == [True, False]


def test_a_feature_without_triangles_is_counted():
    described = [(name, "bldg", "Building", 1) for name in "abc"]
    made = Surfaces.of(np.zeros((2, 3, 3)), np.array([20, 21]), np.array([1, 1]), described, 6677, Tally())
    assert made.features.id.tolist() == ["b"] and made.feature_N.tolist() == [0, 0]
    assert made.issues == (Issue("feature without usable surface", 2, "a"),)


@pytest.mark.drill
def test_a_cut_cache_file_is_a_named_error(tmp_path):
    path = tmp_path / "tile.npz"
    surfaces(["a", "b"]).save(path)
    data = path.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.99):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(RawFileError, match=r"tile\.npz"):
            Surfaces.load(path)


def test_clip_keeps_whole_features_that_meet_the_box():
    made = surfaces(["a", "b", "c"])
    clipped = made.clip((50.0, 50.0, 100.5, 100.5))
    assert clipped.features.id.tolist() == ["b"]
    np.testing.assert_array_equal(clipped.triangles_N33, made.triangles_N33[made.feature_N == 1])
    assert set(clipped.feature_N.tolist()) == {0} and clipped.feature_N.dtype == np.int32
    assert_equal(made.clip((-1e9, -1e9, 1e9, 1e9)), made)
    assert len(made.clip((5, 5, 6, 6)).triangles_N33) == 0


def test_neighbours_share_no_feature_after_joining():
    west = surfaces(["a", "b"], 1, issues={"open ring closed": 2})
    east = surfaces(["b", "c"], 2, at=1000.0, issues={"open ring closed": 1, "empty tile": 1})
    both = concatenate([west, east])
    assert both.features.id.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(both.triangles_N33[both.feature_N <= 1], west.triangles_N33)
    np.testing.assert_array_equal(both.triangles_N33[both.feature_N == 2], east.triangles_N33[east.feature_N == 1])
    counts = {issue.kind: issue.count for issue in both.issues}
    assert counts == {"open ring closed": 3, "empty tile": 1, "feature in several files": 1}
    assert both.feature_N.dtype == np.int32 and both.label_N.dtype == np.uint8


def test_joining_one_or_empty_files_changes_nothing():
    one = surfaces(["a", "b"])
    assert_equal(concatenate([one]), one)
    empty = surfaces([], zone=0)
    assert_equal(concatenate([empty, one, empty]), one)
    assert_equal(concatenate([empty]), empty)


def test_different_zones_cannot_be_joined():
    with pytest.raises(RawFileError, match=r"6674.*6677"):
        concatenate([surfaces(["a"]), surfaces(["b"], zone=6674)])
