"""A tar in webdataset's layout: pictures with captions, questions, and what became of the rows it was made of.

Decisions:
- A picture without a caption and without questions teaches nothing and is counted, as is one that cannot be decoded.
- `K.frame01.jpg` and on are the later frames of a moving scene.
- A tar from elsewhere says no family: then its key is one, and every picture is independent of every other.
"""

from typing import Any

import numpy as np

from stepladder.core.types import Asset, Issue, StudyError
from stepladder.data.images import tars
from stepladder.data.images.decode import Undecodable, picture
from stepladder.studies.captions.data.layout import CAPTION, ITEMS, Item
from stepladder.studies.captions.data.readers.content import Content

ENDINGS = ("jpg", "jpeg", "png", "webp", "gif")


def read(asset: Asset, question: str) -> Content:
    """Pictures and items of a tar.

    Args:
        asset: whose first file is the tar.
        question: what captions answer.

    Raises:
        StudyError: the tar cannot be read, or holds no picture with a text.
    """
    path = asset.files[0]
    keys, frames, items, issues = list[str](), list[np.ndarray](), list[Item](), list[Issue]()
    try:
        reader = tars.TarReader(path)
        for number, key in enumerate(reader.keys):
            try:
                seen = _frames(reader, number)
            except Undecodable as error:
                issues.append(Issue(f"picture {error.outcome}", 1, f"{path.name}: {key}: {error}"))
                continue
            asked = _items(reader, number, len(keys), question, asset.group, key)
            if not asked:
                issues.append(Issue("picture without a text", 1, f"{path.name}: {key}"))
                continue
            keys.append(key)
            frames.append(seen)
            items += asked
        counts = reader.counts
    except (tars.TarError, OSError) as error:
        raise StudyError(f"{path.name} cannot be read as a tar of pictures: {error}; fetch or make it again") from error
    if not items:
        raise StudyError(f"{path.name} holds no picture with a text")
    return Content(keys, frames, items, issues, counts)


def _frames(reader: tars.TarReader, number: int) -> np.ndarray:
    """Frames (T, Y, X, 3) of a sample."""
    members = reader.endings(number)
    ending = next((ending for ending in ENDINGS if ending in members), None)
    if ending is None:
        raise Undecodable("not_image", f"no member ends in {', '.join(ENDINGS)}")
    later = sorted(name for name in members if name.startswith("frame"))
    shown = [picture(reader.read(number, name)) for name in (ending, *later)]
    if len({frame.shape for frame in shown}) > 1:
        raise Undecodable("decode", "its frames differ in size")
    return np.stack(shown)


def _items(reader: tars.TarReader, number: int, place: int, question: str, group: str, key: str) -> list[Item]:
    """The caption of a sample and the questions on it."""
    members = reader.endings(number)
    facts: dict[str, Any] = reader.json(number) if "json" in members else {}
    text = reader.read(number, "txt").decode(errors="replace") if "txt" in members else str(facts.get("caption") or "")
    shared = {"group": str(facts.get("group") or group), "family": str(facts.get("family") or key)}
    items = [Item((place,), question, text.strip(), CAPTION, **shared)] if text.strip() else []
    for asked in facts.get("questions") or ():
        kind = ITEMS.index(asked["kind"])
        items.append(
            Item((place,), asked["question"], asked["answer"], kind, tuple(asked.get("choices", ())), **shared)
        )
    return items
