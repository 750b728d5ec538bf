"""Which class a face of a building or bridge has when its file does not say: decided by the face's normal.

Decisions:
- Solids are drawn with their faces looking outward. One whose faces enclose a negative volume is inside out and is
  turned; one whose faces do not close is used as it is. Both are counted.
- A building's face that looks up is roof, down is base, sideways is wall; a bridge's face that looks up is its deck.
"""

import numpy as np

from stepladder.studies.plateau.data.citygml import codes
from stepladder.studies.plateau.data.citygml.raw import Tally

UPWARD = 0.3  # vertical part of a unit normal from which a building's face is a roof (or, downward, a base)
DECK_UPWARD = 0.6  # the same for a bridge's deck, which is never as steep as a roof
LEAST_LEAK = 0.001  # share of its area by which a solid's faces may fail to close it
LEAST_VOLUME = 0.01  # m3 that a solid must enclose, with the wrong sign, to be turned


def label_by_normal(triangles_N33: np.ndarray, label_N: np.ndarray, feature_N: np.ndarray, tally: Tally) -> None:
    """Decide the class of untyped building and bridge faces by their normal, in place.

    A feature whose untyped faces enclose a negative volume is inside out: its triangles are turned and counted.
    """
    untyped = np.flatnonzero(label_N >= codes.BY_NORMAL_BUILDING)
    if not len(untyped):
        return
    corners, feature = triangles_N33[untyped], feature_N[untyped]
    first_F = np.unique(feature, return_index=True)[1]
    group = np.repeat(np.arange(len(first_F)), np.diff([*first_F, len(feature)]))
    middle = np.add.reduceat(corners.mean(axis=1), first_F) / np.bincount(group)[:, None]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    volume_F = np.bincount(group, np.einsum("td,td->t", normal, corners[:, 0] - middle[group])) / 6
    inverted = (volume_F < -LEAST_VOLUME)[group]
    tally.add("solid inside out, turned", int(np.sum(volume_F < -LEAST_VOLUME)))
    area_F = np.bincount(group, np.linalg.norm(normal, axis=1))
    leak_F = np.linalg.norm(np.add.reduceat(normal, first_F), axis=1)  # the normals of a closed surface add up to zero
    building_F = label_N[untyped][first_F] == codes.BY_NORMAL_BUILDING
    tally.add("solid not closed, kept", np.sum((leak_F > LEAST_LEAK * area_F) & building_F))
    triangles_N33[untyped[inverted], 1:] = triangles_N33[untyped[inverted], :0:-1]
    normal[inverted] *= -1
    up = normal[:, 2] / np.linalg.norm(normal, axis=1)
    building = np.select([up > UPWARD, up < -UPWARD], [codes.ROOF, codes.BASE], codes.WALL)
    bridge = np.where(up > DECK_UPWARD, codes.DECK, codes.BRIDGE)
    label_N[untyped] = np.where(label_N[untyped] == codes.BY_NORMAL_BUILDING, building, bridge)
