"""Our FNO beside neuraloperator's, where that is installed: the same size learns the same task about as well."""

import pytest
import torch
from torch import Tensor, nn

from stepladder.core.types import Batch
from stepladder.studies.pde.models.baselines.fno import FNO
from stepladder.studies.pde.models.operator import frame
from stepladder.studies.pde.models.operator.losses import relative_l2
from tests.studies.pde.batches import grid_batch
from tests.studies.pde.learning import learned

neuralop_models = pytest.importorskip("neuralop.models", reason="optional: pip install neuraloperator")


class Theirs(nn.Module):
    """neuraloperator's FNO as a network of ours: channels first inside, an increment outside."""

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self.network = neuralop_models.FNO(n_modes=(modes,), hidden_channels=channels, in_channels=1, out_channels=1)

    def forward(self, batch: Batch) -> Tensor:
        return batch["input_XC"] + self.network(batch["input_XC"].movedim(-1, 1)).movedim(1, -1)


def shifted(count: int, seed: int) -> Batch:
    """Smooth states moved by a tenth of the period."""
    batch = grid_batch(count=count, seed=seed, equation="advection")
    ahead = frame.moved(batch["input_XC"][:, None], torch.full((count, 1), 0.1))
    return {**batch, "target_TXC": ahead}


@pytest.mark.slow
def test_the_same_size_learns_about_as_well() -> None:
    train, test, errors = shifted(20, 0), shifted(10, 1), []
    for make in (lambda: FNO(1, 1, channels=16, modes=8), lambda: Theirs(16, 16)):  # theirs counts both signs
        torch.manual_seed(0)
        network = make()
        learned(network, train, steps=150, rate=5e-3)
        with torch.no_grad():
            errors.append(float(relative_l2(network(test), test["target_TXC"][:, 0])))
    assert 1 / 3 < errors[0] / errors[1] < 3 and max(errors) < 0.3
