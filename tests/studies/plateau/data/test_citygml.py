"""CityGML reader: every rule on a small file, every refusal, and the real files against counts made another way."""

import gzip
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stepladder.core.types import StudyError
from stepladder.studies.plateau.data.citygml import reader, rings
from stepladder.studies.plateau.data.citygml.classes import FINE
from stepladder.studies.plateau.data.citygml.raw import RawFileError
from tests.studies.plateau.city_model import (
    block,
    box,
    building,
    document,
    nest,
    numbers,
    polygon,
    solid,
    square,
    surface,
    write,
)

NAMES = {c.id: c.name for c in FINE}
WALL = [(0, 0, 2), (10, 0, 2), (10, 0, 8), (0, 0, 8)]


def labels(surfaces) -> dict[str, int]:
    """Triangles of each class."""
    return dict(Counter(NAMES[label] for label in surfaces.label_N.tolist()))


def issues(surfaces) -> dict[str, int]:
    """How many of each kind were skipped or repaired."""
    return {issue.kind: issue.count for issue in surfaces.issues}


def area(triangles_N33: np.ndarray) -> float:
    """Total area in square metres."""
    a, b, c = triangles_N33.transpose(1, 0, 2)
    return float(0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())


def bounded(kind: str, *polygons: str, lod: int = 2) -> str:
    """A typed bounding surface of a building."""
    inside = nest(f"bldg:lod{lod}MultiSurface", surface(*polygons))
    return nest(f"bldg:boundedBy/bldg:{kind}", inside)


def road(key: str, *children: str, kind: str = "Road") -> str:
    """A feature of transportation."""
    return nest(f'tran:{kind} gml:id="{key}"', "".join(children))


# Geometry and coordinates


def test_a_lod1_block_is_labelled_by_its_normals_and_placed_in_metres(tmp_path):
    read = reader.read(write(tmp_path, block("a")))
    assert labels(read) == {"roof": 2, "building base": 2, "wall": 8}
    assert read.zone == 6674 and issues(read) == {}
    row = read.features.iloc[0]
    assert (row.id, row.theme, row.kind, row.lod, row.flat) == ("a", "bldg", "Building", 1, False)
    assert (row.z_min, row.z_max) == (2, 8)
    # 34.69 N, 135.50 E lies 0.5 degrees (45.8 km) west and 1.31 degrees (145 km) south of the origin of zone VI.
    assert row.x_min == pytest.approx(-45_800, abs=50) and row.y_min == pytest.approx(-145_200, abs=150)
    assert row.x_max - row.x_min == pytest.approx(10, abs=0.1) and row.y_max - row.y_min == pytest.approx(10, abs=0.1)
    assert (
        read.triangles_N33.dtype == np.float64 and read.label_N.dtype == np.uint8 and read.feature_N.dtype == np.int32
    )


def test_faces_of_a_solid_keep_looking_outward_and_one_inside_out_is_turned(tmp_path):
    outward = reader.read(write(tmp_path, block("a")))
    inward = "".join(polygon(face[::-1]) for face in box())
    member = building("a", nest("bldg:lod1Solid", solid(*re.findall("<gml:Polygon>.*?</gml:Polygon>", inward))))
    turned = reader.read(write(tmp_path, member))
    assert issues(turned) == {"solid inside out, turned": 1}
    assert labels(turned) == labels(outward)
    for read in (outward, turned):
        a, b, c = (read.triangles_N33 - read.triangles_N33.mean(axis=(0, 1))).transpose(1, 0, 2)
        assert (np.einsum("td,td->t", a, np.cross(b, c)) > 0).all()


def test_an_open_solid_is_counted_and_kept(tmp_path):
    faces = map(polygon, box()[1:])
    read = reader.read(write(tmp_path, building("a", nest("bldg:lod1Solid", solid(*faces)))))
    assert issues(read) == {"solid not closed, kept": 1}
    assert labels(read) == {"roof": 2, "wall": 8}


def test_a_hole_stays_open(tmp_path):
    roof = polygon(square(size=10, up=5), square(2, 2, 4, up=5)[::-1])
    read = reader.read(write(tmp_path, building("a", bounded("RoofSurface", roof))))
    assert area(read.triangles_N33) == pytest.approx(84, rel=0.01)


def test_zone_is_the_one_given(tmp_path):
    path = write(tmp_path, block("a"))
    near, far = reader.read(path, 6674), reader.read(path, 6673)
    assert (near.zone, far.zone) == (6674, 6673)
    assert far.features.x_min[0] > 0 > near.features.x_min[0]


def test_numbers_survive_line_breaks_tabs_and_comments(tmp_path):
    text = numbers(square(up=3)).split()
    text = "\n\t" + " ".join(text[:6]) + "\r\n   " + "\t".join(text[6:]) + "\n"
    member = road("r", "<!-- a road -->", nest("tran:lod1MultiSurface", surface(polygon(text))))
    assert area(reader.read(write(tmp_path, member)).triangles_N33) == pytest.approx(100, rel=0.01)


@given(arrays(np.float64, st.integers(1, 40), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_parsed_numbers_are_the_nearest_doubles(value_N):
    parsed, counts = rings.parse_numbers([" ".join(map(repr, value_N.tolist())), None, " 1 2 "])
    np.testing.assert_array_equal(parsed, [*value_N, 1, 2])
    assert counts.tolist() == [len(value_N), 0, 2]


def test_the_size_of_a_block_changes_nothing(tmp_path, monkeypatch):
    roof = nest("bldg:lod1Solid", solid(polygon(square(up=5), square(2, 2, 4, up=5)[::-1]), *map(polygon, box())))
    path = write(tmp_path, block("a"), building("b", roof), block("a"), block("c", east=99))
    whole = reader.read(path)
    for size in (1, 5, 7):
        monkeypatch.setattr(rings, "BLOCK", size)
        read = reader.read(path)
        for name in ("triangles_N33", "label_N", "feature_N"):
            np.testing.assert_array_equal(getattr(read, name), getattr(whole, name))
        assert read.features.equals(whole.features) and read.issues == whole.issues


# Levels of detail


def test_each_building_is_taken_at_its_best_level(tmp_path):
    lod0 = nest("bldg:lod0RoofEdge", surface(polygon(square(up=8))))
    lod1 = nest("bldg:lod1Solid", solid(*map(polygon, box())))
    lod2 = bounded("RoofSurface", polygon(square(up=9))) + bounded("WallSurface", polygon(WALL))
    lod3 = bounded("WallSurface", polygon(WALL), lod=3)
    members = (
        building(key, *parts)
        for key, parts in {"a": [lod0], "b": [lod0, lod1], "c": [lod0, lod1, lod2], "d": [lod1, lod2, lod3]}.items()
    )
    read = reader.read(write(tmp_path, *members))
    assert read.features.lod.tolist() == [0, 1, 2, 3]
    assert np.bincount(read.feature_N).tolist() == [2, 12, 4, 2]


def test_lod0_outlines_say_by_name_what_they_are(tmp_path):
    edge = building("a", nest("bldg:lod0RoofEdge", surface(polygon(square(up=8)))))
    foot = building("b", nest("bldg:lod0FootPrint", surface(polygon(square()))))
    read = reader.read(write(tmp_path, edge, foot))
    assert labels(read) == {"roof": 2, "building base": 2}
    assert read.features.flat.tolist() == [False, True]


def test_typed_surfaces_go_before_the_solid_that_refers_to_them(tmp_path):
    references = nest("bldg:lod2Solid", solid('<gml:Polygon xlink:href="#p"/>'))
    kinds = ("RoofSurface", "WallSurface", "GroundSurface", "OuterCeilingSurface", "OuterFloorSurface")
    typed = [bounded(kind, polygon(square(up=i))) for i, kind in enumerate(kinds, 1)]
    read = reader.read(write(tmp_path, building("a", references, *typed)))
    assert labels(read) == {"roof": 4, "wall": 2, "building base": 4}


def test_an_untyped_lod2_solid_is_labelled_by_normal(tmp_path):
    read = reader.read(write(tmp_path, building("a", nest("bldg:lod2Solid", solid(*map(polygon, box()))))))
    assert labels(read) == {"roof": 2, "building base": 2, "wall": 8} and read.features.lod[0] == 2


def test_only_references_fall_back_to_the_next_level(tmp_path):
    broken = '<bldg:lod2Solid><gml:Solid xlink:href="#elsewhere"/></bldg:lod2Solid>'
    lod1 = nest("bldg:lod1Solid", solid(*map(polygon, box())))
    assert reader.read(write(tmp_path, building("a", broken, lod1))).features.lod[0] == 1


def test_parts_are_the_building_and_replace_a_coarser_whole(tmp_path):
    def part(east: float, child: str) -> str:
        return nest(f'bldg:consistsOfBuildingPart/bldg:BuildingPart gml:id="p{east}"', child)

    whole = nest("bldg:lod1Solid", solid(*map(polygon, box(size=30))))
    fine = part(0, bounded("RoofSurface", polygon(square(up=9))))
    coarse = part(20, nest("bldg:lod1Solid", solid(*map(polygon, box(east=20)))))
    read = reader.read(write(tmp_path, building("a", whole, fine, coarse)))
    assert read.features.id.tolist() == ["a"] and read.features.lod[0] == 2
    assert len(read.triangles_N33) == 2 + 12  # the roof of one part and the block of the other, without the whole


def test_lod3_takes_windows_and_balconies_but_no_rooms(tmp_path):
    window = nest("bldg:opening/bldg:Window/bldg:lod3MultiSurface", surface(polygon(WALL)))
    wall = nest("bldg:lod3MultiSurface", surface(polygon(WALL))) + window
    wall = nest("bldg:boundedBy/bldg:WallSurface", wall)
    balcony = nest(
        "bldg:outerBuildingInstallation/bldg:BuildingInstallation/bldg:lod3Geometry", surface(polygon(square(up=4)))
    )
    room = nest("bldg:interiorRoom/bldg:Room/bldg:lod4Solid", solid(*map(polygon, box())))
    inner = bounded("InteriorWallSurface", polygon(WALL), lod=4) + bounded("ClosureSurface", polygon(WALL), lod=3)
    read = reader.read(write(tmp_path, building("a", wall, balcony, room, inner)))
    assert read.features.lod[0] == 3 and labels(read) == {"wall": 4, "building": 2}
    assert issues(read) == {"interior geometry skipped": 1, "closure or interior surface skipped": 2}


@pytest.mark.parametrize("uro", ["1.4", "2.0", "3.0", "3.1", "3.2", "9.9"])
def test_extensions_of_any_version_do_not_disturb(tmp_path, uro):
    attribute = nest("uro:buildingIDAttribute/uro:BuildingIDAttribute/uro:buildingID", "1")
    outline = nest("uro:bldgDmAttribute/uro:lod0Geometry", surface(polygon(square(up=99))))
    lod1 = nest("bldg:lod1Solid", solid(*map(polygon, box())))
    path = write(tmp_path, building("a", attribute, outline, lod1), uro=f"https://www.geospatial.jp/iur/uro/{uro}")
    assert labels(reader.read(path)) == {"roof": 2, "building base": 2, "wall": 8}


def test_citygml_3(tmp_path):
    typed = nest("core:boundary/con:RoofSurface gml:id='s'/core:lod2MultiSurface", surface(polygon(square(up=9))))
    lod1 = nest("core:lod1Solid", solid(*map(polygon, box()), shell="Shell"))
    area = nest("core:lod2MultiSurface", surface(polygon(square(up=1)))) + nest("tran:function", "2000")
    area = nest("core:boundary/tran:TrafficArea", area)
    road = nest('tran:Road gml:id="r"/tran:trafficSpace/tran:TrafficSpace', area)
    read = reader.read(write(tmp_path, building("a", lod1), building("b", lod1, typed), road, version="3.0"))
    assert read.features.lod.tolist() == [1, 2, 2]
    assert labels(read) == {"roof": 4, "building base": 2, "wall": 8, "footway": 2}


# Themes


def lane(function: str, kind: str = "TrafficArea", up: float = 1) -> str:
    """A traffic area with a function code."""
    holder = kind[0].lower() + kind[1:]
    inside = nest("tran:function", function) if function else ""
    inside += nest("tran:lod3MultiSurface", surface(polygon(square(up=up))))
    return nest(f"tran:{holder}/tran:{kind}", inside)


def test_lod1_roads_are_road_and_flat(tmp_path):
    lod1 = nest("tran:lod1MultiSurface", surface(polygon(square())))
    read = reader.read(write(tmp_path, road("r", lod1), road("t", lod1, kind="Track"), road("s", lod1, kind="Railway")))
    assert labels(read) == {"road": 2, "footway": 2, "railway": 2}
    assert read.features.theme.tolist() == ["tran"] * 3 and read.features.flat.all()


@pytest.mark.parametrize(
    ("kind", "function", "name"),
    [
        ("TrafficArea", "1000", "road"),
        ("TrafficArea", "1020", "road"),
        ("TrafficArea", "1050", "railway"),
        ("TrafficArea", "2000", "footway"),
        ("TrafficArea", "2030", "footway"),
        ("TrafficArea", "7000", "median and parking"),
        ("AuxiliaryTrafficArea", "1080", "median and parking"),
        ("AuxiliaryTrafficArea", "3000", "median and parking"),
        ("AuxiliaryTrafficArea", "5010", "planting"),
        ("AuxiliaryTrafficArea", "1100", "road"),
    ],
)
def test_traffic_areas_are_labelled_by_function(tmp_path, kind, function, name):
    lod1 = nest("tran:lod1MultiSurface", surface(polygon(square())))
    read = reader.read(write(tmp_path, road("r", lane(function, kind), lod1)))
    assert labels(read) == {name: 2} and read.features.lod[0] == 3 and not read.features.flat[0]
    assert issues(read) == {}


def test_unknown_functions_take_the_default_and_are_counted(tmp_path):
    read = reader.read(write(tmp_path, road("r", lane("8765"), lane("", "AuxiliaryTrafficArea"))))
    assert labels(read) == {"road": 2, "median and parking": 2}
    assert issues(read) == {"code missing or not known, default class used": 2}


@pytest.mark.parametrize(
    ("prefix", "kind", "attributes", "geometry", "name"),
    [
        ("luse", "LandUse", {"class": "201"}, "lod1MultiSurface", "field and park"),
        ("luse", "LandUse", {"class": "2151"}, "lod1MultiSurface", "road"),
        ("luse", "LandUse", {"class": "211"}, "lod1MultiSurface", "terrain"),
        ("luse", "LandUse", {"class": "204"}, "lod1MultiSurface", "water"),
        ("veg", "PlantCover", {"class": "1"}, "lod2MultiSurface", "tree"),
        ("veg", "PlantCover", {"class": "3"}, "lod3MultiSurface", "planting"),
        ("veg", "SolitaryVegetationObject", {}, "lod2Geometry", "tree"),
        ("frn", "CityFurniture", {"function": "2000"}, "lod1Geometry", "fence"),
        ("frn", "CityFurniture", {"function": "1110"}, "lod1Geometry", "road"),
        ("frn", "CityFurniture", {"function": "4830"}, "lod3Geometry", "furniture"),
        ("frn", "CityFurniture", {}, "lod2Geometry", "furniture"),
        ("wtr", "WaterBody", {"class": "1030"}, "lod1MultiSurface", "water"),
    ],
)
def test_other_themes_are_labelled_by_their_codes(tmp_path, prefix, kind, attributes, geometry, name):
    inside = "".join(nest(f"{prefix}:{key}", value) for key, value in attributes.items())
    inside += nest(f"{prefix}:{geometry}", surface(polygon(square(up=1))))
    read = reader.read(write(tmp_path, nest(f'{prefix}:{kind} gml:id="x"', inside)))
    assert labels(read) == {name: 2}
    assert read.features.theme[0] == prefix and issues(read) == {}


def test_a_bridge_has_a_deck(tmp_path):
    whole = nest('brid:Bridge gml:id="a"/brid:lod2MultiSurface', surface(*map(polygon, box())))
    deck = nest("brid:boundedBy/brid:OuterFloorSurface/brid:lod2MultiSurface", surface(polygon(square(up=5))))
    side = nest("brid:boundedBy/brid:WallSurface/brid:lod2MultiSurface", surface(polygon(WALL)))
    read = reader.read(write(tmp_path, whole, f'<brid:Bridge gml:id="b">{deck}{side}</brid:Bridge>'))
    assert labels(read) == {"bridge deck": 4, "bridge": 12}


def relief(key: str, *triangles: list) -> str:
    """A ReliefFeature with a TIN."""
    path = "gml:Triangle/gml:exterior/gml:LinearRing/gml:posList"
    patches = "".join(nest(path, numbers(corners)) for corners in triangles)
    tin = nest("dem:tin/gml:TriangulatedSurface/gml:trianglePatches", patches)
    component = nest(f'dem:reliefComponent/dem:TINRelief gml:id="{key}t"', f"<dem:lod>1</dem:lod>{tin}")
    return nest(f'dem:ReliefFeature gml:id="{key}"', f"<dem:lod>1</dem:lod>{component}")


def test_reliefs_are_streamed_triangle_by_triangle(tmp_path, monkeypatch):
    monkeypatch.setattr(rings, "BLOCK", 3)
    triangles = [[(i, 0, 1), (i + 1, 0, 1), (i, 1, 2)] for i in range(10)]
    read = reader.read(write(tmp_path, relief("a", *triangles), relief("a", *triangles), relief("b", triangles[0])))
    assert labels(read) == {"terrain": 11} and np.bincount(read.feature_N).tolist() == [10, 1]
    assert issues(read) == {"duplicate id, first one kept": 1}
    assert read.features[["id", "theme", "lod"]].values.tolist() == [["a", "dem", 1], ["b", "dem", 1]]


def test_flood_hazards_are_no_water(tmp_path):
    hazard = "<uro:floodingRiskAttribute><uro:WaterBodyRiverFloodingRiskAttribute/></uro:floodingRiskAttribute>"
    water = nest("wtr:lod1MultiSurface", surface(polygon(square(up=1))))
    body = nest('wtr:WaterBody gml:id="w"', hazard + water)
    read = reader.read(write(tmp_path, body))
    assert len(read.features) == 0 and issues(read) == {"flood hazard area skipped": 1, "empty tile": 1}


# What is skipped or repaired


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (numbers(square()).replace(" 0.0 ", " NaN ", 1), "polygon with a coordinate that is not a number"),
        (numbers(square()).replace(" 0.0 ", " none ", 1), "polygon with a coordinate that is not a number"),
        (numbers(square()).replace(" 0.0 ", " -9999 ", 1), "polygon with a height of 9999 or -9999"),
        (numbers(square()).replace(" 0.0 ", " 9999.0 ", 1), "polygon with a height of 9999 or -9999"),
        (numbers(square()).replace("34.69", "3.469"), "polygon outside Japan"),
        (numbers(square()).rpartition(" ")[0], "ring of incomplete coordinates"),
        ("", "ring of incomplete coordinates"),
        (numbers([(0, 0, 1), (1, 0, 1)]), "degenerate polygon"),
        (numbers([(0, 0, 1), (0, 0, 1), (0, 0, 1), (0, 0, 1)]), "degenerate polygon"),
        (numbers([(0, 0, 1), (1, 0, 1), (2, 0, 1)]), "degenerate polygon"),
    ],
)
def test_a_bad_polygon_is_left_out_and_counted(tmp_path, text, kind):
    good = block("good", east=50)
    bad = building("bad", nest("bldg:lod1Solid", solid(polygon(text), *map(polygon, box()[1:]))))
    read = reader.read(write(tmp_path, bad, good))
    assert issues(read) == {kind: 1, "solid not closed, kept": 1}
    assert np.bincount(read.feature_N).tolist() == [10, 12]


def test_an_open_ring_is_closed_and_counted(tmp_path):
    faces = box()
    ring = polygon(numbers(faces[0], closed=False))
    member = building("a", nest("bldg:lod1Solid", solid(ring, *map(polygon, faces[1:]))))
    read = reader.read(write(tmp_path, member))
    assert issues(read) == {"open ring closed": 1} and len(read.triangles_N33) == 12


def test_duplicate_and_missing_ids(tmp_path):
    nameless = block("x", north=40).replace(' gml:id="x"', "")
    read = reader.read(write(tmp_path, block("a"), block("a", east=20), nameless))
    assert issues(read) == {"duplicate id, first one kept": 1, "feature without id, numbered": 1}
    assert read.features.id.tolist() == ["a", "51357354_x_6697_op#1"]
    assert read.features.x_max[0] - read.features.x_min[0] == pytest.approx(10, abs=0.1)


def test_unknown_feature_types_and_missing_geometry(tmp_path):
    strange = '<gen:GenericCityObject gml:id="g"/>'
    alien = '<q:Thing xmlns:q="urn:q" gml:id="q"/>'
    read = reader.read(write(tmp_path, strange, alien, building("empty"), block("a")))
    assert read.features.id.tolist() == ["a"]
    assert issues(read) == {"feature type not read": 2, "feature without usable surface": 1}


@pytest.mark.parametrize("namespace", ["urn:building", "http://www.opengis.net/citygml/building/9.0"])
def test_an_unknown_namespace_is_read_by_local_names_and_counted(tmp_path, namespace):
    path = write(tmp_path, block("a"))
    path.write_text(path.read_text().replace("http://www.opengis.net/citygml/building/2.0", namespace))
    read = reader.read(path)
    assert labels(read) == {"roof": 2, "building base": 2, "wall": 8}
    assert issues(read) == {"namespace not known, read by local names": 1}


def test_curves_points_and_copies_are_no_surface(tmp_path):
    curve = nest("frn:lod2Geometry/gml:MultiCurve/gml:curveMember/gml:LineString/gml:posList", numbers(square()))
    copy = "<frn:lod1ImplicitRepresentation><core:ImplicitGeometry/></frn:lod1ImplicitRepresentation>"
    read = reader.read(write(tmp_path, f'<frn:CityFurniture gml:id="f">{curve}{copy}</frn:CityFurniture>'))
    assert issues(read) == {"implicit geometry skipped": 1, "feature without usable surface": 1}


def test_an_empty_tile_is_empty_not_an_error(tmp_path):
    read = reader.read(write(tmp_path))
    assert len(read.triangles_N33) == len(read.features) == 0
    assert issues(read) == {"empty tile": 1} and read.zone == 0
    assert reader.read(write(tmp_path), 6674).zone == 6674


# What is refused


def refused(path: Path) -> str:
    """The message of the named error that reading `path` raises."""
    with pytest.raises(RawFileError) as caught:
        reader.read(path)
    assert isinstance(caught.value, StudyError) and path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.drill
@given(share=st.floats(0, 0.999))
def test_a_file_cut_anywhere_is_a_named_error(tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("cut")
    plain, zipped = write(folder, block("a")), write(folder, block("a"), name="b.gml.gz")
    for path in (plain, zipped):
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])
        refused(path)


@pytest.mark.drill
def test_a_cut_file_says_where(tmp_path):
    path = write(tmp_path, block("a"))
    path.write_bytes(path.read_bytes()[:-200])
    assert "line 2" in refused(path) and "fetch the file again" in refused(path)


@pytest.mark.drill
def test_a_damaged_gzip_file_is_a_named_error(tmp_path):
    path = write(tmp_path, block("a"), name="a.gml.gz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    refused(path)
    path.write_text("not gzip at all")
    refused(path)


def test_a_missing_file_is_a_named_error(tmp_path):
    assert "no such file" in refused(tmp_path / "nowhere.gml")


def test_a_page_that_is_not_citygml_is_refused(tmp_path):
    path = tmp_path / "page.gml"
    path.write_text("<html><body>404</body></html>")
    assert "'html'" in refused(path)


def test_another_coordinate_system_is_refused(tmp_path):
    assert "6677" in refused(write(tmp_path, block("a"), srs="http://www.opengis.net/def/crs/EPSG/0/6677"))


LAUGHS = ['<!ENTITY a0 "ha">'] + [f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10)]


@pytest.mark.parametrize("place", ["text", "attribute", "list"])
def test_entity_bombs_are_refused(tmp_path, place):
    text = document(block("a"))
    head, frame = text.split("\n", 1)
    if place == "text":
        frame = frame.replace("<core:cityObjectMember>", "<gml:name>&a9;</gml:name><core:cityObjectMember>", 1)
    elif place == "attribute":
        frame = frame.replace('gml:id="a"', 'gml:id="&a9;"', 1)
    else:
        frame = frame.replace("<gml:posList>", "<gml:posList>&a9;", 1)
    path = tmp_path / "bomb.gml"
    path.write_text(f"{head}\n<!DOCTYPE CityModel [{''.join(LAUGHS)}]>\n{frame}")
    message = refused(path)
    assert "DOCTYPE" in message or "ntity" in message


def test_external_entities_are_refused_and_never_read(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("token-12345")
    for declared in (f'<!ENTITY x SYSTEM "{secret.as_uri()}">', f'<!ENTITY % x SYSTEM "{secret.as_uri()}"> %x;'):
        head, frame = document(block("a")).split("\n", 1)
        frame = frame.replace(
            'gml:id="a">', 'gml:id="a"><gml:name>&x;</gml:name>' if "% x" not in declared else 'gml:id="a">'
        )
        path = tmp_path / "external.gml"
        path.write_text(f"{head}\n<!DOCTYPE CityModel [{declared}]>\n{frame}")
        message = refused(path)
        assert "DOCTYPE" in message and "token-12345" not in message


# Real files

POLYGON = re.compile(rb"<gml:Polygon[ >]|<gml:Triangle[ >]")


def real(shared_data: Path) -> list[Path]:
    """All real CityGML files."""
    return sorted((shared_data / "plateau").rglob("*.gml.gz"))


@pytest.mark.slow
def test_every_real_file_reads(shared_data):
    paths = real(shared_data)
    assert len(paths) >= 45
    for path in paths:
        read = reader.read(path)
        assert len(read.triangles_N33) > 0, path.name
        assert set(read.features.theme) == {path.parent.name}
        assert np.isfinite(read.triangles_N33).all() and (np.diff(read.feature_N) >= 0).all()
        assert read.features.id.is_unique and len(np.unique(read.feature_N)) == len(read.features)
        assert set(read.label_N.tolist()) <= NAMES.keys()
        members = gzip.decompress(path.read_bytes()).count(b"<core:cityObjectMember>")
        skipped = issues(read).get("feature without usable surface", 0)
        assert len(read.features) + skipped == members, path.name


@pytest.mark.slow
def test_a_real_lod2_tile_against_counts_of_its_text(shared_data):
    """Buildings, levels, polygons and surfaces of the research's reference tile, counted with regular expressions."""
    path = shared_data / "plateau/20202_matsumoto/udx/bldg/54372798_bldg_6697_op.gml.gz"
    text = gzip.decompress(path.read_bytes())
    buildings = text.split(b"<bldg:Building ")[1:]
    fine = [b for b in buildings if b"<bldg:lod2MultiSurface>" in b]
    coarse = [b for b in buildings if b"<bldg:lod2MultiSurface>" not in b]
    lod1 = re.compile(rb"<bldg:lod1Solid>.*?</bldg:lod1Solid>", re.S)
    lod2 = re.compile(rb"<bldg:lod2MultiSurface>.*?</bldg:lod2MultiSurface>", re.S)
    polygons = sum(len(POLYGON.findall(part)) for b in coarse for part in lod1.findall(b))
    polygons += sum(len(POLYGON.findall(part)) for b in fine for part in lod2.findall(b))
    assert (len(buildings), polygons) == (3058, 35_087)  # as the research counted them

    read = reader.read(path)
    assert read.features.lod.value_counts().to_dict() == {1: len(coarse), 2: len(fine)}
    assert read.zone == 6676
    # A polygon of n corners becomes n - 2 triangles; slivers below a square millimetre are left out (0.2 %).
    assert 0.997 * 93_778 < len(read.triangles_N33) <= 93_778
    assert issues(read).keys() == {"degenerate polygon"} and issues(read)["degenerate polygon"] < 0.001 * polygons
    names = labels(read)
    assert names.keys() == {"roof", "wall", "building base"}


@pytest.mark.slow
def test_real_lanes_have_their_classes(shared_data):
    read = reader.read(shared_data / "plateau/27100_osaka/udx/tran/52350301_tran_6697_op.gml.gz")
    assert set(labels(read)) == {"road", "footway", "median and parking", "planting"}
    assert read.features.lod.tolist().count(3) == 2 and read.features.flat.sum() == 1


@pytest.mark.slow
def test_real_roads_and_land_use_are_flat(shared_data):
    for name in (
        "27100_osaka/udx/tran/51357354_tran_6697_op.gml.gz",
        "43206_tamana/udx/luse/493033_luse_6697_op.gml.gz",
    ):
        assert reader.read(shared_data / "plateau" / name).features.flat.all()


@pytest.mark.slow
def test_citygml_2_and_3_of_the_same_building_agree(shared_data):
    two = reader.read(shared_data / "plateau/13104_shinjuku-v5-uro-3-2/udx/bldg/53394517_bldg_6697_op.gml.gz")
    three = reader.read(shared_data / "plateau/13104_shinjuku-citygml-3-0/udx/bldg/CG3_53394517_bldg_6697_op.gml.gz")
    same = three.features.id == two.features.id[0]
    assert same.sum() == 1
    three = three.select(same.to_numpy())
    assert labels(three) == labels(two)
    rows = [np.unique(read.triangles_N33.reshape(-1, 9), axis=0) for read in (two, three)]
    np.testing.assert_array_equal(*rows)  # the surfaces come in another order
