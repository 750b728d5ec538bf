"""OBJ reader: coordinate system, classes by name, and Yokosuka's real files against counts of their lines."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from stepladder.studies.plateau.data.citygml.classes import BY_NAME, FINE
from stepladder.studies.plateau.data.citygml.obj import read_obj
from stepladder.studies.plateau.data.citygml.raw import RawFileError

NAMES = {c.id: c.name for c in FINE}
HEAD = '# COORDINATE_SYSTEM: PROJCS["Japan IX",GEOGCS["JGD2011",AUTHORITY["EPSG","6668"]],AUTHORITY["EPSG","6677"]]\n'
CUBE = [(x, y, z) for z in (0, 3) for y in (0, 2) for x in (0, 1)]
FACES = [(1, 3, 4, 2), (5, 6, 8, 7), (1, 2, 6, 5), (2, 4, 8, 6), (4, 3, 7, 8), (3, 1, 5, 7)]


def write(folder: Path, corners: list, faces: list, name: str = "B_house.obj", head: str = HEAD) -> Path:
    """An OBJ file."""
    lines = [f"v {x} {y} {z}" for x, y, z in corners] + ["f " + " ".join(map(str, face)) for face in faces]
    path = folder / name
    path.write_text(head + "\n".join(lines) + "\n")
    return path


def issues(read) -> dict[str, int]:
    """How many of each kind were skipped or repaired."""
    return {issue.kind: issue.count for issue in read.issues}


def test_a_building_keeps_its_coordinates_and_is_labelled_by_normal(tmp_path):
    read = read_obj(write(tmp_path, CUBE, FACES))
    assert read.zone == 6677 and issues(read) == {}
    counts = {NAMES[label]: count for label, count in zip(*np.unique(read.label_N, return_counts=True), strict=True)}
    assert counts == {"roof": 2, "building base": 2, "wall": 8}
    row = read.features.iloc[0]
    assert (row.theme, row.kind, row.lod) == ("bldg", "Building", -1)
    assert (row.x_min, row.x_max, row.y_max, row.z_max) == (0, 1, 2, 3)


def test_separate_parts_are_features(tmp_path):
    corners = [(x + 10 * copy, y, z) for copy in range(3) for x, y, z in CUBE]
    faces = [tuple(corner + 8 * copy for corner in face) for face in FACES for copy in range(3)]
    read = read_obj(write(tmp_path, corners, faces))
    assert len(read.features) == 3 and np.bincount(read.feature_N).tolist() == [12] * 3
    assert sorted(read.features.x_min) == [0, 10, 20] and read.features.id.is_unique


@pytest.mark.parametrize(
    ("name", "theme", "label"),
    [("L_road.obj", "tran", "road"), ("L_green.obj", "veg", "planting"), ("L_wSurf.obj", "wtr", "water")],
)
def test_the_name_says_the_class(tmp_path, name, theme, label):
    read = read_obj(write(tmp_path, CUBE[:4], [(1, 2, 4), (1, 4, 3)], name))
    assert set(read.label_N.tolist()) == {BY_NAME[label].id} and read.features.theme[0] == theme


def test_an_unknown_name_is_taken_for_buildings_and_counted(tmp_path):
    read = read_obj(write(tmp_path, CUBE, FACES, "thing.obj"))
    assert issues(read) == {"class not in the file's name, taken for buildings": 1}


def test_relative_and_textured_corners(tmp_path):
    faces = ["-8/1/1 -6/2/1 -5/3/1 -7/4/1", *[" ".join(map(str, face)) for face in FACES[1:]]]
    read = read_obj(write(tmp_path, CUBE, [(face,) for face in faces]))
    assert len(read.triangles_N33) == 12 and issues(read) == {}


def test_bad_faces_are_left_out_and_counted(tmp_path):
    corners = [*CUBE, ("nan", 0, 0)]
    faces = [*FACES[1:], (1, 3, 99), (1, 2, 9), (1, 2), (1, 1, 2)]
    read = read_obj(write(tmp_path, corners, faces))
    assert len(read.triangles_N33) == 10
    assert issues(read) == {
        "face with a corner the file does not hold": 1,
        "polygon with a coordinate that is not a number": 1,
        "degenerate polygon": 2,
        "solid not closed, kept": 1,
    }


def test_an_empty_file_is_empty(tmp_path):
    read = read_obj(write(tmp_path, [], []))
    assert len(read.features) == 0 and issues(read) == {"empty tile": 1} and read.zone == 6677


@pytest.mark.parametrize("head", ["", '# AUTHORITY["EPSG","4326"]\n'])
def test_a_file_without_a_zone_is_refused_unless_it_is_given(tmp_path, head):
    path = write(tmp_path, CUBE, FACES, head=head)
    with pytest.raises(RawFileError, match=r"B_house\.obj.*give `zone`"):
        read_obj(path)
    assert read_obj(path, 6674).zone == 6674


@pytest.mark.drill
def test_a_cut_line_is_a_named_error_with_its_number(tmp_path):
    path = write(tmp_path, CUBE, FACES)
    text = path.read_text()
    path.write_text(text[: text.index("v 1 2 3") + 4])
    with pytest.raises(RawFileError, match="line 9"):
        read_obj(path)


@pytest.mark.drill
def test_a_cut_gzip_file_is_a_named_error(tmp_path):
    path = tmp_path / "B_house.obj.gz"
    path.write_bytes(gzip.compress(write(tmp_path, CUBE, FACES).read_bytes())[:-12])
    with pytest.raises(RawFileError, match="fetch the file again"):
        read_obj(path)


@pytest.mark.slow
def test_every_real_file_reads(shared_data):
    paths = sorted((shared_data / "plateau/14201_yokosuka/obj").glob("*.obj.gz"))
    assert len(paths) == 7
    for path in paths:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        faces = sum(line.startswith("f ") for line in lines)
        read = read_obj(path)
        assert read.zone == 6677
        # Every face is a triangle; what is missing are slivers below a square millimetre, counted.
        assert len(read.triangles_N33) + issues(read).get("degenerate polygon", 0) == faces
        corners = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], dtype=float)
        np.testing.assert_allclose(read.features.z_max.max(), corners[:, 2].max(), atol=0.05)
