"""Samples of a run: the splits of its conversion, opened as the study's datasets."""

from pathlib import Path
from typing import TYPE_CHECKING

from stepladder.core.records import Conversion, Split
from stepladder.core.run import Run
from stepladder.core.schema import Parameters

if TYPE_CHECKING:
    from stepladder.core.study import Study
    from stepladder.core.types import Box, Dataset


def datasets(run: Run, study: "Study", params: Parameters) -> "tuple[Dataset, Dataset, Dataset]":
    """Training samples, validation samples and whole validation cases, from the result of `02_conversion`.

    It holds `shards` (asset id -> path relative to the study's outputs) and `splits` (name -> asset ids). Samples keep
    clear of the regions of the other splits' shards (their attribute `region`).
    """
    result = run.result("02_conversion")
    assert result is not None, f"02_conversion of {run.folder} has no result"
    train = split_shards(run.folder.parent, result, "train")
    validation = split_shards(run.folder.parent, result, "validation")

    def samples(place: "tuple[list[Path], list[Box]]") -> "Dataset":
        own, regions = place
        return study.dataset(own, params, regions)

    return samples(train), samples(validation), study.evaluation_dataset(validation[0], params, validation[1])


def split_shards(home: Path, conversion: Conversion, name: Split) -> "tuple[list[Path], list[Box]]":
    """Shards of one split, and the regions of the others, which its samples keep clear of.

    Assets whose conversion failed have no shard and are left out here.

    Args:
        home: folder of the study's outputs, which shard paths are relative to.
        conversion: the result of `02_conversion`.
        name: train, validation or test.
    """
    from stepladder.data.shards import Shard
    from stepladder.data.splits import NAMES

    paths = {asset: home / path for asset, path in conversion["shards"].items()}
    splits = conversion["splits"]
    own = [paths[asset] for asset in splits[name] if asset in paths]
    others = [paths[asset] for other in NAMES if other != name for asset in splits[other] if asset in paths]
    regions = [Shard(path).attributes.get("region") for path in others]
    return own, [tuple(region) for region in regions if region is not None]
