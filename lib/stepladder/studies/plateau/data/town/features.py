"""City objects of the synthetic town: how a house, a road, a tree or a bridge becomes a `Feature` in PLATEAU's LODs.

Each function takes map positions (metres) and the heights it needs and returns one feature. Where things stand is
decided in `town.py`. Codes are those of PLATEAU's code lists.
"""

from dataclasses import replace

import numpy as np

from stepladder.studies.plateau.data.citygml import solids
from stepladder.studies.plateau.data.citygml.gml import Feature, Geometry
from stepladder.studies.plateau.data.citygml.solids import Rings, Roof
from stepladder.studies.plateau.data.town.plan import CROSSING, FOOTWAY, PLANTING, PROFILES, Plan, Street

HOUSE, FLATS, SHOP, SCHOOL, TEMPLE = "411", "412", "402", "422", "454"  # Building_usage
PADDY, FIELD, WATER, DWELLINGS, COMMERCE, PUBLIC, PARK = "201", "202", "204", "211", "212", "214", "217"  # land use
FENCE, POLE, LIGHT = "2000", "4840", "4200"  # CityFurniture_function
KERB_M = 0.15  # footways and planting lie higher than the carriageway


def building(
    outline_N2: np.ndarray, base: float, eaves: float, ridge: float, roof: Roof, usage: str, storeys: int, lod: int
) -> Feature:
    """A building from the absolute height `base`; `eaves` and `ridge` are metres above it.

    LOD1 is a block up to the middle of the roof; with `lod` 2 there are roof, wall and ground surfaces too.
    """
    if lod == 1:
        eaves = ridge = (eaves + ridge) / 2
    block = solids.prism(outline_N2, base, base + (eaves + ridge) / 2)
    return Feature(
        theme="bldg",
        kind="Building",
        centre=tuple(outline_N2.mean(axis=0)),
        attributes=(
            ("bldg:class", "3002" if storeys > 2 else "3001", "Building_class"),
            ("bldg:usage", usage, "Building_usage"),
            ("bldg:measuredHeight", f"{ridge:.1f}", "m"),
            ("bldg:storeysAboveGround", str(storeys), ""),
        ),
        geometry=(
            Geometry("lod0FootPrint", "MultiSurface", [solids.at(outline_N2, 0.0)]),
            Geometry("lod1Solid", "Solid", block),
        ),
        surfaces=solids.house(outline_N2, base, base + eaves, base + ridge, roof) if lod > 1 else {},
    )


def in_parts(*parts: Feature) -> Feature:
    """One building whose geometry lies in its parts."""
    named = tuple(replace(part, kind="BuildingPart", attributes=part.attributes[1:]) for part in parts)  # no class
    return replace(parts[0], geometry=(), surfaces={}, parts=named)


def road(plan: Plan, street: Street, lod: int) -> Feature:
    """A street: LOD1 is its flat outline at z = 0; LOD3 adds lanes, footways and planting at their true heights."""
    areas, left = [], street.width / 2
    for code, width in PROFILES[street.rank] if lod == 3 else ():
        areas.append((code, band(plan, street, left, left - width, KERB_M * (code in (FOOTWAY, PLANTING)))))
        left -= width
    return _road(street.outline(), tuple(areas))


def crossing(plan: Plan, outline_N2: np.ndarray, lod: int) -> Feature:
    """The surface where streets meet."""
    surface = solids.triangles(solids.at(outline_N2, plan.height(outline_N2)))
    return _road(outline_N2, ((CROSSING, surface),) if lod == 3 else ())


def _road(outline_N2: np.ndarray, areas: tuple[tuple[int, Rings], ...]) -> Feature:
    return Feature(
        theme="tran",
        kind="Road",
        centre=tuple(outline_N2.mean(axis=0)),
        attributes=(("tran:class", "1040", "Road_class"), ("tran:function", "4", "Road_function")),
        geometry=(Geometry("lod1MultiSurface", "MultiSurface", [solids.at(outline_N2, 0.0)]),),
        areas=areas,
    )


def band(plan: Plan, street: Street, left: float, right: float, lift: float = 0.0) -> Rings:
    """A strip of street at its true height, as quads; on the bridge it spans from bank to bank."""
    a, b = street.strip(left, right)
    heights = [plan.height(edge) for edge in (a, b)]
    if street.rank == "bridge":
        heights = [np.linspace(z[0], z[-1], len(z)) for z in heights]
    a, b = (solids.at(edge, z + lift) for edge, z in zip((a, b), heights, strict=True))
    return [np.array([b[i], b[i + 1], a[i + 1], a[i]]) for i in range(len(a) - 1)]


def bridge(plan: Plan, street: Street) -> Feature:
    """A girder bridge under a street: deck, two parapets and two piers, as one LOD2 surface."""
    half = street.width / 2 + 0.4
    ends = street.line_N2[[0, -1]]
    z = plan.height(ends)
    along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    left = np.array([-along[1], along[0]])

    def slab(inner: float, outer: float, low: float, high: float) -> Rings:
        """A bar along the bridge between two offsets, its heights measured from the deck."""
        outline = np.concatenate([ends + inner * left, (ends + outer * left)[::-1]])
        faces = solids.prism(outline, 0.0, 1.0)
        deck = np.array([z[0], z[1], z[1], z[0]])
        table = {
            (*xy, level): d + h for xy, d in zip(outline, deck, strict=True) for level, h in ((0.0, low), (1.0, high))
        }
        return [solids.at(face[:, :2], np.array([table[tuple(p)] for p in face])) for face in faces]

    rings = slab(-half, half, -0.9, -0.02) + slab(half - 0.3, half, -0.02, 1.0) + slab(-half, 0.3 - half, -0.02, 1.0)
    for share in (0.35, 0.65):
        foot = ends[0] + share * (ends[1] - ends[0])
        pier = solids.rectangle(foot, left, street.width - 1, 1.2)
        rings += solids.prism(pier, plan.plain_z - 4.5, z.mean() - 0.9)
    return Feature(
        "brid", "Bridge", tuple(ends.mean(axis=0)), geometry=(Geometry("lod2MultiSurface", "MultiSurface", rings),)
    )


def tree(spot_2: np.ndarray, base: float, height: float, crown: float, lod: int) -> Feature:
    """A single tree: LOD1 a block, LOD2 the sides of a trunk and a crown of eight triangles."""
    trunk = solids.rectangle(spot_2, np.array([1.0, 0.0]), 0.4, 0.4)
    block = solids.prism(solids.rectangle(spot_2, np.array([1.0, 0.0]), crown * 0.8, crown * 0.8), base, base + height)
    geometry = [Geometry("lod1Geometry", "Solid", block)]
    if lod == 2:
        waist = solids.at(solids.rectangle(spot_2, np.array([0.8, 0.6]), crown * 0.8, crown * 0.8), base + 0.6 * height)
        top, bottom = np.array([*spot_2, base + height]), np.array([*spot_2, base + 0.28 * height])
        faces = [
            np.array(f) for i in range(4) for f in ((waist[i], waist[i - 3], top), (waist[i - 3], waist[i], bottom))
        ]
        geometry.append(
            Geometry("lod2Geometry", "MultiSurface", solids.prism(trunk, base, base + 0.4 * height)[2:] + faces)
        )
    return Feature(
        "veg", "SolitaryVegetationObject", tuple(spot_2),
        (("veg:class", "1", "SolitaryVegetationObject_class"), ("veg:height", f"{height:.1f}", "m")), tuple(geometry),
    )  # fmt: skip


def grove(outline_N2: np.ndarray, base: float, height: float) -> Feature:
    """A hedge, a shrubbery or a grove: its outline raised to its average height."""
    kind = "1" if height >= 3 else "2" if height >= 1 else "3"
    solid = Geometry("lod1MultiSolid", "MultiSolid", solids.prism(outline_N2, base, base + height))
    rows = (("veg:class", kind, "PlantCover_class"), ("veg:averageHeight", f"{height:.1f}", "m"))
    return Feature("veg", "PlantCover", tuple(outline_N2.mean(axis=0)), rows, (solid,))


def furniture(function: str, spot_2: np.ndarray, geometry: Geometry) -> Feature:
    """A piece of street furniture."""
    rows = (("frn:class", "1000", "CityFurniture_class"), ("frn:function", function, "CityFurniture_function"))
    return Feature("frn", "CityFurniture", tuple(spot_2), rows, (geometry,))


def pole(spot_2: np.ndarray, base: float, height: float, function: str) -> Feature:
    """A utility pole or a street light."""
    outline = solids.rectangle(spot_2, np.array([1.0, 0.0]), 0.3, 0.3)
    return furniture(function, spot_2, Geometry("lod1Geometry", "Solid", solids.prism(outline, base, base + height)))


def fence(line_N2: np.ndarray, z_N: np.ndarray, height: float = 1.1) -> Feature:
    """A fence along a polyline, as upright rectangles."""
    low, high = solids.at(line_N2, z_N), solids.at(line_N2, z_N + height)
    panels = [np.array([low[i], low[i + 1], high[i + 1], high[i]]) for i in range(len(line_N2) - 1)]
    return furniture(FENCE, line_N2.mean(axis=0), Geometry("lod1Geometry", "MultiSurface", panels))


def ground_use(outline_N2: np.ndarray, use: str) -> Feature:
    """A patch of land use, flat at z = 0."""
    patch = Geometry("lod1MultiSurface", "MultiSurface", [solids.at(outline_N2, 0.0)])
    return Feature(
        "luse", "LandUse", tuple(outline_N2.mean(axis=0)), (("luse:class", use, "Common_landUseType"),), (patch,)
    )


def river(plan: Plan, bank_N2: np.ndarray, far_N2: np.ndarray) -> Feature:
    """The river's surface between two lines of equally many points, as a TIN."""
    a, b = (solids.at(edge, plan.water((bank_N2 + far_N2) / 2)) for edge in (bank_N2, far_N2))
    faces = [half for i in range(len(a) - 1) for half in solids.triangles(np.array([b[i], b[i + 1], a[i + 1], a[i]]))]
    surface = Geometry("lod1MultiSurface", "MultiComposite", faces)
    return Feature(
        "wtr", "WaterBody", tuple(a[:, :2].mean(axis=0)), (("wtr:class", "1030", "WaterBody_class"),), (surface,)
    )


def terrain(plan: Plan, rings: Rings) -> Feature:
    """The ground as a TIN."""
    tin = Geometry("tin", "Triangles", rings)
    return Feature("dem", "ReliefFeature", tuple(plan.origin), geometry=(tin,))
