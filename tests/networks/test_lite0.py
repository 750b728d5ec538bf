"""With the published weights a cat is a cat and an espresso an espresso, so the architecture is that of the weights."""

import importlib.util

import pytest
import torch
from torch.nn import functional

from stepladder.core.types import StudyError
from stepladder.networks import lite0
from stepladder.studies.roofs.models import network
from tests.studies.roofs.models.batches import params

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(lite0.PACKAGE) is None, reason=f"no {lite0.PACKAGE}: pip install -e '.[roofs]'"
)


def photograph(name):
    """The middle square of a photograph that scikit-image ships, 224 x 224, in the study's range."""
    data = pytest.importorskip("skimage.data")
    image = torch.from_numpy(getattr(data, name)()[..., :3].copy()).movedim(-1, 0)[None] / 255
    side, (high, wide) = min(image.shape[2:]), image.shape[2:]
    middle = image[..., (high - side) // 2 :, (wide - side) // 2 :][..., :side, :side]
    small = functional.interpolate(middle, size=(224, 224), mode="bicubic", antialias=True)
    return (small - torch.tensor(lite0.IMAGENET_MEAN)[:, None, None]) / torch.tensor(lite0.IMAGENET_STD)[:, None, None]


@needs_weights
@pytest.mark.parametrize(("name", "classes"), [("chelsea", {281, 282, 285}), ("coffee", {967}), ("rocket", {657, 744})])
def test_photographs_are_recognised(name, classes):
    """281 tabby, 282 tiger cat, 285 Egyptian cat; 967 espresso; 657 missile, 744 projectile."""
    model = lite0.pretrained().eval()
    with torch.no_grad():
        best = model(photograph(name))[0].topk(3).indices.tolist()
    assert best[0] in classes and (name == "coffee" or len(classes & set(best)) >= 2)


@needs_weights
def test_another_file_in_its_place_is_refused(tmp_path, monkeypatch):
    other = tmp_path / "other.pth"
    other.write_bytes(lite0.weights_path().read_bytes()[:-1])
    monkeypatch.setattr(lite0, "weights_path", lambda: other)
    with pytest.raises(StudyError, match=r"other\.pth.*sha256"):
        lite0.pretrained()


def test_a_missing_package_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr(lite0, "PACKAGE", "no_such_package")
    with pytest.raises(StudyError, match=r"no-such-package.*model.weights to random"):
        lite0.pretrained()


def test_features_stand_at_strides_4_to_32_and_norms_keep_their_statistics():
    model = network.build(params(encoder="lite0")).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    image = torch.randn(2, 3, 64, 96)
    features = model.encoder(image)
    assert [tuple(f.shape[1:]) for f in features] == [(24, 16, 24), (40, 8, 12), (112, 4, 6), (320, 2, 3)]
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())
    together, alone = model(image)["face_BFVU"], model(image[:1])["face_BFVU"]
    assert torch.allclose(together[:1], alone, atol=1e-4)
