"""CityGML files -> labelled triangles: every PLATEAU theme and version, one pass over the XML.

Decisions:
- The file is streamed object by object (`lxml.iterparse` on `cityObjectMember`; reliefs triangle by triangle) and
  matched by local names, so CityGML 2.0 with any i-UR version and CityGML 3.0 read alike.
- Each building, bridge or road is taken at its best level of detail; typed surfaces (roof, wall, lane) go before
  untyped solids of the same level, which then often only refer to them. Rooms are never read.
- What cannot be used is left out, what can be repaired is, and both are counted (`Surfaces.issues`). Only a file that
  is not CityGML to its end is an error: cut, damaged, of another coordinate system, or with a DOCTYPE (entities
  and external references are refused, not resolved).
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from lxml import etree

from stepladder.studies.plateau.data.citygml import codes
from stepladder.studies.plateau.data.citygml.faces import label_by_normal
from stepladder.studies.plateau.data.citygml.raw import RawFileError, Tally, opened, stem
from stepladder.studies.plateau.data.citygml.rings import Rings
from stepladder.studies.plateau.data.citygml.surfaces import Surfaces

PARSER = {
    "events": ("end",),
    "tag": ("{*}cityObjectMember", "{*}Triangle", "{*}appearanceMember", "{*}surfaceDataMember"),
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "remove_blank_text": True,
    "remove_comments": True,
    "remove_pis": True,
    "collect_ids": False,
}
KNOWN_TAG = re.compile(r"\{http://www\.opengis\.net/citygml/\w+/[23]\.0\}\w+")  # a module of CityGML 2.0 or 3.0
GEOGRAPHIC = ("6697", "6668", "4979", "4326", "4612", "4947")  # EPSG codes in the order latitude, longitude (, height)
PATCHES = ("{*}Polygon", "{*}Triangle", "{*}PolygonPatch", "{*}Rectangle")

Piece = tuple[int, list[str | None], list[int]]  # class, texts of rings, rings of each polygon
ByDetail = defaultdict[int, list[tuple[int, etree._Element]]]  # level of detail -> class and geometry property


def read(path: Path, zone: int | None = None) -> Surfaces:
    """All surfaces of one CityGML file (.gml or .gml.gz).

    `zone` is the EPSG code of the plane-rectangular zone (6669 to 6687); None takes the one nearest to the first
    coordinate. Raises `RawFileError` for a file that is cut, damaged, not CityGML or in another coordinate system.
    """
    path, tally = Path(path), Tally()
    rings = Rings(zone or 0, tally)
    Reader(path, rings, tally).run()
    triangles_N33, label_N, feature_N = rings.triangles()
    label_by_normal(triangles_N33, label_N, feature_N, tally)
    return Surfaces.of(triangles_N33, label_N, feature_N, rings.features, rings.zone, tally)


class Reader:
    """One pass over one file: from XML elements to rings with a class and a feature."""

    def __init__(self, path: Path, rings: Rings, tally: Tally) -> None:
        self.path, self.rings, self.tally = path, rings, tally
        self._roles = codes.Roles()
        self._seen: set[str] = set()

    def run(self) -> None:
        """Read the whole file; `RawFileError` where it is not CityGML to its end."""
        with opened(self.path) as file:
            try:
                for node in self._city_objects(etree.iterparse(file, **PARSER)):
                    self._add_feature(node)
            except etree.XMLSyntaxError as error:
                place = f"line {error.lineno}, column {error.offset}"
                raise RawFileError(
                    f"{self.path}: XML is cut or damaged at {place} ({error.msg}); fetch the file again"
                ) from error
        if not self.rings.features:
            self.tally.add("empty tile", example=self.path.name)

    def _city_objects(self, context: etree.iterparse) -> Iterator[etree._Element]:
        """City objects one at a time, freed behind us; triangles of reliefs are taken out as they pass."""
        checked = False
        for _, element in context:
            if not checked:
                self._check_head(element.getroottree().getroot())
                checked = True
            name = codes.local(element.tag)
            if name == "Triangle":
                self._take_relief(element)
                continue
            if name == "cityObjectMember":
                yield from element.iterchildren("*")
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
        if not checked:
            self._check_head(context.root)

    def _check_head(self, root: etree._Element) -> None:
        """Refuse what is not CityGML in latitude, longitude and height."""
        if root.getroottree().docinfo.doctype:
            raise RawFileError(f"{self.path}: has a DOCTYPE, which may hide entities; CityGML has none: remove it")
        if codes.local(root.tag) != "CityModel":
            raise RawFileError(f"{self.path}: root element is {codes.local(root.tag)!r}, not 'CityModel'; not CityGML")
        envelope = root.find("{*}boundedBy/{*}Envelope")
        if envelope is None:
            return
        system = envelope.get("srsName", GEOGRAPHIC[0])
        if not system.endswith(GEOGRAPHIC):
            known = ", ".join(GEOGRAPHIC)
            raise RawFileError(
                f"{self.path}: coordinate system {system!r} is not one of EPSG {known}: transform it first"
            )
        self.rings.dimensions = 2 if envelope.get("srsDimension") == "2" else 3

    def _take_relief(self, triangle: etree._Element) -> None:
        """Move a relief's triangle from the tree into the rings; triangles of other geometry stay."""
        if next(triangle.iterancestors("{*}tin"), None) is not None:
            texts = [ring.text for ring in triangle.iter("{*}posList")]
            self.rings.add(codes.TERRAIN, texts, [1] * len(texts))
            triangle.getparent().remove(triangle)

    def _add_feature(self, node: etree._Element) -> None:
        """Take one city object at its best level of detail, or count why not."""
        kind = self._roles[node.tag][2]
        name = next((value for key, value in node.items() if codes.local(key) == "id"), "")
        if refused := self._refusal(node, kind, name):
            self.tally.add(refused, example=f"{kind} {name}".strip())
            return self.rings.drop()
        if not name:
            self.tally.add("feature without id, numbered", example=kind)
            name = f"{stem(self.path)}#{len(self.rings.features)}"
        if not KNOWN_TAG.fullmatch(node.tag):
            self.tally.add("namespace not known, read by local names", example=node.tag)
        self._seen.add(name)
        theme = codes.FEATURES[kind][0]
        lod, pieces = self._best(node, theme, codes.feature_class(node, kind, self.tally))
        for piece in pieces:
            self.rings.add(*piece)
        if theme == "dem" and codes.code(node, "lod").isdigit():
            lod = int(codes.code(node, "lod"))
        self.rings.finish(name, theme, kind, lod)

    def _refusal(self, node: etree._Element, kind: str, name: str) -> str:
        """Why a city object is not read; empty where it is."""
        if kind not in codes.FEATURES:
            return "feature type not read"
        if kind == "WaterBody" and any("RiskAttribute" in child.tag for child in node):
            return "flood hazard area skipped"
        return "duplicate id, first one kept" if name in self._seen else ""

    def _best(self, node: etree._Element, theme: str, label: int) -> tuple[int, list[Piece]]:
        """Best level of detail of a feature or part that has polygons, and its pieces; -1 where there is none."""
        plain: ByDetail = defaultdict(list)
        typed: ByDetail = defaultdict(list)
        parts, fittings = [], []
        for child in node:
            role, lod, name = self._roles[child.tag]
            if role == "geometry":
                plain[lod].append((_flat_label(name, label), child))
            elif role == "surface":
                self._sort_surfaces(child, theme, label, typed)
            elif role == "part":
                parts += [self._best(part, theme, label) for part in child]
            elif role == "fitting":
                fittings += [self._best(fitting, theme, codes.FITTINGS[theme]) for fitting in child]
            elif role in ("interior", "implicit"):
                self.tally.add(f"{role} geometry skipped", example=name)
        best, pieces = _finest(plain, typed, holes=next(node.iter("{*}interior"), None) is not None)
        if best < max((lod for lod, _ in parts), default=-1):
            pieces = []  # one block for the whole, when its parts are finer
        inner = parts + fittings
        return max([best, *(lod for lod, _ in inner)]), pieces + [piece for _, more in inner for piece in more]

    def _sort_surfaces(self, holder: etree._Element, theme: str, label: int, typed: ByDetail) -> None:
        """Sort the geometry of bounding surfaces, with the doors and windows in them, by level of detail."""
        for surface in holder:
            found = codes.surface_class(surface, self._roles[surface.tag][2], theme, label, self.tally)
            if found is None:
                continue
            for child in surface:
                role, lod, _ = self._roles[child.tag]
                if role == "geometry":
                    typed[lod].append((found, child))
                elif role == "opening":
                    for filling in child.iterchildren("*"):
                        for geometry in filling:
                            role, lod, _ = self._roles[geometry.tag]
                            if role == "geometry":
                                typed[lod].append((found, geometry))


def _finest(plain: ByDetail, typed: ByDetail, holes: bool) -> tuple[int, list[Piece]]:
    """The finest level of detail that has polygons, and these; typed surfaces before untyped ones."""
    for lod in sorted(plain.keys() | typed.keys(), reverse=True):
        for geometries in (typed, plain):
            if pieces := _pieces(geometries.get(lod, []), holes):
                return lod, pieces
    return -1, []


def _pieces(geometries: list[tuple[int, etree._Element]], holes: bool) -> list[Piece]:
    """The polygons of some geometry properties as texts; without those that only refer to others (xlink)."""
    pieces = ((label, *_texts(geometry, holes)) for label, geometry in geometries)
    return [piece for piece in pieces if piece[2]]


def _texts(geometry: etree._Element, holes: bool) -> tuple[list[str | None], list[int]]:
    """Texts of all rings below a geometry property, outline first, and the number of rings of each polygon."""
    if not holes and not geometry.tag.endswith("Geometry"):  # no curves, no inner rings: every list is a polygon
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
