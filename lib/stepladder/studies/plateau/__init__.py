"""PLATEAU: Japan's CityGML city models as semantic occupancy, forecast in the manner of OccWorld."""
