"""Pictures of volumes: labelled axes, errors in the right colours, few enough triangles."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from stepladder.core.types import ShardContent
from stepladder.data import shards
from stepladder.studies.scroll.data.distance import squared_distance
from stepladder.studies.scroll.pictures import scenes
from stepladder.view import render, web
from stepladder.view.style import MODEL
from tests.studies.scroll import small_sheets


def plates(*heights, shape=(24, 20, 22)):
    mask = np.zeros(shape, dtype=bool)
    for z in heights:
        mask[z : z + 2, 3:-3, 3:-3] = True
    return mask


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_a_preview_shows_image_and_label_in_three_planes():
    image, label = small_sheets.volume()
    figure = scenes.preview({"image_ZYX": image, "label_ZYX": label})
    axes = figure.axes
    assert len(axes) == 6 and all("voxels" in axis.get_xlabel() and "voxels" in axis.get_ylabel() for axis in axes)
    greys = [axis.images[0].get_clim() for axis in axes]
    assert len(set(greys)) == 1 and [len(axis.images) for axis in axes] == [1, 1, 1, 3, 3, 3]
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"labelled sheet", "not labelled"}


def test_the_montage_adds_prediction_and_distance():
    image, label = small_sheets.volume((12, 16, 20))
    figure = scenes.volume_figure(image, label, label == 1, squared_distance(label == 1, 64))
    titles = [axis.get_title() or axis.get_title("left") for axis in figure.axes]
    assert sum("distance" in title for title in titles) == 1 and sum("prediction" in title for title in titles) == 1
    assert [axis.images[0].get_array().shape for axis in figure.axes[:3]] == [(16, 20), (12, 20), (12, 16)]
    told = {text.get_text() for text in figure.legends[0].get_texts()}
    assert told == {"labelled sheet", "predicted sheet", "not labelled"}


def test_labels_and_predictions_have_colours_of_their_own():
    image, label = small_sheets.volume()
    both = scenes.scenes({"image_ZYX": image, "label_ZYX": label}, {"mask_BZYX": torch.from_numpy(label == 1)[None]})
    truth, guess = (panel.items[0].palette[0] for panel in both["surfaces"].drawing.panels)
    assert guess == ("predicted sheet", MODEL) and truth[0] == "labelled sheet" and truth[1] != MODEL


def test_a_machine_without_pyvista_gets_the_same_surface_and_few_enough_triangles(monkeypatch):
    points, faces = scenes.triangles(plates(6, 14))
    monkeypatch.setattr(scenes, "find_spec", lambda name: None)
    others, cubes = scenes.triangles(plates(6, 14))
    assert np.allclose(others.min(0), points.min(0), atol=0.2) and np.allclose(others.max(0), points.max(0), atol=0.2)

    def volume(points, faces):  # by the divergence theorem: positive where faces look outwards
        a, b, c = np.moveaxis(points[faces], 1, 0)
        return (a * np.cross(b, c)).sum() / 6

    assert volume(others, cubes) == pytest.approx(volume(points, faces), rel=0.05)
    monkeypatch.setattr(scenes, "MOST_TRIANGLES", len(cubes) // 3)
    assert 0 < len(scenes.triangles(plates(6, 14))[1]) <= len(cubes) // 3


def test_a_surface_lies_on_its_mask():
    mesh = scenes.surface(plates(10))
    low, high = mesh.points_N3.min(0), mesh.points_N3.max(0)
    assert np.allclose(low, (3, 3, 10), atol=1.0) and np.allclose(high, (18, 16, 11), atol=1.0)
    assert mesh.faces_M3.max() < len(mesh.points_N3)


def test_an_empty_mask_has_an_empty_surface():
    assert len(scenes.surface(np.zeros((5, 5, 5), dtype=bool)).faces_M3) == 0


def test_large_surfaces_are_thinned(monkeypatch):
    whole = len(scenes.surface(plates(4, 12)).faces_M3)
    monkeypatch.setattr(scenes, "MOST_TRIANGLES", whole // 4)
    assert 0 < len(scenes.surface(plates(4, 12)).faces_M3) <= whole // 4


def test_errors_are_false_missed_or_hit_where_they_are():
    mesh = scenes.errors(plates(3, 11), plates(4, 18))
    z = mesh.points_N3[mesh.faces_M3].mean(1)[:, 2]
    assert set(mesh.category_M[z > 16]) == {scenes.FALSE}
    assert set(mesh.category_M[(z > 9) & (z < 15)]) == {scenes.MISSED}
    assert set(mesh.category_M[z < 8]) == {scenes.HIT}


def test_scenes_with_and_without_a_prediction():
    image, label = small_sheets.volume()
    sample = {"image_ZYX": image, "label_ZYX": label}
    assert list(scenes.scenes(sample, None)) == ["surfaces"]
    both = scenes.scenes(sample, {"mask_BZYX": torch.from_numpy(label == 1)[None]})
    assert list(both) == ["surfaces", "errors"] and len(both["surfaces"].drawing.panels) == 2
    (wrong,) = both["errors"].drawing.panels[0].items
    assert set(wrong.category_M) == {scenes.HIT}


@pytest.mark.slow
def test_scenes_render_to_pictures_and_pages(tmp_path):
    image, label = small_sheets.volume()
    prediction = {"mask_BZYX": torch.from_numpy(image > 0.5)[None]}
    for name, picture in scenes.scenes({"image_ZYX": image, "label_ZYX": label}, prediction).items():
        render.render(picture.drawing, tmp_path / f"{name}.png", (300, 200))
        web.save_html(picture.drawing, tmp_path / f"{name}.html")
    assert all(check.ok for check in web.checks(tmp_path))


def test_the_overview_frames_every_volume_in_the_colour_of_its_split(tmp_path):
    paths = []
    for number, group in enumerate(("scroll_1", "scroll_1", "scroll_2")):
        image, label = small_sheets.volume(seed=number)
        grey = np.clip(60 * image + 128, 0, 255).astype(np.uint8)
        content = ShardContent({"image_ZYX": grey, "label_ZYX": label.astype(np.uint8)}, attributes={"group": group})
        shards.write(path := tmp_path / f"v{number}.h5", content, "recipe")
        paths.append(path)
    pictures = scenes.figures(paths, {"train": ["v0"], "validation": ["v1"], "test": ["v2"]})
    assert set(pictures) == {"slices", "sheets"}
    frames = [axis.spines["left"].get_edgecolor()[:3] for axis in pictures["slices"].drawing.axes]
    assert frames == [plt.matplotlib.colors.to_rgb(colour) for colour in scenes.SPLIT_COLOURS.values()]
    assert [panel.title for panel in pictures["sheets"].drawing.panels] == ["v0", "v2", "v1"]  # every scroll first


def test_the_overview_of_many_volumes_reads_one_slice_of_some(tmp_path, monkeypatch):
    paths, label = [], np.zeros((6, 8, 8), dtype=np.uint8)
    label[3, 2:4], label[0] = 1, 2  # label 2 lies outside the slice that is shown
    for number in range(5):
        grey = np.random.default_rng(number).integers(0, 255, label.shape).astype(np.uint8)
        content = ShardContent({"image_ZYX": grey, "label_ZYX": label}, attributes={"group": f"scroll_{number // 2}"})
        shards.write(path := tmp_path / f"v{number}.h5", content, "recipe")
        paths.append(path)
    monkeypatch.setattr(scenes, "MOST_SLICES", 3)
    figure = scenes.overview(paths, {"train": [], "validation": [], "test": []})
    assert [axis.get_title().split()[0] for axis in figure.axes] == ["v0", "v2", "v4"]
    assert "3 of 5 volumes" in figure.get_suptitle()
    assert "not labelled" not in {text.get_text() for text in figure.legends[0].get_texts()}
