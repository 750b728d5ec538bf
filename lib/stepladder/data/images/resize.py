"""Pictures of one size, by the modes of img2dataset.

Decisions:
- Sizes are img2dataset's to the pixel, half to even; so are the borders (white, the odd row below and the odd column to
  the right) and what is cropped.
- Smaller by the exact mean over the area that a pixel covers, as OpenCV's INTER_AREA (equal within one level, in
  rounding); Pillow's BOX weighs a pixel that is covered in part as whole or not at all, and is up to 57 levels off.
- Larger by Pillow's Lanczos over 6 pixels, where OpenCV's goes over 8: on average 1 level apart, more at hard edges.
- `scaled` and `fitted` are two steps, since boxes are shares of a picture that has no border yet.
"""

from typing import Literal

import numpy as np
from PIL import Image
from scipy import sparse

Mode = Literal["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"]
BY_THE_SMALLER = ("keep_ratio", "center_crop")  # the smaller side becomes `side`, in other modes the larger
WHITE = 255


def resize(image_YXC: np.ndarray, side: int, mode: Mode, only_smaller: bool = True) -> np.ndarray:
    """A picture of another size.

    Args:
        image_YXC: uint8.
        side: pixels.
        mode: `no` leaves it; `keep_ratio` makes the smaller side `side`, `keep_ratio_largest` the larger; `border`
            fills up to a square then, and `center_crop` (of `keep_ratio`) cuts one out.
        only_smaller: leave a picture as it is that would grow.
    """
    if not changes(image_YXC, side, mode, only_smaller):
        return image_YXC
    return fitted(scaled(image_YXC, side, mode), side, mode)


def changes(image_YXC: np.ndarray, side: int, mode: Mode, only_smaller: bool) -> bool:
    """Whether `resize` would return another picture than it is given."""
    if mode == "no" or (only_smaller and _measured(image_YXC, mode) <= side):
        return False
    return image_YXC.shape[:2] != (side, side) and (
        mode in ("border", "center_crop") or _measured(image_YXC, mode) != side
    )


def scaled(image_YXC: np.ndarray, side: int, mode: Mode) -> np.ndarray:
    """The picture with its measured side `side`, the other one in proportion."""
    factor = side / _measured(image_YXC, mode)
    height, width = (max(1, round(length * factor)) for length in image_YXC.shape[:2])
    if factor < 1:
        return shrunk(image_YXC, height, width)
    return np.asarray(Image.fromarray(image_YXC).resize((width, height), Image.Resampling.LANCZOS))


def fitted(image_YXC: np.ndarray, side: int, mode: Mode) -> np.ndarray:
    """A scaled picture with a border or cropped, where the mode says so."""
    height, width = image_YXC.shape[:2]
    if mode == "border":
        square_YXC = np.full((side, side, image_YXC.shape[2]), WHITE, image_YXC.dtype)
        top, left = (side - height) // 2, (side - width) // 2
        square_YXC[top : top + height, left : left + width] = image_YXC
        return square_YXC
    if mode == "center_crop":
        top, left = (height - side) // 2, (width - side) // 2
        return image_YXC[top : top + side, left : left + side]
    return image_YXC


def shrunk(image_YXC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Every pixel the mean over the area it covers; neither side may grow."""
    across_YXC = _along_first(image_YXC, height).transpose(1, 0, 2)
    mean_YXC = _along_first(across_YXC, width).transpose(1, 0, 2)
    return np.ascontiguousarray(np.rint(mean_YXC).astype(np.uint8))


def _measured(image_YXC: np.ndarray, mode: Mode) -> int:
    """The side that becomes the one asked for."""
    return (min if mode in BY_THE_SMALLER else max)(image_YXC.shape[:2])


def _along_first(values_NYC: np.ndarray, count: int) -> np.ndarray:
    """Means along the first axis, float32."""
    length = values_NYC.shape[0]
    if length == count:
        return values_NYC.astype(np.float32)
    flat = _shares(length, count) @ values_NYC.reshape(length, -1)
    return flat.reshape(count, *values_NYC.shape[1:])


def _shares(length: int, count: int) -> sparse.csr_array:
    """How much of each of `count` equal stretches every one of `length` places fills."""
    edges = np.arange(count + 1) * (length / count)
    reach = int(np.ceil(length / count)) + 1
    places_KR = np.floor(edges[:-1, None]).astype(int) + np.arange(reach)
    ends_KR = np.minimum(edges[1:, None], places_KR + 1)
    shares_KR = (ends_KR - np.maximum(edges[:-1, None], places_KR)).clip(0) * (count / length)
    rows_KR = np.broadcast_to(np.arange(count)[:, None], shares_KR.shape)
    there_KR = (shares_KR > 1e-9) & (places_KR < length)
    entries = shares_KR[there_KR].astype(np.float32), (rows_KR[there_KR], places_KR[there_KR])
    return sparse.csr_array(entries, shape=(count, length))
