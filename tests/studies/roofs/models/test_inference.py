"""Predictions lie on the pixels of their image, at any size and scale, and say what the maps say."""

import numpy as np
import pytest
import torch

from stepladder.core.types import StudyError, TrainingPhase
from stepladder.studies.roofs.data.labels import FACES, SUPERSTRUCTURES, TASKS
from stepladder.studies.roofs.models import inference, losses, network
from tests.studies.roofs.models.batches import batch, params


def one_of(size, gsd_m=0.1):
    return {"image_CYX": torch.randn(1, 3, *size), "gsd_m": torch.tensor([gsd_m])}


@pytest.mark.parametrize("size", [(80, 80), (97, 131), (150, 301)])
def test_every_size_has_a_prediction_of_its_pixels_the_same_twice(size):
    torch.manual_seed(0)
    model, image = network.build(params(tile=128, overlap=32, halo=8)).eval(), one_of(size)
    found, again = inference.predict(model, image), inference.predict(model, image)
    cells = tuple(-(-side // 4) for side in size)
    shapes = {
        "superstructure_BSYX": (len(SUPERSTRUCTURES), *size),
        "face_BFYX": (FACES, *size),
        "slope_BGYX": (2, *size),
        "line_BKVU": (7, *cells),
        "direction_BDVU": (2, *cells),
        "junction_BVU": cells,
        **dict.fromkeys(("outline_BYX", "boundary_BYX", "rise_BYX", "height_BYX", "face_id_BYX"), size),
    }
    assert {name: tuple(value.shape[1:]) for name, value in found.items() if name != "lines_BLF"} == shapes
    assert found["lines_BLF"].shape[0] == 1 and found["lines_BLF"].shape[2] == 6
    assert torch.allclose(found["face_BFYX"].sum(1), torch.ones(1, *size), atol=1e-5)
    assert all(torch.equal(found[name], again[name]) for name in found)


def learnt(model, sample, steps):
    """The model after some steps on one batch, and the losses of its tasks at first and at last."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    history = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = losses.loss(model, sample, TrainingPhase("roofs", steps))
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        history.append({task: value.item() for task, value in loss.parts.items()})
    return model, history[0], history[-1]


def test_a_trained_network_finds_the_roof_its_ridge_and_two_faces():
    """One roof is learnt by heart; what is read off the prediction is that roof."""
    torch.manual_seed(0)
    sample = batch(1, 96)
    model, first, last = learnt(network.build(params(tile=256)), sample, 70)
    assert all(last[task] < 0.7 * first[task] for task in TASKS), (first, last)
    found = inference.predict(model.eval(), sample)
    roof = sample["outline_YX"] == 1
    overlap = ((found["outline_BYX"] > 0.5) & roof).sum() / ((found["outline_BYX"] > 0.5) | roof).sum()
    assert overlap > 0.9
    error = found["slope_BGYX"] - sample["slope_GYX"]
    assert error.abs()[:, :, roof[0]].median() < 0.1
    ridge = sample["closeness_KVU"][0, 0]
    lines = found["lines_BLF"][0]
    assert len(lines) and abs(float(lines[0, 1] + lines[0, 3]) / 8 - int(ridge.amax(1).argmax()) - 0.5) < 1


def test_only_learnt_tasks_are_answered():
    model = network.build(params(tasks=["height"])).eval()
    assert set(inference.predict(model, one_of((64, 64)))) == {"height_BYX"}


def test_several_images_at_once_are_refused():
    with pytest.raises(StudyError, match="batch of 2 images"):
        inference.predict(network.build(params()).eval(), batch(2))


def plan(size, gsd_m):
    """A smooth picture of the same ground at any scale: brightness is a function of metres."""
    y, x = np.meshgrid(*((np.arange(n) + 0.5) * gsd_m for n in size), indexing="ij")
    return torch.from_numpy(np.sin(x / 3) + np.cos(y / 4)).float().expand(1, 3, -1, -1)


class Camera(torch.nn.Module):
    """A network that tells the mean brightness of each cell, trained at 0.2 m."""

    settings = params(gsd=0.2).model

    def forward(self, image):
        return {"height_BVU": torch.nn.functional.avg_pool2d(network.padded(image)[:, 0], 4)}


@pytest.mark.parametrize(("gsd_m", "size"), [(0.1, (256, 320)), (0.3, (100, 117)), (0.2, (128, 160))])
def test_maps_come_back_to_the_cells_of_the_image_at_any_scale(gsd_m, size):
    image = plan(size, gsd_m)
    found = inference.seen(Camera(), image, gsd_m)["height_BVU"]
    expected = torch.nn.functional.avg_pool2d(image[:, 0], 4, ceil_mode=True)
    assert found.shape == expected.shape
    inner = np.s_[:, 2:-2, 2:-2]
    assert (found[inner] - expected[inner]).abs().max() < 0.03  # a shift of half a pixel would be 0.02 to 0.05 m / m
