import numpy as np

from stepladder.core.types import ShardContent
from stepladder.data import loading, shards


def test_regions_of_other_splits_are_kept_clear_and_assets_without_a_shard_left_out(tmp_path):
    regions = {"a": (0, 0, 1, 1), "b": (1, 0, 2, 1), "c": (2, 0, 3, 1), "d": None}
    for name, region in regions.items():
        content = ShardContent({"x": np.zeros(3)}, attributes={"region": region} if region else {})
        shards.write(tmp_path / f"{name}.h5", content, "r")
    splits = {"train": ["a", "lost"], "validation": ["b", "d"], "test": ["c"]}
    conversion = {"shards": {name: f"{name}.h5" for name in regions}, "splits": splits}
    own, clear = loading.split_shards(tmp_path, conversion, "train")
    assert own == [tmp_path / "a.h5"] and clear == [regions["b"], regions["c"]]
