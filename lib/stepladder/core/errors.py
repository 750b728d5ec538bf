"""The error that a person can mend, and its kind for a file that cannot be read. Below all of `core` but `secrets`."""

from pathlib import Path

from stepladder.core.secrets import redact


class ParameterError(ValueError):
    """A parameter that cannot be used, with its name, its value and the way out; secrets in its text are hidden."""

    def __init__(self, message: object = ""):
        super().__init__(redact(str(message)))


class Damaged(ParameterError):
    """A file that is there and cannot be read as what it should hold.

    Attributes:
        path: the file.
        why: what is wrong with it, in words.
    """

    def __init__(self, path: Path, why: str, way_out: str = "mend it, or move it away"):
        super().__init__(f"{path.parent.name}/{path.name} {why}: {way_out}")
        self.path, self.why = path, redact(why)

    def __reduce__(self) -> tuple[type["Damaged"], tuple[Path, str]]:
        return type(self), (self.path, self.why)
