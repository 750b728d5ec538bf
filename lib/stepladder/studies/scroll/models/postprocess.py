"""From probabilities to sheets: the post-processing that was worth 0.03 to the winner of the challenge.

Decisions:
- The chain is a list of named steps, each a pure function `mask -> mask`; `ablation` adds one at a time. Steps and
  order follow the winner's account of their gains: threshold, drop small components, plug small holes, patch large
  ones, close, fill. Closing and patching look at one component at a time and add nothing that touches another one, so
  they never join two sheets, not even where one is rolled round the other.
- Plugging makes every 2 x 2 x 2 neighbourhood 6-connected with the fewest additional voxels, by a table of 256 entries:
  where sheet voxels touch only along an edge or a corner, the background leaks through. The winner built his table
  with paper and tape and did not print it; ours follows from that sentence.
- Patching is undone where it does not lower the number of tunnels: a height map says nothing about a folded sheet.
  A patch is plugged before it is judged, for a steep one leaks as any other sheet does.
- Filling is bounded in size. The winner's was not, but a closed surface (a cell in the stand-in data, a sealed fold) is
  not a hole in a sheet.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from stepladder.studies.scroll.evaluation import metrics, topology
from stepladder.studies.scroll.params import PostParams

NEIGHBOURS = 1.8  # radius of the ball that holds the 26 neighbours of a voxel and no more


def chain(probability_ZYX: np.ndarray, params: PostParams) -> np.ndarray:
    """The mask after all steps, bool."""
    return [mask for _, mask in steps(probability_ZYX, params)][-1]


def steps(probability_ZYX: np.ndarray, params: PostParams) -> Iterator[tuple[str, np.ndarray]]:
    """Name and mask after each step of the chain; those switched off are left out."""
    mask = probability_ZYX >= params.threshold
    yield "threshold", mask
    wanted = {
        "drop small components": (drop_small, params.smallest),
        "plug small holes": (plug, params.plug),
        "patch large holes": (patch, params.patch),
        "close": (close, params.closing),
        "fill cavities": (fill, params.fill),
    }
    for name, (step, setting) in wanted.items():
        if setting:
            mask = step(mask) if setting is True else step(mask, setting)
            yield name, mask


def ablation(probability_ZYX: np.ndarray, label_ZYX: np.ndarray, params: PostParams) -> pd.DataFrame:
    """What each step adds: columns `step`, `voxels` and every metric of `metrics.scores`, one row per step."""
    return pd.DataFrame(
        {"step": name, "voxels": int(np.count_nonzero(mask)), **metrics.scores(label_ZYX, mask)}
        for name, mask in steps(probability_ZYX, params)
    )


def drop_small(mask_ZYX: np.ndarray, smallest: int) -> np.ndarray:
    """Without the 26-connected components of fewer than `smallest` voxels."""
    number_ZYX = topology.components(mask_ZYX)
    kept = np.bincount(number_ZYX.ravel()) >= smallest
    kept[0] = False
    return kept[number_ZYX]


def plug(mask_ZYX: np.ndarray) -> np.ndarray:
    """With the voxels added that make every 2 x 2 x 2 neighbourhood 6-connected, until there is none left to add."""
    # The table answers all neighbourhoods at once. A voxel added to one belongs to seven others, hence the loop.
    padded, table = np.pad(mask_ZYX, 1), plugs()  # nothing is added to the margin: inside it takes fewer voxels
    while True:
        added = table[metrics.neighbourhoods(padded[1:-1, 1:-1, 1:-1])]
        if not added.any():
            return padded[1:-1, 1:-1, 1:-1]
        for bit, corner in zip(range(7, -1, -1), metrics.CORNERS, strict=True):
            place = tuple(slice(c, c + n) for c, n in zip(corner, added.shape, strict=True))
            padded[place] |= (added >> np.uint8(bit) & 1).astype(bool)


@functools.cache
def plugs() -> np.ndarray:
    """Voxels to add to each of the 256 neighbourhoods (codes as in `metrics.neighbourhoods`): the fewest, first found.

    Candidates are tried in the order of their codes, so the choice between equals is fixed.
    """
    by_count = sorted(range(256), key=lambda code: (code.bit_count(), code))
    return np.array([next(add for add in by_count if _connected(code | add)) & ~code for code in range(256)], np.uint8)


def patch(mask_ZYX: np.ndarray) -> np.ndarray:
    """With the gaps of every sheet filled where it is a height map over the plane that shows it largest."""

    def bridged(sheet_ZYX: np.ndarray, others_ZYX: np.ndarray) -> np.ndarray:
        patched = patch_sheet(sheet_ZYX)
        if patched is None:
            return sheet_ZYX
        # Never into the neighbourhood of another sheet, and only if it really closes a tunnel.
        patched = plug(patched) & ~metrics.dilate(others_ZYX, NEIGHBOURS)
        return patched if topology.betti(patched)[1] < topology.betti(sheet_ZYX)[1] else sheet_ZYX

    return grown(mask_ZYX, bridged)


def grown(mask_ZYX: np.ndarray, grow: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """The mask after every component has grown in its bounding box, one after the other.

    `grow(sheet, others)` gives what becomes of a component, beside what others hold of its bounding box and one more
    voxel round it; what earlier components gained is among them.
    """
    number_ZYX = topology.components(mask_ZYX)
    for number, box in enumerate(ndimage.find_objects(number_ZYX), 1):
        # A view: what a component gains is seen by those that come after it.
        around = number_ZYX[tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)]
        sheet = around == number
        around[grow(sheet, (around != 0) & ~sheet)] = number
    return number_ZYX != 0


def patch_sheet(sheet_ZYX: np.ndarray) -> np.ndarray | None:
    """One component with the gaps of its height map bridged; None where there are none.

    Height and thickness of a gap are interpolated linearly along each of the two axes of the plane, and the two are
    averaged with the inverse distances to the gap's edge along them as weights.
    """
    # The sheet as a height map over the plane that shows most of it; a gap is a hole in its shadow.
    axis = int(np.argmax([np.count_nonzero(sheet_ZYX.any(axis=a)) for a in range(3)]))
    sheet_HUV = np.moveaxis(sheet_ZYX, axis, 0)
    known_UV: Any = sheet_HUV.any(axis=0)
    gap_UV = ndimage.binary_fill_holes(known_UV) & ~known_UV
    if not gap_UV.any():
        return None
    thick_UV = sheet_HUV.sum(axis=0)
    height_UV = (np.arange(len(sheet_HUV))[:, None, None] * sheet_HUV).sum(axis=0) / np.maximum(thick_UV, 1)
    one, two = (_bridged(known_UV, height_UV, thick_UV, along) for along in (0, 1))
    weight_UV = two[2] / (one[2] + two[2])  # two's distance to the gap's edge: the nearer one counts more
    middle_UV, thick_UV = (weight_UV * a + (1 - weight_UV) * b for a, b in zip(one[:2], two[:2], strict=True))
    from_middle_HUV = np.abs(np.arange(len(sheet_HUV))[:, None, None] - middle_UV)
    bridge_HUV = gap_UV & (from_middle_HUV <= np.maximum(thick_UV, 1) / 2)
    return np.moveaxis(sheet_HUV | bridge_HUV, 0, axis)


def close(mask_ZYX: np.ndarray, radius: float) -> np.ndarray:
    """With every component closed by a ball: narrow gaps and dents of a sheet vanish, sheets stay apart."""
    margin = 2 * int(radius)

    def closed(sheet_ZYX: np.ndarray, others_ZYX: np.ndarray) -> np.ndarray:
        padded = np.pad(sheet_ZYX, margin)
        # Closing: dilate, then erode (a dilation of the outside).
        whole = ~metrics.dilate(~metrics.dilate(padded, radius), radius)
        inner = tuple(slice(margin, n - margin) for n in whole.shape)  # closing stays inside the bounding box
        return sheet_ZYX | whole[inner] & ~metrics.dilate(others_ZYX, NEIGHBOURS)

    return grown(mask_ZYX, closed)


def fill(mask_ZYX: np.ndarray, largest: int) -> np.ndarray:
    """With the cavities of at most `largest` voxels filled; what reaches the volume's border is none."""
    number_ZYX = topology.components(~np.pad(mask_ZYX, 1), 6)
    # Background components; the one that holds the padded corner is the outside.
    small = np.bincount(number_ZYX.ravel()) <= largest
    small[[0, number_ZYX[0, 0, 0]]] = False
    return mask_ZYX | small[number_ZYX[1:-1, 1:-1, 1:-1]]


def _bridged(known_UV: np.ndarray, height_UV: np.ndarray, thick_UV: np.ndarray, axis: int) -> list[np.ndarray]:
    """Height, thickness and distance to the nearest known pixel, interpolated along `axis`."""
    known, height, thick = (np.moveaxis(image, axis, 1) for image in (known_UV, height_UV, thick_UV))
    result: Any = np.zeros((3, *known.shape))
    result[2] = 1e6  # lines without anything known count for nothing
    place = np.arange(known.shape[1])
    for row in np.flatnonzero(known.any(axis=1)):
        # Linear between the known pixels of the line, constant beyond them.
        there = np.flatnonzero(known[row])
        result[0, row], result[1, row] = (np.interp(place, there, image[row, there]) for image in (height, thick))
        result[2, row] = np.abs(place[:, None] - there).min(axis=1) + 1e-6
    return [np.moveaxis(image, 1, axis) for image in result]


def _connected(code: int) -> bool:
    """Whether the voxels of a neighbourhood are one 6-connected component (or none)."""
    corners = [corner for bit, corner in zip(range(7, -1, -1), metrics.CORNERS, strict=True) if code >> bit & 1]
    reached, before = set(corners[:1]), -1
    while len(reached) > before:
        before = len(reached)
        reached |= {c for c, r in itertools.product(corners, reached) if np.abs(np.subtract(c, r)).sum() == 1}
    return len(reached) == len(corners)
