"""The synthetic town unpacked as a fetch would leave it, and its tiles converted, for the tests of tiles and clips."""

import zipfile
from pathlib import Path

from stepladder.data import shards
from stepladder.studies.plateau.data.tiles import tile
from stepladder.studies.plateau.data.town import town
from stepladder.studies.plateau.params import PlateauConversion, PlateauData, PlateauModel, PlateauParams

COARSE = PlateauConversion(voxel_m=0.8)
WINDOW = PlateauModel(window=[80, 80, 8])


def params(conversion: PlateauConversion = COARSE, model: PlateauModel = WINDOW, **data) -> PlateauParams:
    """Parameters with coarse voxels and a small window; keyword arguments are those of the data section."""
    return PlateauParams(study="plateau", conversion=conversion, data=PlateauData(**data), model=model)


def unpack(folder: Path) -> Path:
    """The raw folder of a town of two municipalities with two tiles each."""
    for source in town.synthesize(folder / "zips", 4, seed=0):
        with zipfile.ZipFile(source.url.removeprefix("file://")) as archive:
            archive.extractall(folder / "raw" / source.folder)
    return folder / "raw"


def convert(raw: Path, folder: Path, settings: PlateauParams, count: int | None = None) -> list[Path]:
    """Shards of the first `count` tiles below `raw` that `settings` asks for (None: all)."""
    paths = []
    for asset in tile.assets([raw], settings)[:count]:
        paths.append(folder / f"{asset.id}.h5")
        shards.write(paths[-1], tile.convert(asset, settings, folder / "cache"), "test")
    return paths
