"""From maps to line segments: ridge points of the closeness map, chains of them, and junctions that cut and end them.

Decisions:
- A ridge point lies where closeness is largest across its line, found along the image axis that crosses the line more
  steeply. Both flanks of the profile are equally steep, so its top follows from three cells by the equiangular fit of
  stereo matching, `(c+ - c-) / (c - min(c+, c-)) / 2` cells: exact for exact maps, and free of scale and offset, so it
  does not mind a network that is never quite sure.
- Chains are connected components of ridge points that continue one another (direction, and distance across), all
  pairs at once: fast, and no seed decides. A chain that bends is cut at its farthest point; collinear ones are joined.
- Lines end at junctions: a chain is cut at every junction on its way and its ends move to the nearest peak. Labelled
  wireframes have no line that passes a junction (0 of 799 in the SimpleRoof crops given).
- A line is scored by what lies below it, its mean closeness, not by how it was found.
"""

from typing import Final, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from stepladder.studies.roofs.data.labels import STRIDE, UNTYPED

TURN: Final = np.cos(np.radians(2 * 15))  # doubled directions of neighbours on a line agree at least as much
ACROSS: Final = 2.0  # pixels a point may lie beside the line of its neighbour, and a junction beside its line
BEND: Final = 2.0  # pixels a chain may leave the straight line
GAP: Final = 16.0  # pixels between collinear pieces that are one line
PRIOR: Final = 4.0  # square pixels of spread along a chain that weigh as much as its direction map
REACH: Final = 8.0  # pixels over which closeness falls to 0
SNAP: Final = 16.0  # pixels an end runs on to a junction: near acute corners there is no ridge
INSIDE: Final = 8.0  # pixels an end goes back to one
PEAK: Final = 0.25  # height from which a junction counts
SHORTEST: Final = 4.0  # pixels of a line
SAMPLES: Final = 32  # places along a line where its closeness is read


class Points(NamedTuple):
    """Ridge points: places (N, 2) and unit directions (N, 2) in pixels, cell row and column, height of the ridge."""

    place_NE: np.ndarray
    along_NE: np.ndarray
    row_N: np.ndarray
    column_N: np.ndarray
    height_N: np.ndarray


class Lines(NamedTuple):
    """Straight lines through chains: a point on each (M, 2), unit direction (M, 2), extent along it from that point."""

    middle_ME: np.ndarray
    along_ME: np.ndarray
    low_M: np.ndarray
    high_M: np.ndarray


def extract(
    line_KVU: np.ndarray, direction_DVU: np.ndarray, junction_VU: np.ndarray, threshold: float = 0.2
) -> np.ndarray:
    """Line segments of one image, float32 of shape (lines, 6): x0, y0, x1, y1 in image pixels, type, score; best first.

    Args:
        line_KVU: closeness to the nearest line of each type and, last, of any, 0 to 1, on cells of `STRIDE` pixels.
        direction_DVU: cosine and sine of twice the angle of the nearest line, of any length.
        junction_VU: heat map of line ends, Gaussians of 4 pixels.
        threshold: least height of a ridge, and least score of a line.
    """
    line_KVU, direction_DVU, junction_VU = (np.nan_to_num(m, posinf=0, neginf=0) for m in (line_KVU, direction_DVU, junction_VU))
    points = ridge(line_KVU[UNTYPED], direction_DVU, threshold)
    chain_N = straight(points, chains(points, junction_VU.shape))
    lines = fit(points, chain_N)
    chain_N = joined(lines)[chain_N]
    lines = trimmed(points, chain_N, fit(points, chain_N))
    return rated(cut(lines, peaks(junction_VU)), line_KVU, threshold)


def ridge(close_VU: np.ndarray, direction_DVU: np.ndarray, threshold: float) -> Points:
    """Ridge points of a closeness map."""
    angle_VU = np.arctan2(direction_DVU[1], direction_DVU[0]) / 2
    padded = np.pad(close_VU, 1, mode="edge")
    steep_VU = np.abs(np.sin(angle_VU)) > np.abs(np.cos(angle_VU))
    before_VU = np.where(steep_VU, padded[1:-1, :-2], padded[:-2, 1:-1])
    after_VU = np.where(steep_VU, padded[1:-1, 2:], padded[2:, 1:-1])
    height_VU = close_VU + np.abs(after_VU - before_VU) / 2
    top_VU = (close_VU >= before_VU) & (close_VU > after_VU) & (height_VU >= threshold)
    row_N, column_N = np.nonzero(top_VU)
    low_N = np.minimum(before_VU, after_VU)[top_VU]
    shift_N = (after_VU - before_VU)[top_VU] / np.maximum(close_VU[top_VU] - low_N, 1e-6) / 2
    steep_N, angle_N = steep_VU[top_VU], angle_VU[top_VU]
    x_N, y_N = column_N + 0.5 + shift_N * steep_N, row_N + 0.5 + shift_N * ~steep_N
    along_NE = np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)
    return Points(np.stack([x_N, y_N], axis=1) * STRIDE, along_NE, row_N, column_N, height_VU[top_VU])


def chains(points: Points, shape: tuple[int, ...]) -> np.ndarray:
    """Number of the chain of every ridge point: those within two cells that continue each other are in one."""
    number_VU = np.full((shape[0] + 4, shape[1] + 4), -1)
    number_VU[points.row_N + 2, points.column_N + 2] = np.arange(len(points.row_N))
    one, two = [], []
    for v, u in [(0, 1), (0, 2), *((v, u) for v in (1, 2) for u in range(-2, 3))]:
        other_N = number_VU[points.row_N + 2 + v, points.column_N + 2 + u]
        one.append(np.flatnonzero(other_N >= 0))
        two.append(other_N[other_N >= 0])
    a, b = np.concatenate(one), np.concatenate(two)
    step = points.place_NE[b] - points.place_NE[a]
    across = np.maximum(np.abs(_cross(points.along_NE[a], step)), np.abs(_cross(points.along_NE[b], step)))
    turn = 2 * (points.along_NE[a] * points.along_NE[b]).sum(axis=1) ** 2 - 1
    return _components(a, b, (turn >= TURN) & (across <= ACROSS), len(points.row_N))


def fit(points: Points, chain_N: np.ndarray) -> Lines:
    """The line of least squared distances through each chain, weighted by the height of its points."""
    weight_N, count = points.height_N, chain_N.max(initial=-1) + 1
    total_M = np.maximum(np.bincount(chain_N, weight_N, count), 1e-9)
    middle_ME = np.stack([np.bincount(chain_N, weight_N * x, count) for x in points.place_NE.T], axis=1) / total_M[:, None]
    x_N, y_N = (points.place_NE - middle_ME[chain_N]).T
    # Places tell the direction of a long chain; a short one goes by the direction map.
    cosine_N, sine_N = points.along_NE.T
    sums = (2 * (x_N * y_N + PRIOR * cosine_N * sine_N), x_N**2 - y_N**2 + PRIOR * (cosine_N**2 - sine_N**2))
    angle_M = np.arctan2(*(np.bincount(chain_N, weight_N * w, count) for w in sums)) / 2
    along_ME = np.stack([np.cos(angle_M), np.sin(angle_M)], axis=1)
    along_N = x_N * along_ME[chain_N, 0] + y_N * along_ME[chain_N, 1]
    low_M, high_M = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low_M, chain_N, along_N)
    np.maximum.at(high_M, chain_N, along_N)
    return Lines(middle_ME, along_ME, low_M, high_M)


def straight(points: Points, chain_N: np.ndarray) -> np.ndarray:
    """Chains, cut where they bend: at the point farthest from their line, until none is farther than `BEND`."""
    for _ in range(8):  # halves: a chain of hundreds of points is cut into straight pieces in that many rounds
        lines = fit(points, chain_N)
        step_NE = points.place_NE - lines.middle_ME[chain_N]
        off_N = np.abs(_cross(lines.along_ME[chain_N], step_NE))
        order = np.lexsort((off_N, chain_N))
        far_M = order[np.flatnonzero(np.diff(chain_N[order], append=-1))]  # the farthest point of each chain
        bent_M = off_N[far_M] > BEND
        if not bent_M.any():
            break
        along_N = (step_NE * lines.along_ME[chain_N]).sum(axis=1)
        beyond_N = bent_M[chain_N] & (along_N > along_N[far_M][chain_N])
        chain_N = np.unique(2 * chain_N + beyond_N, return_inverse=True)[1]
    return chain_N


def joined(lines: Lines) -> np.ndarray:
    """New number of every chain: collinear ones whose ends are within `GAP` share it."""
    count = len(lines.low_M)
    end_E = np.concatenate([lines.middle_ME + t[:, None] * lines.along_ME for t in (lines.low_M, lines.high_M)])
    a, b = _near(end_E, GAP)
    a, b = a % count, b % count
    step = lines.middle_ME[b] - lines.middle_ME[a]
    turn = 2 * (lines.along_ME[a] * lines.along_ME[b]).sum(axis=1) ** 2 - 1
    across = np.maximum(np.abs(_cross(lines.along_ME[a], step)), np.abs(_cross(lines.along_ME[b], step)))
    return _components(a, b, (turn >= TURN) & (across <= ACROSS), count)


def trimmed(points: Points, chain_N: np.ndarray, lines: Lines) -> Lines:
    """Lines without what their ridge runs on beyond their ends, where its height falls as closeness does."""
    count = len(lines.low_M)
    along_N = ((points.place_NE - lines.middle_ME[chain_N]) * lines.along_ME[chain_N]).sum(axis=1)
    total_M = np.bincount(chain_N, points.height_N, count)
    level_M = np.bincount(chain_N, points.height_N**2, count) / np.maximum(total_M, 1e-9)
    order = np.lexsort((along_N, chain_N))
    last_M = np.flatnonzero(np.diff(chain_N[order], append=-1))
    first_M = np.append(0, last_M[:-1] + 1)
    low_M, high_M = (
        REACH * np.clip(1 - points.height_N[order[at_M]] / level_M, 0, 1) for at_M in (first_M, last_M)
    )
    return lines._replace(low_M=lines.low_M + low_M, high_M=lines.high_M - high_M)


def peaks(junction_VU: np.ndarray) -> np.ndarray:
    """Junctions in pixels, shape (junctions, 2): maxima of the heat map, refined as the top of a Gaussian."""
    top_VU = (junction_VU == ndimage.maximum_filter(junction_VU, 3)) & (junction_VU >= PEAK)
    row_J, column_J = np.nonzero(top_VU)
    log_VU = np.log(np.maximum(np.pad(junction_VU, 1, mode="edge"), 1e-6))
    centre_J = log_VU[row_J + 1, column_J + 1]
    place = []
    for at_J, v, u in ((column_J, 0, 1), (row_J, 1, 0)):
        before_J, after_J = (log_VU[row_J + 1 + s * v, column_J + 1 + s * u] for s in (-1, 1))
        curve_J = np.maximum(2 * centre_J - before_J - after_J, 1e-6)
        place.append(at_J + 0.5 + np.clip((after_J - before_J) / curve_J / 2, -0.5, 0.5))
    place_JE = np.stack(place, axis=1) * STRIDE
    near = _near(place_JE, STRIDE)  # a top between cells is one of each
    first = np.unique(_components(*near, np.ones(len(near[0]), bool), len(place_JE)), return_index=True)[1]
    return place_JE[first]


def cut(lines: Lines, junction_JE: np.ndarray) -> np.ndarray:
    """Segments (pieces, 4) of the lines between the junctions on their way; their own ends stay where none is near."""
    step_MJE = junction_JE[None] - lines.middle_ME[:, None]
    across_MJ = np.abs(_cross(lines.along_ME[:, None], step_MJE))
    along_MJ = np.where(across_MJ <= ACROSS, (step_MJE * lines.along_ME[:, None]).sum(axis=2), np.inf)
    low_M, low_free_M = _ends(lines.low_M, along_MJ)
    high_M, high_free_M = _ends(-lines.high_M, -along_MJ)
    on_MJ = (along_MJ >= low_M[:, None]) & (along_MJ <= -high_M[:, None])
    line_S, which_S = np.nonzero(on_MJ)
    stops = [(line_S, along_MJ[on_MJ], junction_JE[which_S])]
    for end_M, free_M in ((low_M, low_free_M), (-high_M, high_free_M)):
        place_ME = lines.middle_ME + end_M[:, None] * lines.along_ME
        stops.append((np.flatnonzero(free_M), end_M[free_M], place_ME[free_M]))
    line_S, along_S, place_SE = (np.concatenate(parts) for parts in zip(*stops, strict=True))
    order = np.lexsort((along_S, line_S))
    here, there = order[:-1], order[1:]
    kept = (line_S[here] == line_S[there]) & (along_S[there] - along_S[here] >= SHORTEST)
    return np.concatenate([place_SE[here[kept]], place_SE[there[kept]]], axis=1)


def _ends(low_M: np.ndarray, along_MJ: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where lines begin: at the junction nearest to their end, up to `SNAP` beyond it or `INSIDE` it; and where none is."""
    off_MJ = along_MJ - low_M[:, None]
    off_MJ = np.where((off_MJ >= -SNAP) & (off_MJ <= INSIDE), off_MJ, np.inf)
    nearest_M = np.abs(off_MJ).argmin(axis=1) if off_MJ.shape[1] else np.zeros(len(low_M), int)
    off_M = off_MJ[np.arange(len(low_M)), nearest_M] if off_MJ.shape[1] else np.full(len(low_M), np.inf)
    free_M = np.isinf(off_M)
    return np.where(free_M, low_M, low_M + np.where(free_M, 0, off_M)), free_M


def rated(segment_LF: np.ndarray, line_KVU: np.ndarray, threshold: float) -> np.ndarray:
    """Segments with type and score, best first: those that closeness supports, each once."""
    share_S = (np.arange(SAMPLES) + 0.5) / SAMPLES
    start, end = segment_LF[:, None, :2], segment_LF[:, None, 2:]
    place_LSE = start + share_S[None, :, None] * (end - start)
    at = place_LSE[..., ::-1].transpose(2, 0, 1) / STRIDE - 0.5
    close_KLS = np.stack([ndimage.map_coordinates(map_VU, at, order=1, mode="nearest") for map_VU in line_KVU])
    mean_KL = close_KLS.mean(axis=2)
    score_L, typed_KL = mean_KL[UNTYPED], mean_KL[:UNTYPED]
    type_L = np.where(typed_KL.max(axis=0) >= score_L / 2, typed_KL.argmax(axis=0), UNTYPED)
    table = np.column_stack([segment_LF, type_L, score_L]).astype(np.float32)
    table = table[np.argsort(-score_L, kind="stable")]
    flipped = (table[:, 0] > table[:, 2]) | ((table[:, 0] == table[:, 2]) & (table[:, 1] > table[:, 3]))
    key = np.where(flipped[:, None], table[:, [2, 3, 0, 1]], table[:, :4]).round()
    first = np.sort(np.unique(key, axis=0, return_index=True)[1])
    return table[first][table[first, 5] >= threshold]


def _cross(a_E: np.ndarray, b_E: np.ndarray) -> np.ndarray:
    return a_E[..., 0] * b_E[..., 1] - a_E[..., 1] * b_E[..., 0]


def _near(place_NE: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of places within `radius` of each other."""
    pairs = cKDTree(place_NE).query_pairs(radius, output_type="ndarray").reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _components(a: np.ndarray, b: np.ndarray, kept: np.ndarray, count: int) -> np.ndarray:
    """Component of each of `count` nodes, joined by those pairs of `a` and `b` that are kept."""
    graph = coo_array((np.ones(np.count_nonzero(kept)), (a[kept], b[kept])), shape=(count, count))
    return connected_components(graph, directed=False)[1]
