"""A synthetic scene: the picture and everything that is true of it, exact to the pixel.

Decisions:
- What a map of a scene says holds at the middles of pixels; lines are exact. Trees hide roofs in the picture and in
  `height`, not in what is known of the roof below: faces, slopes, rise, outline and lines go on.
- Superstructures keep RID's rule: a tree over a roof is "tree", a shadow thrown on it "shadow".
- A scene is labelled for all its houses; `centre_YX` tells where the main one lies, which RID alone labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.labels import BACKGROUND, FLAT, FLAT_BELOW, LINES, NO_FACE, SECTORS, SUPERSTRUCTURES
from stepladder.studies.roofs.data.synthesis.edges import Line
from stepladder.studies.roofs.data.synthesis.envelope import Face
from stepladder.studies.roofs.data.synthesis.raster import Canvas
from stepladder.studies.roofs.data.synthesis.render import Rendered, render
from stepladder.studies.roofs.data.synthesis.site import Site, site
from stepladder.studies.roofs.data.synthesis.surface import Surface

SHADE = 0.5  # share of the sun that is blocked where a labeller sees a shadow


@dataclass(frozen=True, eq=False)
class Scene:
    """One image of `gsd` metres per pixel, north up, and its truth; classes and units as in `labels`.

    Attributes:
        image_YXC: uint8 RGB.
        superstructure_YX: uint8, of all houses.
        face_id_YX: uint16, 1 + place of the face in `faces`, 0 none.
        face_YX: uint8 sector of the bearing, flat, or no face.
        slope_YXG: float16 rise over run to east and north of the way down.
        outline_YX: uint8, 1 roof.
        centre_YX: uint8, 1 where the main house lies.
        rise_YX: float16 metres above the eave of the same roof, NaN off the roofs.
        height_YX: float16 metres above the ground of what is seen.
        lines_L5: float32 x0, y0, x1, y1, type in pixels, cut to the image.
        faces: all faces of all houses in metres; those of the main house come first.
        site: the shapes it was made from, in metres.
    """

    image_YXC: np.ndarray
    gsd: float
    superstructure_YX: np.ndarray
    face_id_YX: np.ndarray
    face_YX: np.ndarray
    slope_YXG: np.ndarray
    outline_YX: np.ndarray
    centre_YX: np.ndarray
    rise_YX: np.ndarray
    height_YX: np.ndarray
    lines_L5: np.ndarray
    faces: tuple[Face, ...]
    site: Site

    def labelled(self) -> Labelled:
        """What a reader would return for it if a source knew everything."""
        crop_L1 = np.zeros((len(self.lines_L5), 1), np.float32)
        return Labelled(
            image_NYXC=self.image_YXC[None],
            gsd_m=self.gsd,
            superstructure_NYX=self.superstructure_YX[None],
            face_id_NYX=self.face_id_YX[None],
            face_NYX=self.face_YX[None],
            slope_NYXG=self.slope_YXG[None],
            outline_NYX=self.outline_YX[None],
            lines_LF=np.concatenate([crop_L1, self.lines_L5], axis=1),
            line_types=LINES,
            rise_NYX=self.rise_YX[None],
            height_NYX=self.height_YX[None],
            facts={"source": "synthetic", "licence": "made by this program", "annotator": "exact", "north_up": True},
        )


def make(rng: np.random.Generator, side: int, gsd: float) -> Scene:
    """A scene of `side` x `side` pixels of `gsd` metres; the same for the same state of `rng`."""
    place = site(rng, side * gsd)
    return truth(place, render(rng, place, side, gsd), Canvas(side, gsd))


def truth(place: Site, rendered: Rendered, canvas: Canvas) -> Scene:
    """Everything known of a site and its picture."""
    seen = rendered.surface
    id_YX = seen.face_YX.astype(np.int32) + 1  # 0: no face
    class_F = np.array([NO_FACE, *(face_class(face) for face in seen.faces)], np.uint8)
    slope_F2 = np.array([(0, 0), *(face.slope_2 if face.pitch >= FLAT_BELOW else (0, 0) for face in seen.faces)])
    eave_F = np.array([np.nan, *(place.houses[o].eaves[f.roof] for f, o in zip(seen.faces, seen.owner_F, strict=True))])
    owner_F = np.array([-1, *seen.owner_F])
    return Scene(
        image_YXC=rendered.image_YXC,
        gsd=canvas.gsd,
        superstructure_YX=superstructures(place, rendered, canvas),
        face_id_YX=id_YX.astype(np.uint16),
        face_YX=class_F[id_YX],
        slope_YXG=slope_F2.astype(np.float16)[id_YX],
        outline_YX=(id_YX > 0).astype(np.uint8),
        centre_YX=(owner_F[id_YX] == 0).astype(np.uint8),
        rise_YX=(seen.bare_YX - eave_F[id_YX]).astype(np.float16),
        height_YX=seen.height_YX.astype(np.float16),
        lines_L5=lines(place, canvas),
        faces=tuple(seen.faces),
        site=place,
    )


def face_class(face: Face) -> int:
    """Sector of the compass its way down points to, or FLAT."""
    return FLAT if face.pitch < FLAT_BELOW else round(face.bearing * SECTORS / 360) % SECTORS


def superstructures(place: Site, rendered: Rendered, canvas: Canvas) -> np.ndarray:
    """(Y, X) uint8: shadows below things on roofs, trees above them."""
    seen = rendered.surface
    roof_YX = seen.face_YX >= 0
    map_YX = np.full(canvas.shape, BACKGROUND, np.uint8)
    map_YX[thrown(seen, rendered.shadow_YX)] = SUPERSTRUCTURES.index("shadow")
    for item in (item for items in place.items for item in items):
        window, inside = canvas.fill(item.polygon)
        map_YX[window][inside] = SUPERSTRUCTURES.index(item.kind)
    for number, tree in enumerate(place.trees):
        window, inside = canvas.fill(tree.polygon)
        if (seen.tree_YX[window][inside & roof_YX[window]] == number).any():
            map_YX[window][inside & roof_YX[window]] = SUPERSTRUCTURES.index("tree")
    return map_YX


def thrown(seen: Surface, shadow_YX: np.ndarray) -> np.ndarray:
    """(Y, X) which pixels of roofs lie in a shadow that is more than a few pixels."""
    return ndimage.binary_opening((shadow_YX > SHADE) & (seen.face_YX >= 0), np.ones((3, 3)))


def lines(place: Site, canvas: Canvas) -> np.ndarray:
    """(L, 5) float32 lines of all houses in pixels, cut to the image."""
    found = [_row(line, canvas) for house in place.houses for line in house.lines]
    rows_L5 = np.array(found, np.float64).reshape(-1, 5)
    return np.array(list(_cut(rows_L5, canvas.side)), np.float32).reshape(-1, 5)


def _row(line: Line, canvas: Canvas) -> tuple[float, ...]:
    return (*canvas.pixel(line.start_2), *canvas.pixel(line.end_2), line.kind)


def _cut(rows_L5: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """Lines cut to 0 .. side in x and y (Liang and Barsky, 1984); those of less than a pixel are left out."""
    for row_5 in rows_L5:
        start_2, along_2 = row_5[:2], row_5[2:4] - row_5[:2]
        with np.errstate(divide="ignore", invalid="ignore"):
            bound_22 = np.sort((np.array([[0.0], [side]]) - start_2) / along_2, axis=0)
        outside = (along_2 == 0) & ((start_2 < 0) | (start_2 > side))
        low, high = max(0.0, np.nanmax(bound_22[0])), min(1.0, np.nanmin(bound_22[1]))
        if not outside.any() and (high - low) * np.hypot(*along_2) >= 1:
            yield np.concatenate([start_2 + low * along_2, start_2 + high * along_2, row_5[4:]])
