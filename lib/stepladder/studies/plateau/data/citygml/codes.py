"""From what a municipality writes (feature types, surface types, function codes) to our fine classes.

Decisions:
- Names are local names, so every version of CityGML and of Japan's i-UR extension reads alike.
- Codes come from PLATEAU's code lists (`TrafficArea_function`, `Common_landUseType`, ...); a code or surface type that
  is not listed takes the default of its feature type and is counted.
- Building and bridge faces without a surface type get `BY_NORMAL_*`: the reader decides by the face's normal.
"""

import re

from lxml import etree

from stepladder.studies.plateau.data.citygml.classes import BY_NAME
from stepladder.studies.plateau.data.citygml.raw import Tally

BY_NORMAL_BUILDING, BY_NORMAL_BRIDGE = 254, 255

ROOF, WALL, BASE, BUILDING = (BY_NAME[name].id for name in ("roof", "wall", "building base", "building"))
BRIDGE, DECK, FURNITURE, FENCE = (BY_NAME[name].id for name in ("bridge", "bridge deck", "furniture", "fence"))
ROAD, FOOTWAY, MEDIAN, RAILWAY = (BY_NAME[name].id for name in ("road", "footway", "median and parking", "railway"))
WATER, TERRAIN, FIELD = (BY_NAME[name].id for name in ("water", "terrain", "field and park"))
TREE, PLANTING = (BY_NAME[name].id for name in ("tree", "planting"))

# Feature type -> theme and default class.
FEATURES = {
    "Building": ("bldg", BY_NORMAL_BUILDING),
    "Bridge": ("brid", BY_NORMAL_BRIDGE),
    "Road": ("tran", ROAD),
    "TransportationComplex": ("tran", ROAD),
    "Railway": ("tran", RAILWAY),
    "Square": ("tran", FOOTWAY),
    "Track": ("tran", FOOTWAY),
    "Waterway": ("tran", WATER),
    "PlantCover": ("veg", TREE),
    "SolitaryVegetationObject": ("veg", TREE),
    "CityFurniture": ("frn", FURNITURE),
    "ReliefFeature": ("dem", TERRAIN),
    "TINRelief": ("dem", TERRAIN),
    "LandUse": ("luse", TERRAIN),
    "WaterBody": ("wtr", WATER),
}

# Surfaces a building, bridge or water body is bounded by; None is no outer surface and is skipped and counted.
BOUNDARIES = {
    "RoofSurface": ROOF,
    "WallSurface": WALL,
    "GroundSurface": BASE,
    "OuterCeilingSurface": BASE,
    "OuterFloorSurface": ROOF,
    "WaterSurface": WATER,
    "WaterGroundSurface": TERRAIN,
    "ClosureSurface": None,
    "WaterClosureSurface": None,
    "InteriorWallSurface": None,
    "CeilingSurface": None,
    "FloorSurface": None,
}
FITTINGS = {"bldg": BUILDING, "brid": BRIDGE}  # balconies, chimneys, piers: neither roof nor wall
BRIDGE_BOUNDARIES = {ROOF: DECK, WALL: BRIDGE, BASE: BRIDGE}

# Function of TrafficArea and AuxiliaryTrafficArea: carriageways and what a car may cross, then walks, then the rest.
TRAFFIC = (
    dict.fromkeys(("1000", "1010", "1020", "1030", "1040", "1130", "1060", "1090", "1100", "1110", "1120"), ROAD)
    | dict.fromkeys(("2000", "2010", "2020", "2030"), FOOTWAY)
    | dict.fromkeys(("1080", "3000", "3010", "3020", "4000", "6000", "7000"), MEDIAN)
    | dict.fromkeys(("5000", "5010", "5020"), PLANTING)
    | {"1050": RAILWAY}
)
TRAFFIC_DEFAULT = {"TrafficArea": ROAD, "AuxiliaryTrafficArea": MEDIAN}

# Land use by the first three digits: 201, 202, 260 farmland, 203 woods, 204 water, 205 wild, 211-214 and 218-223 built
# or idle, 215, 262 road, 216 transport premises, 217 parks, 220 golf, 222 parking, 231-263 undivided or unknown.
LAND_USE = (
    dict.fromkeys(("201", "202", "217", "220", "260"), FIELD)
    | dict.fromkeys(("203", "205", "211", "212", "213", "214", "216", "218", "219"), TERRAIN)
    | dict.fromkeys(("221", "223", "231", "251", "252", "261", "263"), TERRAIN)
    | {"204": WATER, "215": ROAD, "262": ROAD, "222": MEDIAN}
)

# Class of vegetation: 1 tall and 2 middle trees, 3 low trees, 4 ground cover, 5 flowers; 0 unknown.
VEGETATION = {"0": TREE, "1": TREE, "2": TREE, "3": PLANTING, "4": PLANTING, "5": PLANTING}

GEOMETRY = re.compile(r"lod([0-4])(Solid|MultiSurface|MultiSolid|Surface|Geometry|RoofEdge|FootPrint)")
NAMED_ROLES = {
    "surface": "boundedBy boundary trafficArea auxiliaryTrafficArea",
    "opening": "opening fillingSurface",
    "part": "consistsOfBuildingPart buildingPart consistsOfBridgePart bridgePart trafficSpace auxiliaryTrafficSpace "
    "section intersection",
    "fitting": "outerBuildingInstallation buildingInstallation buildingConstructiveElement outerBridgeInstallation "
    "bridgeInstallation outerBridgeConstruction bridgeConstructiveElement",
    "interior": "interiorRoom interiorBuildingInstallation interiorFurniture buildingRoom buildingFurniture "
    "buildingSubdivision interiorBridgeRoom interiorBridgeInstallation bridgeRoom bridgeFurniture",
}
ROLE_OF_NAME = {name: role for role, names in NAMED_ROLES.items() for name in names.split()}


def local(tag: str) -> str:
    """A tag without its namespace."""
    return tag.rpartition("}")[2]


class Roles(dict[str, tuple[str, int, str]]):
    """What a property element means to the reader: tag -> (role, level of detail or -1, local name); remembered."""

    def __missing__(self, tag: str) -> tuple[str, int, str]:
        name = local(tag)
        if match := GEOMETRY.fullmatch(name):
            role = "geometry", int(match[1]), name
        elif name.endswith("ImplicitRepresentation"):
            role = "implicit", -1, name
        else:
            role = ROLE_OF_NAME.get(name, ""), -1, name
        self[tag] = role
        return role


def code(node: etree._Element, name: str) -> str:
    """Text of the first property `name` of a feature; empty where absent."""
    found = next(node.iterchildren("{*}" + name), None)
    return (found.text or "").strip() if found is not None else ""


def feature_class(node: etree._Element, kind: str, tally: Tally) -> int:
    """Class of a feature's faces, unless a bounding surface says otherwise."""
    default = FEATURES[kind][1]
    if kind == "LandUse":
        return _look_up(LAND_USE, code(node, "class"), 3, default, kind, tally)
    if kind in ("PlantCover", "SolitaryVegetationObject"):
        return _look_up(VEGETATION, code(node, "class"), 1, default, kind, tally) if code(node, "class") else default
    if kind == "CityFurniture":
        function = code(node, "function")
        if function[:2] in ("10", "11", "12") or function[:3] in ("560", "561", "562", "563"):
            return ROAD  # painted markings and lids lie in the carriageway
        return FENCE if function == "2000" else FOOTWAY if function == "8150" else default  # 8150: tactile paving
    return default


def surface_class(surface: etree._Element, kind: str, theme: str, default: int, tally: Tally) -> int | None:
    """Class of a bounding surface or traffic area; None where it is no outer surface."""
    if kind in TRAFFIC_DEFAULT:
        return _look_up(TRAFFIC, code(surface, "function"), 4, TRAFFIC_DEFAULT[kind], kind, tally)
    if kind not in BOUNDARIES:
        if kind != "Envelope":  # gml:boundedBy, the feature's extent
            tally.add("surface type not known, default class used", example=kind)
        return default
    found = BOUNDARIES[kind]
    if found is None:
        tally.add("closure or interior surface skipped", example=kind)
    return BRIDGE_BOUNDARIES.get(found, found) if theme == "brid" and found is not None else found


def _look_up(table: dict[str, int], code: str, digits: int, default: int, kind: str, tally: Tally) -> int:
    """Class of a code by its leading digits; the default, counted, where it is missing or not listed."""
    if code[:digits] not in table:
        tally.add("code missing or not known, default class used", example=f"{kind} {code}".strip())
    return table.get(code[:digits], default)
