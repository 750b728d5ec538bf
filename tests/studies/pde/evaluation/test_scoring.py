"""Scores: the truth scores zero, means are those of the formulas, nothing flat explodes, pictures are drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import default_collate

from stepladder.core.config import ParameterError
from stepladder.core.types import StudyError
from stepladder.data import shards
from stepladder.evaluation import metrics as evaluation
from stepladder.studies.pde.data import conversion
from stepladder.studies.pde.data.dataset import Cases, key
from stepladder.studies.pde.evaluation import metrics, scoring
from stepladder.studies.pde.models.baselines import classical
from stepladder.studies.pde.models.stages import forecaster
from stepladder.studies.pde.params import PdeConversion, PdeModel, PdeParams
from stepladder.studies.pde.pictures import analysis, scenes
from stepladder.view import scene as view
from tests.studies.pde import layouts

PARAMS = PdeParams(study="pde", conversion=PdeConversion())


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Shards of a line, a plane, a mesh and particles, by kind."""
    folder = tmp_path_factory.mktemp("scoring")
    for name in ("line", "plane", "mesh"):
        (folder / name).mkdir()
    layouts.tensor(folder / "line" / "1D_Burgers_Sols_Nu0.1.hdf5")
    layouts.flow(folder / "plane" / "2D_CFD_Rand_M0.1_Eta0.01_Zeta0.1.hdf5", 2)
    for name, path in layouts.torch_files(folder / "mesh").items():
        if name != "poisson":
            path.unlink()
    layouts.lagrangian(folder / "particles")
    found = {}
    for name in ("line", "plane", "mesh", "particles"):
        (asset,) = conversion.assets([folder / name], PARAMS)
        found[name] = folder / "shards" / f"{asset.id}.h5"
        shards.write(found[name], conversion.convert(asset, PARAMS), "recipe")
    return found


def batch_of(path, count=2):
    cases = Cases([path], PARAMS)
    return default_collate([cases.sample(i) for i in range(count)])


def values(batch, prediction):
    """Metric -> value over a batch, as evaluation sums records."""
    rows = [vars(r) | {"unit": str(r.item)} for r in scoring.score(batch, prediction, PARAMS)]
    units = [str(i) for i in range(len(batch["equation"]))]
    return {name: evaluation.metric_value(table, units) for name, table in pd.DataFrame(rows).groupby("metric")}


@pytest.mark.parametrize("kind", ["line", "plane", "mesh", "particles"])
def test_the_truth_scores_zero_in_every_metric(paths, kind):
    batch = batch_of(paths[kind])
    table = values(batch, {classical.answer_name(batch): batch[key(batch, "target_")]})
    assert set(table.values()) == {0.0}
    assert ("boundary" in table) == ("fourier low" in table) == (kind in ("line", "plane"))
    assert "nRMSE@rollout" in table and ("nRMSE@last step" in table) == (kind != "mesh")


def test_the_headline_is_the_mean_over_trajectories_frames_and_fields(paths):
    batch = batch_of(paths["plane"])
    truth = batch["target_TYXC"].double()
    guess = truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = values(batch, {"u_BTYXC": guess})
    assert table["nRMSE@rollout"] == pytest.approx(metrics.nrmse(guess, truth).mean().item())
    assert table["L2RE@rollout"] == pytest.approx(metrics.relative_l2(guess, truth).mean().item())
    assert table["nRMSE@first step"] == pytest.approx(metrics.nrmse(guess, truth)[:, 0].mean().item())


@pytest.mark.parametrize(("frames", "count"), [(20, 4), (21, 3), (7, 1), (2, 2), (1, 1), (10, 2)])
def test_stretches_are_equal_and_cover_the_rollout(frames, count):
    parts = scoring.stretches(frames)
    covered = [frame for part in parts.values() for frame in range(frames)[part]]
    assert covered == list(range(frames)) and len(parts) == count
    assert len({part.stop - part.start for part in parts.values()}) == 1


def test_frames_of_a_constant_field_are_left_out_of_vrmse(paths):
    batch = batch_of(paths["line"])
    batch["target_TXC"][:, 1:] = 2.0
    guess = batch["target_TXC"] + 0.1
    first = metrics.vrmse(guess.double(), batch["target_TXC"].double())[:, 0].mean().item()
    assert values(batch, {"u_BTXC": guess})["VRMSE@rollout"] == pytest.approx(first)
    batch["target_TXC"][:] = 2.0
    assert np.isnan(values(batch, {"u_BTXC": guess})["VRMSE@rollout"]), "absent, not infinite"


def test_what_the_truth_drifts_itself_is_no_drift_of_a_forecast(paths):
    batch = batch_of(paths["line"])
    assert values(batch, classical.persistence(batch))["drift@rollout"] == 0, "its mean stays that of the first state"
    moved = classical.persistence(batch)["u_BTXC"] + 10.0
    own = metrics.conserved(batch["input_XC"][:, None].expand_as(moved), batch["target_TXC"]).mean().item()
    drift = values(batch, {"u_BTXC": moved})["drift@rollout"]
    assert 10 - 2 * own - 1e-4 < drift < 10 + 2 * own


def test_particles_are_scored_by_displacement(paths):
    batch = batch_of(paths["particles"])
    assert values(batch, classical.spatial_mean(batch))["nRMSE@rollout"] == pytest.approx(1.0), "standing still is 1"


def test_the_protocol_names_what_decides_a_number():
    told = scoring.protocol(PARAMS)
    assert {"space", "rollout", "split", "nRMSE", "L2RE", "VRMSE", "baselines", "intervals"} <= set(told)


# Networks ------------------------------------------------------------------------------------------------------------


def test_a_sample_of_another_shape_is_refused_by_name(paths):
    model = forecaster.build(PARAMS)
    with pytest.raises(StudyError, match=r"samples have 2 axes and 4 fields, the network was built for model.axes = 1"):
        model.predict(batch_of(paths["plane"]))
    with pytest.raises(ParameterError, match=r"no network 'fna'; did you mean 'fno'"):
        forecaster.build(PARAMS.model_copy(update={"model": PdeModel(name="fna")}))


@pytest.mark.parametrize("name", sorted(forecaster.BUILDERS))
def test_every_network_forecasts_as_many_frames_as_are_asked(paths, name):
    small = {"width": 16, "channels": 8, "modes": 3, "layers": 1, "patch": 2, "heads": 2, "conditioning": 8}
    model = forecaster.build(PARAMS.model_copy(update={"model": PdeModel(name=name, **small)}))
    batch = batch_of(paths["line"])
    assert model.predict(batch)["u_BTXC"].shape == batch["target_TXC"].shape
    assert torch.isfinite(model.train().loss(batch).total)


# Pictures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["line", "plane", "mesh", "particles"])
def test_samples_and_forecasts_are_drawn(paths, kind):
    batch = batch_of(paths[kind], 1)
    sample = Cases([paths[kind]], PARAMS).sample(0)
    for picture in scenes.scenes(sample, classical.persistence(batch), PARAMS).values():
        scene = picture.drawing
        assert len(scene.panels) in (2, 3) and scene.panels[0].title == "truth"
        for item in scene.panels[0].items:
            found = item.polylines[0] if isinstance(item, view.Lines) else item.points_N3
            assert np.isfinite(found).all() and np.ptp(found, axis=0).max() > 0
    figure = scenes.preview(sample, PARAMS)
    assert figure.axes[0].get_xlabel()
    plt.close(figure)


def test_overview_and_gallery_show_every_group(paths):
    own = list(paths.values())
    splits = {"train": [own[0].stem], "validation": [own[1].stem], "test": [path.stem for path in own[2:]]}
    figure = scenes.overview(own, splits)
    bars = [axis for axis in figure.axes if axis.get_label() == "<colorbar>"]
    assert len(figure.axes) - len(bars) == 8 and len(bars) == 3  # particles have no field
    assert all(bar.get_ylabel() for bar in bars)
    plt.close(figure)
    gallery = scenes.gallery(own, PARAMS)
    assert len(gallery.panels) == 4 and len(view.bars(gallery)) == 1  # their ranges differ, their colours do not


def test_values_of_a_scene_are_told_by_two_colour_bars_and_no_legend(paths):
    batch, sample = batch_of(paths["line"], 1), Cases([paths["line"]], PARAMS).sample(0)
    (picture,) = scenes.scenes(sample, classical.persistence(batch), PARAMS).values()
    told = {bar.label: places for bar, places in view.bars(picture.drawing).items()}
    assert list(told.values()) == [[0, 1], [2]] and all("dimensionless" in label for label in told)
    (field, _), truth = view.bars(picture.drawing), sample["target_TXC"]
    assert field.low <= truth.min() and field.high >= truth.max() - 1e-6
    assert not picture.drawing.panels[0].items[0].palette


def test_a_field_that_is_the_same_everywhere_is_drawn(paths):
    sample = Cases([paths["line"]], PARAMS).sample(0)
    flat = {
        name: np.zeros_like(values) if name[:5] in ("input", "targe") else values for name, values in sample.items()
    }
    (picture,) = scenes.scenes(flat, None, PARAMS).values()
    (bar,) = view.bars(picture.drawing)
    assert bar.high > bar.low and np.isfinite(picture.drawing.panels[0].items[0].points_N3).all()


def test_a_forecast_figure_shows_error_spectrum_and_drift(paths):
    batch, sample = batch_of(paths["line"], 1), Cases([paths["line"]], PARAMS).sample(0)
    figure = scenes.forecast_figure({"median": (sample, classical.persistence(batch))}, PARAMS)
    titles = [axis.get_title(loc="left") or axis.get_title() for axis in figure.axes]
    wanted = {"median: truth", "forecast", "error", "spectrum of the last frame", "drift of the mean"}
    assert wanted <= set(titles)
    plt.close(figure)


# What an error costs -------------------------------------------------------------------------------------------------


def costs(network_error, network_ms):
    rows = [("network", network_error, network_ms), ("16 cells", 0.1, 1.0), ("all points", 0.001, 20.0)]
    return pd.DataFrame(rows, columns=["method", "error", "ms"])


def test_breakeven_compares_with_the_cheapest_solver_that_is_as_accurate():
    assert analysis.breakeven(costs(0.01, 10.0)) == pytest.approx(100), "10 ms saved per forecast"
    assert analysis.breakeven(costs(0.2, 10.0)) == float("inf"), "16 cells are better and cheaper"
    assert analysis.breakeven(costs(0.0001, 10.0)) == 0, "nothing classical is as accurate"


def test_the_analysis_shows_extremes_and_costs(paths):
    small = PdeModel(name="fno", channels=8, modes=3, layers=1)
    model = forecaster.build(PARAMS.model_copy(update={"model": small})).eval()
    found = analysis.analysis(model, Cases([paths["line"]], PARAMS), PARAMS)
    assert list(found) == ["Best, median and worst trajectory", "What an error costs"]
    assert found["What an error costs"].axes[0].get_xlabel() == "CPU time per trajectory (ms)"
    for figure in found.values():
        plt.close(figure)
