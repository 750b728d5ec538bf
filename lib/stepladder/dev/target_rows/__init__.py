"""The rows of the tables of results, a file for each part of the project; `dev.targets` puts them together."""
