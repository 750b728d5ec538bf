"""Synthetic scrolls: rolled, touching, torn sheets in a CT-like volume, in the layout of the real set.

Decisions:
- A scroll is a spiral: the phase `r / pitch - angle / 2 pi`, bent by smooth noise, grows by one from one winding to the
  next. Dividing by its slope gives distances in voxels, so sheets keep their thickness where windings are squeezed
  until they touch. Tears are places where both image and label have no sheet.
- The label is the inner face of a sheet, two voxels thick, as in the real set; it is 2 (ignore) where windings have
  fused, in patches nobody is sure of, and on the rim.
- Brightness alone does not tell the surface: density varies, fibres run along one face and across the other, debris
  as bright as papyrus lies in the gaps, the noise is correlated, and each scroll has a style of its own.
- Everything is drawn from `seed`: the same call writes the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from stepladder.core.types import Source
from stepladder.studies.scroll.data import kaggle
from stepladder.studies.scroll.data.labels import UNKNOWN

SHAPE = (64, 96, 96)  # voxels along z, y, x
SCROLLS = 5  # volumes are dealt to this many scrolls, one after the other
FACE = 2.0  # voxels: thickness of the labelled face
RIM = 2  # voxels at each end of an axis that are not labelled
AIR, PAPYRUS = 55.0, 120.0  # grey values


@dataclass(frozen=True)
class Style:
    """What the volumes of one scroll share: lengths in voxels, brightness in grey values."""

    pitch: float
    thickness: float
    squeeze: float
    noise: float
    contrast: float

    @classmethod
    def of(cls, seed: int, scroll: int) -> "Style":
        """The style of a scroll."""
        rng = np.random.Generator(np.random.Philox(key=[seed, scroll]))
        low = np.array([14.0, 4.0, 0.3, 18.0, 0.85])
        high = np.array([18.0, 4.8, 0.45, 26.0, 1.15])
        return cls(*rng.uniform(low, high).tolist())


@dataclass(frozen=True)
class Winding:
    """The geometry of a volume: where its sheets are.

    Attributes:
        across_ZYX: signed distance in voxels to the middle of the nearest sheet, negative towards the scroll's axis.
        along_ZYX: length of arc, in voxels.
        gap_ZYX: distance in voxels between the middles of neighbouring windings.
        torn_ZYX: where the sheet is missing.
    """

    across_ZYX: np.ndarray
    along_ZYX: np.ndarray
    gap_ZYX: np.ndarray
    torn_ZYX: np.ndarray

    def sheet(self, thickness: float) -> np.ndarray:
        """Mask of the papyrus, bool."""
        return (np.abs(self.across_ZYX) <= thickness / 2) & ~self.torn_ZYX

    def face(self, thickness: float) -> np.ndarray:
        """Mask of the inner `FACE` voxels of the papyrus, bool."""
        return self.sheet(thickness) & (self.across_ZYX < FACE - thickness / 2)


def synthesize(folder: Path, count: int, seed: int) -> list[Source]:
    """Write `count` volumes of up to `SCROLLS` scrolls to `folder`, in the Kaggle layout; one source, that folder."""
    folder, rows = Path(folder), []
    for number in range(count):
        scroll = number % SCROLLS
        rows.append((f"{number:03d}", f"{90001 + scroll}"))
        kaggle.write_volume(folder, rows[-1][0], *volume(seed, number, Style.of(seed, scroll)))
    kaggle.write_table(folder, rows)
    for path in folder.glob("*/[0-9][0-9][0-9].tif"):  # of a run that asked for more
        if int(path.stem) >= count:
            path.unlink()
    return [kaggle.source(folder, "synthetic")]


def volume(seed: int, number: int, style: Style, shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Image (uint8) and label (uint8: 0 background, 1 surface, 2 ignore) of one volume."""
    rng = np.random.Generator(np.random.Philox(key=[seed, 1000 + number]))
    winding = roll(rng, style, shape)
    return image(rng, winding, style), label(rng, winding, style)


def roll(rng: np.random.Generator, style: Style, shape: tuple[int, int, int]) -> Winding:
    """A piece of a scroll whose axis runs along z, somewhere beside the volume's middle."""
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    lean_2, (middle_y, middle_x) = rng.uniform(-0.15, 0.15, 2), np.array(shape[1:]) / 2 + rng.uniform(-45, 45, 2)
    y, x = y - middle_y - lean_2[0] * z, x - middle_x - lean_2[1] * z
    radius_ZYX, angle_ZYX = np.hypot(y, x), np.arctan2(y, x)
    bends_ZYX = style.squeeze * smooth(rng, shape, (16, 8, 8)) + 0.6 * smooth(rng, shape, (36, 20, 20))
    pressed_ZYX = smooth(rng, shape, (24, 16, 16)).clip(0) * np.tanh((radius_ZYX - np.median(radius_ZYX)) / 6)
    bent_ZYX = radius_ZYX / style.pitch + bends_ZYX + 0.8 * pressed_ZYX  # pressed flat: windings touch there
    slope_ZYX = np.sqrt(sum(part**2 for part in np.gradient(bent_ZYX))).clip(0.4 / style.pitch)
    winding_ZYX = (bent_ZYX - angle_ZYX / np.float32(2 * np.pi)) % 1 - 0.5
    return Winding(
        across_ZYX=winding_ZYX / slope_ZYX,
        along_ZYX=angle_ZYX * radius_ZYX,
        gap_ZYX=1 / slope_ZYX,
        torn_ZYX=smooth(rng, shape, 5) > 1.5,
    )


def image(rng: np.random.Generator, winding: Winding, style: Style) -> np.ndarray:
    """The scan, uint8: papyrus, debris, blur, uneven density, noise."""
    shape = winding.across_ZYX.shape
    sheet_ZYX = winding.sheet(style.thickness)
    debris_ZYX = smooth(rng, shape, 2) > 1.6
    texture_ZYX = np.where(winding.across_ZYX < 0, fibres(rng, winding), smooth(rng, shape, (6, 1, 1)))
    solid_ZYX = sheet_ZYX * (1 + 0.22 * texture_ZYX) + (debris_ZYX & ~sheet_ZYX) * np.float32(0.9)
    grey_ZYX = gaussian_filter(solid_ZYX, 0.8) * (PAPYRUS - AIR) * style.contrast * (1 + 0.3 * smooth(rng, shape, 16))
    grey_ZYX += AIR + 20 * smooth(rng, shape, 16)
    grey_ZYX += style.noise * (0.8 * rng.standard_normal(shape, dtype=np.float32) + 0.6 * smooth(rng, shape, 0.8))
    return np.rint(grey_ZYX.clip(0, 255)).astype(np.uint8)


def label(rng: np.random.Generator, winding: Winding, style: Style) -> np.ndarray:
    """The inner faces as a person would trace them, uint8."""
    shape = winding.across_ZYX.shape
    fused_ZYX = winding.gap_ZYX < 0.9 * style.thickness
    unsure_ZYX = smooth(rng, shape, 12) > 0.7
    label_ZYX = winding.face(style.thickness).astype(np.uint8)
    label_ZYX[fused_ZYX | unsure_ZYX] = UNKNOWN
    inner = tuple(slice(RIM, -RIM) for _ in shape)
    framed_ZYX = np.full_like(label_ZYX, UNKNOWN)
    framed_ZYX[inner] = label_ZYX[inner]
    return framed_ZYX


def fibres(rng: np.random.Generator, winding: Winding) -> np.ndarray:
    """Texture of fibres that run round the scroll: noise drawn out along the arc, looked up by z and length of arc."""
    depth = winding.across_ZYX.shape[0]
    table_ZA = smooth(rng, (depth, 512), (1, 8), mode="wrap")
    place_ZYX = np.floor(winding.along_ZYX + 4 * winding.gap_ZYX).astype(np.int64) % 512
    return table_ZA[np.arange(depth)[:, None, None], place_ZYX]


def smooth(
    rng: np.random.Generator, shape: tuple[int, ...], scale: float | tuple[float, ...], mode: str = "reflect"
) -> np.ndarray:
    """Gaussian noise of unit variance, smooth over `scale` voxels, float32; drawn on fewer voxels where coarse."""
    scales = np.broadcast_to(scale, len(shape))
    step = max(1, int(scales.min() // 4))
    coarse = tuple(-(-n // step) + 1 for n in shape) if step > 1 else shape
    noise = gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), scales / step, mode=mode, truncate=3)
    if step > 1:
        noise = zoom(noise, step, order=1)[tuple(slice(n) for n in shape)]
    return (noise - noise.mean()) / noise.std()
