"""Every way a picture may be stored comes out upright, in three bytes a pixel, or is refused by its name."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.readers import images, rasters
from stepladder.studies.roofs.params import RoofsConversion

rasterio = pytest.importorskip("rasterio")
Affine = rasterio.transform.Affine
PLAIN = RoofsConversion()
RNG = np.random.default_rng(0)
COLOURS_YXC = RNG.integers(0, 256, (12, 20, 3), np.uint8)


def tif(path: Path, values_CYX: np.ndarray, **options: object) -> Path:
    count, height, width = values_CYX.shape
    options = {"driver": "GTiff", "dtype": values_CYX.dtype, "count": count, "height": height, "width": width} | options
    with rasterio.open(path, "w", **options) as target:
        target.write(values_CYX)
    return path


def whole(path: Path, conversion: RoofsConversion = PLAIN) -> tuple[np.ndarray, np.ndarray]:
    return images.open_picture(path, conversion).whole()


def test_eight_bits_are_left_alone_in_every_format(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif"):
        Image.fromarray(COLOURS_YXC).save(tmp_path / name)
        image_YXC, there_YX = whole(tmp_path / name)
        assert np.array_equal(image_YXC, COLOURS_YXC) and there_YX.all()


def test_sixteen_bits_are_stretched_by_the_whole_raster_whatever_the_window(tmp_path: Path) -> None:
    values = RNG.integers(200, 3000, (1, 60, 60)).astype(np.uint16)
    values[0, :5] = 0  # nodata, which must not pull the percentiles
    path = tif(tmp_path / "deep.tif", values, nodata=0, crs="EPSG:32616", transform=Affine(0.5, 0, 0, 0, -0.5, 0))
    picture = images.open_picture(path, PLAIN)
    image_YXC, there_YX = picture.whole()
    low, high = np.percentile(values[values > 0], (1, 99))
    expected = np.rint(255 * np.clip((values[0].astype(float) - low) / (high - low), 0, 1))
    assert np.abs(image_YXC[5:, :, 0].astype(int) - expected[5:]).max() <= 1
    assert image_YXC.shape == (60, 60, 3) and np.array_equal(image_YXC[..., 0], image_YXC[..., 2])
    assert not there_YX[:5].any() and there_YX[5:].all()
    part_YXC, _ = picture.read((slice(20, 40), slice(10, 30)))
    assert np.array_equal(part_YXC, image_YXC[20:40, 10:30])


def test_a_window_of_values_can_be_given(tmp_path: Path) -> None:
    path = tif(tmp_path / "deep.tif", np.full((3, 4, 4), 1500, np.uint16))
    image_YXC, _ = whole(path, RoofsConversion(window=[1000, 2000]))
    assert (image_YXC == 128).all()


def test_not_a_number_is_no_data(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 3 * 64).reshape(3, 8, 8).astype(np.float32)
    values[:, 2, 3] = np.nan
    image_YXC, there_YX = whole(tif(tmp_path / "floats.tif", values))
    assert image_YXC.dtype == np.uint8 and there_YX.sum() == 63 and not there_YX[2, 3]
    with pytest.raises(StudyError, match=r"empty\.tif holds no data"):
        whole(tif(tmp_path / "empty.tif", np.full((3, 8, 8), np.nan, np.float32)))


@pytest.mark.parametrize("name", ["ink.jpg", "ink.tif"])
def test_inks_become_colours(tmp_path: Path, name: str) -> None:
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red
    inks.save(tmp_path / name)
    image_YXC, _ = whole(tmp_path / name)
    assert np.abs(image_YXC.astype(int) - (255, 0, 0)).max() <= 3


def test_a_palette_becomes_its_colours_in_an_image_and_stays_numbers_in_a_mask(tmp_path: Path) -> None:
    indexed = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    indexed.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    indexed.save(tmp_path / "indexed.png")
    image_YXC, _ = whole(tmp_path / "indexed.png")
    assert image_YXC.tolist() == [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]]
    assert images.read_mask(tmp_path / "indexed.png", (2, 2)).tolist() == [[0, 1], [2, 1]]


def test_the_see_through_lies_on_white_and_has_no_data(tmp_path: Path) -> None:
    glass = np.zeros((2, 2, 4), np.uint8)
    glass[0, 0], glass[0, 1] = (10, 20, 30, 255), (0, 0, 0, 128)
    Image.fromarray(glass, "RGBA").save(tmp_path / "glass.png")
    image_YXC, there_YX = whole(tmp_path / "glass.png")
    assert image_YXC[0, 0].tolist() == [10, 20, 30] and image_YXC[0, 1].tolist() == [127] * 3
    assert image_YXC[1, 1].tolist() == [255] * 3 and there_YX.tolist() == [[True, True], [False, False]]


def test_grey_becomes_three_channels(tmp_path: Path) -> None:
    for name in ("grey.png", "grey.jpg"):
        Image.fromarray(np.full((8, 8), 77, np.uint8)).save(tmp_path / name)
        assert (whole(tmp_path / name)[0] == 77).all() and whole(tmp_path / name)[0].shape == (8, 8, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.tif"])
def test_a_camera_held_sideways_is_turned_as_pillow_turns_it(tmp_path: Path, orientation: int, name: str) -> None:
    smooth = np.zeros((32, 48, 3), np.uint8)
    smooth[:16, :24] = (255, 0, 0)
    image = Image.fromarray(smooth)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / name, exif=exif)
    oracle = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / name)))
    assert np.array_equal(whole(tmp_path / name)[0], oracle)


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png", "cut.tif"])
def test_a_file_cut_short_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(RNG.integers(0, 256, (200, 200, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StudyError, match=rf"cut\.{name[4:]}.*fetch it again"):
        whole(path)


@given(junk=st.binary(max_size=200), ending=st.sampled_from(["jpg", "png", "tif"]))
def test_junk_is_named(tmp_path_factory: pytest.TempPathFactory, junk: bytes, ending: str) -> None:
    path = tmp_path_factory.mktemp("junk") / f"junk.{ending}"
    path.write_bytes(junk)
    with pytest.raises(StudyError, match=r"junk\."):
        whole(path)


@pytest.mark.parametrize("name", ["bomb.png", "bomb.jpg", "bomb.tif"])
def test_a_bomb_is_not_decoded(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(tmp_path / name)
    monkeypatch.setattr(rasters, "MOST_PIXELS", 9_999)
    monkeypatch.setattr(images, "decoded", lambda *_: pytest.fail("decoded"))
    with pytest.raises(StudyError, match=rf"{name} claims 100 x 100 pixels.*not decoded"):
        whole(tmp_path / name)


def test_a_missing_band_is_named(tmp_path: Path) -> None:
    path = tif(tmp_path / "three.tif", np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(StudyError, match=r"three\.tif has 3 bands, conversion\.bands asks for \[5, 3, 2\]"):
        whole(path, RoofsConversion(bands=[5, 3, 2]))
    assert whole(path, RoofsConversion(bands=[3, 2, 1]))[0].shape == (8, 8, 3)


def test_a_mask_of_another_size_or_with_other_classes_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 12, np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(StudyError, match=r"mask\.png has 4 x 5 pixels, its image 5 x 5"):
        images.read_mask(tmp_path / "mask.png", (5, 5))
    ids = images.read_mask(tmp_path / "mask.png", (4, 5))
    with pytest.raises(StudyError, match=r"mask\.png holds class 12; classes end at 8"):
        images.check_ids(tmp_path / "mask.png", ids, 8)
    with pytest.raises(StudyError, match=r"mask\.png holds the values 12"):
        images.binary(tmp_path / "mask.png", ids)


@given(top=st.sampled_from([1, 255]))
def test_roof_masks_of_one_and_of_255_are_the_same(top: int) -> None:
    mask = np.array([[0, top], [top, 0]], np.uint8)
    assert images.binary(Path("m"), mask).tolist() == [[0, 1], [1, 0]]
    assert images.binary(Path("m"), np.zeros((2, 2), np.uint8)).sum() == 0


def test_a_raster_without_a_place_has_none_and_a_turned_one_keeps_its_turn(tmp_path: Path) -> None:
    bare = images.open_picture(tif(tmp_path / "bare.tif", np.zeros((3, 8, 8), np.uint8)), PLAIN)
    assert bare.georeference is None and bare.gsd_m is None
    turned = Affine.translation(453000, 33000) @ Affine.rotation(30) @ Affine.scale(0.5, -0.5)
    picture = images.open_picture(
        tif(tmp_path / "turned.tif", np.zeros((3, 8, 8), np.uint8), crs="EPSG:32636", transform=turned), PLAIN
    )
    assert picture.georeference is not None and not picture.georeference.north_up
    assert picture.gsd_m == pytest.approx(0.5, rel=1e-3)
