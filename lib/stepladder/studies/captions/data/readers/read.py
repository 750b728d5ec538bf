"""One asset by the reader that knows its layout."""

from stepladder.core.types import Asset
from stepladder.studies.captions.data.readers import pairs, statements
from stepladder.studies.captions.data.readers.content import Content


def read(asset: Asset, question: str) -> Content:
    """Pictures and items of an asset; `question` is what captions answer.

    Raises:
        StudyError: a file cannot be read or used; it is named.
    """
    return pairs.read(asset, question) if asset.files[0].suffix == ".tar" else statements.read(asset)
