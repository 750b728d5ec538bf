"""From CityGML to clips: catalogue, readers, tiles, a procedural town, samples."""
