"""A machine is reached wherever the project lies."""

import pytest

from stepladder.launch.hosts import SshHost, forget
from tests.launch.world import World

pytestmark = pytest.mark.drill


def test_a_project_may_lie_in_any_folder(world: World, tmp_path) -> None:
    known = tmp_path / "my %h project" / ".ssh" / "known_hosts"
    host = SshHost("box/hostA", "hostA", "work", known)
    (tmp_path / "my %h project" / "a b.txt").write_text("x")
    host.push(tmp_path / "my %h project", ["a b.txt"], f"{host.folder}/a b")
    host.pull(f"{host.folder}/a b", tmp_path / "my %h project" / "back")
    assert (tmp_path / "my %h project" / "back" / "a b.txt").read_text() == "x"
    assert forget("box/hostA", known) and not known.read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("my")] == ["my %h project"]
    host.close()
