"""Raw files of city models: read, triangulated, labelled."""
