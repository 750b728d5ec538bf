"""What the study says of its data beforehand: card, columns of bytes, bytes that somebody planned for.

Text and numbers alone, so that a training reads them without the catalogue and its packages.
"""

SIZES = {"zip_bytes": "whole archives", "bldg_bytes": "buildings only, compressed"}

# Bytes the original plan guessed for each region, and for Japan in all.
PLANNED = {
    "Hokkaido": 2e9, "Tohoku": 3e9, "Kanto": 15e9, "Chubu": 5e9, "Kansai": 8e9, "Chugoku and Shikoku": 20e9,
    "Kyushu and Okinawa": 4e9, "all": 60e9,
}  # fmt: skip

CARD = """
**Source.** Project PLATEAU of Japan's Ministry of Land, Infrastructure, Transport and Tourism: CityGML models of 306
municipalities (buildings, roads, terrain, vegetation, furniture, bridges, land use, water), one archive per city.

**Licence.** PLATEAU site policy, Public Data License 1.0, stated compatible with CC BY 4.0. Attribution:
出典：国土交通省 PLATEAU. Copyright of the models lies with each municipality.

**Units.** Metres in the plane-rectangular zone of the tile (EPSG:6669 to 6687); angles in radians; time in seconds.

**Known defects.** Roads of LOD1 lie at z = 0 and are draped on the ground; terrain is missing for many cities and is
then interpolated from building bases; heights of 9999 and -9999 are sentinels; features on a tile's border belong to
one tile only; a mesh holds whole walls, where a vehicle's sensors see only their faces; nothing moves.

**Model after.** Zheng et al., OccWorld: Learning a 3D Occupancy World Model for Autonomous Driving (ECCV 2024); labels
of Tian et al., Occ3D (NeurIPS 2023).
"""
