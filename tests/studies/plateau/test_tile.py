"""Tiles: what is found, what is parsed, and that neighbours agree where they overlap."""

import gzip
import shutil
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from stepladder.studies.plateau import assets, cache, citygml, geo, town
from stepladder.studies.plateau.params import PlateauConversion, PlateauData, PlateauModel, PlateauParams
from stepladder.study import StudyError

QUICK = PlateauConversion(voxel_m=0.8)
SMALL = PlateauModel(window=[80, 80, 8])


def params(conversion=QUICK, **data):
    return PlateauParams(study="plateau", conversion=conversion, data=PlateauData(**data), model=SMALL)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """The synthetic town's raw folder: two municipalities of two tiles."""
    folder = tmp_path_factory.mktemp("town")
    for source in town.synthesize(folder / "zips", 4, seed=0):
        with zipfile.ZipFile(source.url.removeprefix("file://")) as archive:
            archive.extractall(folder / "raw" / source.folder)
    return folder / "raw"


def test_tiles_are_found_with_their_files_neighbours_and_place(raw):
    found = assets.assets([raw], params())
    assert len(found) == 4 and len({asset.group for asset in found}) == 2
    one, two = (asset for asset in found if asset.group == found[0].group)
    assert one.files[0].name.startswith(f"{one.meta['mesh']}_bldg"), "buildings first"
    themes = {path.name.split("_")[1] for path in one.files}
    assert {"bldg", "tran", "dem", "luse", "wtr", "veg"} <= themes, "files by second mesh are the tile's own too"
    assert {path.name[:8] for path in one.neighbours} == {two.meta["mesh"]}
    assert set(two.files) & set(one.neighbours) and not set(one.files) & set(one.neighbours)
    x_min, y_min, x_max, y_max = one.region
    assert 1000 < x_max - x_min < 1200 and 900 < y_max - y_min < 960
    south, west, north, east = geo.mesh_bounds(one.meta["mesh"])
    x, y = geo.projector(one.meta["zone"])([(south + north) / 2], [(west + east) / 2])
    assert x_min < x[0] < x_max and y_min < y[0] < y_max
    assert assets.missing(one).count == 14, "seven of the eight neighbours, each with buildings and roads"


def test_cities_tiles_and_themes_narrow_what_is_converted_but_not_who_is_a_neighbour(raw):
    every = assets.assets([raw], params())
    city, mesh = every[0].group, every[0].meta["mesh"]
    assert [asset.id for asset in assets.assets([raw], params(cities=[city]))] == [
        a.id for a in every if a.group == city
    ]
    (only,) = assets.assets([raw], params(tiles=[mesh]))
    assert only.id == f"{city}_{mesh}" and only.neighbours == every[0].neighbours
    (bare,) = assets.assets([raw], params(tiles=[mesh], themes=["bldg"]))
    assert [path.name.split("_")[1] for path in bare.files] == ["bldg"]


def test_neighbours_are_found_across_cities_and_folders(tmp_path):
    mesh, east = "53394525", "53394526"
    for folder, name in [
        ("a/13101_chiyoda-ku_city_2024_citygml_1_op/udx/bldg", f"{mesh}_bldg_6697_op.gml"),
        ("b/13102_chuo-ku/udx/bldg", f"{mesh}_bldg_6697_op.gml.gz"),
        ("b/13102_chuo-ku/udx/bldg", f"{east}_bldg_6697_2_op.gml"),
        ("b/13102_chuo-ku/udx/tran", f"{east}1_tran_6697_op.gml"),
        ("b/13102_chuo-ku/udx/dem", "533945_dem_6697_05_op.gml"),
        ("b/13102_chuo-ku/udx/bldg", "notes_bldg.gml"),
        ("b/no-city/udx/bldg", f"{mesh}_bldg_6697_op.gml"),
    ]:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).touch()
    found = {asset.id: asset for asset in assets.assets([tmp_path / "a", tmp_path / "b"], params())}
    assert sorted(found) == [f"13101_{mesh}", f"13102_{mesh}", f"13102_{east}"]
    assert [path.name for path in found[f"13102_{east}"].files] == [
        f"{east}_bldg_6697_2_op.gml",
        f"{east}1_tran_6697_op.gml",
        "533945_dem_6697_05_op.gml",
    ]
    assert len(found[f"13101_{mesh}"].neighbours) == 4, "the other city's tile, its neighbour and its terrain"


def test_a_file_is_parsed_once_and_comes_out_of_the_cache_the_same(raw, tmp_path, monkeypatch):
    asset = assets.assets([raw], params())[0]
    path, zone = asset.files[0], asset.meta["zone"]
    fresh = cache.surfaces_of(path, zone, asset.region, None)
    stored = cache.surfaces_of(path, zone, asset.region, tmp_path)
    monkeypatch.setattr(citygml, "read", None)
    kept = cache.surfaces_of(path, zone, asset.region, tmp_path)
    for other in (stored, kept):
        assert np.array_equal(fresh.triangles_N33, other.triangles_N33)
        assert np.array_equal(fresh.label_N, other.label_N)
        assert fresh.features.equals(other.features) and fresh.issues == other.issues


def test_a_wide_file_is_kept_in_pieces_that_hold_every_triangle_once(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PIECE_M", 200.0)
    path = next(path for path in assets.assets([raw], params())[0].files if "_dem_" in path.name)
    whole = citygml.read(path, 6677)
    everywhere = (-1e9, -1e9, 1e9, 1e9)
    pieces = cache.surfaces_of(path, 6677, everywhere, tmp_path)
    assert len(list(tmp_path.rglob("*.npz"))) > 1

    def rows(surfaces):
        return np.unique(surfaces.triangles_N33.reshape(-1, 9), axis=0)

    assert len(pieces.triangles_N33) == len(whole.triangles_N33) and np.array_equal(rows(pieces), rows(whole))
    x, y = whole.triangles_N33[..., 0].mean(), whole.triangles_N33[..., 1].mean()
    box = (x - 50, y - 50, x + 50, y + 50)
    near = cache.surfaces_of(path, 6677, box, tmp_path)
    lower, upper = whole.triangles_N33[..., :2].min(axis=1), whole.triangles_N33[..., :2].max(axis=1)
    meets = (lower <= box[2:]).all(axis=1) & (upper >= box[:2]).all(axis=1)
    wanted = {row.tobytes() for row in whole.triangles_N33[meets]}
    assert wanted <= {row.tobytes() for row in near.triangles_N33}, "nothing near is left out"
    assert len(near.triangles_N33) < len(whole.triangles_N33)


@pytest.mark.slow
def test_processes_that_need_the_same_file_share_one_parse(raw, tmp_path):
    asset = assets.assets([raw], params())[0]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        tasks = [pool.submit(cache.surfaces_of, asset.files[0], 6677, asset.region, tmp_path) for _ in range(2)]
        one, two = (task.result() for task in tasks)
    assert np.array_equal(one.triangles_N33, two.triangles_N33)
    assert len(list(tmp_path.rglob("index.json"))) == 1 and not list(tmp_path.rglob("*.part"))


@pytest.mark.drill
def test_a_cache_entry_that_was_cut_short_is_made_anew(raw, tmp_path):
    asset = assets.assets([raw], params())[0]
    fresh = cache.surfaces_of(asset.files[0], 6677, asset.region, tmp_path)
    (index,) = tmp_path.rglob("index.json")
    index.unlink()  # what a kill between the pieces and the index leaves behind
    again = cache.surfaces_of(asset.files[0], 6677, asset.region, tmp_path)
    assert np.array_equal(fresh.triangles_N33, again.triangles_N33) and index.exists()
