"""Frozen towers: what they are given, what they make of it, and that neither batches nor anybody's seed matter."""

import numpy as np
import pytest
import torch

from stepladder.core.types import StudyError
from stepladder.networks import lite0
from stepladder.studies.captions.data.synthesis.drawing import pictures
from stepladder.studies.captions.models.towers import given, lite, tiny, tower, wan
from tests.studies.captions import drawn_tars

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def seen():
    return lite.Lite()


def squares(count, side):
    return np.stack(pictures(count, 9, side))


def test_features_of_lite0_are_the_networks_own_before_its_average(seen):
    pixels = squares(2, 224)
    found = seen(pixels)
    assert found.shape == (2, 49, 1280)
    network = lite0.pretrained().eval()
    mean, std = np.array(lite0.IMAGENET_MEAN), np.array(lite0.IMAGENET_STD)
    image = torch.from_numpy(((pixels / 255 - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        whole = torch.nn.functional.relu6(network.top(network.encoder(image)[-1]))
    np.testing.assert_allclose(found.reshape(2, 7, 7, 1280), whole.permute(0, 2, 3, 1), atol=1e-4)


def test_batches_make_no_difference_to_lite0(seen, monkeypatch):
    pixels = squares(3, 224)
    whole = seen(pixels)
    monkeypatch.setattr(lite, "BATCH", 1)
    np.testing.assert_allclose(seen(pixels), whole, atol=1e-4)


@pytest.fixture(scope="module")
def shifted():
    """A Wan tower whose latents are normalised by numbers that cannot be overlooked."""
    torch.manual_seed(1)
    model = wan.autoencoder(4, 8, latents_mean=[1.0, -2.0, 3.0, 0.5], latents_std=[2.0, 0.5, 4.0, 1.5])
    return wan.Wan(model, 32, "key")


def test_wans_latents_are_diffusers_mode_normalised_by_the_configuration(shifted):
    frames = squares(2, 32)[:, None]
    with torch.no_grad():
        video = torch.from_numpy(frames.astype(np.float32) / 255 * 2 - 1).permute(0, 4, 1, 2, 3)
        mean = shifted.model.encode(video).latent_dist.mean.permute(0, 2, 3, 4, 1).numpy()
    expected = (mean - np.array([1.0, -2.0, 3.0, 0.5])) / np.array([2.0, 0.5, 4.0, 1.5])
    np.testing.assert_allclose(shifted(frames), expected, atol=1e-5)


def test_wans_input_lies_between_minus_one_and_one(shifted, monkeypatch):
    given_to = []
    encode = shifted.model.encode
    monkeypatch.setattr(shifted.model, "encode", lambda video: given_to.append(video) or encode(video))
    frames = np.zeros((1, 1, 32, 32, 3), np.uint8)
    frames[..., 16:, :] = 255
    shifted(frames)
    assert (float(given_to[0].min()), float(given_to[0].max())) == (-1.0, 1.0)


@pytest.mark.parametrize("steps", range(5))
def test_one_and_four_n_frames_become_one_and_n_latents(shifted, steps):
    frames = np.random.default_rng(0).integers(0, 256, (1, 1 + 4 * steps, 32, 32, 3), dtype=np.uint8)
    assert shifted(frames).shape == (1, 1 + steps, 4, 4, 4)


def test_wan_is_the_same_every_time_and_alone_or_among_others(shifted):
    frames = np.random.default_rng(0).integers(0, 256, (9, 5, 32, 32, 3), dtype=np.uint8)
    whole = shifted(frames)
    np.testing.assert_array_equal(shifted(frames), whole)
    np.testing.assert_allclose(np.concatenate([shifted(frames[n : n + 1]) for n in range(9)]), whole, atol=1e-5)


def test_the_first_latent_sees_the_first_frame_alone(shifted):
    frames = np.random.default_rng(0).integers(0, 256, (1, 5, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(shifted(frames)[:, :1], shifted(frames[:, :1]), atol=1e-5)


def test_towers_of_size_tiny_move_nobodys_seed_and_are_the_same_whatever_it_is():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = tiny.Siglip(), tiny.Wan()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(4)
    second = tiny.Siglip(), tiny.Wan()
    for one, other in zip(first, second, strict=True):
        assert one.key == other.key
        own, others = one.model.state_dict(), other.model.state_dict()
        assert all(torch.equal(own[name], others[name]) for name in own)


def test_towers_do_not_learn():
    made = tower.towers(drawn_tars.params().conversion)
    assert not any(
        parameter.requires_grad for each in (made.vision, made.world) for parameter in each.model.parameters()
    )


def test_size_small_without_its_world_tower_says_what_to_run():
    with pytest.raises(StudyError, match="02_conversion"):
        tower.towers(drawn_tars.parameters("small").conversion)


@pytest.mark.parametrize(
    "revision", [None, "", "main", "v1.0", COMMIT[:7], COMMIT.upper(), COMMIT + "0", COMMIT + "\n"]
)
def test_a_repository_is_pinned_to_a_whole_commit_or_refused(revision):
    with pytest.raises(StudyError, match=r"conversion\.weights = 'google/gemma-3-4b-it'"):
        given.pinned("conversion.weights", "google/gemma-3-4b-it", revision)


def test_a_commit_and_a_folder_are_taken(tmp_path):
    assert given.pinned("weights", "google/gemma-3-4b-it", COMMIT) == ("google/gemma-3-4b-it", COMMIT)
    assert given.pinned("weights", str(tmp_path), None) == (str(tmp_path), None)
    with pytest.raises(StudyError, match="weights is empty"):
        given.pinned("weights", None, None)


def test_weights_of_a_folder_are_known_by_their_bytes(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = given.identity(str(tmp_path), None)
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert given.identity(str(tmp_path), None) != before
    assert given.identity("name", COMMIT) == ["name", COMMIT]


def test_places_are_averaged_as_gemmas_projector_does():
    from transformers import Gemma3Config
    from transformers.models.gemma3.modeling_gemma3 import Gemma3MultiModalProjector

    vision = {"hidden_size": 8, "image_size": 56, "patch_size": 7, "intermediate_size": 8, "num_attention_heads": 2}
    text = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
    projector = Gemma3MultiModalProjector(
        Gemma3Config(vision_config=vision, text_config=text, mm_tokens_per_image=16)
    ).eval()
    projector.mm_input_projection_weight.data = torch.eye(8)
    projector.mm_soft_emb_norm = torch.nn.Identity()
    places = torch.randn(2, 64, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(given.pooled(places, side=4), projector(places))
