"""What an asset is made of: the weights that its features depend on are part of it, by their bytes."""

from stepladder.data import convert
from stepladder.studies.captions.data.readers import find
from stepladder.studies.captions.params import CaptionsConversion, CaptionsParams


def test_other_weights_in_the_same_folder_make_another_shard(tmp_path):
    raw, weights = tmp_path / "raw", tmp_path / "gemma"
    raw.mkdir()
    weights.mkdir()
    (raw / "pictures.tar").write_bytes(b"a tar")
    (weights / "model.safetensors").write_bytes(b"one")
    (weights / "tokenizer.json").write_text("{}")
    conversion = CaptionsConversion.model_validate({"size": "gemma3_4b", "weights": str(weights)})
    params = CaptionsParams.model_validate({"study": "captions"}).model_copy(update={"conversion": conversion})

    def recipe():
        [asset] = find.assets([raw], params)
        return convert.recipe_of(asset, params, code={})

    before = recipe()
    assert recipe() == before
    (weights / "model.safetensors").write_bytes(b"two")
    other = recipe()
    assert other != before
    (weights / "tokenizer.json").write_text('{"version": 2}')
    assert recipe() not in (before, other)
