"""The world tower made here: what it begins as, its file, and its verdict."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional

from stepladder.core.types import Gathered, StudyError
from stepladder.studies.captions.data.layout import WEIGHTS
from stepladder.studies.captions.data.synthesis.drawing import pictures
from stepladder.studies.captions.models.towers import own


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A tower of two steps; and whether making it moved a seed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "STEPS", 2)
        patch.setattr(own, "JUDGED", 4)
        torch.manual_seed(1)
        before = torch.get_rng_state()
        path = own.weights(tmp_path_factory.mktemp("own"))
        assert torch.equal(before, torch.get_rng_state()), "making the tower moved somebody's seed"
    return path


def test_it_begins_near_eight_by_eight_means_smoothly_spread():
    torch.manual_seed(0)
    model = own.begun(own._empty()).eval()
    image = torch.from_numpy(np.stack(pictures(2, 3, 32))).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        latent = model.encode(image[:, :, None]).latent_dist.mode()
        again = model.decode(latent).sample[:, :, 0]
    means = functional.avg_pool2d(image, 8)
    spread = functional.interpolate(means, scale_factor=8, mode="bilinear")
    assert own.decibels(again, spread) > 15  # its norms keep it from being the same; a random one has less than 8
    for colour in range(3):
        found = torch.corrcoef(torch.stack([latent[:, colour, 0].flatten(), means[:, colour].flatten()]))[0, 1]
        assert found > 0.95


def test_the_same_code_makes_the_same_tower(file, tmp_path, monkeypatch):
    monkeypatch.setattr(own, "STEPS", 2)
    monkeypatch.setattr(own, "JUDGED", 4)
    torch.manual_seed(99)
    again = own.weights(tmp_path)
    assert again.read_bytes() == file.read_bytes()
    assert again == own.place_of(tmp_path)


def test_a_tower_that_is_there_is_not_made_again(file, monkeypatch):
    monkeypatch.setattr(own, "_make", lambda place: pytest.fail("it was made again"))
    assert own.weights(file.parents[2]) == file
    assert file == own.place_of(file.parents[2])
    assert file.name == WEIGHTS


def test_the_verdict_is_read_from_the_file(file, tmp_path):
    with safe_open(file, "pt") as opened:
        told = json.loads(opened.metadata()["judged"])
    verdict = own.verdict(file)
    assert (verdict.value, verdict.limit) == (told["own"], told["means"])
    assert verdict.ok == (told["own"] > told["means"])
    for level, passes in ((told["means"] + 1, True), (told["means"] - 1, False)):
        save_file(load_file(file), tmp_path / WEIGHTS, {"judged": json.dumps({**told, "own": level})})
        assert own.verdict(tmp_path / WEIGHTS).ok == passes


def test_the_tower_of_a_file_sees(file):
    made = own.OwnWan(file)
    latents = made(np.stack(pictures(2, 4, own.SIDE))[:, None])
    assert latents.shape == (2, 1, 8, 8, own.CHANNELS)
    assert np.isfinite(latents).all()
    assert np.ptp(latents, axis=0).max() > 0.1


@pytest.mark.parametrize("spoilt", ["cut", "empty", "foreign", "no verdict", "text"])
def test_a_file_that_is_cut_or_somebody_elses_is_refused_by_name(file, tmp_path, spoilt):
    path = tmp_path / WEIGHTS
    whole = file.read_bytes()
    match spoilt:
        case "foreign":
            save_file({"weight": torch.zeros(2)}, path, {"judged": '{"own": 9, "means": 1, "components": 1}'})
        case "no verdict":
            save_file(load_file(file), path)
        case _:
            path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"weights"}[spoilt])
    with pytest.raises(StudyError, match=WEIGHTS):
        own.OwnWan(path)
    if spoilt != "foreign":
        with pytest.raises(StudyError, match=WEIGHTS):
            own.verdict(path)


def test_it_stands_beside_what_was_gathered_with_its_verdict_as_a_gate(file):
    folder, told = file.parents[2], []
    brought = own.beside(Gathered(folder, frozenset(), {}, []), folder, told.append)
    assert file in brought.paths
    assert [check.name for check in brought.checks] == ["the world tower reconstructs"]
    assert told


@pytest.mark.slow
def test_trained_as_it_is_used_it_passes_its_gate(tmp_path):
    assert own.verdict(own.weights(tmp_path)).ok
