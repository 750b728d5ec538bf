"""Write city objects as CityGML 2.0 in the manner of PLATEAU (standard 4: uro 3.1, EPSG:6697, latitude first).

Decisions:
- A `Feature` is plain data in plane-rectangular metres: what the town's builders make and its tests look at. This file
  alone knows elements, order of children and coordinates.
- Text is composed, not a tree: the output is byte-identical from run to run and is made piece by piece.
- Coordinates carry 9 decimals of a degree (0.1 mm) and 3 of a metre, so that equal corners stay equal.
- Identifiers are UUIDs derived from the name of the file and the number of the feature (RFC 9562, version 5).
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal
from xml.sax.saxutils import escape

import numpy as np
import pyproj

ZONE = 6677  # JGD2011 / Japan Plane Rectangular CS IX: every synthetic town lies in it
SRS = "http://www.opengis.net/def/crs/EPSG/0/6697"
DATE = "2024-03-22"
NAMESPACES = {
    "core": "http://www.opengis.net/citygml/2.0",
    "gml": "http://www.opengis.net/gml",
    "xlink": "http://www.w3.org/1999/xlink",
    "bldg": "http://www.opengis.net/citygml/building/2.0",
    "tran": "http://www.opengis.net/citygml/transportation/2.0",
    "veg": "http://www.opengis.net/citygml/vegetation/2.0",
    "frn": "http://www.opengis.net/citygml/cityfurniture/2.0",
    "brid": "http://www.opengis.net/citygml/bridge/2.0",
    "luse": "http://www.opengis.net/citygml/landuse/2.0",
    "wtr": "http://www.opengis.net/citygml/waterbody/2.0",
    "dem": "http://www.opengis.net/citygml/relief/2.0",
    "uro": "https://www.geospatial.jp/iur/uro/3.1",
}
Shape = Literal["Solid", "MultiSolid", "MultiSurface", "MultiComposite", "Triangles"]


@dataclass(frozen=True)
class Geometry:
    """One geometry property: its name without prefix (`lod1Solid`), how its polygons are wrapped, and their rings."""

    property: str
    shape: Shape
    rings: list[np.ndarray]


@dataclass(frozen=True)
class Feature:
    """One city object, in metres of zone `ZONE`.

    Attributes:
        theme: `bldg`, `tran`, ... : the folder, the file name and the prefix of the element.
        kind: local name of the element, `Building`.
        centre: (x, y); the mesh it falls in decides which tile holds the whole feature.
        attributes: rows (element, text, codelist or unit of length or "").
        geometry: properties in schema order.
        surfaces: buildings: LOD2 surface class -> rings; written as `boundedBy` and as a `lod2Solid` of references.
        areas: roads: (function code, rings) of the LOD3 traffic areas; codes 3000 to 5999 are auxiliary ones.
        parts: buildings: building parts.
    """

    theme: str
    kind: str
    centre: tuple[float, float]
    attributes: tuple[tuple[str, str, str], ...] = ()
    geometry: tuple[Geometry, ...] = ()
    surfaces: dict[str, list[np.ndarray]] = field(default_factory=dict)
    areas: tuple[tuple[int, list[np.ndarray]], ...] = ()
    parts: tuple["Feature", ...] = ()

    def rings(self) -> list[np.ndarray]:
        """All rings, parts included."""
        own = [ring for geometry in self.geometry for ring in geometry.rings]
        own += [ring for rings in self.surfaces.values() for ring in rings]
        own += [ring for _, rings in self.areas for ring in rings]
        return own + [ring for part in self.parts for ring in part.rings()]


@cache
def transformer() -> pyproj.Transformer:
    """Zone `ZONE` to latitude and longitude of JGD2011 (a pure projection: heights stay as they are)."""
    return pyproj.Transformer.from_crs(ZONE, 6668)


def to_degrees(xy_N2: np.ndarray) -> np.ndarray:
    """Easting and northing (N, 2) in metres to latitude and longitude in degrees."""
    return np.column_stack(transformer().transform(xy_N2[:, 1], xy_N2[:, 0]))


def to_metres(degrees_N2: np.ndarray) -> np.ndarray:
    """Latitude and longitude (N, 2) in degrees to easting and northing in metres."""
    return np.column_stack(transformer().transform(*degrees_N2.T, direction="INVERSE")[::-1])


def document(features: Sequence[Feature], name: str, city: str) -> Iterator[str]:
    """The text of one CityModel, piece by piece.

    Identifiers derive from `name` (unique among files) and the place of the feature; `city` is the 5-digit code of the
    municipality, kept in every building's `buildingID`.
    """
    namespaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
    yield f'<?xml version="1.0" encoding="UTF-8"?>\n<core:CityModel {namespaces}>\n'
    # One member at a time: a tile's text is never whole in memory here.
    yield _envelope([ring for feature in features for ring in feature.rings()])
    for number, feature in enumerate(features):
        yield tag("core:cityObjectMember", _feature(feature, f"{name}/{number}", city)) + "\n"
    yield "</core:CityModel>\n"


def dictionary(entries: Mapping[str, str]) -> str:
    """The text of a code list: code -> description."""
    rows = []
    for number, (code, meaning) in enumerate(entries.items(), start=1):
        content = tag("gml:description", escape(meaning)) + tag("gml:name", code)
        rows.append(tag("gml:dictionaryEntry", tag("gml:Definition", content, gml_id=f"id{number}")))
    body = "\n".join([tag("gml:name", "codes"), *rows])
    whole = tag("gml:Dictionary", body, xmlns_gml=NAMESPACES["gml"], gml_id=f"cl_{identifier(body)}")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{whole}\n'


def tag(element: str, content: str, **attributes: str) -> str:
    """`<element a="b">content</element>`; an underscore in an attribute's name stands for its colon."""
    given = "".join(f' {name.replace("_", ":")}="{escape(value)}"' for name, value in attributes.items())
    return f"<{element}{given}>{content}</{element}>"


def _feature(feature: Feature, key: str, city: str) -> str:
    """One city object; children in the order of the schema."""
    prefix = feature.theme
    body = [tag("core:creationDate", DATE)]
    body += [_attribute(*row) for row in feature.attributes]
    # Order is the schema's: traffic areas, plain geometry, then the surface that refers to the areas.
    areas, whole = _areas(feature, key)
    body += [*areas, *(_geometry(prefix, geometry, key) for geometry in feature.geometry), *whole]
    if prefix == "bldg":
        body += _surfaces(feature.surfaces, key)
        for row, part in enumerate(feature.parts):
            body.append(tag("bldg:consistsOfBuildingPart", _feature(part, f"{key}/part{row}", city)))
        body.append(_building_id(key, city))
    return tag(f"{prefix}:{feature.kind}", "".join(body), gml_id=f"{prefix}_{identifier(key)}")


def identifier(key: str) -> str:
    """A UUID that depends on `key` only."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"stepladder/{key}"))


def _attribute(element: str, text: str, extra: str) -> str:
    if extra == "m":
        return tag(element, escape(text), uom="m")
    if extra:
        return tag(element, escape(text), codeSpace=f"../../codelists/{extra}.xml")
    return tag(element, escape(text))


def _building_id(key: str, city: str) -> str:
    authorities = "../../codelists/Common_localPublicAuthorities.xml"
    rows = [tag("uro:buildingID", f"{city}-bldg-{identifier(key)[:8]}")]
    rows += [tag("uro:prefecture", city[:2], codeSpace=authorities), tag("uro:city", city, codeSpace=authorities)]
    return tag("uro:buildingIDAttribute", tag("uro:BuildingIDAttribute", "".join(rows)))


def _areas(feature: Feature, key: str) -> tuple[list[str], list[str]]:
    """Traffic areas with their own LOD3 surfaces, and the road's LOD3 surface, which refers to them."""
    body, references = {"trafficArea": [], "auxiliaryTrafficArea": []}, []
    for row, (code, rings) in enumerate(feature.areas):
        role = "auxiliaryTrafficArea" if 3000 <= code < 6000 else "trafficArea"
        element = role[0].upper() + role[1:]
        # Polygons are written once, where they belong; the road's surface names them by their identifiers.
        ids = [f"poly_{identifier(f'{key}/{row}/{i}')}" for i in range(len(rings))]
        content = _attribute("tran:function", str(code), f"{element}_function")
        content += tag("tran:lod3MultiSurface", tag("gml:MultiSurface", _members(rings, ids)))
        area = tag(f"tran:{element}", content, gml_id=f"tfa_{identifier(f'{key}/{row}')}")
        body[role].append(tag(f"tran:{role}", area))
        references += [f'<gml:surfaceMember xlink:href="#{polygon}"/>' for polygon in ids]
    if not feature.areas:
        return [], []
    whole = tag("gml:surfaceMember", tag("gml:CompositeSurface", "".join(references)))
    return [*body["trafficArea"], *body["auxiliaryTrafficArea"]], [
        tag("tran:lod3MultiSurface", tag("gml:MultiSurface", whole))
    ]


def _surfaces(surfaces: dict[str, list[np.ndarray]], key: str) -> list[str]:
    """`lod2Solid`, which only refers to polygons, and the `boundedBy` surfaces that hold them."""
    bounded, references = [], []
    for kind, rings in surfaces.items():
        # The solid and the boundary share polygons: written in `boundedBy`, named in the solid.
        ids = [f"poly_{identifier(f'{key}/{kind}/{i}')}" for i in range(len(rings))]
        references += [f'<gml:surfaceMember xlink:href="#{polygon}"/>' for polygon in ids]
        content = tag("bldg:lod2MultiSurface", tag("gml:MultiSurface", _members(rings, ids)))
        surface = tag(f"bldg:{kind}", content, gml_id=f"{kind[:4].lower()}_{identifier(f'{key}/{kind}')}")
        bounded.append(tag("bldg:boundedBy", surface))
    return [tag("bldg:lod2Solid", _solid("".join(references))), *bounded] if surfaces else []


def _geometry(prefix: str, geometry: Geometry, key: str) -> str:
    if geometry.shape == "Triangles":
        return _relief(geometry.rings, key)
    members = _members(geometry.rings)
    if geometry.shape == "Solid":
        content = _solid(members)
    elif geometry.shape == "MultiSolid":
        content = tag("gml:MultiSolid", tag("gml:solidMember", _solid(members)))
    elif geometry.shape == "MultiComposite":
        content = tag("gml:MultiSurface", tag("gml:surfaceMember", tag("gml:CompositeSurface", members)))
    else:
        content = tag("gml:MultiSurface", members)
    return tag(f"{prefix}:{geometry.property}", content)


def _solid(members: str) -> str:
    return tag("gml:Solid", tag("gml:exterior", tag("gml:CompositeSurface", members)))


def _relief(rings: list[np.ndarray], key: str) -> str:
    """The terrain: a TIN of triangles, inside the relief feature."""
    patches = "\n".join(tag("gml:Triangle", _exterior(positions)) for positions in _positions(rings))
    tin = tag("gml:TriangulatedSurface", tag("gml:trianglePatches", patches), srsName=SRS, srsDimension="3")
    relief = tag("dem:TINRelief", tag("dem:lod", "1") + tag("dem:tin", tin), gml_id=f"dem_{identifier(f'{key}/tin')}")
    return tag("dem:lod", "1") + tag("dem:reliefComponent", relief)


def _members(rings: list[np.ndarray], ids: list[str] | None = None) -> str:
    polygons = []
    for row, positions in enumerate(_positions(rings)):
        named = {"gml_id": ids[row]} if ids else {}
        polygons.append(tag("gml:surfaceMember", tag("gml:Polygon", _exterior(positions), **named)))
    return "\n".join(polygons)


def _exterior(positions: str) -> str:
    return tag("gml:exterior", tag("gml:LinearRing", tag("gml:posList", positions)))


def _positions(rings: list[np.ndarray]) -> list[str]:
    """The text of every ring, closed: latitude, longitude, height of each point."""
    # All rings are projected at once, for the projection costs by the call, and cut apart again.
    closed = [np.concatenate([ring, ring[:1]]) for ring in rings]
    points = np.concatenate(closed)
    degrees = to_degrees(points[:, :2])
    rows = np.column_stack([degrees, points[:, 2]]).tolist()
    text = [f"{lat:.9f} {lon:.9f} {z:.3f}" if z else f"{lat:.9f} {lon:.9f} 0" for lat, lon, z in rows]
    ends = np.cumsum([len(ring) for ring in closed])
    return [" ".join(text[end - len(ring) : end]) for ring, end in zip(closed, ends, strict=True)]


def _envelope(rings: list[np.ndarray]) -> str:
    """The file's bounding box; an empty file has none, as in PLATEAU."""
    if not rings:
        return ""
    points = np.concatenate(rings)
    corners = np.column_stack([to_degrees(points[:, :2]), points[:, 2]])
    lower, upper = (" ".join(f"{value:.9f}" for value in corner) for corner in (corners.min(0), corners.max(0)))
    box = tag("gml:lowerCorner", lower) + tag("gml:upperCorner", upper)
    return tag("gml:boundedBy", tag("gml:Envelope", box, srsName=SRS, srsDimension="3")) + "\n"
