"""Real photographs that scikit-image ships, whole and in parts, with descriptions of ours.

Decisions:
- Only files that lie in the installed package are used: what scikit-image would download is not in the list.
- A view is a part of a photograph that shows something by itself; it is described by what it shows. All views of a
  photograph share a family, so that no split has one half of a cat.
- Drawings and diagrams that the package ships too (chessboard, phantom, logo) are left out: "photos" are photographs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from stepladder.core.types import StudyError
from stepladder.studies.captions.data.synthesis import scenes

if TYPE_CHECKING:
    from PIL import Image

SIDE = 256  # pixels, the longer side of a view
CHOICES = 4  # of a question of a photograph
WHOLE = (0.0, 0.0, 1.0, 1.0)
QUESTION = "What does the picture show?"


@dataclass(frozen=True)
class View:
    """A part of a photograph: `box` is left, top, right and bottom as shares of its sides; one caption of several."""

    box: tuple[float, float, float, float]
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Photograph:
    """A file of scikit-image's data, what it shows in two or three words, the whole and its parts, and faces in it."""

    file: str
    subject: str
    views: tuple[View, ...]
    faces: tuple[tuple[float, float, float, float], ...] = ()


def _photograph(file: str, subject: str, *views: View, faces: tuple = ()) -> Photograph:
    return Photograph(file, subject, views, faces)


def _view(*captions: str, box: tuple[float, float, float, float] = WHOLE) -> View:
    return View(box, captions)


PHOTOGRAPHS: Mapping[str, Photograph] = MappingProxyType(
    {
        "astronaut": _photograph(
            "astronaut.png",
            "an astronaut",
            _view(
                "An astronaut in an orange suit.",
                "A smiling astronaut in front of a flag and a model of a space shuttle.",
            ),
            _view("The face of a smiling woman.", "A smiling woman with short hair.", box=(0.25, 0.0, 0.65, 0.4)),
            _view("A model of a space shuttle.", "A white space shuttle.", box=(0.66, 0.0, 1.0, 0.55)),
            _view("A black helmet.", "The black helmet of an astronaut.", box=(0.54, 0.64, 1.0, 1.0)),
            faces=((0.34, 0.1, 0.53, 0.37),),
        ),
        "brick": _photograph(
            "brick.png",
            "a brick wall",
            _view("A brick wall.", "A grey wall of bricks."),
            _view("A part of a brick wall.", "A few bricks of a wall.", box=(0.1, 0.1, 0.6, 0.6)),
            _view("Bricks of a grey wall.", box=(0.5, 0.4, 1.0, 0.9)),
        ),
        "camera": _photograph(
            "camera.png",
            "a man with a camera",
            _view("A man with a camera on a tripod.", "A man in a black coat looks through a camera."),
            _view("The head of a man behind a camera.", "A man looks through a camera.", box=(0.25, 0.1, 0.7, 0.55)),
            _view("The legs of a tripod on grass.", "A tripod on grass.", box=(0.42, 0.55, 0.9, 1.0)),
            faces=((0.42, 0.15, 0.54, 0.34),),
        ),
        "cell": _photograph(
            "cell.png",
            "a cell",
            _view("A bright cell on a grey ground.", "A cell under a microscope."),
            _view("A single bright cell.", "A round cell.", box=(0.55, 0.4, 1.0, 0.78)),
        ),
        "chelsea": _photograph(
            "chelsea.png",
            "a cat",
            _view("A cat.", "The face of a brown cat.", "A brown cat with green eyes."),
            _view("The green eyes of a cat.", "Two green eyes of a brown cat.", box=(0.22, 0.18, 0.9, 0.62)),
            _view("The nose of a cat.", "The nose and mouth of a brown cat.", box=(0.38, 0.45, 0.8, 0.95)),
            _view("The ear of a cat.", "An ear of a brown cat.", box=(0.02, 0.0, 0.4, 0.35)),
        ),
        "clock": _photograph(
            "clock_motion.png",
            "a blurred clock",
            _view("A blurred clock.", "A round clock that moved while it was pictured."),
            _view("A round blurred clock.", box=(0.3, 0.25, 0.72, 0.8)),
        ),
        "coffee": _photograph(
            "coffee.png",
            "a cup of coffee",
            _view("A cup of coffee.", "A cup of coffee with a spoon.", "A red cup of coffee on a wooden table."),
            _view("Coffee in a cup.", "The coffee in a white and red cup.", box=(0.25, 0.02, 0.72, 0.55)),
            _view("A spoon on a red saucer.", "A spoon.", box=(0.48, 0.5, 0.8, 0.9)),
            _view("A wooden table.", "A red saucer on a wooden table.", box=(0.0, 0.3, 0.35, 1.0)),
        ),
        "coins": _photograph(
            "coins.png",
            "coins",
            _view("Rows of coins.", "Old coins in four rows."),
            _view("A few old coins.", "Old coins.", box=(0.0, 0.0, 0.5, 0.55)),
            _view("Coins on a dark ground.", box=(0.45, 0.45, 1.0, 1.0)),
        ),
        "grass": _photograph(
            "grass.png",
            "grass",
            _view("Grass.", "Blades of grass."),
            _view("Blades of dry grass.", box=(0.0, 0.0, 0.5, 0.5)),
            _view("Grass from near.", box=(0.45, 0.45, 0.95, 0.95)),
        ),
        "gravel": _photograph(
            "gravel.png",
            "gravel",
            _view("Gravel.", "Many small stones."),
            _view("Small grey stones.", box=(0.0, 0.5, 0.5, 1.0)),
            _view("Gravel from near.", box=(0.5, 0.05, 0.95, 0.5)),
        ),
        "galaxies": _photograph(
            "hubble_deep_field.jpg",
            "galaxies",
            _view("Many galaxies in a black sky.", "Galaxies in deep space."),
            _view("A few galaxies in a black sky.", "Galaxies.", box=(0.05, 0.3, 0.5, 0.8)),
            _view("Galaxies of many colours.", box=(0.5, 0.4, 1.0, 0.95)),
        ),
        "tissue": _photograph(
            "ihc.png",
            "tissue",
            _view("Brown and blue tissue.", "Tissue under a microscope."),
            _view("Brown tissue.", "Brown tissue under a microscope.", box=(0.05, 0.0, 0.55, 0.48)),
            _view("Tissue with a round brown gland.", "A round brown gland.", box=(0.42, 0.55, 0.95, 1.0)),
        ),
        "moon": _photograph(
            "moon.png",
            "the moon",
            _view("Craters on the moon.", "The grey ground of the moon."),
            _view("A round crater on the moon.", box=(0.02, 0.02, 0.5, 0.45)),
            _view("Dark craters on the moon.", box=(0.25, 0.6, 0.75, 1.0)),
        ),
        "motorcycle": _photograph(
            "motorcycle_left.png",
            "a motorcycle",
            _view("A red motorcycle.", "A red motorcycle in a garage."),
            _view("The front wheel of a motorcycle.", "A wheel of a red motorcycle.", box=(0.6, 0.45, 0.95, 0.98)),
            _view("The engine of a motorcycle.", "The engine of a red motorcycle.", box=(0.36, 0.4, 0.68, 0.85)),
            _view("Boxes on shelves.", "Shelves full of boxes.", box=(0.45, 0.0, 1.0, 0.3)),
        ),
        "page": _photograph(
            "page.png",
            "a printed page",
            _view("A printed page.", "Black text on a white page."),
            _view("Printed text.", "Lines of printed text.", box=(0.0, 0.22, 0.6, 0.75)),
        ),
        "retina": _photograph(
            "retina.jpg",
            "a retina",
            _view("A red retina.", "The retina of an eye.", "The inside of an eye with red vessels."),
            _view("The bright disc of a retina.", "Red vessels meet in a bright disc.", box=(0.0, 0.3, 0.4, 0.7)),
            _view("The dark middle of a retina.", box=(0.35, 0.3, 0.75, 0.7)),
        ),
        "rocket": _photograph(
            "rocket.jpg",
            "a rocket",
            _view("A rocket at night.", "A rocket on its launch pad at night."),
            _view("A white rocket.", "A rocket in front of a dark blue sky.", box=(0.35, 0.2, 0.65, 1.0)),
            _view("Bright lamps at night.", "Lamps below a dark blue sky.", box=(0.52, 0.72, 0.9, 1.0)),
        ),
        "writing": _photograph(
            "text.png",
            "handwriting",
            _view("Handwriting.", "Handwriting on lined paper."),
            _view("Signs on lined paper.", box=(0.0, 0.1, 0.5, 1.0)),
        ),
    }
)
MOST_VIEWS = max(len(photograph.views) for photograph in PHOTOGRAPHS.values())


@cache
def whole(name: str) -> "Image.Image":
    """The photograph as RGB.

    Raises:
        StudyError: this version of scikit-image does not ship it.
    """
    import skimage
    from PIL import Image

    path = Path(skimage.__file__).parent / "data" / PHOTOGRAPHS[name].file
    if not path.is_file():
        raise StudyError(
            f"scikit-image {metadata.version('scikit-image')} ships no {path.name}: install that of constraints.txt"
        )
    with Image.open(path) as image:
        return image.convert("RGB")


def view(name: str, number: int) -> "Image.Image":
    """View `number` of a photograph, its longer side at most `SIDE` pixels."""
    from PIL import Image

    image = whole(name)
    left, top, right, bottom = chosen(name, number).box
    box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
    scale = min(1.0, SIDE / max(box[2] - box[0], box[3] - box[1]))
    size = (max(1, round(scale * (box[2] - box[0]))), max(1, round(scale * (box[3] - box[1]))))
    return image.resize(size, Image.Resampling.LANCZOS, box=box)


def chosen(name: str, number: int) -> View:
    """What is seen in view `number`, whose captions may be chosen from."""
    return PHOTOGRAPHS[name].views[number]


def faces(name: str, number: int) -> list[list[float]]:
    """Boxes of whole faces in a view: left, top, right and bottom as shares of its sides."""
    left, top, right, bottom = chosen(name, number).box
    start_4, side_4 = np.array([left, top] * 2), np.array([right - left, bottom - top] * 2)
    boxes = [(np.array(face) - start_4) / side_4 for face in PHOTOGRAPHS[name].faces]
    return [[float(side) for side in box] for box in boxes if (box >= 0).all() and (box <= 1).all()]


def questions(rng: np.random.Generator, name: str, number: int) -> list[scenes.Question]:
    """Of a whole photograph what it shows, from four choices; of a part nothing."""
    if number:
        return []
    others = [other.subject for key, other in PHOTOGRAPHS.items() if key != name]
    subject = PHOTOGRAPHS[name].subject
    choices = rng.permutation([subject, *rng.choice(others, CHOICES - 1, replace=False)])
    return [scenes.item(QUESTION, subject, "choice", tuple(str(choice) for choice in choices))]
