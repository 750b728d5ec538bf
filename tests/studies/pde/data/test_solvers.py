"""Solvers are held against half their step, against a second scheme, against exact solutions and a published file."""

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from stepladder.core.types import StudyError
from stepladder.studies.pde.data.solvers import advection, burgers, darcy, initial, navier_stokes, tasks
from stepladder.studies.pde.data.solvers import reaction_diffusion as reaction


def relative(one, two):
    return np.linalg.norm(one - two) / np.linalg.norm(two)


def waves(points, count=3, seed=0, unit=False):
    x = initial.centres(points)
    return initial.Waves(seed, range(count), x[-1] - x[0], unit)(x)


# Initial states ------------------------------------------------------------------------------------------------------


def test_a_trajectory_is_the_same_in_whatever_block_it_is_made():
    x = initial.centres(64)
    whole = initial.Waves(7, range(10), 1.0)(x)
    assert np.array_equal(whole[6:], initial.Waves(7, range(6, 10), 1.0)(x))
    assert not np.array_equal(whole[0], initial.Waves(8, range(1), 1.0)(x)[0])


def test_initial_states_follow_the_published_recipe():
    x = initial.centres(128)
    u = initial.Waves(0, range(400), x[-1] - x[0])(x)
    assert np.allclose(u[:, 0], u[:, -1], atol=1e-9), "wave numbers are divided by the distance of the outer centres"
    assert 0.3 < np.abs(u.mean(axis=1)).mean() < 0.65, "measured on the published code: 0.48"
    assert 0.65 < u.std() < 0.95, "measured on the published code: 0.80"
    unit = initial.Waves(0, range(50), x[-1] - x[0], unit=True)(x)
    assert (unit.min(axis=1) == 0).all() and (unit.max(axis=1) == 1).all()


def test_random_fields_have_mean_zero_and_size_one():
    field = initial.random_field(3, range(4), 32)
    assert np.allclose(field.mean(axis=(1, 2)), 0, atol=1e-12)
    assert np.allclose((field**2).mean(axis=(1, 2)), 1)
    assert set(np.unique(initial.two_valued(1, range(3), 32))) == {0.1, 1.0}


# Burgers -------------------------------------------------------------------------------------------------------------


def test_half_the_step_changes_the_spectral_solution_below_a_millionth():
    times = np.linspace(0, 1, 6)
    u = waves(256)
    one = burgers.solve_spectral(u, 0.1, times)
    two = burgers.solve_spectral(u, 0.1, times, courant=0.5)
    assert relative(one, two) < 1e-6


def test_finite_volumes_converge_to_the_spectral_solution_at_second_order():
    times = np.linspace(0, 0.5, 3)
    truth = burgers.solve_spectral(waves(512), 0.1, times)
    errors = []
    for points in (64, 128):
        every = 512 // points
        means = truth.reshape(3, 3, points, every).mean(axis=3)
        errors.append(relative(burgers.solve_volumes(means[:, 0], 0.1, times), means))
    assert errors[1] < 1.5e-3
    assert errors[0] / errors[1] > 2.5, f"second order would be 4: {errors}"


@pytest.mark.slow
def test_both_schemes_agree_on_shocks():
    times, u = np.linspace(0, 1, 3), waves(512, 2)
    spectral, volumes = burgers.solve_spectral(u, 0.01, times), burgers.solve_volumes(u, 0.01, times)
    assert relative(volumes, spectral) < 1e-3


def test_the_published_reference_is_met(shared_data):
    """Raissi's file: nu = 0.01 / pi on (-1, 1), u = -sin(pi x) at first; no part of it was made by this code."""
    file = scipy.io.loadmat(shared_data / "pde" / "pinns_burgers_shock.mat")
    x, times, published_XT = file["x"][:, 0], file["t"][:, 0], file["usol"]
    fine = initial.centres(1024, 2.0, -1.0)
    around = np.concatenate([fine - 2, fine, fine + 2])
    u_TX = burgers.solve_spectral(-np.sin(np.pi * fine)[None], 0.01, times, 2.0)[0]
    ours = np.stack([CubicSpline(around, np.tile(frame, 3))(x) for frame in u_TX])
    assert relative(ours, published_XT.T) < 2e-5


@settings(max_examples=10)
@given(shift=st.floats(-2, 2), eps=st.sampled_from([0.05, 0.5]))
def test_a_uniform_wind_only_carries_the_solution_along(shift, eps):
    """u + c is solved by u(x - c t) + c; in whole points, so that both sides are on the grid."""
    points, t = 64, 0.5
    wind = round(shift * t * points) / (t * points)
    u, times = waves(points, 1, seed=3), np.array([0.0, t])
    plain = burgers.solve_spectral(u, eps, times)[:, -1]
    carried = burgers.solve_spectral(u + wind, eps, times)[:, -1]
    assert np.allclose(carried, np.roll(plain, round(wind * t * points), axis=1) + wind, atol=1e-8)


@pytest.mark.parametrize("eps", [0.001, 0.01, 1.0])
def test_mass_stays_and_nothing_exceeds_the_first_state(eps):
    u = waves(256, 4)
    solved = burgers.solve(u, eps, np.linspace(0, 0.5, 4))
    assert np.allclose(solved.mean(axis=2), u.mean(axis=1, keepdims=True), atol=1e-10)
    assert np.abs(solved[:, -1]).max() <= np.abs(u).max() * 1.01
    assert np.array_equal(solved[:, 0], u)


# The others ----------------------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(beta=st.floats(-4, 4), mode=st.integers(1, 8))
def test_advection_is_an_exact_shift_by_both_ways(beta, mode):
    x, times = initial.centres(64), np.linspace(0, 2, 5)

    def wave(place):
        return np.sin(2 * np.pi * mode * place + 0.4)[None]

    exact = advection.solve(wave, beta, x, times)
    assert np.allclose(exact[0], np.sin(2 * np.pi * mode * (x - beta * times[:, None]) + 0.4), atol=1e-9)
    assert np.allclose(advection.shift_spectrum(wave(x), beta, times), exact, atol=1e-9)


def test_fisher_agrees_with_the_method_of_lines_and_half_the_step():
    u, times = waves(128, 2, unit=True), np.linspace(0, 0.5, 3)
    solved = reaction.solve_1d(u, 0.1, 5.0, times)
    assert relative(solved, reaction.solve_1d(u, 0.1, 5.0, times, longest_step=2.5e-4)) < 1e-5
    assert relative(solved, reaction.solve_1d_lines(u, 0.1, 5.0, times)) < 1e-4
    assert solved.min() >= -1e-12 and solved.max() <= 1 + 1e-12


def test_fitzhugh_nagumo_agrees_with_the_explicit_scheme_and_half_the_step():
    noise, times = initial.white_noise(0, range(1), (32, 32, 2)), np.linspace(0, 0.5, 3)
    solved = reaction.solve_2d(noise, times)
    assert relative(solved, reaction.solve_2d(noise, times, 0.0125)) < 1e-3
    assert relative(reaction.solve_2d_explicit(noise, times), solved) < 1e-3


def test_darcy_with_one_coefficient_is_the_known_torsion_problem():
    u = darcy.solve(np.ones((1, 64, 64)))[0]
    assert u.max() == pytest.approx(0.0736713, rel=1e-3), "centre of -lap u = 1 on the unit square"
    assert np.allclose(darcy.solve(np.full((1, 16, 16), 0.5), 3.0), 6 * darcy.solve(np.ones((1, 16, 16))))


def test_darcy_volumes_and_elements_come_closer_on_finer_grids():
    gaps = []
    for points in (32, 96):
        a = initial.two_valued(0, range(1), points)
        corners = darcy.solve_elements(a[0])
        middles = (corners[1:, 1:] + corners[1:, :-1] + corners[:-1, 1:] + corners[:-1, :-1]) / 4
        gaps.append(relative(middles, darcy.solve(a)[0]))
    assert gaps[1] < 0.015 and gaps[0] / gaps[1] > 2, gaps


def test_taylor_green_vortices_decay_exactly():
    points, nu, k = 32, 0.01, 2 * np.pi
    y, x = np.meshgrid(np.arange(points) / points, np.arange(points) / points, indexing="ij")
    vorticity = 2 * k * np.cos(k * x) * np.cos(k * y)
    velocity, dye = navier_stokes.solve(
        vorticity[None], np.ones((1, points, points)), 0 * x[None], nu, np.linspace(0, 1, 3)
    )
    decay = np.exp(-2 * nu * k**2)
    assert np.allclose(velocity[0, -1, ..., 0], -np.cos(k * x) * np.sin(k * y) * decay, atol=1e-10)
    assert np.allclose(velocity[0, -1, ..., 1], np.sin(k * x) * np.cos(k * y) * decay, atol=1e-10)
    assert np.allclose(dye, 1)


def test_flow_agrees_with_half_the_step_and_with_arakawas_scheme():
    points, nu, end = 48, 5e-3, 0.2
    x = 2 * np.pi * np.arange(points) / points
    vorticity = (8 * np.cos(x)[:, None] * np.sin(x) + 4 * np.cos(2 * x + x[:, None]))[None]
    still, times = np.zeros_like(vorticity), np.array([0, end])
    velocity, dye = navier_stokes.solve(vorticity, vorticity, still, nu, times)
    halved, _ = navier_stokes.solve(vorticity, vorticity, still, nu, times, courant=0.5)
    assert relative(velocity, halved) < 1e-5
    assert np.allclose(navier_stokes.curl(velocity[0, 0]), vorticity[0], atol=1e-9)
    gridded, steps = vorticity[0], 100
    for _ in range(steps):
        middle = gridded + 0.5 * end / steps * navier_stokes.rate_arakawa(gridded, nu)
        gridded = gridded + end / steps * navier_stokes.rate_arakawa(middle, nu)
    assert relative(gridded, dye[0, -1]) < 0.02, "a dye that begins as the vorticity stays the vorticity"


# Files ---------------------------------------------------------------------------------------------------------------


def job(**changes):
    return tasks.Job(**({"coefficients": {}, "trajectories": 2, "points": 16, "seed": 0} | changes))


def test_files_have_pdebenchs_keys_lengths_and_attributes(tmp_path):
    with h5py.File(tasks.make(tmp_path, "burgers", job(coefficients={"eps": 0.1}))) as file:
        assert {name: item.shape for name, item in file.items()} == {
            "tensor": (2, 201, 16),
            "x-coordinate": (16,),
            "t-coordinate": (202,),
        }
        assert file.attrs["Nu"] == 0.1 and file["tensor"].dtype == np.float32
        assert np.allclose(np.diff(file["t-coordinate"]), 0.01, atol=1e-5)
        assert name_of(file) == "1D_Burgers_Sols_Nu0.1.hdf5"
    with h5py.File(tasks.make(tmp_path, "darcy", job())) as file:
        assert file["tensor"].shape == (2, 1, 16, 16) and file["nu"].shape == (2, 16, 16)
    with h5py.File(tasks.make(tmp_path, "reaction_diffusion_2d", job())) as file:
        assert sorted(file) == ["0000", "0001"] and file["0000/data"].shape == (101, 16, 16, 2)
        assert file["0000/data"].compression == "lzf" and file["0000/grid/t"].shape == (101,)
    with h5py.File(tasks.make(tmp_path, "navier_stokes", job())) as file:
        assert file["velocity"].shape == (2, 21, 16, 16, 2) and file["velocity"].chunks == (1, 1, 16, 16, 2)
        assert file["particles"].shape == (2, 21, 16, 16, 1) and file["t"].shape == (2, 21)


def name_of(file):
    return file.filename.rpartition("/")[2]


def test_the_same_job_writes_the_same_bytes_and_a_made_file_is_kept(tmp_path):
    one = tasks.make(tmp_path / "a", "advection", job())
    two = tasks.make(tmp_path / "b", "advection", job())
    assert one.read_bytes() == two.read_bytes()
    before = one.stat().st_mtime_ns
    assert tasks.make(tmp_path / "a", "advection", job()).stat().st_mtime_ns == before
    assert tasks.make(tmp_path / "a", "advection", job(seed=1)).stat().st_mtime_ns != before


def test_what_no_solver_can_make_is_refused_by_name(tmp_path):
    with pytest.raises(StudyError, match=r"no solver for 'euler'; known: burgers"):
        tasks.make(tmp_path, "euler", job())
    with pytest.raises(StudyError, match=r"burgers has no coefficient 'nu'; it has eps"):
        tasks.make(tmp_path, "burgers", job(coefficients={"nu": 1.0}))
