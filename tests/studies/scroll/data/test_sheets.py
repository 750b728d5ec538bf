"""Synthetic scrolls: the true layout, the same bytes every time, and a task worth a network."""

import hashlib

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from stepladder.studies.scroll.data import kaggle, sheets
from stepladder.studies.scroll.data.sheets import Style, volume
from stepladder.studies.scroll.evaluation import metrics
from stepladder.studies.scroll.models.baselines import sheetness
from stepladder.studies.scroll.params import ScrollParams

SMALL = (24, 40, 40)


@pytest.fixture(scope="module")
def volumes():
    """Images and labels of three scrolls."""
    return [volume(0, number, Style.of(0, number)) for number in range(3)]


def digest(folder) -> str:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in paths)).hexdigest()


@pytest.fixture
def small(monkeypatch):
    """Synthesis of small volumes."""
    monkeypatch.setattr(sheets, "volume", lambda seed, number, style: volume(seed, number, style, SMALL))


def test_the_layout_is_the_competitions(tmp_path, small):
    (source,) = sheets.synthesize(tmp_path, 6, seed=3)
    found = kaggle.assets([tmp_path], ScrollParams(study="scroll"))
    assert source.url == str(tmp_path) and len(found) == 6
    assert len({asset.group for asset in found}) == sheets.SCROLLS, "the sixth is of the first one's scroll"
    image, label = kaggle.parts(found[0])
    with tifffile.TiffFile(image) as file:
        assert file.pages[0].compression.name == "LZW" and len(file.pages) == SMALL[0]
    for path in (image, label):
        array = tifffile.imread(path)
        assert array.shape == SMALL and array.dtype == np.uint8
    assert set(np.unique(tifffile.imread(label))) == {0, 1, 2}


def test_the_same_seed_writes_the_same_bytes_and_more_volumes_change_none(tmp_path, small):
    for name, count, seed in (("one", 3, 1), ("two", 3, 1), ("more", 4, 1), ("other", 3, 2)):
        sheets.synthesize(tmp_path / name, count, seed)
    (tmp_path / "more/train.csv").write_bytes((tmp_path / "one/train.csv").read_bytes())
    for part in ("train_images", "train_labels"):
        (tmp_path / "more" / part / "003.tif").unlink()
    one, two, more, other = (digest(tmp_path / name) for name in ("one", "two", "more", "other"))
    assert one == two == more != other


def test_labels_look_like_the_real_ones(volumes):
    for image_ZYX, label_ZYX in volumes:
        share = np.bincount(label_ZYX.reshape(-1), minlength=3) / label_ZYX.size
        assert 0.05 < share[1] < 0.25 and 0.15 < share[2] < 0.6
        rim = np.ones(label_ZYX.shape, bool)
        rim[2:-2, 2:-2, 2:-2] = False
        assert (label_ZYX[rim] == 2).all()
        clipped = np.isin(image_ZYX, (0, 255)).mean()
        assert clipped < 0.05, "the range of a byte is used and not exceeded"


def test_sheets_are_thin_many_and_some_touch(volumes):
    for number, (_, label_ZYX) in enumerate(volumes):
        sheet_ZYX = label_ZYX == 1
        inside = ndimage.distance_transform_cdt(sheet_ZYX, "taxicab")[sheet_ZYX]
        assert np.median(inside) == 1 and (inside > 2).mean() < 0.05, "two or three voxels thick"
        assert ndimage.label(sheet_ZYX, np.ones((3, 3, 3)))[1] >= 4
        style = Style.of(0, number)
        rng = np.random.Generator(np.random.Philox(key=[0, 1000 + number]))
        winding = sheets.roll(rng, style, sheets.SHAPE)
        touching = (winding.gap_ZYX < style.thickness + 1) & winding.sheet(style.thickness)
        torn = winding.torn_ZYX & (np.abs(winding.across_ZYX) < 1)
        assert touching.any() and torn.any()


def test_brightness_alone_does_not_find_the_surface_but_shape_helps(volumes):
    surface_dice = {"intensity_threshold": [], "sheetness": []}
    for image_ZYX, label_ZYX in volumes:
        truth_ZYX, known_ZYX = label_ZYX == 1, label_ZYX < 2
        brightest = [image_ZYX > threshold for threshold in range(40, 240, 10)]
        overlap = [2 * (mask & truth_ZYX).sum() / ((mask & known_ZYX).sum() + truth_ZYX.sum()) for mask in brightest]
        assert max(overlap) < 0.55, "whatever the threshold"
        normal_ZYX = ((image_ZYX - image_ZYX.mean()) / image_ZYX.std()).astype(np.float32)
        for name, scores in surface_dice.items():
            mask_ZYX = getattr(sheetness, name)(normal_ZYX)
            scores.append(metrics.scores(label_ZYX, mask_ZYX)["SurfaceDice@2"])
    assert np.mean(surface_dice["sheetness"]) > np.mean(surface_dice["intensity_threshold"]) + 0.05
