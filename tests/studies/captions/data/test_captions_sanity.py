"""Each silent fault fails the gate that is named after it, and that one alone; what is right passes all."""

import numpy as np
import pytest

from stepladder.data import shards
from stepladder.studies.captions.data import conversion, sanity
from stepladder.studies.captions.data.synthesis.drawing import pictures
from tests.studies.captions import drawn_tars

PICTURES, VISION, WORLD, TEXTS, FIT = (
    "pictures show something",
    "the vision tower tells pictures apart",
    "the world tower tells pictures apart",
    "captions differ",
    "items fit the sequence",
)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    asset = drawn_tars.tar(tmp_path_factory.mktemp("sane"), count=12)
    return conversion.convert(asset, drawn_tars.params())


def failed(folder, content, settings=None, **arrays):
    """Names of the gates that fail where these arrays stand in the shard."""
    changed = type(content)({**content.arrays, **arrays}, content.compressed, content.attributes)
    shards.write(folder / "a.h5", changed, "recipe")
    return [check.name for check in sanity.checks([folder / "a.h5"], settings or drawn_tars.params()) if not check.ok]


def test_right_data_pass(content, tmp_path):
    assert failed(tmp_path, content) == []


def test_blank_pictures(content, tmp_path):
    pixels = np.array(content.arrays["pixels_NYXC"])
    pixels[::4] = 200
    assert failed(tmp_path, content, pixels_NYXC=pixels) == [PICTURES]


@pytest.mark.parametrize("name, gate", [("vision_NPF", VISION), ("world_NTVUC", WORLD)])
def test_features_that_are_all_the_same_or_zero_or_no_numbers(content, tmp_path, name, gate):
    values = np.array(content.arrays[name])
    assert failed(tmp_path, content, **{name: np.broadcast_to(values[:1], values.shape)}) == [gate]
    assert failed(tmp_path, content, **{name: np.zeros_like(values)}) == [gate]
    values[3] = np.nan
    assert failed(tmp_path, content, **{name: values}) == [gate]


def test_int8_features_that_are_right_pass_and_without_their_scale_fail(tmp_path):
    settings = drawn_tars.params(features="int8")
    made = conversion.convert(drawn_tars.tar(tmp_path, count=12), settings)
    assert failed(tmp_path, made, settings) == []
    zero = np.zeros_like(made.arrays["world_scale_NTVUC"])
    assert failed(tmp_path, made, settings, world_scale_NTVUC=zero) == [WORLD]


def test_captions_that_are_all_alike(tmp_path):
    rows = [
        row for number, image in enumerate(pictures(12, 1, 64))
        for row in drawn_tars.members(f"{number:02d}", image, "Shop now!" if number < 6 else f"Picture {number}.")
    ]  # fmt: skip
    made = conversion.convert(drawn_tars.written(tmp_path, "alike", rows), drawn_tars.params())
    assert failed(tmp_path, made) == [TEXTS]


def test_items_that_are_too_long_are_counted_and_many_are_a_fault(content, tmp_path):
    shards.write(tmp_path / "a.h5", content, "recipe")
    told = {}
    for length in (96, 20):
        checks = sanity.checks([tmp_path / "a.h5"], drawn_tars.params(length=length))
        told[length] = next(check for check in checks if check.name == FIT)
    assert told[96].ok
    assert told[96].reason.startswith("0 of 36")
    assert not told[20].ok
    assert "raise it" in told[20].reason
    assert failed(tmp_path, content, drawn_tars.params(length=40)) == [FIT]
