"""A file of targets that cannot be meant so is refused, in words."""

import pytest

from stepladder.core import files
from stepladder.core.config import ParameterError
from stepladder.launch import targets

WRONG = {
    "targets: 3": "no names",
    "targets: [a]": "no names",
    "targts: {a: {hosts: [b]}}": "did you mean",
    "targets: {a/b: {hosts: [c]}}": "make a name",
    "targets: {'': {hosts: [c]}}": "make a name",
    "targets: {local: {hosts: [c]}}": "is this machine",
    "targets: {a: {hosts: ['-oProxyCommand=x']}}": "no name of a host",
    "targets: {a: {hosts: []}}": "hosts is empty",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_cannot_be_meant_is_refused(tmp_path, text):
    files.write_text(tmp_path / "params" / "targets.yaml", text)
    with pytest.raises(ParameterError, match=WRONG[text]):
        targets.read_targets(tmp_path)


def test_an_empty_file_leaves_this_machine(tmp_path):
    files.write_text(tmp_path / "params" / "targets.yaml", "targets:\n")
    assert list(targets.read_targets(tmp_path)) == ["local"]
