"""One picture of unknown origin: from bytes to RGB as a person would see it, or why not.

Decisions:
- What a file is, its first bytes say: JPEG, PNG, WebP or GIF. Its name and what a server calls it say nothing, and the
  other 40 formats that Pillow reads are doors that nobody needs.
- Size is known from the header, and refused before anything of that size is allocated.
- Pillow raises at least nine kinds of exception for broken files (SyntaxError, struct.error, TypeError ...). Only its
  own calls are guarded, one by one: whatever it raises there is the file's fault, a name error of ours never is.
- A file that ends early is an error: half a picture with a grey rest would be trained on.
- The first frame; turned as EXIF says; transparent on white; 16 bits scaled. Colour profiles are ignored, as
  img2dataset and the training sets made with it do.
"""

import struct
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
from PIL import Image

MOST_PIXELS = 64_000_000
FORMATS = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "GIF": b"GIF8", "WEBP": b"RIFF"}
ORIENTATION = 0x0112  # the tag of EXIF
OURS = (NameError, ImportError)  # what no file can cause
# What undoes each orientation, beginning with 2 (EXIF 2.3, 4.6.4.A); 1 is upright.
TURNS = (
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)
FLIPS = ((1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1))  # the same: x and y swapped first
Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of width and height
Returned = TypeVar("Returned")


class Undecodable(ValueError):
    """Bytes that are no picture of use.

    Attributes:
        outcome: `empty`, `not_image`, `too_many_pixels` or `decode`.
        reason: why, in words.
    """

    def __init__(self, outcome: str, reason: str):
        super().__init__(f"{outcome}: {reason}")
        self.outcome, self.reason = outcome, reason

    def __reduce__(self) -> tuple[type["Undecodable"], tuple[str, str]]:
        return type(self), (self.outcome, self.reason)


@dataclass(frozen=True)
class Decoded:
    """A picture and how it came out of its file.

    Attributes:
        image_YXC: RGB, uint8, upright; it may be read-only, since a copy costs as much as a fifth of decoding.
        format: `JPEG`, `PNG`, `GIF` or `WEBP`.
        orientation: what EXIF said, 1 (upright) to 8.
        plain: whether any reader shows the file itself like this: an upright JPEG, grey or in colour.
    """

    image_YXC: np.ndarray
    format: str
    orientation: int
    plain: bool


def picture(body: bytes, most_pixels: int = MOST_PIXELS) -> np.ndarray:
    """RGB of a picture: uint8 (Y, X, 3), which may be read-only.

    Args:
        body: a whole file.
        most_pixels: more are refused; twice what Pillow warns of (179 million) it refuses by itself.

    Raises:
        Undecodable: it is none, is broken or too large.
    """
    return decoded(body, most_pixels).image_YXC


def decoded(body: bytes, most_pixels: int = MOST_PIXELS) -> Decoded:
    """A picture with what is known of its file; arguments and errors as of `picture`."""
    name = format_of(body)
    with warnings.catch_warnings(action="ignore"):  # of broken metadata and of sizes, which are looked at here
        _check_size(*(_webp_size(body) if name == "WEBP" else (1, 1)), most_pixels)
        image = _guarded(Image.open, BytesIO(body), formats=[name])
        _check_size(*image.size, most_pixels)
        _guarded(image.load)
        orientation = _orientation(image)
        upright = image if orientation == 1 else _guarded(image.transpose, TURNS[orientation - 2])
        image_YXC = _rgb(upright, image.info.get("transparency"))
    plain = name == "JPEG" and orientation == 1 and image.mode in ("L", "RGB")
    return Decoded(image_YXC, name, orientation, plain)


def format_of(body: bytes) -> str:
    """The format that the first bytes of a file say.

    Raises:
        Undecodable: `empty`, or `not_image` with what it begins with.
    """
    if not body:
        raise Undecodable("empty", "no bytes")
    for name, magic in FORMATS.items():
        if body.startswith(magic) and (name != "WEBP" or body[8:12] == b"WEBP"):
            return name
    raise Undecodable("not_image", f"neither JPEG, PNG, WebP nor GIF: it begins with {body[:12]!r}")


def turned(boxes: Sequence[Box], orientation: int) -> list[Box]:
    """Boxes of a picture as its file stores it, after it was turned upright.

    Detectors that ran on files without regard to EXIF (DataComp's) speak of the stored picture.
    """
    if orientation == 1:
        return list(boxes)
    flip_x, flip_y, swap = FLIPS[orientation - 2]
    found: list[Box] = []
    for left, top, right, bottom in boxes:
        if swap:
            left, top, right, bottom = top, left, bottom, right
        if flip_x:
            left, right = 1 - right, 1 - left
        if flip_y:
            top, bottom = 1 - bottom, 1 - top
        found.append((left, top, right, bottom))
    return found


def _guarded(call: Callable[..., Returned], *args: Any, **named: Any) -> Returned:
    """What a call of Pillow returns; whatever it raises is said of the file."""
    try:
        return call(*args, **named)
    except OURS:
        raise
    except Image.DecompressionBombError as error:
        raise Undecodable("too_many_pixels", str(error)) from None
    except MemoryError:
        raise Undecodable("decode", "needs more memory than it may have") from None
    except Exception as error:
        raise Undecodable("decode", f"{type(error).__name__}: {error}") from None


def _check_size(width: int, height: int, most_pixels: int) -> None:
    if width * height > most_pixels:
        raise Undecodable("too_many_pixels", f"{width} x {height} is more than {most_pixels:,}")
    if width * height == 0:
        raise Undecodable("decode", f"{width} x {height} pixels")


def _webp_size(body: bytes) -> tuple[int, int]:
    """Width and height of a WebP; Pillow's decoder allocates both canvases as it opens one (RFC 9649, 2.5 to 2.7)."""
    if body[12:16] == b"VP8X" and len(body) >= 30:
        return 1 + int.from_bytes(body[24:27], "little"), 1 + int.from_bytes(body[27:30], "little")
    if body[12:16] == b"VP8L" and len(body) >= 25:
        bits = int.from_bytes(body[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if body[12:16] == b"VP8 " and len(body) >= 30:
        width, height = struct.unpack("<HH", body[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise Undecodable("decode", "a WebP without a header")


def _orientation(image: Image.Image) -> int:
    """What EXIF says of which way is up; broken EXIF says nothing."""
    try:
        found = _guarded(lambda: image.getexif().get(ORIENTATION, 1))
    except Undecodable:
        return 1
    return found if isinstance(found, int) and 2 <= found <= 8 else 1


def _rgb(image: Image.Image, transparency: Any) -> np.ndarray:
    """RGB of an image of any mode, on white."""
    if image.mode.startswith("I"):  # 16 bits of grey
        return _from_16_bits(image, transparency)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or transparency is not None:
        colours = _guarded(image.convert, "RGBA")
        white = _guarded(Image.new, "RGB", colours.size, "white")
        _guarded(white.paste, colours, mask=colours)
        image = white
    return np.asarray(image if image.mode == "RGB" else _guarded(image.convert, "RGB"))


def _from_16_bits(image: Image.Image, transparency: Any) -> np.ndarray:
    """Grey of 16 bits scaled to 8, where Pillow would clip it."""
    grey_YX = np.asarray(image).clip(0, 65535).astype(np.uint32)
    value_YX = ((grey_YX * 255 + 32767) // 65535).astype(np.uint8)
    if isinstance(transparency, int):
        value_YX[grey_YX == transparency] = 255
    return np.repeat(value_YX[..., None], 3, axis=2)
