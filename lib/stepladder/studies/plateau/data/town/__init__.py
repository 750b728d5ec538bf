"""A procedural town in CityGML, sound or with known faults."""
