"""Profiles: `params/<study>/<profile>.yaml`, read and checked against the parameters of the study."""

from pathlib import Path
from typing import Any

from stepladder.core.config import ParameterError, check, merge, nearest, read_yaml
from stepladder.core.schema import Parameters
from stepladder.core.study import schema as study_schema


def profile_path(root: Path, study: str, profile: str) -> Path:
    """Path of a profile; `ParameterError` with the nearest name when there is none."""
    folder = root / "params" / study
    path = folder / f"{profile}.yaml"
    if not path.exists():
        raise ParameterError(
            f"no profile {profile!r} for study {study!r}{nearest(profile, (p.stem for p in folder.glob('*.yaml')))}"
        )
    return path


def load(root: Path, study: str, profile: str = "quick", overrides: dict[str, Any] | None = None) -> Parameters:
    """Read, merge and check the parameters of one run.

    Args:
        root: project root, which holds `params/`.
        study: name of the study, whose `Params` class checks the values.
        profile: name of the YAML file in `params/<study>/`.
        overrides: nested values that win over the profile, such as `{"training": {"steps": 10}}`.

    Raises:
        ParameterError: for anything that cannot be used, naming key, value and the nearest known key.
    """
    schema = study_schema(study)
    text = read_yaml(profile_path(root, study, profile))
    return check(schema, merge(text, {"study": study, "profile": profile}, overrides or {}))
