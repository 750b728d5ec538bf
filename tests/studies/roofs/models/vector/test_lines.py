"""Lines from maps: those that made the maps come back; noise, holes and nothing at all do no harm."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.studies.roofs.data.labels import CHANNELS, UNTYPED
from stepladder.studies.roofs.models.vector import lines
from tests.studies.roofs.models.vector.exact import distances, maps

SIDE = 160
FAINT = 0.3  # score of what runs from one line to its neighbour; `evaluation.line_threshold`
APART = 14.0  # pixels between a line and the ends of another: nearer ones are one corner in the maps


def random_lines(seed: int) -> np.ndarray:
    """Up to eight lines of random types, which may cross but not touch."""
    rng = np.random.default_rng(seed)
    kept = np.zeros((0, 5), np.float32)
    for _ in range(40):
        new = np.append(rng.uniform(6, SIDE - 6, 4), rng.integers(0, CHANNELS)).astype(np.float32)[None]
        ends, others = new[:, :4].reshape(-1, 2), kept[:, :4].reshape(-1, 2)
        far = len(kept) == 0 or min(distances(ends, kept).min(), distances(others, new).min()) > APART
        if far and np.linalg.norm(ends[1] - ends[0]) > 2 * APART and len(kept) < 8:
            kept = np.concatenate([kept, new])
    return kept


def off(found_LF: np.ndarray, true_LF: np.ndarray) -> np.ndarray:
    """Larger distance of the two ends of every found line to every true one, in pixels: shape (found, true)."""
    found, true = (table[:, :4].reshape(-1, 1, 2, 2) for table in (found_LF, true_LF))
    one, two = (np.linalg.norm(found - np.swapaxes(t, 0, 1), axis=-1).max(axis=-1) for t in (true, true[:, :, ::-1]))
    return np.minimum(one, two)


def unit(seed: int) -> tuple[int, int, int]:
    true = random_lines(seed)
    found = lines.extract(*maps(true, (SIDE, SIDE)))
    distance = off(found[found[:, 5] >= FAINT], true)
    return len(true), distance.shape[0], np.count_nonzero(distance.min(axis=0, initial=np.inf) <= 1)


def test_random_lines_come_back_within_a_pixel():
    true, found, right = np.sum([unit(seed) for seed in range(60)], axis=0)
    assert right >= 0.95 * true and right >= 0.95 * found


@settings(max_examples=30)
@given(st.integers(0, 2**31))
def test_any_scene_comes_back_nearly_whole(seed: int):
    true, found, right = unit(seed)
    assert right >= true - 1 and found <= true + 4


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.sampled_from(["mirror", "turn"]))
def test_lines_turn_with_the_image(seed: int, how: str):
    true = random_lines(seed)
    moved = true.copy()
    if how == "mirror":
        moved[:, [0, 2]] = SIDE - true[:, [0, 2]]
    else:
        moved[:, [0, 2]], moved[:, [1, 3]] = true[:, [1, 3]], SIDE - true[:, [0, 2]]
    one, two = (lines.extract(*maps(t, (SIDE, SIDE))) for t in (true, moved))
    assert len(one) == len(two)


def test_types_come_back_and_a_line_nobody_typed_has_none():
    true = np.array([[20, 30, 140, 30, 0], [20, 60, 140, 75, 3], [20, 130, 140, 110, UNTYPED]], np.float32)
    found = lines.extract(*maps(true, (SIDE, SIDE)))
    assert found[off(found, true).argmin(axis=0), 4].tolist() == [0, 3, UNTYPED]


def test_a_faint_line_scores_less():
    true = np.array([[20, 30, 140, 30, 0], [20, 90, 140, 90, 0]], np.float32)
    line, direction, junction = maps(true, (SIDE, SIDE))
    line[:, 15:] *= 0.4
    found = lines.extract(line, direction, junction)
    assert off(found, true).argmin(axis=1).tolist() == [0, 1] and found[1, 5] < 0.5 * found[0, 5]


def test_a_displaced_junction_returns_to_the_ridge():
    true = np.array([[20, 40, 140, 52, 0]], np.float32)
    aside = true + np.array([0, 3, 0, 3, 0], np.float32)
    line, direction, _ = maps(true, (SIDE, SIDE))
    found = lines.extract(line, direction, maps(aside, (SIDE, SIDE))[2])
    assert off(found, true).max() < 2.4  # of 3


@pytest.mark.parametrize("level", [0.0, 1.0, np.nan, np.inf])
def test_maps_of_one_value_hold_no_line(level: float):
    maps_ = np.full((CHANNELS, 32, 32), level), np.full((2, 32, 32), level), np.full((32, 32), level)
    assert lines.extract(*maps_).shape == (0, 6)


def test_the_smallest_map():
    assert lines.extract(np.ones((CHANNELS, 1, 1)), np.ones((2, 1, 1)), np.ones((1, 1))).shape == (0, 6)


def test_noise_is_finite_and_bounded():
    rng = np.random.default_rng(0)
    noise = [rng.random(shape) for shape in ((CHANNELS, 128, 128), (2, 128, 128), (128, 128))]
    found = lines.extract(noise[0], 2 * noise[1] - 1, noise[2])
    assert np.isfinite(found).all() and len(found) < 2000


def test_not_a_number_in_part_of_a_map_spoils_only_that_part():
    true = np.array([[20, 30, 140, 30, 0], [20, 130, 140, 130, 0]], np.float32)
    line, direction, junction = maps(true, (SIDE, SIDE))
    for spoilt in (line, direction, junction):
        spoilt[..., 30:, :] = np.nan
    found = lines.extract(line, direction, junction)
    assert len(found) == 1 and off(found, true)[0, 0] < 1


def test_labelled_wireframes_come_back(shared_data: Path):
    folder = shared_data / "roofs" / "rooflines_hensel"
    if not folder.is_dir():
        pytest.skip("no SimpleRoof crops among the real data")
    right = total = 0
    for file in sorted(folder.glob("val_*.txt"))[:20]:
        text = file.read_text().split("#2#")[1].split("#3#")[0]
        ends = np.array(re.findall(r"-?\d+\.\d+", text), np.float32).reshape(-1, 4)
        true = np.column_stack([ends, np.full(len(ends), UNTYPED)]).astype(np.float32)
        width, height = (int(ends[:, [k, k + 2]].max()) + 12 for k in (0, 1))
        found = lines.extract(*maps(true, (height, width)))
        right += np.count_nonzero(off(found, true).min(axis=0) <= 1.5)
        total += len(true)
    assert total > 150 and right >= 0.98 * total
