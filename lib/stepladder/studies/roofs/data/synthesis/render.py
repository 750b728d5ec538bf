"""From a site to the picture an aircraft would bring home: light, shadow, lens, sensor, and a lossy file.

Sharper edges than a lens makes, or none of a compressor's blocks, would tell a network that the picture is made up.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import fft, ndimage

from stepladder.studies.roofs.data.synthesis import paint
from stepladder.studies.roofs.data.synthesis.raster import Canvas, noise
from stepladder.studies.roofs.data.synthesis.site import Site
from stepladder.studies.roofs.data.synthesis.surface import Sun, Surface, shadow, surface

PAD = 6.0  # metres around the image from which shadows fall into it
SKY, DIRECT = np.array([0.40, 0.43, 0.47]), np.array([0.62, 0.58, 0.53])  # light of a flat place: their sum
BLOCK = 8  # pixels of a block of JPEG
LUMA_CHROMA = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])


@dataclass(frozen=True, eq=False)
class Rendered:
    """`image_YXC` uint8, the surface that is seen in it, and (Y, X) shadow from 0 to 1."""

    image_YXC: np.ndarray
    surface: Surface
    shadow_YX: np.ndarray


def render(rng: np.random.Generator, site: Site, side: int, gsd: float) -> Rendered:
    """A picture of `side` x `side` pixels of `gsd` metres."""
    sun = Sun(float(rng.uniform(100, 260)), float(rng.uniform(34, 60)))
    wide, canvas = Canvas(side, gsd, int(np.ceil(PAD / gsd))), Canvas(side, gsd)
    whole = surface(rng, site, wide)
    shadow_YX = shadow(whole.height_YX, sun, gsd)[wide.inner]
    seen = _cut(whole, wide)
    colour_YXC = paint.colours(rng, site, seen, canvas)
    light_YXC = light(seen, sun, shadow_YX, gsd)
    return Rendered(camera(rng, colour_YXC * light_YXC), seen, shadow_YX)


def _cut(whole: Surface, wide: Canvas) -> Surface:
    """Without the padding."""
    maps = ("bare_YX", "height_YX", "face_YX", "tree_YX")
    return replace(whole, **{name: getattr(whole, name)[wide.inner] for name in maps})


def light(seen: Surface, sun: Sun, shadow_YX: np.ndarray, gsd: float) -> np.ndarray:
    """(Y, X, 3) light that surfaces send back, 1 on flat ground in the sun (Lambert's law)."""
    south_YX, east_YX = (part / gsd for part in np.gradient(seen.height_YX))
    green_YX = seen.tree_YX >= 0
    rise_YX2 = np.stack([east_YX, south_YX], axis=-1).clip(-1.2, 1.2) * green_YX[..., None]
    roof_YX = (seen.face_YX >= 0) & ~green_YX
    slope_F2 = np.array([face.plane_3[:2] for face in seen.faces])
    rise_YX2[roof_YX] = slope_F2[seen.face_YX[roof_YX]]
    lit_YX = (sun.towards_3[2] - rise_YX2 @ sun.towards_3[:2]) / np.sqrt(1 + (rise_YX2**2).sum(axis=-1))
    direct_YX = lit_YX.clip(0) / sun.towards_3[2] * (1 - 0.94 * shadow_YX)
    return (SKY + DIRECT * direct_YX[..., None].clip(0, 1.7)).astype(np.float32)


def camera(rng: np.random.Generator, image_YXC: np.ndarray) -> np.ndarray:
    """(Y, X, 3) uint8 after exposure and colour cast, the lens, noise of the sensor, and compression."""
    exposure = rng.uniform(0.85, 1.25) * (1 + rng.normal(0, 0.02, 3))
    grey_YX1 = image_YXC.mean(axis=-1, keepdims=True)
    image_YXC = (grey_YX1 + rng.uniform(0.7, 1.1) * (image_YXC - grey_YX1)) * exposure
    image_YXC = np.maximum(image_YXC, 0) ** rng.uniform(0.9, 1.15)
    sigma = rng.uniform(0.5, 0.85)
    image_YXC = ndimage.gaussian_filter(image_YXC, (sigma, sigma, 0), truncate=3)
    grain_YX1 = noise(rng, image_YXC.shape[:2], 1)[..., None] * rng.uniform(0.004, 0.012)
    return compressed(255 * (image_YXC + grain_YX1), rng.uniform(2, 9))


def compressed(image_YXC: np.ndarray, coarse: float) -> np.ndarray:
    """(Y, X, 3) uint8 of values 0 to 255: blocks rounded to steps of `coarse`, colours more than brightness."""
    rows, columns, _ = image_YXC.shape
    more = [(0, -rows % BLOCK), (0, -columns % BLOCK), (0, 0)]
    tone_YXC = np.pad(image_YXC, more, mode="edge").astype(np.float32) @ LUMA_CHROMA.T.astype(np.float32)
    high, wide, _ = tone_YXC.shape
    block = tone_YXC.reshape(high // BLOCK, BLOCK, wide // BLOCK, BLOCK, 3)
    order = np.arange(BLOCK)
    step = coarse * (1 + 0.5 * (order[:, None, None, None] + order[None, None, :, None])) * np.array([1, 1.6, 1.6])
    step = step.astype(np.float32)
    frequency = np.round(fft.dctn(block, axes=(1, 3), norm="ortho") / step) * step
    tone_YXC = fft.idctn(frequency, axes=(1, 3), norm="ortho").reshape(high, wide, 3)[:rows, :columns]
    return (tone_YXC @ np.linalg.inv(LUMA_CHROMA).T + 0.5).clip(0, 255).astype(np.uint8)
