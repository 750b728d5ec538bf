"""One asset as images and labels, by the source it is of."""

from stepladder.core.types import Asset
from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.readers import airs, georeferenced, rid, roofline, simpleroof
from stepladder.studies.roofs.params import RoofsParams


def read(asset: Asset, params: RoofsParams) -> Labelled:
    """What the source of an asset knows of it; `StudyError` naming the file where it cannot be used."""
    conversion = params.conversion
    match asset.group:
        case rid.SOURCE:
            return rid.read(asset, conversion)
        case roofline.SOURCE:
            return roofline.read(asset)
        case airs.SOURCE:
            return airs.read(asset, conversion)
        case simpleroof.SOURCE:
            return simpleroof.read(asset, conversion)
        case _:
            return georeferenced.read(asset, conversion)
