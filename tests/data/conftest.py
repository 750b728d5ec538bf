"""Tests of fetching and of its server stay on this machine."""

from tests.loopback import loopback  # noqa: F401
