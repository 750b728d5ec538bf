"""From CT volumes to patches: catalogue, readers, synthetic sheets, conversion, samples."""
