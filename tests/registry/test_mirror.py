import pytest

from stepladder.registry.index import Registry
from stepladder.registry.mirror import to_wandb
from stepladder.registry.publish import Published
from tests.registry.parcels import manifest


@pytest.mark.slow
def test_wandb_records_the_manifest_offline(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    registry = Registry("memory://mirror")
    made = manifest()
    place = to_wandb(Published("thing", registry.add(made), 0, made), registry.store, tmp_path)
    assert place.is_relative_to(tmp_path) and list(place.glob("*.wandb"))
    assert b"CC0-1.0" in b"".join(path.read_bytes() for path in tmp_path.glob("*.yaml"))
