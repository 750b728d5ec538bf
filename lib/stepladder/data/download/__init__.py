"""Downloading by lists of addresses: every address is hostile input, every host somebody's machine."""
