"""From lists of addresses to shards of token ids and frozen-tower features."""
