"""Roofs in space: closed meshes of the right height and volume, whatever the plan; files other programs read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.labels import LINES
from stepladder.studies.roofs.data.synthesis import scene as scenes
from stepladder.studies.roofs.models.vector import roofs, solid
from stepladder.view.scene import Mesh
from tests.studies.roofs.models.vector.test_roofs import GSD, PITCH, gable, perfect

RISE = 4.0 * np.tan(np.radians(PITCH))  # metres from eave to ridge of `gable`


@pytest.fixture
def house() -> solid.Solid:
    return solid.solid(roofs.vectorise(gable(), GSD)[0], GSD)


def test_a_gable_roof_is_a_closed_prism(house: solid.Solid):
    mesh = solid.mesh(house)
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(16 * 8 * (5 + RISE / 2), rel=0.01)
    assert house.points_N3[:, 2].max() == pytest.approx(5 + RISE, abs=0.02) and house.points_N3[:, 2].min() == 0


def test_ridge_and_eaves_lie_at_their_heights(house: solid.Solid):
    height = {kind: ends[:, 2] for kind, ends in house.lines if LINES[kind] in ("ridge", "eave")}
    assert height[LINES.index("ridge")] == pytest.approx([5 + RISE] * 2, abs=0.02)
    assert height[LINES.index("eave")] == pytest.approx([5, 5], abs=0.02)


def test_north_is_up_and_triangles_know_their_face(house: solid.Solid):
    assert house.points_N3[:, 1].max() <= 0 and set(house.face_M.tolist()) == {-1, 0, 1}
    roof = house.triangles_M3[house.part_M == solid.FACE]
    normal = np.cross(*(house.points_N3[roof[:, k]] - house.points_N3[roof[:, 0]] for k in (1, 2)))
    assert (normal[:, 2] > 0).all()


def test_without_heights_eaves_lie_at_the_usual_wall():
    bare = {name: value for name, value in gable().items() if name not in ("rise_YX", "height_YX")}
    house = solid.solid(roofs.vectorise(bare, GSD)[0], GSD)
    levels = np.unique(house.points_N3[:, 2].round(2))
    assert levels == pytest.approx([0, solid.WALL, solid.WALL + RISE], abs=0.03)


def test_faces_that_disagree_still_meet():
    prediction = gable()
    prediction["slope_GYX"][1, 60:80] *= 1.2
    (roof,) = roofs.vectorise(prediction, GSD)
    assert solid.mesh(solid.solid(roof, GSD)).is_watertight


@pytest.mark.parametrize("seed", range(4))
def test_every_roof_of_a_scene_is_closed(seed: int):
    scene = scenes.make(np.random.default_rng(seed), 256, 0.1)
    for roof in roofs.vectorise(perfect(scene), scene.gsd):
        mesh = solid.mesh(solid.solid(roof, scene.gsd))
        assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0


@pytest.mark.parametrize("seed", range(2))
def test_heights_of_a_scene_come_back(seed: int):
    scene = scenes.make(np.random.default_rng(40 + seed), 256, 0.1)
    main = max(roofs.vectorise(perfect(scene), scene.gsd), key=lambda roof: roof.outline.area)
    top = solid.solid(main, scene.gsd).points_N3[:, 2].max()
    truth = np.nanmax(np.where(scene.centre_YX == 1, scene.rise_YX, np.nan)) + main.eave
    assert top == pytest.approx(truth, abs=0.5)


@pytest.mark.parametrize("name", ["roof.glb", "roof.obj"])
def test_other_programs_read_what_is_written(house: solid.Solid, name: str, tmp_path: Path):
    path = solid.export([house, house], tmp_path / name)
    loaded = trimesh.load_scene(path)
    up = 1 if name.endswith("glb") else 2
    low, high = loaded.bounds
    assert high[up] == pytest.approx(5 + RISE, abs=0.02) and low[up] == pytest.approx(0, abs=1e-6)
    whole = loaded.to_mesh()
    whole.merge_vertices(merge_tex=True, merge_norm=True)
    assert [path.name for path in tmp_path.iterdir()] == [name] and len(whole.faces) > 0


def test_a_single_obj_is_closed_when_read_again(house: solid.Solid, tmp_path: Path):
    again = trimesh.load_mesh(solid.export([house], tmp_path / "roof.obj"))
    again.merge_vertices(merge_tex=True, merge_norm=True)
    assert again.is_watertight and again.volume == pytest.approx(solid.mesh(house).volume, rel=1e-3)


@pytest.mark.parametrize(("name", "some", "said"), [("roof.stl", True, "glb"), ("roof.glb", False, "no roof")])
def test_what_cannot_be_written_is_refused(name: str, some: bool, said: str, house: solid.Solid, tmp_path: Path):
    with pytest.raises(StudyError, match=said):
        solid.export([house] if some else [], tmp_path / name)


def test_a_roof_without_lines_is_a_closed_box():
    (roof,) = roofs.vectorise({"outline_YX": gable()["outline_YX"]}, GSD)
    mesh = solid.mesh(solid.solid(replace(roof, lines=()), GSD))
    assert mesh.is_watertight and mesh.volume == pytest.approx(128 * solid.WALL, rel=0.01)


def test_roofs_are_drawn_with_their_edges(house: solid.Solid):
    body, *edges = solid.drawn([house, house])
    assert isinstance(body, Mesh) and body.faces_M3.max() < len(body.points_N3) == 2 * len(house.points_N3)
    assert sorted(item.name for item in edges) == ["eave", "gable", "ridge"] and solid.drawn([]) == ()
