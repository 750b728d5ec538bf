"""CityGML files -> labelled triangles: every PLATEAU theme and version, one pass over the XML.

Decisions:
- The file is streamed object by object (`lxml.iterparse` on `cityObjectMember`; reliefs triangle by triangle) and
  matched by local names, so CityGML 2.0 with any i-UR version and CityGML 3.0 read alike. Numbers stay text until
  thousands of rings are parsed, projected and triangulated in one go.
- Each building, bridge or road is taken at its best level of detail; typed surfaces (roof, wall, lane) go before
  untyped solids of the same level. Rooms are never read.
- What cannot be used is left out, what can be repaired is, and both are counted (`Surfaces.issues`). Only a file that
  is not CityGML to its end is an error: cut, damaged, of another coordinate system, or with a DOCTYPE (entities
  and external references are refused, not resolved).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lxml import etree

from stepladder.studies.plateau import codes, geo
from stepladder.studies.plateau.polygons import Polygons, open_rings, triangulate
from stepladder.studies.plateau.raw import RawFileError, Tally, opened, stem
from stepladder.studies.plateau.surfaces import Surfaces

PARSER = {
    "events": ("end",),
    "tag": tuple("{*}" + name for name in ("cityObjectMember", "Triangle", "appearanceMember", "surfaceDataMember")),
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "remove_blank_text": True,
    "remove_comments": True,
    "remove_pis": True,
    "collect_ids": False,
}
GEOGRAPHIC = ("6697", "6668", "4979", "4326", "4612", "4947")  # EPSG codes in the order latitude, longitude (, height)
SURFACE_KINDS = {
    "MultiSurface", "Solid", "CompositeSurface", "MultiSolid", "CompositeSolid", "Polygon", "Surface", "Tin", "Shell",
    "TriangulatedSurface", "PolyhedralSurface", "OrientableSurface", "MultiGeometry",
}  # fmt: skip
PATCHES = ("{*}Polygon", "{*}Triangle", "{*}PolygonPatch", "{*}Rectangle")
JAPAN = (20.0, 122.0, 46.5, 155.0)  # south, west, north, east, degrees
SENTINEL = 9000.0  # m; -9999 and 9999 stand for "unknown", and Japan ends at 3776
FLUSH = 1 << 16  # rings parsed together: enough to be fast, little enough to hold as text
UPWARD = 0.3  # vertical part of a unit normal from which an untyped face is a roof (or, downward, a base)
LEAST_VOLUME = 0.01  # m3; a solid turned inside out by more than this is turned back

Piece = tuple[int, list[str], list[int]]  # class, texts of rings, rings of each polygon


def read(path: Path, zone: int | None = None) -> Surfaces:
    """All surfaces of one CityGML file (.gml or .gml.gz).

    `zone` is the EPSG code of the plane-rectangular zone (6669 to 6687); None takes the one nearest to the first
    coordinate. Raises `RawFileError` for a file that is cut, damaged, not CityGML or in another coordinate system.
    """
    path, tally = Path(path), Tally()
    gathered = Gathered(path, tally)
    for node in gathered.nodes():
        gathered.add_feature(node)
    if not gathered.described:
        tally.add("empty tile", example=path.name)
    polygons, label_P, feature_P = gathered.polygons()
    zone = zone or geo.zone_of(*polygons.corner_V3[0, :2]) if len(polygons.corner_V3) else 0
    if zone:
        corner_V3 = polygons.corner_V3
        corner_V3[:, 0], corner_V3[:, 1] = geo.projector(zone)(corner_V3[:, 0], corner_V3[:, 1])
    corner_T3, polygon_T = triangulate(polygons, tally)
    triangles_N33 = polygons.corner_V3[corner_T3]
    feature_N, label_N = feature_P[polygon_T], label_P[polygon_T]
    label_by_normal(triangles_N33, label_N, feature_N, tally)
    return Surfaces.of(triangles_N33, label_N, feature_N, gathered.described, zone, tally)


class Gathered:
    """What one pass over a file collects: rings as text and numbers, and for each polygon its class and feature."""

    def __init__(self, path: Path, tally: Tally) -> None:
        self.path, self.tally = path, tally
        self.roles = codes.Roles()
        self.described: list[tuple[str, str, str, int]] = []  # id, theme, kind, level of detail
        self.dimensions = 3
        self._seen: set[str] = set()
        self._pending: list[str | None] = []
        self._values: list[np.ndarray] = [np.empty(0)]
        self._tokens: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
        self._rings: list[int] = []  # per polygon
        self._labels: list[tuple[int, int]] = []  # class, number of polygons
        self._owners: list[tuple[int, int]] = []  # row of `described` or -1, number of polygons
        self._owned = 0

    def nodes(self) -> Iterator[etree._Element]:
        """The file's city objects, one at a time; triangles of reliefs are taken out as they pass."""
        first = True
        with opened(self.path) as file:
            context = etree.iterparse(file, **PARSER)
            try:
                for _, element in context:
                    name = codes.local(element.tag)
                    if name == "Triangle":
                        self._take_relief(element)
                        continue
                    if name == "cityObjectMember":
                        if first:
                            self._check_head(element.getparent())
                            first = False
                        yield from element.iterchildren("*")
                    element.clear()
                    while element.getprevious() is not None:
                        del element.getparent()[0]
            except etree.XMLSyntaxError as error:
                place = f"line {error.lineno}, column {error.offset}"
                raise RawFileError(
                    f"{self.path}: XML is cut or damaged at {place} ({error.msg}); fetch the file again"
                ) from error
            if first:
                self._check_head(context.root)

    def add_feature(self, node: etree._Element) -> None:
        """Take one city object at its best level of detail, or count why not."""
        kind = codes.local(node.tag)
        name = next((value for key, value in node.items() if codes.local(key) == "id"), "")
        if kind not in codes.FEATURES:
            self.tally.add("feature type not read", example=f"{kind} {name}".strip())
            return self._finish(None)
        if kind == "WaterBody" and any("RiskAttribute" in child.tag for child in node):
            self.tally.add("flood hazard area skipped", example=name)
            return self._finish(None)
        if name in self._seen:
            self.tally.add("duplicate id, first one kept", example=name)
            return self._finish(None)
        if not name:
            self.tally.add("feature without id, numbered", example=kind)
            name = f"{stem(self.path)}#{len(self.described)}"
        self._seen.add(name)
        theme = codes.FEATURES[kind][0]
        lod, pieces = self._best(node, theme, codes.feature_class(node, kind, self.tally))
        for piece in pieces:
            self._add(*piece)
        self._finish((name, theme, kind, int(codes.code(node, "lod") or 1) if theme == "dem" else lod))

    def polygons(self) -> tuple[Polygons, np.ndarray, np.ndarray]:
        """All usable polygons with open rings (latitude, longitude, height), their classes and features (P)."""
        self._flush()
        value, tokens_R = np.concatenate(self._values), np.concatenate(self._tokens)
        label_P = np.repeat(*_columns(self._labels)).astype(np.uint8)
        feature_P = np.repeat(*_columns(self._owners)).astype(np.int32)
        rings_P = np.array(self._rings, dtype=np.int64)
        owner_R = np.repeat(np.arange(len(rings_P)), rings_P)
        torn_R = (tokens_R % self.dimensions != 0) | (tokens_R == 0)
        kept_P = (feature_P >= 0) & (np.bincount(owner_R, torn_R, minlength=len(rings_P)) == 0)
        self.tally.add("ring of incomplete coordinates", np.sum(torn_R))
        kept_R = kept_P[owner_R]
        corner_VD = value[np.repeat(kept_R, tokens_R)].reshape(-1, self.dimensions)
        corner_V3 = np.zeros((len(corner_VD), 3))
        corner_V3[:, : self.dimensions] = corner_VD
        polygons = Polygons(corner_V3, tokens_R[kept_R] // self.dimensions, rings_P[kept_P])
        label_P, feature_P = label_P[kept_P], feature_P[kept_P]
        placed_P = self._placed(polygons)
        polygons = polygons.keep(np.ones(len(polygons.corners_R), dtype=bool), placed_P)
        polygons, whole_P = open_rings(polygons, self.tally)
        return polygons, label_P[placed_P][whole_P], feature_P[placed_P][whole_P]

    def _check_head(self, root: etree._Element) -> None:
        """Refuse what is not CityGML in latitude, longitude and height."""
        if root.getroottree().docinfo.doctype:
            raise RawFileError(f"{self.path}: has a DOCTYPE, which may hide entities; CityGML has none: remove it")
        if codes.local(root.tag) != "CityModel":
            raise RawFileError(f"{self.path}: root element is {codes.local(root.tag)!r}, not 'CityModel'; not CityGML")
        envelope = root.find("{*}boundedBy/{*}Envelope")
        if envelope is None:
            return
        system = envelope.get("srsName", "6697")
        if not system.endswith(GEOGRAPHIC):
            raise RawFileError(
                f"{self.path}: coordinate system {system!r} is not one of EPSG {', '.join(GEOGRAPHIC)} (latitude, "
                "longitude): transform the file first"
            )
        self.dimensions = int(envelope.get("srsDimension", 3))

    def _take_relief(self, triangle: etree._Element) -> None:
        """Move a relief's triangle from the tree into the lists; triangles of other geometry stay."""
        patches = triangle.getparent()
        if codes.local(patches.getparent().getparent().tag) == "tin":
            self._add(codes.TERRAIN, [ring.text for ring in triangle.iter("{*}posList")], [1])
            patches.remove(triangle)

    def _best(self, node: etree._Element, theme: str, label: int) -> tuple[int, list[Piece]]:
        """Best level of detail of a feature or part with usable geometry, and its pieces; -1 where there is none."""
        plain: dict[int, list[tuple[int, etree._Element]]] = {}
        typed: dict[int, list[tuple[int, etree._Element]]] = {}
        parts, fittings = [], []
        for child in node:
            role, lod, name = self.roles[child.tag]
            if role == "geometry":
                plain.setdefault(lod, []).append((_flat_label(name, label), child))
            elif role == "surface":
                self._add_surfaces(child, theme, label, typed)
            elif role == "part":
                parts += [self._best(part, theme, label) for part in child]
            elif role == "fitting":
                fittings += [self._best(fitting, theme, label) for fitting in child]
            elif role in ("interior", "implicit"):
                self.tally.add(f"{role} geometry skipped", example=name)
        best, pieces = -1, []
        for lod in sorted(plain.keys() | typed.keys(), reverse=True):
            pieces = _pieces(typed.get(lod, [])) or _pieces(plain.get(lod, []))
            if pieces:
                best = lod
                break
        if best < max((lod for lod, _ in parts), default=-1):
            pieces = []  # the whole as one block, when its parts are finer
        inner = parts + fittings
        best = max([best, *(lod for lod, _ in inner)])
        return best, pieces + [piece for _, more in inner for piece in more]

    def _add_surfaces(
        self, holder: etree._Element, theme: str, label: int, typed: dict[int, list[tuple[int, etree._Element]]]
    ) -> None:
        """Sort the geometry of bounding surfaces, with the doors and windows in them, by level of detail."""
        for surface in holder:
            found = codes.surface_class(surface, codes.local(surface.tag), theme, label, self.tally)
            if found is None:
                continue
            for child in surface:
                role, lod, _ = self.roles[child.tag]
                if role == "geometry":
                    typed.setdefault(lod, []).append((found, child))
                elif role == "opening":
                    for filling in (filling for opening in child for filling in opening):
                        role, lod, _ = self.roles[filling.tag]
                        if role == "geometry":
                            typed.setdefault(lod, []).append((found, filling))

    def _add(self, label: int, texts: list[str], rings: list[int]) -> None:
        """Take polygons of the feature in hand."""
        self._pending += texts
        self._rings += rings
        self._labels.append((label, len(rings)))
        if len(self._pending) >= FLUSH:
            self._flush()

    def _finish(self, description: tuple[str, str, str, int] | None) -> None:
        """All polygons since the last call belong to this feature; None drops them."""
        row = -1 if description is None else len(self.described)
        if description is not None:
            self.described.append(description)
        self._owners.append((row, len(self._rings) - self._owned))
        self._owned = len(self._rings)

    def _flush(self) -> None:
        """Turn the texts at hand into numbers."""
        if self._pending:
            value, tokens_R = parse_numbers(self._pending)
            self._values.append(value)
            self._tokens.append(tokens_R)
            self._pending = []

    def _placed(self, polygons: Polygons) -> np.ndarray:
        """Which polygons (P) lie in Japan at a known height; the others are counted."""
        lat_V, lon_V, height_V = polygons.corner_V3.T
        south, west, north, east = JAPAN
        unknown_V = np.isfinite(height_V) & (np.abs(height_V) >= SENTINEL)
        outside_V = ~((lat_V >= south) & (lat_V <= north) & (lon_V >= west) & (lon_V <= east)) & ~unknown_V
        number_V = np.isfinite(polygons.corner_V3).all(axis=1)
        owner_V = np.repeat(polygons.owner_R, polygons.corners_R)
        good_P = np.ones(len(polygons.rings_P), dtype=bool)
        for kind, bad_V in (
            ("polygon with a coordinate that is not a number", ~number_V),
            ("polygon with a height of 9999 or -9999", unknown_V),
            ("polygon outside Japan", outside_V & number_V),
        ):
            bad_P = np.bincount(owner_V, bad_V, minlength=len(good_P)) > 0
            self.tally.add(kind, np.sum(bad_P & good_P))
            good_P &= ~bad_P
        return good_P


def parse_numbers(texts: list[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of all texts in a row (float64, correctly rounded) and how many each text holds.

    A text with anything but numbers becomes that many NaN.
    """
    words = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(pa.array([text or "" for text in texts], pa.string())))
    counts_R = np.diff(words.offsets.to_numpy())
    try:
        return pc.cast(words.values, pa.float64()).to_numpy(), counts_R
    except pa.ArrowInvalid:
        rows = [_numbers(text or "") for text in texts]
        return np.concatenate(rows), np.array([len(row) for row in rows])


def label_by_normal(triangles_N33: np.ndarray, label_N: np.ndarray, feature_N: np.ndarray, tally: Tally) -> None:
    """Decide the class of untyped building and bridge faces by their normal, in place.

    A feature whose untyped faces enclose a negative volume is inside out: its triangles are turned and counted.
    """
    untyped = np.flatnonzero(label_N >= codes.BY_NORMAL_BUILDING)
    if not len(untyped):
        return
    corners, feature = triangles_N33[untyped], feature_N[untyped]
    first_F = np.unique(feature, return_index=True)[1]
    group = np.repeat(np.arange(len(first_F)), np.diff([*first_F, len(feature)]))
    middle = np.add.reduceat(corners.mean(axis=1), first_F) / np.bincount(group)[:, None]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    volume_F = np.bincount(group, np.einsum("td,td->t", normal, corners[:, 0] - middle[group])) / 6
    inverted = (volume_F < -LEAST_VOLUME)[group]
    tally.add("solid inside out, turned", np.sum(volume_F < -LEAST_VOLUME))
    triangles_N33[untyped[inverted], 1:] = triangles_N33[untyped[inverted], :0:-1]
    normal[inverted] *= -1
    up = normal[:, 2] / np.linalg.norm(normal, axis=1)
    building = np.select([up > UPWARD, up < -UPWARD], [codes.ROOF, codes.BASE], codes.WALL)
    bridge = np.where(up > 2 * UPWARD, codes.DECK, codes.BRIDGE)
    label_N[untyped] = np.where(label_N[untyped] == codes.BY_NORMAL_BUILDING, building, bridge)


def _pieces(geometries: list[tuple[int, etree._Element]]) -> list[Piece]:
    """The polygons of some geometry properties as texts; without those that only refer to others (xlink)."""
    pieces = ((label, *_rings(geometry)) for label, geometry in geometries)
    return [piece for piece in pieces if piece[2]]


def _rings(geometry: etree._Element) -> tuple[list[str], list[int]]:
    """Texts of all rings below a geometry property, outline first, and the number of rings of each polygon."""
    if not len(geometry) or codes.local(geometry[0].tag) not in SURFACE_KINDS:
        return [], []
    if next(geometry.iter("{*}interior"), None) is None:
        texts = [ring.text for ring in geometry.iter("{*}posList")]
        return texts, [1] * len(texts)
    polygons = [[ring.text for ring in patch.iter("{*}posList")] for patch in geometry.iter(*PATCHES)]
    polygons = [rings for rings in polygons if rings]
    return [text for rings in polygons for text in rings], [len(rings) for rings in polygons]


def _flat_label(name: str, label: int) -> int:
    """Class of a geometry property: a building's LOD0 outline says by its name whether it is roof or base."""
    if label == codes.BY_NORMAL_BUILDING and name.startswith("lod0"):
        return codes.ROOF if name == "lod0RoofEdge" else codes.BASE
    return label


def _columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs as two arrays."""
    return tuple(np.array(pairs, dtype=np.int64).reshape(-1, 2).T)


def _numbers(text: str) -> np.ndarray:
    """Numbers of one text; NaN for each word where one of them is no number."""
    words = text.split()
    try:
        return np.array([float(word) for word in words])
    except ValueError:
        return np.full(len(words), np.nan)
