"""Synthetic scenes written as the files of RID, Roofline and AIRS, for the offline road and for tests.

Decisions:
- Asset k is written in layout k modulo the number of layouts, and its content follows from the seed and k alone: asking
  for more adds assets and changes none. Files say nothing of the time they were made at.
- What was made here before and is not asked for any more is removed: who reads the folder reads what was asked for.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from stepladder.core.types import Source
from stepladder.studies.roofs.data.synthesis import as_airs, as_rid, as_roofline
from stepladder.studies.roofs.data.synthesis.scene import Scene, make
from stepladder.studies.roofs.params import RoofsData, RoofsParams


class Writer(Protocol):
    """Writes scenes below a folder and tells which files that were; `numbers` are those of their assets."""

    def __call__(self, folder: Path, scenes: Iterator[list[Scene]], numbers: list[int]) -> set[Path]:  # noqa: D102
        ...


WRITERS: dict[str, Writer] = {"rid": as_rid.write, "roofline": as_roofline.write, "airs": as_airs.write}


def synthesize(folder: Path, count: int, seed: int, params: RoofsParams) -> list[Source]:
    """Write `count` assets to `folder`; the same bytes for the same seed and `params.data`."""
    folder, layouts, made = Path(folder), params.data.layouts, set[Path]()
    for layout in dict.fromkeys(layouts):
        numbers = [number for number in range(count) if layouts[number % len(layouts)] == layout]
        if numbers:
            scenes = (asset(params.data, layout, seed, number) for number in numbers)
            made |= WRITERS[layout](folder / layout, scenes, numbers)
    for path in (path for layout in WRITERS for path in sorted((folder / layout).rglob("*"))):
        if path.is_file() and path not in made:
            path.unlink()
    return [Source(str(folder), "roofs", tuple(f"{layout}/*" for layout in WRITERS if _holds(made, folder / layout)))]


def asset(data: RoofsData, layout: str, seed: int, number: int) -> list[Scene]:
    """The scenes of asset `number`: a block of them where the layout is Roofline, else one."""
    scenes = data.block if layout == "roofline" else 1
    return [make(np.random.default_rng((seed, number, place)), data.side, data.gsd) for place in range(scenes)]


def _holds(made: set[Path], folder: Path) -> bool:
    return any(folder in path.parents for path in made)
