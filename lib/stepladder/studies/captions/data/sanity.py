"""Gates of 02: faults of pictures and texts that raise no error and that a training would learn from all the same.

Decisions:
- Asked of the shards, so of what training will read: pictures that show nothing, features that are the same whatever is
  seen (a tower fed with zeros, or of another range), texts that are the same whatever is shown.
- Items longer than the sequence are left out of training and evaluation without a word there, so they are counted here.
- The world tower made here is asked for its verdict, which its file carries (see `gathering`).
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stepladder.core.types import Check, StudyError
from stepladder.data.shards import Shard
from stepladder.studies.captions.data.conversion import items_of
from stepladder.studies.captions.data.dataset import Pairs
from stepladder.studies.captions.data.layout import CAPTION
from stepladder.studies.captions.params import CaptionsParams

BLANK = 2.0  # standard deviation of colours, of 255, below which a picture shows nothing
MOST_BLANK, MOST_ALIKE, MOST_LEFT_OUT = 0.05, 0.2, 0.05
LEAST_SPREAD = 1e-3  # of features between pictures, in units of the features' own size
PICTURES = 500  # looked at, spread evenly


def checks(shards: Sequence[Path], params: CaptionsParams) -> list[Check]:
    """Whether pictures, features and texts say anything."""
    opened = [Shard(path) for path in shards]
    pixels = [shard.array("pixels_NYXC") for shard in opened]
    total = sum(map(len, pixels))
    every = max(1, total // PICTURES)
    deviation_N = np.concatenate([array[::every].std((1, 2, 3)) for array in pixels])
    blank = float((deviation_N < BLANK).mean())
    captions = Counter(
        item.answer for shard in opened for item in items_of(shard.array("items_S")) if item.kind == CAPTION
    )
    return [
        Check("pictures show something", blank <= MOST_BLANK, f"{blank:.1%} of {len(deviation_N)} are of one colour"),
        _spread(opened, "vision_NPF", every),
        _spread(opened, "world_NTVUC", every),
        _texts(captions),
        _fit(shards, params),
    ]


def _spread(shards: Sequence[Shard], name: str, every: int) -> Check:
    """Whether features differ between pictures."""
    values_NF = np.concatenate([_mean(shard, name, every) for shard in shards])
    size = float(np.sqrt(np.square(values_NF).mean()))
    spread = float(values_NF.std(0).mean()) / max(size, 1e-12)
    tower = name.partition("_")[0]
    words = f"{spread:.2g} of their size between {len(values_NF)} pictures"
    return Check(f"the {tower} tower tells pictures apart", bool(np.isfinite(spread)) and spread >= LEAST_SPREAD, words)


def _mean(shard: Shard, name: str, every: int) -> np.ndarray:
    """Features of some pictures averaged over their places, float32 (N, F)."""
    kept = shard.array(name)[::every].astype(np.float32)
    scale = name.replace("_", "_scale_")
    kept = kept * shard.array(scale)[::every].astype(np.float32) if scale in shard.names else kept
    return kept.reshape(len(kept), -1, kept.shape[-1]).mean(1)


def _texts(captions: Counter[str]) -> Check:
    """Whether captions differ; a list whose every text is a site's name teaches that name."""
    if not captions:
        return Check("captions differ", True, "there are no captions, only questions")
    text, count = captions.most_common(1)[0]
    share = count / captions.total()
    words = f"{share:.1%} of {captions.total()} are {text[:60]!r}, {len(captions)} are different"
    return Check("captions differ", share <= MOST_ALIKE or captions.total() < 10, words)


def _fit(shards: Sequence[Path], params: CaptionsParams) -> Check:
    """Whether items fit the sequence; long ones are others than short ones, so leaving many out changes the task."""
    name = "items fit the sequence"
    try:
        pairs = Pairs(shards, params)
    except StudyError as error:
        return Check(name, False, str(error))
    total = len(pairs) + pairs.left_out
    words = f"{pairs.left_out:,} of {total:,} are longer than model.length = {params.model.length} and left out"
    return Check(name, pairs.left_out <= MOST_LEFT_OUT * total, words)
