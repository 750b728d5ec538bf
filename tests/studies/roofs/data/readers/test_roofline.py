"""imdb.mat whichever way its axes lie: channels by name, metres above the ground, strokes as segments."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from skimage.draw import polygon

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.labels import LINES
from stepladder.studies.roofs.data.readers import find, read, roofline
from tests.studies.roofs.data.readers.layouts import colours, params

ROWS, COLUMNS = 60, 80
EAVE, RIDGE, HIP = ((5, 10, 70, 10), (5, 30, 70, 30), (20, 40, 50, 55))  # x0, y0, x1, y1


def stroke(line: tuple[float, ...], width: float = 3) -> np.ndarray:
    """A mask of a drawn line."""
    x0, y0, x1, y1 = line
    across = np.array([y0 - y1, x1 - x0]) / np.hypot(x1 - x0, y1 - y0) * width / 2
    first, last = np.array([x0, y0]), np.array([x1, y1])
    corners = np.array([first + across, last + across, last - across, first - across])
    mask = np.zeros((ROWS, COLUMNS), bool)
    mask[polygon(corners[:, 1] - 0.5, corners[:, 0] - 0.5, mask.shape)] = True
    return mask


def fields(crops: int = 5) -> dict[str, np.ndarray]:
    """Crops as (N, Y, X) and (N, Y, X, C)."""
    images = np.stack([colours(ROWS, COLUMNS, seed) for seed in range(crops)])
    depths = np.tile(np.linspace(-0.5, 8, ROWS, dtype=np.float32)[None, :, None], (crops, 1, COLUMNS))
    elements = np.zeros((crops, ROWS, COLUMNS, 3), np.uint8)
    for channel, line in enumerate((EAVE, RIDGE, HIP)):
        elements[1:, ..., channel][:, stroke(line)] = 255
    return {"images": images, "depths": depths, "elements": elements}


def mat(path: Path, arrays: dict[str, np.ndarray], order: str, group: str = "") -> Path:
    """As h5py shows what MATLAB wrote (N, C, X, Y), or as Python writes MATLAB's own order (Y, X, C, N)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = {"NCXY": {4: (0, 3, 2, 1), 3: (0, 2, 1)}, "YXCN": {4: (1, 2, 3, 0), 3: (1, 2, 0)}}[order]
    with h5py.File(path, "w") as file:
        target = file.create_group(group) if group else file
        for name, array in arrays.items():
            target[name] = array.transpose(axes[array.ndim])
    return path


@pytest.mark.parametrize("order", ["NCXY", "YXCN"])
@pytest.mark.parametrize("group", ["", "imdb"])
def test_both_orders_of_axes_are_the_same_crops(tmp_path: Path, order: str, group: str) -> None:
    truth = fields()
    mat(tmp_path / "roofline" / "imdb.mat", truth, order, group)
    found = find.assets([tmp_path], params(block=2))
    assert [asset.meta["count"] for asset in found] == [2, 2, 1]
    for asset in found:
        labelled = read.read(asset, params())
        own = slice(asset.meta["first"], asset.meta["first"] + asset.meta["count"])
        assert np.array_equal(labelled.image_NYXC, truth["images"][own])
        assert np.allclose(labelled.height_NYX, np.maximum(truth["depths"][own], 0), atol=0.01)
        assert labelled.tasks == ("line", "height")


def test_channels_are_eave_ridge_hip_and_valleys_are_not_labelled(tmp_path: Path) -> None:
    mat(tmp_path / "imdb.mat", fields(2), "NCXY")
    labelled = read.read(find.assets([tmp_path], params())[0], params())
    assert labelled.line_types == ("ridge", "hip", "eave")
    assert set(labelled.lines_LF[:, 0]) == {1}, "the first crop has no lines"
    for kind, truth in (("eave", EAVE), ("ridge", RIDGE), ("hip", HIP)):
        (line,) = labelled.lines_LF[labelled.lines_LF[:, 5] == LINES.index(kind), 1:5]
        ends = sorted([tuple(line[:2]), tuple(line[2:])])
        assert np.abs(np.array(ends) - [truth[:2], truth[2:]]).max() < 1.5, kind
    assert [issue.kind for issue in labelled.issues] == ["height below the ground, set to 0"]


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_colours_may_be_numbers_up_to_one_or_255(tmp_path: Path, top: float) -> None:
    truth = fields(2)
    stored = truth | {"images": (truth["images"] / 255 * top).astype(np.float32), "elements": truth["elements"] // 255}
    mat(tmp_path / "imdb.mat", stored, "NCXY")
    labelled = read.read(find.assets([tmp_path], params())[0], params())
    assert np.array_equal(labelled.image_NYXC, truth["images"]) and len(labelled.lines_LF) == 3


def test_what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    truth = fields(2)
    for name in roofline.FIELDS:
        mat(tmp_path / "imdb.mat", {k: v for k, v in truth.items() if k != name}, "NCXY")
        with pytest.raises(StudyError, match=rf"imdb\.mat has no field '{name}'; it has"):
            read.read(find.assets([tmp_path], params())[0], params())
    mat(tmp_path / "imdb.mat", truth | {"depths": truth["depths"][:, :30]}, "NCXY")
    with pytest.raises(StudyError, match=r"imdb\.mat: depths has the shape"):
        read.read(find.assets([tmp_path], params())[0], params())
    mat(
        tmp_path / "imdb.mat",
        {"images": truth["depths"], "depths": truth["depths"], "elements": truth["elements"]},
        "NCXY",
    )
    with pytest.raises(StudyError, match=r"known are \(N, 3, X, Y\) and \(Y, X, 3, N\)"):
        read.read(find.assets([tmp_path], params())[0], params())
    (tmp_path / "imdb.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(StudyError, match=r"imdb\.mat is no HDF5 file"):
        read.read(find.assets([tmp_path], params())[0], params())
