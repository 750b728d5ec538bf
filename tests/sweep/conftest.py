"""Sweeps train what the tests of scaling train."""

from tests.scaling.conftest import make_run, template  # noqa: F401
