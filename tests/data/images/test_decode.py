"""Decoding: the right pixels for every kind of file, and a class for whatever is none."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from stepladder.data.images import decode
from stepladder.data.images.decode import ORIENTATION, Undecodable, decoded, picture, turned

PILLOW = "captions/python-pillow__Pillow/Tests/images"
FORMATS = ("JPEG", "PNG", "GIF", "WEBP")


def gradient(height: int = 24, width: int = 40) -> np.ndarray:
    """A smooth coloured picture that no turn leaves as it is."""
    y_YX, x_YX = np.mgrid[:height, :width]
    return np.stack([x_YX * 255 // width, y_YX * 255 // height, (x_YX + 2 * y_YX) % 256], axis=2).astype(np.uint8)


def saved(image: Image.Image, kind: str, **how) -> bytes:
    """A file of a picture."""
    file = BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG made by hand, so that its header says anything."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    middle = extra and chunk(extra[:4], extra[4:])
    parts = chunk(b"IHDR", header), middle, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("kind", FORMATS)
def test_plain_pictures_have_pillows_pixels(kind: str) -> None:
    body = saved(Image.fromarray(gradient()), kind)
    np.testing.assert_array_equal(picture(body), np.asarray(Image.open(BytesIO(body)).convert("RGB")))


@pytest.mark.parametrize(
    "name", ["hopper.jpg", "hopper_gray.jpg", "pil_sample_cmyk.jpg", "hopper.webp", "palette_wedge.png"]
)
def test_real_pictures_have_pillows_pixels(shared_data: Path, name: str) -> None:
    path = shared_data / PILLOW / name
    np.testing.assert_array_equal(picture(path.read_bytes()), np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize(("body", "outcome"), [
    (b"", "empty"),
    (b"<!DOCTYPE html><title>gone</title>", "not_image"),
    (b"RIFF\x00\x00\x00\x00WAVEfmt ", "not_image"),
    (b"BM" + bytes(100), "not_image"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_image"),
    (b"II*\x00" + bytes(100), "not_image"),
    (b"\xff\xd8\xff", "decode"),
    (b"\x89PNG\r\n\x1a\n", "decode"),
    (b"GIF89a", "decode"),
    (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "decode"),
])  # fmt: skip
def test_what_is_no_picture_has_a_class(body: bytes, outcome: str) -> None:
    with pytest.raises(Undecodable) as error:
        picture(body)
    assert error.value.outcome == outcome and error.value.reason


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_turned_as_exif_says(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    body = saved(Image.fromarray(gradient()), kind, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(body))).convert("RGB"))
    found = decoded(body)
    np.testing.assert_array_equal(found.image_YXC, upright)
    assert found.orientation == orientation and found.plain == (kind == "JPEG" and orientation == 1)


@pytest.mark.parametrize("name", ["hopper_orientation_2.jpg", "hopper_orientation_7.jpg", "hopper_orientation_5.webp"])
def test_real_turned_pictures_show_the_same_person(shared_data: Path, name: str) -> None:
    hopper = picture((shared_data / PILLOW / "hopper.jpg").read_bytes()).astype(int)
    turned_YXC = picture((shared_data / PILLOW / name).read_bytes())
    assert turned_YXC.shape == hopper.shape and np.abs(turned_YXC - hopper).mean() < 12


@given(st.integers(1, 8), st.integers(0, 20), st.integers(0, 30), st.integers(1, 10), st.integers(1, 10))
def test_boxes_turn_with_the_picture(orientation: int, top: int, left: int, height: int, width: int) -> None:
    image_YX = np.zeros((32, 48), np.uint8)
    image_YX[top : top + height, left : left + width] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    upright_YX = picture(saved(Image.fromarray(image_YX), "PNG", exif=exif))[..., 0]
    stored = (left / 48, top / 32, min(left + width, 48) / 48, min(top + height, 32) / 32)
    [(x0, y0, x1, y1)] = turned([stored], orientation)
    rows, columns = np.nonzero(upright_YX)
    high, wide = upright_YX.shape
    expected = columns.min() / wide, rows.min() / high, (columns.max() + 1) / wide, (rows.max() + 1) / high
    np.testing.assert_allclose((x0, y0, x1, y1), expected, atol=1e-9)


def on_white(rgba_YXC: np.ndarray) -> np.ndarray:
    """What img2dataset makes of a transparent picture."""
    alpha_YX1 = rgba_YXC[..., 3:].astype(float)
    return np.rint((alpha_YX1 / 255 * rgba_YXC[..., :3] + 255 - alpha_YX1).clip(0, 255))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_what_is_transparent_lies_on_white(mode: str, kind: str) -> None:
    rgba_YXC = np.dstack([gradient(), gradient()[::-1, ::-1, 0]])
    body = saved(Image.fromarray(rgba_YXC).convert(mode), kind, **({"lossless": True} if kind == "WEBP" else {}))
    stored_YXC = np.asarray(Image.open(BytesIO(body)).convert("RGBA"))
    assert np.abs(picture(body) - on_white(stored_YXC)).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_colours_of_a_palette_lie_on_white(kind: str) -> None:
    image = Image.new("P", (4, 1))
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2, 3])
    body = saved(image, kind, transparency=2)
    assert picture(body)[0].tolist() == [[0, 0, 0], [255, 0, 0], [255, 255, 255], [0, 0, 255]]


def test_a_transparent_colour_of_grey_and_colour_pngs_lies_on_white() -> None:
    grey = png(2, 1, 8, 0, bytes([0, 7, 9]), b"tRNS\x00\x07")
    colour = png(2, 1, 8, 2, bytes([0, 1, 2, 3, 4, 5, 6]), b"tRNS\x00\x01\x00\x02\x00\x03")
    deep = png(2, 1, 16, 0, bytes([0]) + struct.pack(">HH", 700, 65535), b"tRNS\x02\xbc")
    assert picture(grey)[0].tolist() == [[255] * 3, [9] * 3]
    assert picture(colour)[0].tolist() == [[255] * 3, [4, 5, 6]]
    assert picture(deep)[0].tolist() == [[255] * 3, [255] * 3]


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=50))
def test_sixteen_bits_are_scaled_not_clipped(values: list[int]) -> None:
    rows = bytes([0]) + struct.pack(f">{len(values)}H", *values)
    expected = np.rint(np.array(values) * 255 / 65535)
    np.testing.assert_array_equal(picture(png(len(values), 1, 16, 0, rows))[0, :, 0], expected)


def test_sixteen_bits_of_colour_are_scaled() -> None:
    row = bytes([0]) + struct.pack(">3H", 65535, 256 * 128, 255)
    assert np.abs(picture(png(1, 1, 16, 2, row))[0, 0].astype(int) - [255, 128, 1]).max() <= 1


def test_one_bit_and_few_grey_levels_reach_white() -> None:
    assert picture(png(8, 1, 1, 0, bytes([0, 0b10110000])))[0, :4, 0].tolist() == [255, 0, 255, 255]
    assert picture(png(4, 1, 2, 0, bytes([0, 0b00011011])))[0, :, 0].tolist() == [0, 85, 170, 255]


def test_the_first_frame_is_the_picture() -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        how = {"lossless": True} if kind == "WEBP" else {}
        first = picture(saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **how))
        assert (first == [255, 0, 0]).all()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_anywhere_is_no_picture(kind: str) -> None:
    rng = np.random.Generator(np.random.Philox(3))
    body = saved(Image.fromarray(rng.integers(0, 256, (60, 60, 3)).astype(np.uint8)), kind)
    whole_YXC = picture(body)
    for length in range(0, len(body), max(1, len(body) // 60)):
        try:
            cut_YXC = picture(body[:length])
        except Undecodable as error:
            assert error.outcome in ("empty", "not_image", "decode")
        else:  # only what follows the last pixel may be missing
            assert length > 0.99 * len(body)
            np.testing.assert_array_equal(cut_YXC, whole_YXC)


@settings(max_examples=200)
@given(st.sampled_from(FORMATS), st.data())
def test_a_damaged_file_is_a_picture_or_has_a_class(kind: str, data: st.DataObject) -> None:
    body = bytearray(saved(Image.fromarray(gradient()), kind))
    places = st.integers(0, len(body) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)):
        body[place] = value
    try:
        found_YXC = picture(bytes(body), 100_000)
    except Undecodable as error:
        assert error.outcome in ("not_image", "decode", "too_many_pixels")
    else:
        assert found_YXC.dtype == np.uint8 and found_YXC.ndim == 3 and found_YXC.shape[2] == 3


def test_size_is_refused_by_the_header_before_anything_is_allocated() -> None:
    huge_webp = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\x00" * 2
    huge_gif = b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(3) + b"," + bytes(20)
    for body in (png(100_000, 100_000, 8, 2, b""), png(9000, 9000, 1, 0, b""), huge_webp, huge_gif):
        with pytest.raises(Undecodable, match="too_many_pixels"):
            picture(body)


def test_as_many_pixels_as_allowed_are_decoded_and_one_more_is_not() -> None:
    body = saved(Image.fromarray(gradient(20, 50)), "PNG")
    assert picture(body, 1000).shape == (20, 50, 3)
    with pytest.raises(Undecodable, match=r"too_many_pixels: 50 x 20 is more than 999"):
        picture(body, 999)


def test_broken_exif_does_not_cost_the_picture() -> None:
    body = saved(Image.fromarray(gradient()), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff" + bytes(20))
    assert decoded(body).orientation == 1


def test_an_error_of_ours_is_not_said_of_the_file(monkeypatch) -> None:
    def slip(*args, **named):
        return nmupy  # noqa: F821

    monkeypatch.setattr(decode.Image, "open", slip)
    with pytest.raises(NameError):
        picture(b"\xff\xd8\xff")
