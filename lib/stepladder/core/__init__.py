"""The ground floor: parameters, runs and their stages, files, and what a study must say."""
