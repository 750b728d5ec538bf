"""Tools for who works on this project: house style, golden notebooks, recorded results, environments."""
