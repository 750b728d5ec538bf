"""Profiles: all load; those for GPUs build the network the plan names and answer a tiny batch."""

from pathlib import Path

import pytest
import torch

from stepladder.core.profiles import load
from stepladder.studies.pde.data.solvers.tasks import TASKS
from stepladder.studies.pde.models.stages import forecaster
from tests.studies.pde.batches import grid_batch, mesh_batch

ROOT = Path(__file__).parents[3]
PROFILES = sorted(path.stem for path in (ROOT / "params" / "pde").glob("*.yaml"))
LATENT = {"phase1": (128, 64), "phase2": (256, 128), "phase3": (384, 160), "phase4": (512, 196)}  # width, tokens


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_asks_for_what_there_is(profile: str) -> None:
    params = load(ROOT, "pde", profile)
    unknown = [task.equation for task in params.data.tasks if task.equation not in TASKS]
    assert unknown == [] and params.model.name in forecaster.BUILDERS
    files = [f for task in params.data.tasks for f in range(task.files)]
    assert not files or len(files) >= 3, "three splits need three files"
    cells = params.conversion.points or next((task.points for task in params.data.tasks), 0)
    assert cells % params.model.patch == 0


@pytest.mark.slow
@pytest.mark.parametrize("phase", LATENT)
def test_the_phases_have_the_plans_latent_size_and_answer(phase: str) -> None:
    params = load(ROOT, "pde", phase)
    model, (width, tokens) = params.model, LATENT[phase]
    network = forecaster.build(params).network.eval()
    assert width == model.width
    if model.kind == "mesh":
        batch = mesh_batch(points=200, count=1)
        batch["input_XC"] = batch["position_XD"]
        assert network.encoder.supernodes == tokens
    else:
        points = params.data.tasks[0].points
        batch = grid_batch(model.axes, points, 1, model.fields, params.data.tasks[0].equation)
        assert (points // model.patch) ** model.axes == tokens
    with torch.inference_mode():
        answer = network(batch)
    assert torch.isfinite(answer).all() and answer.shape[1:-1] == next(iter(batch.values())).shape[1:-1]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_parameter_of_a_profiles_operator_can_be_taught(profile: str) -> None:
    """What only reading tokens back would teach is not there where nothing is read back."""
    model = load(ROOT, "pde", profile).model
    network = forecaster.BUILDERS[model.name](model)
    reads = [name for name, _ in network.named_parameters() if name.startswith("read.")]
    assert bool(reads) == (model.name == "operator" and model.reconstruct > 0)
