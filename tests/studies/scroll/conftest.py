"""This folder is a package, because other studies have test files of the same names; its helpers are found by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
