"""Synthetic scenes, whose truth is exact, come back from the files of every layout as they were."""

import numpy as np
import pytest

from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.labels import IGNORE, LINES
from stepladder.studies.roofs.data.readers import find, read
from stepladder.studies.roofs.data.synthesis import layouts
from stepladder.studies.roofs.data.synthesis.scene import Scene
from tests.studies.roofs.data.readers.layouts import params

OPTIONS = {"side": 160, "block": 3}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Labelled, list[Scene]]]:
    """Source -> what was read of its one asset, and the scenes that were written."""
    asked = params(**OPTIONS)
    folder = tmp_path_factory.mktemp("scenes")
    layouts.synthesize(folder, 3, 0, asked)
    found = {asset.group: asset for asset in find.assets([folder], asked)}
    numbers = {"rid": 0, "roofline": 1, "airs": 2}
    assert set(found) == set(numbers)
    return {
        source: (read.read(found[source], asked), layouts.asset(asked.data, source, 0, number))
        for source, number in numbers.items()
    }


def test_images_and_scale_are_those_of_the_scenes(written: dict[str, tuple[Labelled, list[Scene]]]) -> None:
    for labelled, scenes in written.values():
        assert np.array_equal(labelled.image_NYXC, np.stack([scene.image_YXC for scene in scenes]))
        assert labelled.gsd_m == pytest.approx(scenes[0].gsd, rel=1e-3)


def test_rids_five_targets_are_exact_but_for_borders(written: dict[str, tuple[Labelled, list[Scene]]]) -> None:
    labelled, (scene,) = written["rid"]
    known_YX = labelled.face_NYX[0] != IGNORE
    assert (labelled.face_NYX[0] == scene.face_YX)[known_YX].mean() > 0.97
    assert (labelled.outline_NYX[0] == scene.outline_YX).mean() > 0.97
    assert (labelled.superstructure_NYX[0] == scene.superstructure_YX).mean() > 0.97
    assert np.array_equal(labelled.focus_NYX[0], scene.centre_YX)
    both_YX = np.isfinite(labelled.rise_NYX[0]) & np.isfinite(scene.rise_YX)
    assert both_YX.mean() > 0.1 and np.median(np.abs(labelled.rise_NYX[0] - scene.rise_YX)[both_YX]) < 0.2
    slope_YXG = np.abs(labelled.slope_NYXG[0] - scene.slope_YXG)[labelled.face_NYX[0] == scene.face_YX]
    assert np.median(slope_YXG) < 0.02


def test_rooflines_heights_and_lines_come_back(written: dict[str, tuple[Labelled, list[Scene]]]) -> None:
    labelled, scenes = written["roofline"]
    for crop, scene in enumerate(scenes):
        assert np.allclose(labelled.height_NYX[crop], scene.height_YX, atol=0.02)
    inside = [(crop, *line) for crop, scene in enumerate(scenes) for line in scene.lines_L5 if long_inside(line)]
    ridges = [line for line in inside if line[5] == LINES.index("ridge")]
    assert ridges, "these scenes have ridges"
    for crop, x0, y0, x1, y1, kind in ridges:
        same = labelled.lines_LF[(labelled.lines_LF[:, 0] == crop) & (labelled.lines_LF[:, 5] == kind), 1:5]
        turned = np.concatenate([same, same[:, [2, 3, 0, 1]]])
        assert np.abs(turned - (x0, y0, x1, y1)).max(1).min() < 3


def test_airs_outlines_are_exact(written: dict[str, tuple[Labelled, list[Scene]]]) -> None:
    labelled, (scene,) = written["airs"]
    assert np.array_equal(labelled.outline_NYX[0], scene.outline_YX)


def long_inside(line: np.ndarray) -> bool:
    """Whether a line lies within the image and is long enough for a stroke."""
    ends = line[:4]
    return bool(ends.min() > 3 and ends.max() < OPTIONS["side"] - 3 and np.hypot(*(ends[2:] - ends[:2])) > 12)
