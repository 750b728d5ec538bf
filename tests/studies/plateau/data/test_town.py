"""The synthetic town: the same bytes for the same seed, PLATEAU's layout and elements, sound solids, a real town."""

import gzip
import hashlib
import re
import zipfile
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from stepladder.core.types import Source, StudyError
from stepladder.studies.plateau.data.citygml import geo, gml, reader, solids
from stepladder.studies.plateau.data.citygml.gml import Feature
from stepladder.studies.plateau.data.town import town

THEMES = {"bldg", "tran", "veg", "frn", "brid", "luse", "wtr", "dem"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    return town.synthesize(tmp_path_factory.mktemp("town"), tiles=4, seed=0)


@pytest.fixture(scope="module")
def raw(sources: list[Source], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archives, unpacked."""
    folder = tmp_path_factory.mktemp("raw")
    for source in sources:
        with zipfile.ZipFile(archive(source)) as opened:
            opened.extractall(folder)
    return folder


@pytest.fixture(scope="module", params=[(2, 0), (2, 1), (1, 0), (1, 5)], ids=lambda p: f"{p[0]}-tiles-seed-{p[1]}")
def built(request: pytest.FixtureRequest) -> list[Feature]:
    """The features of one town."""
    tiles, seed = request.param
    return town.build(town.towns("543916", tiles)[0], (seed, 0, 0))


def archive(source: Source) -> Path:
    return Path(source.url.removeprefix("file://"))


def gml_files(raw: Path) -> list[Path]:
    return sorted(raw.glob("*/udx/*/*.gml"))


def outlines(features: list[Feature], theme: str) -> list[np.ndarray]:
    """Footprints of buildings (with their parts) or roads."""
    whole = [feature for feature in features if feature.theme == theme]
    pieces = [piece for feature in whole for piece in (feature, *feature.parts) if piece.geometry]
    return [piece.geometry[0].rings[0][:, :2] for piece in pieces]


def area(ring_N2: np.ndarray) -> float:
    x, y = ring_N2.T
    return float(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


# The archive


@pytest.mark.slow
def test_the_same_seed_writes_the_same_bytes_and_another_seed_another_town(tmp_path):
    digests = []
    for folder, seed in (("one", 0), ("again", 0), ("other", 1)):
        found = town.synthesize(tmp_path / folder, tiles=2, seed=seed)
        digests.append([hashlib.sha256(archive(source).read_bytes()).hexdigest() for source in found])
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])


@pytest.mark.slow
def test_an_odd_number_of_tiles_is_divided_between_the_municipalities(tmp_path):
    assert [len(tiles_of(source)) for source in town.synthesize(tmp_path, 3, seed=0)] == [2, 1]


@pytest.mark.parametrize("tiles", [1, 2, 7, 32])
def test_a_municipality_has_as_many_tiles_as_asked_for(tiles):
    for _, _, second in town.MUNICIPALITIES:
        codes = [code for place in town.towns(second, tiles) for code in place.tiles]
        assert len(set(codes)) == len(codes) == tiles
        assert {code[:6] for code in codes} == {second}


def tiles_of(source: Source) -> set[str]:
    return {Path(name).name[:8] for name in zipfile.ZipFile(archive(source)).namelist() if "/udx/bldg/" in name}


@pytest.mark.parametrize("tiles", [-1, 1, 65])
def test_an_impossible_number_of_tiles_is_refused_with_the_limits(tmp_path, tiles):
    with pytest.raises(StudyError, match=f"tiles = {tiles}.* 2 to 64"):
        town.synthesize(tmp_path, tiles, seed=0)


def test_archives_have_plateaus_layout(sources):
    for source, (code, name, _) in zip(sources, town.MUNICIPALITIES, strict=True):
        root = f"{code}_{name}_city_2024_citygml_1_op"
        assert archive(source).name == f"{root}.zip"
        with zipfile.ZipFile(archive(source)) as opened:
            assert opened.testzip() is None
            members = opened.infolist()
        assert {member.compress_type for member in members} == {zipfile.ZIP_DEFLATED}
        wanted = [member.filename for member in members if fnmatch(member.filename, source.members[0])]
        rest = {member.filename for member in members} - set(wanted)
        assert rest and all(re.fullmatch(rf"{root}/codelists/\w+\.xml", path) for path in rest)
        for path in wanted:
            found = re.fullmatch(rf"{root}/udx/(\w+)/(\d+)_(\w+)_6697_op\.gml", path)
            assert found[1] == found[3] in THEMES
            assert len(found[2]) == (6 if found[1] in ("dem", "luse", "wtr") else 8)


def test_a_tile_stays_small(raw):
    weight = Counter()
    for path in gml_files(raw):
        if len(path.name.split("_")[0]) == 8:
            weight[path.name[:8]] += path.stat().st_size
    assert len(weight) == 4
    assert max(weight.values()) < 1.7e6


def test_codes_used_are_in_the_code_lists_delivered(raw):
    lists = {path.stem: set(etree.parse(path).xpath("//*[local-name()='Definition']/*[local-name()='name']/text()"))
             for path in raw.glob("*/codelists/*.xml")}  # fmt: skip
    used = Counter()
    for path in gml_files(raw):
        for element in etree.parse(path).iter():
            name = Path(element.get("codeSpace", "")).stem
            if name in lists:
                assert element.text in lists[name]
                used[name] += 1
    assert set(used) == set(lists)


# The format


def element_paths(path: Path) -> set[str]:
    """Paths of local names below a city object, geometry and all; dates and attributes of the municipality left out."""
    found = set()
    for member in etree.parse(path, etree.XMLParser(huge_tree=True)).getroot().iterfind("{*}cityObjectMember"):
        trail: list[str] = []
        for event, element in etree.iterwalk(member, events=("start", "end")):
            trail = [*trail, etree.QName(element).localname] if event == "start" else trail[:-1]
            if event == "start" and not {"creationDate"} & set(trail):
                found.add("/".join(trail[1:]))
    return found


REAL = (
    "*/udx/bldg/52350301*", "*/udx/bldg/52397519*", "*/udx/bldg/51357309*", "*/udx/tran/52350301*",
    "*/udx/tran/53394503*", "08220*/udx/*/*", "*/udx/brid/*", "*/udx/dem/*", "*/udx/luse/493033*", "*/udx/wtr/*",
)  # fmt: skip


@pytest.mark.slow
def test_elements_are_nested_as_in_real_files(raw, shared_data):
    real = set()
    for pattern in REAL:
        for path in (shared_data / "plateau").glob(pattern):
            with gzip.open(path) as file:
                real |= element_paths(file)
    ours = set().union(*(element_paths(path) for path in gml_files(raw)))
    assert len(ours) > 100
    assert ours - real == set()


def test_every_reference_meets_a_polygon_and_every_id_is_unique(raw):
    for path in gml_files(raw):
        tree = etree.parse(path)
        ids = tree.xpath("//@*[local-name()='id']")
        references = [link[1:] for link in tree.xpath("//@*[local-name()='href']")]
        assert len(ids) == len(set(ids))
        assert set(references) <= set(ids)
        assert len(references) == len(set(references))


def test_the_envelope_holds_every_position(raw):
    for path in gml_files(raw):
        text = path.read_text()
        low, high = (
            np.array(re.search(f"<gml:{side}Corner>([^<]+)", text)[1].split(), float) for side in ("lower", "upper")
        )
        points = np.concatenate(
            [np.array(ring.split(), float).reshape(-1, 3) for ring in re.findall("<gml:posList>([^<]+)", text)]
        )
        assert (points >= low - 5e-4).all() and (points <= high + 5e-4).all()
        np.testing.assert_allclose(points.min(0), low, atol=5e-4)
        assert (np.array([36, 139, -5]) < points).all() and (points < np.array([36.5, 140, 100])).all()


@pytest.mark.slow
def test_the_reader_finds_what_was_written(raw):
    for number, (code, name, second) in enumerate(town.MUNICIPALITIES):
        place = town.towns(second, 2)[0]
        delivered = town.deliver(town.build(place, (0, number, 0)), second)
        folder = raw / f"{code}_{name}_city_2024_citygml_1_op" / "udx"
        assert {str(path.relative_to(folder)) for path in folder.rglob("*.gml")} == set(delivered)
        for path, features in delivered.items():
            read = reader.read(folder / path)
            assert read.issues == ()
            assert read.zone == gml.ZONE
            assert len(read.features) == len(features)
            assert Counter(read.features.kind) == Counter(feature.kind for feature in features)


def test_the_reader_sees_the_levels_of_detail(raw):
    best = reader.read(next(raw.glob("*/udx/tran/54391601*"))).features
    assert set(best.lod) == {1, 3}
    assert (best.flat == (best.lod == 1)).all()
    plain = reader.read(next(raw.glob("*/udx/tran/54391602*"))).features
    assert set(plain.lod) == {1} and plain.flat.all()
    for mesh in ("54391601", "54391602"):
        assert set(reader.read(next(raw.glob(f"*/udx/bldg/{mesh}*"))).features.lod) == {1, 2}


# Solids


def assert_closed(rings: list[np.ndarray]) -> None:
    """Every edge lies in exactly two faces, once in each direction; the volume is positive."""
    edges = Counter()
    volume = 0.0
    for ring in rings:
        points = [tuple(point) for point in ring]
        edges.update(zip(points, [*points[1:], points[0]], strict=True))
        volume += sum(np.linalg.det(triangle - rings[0][0]) for triangle in solids.triangles(ring)) / 6
    assert set(edges.values()) == {1}
    assert all((b, a) in edges for a, b in edges)
    assert volume > 0


@settings(deadline=None)
@given(
    st.sampled_from(["flat", "shed", "gabled", "hipped"]),
    st.floats(0, 6.2), st.floats(8, 30), st.floats(0.3, 1), st.floats(2, 15), st.floats(0.5, 6), st.floats(-10, 500),
)  # fmt: skip
def test_houses_are_closed_for_every_roof(roof, angle, width, ratio, eaves, rise, base):
    outline = solids.rectangle(np.array([31e3, -9e3]), np.array([np.cos(angle), np.sin(angle)]), width, width * ratio)
    faces = solids.house(outline, base, base + eaves, base + eaves + rise, roof)
    assert_closed([ring for rings in faces.values() for ring in rings])
    top = max(ring[:, 2].max() for ring in faces["RoofSurface"])
    assert top == pytest.approx(base + eaves + (0 if roof == "flat" else rise))
    for ring in faces["RoofSurface"]:
        assert area(ring[:, :2]) > 0  # seen from above, counter-clockwise
    cover = sum(area(ring[:, :2]) for ring in faces["RoofSurface"])
    assert cover == pytest.approx(area(outline))
    for rings in faces.values():
        for ring in rings:  # planar
            normal = np.cross(ring[1] - ring[0], ring[2] - ring[0])
            assert np.abs((ring - ring[0]) @ normal / np.linalg.norm(normal)).max() < 1e-6


def test_every_solid_written_is_closed(raw):
    """In the text of the files: solids with polygons of their own, and LOD2 solids through their references."""
    seen = Counter()
    for path in gml_files(raw):
        tree = etree.parse(path)
        polygons = {polygon.get(f"{{{gml.NAMESPACES['gml']}}}id"): polygon for polygon in tree.iter("{*}Polygon")}
        for solid in tree.iter("{*}Solid"):
            own = list(solid.iter("{*}Polygon"))
            linked = [polygons[link[1:]] for link in solid.xpath(".//@*[local-name()='href']")]
            seen["linked" if linked else "own"] += 1
            rings = [ring_of(polygon) for polygon in own or linked]
            origin = rings[0][0].copy()
            assert_closed([(ring - origin) * (1e5, 0.8e5, 1) @ SWAP for ring in rings])
    assert seen["own"] > 500 and seen["linked"] > 100


SWAP = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])  # latitude first is a mirror image


def ring_of(polygon: etree._Element) -> np.ndarray:
    points = np.array(next(polygon.iter("{*}posList")).text.split(), float).reshape(-1, 3)
    assert (points[0] == points[-1]).all()
    return points[:-1]


# The town


def test_every_theme_and_kind_of_building_is_there(built):
    assert {feature.theme for feature in built} == THEMES
    buildings = [feature for feature in built if feature.theme == "bldg"]
    roofs = Counter(len(feature.surfaces["RoofSurface"]) for feature in buildings if feature.surfaces)
    assert set(roofs) == {1, 2, 4}  # flat and shed, gabled, hipped
    assert any(feature.parts for feature in buildings)
    assert 100 < len(buildings) < 400
    assert {code for feature in built for code, _ in feature.areas} == {1000, 1010, 1020, 2000, 5010}


@pytest.mark.slow
def test_buildings_keep_clear_of_each_other_and_of_roads(built):
    def samples(ring: np.ndarray) -> np.ndarray:
        """Points inside a rectangle, a metre apart, a little away from its edges."""
        sides = ring[1] - ring[0], ring[3] - ring[0]
        a, b = (np.linspace(0.03, 0.97, int(np.linalg.norm(side)) + 2) for side in sides)
        return (ring[0] + a[:, None, None] * sides[0] + b[None, :, None] * sides[1]).reshape(-1, 2)

    rings = outlines(built, "bldg")
    points = [samples(ring) for ring in rings]
    owner = np.repeat(np.arange(len(rings)), [len(part) for part in points])
    points = np.concatenate(points)
    for number, ring in enumerate(rings):
        assert not (inside(points, ring) & (owner != number)).any()
    for ring in outlines(built, "tran"):
        assert not inside(points, ring).any()


def inside(points_N2: np.ndarray, ring_M2: np.ndarray) -> np.ndarray:
    """Which points lie in a ring, by the even-odd rule."""
    near_N = ((points_N2 > ring_M2.min(0)) & (points_N2 < ring_M2.max(0))).all(axis=1)
    (ax, ay), (bx, by) = ring_M2.T, np.roll(ring_M2, -1, axis=0).T
    x, y = points_N2[near_N, :1], points_N2[near_N, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = ((ay > y) != (by > y)) & (x < ax + (y - ay) / (by - ay) * (bx - ax))
    near_N[near_N] = crossed.sum(axis=1) % 2 == 1
    return near_N


def test_houses_line_the_roads(built):
    roads = cKDTree(np.concatenate([densified(ring) for ring in outlines(built, "tran")]))
    nearest = roads.query(np.stack(outlines(built, "bldg")))[0].min(axis=1)
    assert np.median(nearest) < 4
    assert np.quantile(nearest, 0.95) < 13


def densified(ring: np.ndarray) -> np.ndarray:
    share = np.linspace(0, 1, 10, endpoint=False)[:, None, None]
    return (ring + share * (np.roll(ring, -1, axis=0) - ring)).reshape(-1, 2)


def test_roads_connect(built):
    """Every road shares at least one end with a crossing, and all hang together."""
    rings = outlines(built, "tran")
    owner = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    pairs = np.array(sorted(cKDTree(np.concatenate(rings)).query_pairs(0.01)))
    matrix = np.zeros((len(rings), len(rings)), bool)
    matrix[owner[pairs[:, 0]], owner[pairs[:, 1]]] = True
    assert connected_components(matrix, directed=False)[0] == 1


def test_outlines_run_counter_clockwise(built):
    for theme in ("bldg", "tran", "luse"):
        assert min(area(ring) for ring in outlines(built, theme)) > 1


def test_footways_run_beside_carriageways_and_lie_higher(built):
    roads = [feature.areas for feature in built if len(feature.areas) > 2]
    assert len(roads) > 5
    for areas in roads:
        footway, carriageway = (np.concatenate([p for c, rings in areas if c in codes for p in rings])
                                for codes in ((2000,), (1000, 1010)))  # fmt: skip
        assert cKDTree(carriageway[:, :2]).query(footway[:, :2])[0].max() < 7
        assert footway[:, 2].mean() - carriageway[:, 2].mean() == pytest.approx(0.15, abs=0.1)


def heights_near(features: list[Feature], theme: str, xy_N2: np.ndarray) -> np.ndarray:
    """Heights of the nearest corners of a theme (LOD3 areas of roads)."""
    points = np.concatenate([ring for f in features if f.theme == theme for ring in f.rings() if ring[:, 2].any()])
    return points[cKDTree(points[:, :2]).query(xy_N2)[1], 2]


def test_buildings_stand_on_the_terrain(built):
    buildings = [piece for f in built if f.theme == "bldg" for piece in (f, *f.parts) if piece.geometry]
    base = np.array([piece.geometry[1].rings[0][0, 2] for piece in buildings])
    below = heights_near(built, "dem", np.stack([piece.geometry[0].rings[0][:, :2] for piece in buildings])).min(axis=1)
    assert np.abs(base - below).max() < 1.5  # a 10 m grid on a slope
    assert np.abs(base - below).mean() < 0.3


def test_the_river_runs_in_its_bed_below_the_streets(built):
    faces = np.stack(next(feature for feature in built if feature.theme == "wtr").rings())
    middle = faces.mean(axis=1)
    assert (heights_near(built, "dem", middle[:, :2]) < middle[:, 2]).all()
    assert np.ptp(faces[..., 2]) > 1  # it falls downstream
    streets = np.concatenate([ring for feature in built for _, rings in feature.areas for ring in rings])
    distance, row = cKDTree(streets[:, :2]).query(middle[:, :2])
    near = distance < 40
    assert near.sum() > 10
    assert (streets[row, 2] > middle[:, 2] + 1.5)[near].all()


def test_the_bridge_carries_its_road_over_the_water(built):
    bridge = np.concatenate(next(feature for feature in built if feature.theme == "brid").rings())
    road = next(feature.areas for feature in built if 1000 in dict(feature.areas))
    lane = np.concatenate(dict(road)[1000])
    water = heights_near(built, "wtr", lane[:, :2])
    assert (lane[:, 2] > water + 1.5).all()
    assert bridge[:, 2].min() < water.min()  # piers
    assert bridge[:, 2].max() - lane[:, 2].max() == pytest.approx(1.0, abs=0.2)  # parapets


def test_straddlers_lie_whole_in_the_tile_of_their_centre(built):
    delivered = town.deliver(built, "543916")
    straddlers = Counter()
    for path, features in delivered.items():
        theme, mesh = path.split("/")[0], path.split("/")[1].split("_")[0]
        south, west, north, east = geo.mesh_bounds(mesh)
        for feature in features:
            lat, lon = gml.to_degrees(np.concatenate(feature.rings())[:, :2]).T
            within = (south < lat) & (lat < north) & (west < lon) & (lon < east)
            assert within.any()
            straddlers[theme] += not within.all()
            if theme not in town.WIDE:
                assert np.abs(lon - np.clip(lon, west, east)).max() < 100 / 9e4  # reaches over by less than 100 m
    two = len({path for path in delivered if path.startswith("bldg")}) == 2
    assert straddlers["bldg"] >= 2 or not two
    assert straddlers["tran"] >= 2 or not two
    assert not any(straddlers[theme] for theme in town.WIDE)
