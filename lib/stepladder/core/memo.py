"""What was read out of source files, kept between processes: to parse two hundred of them takes longer than all else.

Decisions:
- It lies where Python keeps the bytecode of the module that asks, and is as disposable: damaged, made by other code or
  not to be written, it is done without.
- A file is known by its stamp (times, size, number). One that was changed a moment ago is not kept: its next change
  could bear the same stamp.
"""

import json
import time
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, cast

from stepladder.core import files
from stepladder.core.files import Json

YOUNG = 2.0  # seconds after a change in which a stamp may come again


class Memo:
    """What the module `code` found in files below `home`, by path and stamp."""

    def __init__(self, code: Path, home: Path):
        self._path, self._code, self._home = Path(cache_from_source(str(code))).with_suffix(".json"), code, home
        self._kept: Json | None = None
        self._fresh = False

    def get(self, path: Path, stamp: Any) -> Any:
        """What is kept of a file as it is now; None where nothing is."""
        match self._all().get(str(path)):
            case [kept, value] if kept == list(stamp or ()):
                return value
            case _:
                return None

    def put(self, path: Path, stamp: Any, value: Any) -> None:
        """Keep a value of plain JSON for a file as it is now; on the disk after `save`."""
        if stamp and path.is_relative_to(self._home) and time.time() - max(stamp[:2]) / 1e9 > YOUNG:
            self._all()[str(path)] = [list(stamp), value]
            self._fresh = True

    def save(self) -> None:
        """Write what is new."""
        if self._fresh:
            self._fresh = False
            with suppress(OSError):
                files.write_text(self._path, json.dumps({"code": self._digest(), "files": self._all()}))

    def _all(self) -> Json:
        if self._kept is None:
            self._kept = {}
            with suppress(OSError, ValueError, KeyError, TypeError):
                told = json.loads(self._path.read_bytes())
                if told["code"] == self._digest():
                    self._kept = cast(Json, dict(told["files"]))
        return self._kept

    def _digest(self) -> str:
        """The code that finds: what other code found is not taken."""
        return files.file_sha256(self._code)
