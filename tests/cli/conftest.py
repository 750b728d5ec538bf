"""The command line's tests borrow a finished run and a place for it."""

from tests.registry.conftest import params, run  # noqa: F401
