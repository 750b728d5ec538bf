"""Small CityGML files for the tests of the readers: a namespace-correct frame around hand-written members."""

import gzip
from pathlib import Path

import numpy as np

LAT, LON = 34.69, 135.50  # Osaka, zone VI
METRE = np.array([1 / 110_940, 1 / 91_600, 1.0])  # degrees per metre north and east there; heights as they are

VERSIONS = {
    "2.0": ("http://www.opengis.net/citygml{}/2.0", "http://www.opengis.net/gml"),
    "3.0": ("http://www.opengis.net/citygml{}/3.0", "http://www.opengis.net/gml/3.2"),
}
MODULES = {
    "bldg": "building", "tran": "transportation", "veg": "vegetation", "frn": "cityfurniture", "brid": "bridge",
    "dem": "relief", "luse": "landuse", "wtr": "waterbody", "con": "construction", "gen": "generics",
}  # fmt: skip
ENVELOPE = '<gml:boundedBy><gml:Envelope srsName="{}" srsDimension="3"/></gml:boundedBy>'
SRS = "http://www.opengis.net/def/crs/EPSG/0/6697"


def document(
    *members: str, version: str = "2.0", uro: str = "https://www.geospatial.jp/iur/uro/3.1", srs: str = SRS
) -> str:
    """A whole file with one `cityObjectMember` per member."""
    pattern, gml = VERSIONS[version]
    spaces = {"core": pattern.format(""), "gml": gml, "uro": uro, "xlink": "http://www.w3.org/1999/xlink"}
    spaces |= {prefix: pattern.format("/" + module) for prefix, module in MODULES.items()}
    names = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in spaces.items())
    body = "".join(nest("core:cityObjectMember", member) for member in members)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<core:CityModel {names}>{ENVELOPE.format(srs)}{body}</core:CityModel>'
    )


def write(folder: Path, *members: str, name: str = "51357354_x_6697_op.gml", **options: str) -> Path:
    """Write a file and return its path; zipped where `name` ends in .gz."""
    path = folder / name
    data = document(*members, **options).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def numbers(corners_N3: list, closed: bool = True) -> str:
    """Corners given as (east, north, up) in metres from the origin, as the text of a posList."""
    corners = np.array(corners_N3 + corners_N3[:1] if closed else corners_N3, dtype=float)
    degrees = np.array([LAT, LON, 0.0]) + corners[:, [1, 0, 2]] * METRE
    return " ".join(repr(float(value)) for value in degrees.ravel())


def nest(path: str, inside: str) -> str:
    """`inside` within elements given from the outermost to the innermost, as "bldg:opening/bldg:Window"."""
    for element in reversed(path.split("/")):
        inside = f"<{element}>{inside}</{element.split()[0]}>"
    return inside


def polygon(outline: list | str, *holes: list) -> str:
    """A gml:Polygon of corners in metres (or of a text as it is)."""
    outer = nest("gml:exterior/gml:LinearRing/gml:posList", outline if isinstance(outline, str) else numbers(outline))
    return nest(
        "gml:Polygon", outer + "".join(nest("gml:interior/gml:LinearRing/gml:posList", numbers(h)) for h in holes)
    )


def surface(*polygons: str) -> str:
    """A gml:MultiSurface."""
    return nest("gml:MultiSurface", "".join(nest("gml:surfaceMember", p) for p in polygons))


def solid(*polygons: str, shell: str = "CompositeSurface") -> str:
    """A gml:Solid."""
    return nest(f"gml:Solid/gml:exterior/gml:{shell}", "".join(nest("gml:surfaceMember", p) for p in polygons))


def square(east: float = 0, north: float = 0, size: float = 10, up: float = 0) -> list:
    """Corners of a level square, counter-clockwise seen from above."""
    return [(east + x, north + y, up) for x, y in ((0, 0), (size, 0), (size, size), (0, size))]


def box(east: float = 0, north: float = 0, size: float = 10, low: float = 2, high: float = 8) -> list[list]:
    """The six faces of a block, looking outward: base, roof, four walls."""
    base, roof = square(east, north, size, low), square(east, north, size, high)
    walls = [[base[i], base[(i + 1) % 4], roof[(i + 1) % 4], roof[i]] for i in range(4)]
    return [base[::-1], roof, *walls]


def building(key: str, *children: str) -> str:
    """A bldg:Building with an id."""
    return nest(f'bldg:Building gml:id="{key}"', "".join(children))


def block(key: str, **place: float) -> str:
    """A LOD1 building."""
    return building(key, nest("bldg:lod1Solid", solid(*map(polygon, box(**place)))))
