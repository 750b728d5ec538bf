"""What the tests of launching share: two rented machines, made for one test, and somebody who launches on them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepladder import studies
from tests.launch.drills import Person, found_here
from tests.launch.world import World, lacking


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two hosts, `hostA` and `hostB`, which ssh knows by name; a skip with the reason where none can be made."""
    if reason := lacking():
        pytest.skip(reason)
    (folder := tmp_path / "world").mkdir()
    with World(folder) as made:
        monkeypatch.setenv("STEPLADDER_SSH_CONFIG", str(made.ssh_config))
        yield made


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Person]:
    """Whether training is a stand-in -> somebody whose project is made once in a session."""
    return {}


@pytest.fixture
def person(
    request: pytest.FixtureRequest,
    people: dict[bool, Person],
    world: World,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Person]:
    """Somebody with a project and no outputs yet, in whose environment this process is; a stand-in trains."""
    light = getattr(request, "param", True)
    someone = people.get(light) or people.setdefault(light, Person(tmp_path_factory.mktemp("project"), light))
    someone.outputs = tmp_path_factory.mktemp("outputs")
    monkeypatch.setattr(studies, "__path__", found_here())
    for name, value in someone.environment.items():
        monkeypatch.setenv(name, value)
    someone.targets()
    yield someone
    someone.leaves()
