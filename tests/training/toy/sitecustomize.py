"""Lets child processes of the tests find the toy study: this folder is on their PYTHONPATH."""

from pathlib import Path

from stepladder import studies

studies.__path__.append(str(Path(__file__).parent))
