"""Tiles: what is found, what is parsed, and that neighbours agree where they overlap."""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from stepladder.core.types import Asset, ShardContent, StudyError
from stepladder.studies.plateau.data.citygml import geo, reader
from stepladder.studies.plateau.data.citygml.classes import BY_NAME, EMPTY, TO_OCC3D
from stepladder.studies.plateau.data.samples import windows
from stepladder.studies.plateau.data.tiles import assets, cache, tile
from tests.studies.plateau.town_tiles import params, unpack


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return unpack(tmp_path_factory.mktemp("town"))


@pytest.fixture(scope="module")
def pair(raw):
    """Two neighbouring tiles of the town and their shards' content."""
    found = assets.assets([raw], params())[:2]
    return [(asset, tile.convert(asset, params())) for asset in found]


def together(one: Asset, two: Asset) -> Asset:
    """Both tiles as if they were one."""
    files = tuple(dict.fromkeys((*one.files, *two.files)))
    others = tuple(path for path in dict.fromkeys((*one.neighbours, *two.neighbours)) if path not in files)
    region = (*np.minimum(one.region, two.region)[:2], *np.maximum(one.region, two.region)[2:])
    return replace(one, id="both", files=files, neighbours=others, region=tuple(map(float, region)))


def same_where_both_are(one: ShardContent, two: ShardContent) -> int:
    """Assert that two grids hold the same voxels in the columns they share; the number of such columns."""
    start = np.maximum(one.attributes["origin"], two.attributes["origin"])
    ends = [np.add(part.attributes["origin"], part.arrays["base_XY"].shape) for part in (one, two)]
    size = np.minimum(*ends) - start
    assert (size > 0).all()
    cuts = [
        np.s_[x : x + size[0], y : y + size[1]]
        for x, y in (start - np.array(c.attributes["origin"]) for c in (one, two))
    ]
    for name in ("base_XY", "voxels_XYL"):
        differ = one.arrays[name][cuts[0]] != two.arrays[name][cuts[1]]
        assert not differ.any(), f"{name}: {differ.mean():.2e} of the shared part differs"
    return int(size.prod())


def window(content: ShardContent, pose_T4: np.ndarray) -> np.ndarray:
    grid = content.arrays["voxels_XYL"], content.arrays["base_XY"], content.attributes["origin"]
    return windows.cut(*grid, pose_T4, (80, 80, 8), content.attributes["voxel_m"], -1.0, TO_OCC3D)


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
    monkeypatch.setattr(reader, "read", None)
    kept = cache.surfaces_of(path, zone, asset.region, tmp_path)
    for other in (stored, kept):
        assert np.array_equal(fresh.triangles_N33, other.triangles_N33)
        assert np.array_equal(fresh.label_N, other.label_N)
        assert fresh.features.equals(other.features) and fresh.issues == other.issues


def test_a_wide_file_is_kept_in_pieces_that_hold_every_triangle_once(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PIECE_M", 200.0)
    path = next(path for path in assets.assets([raw], params())[0].files if "_dem_" in path.name)
    whole = reader.read(path, 6677)
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


def test_a_converted_tile_holds_the_city_and_says_what_it_is(pair):
    asset, content = pair[0]
    assert content.arrays["voxels_XYL"].dtype == np.uint8 and content.arrays["base_XY"].dtype == np.int16
    facts = content.attributes
    for name in ("road", "wall", "roof", "terrain", "tree", "footway", "water", "bridge deck"):
        assert facts["voxels"][name] == (content.arrays["voxels_XYL"] == BY_NAME[name].id).sum() > 100, name
    assert 2 < facts["road_km"] < 5 and facts["group"] == asset.group and facts["ground"] == "terrain model"
    assert [source["name"] for source in facts["sources"]] == [path.name for path in asset.files]
    assert all(len(source["sha256"]) == 64 for source in facts["sources"])
    assert "Public Data License" in facts["licence"] and "PLATEAU" in facts["attribution"]
    assert len(content.compressed["centre_L2"]) == len(content.compressed["branch_L"]) > 100


def test_drives_stay_in_their_tile_on_its_roads_and_on_top_of_the_bridge(pair):
    asset, content = pair[0]
    pose_P4, (x_min, y_min, x_max, y_max) = content.arrays["pose_P4"], asset.region
    assert len(content.arrays["clip_C"]) > 20
    assert (pose_P4[:, 0] >= x_min).all() and (pose_P4[:, 0] < x_max).all()
    assert (pose_P4[:, 1] >= y_min).all() and (pose_P4[:, 1] < y_max).all()
    occ_PXYZ = window(content, pose_P4)
    below = occ_PXYZ[:, 39:41, 39:41, :3]  # from 1.0 m below the wheels to 1.4 m above
    assert (below == 11).any(axis=(1, 2, 3)).mean() > 0.97, "driveable surface under the wheels"
    body = occ_PXYZ[:, 39:41, 39:41, 3:5]  # 1.4 to 3.0 m up
    assert (body == EMPTY).all(axis=(1, 2, 3)).mean() > 0.97, "nothing where the car is"
    climb = np.diff(pose_P4[:, 2])[np.diff(content.arrays["path_P"]) == 0]
    assert np.abs(climb).max() < 1.0, "no jump between the river and the bridge"


def test_neighbouring_tiles_agree_where_they_overlap(pair):
    (_, one), (_, two) = pair
    assert same_where_both_are(one, two) > 150 * 900


@pytest.mark.slow
def test_tiles_converted_together_are_the_tiles_converted_apart(pair, tmp_path):
    (one, first), (two, second) = pair
    both = tile.convert(together(one, two), params(), tmp_path)
    assert same_where_both_are(first, both) == first.arrays["base_XY"].size
    assert same_where_both_are(second, both) == second.arrays["base_XY"].size
    pose_T4 = first.arrays["pose_P4"][::97]
    assert np.array_equal(window(first, pose_T4), window(both, pose_T4))


@pytest.mark.slow
def test_a_tile_does_not_depend_on_the_cache_or_on_what_was_converted_before(pair, tmp_path):
    asset, content = pair[1]
    tile.convert(pair[0][0], params(), tmp_path)
    again = tile.convert(asset, params(), tmp_path)
    for name, array in content.arrays.items():
        assert np.array_equal(array, again.arrays[name]), name
    assert content.attributes == again.attributes and content.issues == again.issues


@pytest.mark.drill
def test_a_broken_neighbour_is_counted_and_a_broken_tile_is_an_error(raw, tmp_path):
    asset = assets.assets([raw], params())[0]
    broken = tmp_path / next(path.name for path in asset.neighbours if "_bldg_" in path.name)
    broken.write_bytes(b"<core:CityModel")
    others = tuple(broken if path.name == broken.name else path for path in asset.neighbours)
    box = (*asset.region[:2], asset.region[0] + 100, asset.region[1] + 100)
    issues = {issue.kind: issue for issue in tile.surfaces_in(box, replace(asset, neighbours=others)).issues}
    assert issues["neighbour cannot be read"].count == 1
    assert broken.name in issues["neighbour cannot be read"].example
    with pytest.raises(StudyError, match=broken.name):
        tile.convert(replace(asset, files=(broken, *asset.files[1:])), params())


@pytest.mark.slow
def test_a_tile_without_roads_has_a_city_but_no_drives(raw):
    asset = next(iter(assets.assets([raw], params(themes=["bldg", "dem"]))))
    content = tile.convert(asset, params(themes=["bldg", "dem"]))
    assert content.attributes["voxels"]["wall"] > 1000 and content.attributes["road_km"] == 0
    assert len(content.arrays["clip_C"]) == 0 and content.arrays["pose_P4"].shape == (0, 4)


def shared_data() -> Path:
    folder = Path(os.environ.get("STEPLADDER_SHARED_DATA", Path(__file__).parents[5] / "shared" / "data")) / "plateau"
    if not folder.exists():
        pytest.skip("real PLATEAU files are not here: set STEPLADDER_SHARED_DATA")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("city", "meshes"),
    [("27100_osaka", ("51357354", "51357364")), ("20202_matsumoto", ("54372798", "54372799"))],
)
def test_real_tiles_converted_together_are_the_tiles_converted_apart(city, meshes, tmp_path):
    settings = params(tiles=list(meshes))
    one, two = assets.assets([shared_data() / city], settings)
    first, second, both = (tile.convert(asset, settings, tmp_path) for asset in (one, two, together(one, two)))
    assert same_where_both_are(first, second) > 0
    assert same_where_both_are(first, both) == first.arrays["base_XY"].size
    assert same_where_both_are(second, both) == second.arrays["base_XY"].size
