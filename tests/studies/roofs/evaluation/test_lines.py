"""Lines: sAP against L-CNN's definition in loops, LSD on real crops, placement against geometry by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stepladder.studies.roofs.evaluation import lines

points = st.floats(0, 300, width=32)
drawn = st.integers(0, 6).flatmap(lambda count: arrays(np.float64, (count, 4), elements=points))


def by_loops(images: list[lines.Scored], threshold: float) -> float:
    """L-CNN's eval-sAP.py and metric.py, line by line and in plain Python."""
    ordered, total = [], 0
    for image in images:
        width, height = image.size
        frame = [128 / width, 128 / height] * 2
        truth = [[value * f for value, f in zip(line, frame, strict=True)] for line in image.truth_L4]
        guess = [[value * f for value, f in zip(line, frame, strict=True)] for line in image.guess_M4]
        hit, total = [False] * len(truth), total + len(truth)
        for number in sorted(range(len(guess)), key=lambda n: -image.score_M[n]):
            one, best, choice = guess[number], float("inf"), -1
            for place, two in enumerate(truth):
                straight = sum((one[k] - two[k]) ** 2 for k in range(4))
                crossed = sum((one[k] - two[(k + 2) % 4]) ** 2 for k in range(4))
                if min(straight, crossed) < best:
                    best, choice = min(straight, crossed), place
            right = choice >= 0 and best < threshold and not hit[choice]
            if right:
                hit[choice] = True
            ordered.append((image.score_M[number], right))
    return 100 * _area(sorted(ordered, key=lambda pair: -pair[0]), total)


def _area(ordered: list[tuple[float, bool]], total: int) -> float:
    """`ap` of L-CNN: recall and precision with sentinels, precision made monotone, sum over steps of recall."""
    recall, precision, found = [0.0], [0.0], 0
    for number, (_, right) in enumerate(ordered, 1):
        found += right
        recall.append(found / total)
        precision.append(found / number)
    recall, precision = [*recall, 1.0], [*precision, 0.0]
    for i in range(len(precision) - 1, 0, -1):
        precision[i - 1] = max(precision[i - 1], precision[i])
    return sum((recall[i + 1] - recall[i]) * precision[i + 1] for i in range(len(recall) - 1))


@given(st.lists(st.tuples(drawn, drawn), min_size=1, max_size=3), st.integers(0, 100), st.sampled_from([5, 15, 2000]))
def test_sap_is_l_cnns(pairs, seed, threshold):
    rng = np.random.default_rng(seed)
    images = []
    for truth, guess in pairs:
        found = np.concatenate([guess, truth + rng.normal(0, 2, truth.shape)])
        images.append(lines.Scored(truth, found, rng.random(len(found)), (300, 200)))
    if any(len(image.truth_L4) for image in images):
        assert lines.sap(images, threshold) == pytest.approx(by_loops(images, threshold))


def test_truth_found_once_scores_all_and_a_double_costs_only_behind_it():
    truth = np.array([[10, 10, 90, 10], [10, 10, 10, 90]], dtype=float)
    turned = truth[:, [2, 3, 0, 1]]
    once = lines.Scored(truth, turned, np.array([0.9, 0.8]), (100, 100))
    twice = lines.Scored(truth, truth[[0, 0, 1]], np.array([0.9, 0.8, 0.7]), (100, 100))
    assert lines.sap([once], 5) == 100
    assert lines.sap([twice], 5) == pytest.approx(100 * (0.5 + 0.5 * 2 / 3))


def test_frame_of_128_makes_thresholds_independent_of_image_size():
    truth, guess = np.array([[0, 0, 50, 50.0]]), np.array([[2, 0, 50, 50.0]])
    for factor in (1, 7):
        image = lines.Scored(truth * factor, guess * factor, np.ones(1), (100 * factor, 100 * factor))
        off = (2 * 1.28) ** 2
        assert (lines.sap([image], off + 0.01), lines.sap([image], off)) == (100, 0)


def test_nothing_to_find_is_no_number():
    empty = np.zeros((0, 4))
    assert np.isnan(lines.sap([lines.Scored(empty, empty, np.zeros(0), (9, 9))], 5))
    assert np.isnan(lines.sap([], 5))
    assert np.isnan(lines.junction_ap([], 1))


def test_junctions_count_once_however_many_lines_meet():
    truth = np.array([[10, 10, 90, 10], [10, 10, 10, 90]], dtype=float)
    image = lines.Scored(truth, truth[:1], np.array([0.9]), (100, 100))
    assert lines.junction_ap([image], 1) == pytest.approx(100 * 2 / 3)


def test_placement_by_hand():
    """Half of a line of 40 pixels is covered 1.5 pixels beside it; the guess's other half lies beyond its end."""
    truth, guess = np.array([[0, 10, 40, 10.0]]), np.array([[20, 11.5, 60, 11.5]])
    right, predicted, found, true = lines.placement(truth, guess)
    reach = np.sqrt(2**2 - 1.5**2)  # of the end of a line, along it
    assert (predicted, true) == pytest.approx((40, 40))
    assert (right, found) == pytest.approx((20 + reach, 20 + reach), abs=lines.STEP)
    assert lines.placement(truth, guess + np.array([0, 1, 0, 1]))[0] == 0


@given(drawn)
def test_truth_is_placed_perfectly(truth):
    right, predicted, found, true = lines.placement(truth, truth)
    assert right == predicted == found == true


def test_lines_where_nothing_is_labelled_do_not_count():
    valid_YX = np.zeros((20, 100), dtype=np.uint8)
    valid_YX[:, :50] = 1
    line = np.array([[0, 10, 100, 10.0]])
    assert lines.placement(line, line, valid_YX) == pytest.approx((50, 50, 50, 50))
