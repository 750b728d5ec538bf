"""Scenes as pictures: anti-aliased by drawing four times as large, on a background with a soft texture.

The texture is there for the hash: a plain ground makes almost equal pictures of scenes that differ in one small thing.
"""

import io
from typing import TYPE_CHECKING

import numpy as np

from stepladder.studies.captions.data.synthesis import scenes
from stepladder.studies.captions.data.synthesis.scenes import BACKGROUNDS, COLOURS, Scene, Thing

if TYPE_CHECKING:
    from PIL import Image

FINE = 4  # times as large
KNOTS = 9  # of the texture, across the picture
ROUGHNESS = 9.0  # its standard deviation, of 255
QUALITY = 90  # of JPEG
SIDES = (128, 160, 192, 224, 256)  # pixels


def pictures(count: int, seed: int, side: int = 128) -> list[np.ndarray]:
    """`count` drawn scenes as (Y, X, 3) uint8 of `side` pixels; scene k follows from the seed and k alone."""
    return [draw(scenes.scene(np.random.default_rng((seed, number))), side) for number in range(count)]


def draw(scene: Scene, side: int) -> np.ndarray:
    """(side, side, 3) uint8."""
    from PIL import Image, ImageDraw

    colour_YXC = ground(scene, side).astype(np.float32)
    for thing in scene.things:
        mask = Image.new("L", (side * FINE, side * FINE))
        ImageDraw.Draw(mask).polygon(outline(thing, side * FINE), fill=255)
        cover_YX1 = np.asarray(mask.reduce(FINE), np.float32)[..., None] / 255
        colour_YXC += cover_YX1 * (np.array(COLOURS[thing.colour], np.float32) - colour_YXC)
    return np.clip(colour_YXC + 0.5, 0, 255).astype(np.uint8)


def ground(scene: Scene, side: int) -> np.ndarray:
    """(side, side, 3) float: the background's level with bicubic noise, alike in all channels."""
    from PIL import Image

    noise_KK = np.random.default_rng(scene.grain).normal(BACKGROUNDS[scene.background], ROUGHNESS, (KNOTS, KNOTS))
    noise_YX = Image.fromarray(noise_KK.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    return np.repeat(np.asarray(noise_YX)[..., None], 3, axis=2)


def outline(thing: Thing, side: int) -> list[tuple[float, float]]:
    """Corners in pixels of a thing in a picture of `side` pixels."""
    angles, reach = _corners(thing.shape)
    x = thing.x + thing.radius * reach * np.sin(angles)
    y = thing.y - thing.radius * reach * np.cos(angles)
    return [(float(a), float(b)) for a, b in zip(x * side, y * side, strict=True)]


def _corners(shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Angles clockwise from up and distances from the middle, in radii."""
    if shape == "circle":
        return np.arange(72) * np.pi / 36, np.ones(72)
    if shape == "square":
        return np.pi / 4 + np.arange(4) * np.pi / 2, np.ones(4)
    if shape == "triangle":
        return np.arange(3) * 2 * np.pi / 3, np.ones(3)
    return np.arange(10) * np.pi / 5, np.where(np.arange(10) % 2, 0.42, 1.0)


def jpeg(picture: "np.ndarray | Image.Image", quality: int = QUALITY) -> bytes:
    """A picture as JPEG, without a word on when and where it was made."""
    from PIL import Image

    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    return encoded(image, ".jpg", quality)


def encoded(image: "Image.Image", name: str, quality: int = QUALITY) -> bytes:
    """A picture in the format that the ending of `name` says."""
    out = io.BytesIO()
    image.save(out, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[name.rpartition(".")[2]], quality=quality)
    return out.getvalue()
