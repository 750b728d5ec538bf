"""Rasters in, rasters out: the same answers as in memory, in place, and after a kill the same bytes."""

import hashlib

import numpy as np
import pytest
import rasterio
import torch

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.crops import normalised
from stepladder.studies.roofs.models import inference, network, raster, results
from tests.studies.roofs.models.batches import params

PLACE = rasterio.Affine(0.25, 0, 3_600_000, 0, -0.25, 35_000)
SIZE = (202, 301)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return network.build(params(tile=128, overlap=32, halo=16)).eval()


@pytest.fixture
def source(tmp_path):
    """A georeferenced raster whose left edge has no data."""
    image_CYX = np.random.default_rng(0).integers(1, 256, (3, *SIZE), dtype=np.uint8)
    image_CYX[:, :, :10] = 0
    shape = {"height": SIZE[0], "width": SIZE[1], "count": 3, "dtype": "uint8"}
    with rasterio.open(
        tmp_path / "town.tif", "w", driver="GTiff", crs="EPSG:3857", transform=PLACE, nodata=0, **shape
    ) as file:
        file.write(image_CYX)
    return tmp_path / "town.tif"


def digests(files):
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def test_files_say_what_memory_says_where_the_raster_lies(model, source, tmp_path):
    written = raster.predict_raster(model, source, tmp_path / "out")
    with rasterio.open(source) as file:
        image_YXC = np.moveaxis(file.read(), 0, -1)
    image_CYX = normalised(image_YXC)
    image_CYX[:, :, :10] = 0  # no data: the mean colour
    found = inference.predict(model, {"image_CYX": torch.from_numpy(image_CYX)[None], "gsd_m": torch.tensor([0.2])})
    expected = results.layers(found)
    assert set(written) == set(expected)
    for name, path in written.items():
        with rasterio.open(path) as file:
            values, stride = file.read(), expected[name].stride
            assert file.crs == "EPSG:3857" and file.transform == PLACE @ rasterio.Affine.scale(stride)
            assert values.shape == expected[name].values.shape and file.descriptions == expected[name].bands
            nodata = np.isnan(values) if values.dtype.kind == "f" else values == file.nodata
        assert nodata[..., : 10 // stride].all() and not nodata[..., -(-10 // stride) :].any()
        if values.dtype.kind == "f":
            assert np.allclose(values[~nodata], expected[name].values[~nodata], atol=5e-3), name  # half precision
        else:
            assert (values == expected[name].values)[~nodata].mean() > 0.99, name  # ties of an untrained network


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(model, source, tmp_path):
    whole = digests(raster.predict_raster(model, source, tmp_path / "whole"))
    seen = []

    def killed(done, of):
        if done == 3:
            raise KeyboardInterrupt
        seen.append(done)

    with pytest.raises(KeyboardInterrupt):
        raster.predict_raster(model, source, tmp_path / "cut", killed)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cut" / raster.SCRATCH).glob("*.npy")}
    assert len(kept) == 3 and not list((tmp_path / "cut").glob("*.tif"))

    def untouched(done, of):
        now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cut" / raster.SCRATCH).glob("*.npy")}
        assert kept.items() <= now.items()

    assert digests(raster.predict_raster(model, source, tmp_path / "cut", untouched)) == whole
    assert not (tmp_path / "cut" / raster.SCRATCH).exists()


def test_a_finished_prediction_is_given_back_and_that_of_another_network_refused(model, source, tmp_path):
    first = raster.predict_raster(model, source, tmp_path / "out")

    def never(done, of):
        raise AssertionError("nothing is left to do")

    assert raster.predict_raster(model, source, tmp_path / "out", never) == first
    torch.manual_seed(1)
    other = network.build(params(tile=128, overlap=32, halo=16)).eval()
    with pytest.raises(StudyError, match="out holds a prediction with another network"):
        raster.predict_raster(other, source, tmp_path / "out")


def test_more_than_255_classes_take_two_bytes():
    probability = torch.zeros(1, 300, 2, 2)
    probability[0, 299] = 1
    layer = results.classified("many", probability[0])["many"]
    assert layer.values.dtype == np.uint16 and (layer.values == 299).all() and layer.nodata == 65535
    assert results.classified("few", probability[0, :255])["few"].nodata == 255


def test_a_picture_without_a_place_and_of_one_tile_works_too(model, tmp_path):
    with rasterio.open(tmp_path / "roof.png", "w", driver="PNG", height=61, width=67, count=3, dtype="uint8") as file:
        file.write(np.random.default_rng(0).integers(0, 256, (3, 61, 67), dtype=np.uint8))
    written = raster.predict_raster(model, tmp_path / "roof.png", tmp_path / "out")
    with rasterio.open(written["line"]) as file:
        assert file.crs is None and file.shape == (16, 17) and file.descriptions[-1] == "any"


def test_a_raster_of_another_scale_than_the_network_was_trained_at_is_refused(source, tmp_path):
    """0.25 m of EPSG:3857 near the equator, a little less on the ellipsoid."""
    with pytest.raises(StudyError, match=r"town\.tif has 0\.249 m per pixel.*model\.gsd = 0\.1"):
        raster.predict_raster(network.build(params(gsd=0.1)).eval(), source, tmp_path / "out")
