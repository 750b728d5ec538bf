"""What every reader gives: pictures as frames, and the items that ask of them, in words that can be written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stepladder.core.types import Issue
from stepladder.studies.captions.data.layout import Item


@dataclass(frozen=True)
class Content:
    """One asset as read.

    Attributes:
        keys: a name for every picture.
        frames: its frames (T, Y, X, 3) uint8; one for a still picture.
        items: questions and answers, whose pictures are places in `keys`.
        issues: what was skipped, counted.
        counts: rows of the list by what became of them, where there was a list.
    """

    keys: Sequence[str]
    frames: Sequence[np.ndarray]
    items: Sequence[Item]
    issues: Sequence[Issue] = ()
    counts: Mapping[str, int] = field(default_factory=dict[str, int])


def plain(text: str) -> str:
    """A text without what UTF-8 cannot hold (half a pair, as JSON may spell it), zero bytes and outer spaces."""
    return text.encode(errors="replace").decode().replace("\0", " ").strip()
