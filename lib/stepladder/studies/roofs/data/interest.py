"""Where in an image it is worth looking: of every block, whether anything is labelled, and whether a roof is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stepladder.studies.roofs.data.labels import BACKGROUND, IGNORE, NO_FACE

if TYPE_CHECKING:  # readers and their packages, which who trains does without
    from stepladder.studies.roofs.data.labelled import Labelled

BLOCK = 32  # pixels of a block along each side
LABELLED, ROOF = 1, 2  # values of a block; 0: nothing is labelled


def interest(given: Labelled) -> np.ndarray:
    """(N, V, U) uint8 of every block of BLOCK x BLOCK pixels: LABELLED where anything is, ROOF where one is seen."""
    crops, rows, columns = given.image_NYXC.shape[:3]
    found_NVU = np.zeros((crops, -(-rows // BLOCK), -(-columns // BLOCK)), np.uint8)
    for known_NYX, roof_NYX in _looks(given):
        found_NVU[_any(known_NYX) & (found_NVU == 0)] = LABELLED
        found_NVU[_any(roof_NYX)] = ROOF
    if given.lines_LF is not None:
        _add_lines(given, found_NVU)
    return found_NVU


def _looks(given: Labelled) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of every label: where it is known, and where it says roof."""
    looks = []
    for name, none in (("superstructure_NYX", BACKGROUND), ("face_NYX", NO_FACE), ("outline_NYX", 0)):
        if (label_NYX := getattr(given, name)) is not None:
            known_NYX = label_NYX != IGNORE
            looks.append((known_NYX, known_NYX & (label_NYX != none)))
    for metres_NYX in (given.rise_NYX, given.height_NYX):
        if metres_NYX is not None:
            looks.append((np.isfinite(metres_NYX), np.zeros_like(metres_NYX, bool)))
    return looks


def _any(mask_NYX: np.ndarray) -> np.ndarray:
    """Whether anything is true in each block."""
    for axis in (1, 2):
        mask_NYX = np.logical_or.reduceat(mask_NYX, np.arange(0, mask_NYX.shape[axis], BLOCK), axis=axis)
    return mask_NYX


def _add_lines(given: Labelled, found_NVU: np.ndarray) -> None:
    """Blocks at the middles and ends of lines show a roof; elsewhere it is known that there is none."""
    assert given.lines_LF is not None
    known_NVU = True if given.line_labelled_NYX is None else _any(given.line_labelled_NYX == 1)
    found_NVU[known_NVU & (found_NVU == 0)] = LABELLED
    crop_L, start_L2, end_L2 = given.lines_LF[:, 0].astype(int), given.lines_LF[:, 1:3], given.lines_LF[:, 3:5]
    for point_L2 in (start_L2, (start_L2 + end_L2) / 2, end_L2):
        u_L, v_L = (point_L2 // BLOCK).astype(int).T
        inside_L = (u_L >= 0) & (v_L >= 0) & (u_L < found_NVU.shape[2]) & (v_L < found_NVU.shape[1])
        found_NVU[crop_L[inside_L], v_L[inside_L], u_L[inside_L]] = ROOF
