"""One colour for everything that has a name, and the small parts every picture of a roof shares.

Decisions:
- A line type has the colour roofers' drawings use: ridge red, hip orange, valley purple, eave green; a line nobody
  typed is grey.
- Sectors of bearing take a circle of hues turned so that south is warm and north is cold: the sunny side is seen at
  once. A small compass beside the faces tells them, filled only where a face falls that way.
- What nobody labelled is striped grey, never the colour of a class.
- A legend holds what is in the picture and nothing else.
- Pictures have axes in pixels; metres are told by a scale bar and the title.
"""

import colorsys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch, Wedge
from matplotlib.patheffects import withStroke

from stepladder.studies.roofs.data.crops import IMAGENET_MEAN, IMAGENET_STD
from stepladder.studies.roofs.data.labels import BACKGROUND, FLAT, IGNORE, LINES, SECTORS, SUPERSTRUCTURES
from stepladder.view.scene import Palette
from stepladder.view.style import MUTED, RIVAL, TRUTH_ON_DARK

SUPERSTRUCTURE_COLOURS: Final = (
    "#2f6fd0", "#e8732c", "#22b8cf", "#e64980", "#8f1d1d", "#5f4b8b", "#2f9e44", "#8a9099", "#e9e6df",
)  # fmt: skip
SUPERSTRUCTURE: Final[Palette] = dict(enumerate(zip(SUPERSTRUCTURES, SUPERSTRUCTURE_COLOURS, strict=True)))
LINE_COLOURS: Final = ("#e03131", "#f08c00", "#9c36b5", "#2b8a3e", "#1c7ed6", "#7f4f24", "#868e96")
LINE_NAMES: Final = (*(name.replace("_", " ") for name in LINES), "line of no type")
LINE: Final[Palette] = dict(enumerate(zip(LINE_NAMES, LINE_COLOURS, strict=True)))
COMPASS: Final = ["N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW"]
NORTH_HUE: Final = 220 / 360  # blue; half a circle on, south is orange
SOURCES: Final = ("#1f3a5f", "#2a9d8f", "#8a6d4b", "#7a6a86", "#5b7fa6")  # of data sets, in the order they come
FLAT_COLOUR: Final = "#a3a19b"
OUTLINE: Final[Palette] = {0: ("no roof", "#e9e6df"), 1: ("roof", TRUTH_ON_DARK)}
NOTHING: Final = "#e9e6df"  # ground of a map of classes
HEIGHTS: Final = {"rise": "rise above the eave", "height": "height above ground"}
METRES: Final = "viridis"  # colour map of heights
STRIPES: Final = ("#cfccc4", "#b8b5ad")  # of what nobody labelled
NOT_LABELLED: Final = "not labelled"
HALO: Final = [withStroke(linewidth=5, foreground="white")]
RIM: Final = [withStroke(linewidth=5, foreground="#111827")]
INK_ON_IMAGE: Final = {"color": "white", "path_effects": [withStroke(linewidth=2.2, foreground="#111827")]}
MOST_PIXELS: Final = 800  # of a picture along its longer side
BAR_SHARE: Final = 0.25  # of the width: longest scale bar


def _sector_colour(sector: int) -> str:
    """Hue by bearing, against the clock from blue in the north over green, orange and violet."""
    hue = (NORTH_HUE - sector / SECTORS) % 1.0
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, 0.58, 0.72))
    return f"#{red:02x}{green:02x}{blue:02x}"


FACE: Final[Palette] = {
    **{sector: (f"falls {COMPASS[sector]}", _sector_colour(sector)) for sector in range(SECTORS)},
    FLAT: ("flat", FLAT_COLOUR),
}


def pixels(image_CYX: np.ndarray) -> np.ndarray:
    """An image as the network takes it back as uint8 (Y, X, 3)."""
    rgb_YXC = np.asarray(image_CYX).transpose(1, 2, 0) * IMAGENET_STD + IMAGENET_MEAN
    return np.clip(np.rint(255 * rgb_YXC), 0, 255).astype(np.uint8)


def painted(labels_YX: np.ndarray, palette: Palette, alpha: float = 1.0) -> np.ndarray:
    """A map of classes as colours, float (Y, X, 4); ids without a colour are clear, `IGNORE` is striped."""
    table = np.zeros((256, 4), dtype=np.float32)
    for value, (_, colour) in palette.items():
        table[value] = (*to_rgb(colour), alpha)
    labels_YX = np.asarray(labels_YX).astype(np.uint8)
    colour_YXC = table[labels_YX]
    striped_YX = labels_YX == IGNORE
    colour_YXC[striped_YX] = stripes(labels_YX.shape)[striped_YX]
    return colour_YXC


def stripes(shape: Sequence[int]) -> np.ndarray:
    """Slanting stripes in two greys, float (Y, X, 4), about forty to a picture."""
    y, x = np.indices(tuple(shape[:2]))
    wide = max(1, max(shape[:2]) // 40)
    return np.array([(*to_rgb(colour), 1.0) for colour in STRIPES], dtype=np.float32)[(x + y) // wide % 2]


def draw(axis: Axes, picture: np.ndarray, shape: Sequence[int], **look: Any) -> Any:
    """`picture` over an image of `shape` (Y, X) in pixels, whatever its own resolution; (0, 0) is the outer corner."""
    axis.grid(False)
    return axis.imshow(thinned(picture), extent=(0, shape[1], shape[0], 0), **look)


def thinned(picture: np.ndarray) -> np.ndarray:
    """A large picture (Y, X, ...) with fewer rows and columns: no panel has more pixels."""
    step = max(1, max(picture.shape[:2]) // MOST_PIXELS)
    return picture[::step, ::step]


def in_grey(rgb_YXC: np.ndarray) -> np.ndarray:
    """The image pale and without colour, as a ground for labels; float (Y, X, 3) in 0..1."""
    grey = rgb_YXC.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32) / 255
    return np.repeat((0.55 + 0.45 * grey)[..., None], 3, axis=-1)


def size_told(shape: Sequence[int], gsd_m: float) -> str:
    """`256 x 256 pixels of 0.10 m, 25.6 x 25.6 m`: columns by rows."""
    rows, columns = shape[:2]
    return f"{columns} x {rows} pixels of {gsd_m:.3g} m, {columns * gsd_m:.3g} x {rows * gsd_m:.3g} m"


def scale_bar(axis: Axes, shape: Sequence[int], gsd_m: float) -> None:
    """A bar of a round number of metres at the lower left of an image of `shape` pixels."""
    metres = round_length(BAR_SHARE * shape[1] * gsd_m)
    wide, left, low = metres / gsd_m, 0.05 * shape[1], 0.94 * shape[0]
    bar = {"linewidth": 3, "solid_capstyle": "butt", "color": "white", "path_effects": RIM}
    axis.plot([left, left + wide], [low, low], **bar)
    text = {"ha": "center", "va": "bottom", "fontsize": 8, **INK_ON_IMAGE}
    axis.text(left + wide / 2, low - 0.015 * shape[0], f"{metres:g} m", **text)


def round_length(most: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is no more than `most` (positive)."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9)))


def compass(axis: Axes, sectors: Iterable[int], size: float = 0.22) -> None:
    """A compass in the lower right corner: the sectors that occur in their colours, the middle grey where flat.

    `size` is its share of the panel's width.
    """
    present = set(sectors)
    wheel = axis.inset_axes((0.98 - size, 0.02, size, size))
    wheel.set(xlim=(-1.55, 1.55), ylim=(-1.55, 1.55), aspect="equal")
    wheel.axis("off")
    wheel.add_patch(Circle((0, 0), 1.52, facecolor="white", alpha=0.82, linewidth=0))
    for sector in range(SECTORS):
        middle = 90 - 360 * sector / SECTORS
        half = 180 / SECTORS
        colour = FACE[sector][1] if sector in present else NOTHING
        wheel.add_patch(Wedge((0, 0), 1.0, middle - half, middle + half, facecolor=colour, edgecolor="white", lw=0.4))
    wheel.add_patch(Circle((0, 0), 0.36, facecolor=FLAT_COLOUR if FLAT in present else "white", linewidth=0))
    for name, (x, y) in {"N": (0, 1.26), "E": (1.26, 0), "S": (0, -1.26), "W": (-1.26, 0)}.items():
        wheel.text(x, y, name, ha="center", va="center", fontsize=6, color="#374151")


def legend_of(labels: np.ndarray, palette: Palette, leave_out: Sequence[int] = ()) -> list[Patch]:
    """Handles for the classes of `palette` that occur in `labels`."""
    found = [int(value) for value in np.unique(labels) if value in palette and value not in leave_out]
    return [patch(*palette[value]) for value in found]


def legend_of_lines(types: Iterable[float]) -> list[Line2D]:
    """Handles for the line types that occur."""
    return [
        Line2D([], [], color=LINE[kind][1], lw=2.2, label=LINE[kind][0]) for kind in sorted({int(t) for t in types})
    ]


def patch(name: str, colour: str) -> Patch:
    """A swatch of the legend."""
    return Patch(facecolor=colour, edgecolor=RIVAL, linewidth=0.4, label=name)


def outline_handle() -> Line2D:
    """The dashed outline in the legend, dark where the picture has white on its image."""
    return Line2D([], [], color=MUTED, lw=1.4, ls=(0, (4, 2)), label="outline")


def striped() -> Patch:
    """The swatch of what nobody labelled."""
    return Patch(facecolor=STRIPES[0], edgecolor=STRIPES[1], hatch="//////", linewidth=0, label=NOT_LABELLED)


def add_legend(figure: Figure, handles: Sequence[Any], columns: int = 6) -> None:
    """Handles below the figure, each name once; nothing where there is none."""
    once = list({handle.get_label(): handle for handle in handles}.values())
    if once:
        figure.legend(handles=once, loc="outside lower left", ncols=min(columns, len(once)))


def rank(handle: Any) -> int:
    """Place in a legend that holds many kinds: outline, lines, superstructures, faces, each in the order of its ids."""
    names = ["outline", *LINE_NAMES, *SUPERSTRUCTURES, *(name for name, _ in FACE.values())]
    return names.index(handle.get_label())


def shown_superstructures(labels: np.ndarray) -> list[Patch]:
    """Handles of the superstructures that occur; the background needs none."""
    return legend_of(labels, SUPERSTRUCTURE, (BACKGROUND,))
