"""Faces made unrecognisable in boxes that somebody else found.

Decisions:
- The rule is that of img2dataset and of ImageNet's face obfuscation: boxes grow by a tenth of their longer side, the
  picture is blurred by a Gaussian of a tenth of the longest side of all boxes, and mixed in by a mask blurred alike.
- Pillow's Gaussian is three box filters: within a few levels of the exact one, at a cost that does not grow with it.
- Only what lies within reach of a box is worked on.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from stepladder.data.images.decode import Box

SHARE = 0.1  # of a box's longer side
REACH = 8  # sigmas from a box beyond which nothing changes: four of the mask and four of the picture


def blur(image_YXC: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """A picture with blurred boxes.

    Args:
        image_YXC: uint8.
        boxes: left, top, right, bottom as shares of width and height; what lies outside is cut off, a box that has no
            area or is no number is passed over.
    """
    height, width = image_YXC.shape[:2]
    inside = [_pixels(box, width, height) for box in boxes if _has_area(box)]
    longest = max((_longer(box) for box in inside), default=0)
    if longest == 0:
        return image_YXC
    sigma = SHARE * longest
    grown = [_grown(box, width, height) for box in inside]
    reach = math.ceil(REACH * sigma)
    left, top = (max(0, min(box[side] for box in grown) - reach) for side in (0, 1))
    right, bottom = (max(box[side] for box in grown) + reach for side in (2, 3))
    mask_YX = np.zeros((height, width), np.uint8)
    for x0, y0, x1, y1 in grown:
        mask_YX[y0:y1, x0:x1] = 255
    result_YXC = image_YXC.copy()
    part = Image.fromarray(np.ascontiguousarray(image_YXC[top:bottom, left:right]))
    mask = Image.fromarray(np.ascontiguousarray(mask_YX[top:bottom, left:right]))
    gaussian = ImageFilter.GaussianBlur(sigma)
    result_YXC[top:bottom, left:right] = Image.composite(part.filter(gaussian), part, mask.filter(gaussian))
    return result_YXC


def _has_area(box: Box) -> bool:
    left, top, right, bottom = box
    return all(map(math.isfinite, box)) and max(left, 0) < min(right, 1) and max(top, 0) < min(bottom, 1)


def _pixels(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = (min(max(share, 0.0), 1.0) for share in box)
    return int(left * width), int(top * height), int(right * width), int(bottom * height)


def _longer(box: tuple[int, int, int, int]) -> int:
    return max(box[2] - box[0], box[3] - box[1])


def _grown(box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
    more = SHARE * _longer(box)
    left, top, right, bottom = int(box[0] - more), int(box[1] - more), int(box[2] + more), int(box[3] + more)
    return max(0, left), max(0, top), min(width, right), min(height, bottom)
