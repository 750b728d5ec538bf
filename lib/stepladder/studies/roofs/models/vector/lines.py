"""From maps to line segments: every pair of junctions is a proposal, and the closeness map below it decides.

Decisions:
- Lines of a roof end at junctions and pass none (0 of 799 labelled lines of the SimpleRoof crops given do), so the
  peaks of the junction map propose all segments at once, as L-CNN and HAWP have it, and no ridge has to be followed.
  Measured on maps made from those 799 lines, sAP10: 99.7 so, 97.5 for ridges grown into chains and cut at junctions;
  on the same maps blurred, faded and noisy 76 against 36.
- A proposal holds when it is close to a line nearly all its way and runs as the direction map says. Its score is the
  mean closeness times that agreement, times the heights of its two ends (their geometric mean).
- Junctions of a weak network lie pixels beside the truth, the ridge between them does not: each line is moved across
  itself onto the ridge, and each junction to where the lines that end there meet, in the sense of least squares.
- Lines a few pixels apart give crosswise proposals too. Of two lines that leave a junction within `ACUTE` only the
  better stays.
"""

from typing import Final

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from stepladder.studies.roofs.data.labels import STRIDE, UNTYPED

PEAK: Final = 0.1  # height from which a junction counts
MOST: Final = 400  # junctions of 512 x 512 pixels: the highest, so that a map of noise costs a bounded time
LONGEST: Final = 720.0  # pixels of a line
PASSED: Final = 0.5  # a line ends at a junction on its way if that is so high against the lower of its own ends
BESIDE: Final = 3.0  # pixels from a line within which a junction lies on its way
SHORTEST: Final = 4.0  # pixels of a line
GLANCE: Final = 8  # places along a proposal where closeness is read at first
SAMPLES: Final = 32  # and in the end
GAPS: Final = 0.1  # share of its way on which a line may be close to nothing
ACROSS: Final = np.arange(-4.0, 4.1, 2.0)  # pixels beside a line between which its ridge is looked for
STIFF: Final = 0.3  # weight of a junction's own place, against 1 for a perfect line through it
ACUTE: Final = np.cos(np.radians(10))


def extract(
    line_KVU: np.ndarray, direction_DVU: np.ndarray, junction_VU: np.ndarray, threshold: float = 0.05
) -> np.ndarray:
    """Line segments of one image, float32 of shape (lines, 6): x0, y0, x1, y1 in image pixels, type, score; best first.

    The type is the channel that is strongest along the line, or `UNTYPED` where none is half as strong as "any".

    Args:
        line_KVU: closeness to the nearest line of each type and, last, of any, 0 to 1, on cells of `STRIDE` pixels.
        direction_DVU: cosine and sine of twice the angle of the nearest line, of any length.
        junction_VU: heat map of line ends, Gaussians of 4 pixels.
        threshold: least closeness nearly all along a line, and least score.
    """
    maps = (np.nan_to_num(m.astype(np.float32), posinf=0, neginf=0) for m in (line_KVU, direction_DVU, junction_VU))
    line_KVU, direction_DVU, junction_VU = maps
    direction_DVU = direction_DVU / np.maximum(np.linalg.norm(direction_DVU, axis=0), 1e-6)
    place_JE, height_J = peaks(junction_VU)
    pair_L2 = proposals(place_JE, line_KVU[UNTYPED], direction_DVU, threshold)
    pair_L2, close_L = supported(place_JE, pair_L2, line_KVU[UNTYPED], direction_DVU, threshold)
    clear_L = ~passing(place_JE, height_J, pair_L2)
    pair_L2, close_L = pair_L2[clear_L], close_L[clear_L]
    place_JE = refined(place_JE, pair_L2, close_L, line_KVU[UNTYPED])
    score_L = close_L * np.sqrt(height_J[pair_L2].prod(axis=1))
    kept_L = (score_L >= threshold) & ~doubled(place_JE, pair_L2, score_L)
    segment_LF = place_JE[pair_L2[kept_L]].reshape(-1, 4)
    table_LF = np.column_stack([segment_LF, types(segment_LF, line_KVU), score_L[kept_L]])
    return table_LF[np.argsort(-table_LF[:, 5], kind="stable")].astype(np.float32)


def peaks(junction_VU: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Junctions in pixels (junctions, 2) and their heights: maxima of the map, refined as the top of a Gaussian."""
    top_VU = (junction_VU == ndimage.maximum_filter(junction_VU, 3)) & (junction_VU >= PEAK)
    row_J, column_J = np.nonzero(top_VU)
    # The logarithm of a Gaussian is a parabola: three cells give its top.
    log_VU = np.log(np.maximum(np.pad(junction_VU, 1, mode="edge"), 1e-6))
    centre_J = log_VU[row_J + 1, column_J + 1]
    place = []
    for at_J, down, right in ((column_J, 0, 1), (row_J, 1, 0)):
        before_J, after_J = (log_VU[row_J + 1 + s * down, column_J + 1 + s * right] for s in (-1, 1))
        curve_J = np.maximum(2 * centre_J - before_J - after_J, 1e-6)
        place.append(at_J + 0.5 + np.clip((after_J - before_J) / curve_J / 2, -0.5, 0.5))
    place_JE, height_J = np.stack(place, axis=1) * STRIDE, junction_VU[top_VU]
    first = _distinct(place_JE, STRIDE)  # a top between cells is one of each
    most = max(MOST, MOST * junction_VU.size * STRIDE**2 // 512**2)
    first = first[np.argsort(-height_J[first], kind="stable")][:most]
    return place_JE[first], height_J[first]


def proposals(place_JE: np.ndarray, close_VU: np.ndarray, direction_DVU: np.ndarray, threshold: float) -> np.ndarray:
    """Pairs of junctions (pairs, 2) that at a glance have a line between them: at all places but two."""
    pair_L2 = cKDTree(place_JE).query_pairs(LONGEST, output_type="ndarray")
    return np.concatenate([_glance(place_JE, some, close_VU, direction_DVU, threshold) for some in _portions(pair_L2)])


def supported(
    place_JE: np.ndarray, pair_L2: np.ndarray, close_VU: np.ndarray, direction_DVU: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that are close to a line nearly all their way, and their mean closeness times agreement in direction."""
    segment_LF = place_JE[pair_L2].reshape(-1, 4)
    close_LS, *direction_DLS = read(np.stack([close_VU, *direction_DVU]), along(segment_LF, SAMPLES))
    agree_LS = np.clip(_agreement(np.stack(direction_DLS), segment_LF[:, 2:] - segment_LF[:, :2]), 0, 1)
    score_L = (close_LS * agree_LS).mean(axis=1)
    holds_L = (np.quantile(close_LS, GAPS, axis=1) >= threshold) & (score_L >= threshold)
    return pair_L2[holds_L], score_L[holds_L]


def passing(place_JE: np.ndarray, height_J: np.ndarray, pair_L2: np.ndarray) -> np.ndarray:
    """Which pairs have a junction on their way: there the line ends."""
    segment_LF = place_JE[pair_L2].reshape(-1, 4)
    length_L = np.maximum(np.linalg.norm(segment_LF[:, 2:] - segment_LF[:, :2], axis=1), 1e-6)
    way_LE, middle_LE = (
        (segment_LF[:, 2:] - segment_LF[:, :2]) / length_L[:, None],
        segment_LF.reshape(-1, 2, 2).mean(axis=1),
    )
    around = cKDTree(place_JE).query_ball_point(middle_LE, length_L / 2)
    line_H = np.repeat(np.arange(len(pair_L2)), [len(a) for a in around])
    junction_H = np.fromiter((j for a in around for j in a), int, len(line_H))
    from_HE, along_HE = place_JE[junction_H] - middle_LE[line_H], way_LE[line_H]
    beside_H = np.abs(from_HE[:, 0] * along_HE[:, 1] - from_HE[:, 1] * along_HE[:, 0]) < BESIDE
    inside_H = np.abs((from_HE * along_HE).sum(axis=1)) < length_L[line_H] / 2 - STRIDE
    high_H = height_J[junction_H] >= PASSED * height_J[pair_L2].min(axis=1, initial=1)[line_H]
    return np.bincount(line_H, beside_H & inside_H & high_H, len(pair_L2)) > 0


def refined(place_JE: np.ndarray, pair_L2: np.ndarray, score_L: np.ndarray, close_VU: np.ndarray) -> np.ndarray:
    """Junctions moved to where the ridges of the lines between them meet: `min STIFF |p - p0|^2 + sum w (n (p - q))^2`.

    A line's term weighs as the square of its score, less if it is shorter than 20 pixels; q is a place on its ridge.
    """
    segment_LF = place_JE[pair_L2].reshape(-1, 4)
    step_LE = segment_LF[:, 2:] - segment_LF[:, :2]
    length_L1 = np.linalg.norm(step_LE, axis=1, keepdims=True)
    normal_LE = step_LE[:, ::-1] * (-1, 1) / length_L1
    shift_L2 = _offsets(segment_LF, normal_LE, close_VU)
    moved_LEF = segment_LF.reshape(-1, 2, 2) + shift_L2[..., None] * normal_LE[:, None]
    step_LE = moved_LEF[:, 1] - moved_LEF[:, 0]
    normal_LE = step_LE[:, ::-1] * (-1, 1) / np.maximum(np.linalg.norm(step_LE, axis=1, keepdims=True), 1e-6)
    weight_L = score_L**2 * np.minimum(length_L1[:, 0] / 20, 1)
    pull_LEF = weight_L[:, None, None] * normal_LE[:, :, None] * normal_LE[:, None]
    left_JEF = np.tile(STIFF * np.eye(2), (len(place_JE), 1, 1))
    right_JE = STIFF * place_JE
    for end in (0, 1):
        np.add.at(left_JEF, pair_L2[:, end], pull_LEF)
        np.add.at(right_JE, pair_L2[:, end], (pull_LEF @ moved_LEF[:, end, :, None])[..., 0])
    return np.linalg.solve(left_JEF, right_JE[..., None])[..., 0]


def doubled(place_JE: np.ndarray, pair_L2: np.ndarray, score_L: np.ndarray) -> np.ndarray:
    """Which lines leave one of their junctions beside a better one, within `ACUTE`."""
    order = np.argsort(-score_L, kind="stable")
    pair_L2 = pair_L2[order]
    node_H, line_H = pair_L2.ravel(), np.repeat(np.arange(len(pair_L2)), 2)
    step_HE = place_JE[pair_L2[:, ::-1].ravel()] - place_JE[node_H]
    step_HE = step_HE / np.maximum(np.linalg.norm(step_HE, axis=1, keepdims=True), 1e-6)
    worse_L = np.zeros(len(pair_L2), bool)
    by_node = np.argsort(node_H, kind="stable")
    for at in np.split(by_node, np.flatnonzero(np.diff(node_H[by_node])) + 1):
        beside = np.tril(step_HE[at] @ step_HE[at].T > ACUTE, -1).any(axis=1)
        worse_L[line_H[at[beside]]] = True
    result_L = np.empty_like(worse_L)
    result_L[order] = worse_L
    return result_L


def types(segment_LF: np.ndarray, line_KVU: np.ndarray) -> np.ndarray:
    """Type of every segment: the strongest channel along it, `UNTYPED` where none is half as strong as "any"."""
    mean_KL = read(line_KVU, along(segment_LF, SAMPLES)).mean(axis=2)
    return np.where(mean_KL[:UNTYPED].max(axis=0) >= mean_KL[UNTYPED] / 2, mean_KL[:UNTYPED].argmax(axis=0), UNTYPED)


def along(segment_LF: np.ndarray, count: int) -> np.ndarray:
    """`count` places along each segment, evenly spaced, shape (segments, count, 2)."""
    share_S1 = (np.arange(count)[:, None] + 0.5) / count
    return segment_LF[:, None, :2] + share_S1 * (segment_LF[:, None, 2:] - segment_LF[:, None, :2])


def read(map_CVU: np.ndarray, place_E: np.ndarray) -> np.ndarray:
    """Values of maps at places in pixels of any shape (..., 2), linear between cells: shape (maps, ...)."""
    at_E = np.moveaxis(place_E[..., ::-1], -1, 0) / STRIDE - 0.5
    return np.stack([ndimage.map_coordinates(map_VU, at_E, order=1, mode="nearest") for map_VU in map_CVU])


def _glance(
    place_JE: np.ndarray, pair_L2: np.ndarray, close_VU: np.ndarray, direction_DVU: np.ndarray, threshold: float
) -> np.ndarray:
    segment_LF = place_JE[pair_L2].reshape(-1, 4)
    step_LE = segment_LF[:, 2:] - segment_LF[:, :2]
    way_LSE = along(segment_LF, GLANCE)
    u_LS, v_LS = (np.clip(way_LSE[..., e] // STRIDE, 0, close_VU.shape[1 - e] - 1).astype(int) for e in (0, 1))
    seen_LS = (close_VU[v_LS, u_LS] >= threshold) & (_agreement(direction_DVU[:, v_LS, u_LS], step_LE) > 0)
    return pair_L2[np.count_nonzero(seen_LS, axis=1) >= GLANCE - 2]


def _portions(pair_L2: np.ndarray, size: int = 50_000) -> list[np.ndarray]:
    """Pairs in portions, at least one: a large image has millions, and memory stays bounded."""
    return np.array_split(pair_L2, max(1, len(pair_L2) // size))


def _agreement(direction_DLS: np.ndarray, step_LE: np.ndarray) -> np.ndarray:
    """Cosine of twice the angle between doubled unit directions and the way of each segment, (L, S)."""
    cosine_LS, sine_LS = direction_DLS
    x_L1, y_L1 = step_LE.T[..., None]
    return (cosine_LS * (x_L1**2 - y_L1**2) + sine_LS * 2 * x_L1 * y_L1) / (x_L1**2 + y_L1**2)


def _offsets(segment_LF: np.ndarray, normal_LE: np.ndarray, close_VU: np.ndarray) -> np.ndarray:
    """Distance of the ridge from both ends of each segment, across it, shape (segments, 2): a straight fit.

    What is next to an end belongs to other lines as well and is left out.
    """
    length_L1 = np.linalg.norm(segment_LF[:, 2:] - segment_LF[:, :2], axis=1, keepdims=True)
    margin_L1 = np.minimum(2 * STRIDE / length_L1, 0.25)
    share_LS = margin_L1 + (1 - 2 * margin_L1) * (np.arange(SAMPLES) + 0.5) / SAMPLES
    way_LSE = segment_LF[:, None, :2] + share_LS[..., None] * (segment_LF[:, None, 2:] - segment_LF[:, None, :2])
    close_LSO = read(close_VU[None], way_LSE[:, :, None] + ACROSS[:, None] * normal_LE[:, None, None])[0]
    close_LSO = close_LSO - close_LSO.min(axis=2, keepdims=True)
    weight_LS = close_LSO.sum(axis=2) + 1e-6
    offset_LS = (close_LSO * ACROSS).sum(axis=2) / weight_LS
    total_L1 = weight_LS.sum(axis=1, keepdims=True)
    mean_L1, at_L1 = ((weight_LS * x).sum(axis=1, keepdims=True) / total_L1 for x in (offset_LS, share_LS))
    spread_LS = share_LS - at_L1
    # The ridge's slope against the segment is held back a little: a short profile tells it badly.
    slope_L1 = (weight_LS * spread_LS * (offset_LS - mean_L1)).sum(axis=1, keepdims=True) / (
        (weight_LS * (spread_LS**2 + 0.05)).sum(axis=1, keepdims=True)
    )
    return mean_L1 + slope_L1 * (np.array([0.0, 1.0]) - at_L1)


def _distinct(place_NE: np.ndarray, radius: float) -> np.ndarray:
    """Index of one place of every cluster whose members are within `radius` of one another."""
    a, b = cKDTree(place_NE).query_pairs(radius, output_type="ndarray").reshape(-1, 2).T
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(len(place_NE), len(place_NE)))
    return np.unique(connected_components(graph, directed=False)[1], return_index=True)[1]
