"""Lets child processes of the tests find the template study: this folder is on their PYTHONPATH."""

from pathlib import Path

from stepladder import studies, testing

studies.__path__.append(str(Path(testing.__file__).parent))
