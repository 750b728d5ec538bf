"""What labels of roofs must obey, as questions to the images of a source: each gives away a fault that raises no error.

An answer is a value and the range it must lie in; None where the source labels too little to tell.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stepladder.studies.roofs.data.labels import BACKGROUND, FACES, FLAT, IGNORE, LINES, NO_FACE, SUPERSTRUCTURES
from stepladder.studies.roofs.data.probes import View, climb, islands, probed

FEW = 30  # probes of lines of a type, three a line, below which nothing is said of it
IMAGES, REGIONS = 3, 5  # with fewer images with heights, or islands, nothing is said of them
ENOUGH = 500  # pixels, below which nothing is said
VALUES = 50  # different heights, in steps of a centimetre, that measured ones take at least
METRES = (1.5, 60.0)  # within which the 95th percentile of heights of roofs lies
THINGS = [SUPERSTRUCTURES.index(name) for name in ("pvmodule", "dormer", "window", "ladder", "chimney")]
NO_LIMIT = float("inf")

Answer = tuple[float, float, float] | None


@dataclass(frozen=True)
class Question:
    """One thing asked of a source: what must hold, which fault it gives away, and how it is answered."""

    name: str
    fault: str
    ask: Callable[[Sequence[View]], Answer]


def shares(views: Sequence[View], task: str, classes: int) -> np.ndarray:
    """(classes,) share of each class in the labelled pixels; NaN where nothing is labelled."""
    count_S = np.zeros(IGNORE + 1)
    for view in views:
        if (label_YX := view.map(task)) is not None:
            count_S += np.bincount(label_YX.reshape(-1), minlength=IGNORE + 1)
    known = count_S[:IGNORE].sum()
    return count_S[:classes] / known if known else np.full(classes, np.nan)


def _islands(views: Sequence[View]) -> Answer:
    """Islands of roof less islands of ground, which courtyards are, by outlines and by faces, whichever are fewer."""
    surplus = []
    for task, none in (("outline", 0), ("face", NO_FACE)):
        maps = [label_YX for view in views if (label_YX := view.map(task)) is not None]
        if maps:
            roofs = [(label_YX != none) & (label_YX != IGNORE) for label_YX in maps]
            surplus.append(sum(islands(roof_YX) - islands(~roof_YX) for roof_YX in roofs))
    surplus = [some for some in surplus if abs(some) >= REGIONS]
    return (min(surplus), 0, NO_LIMIT) if surplus else None


def _roof_share(views: Sequence[View]) -> Answer:
    """Share of labelled pixels that outlines call roof."""
    share = shares(views, "outline", 2)[1]
    return None if np.isnan(share) else (float(share), 0.001, 0.8)


def _faces_are_roof(views: Sequence[View]) -> Answer:
    """Of the class of bearing that fares worst, the share that outlines call roof."""
    on_S, all_S = np.zeros(FACES), np.zeros(FACES)
    for view in views:
        outline_YX, face_YX = view.map("outline"), view.map("face")
        if outline_YX is not None and face_YX is not None:
            face_N, on_N = (part[(outline_YX != IGNORE) & (face_YX < NO_FACE)] for part in (face_YX, outline_YX))
            all_S += np.bincount(face_N, minlength=FACES)
            on_S += np.bincount(face_N, weights=on_N, minlength=FACES)
    enough_S = all_S > max(ENOUGH, 0.01 * all_S.sum())
    return (float((on_S[enough_S] / all_S[enough_S]).min()), 0.7, 1) if enough_S.any() else None


def _ground_is_no_roof(views: Sequence[View]) -> Answer:
    """Share of what faces call ground that outlines call roof."""
    ground = [
        outline_YX[face_YX == NO_FACE]
        for view in views
        if (outline_YX := view.map("outline")) is not None and (face_YX := view.map("face")) is not None
    ]
    known_N = np.concatenate([np.zeros(0, np.uint8), *ground])
    known_N = known_N[known_N != IGNORE]
    return (float((known_N == 1).mean()), 0, 0.3) if len(known_N) > ENOUGH else None


def _background(views: Sequence[View]) -> Answer:
    share = shares(views, "superstructure", BACKGROUND + 1)[BACKGROUND]
    return None if np.isnan(share) else (float(share), 0.5, 1)


def _things_on_roofs(views: Sequence[View]) -> Answer:
    """Share of things on roofs (neither shadow nor tree) that lies on a roof."""
    on = [
        view.roof_YX[np.isin(label_YX, THINGS)]
        for view in views
        if (label_YX := view.map("superstructure")) is not None and view.roof_YX is not None
    ]
    on_N = np.concatenate([np.zeros(0, bool), *on])
    return (float(on_N.mean()), 0.7, 1) if len(on_N) > ENOUGH else None


def _has_lines(views: Sequence[View]) -> Answer:
    """Share of images with a roof that have a line."""
    asked = [
        len(lines_L5) > 0
        for view in views
        if (lines_L5 := view.lines_L5) is not None and (view.roof_YX is None or view.roof_YX.any())
    ]
    return (float(np.mean(asked)), 0.7, 1) if asked else None


def _typed(views: Sequence[View]) -> Answer:
    """Share of the types a source labels that occur."""
    said = {name for view in views for name in view.line_types}
    lines_L = np.concatenate([view.lines_L5[:, 4] for view in views if view.lines_L5 is not None] or [np.zeros(0)])
    if not said or len(lines_L) < FEW:
        return None
    return float(np.mean([LINES.index(name) in lines_L for name in said])), 0.5, 1


def _one_side(name: str) -> Callable[[Sequence[View]], Answer]:
    def ask(views: Sequence[View]) -> Answer:
        roof_P2 = probed(views).of(name).roof_P2
        return (float((roof_P2.sum(axis=1) == 1).mean()), 0.5, 1) if len(roof_P2) >= FEW else None

    return ask


def _two_sides(name: str) -> Callable[[Sequence[View]], Answer]:
    def ask(views: Sequence[View]) -> Answer:
        roof_P2 = probed(views).of(name).roof_P2
        return (float(roof_P2.all(axis=1).mean()), 0.6, 1) if len(roof_P2) >= FEW else None

    return ask


def _bend(name: str, sign: int) -> Callable[[Sequence[View]], Answer]:
    def ask(views: Sequence[View]) -> Answer:
        crest_P = probed(views).of(name).crest_P
        crest_P = crest_P[np.isfinite(crest_P)]
        return (float((sign * crest_P > 0).mean()), 0.6, 1) if len(crest_P) >= FEW else None

    return ask


def _measured(views: Sequence[View]) -> Answer:
    """Different heights of roofs, in steps of a centimetre."""
    task = "height" if any(view.map("height") is not None for view in views) else "rise"
    metres_N = _heights(views, task)
    if len(metres_N) < ENOUGH or sum(view.metres_YX is not None for view in views) < IMAGES:
        return None
    return len(np.unique(np.rint(100 * metres_N))), VALUES, NO_LIMIT


def _metres(task: str) -> Callable[[Sequence[View]], Answer]:
    def ask(views: Sequence[View]) -> Answer:
        metres_N = _heights(views, task)
        return (float(np.percentile(metres_N, 95)), *METRES) if len(metres_N) > ENOUGH else None

    return ask


def _heights(views: Sequence[View], task: str) -> np.ndarray:
    """(N,) float32 metres of roofs; of rise those that rise at all."""
    found = [np.zeros(0, np.float32)]
    for view in views:
        if (metres_YX := view.map(task)) is not None:
            where_YX = np.isfinite(metres_YX) & (True if view.roof_YX is None else view.roof_YX)
            if task == "rise" and (face_YX := view.map("face")) is not None:
                where_YX &= face_YX < FLAT
            found.append(metres_YX[where_YX].astype(np.float32))
    return np.concatenate(found)


def _climbs(views: Sequence[View]) -> Answer:
    climb_N = np.concatenate([np.zeros(0), *(climb(view) for view in views)])
    return (float(np.nanmedian(climb_N)), 0.75, 1.3) if np.isfinite(climb_N).sum() > ENOUGH else None


def _begins_at_eaves(views: Sequence[View]) -> Answer:
    """Median rise beside eaves, as a share of the 95th percentile of roofs."""
    inner_P = probed(views).of("eave").inner_rise_P
    inner_P, rise_N = inner_P[np.isfinite(inner_P)], _heights(views, "rise")
    if len(inner_P) < FEW or not rise_N.any():
        return None
    return float(np.median(inner_P) / np.percentile(rise_N, 95)), 0, 0.5


GROUND = "the ground was read as roof: an inverted mask, or the id of the background taken for a roof's"
NORTH = "a class of faces was taken for the background, as 0, which faces north"
OTHER = "another id than the last was taken for background"
BESIDE = "the outline is inverted, or labels lie beside the image"
EMPTY = "targets of lines are empty or were overwritten"
ORDER = "types of lines were read in another order"
UP = "types of lines were read in another order, or bearings point up"
INVENTED = "made up from classes: leave a task out that nobody measured"
UNIT = "another unit, or scaled to 0 .. 1"
QUESTIONS = (
    Question("roofs are islands in the ground", GROUND, _islands),
    Question("the ground is more than a fifth", GROUND, _roof_share),
    Question("faces of every bearing are roof", NORTH, _faces_are_roof),
    Question("the ground is no roof", GROUND, _ground_is_no_roof),
    Question("most of an image holds no superstructure", OTHER, _background),
    Question("superstructures lie on roofs", BESIDE, _things_on_roofs),
    Question("images with roofs have lines", EMPTY, _has_lines),
    Question("lines have the types their source labels", EMPTY, _typed),
    *(Question(f"{name}s have roof on one side", ORDER, _one_side(name)) for name in ("eave", "gable")),
    *(Question(f"{name}s have roof on both sides", ORDER, _two_sides(name)) for name in ("ridge", "hip", "valley")),
    *(Question(f"roofs fall away from {name}s", UP, _bend(name, 1)) for name in ("ridge", "hip")),
    Question("roofs fall towards valleys", UP, _bend("valley", -1)),
    Question("heights are measured", INVENTED, _measured),
    Question("rise is in metres", UNIT, _metres("rise")),
    Question("height is in metres", UNIT, _metres("height")),
    Question("heights climb as faces are steep", "another unit, or bearings turned", _climbs),
    Question("rise begins at the eave", "rise counts from elsewhere", _begins_at_eaves),
)
