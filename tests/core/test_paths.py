from pathlib import Path

import pytest

from stepladder.core import paths
from stepladder.core.config import ParameterError

ROOT = Path(__file__).parents[2]


def test_the_root_is_found_from_below_and_its_absence_explained(tmp_path, monkeypatch):
    monkeypatch.delenv("STEPLADDER_ROOT", raising=False)
    assert paths.project_root(ROOT / "tests") == ROOT
    with pytest.raises(ParameterError, match="notebooks/ and params/"):
        paths.project_root(tmp_path)
