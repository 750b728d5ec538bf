"""From raw files to batches: inventory, fetching, conversion to shards, splits, the order of samples."""
