"""What a stage's key holds of values that only name something."""

from stepladder.core import stages


def test_weights_that_training_starts_from_are_known_by_their_content(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPLADDER_OUTPUTS", str(tmp_path / "outputs"))

    def told(named):
        values = {"training": {"start_from": str(named)}}
        return stages.visible("05_training", values)["training.start_from"]

    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"one")
    first = told(weights)
    (tmp_path / "elsewhere.safetensors").write_bytes(b"one")
    assert told(tmp_path / "elsewhere.safetensors") == first, "the same weights elsewhere are the same"
    weights.write_bytes(b"others")
    assert told(weights) != first
    seal = tmp_path / "outputs" / "pde" / "r" / "checkpoints" / "step_00000001" / "COMMITTED"
    assert told("pde/r") == "not here"
    seal.parent.mkdir(parents=True)
    seal.write_text('{"sha256": "a"}')
    before = told("pde/r")
    seal.write_text('{"sha256": "b"}')
    assert told("pde/r") != before
