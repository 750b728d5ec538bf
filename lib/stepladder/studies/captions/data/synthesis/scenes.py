"""Still scenes of one to three coloured shapes: where things lie, and every sentence that is true of them.

Decisions:
- A small model must learn the captions from a hundred pictures, so the picture decides the words: of two things the
  larger is named first, three are named from left to right. Chance chooses only between two forms for one thing.
- Colours of a scene differ, so that "the red circle" is always one thing.
- Questions are balanced against who does not look: each relation, count and colour is equally likely given the words of
  the question, and a statement is true as often as not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

COLOURS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (210, 40, 40),
        "green": (40, 160, 60),
        "blue": (50, 80, 210),
        "yellow": (235, 205, 50),
        "purple": (140, 60, 170),
        "orange": (240, 140, 30),
    }
)
SHAPES = ("circle", "square", "triangle", "star")
BACKGROUNDS: Mapping[str, int] = MappingProxyType({"white": 240, "grey": 130, "black": 22})  # level of all channels
RELATIONS: Mapping[str, tuple[int, int]] = MappingProxyType(  # direction from the second thing to the first, y down
    {"to the left of": (-1, 0), "to the right of": (1, 0), "above": (0, -1), "below": (0, 1)}
)
COUNTS = ("one", "two", "three")
SMALL, LARGE = (0.09, 0.11), (0.17, 0.20)  # radii, as shares of the side
MARGIN = 0.02  # between a thing and the edge, at least
APART = (0.36, 0.5)  # middles of two related things along their axis; radii add up to 0.31 at most
ASIDE = 0.08  # and across it, at most: a relation is never a matter of opinion

Question = dict[str, Any]  # question, answer, kind, choices


@dataclass(frozen=True)
class Thing:
    """A coloured shape; `x`, `y` (down) and `radius` are shares of the picture's side."""

    colour: str
    shape: str
    x: float
    y: float
    radius: float

    @property
    def name(self) -> str:
        """As in "the red circle"."""
        return f"{self.colour} {self.shape}"

    @property
    def some(self) -> str:
        """As in "an orange circle"."""
        return f"a{'n' if self.colour[0] in 'aeiou' else ''} {self.name}"

    @property
    def size(self) -> str:
        """Whether it is large or small; radii in between do not occur."""
        return "large" if self.radius >= LARGE[0] else "small"


@dataclass(frozen=True)
class Scene:
    """Things in the order in which the caption names them, on a background whose texture follows from `grain`."""

    things: tuple[Thing, ...]
    background: str
    grain: int


def scene(rng: np.random.Generator) -> Scene:
    """A scene of one, two or three things; two are as likely as the others together, for their relations."""
    count = int(rng.choice([1, 2, 2, 3]))
    colours = [str(name) for name in rng.choice(list(COLOURS), count, replace=False)]
    names = [(colour, str(rng.choice(SHAPES))) for colour in colours]
    things = [_alone, _related, _in_a_row][count - 1](rng, names)
    return Scene(tuple(things), str(rng.choice(list(BACKGROUNDS))), int(rng.integers(2**31)))


def relation(first: Thing, second: Thing) -> str:
    """What `first` is to `second`, by the axis on which they are further apart."""
    x, y = first.x - second.x, first.y - second.y
    direction = (int(np.sign(x)), 0) if abs(x) > abs(y) else (0, int(np.sign(y)))
    return next(name for name, way in RELATIONS.items() if way == direction)


def caption(rng: np.random.Generator, scene: Scene) -> str:
    """The description of a scene."""
    things = scene.things
    if len(things) == 2:
        return sentence(f"{things[0].some} {relation(*things)} {things[1].some}")
    if len(things) == 3:
        return sentence(f"{things[0].some}, {things[1].some} and {things[2].some}")
    if rng.random() < 0.5:
        return f"A {things[0].size} {things[0].name}."
    return sentence(f"{things[0].some} on a {scene.background} background")


def questions(rng: np.random.Generator, scene: Scene) -> list[Question]:
    """Two to three questions of a scene: relation and truth where there are two things, else count, colour or truth."""
    if len(scene.things) == 2:
        asked = [_where(rng, scene), _true_or_false(rng, scene)]
        return [*asked, _how_many(scene)] if rng.random() < 0.5 else asked  # every count is asked for equally often
    return [_how_many(scene), _which_colour(rng, scene)]


def item(question: str, answer: str, kind: str, choices: tuple[str, ...]) -> Question:
    """A question as lists carry it; `kind` is a name of `layout.ITEMS`."""
    return {"question": question, "answer": answer, "kind": kind, "choices": list(choices)}


def sentence(said: str) -> str:
    """With a capital letter and a full stop."""
    return f"{said[0].upper()}{said[1:]}."


def _where(rng: np.random.Generator, scene: Scene) -> Question:
    first, second = (scene.things[place] for place in rng.permutation(2))
    choices = tuple(f"{name} the {second.name}" for name in RELATIONS)
    answer = f"{relation(first, second)} the {second.name}"
    return item(f"Where is the {first.name}?", answer, "relation", choices)


def _true_or_false(rng: np.random.Generator, scene: Scene) -> Question:
    first, second = (scene.things[place] for place in rng.permutation(2))
    said = truth = relation(first, second)
    if rng.random() < 0.5:
        said = str(rng.choice([name for name in RELATIONS if name != truth]))
    statement = f"The {first.name} is {said} the {second.name}."
    return item(f"True or false? {statement}", "true" if said == truth else "false", "true_false", ("true", "false"))


def _how_many(scene: Scene) -> Question:
    return item("How many shapes are there?", COUNTS[len(scene.things) - 1], "choice", COUNTS)


def _which_colour(rng: np.random.Generator, scene: Scene) -> Question:
    """Asked of a shape that occurs once; where there is none, of the background."""
    shapes = [thing.shape for thing in scene.things]
    once = [thing for thing in scene.things if shapes.count(thing.shape) == 1]
    if not once:
        return item("What colour is the background?", scene.background, "choice", tuple(BACKGROUNDS))
    thing = once[int(rng.integers(len(once)))]
    return item(f"What colour is the {thing.shape}?", thing.colour, "choice", tuple(COLOURS))


def _alone(rng: np.random.Generator, names: list[tuple[str, str]]) -> list[Thing]:
    radius = rng.uniform(*(LARGE if rng.random() < 0.5 else SMALL))
    x, y = rng.uniform(radius + MARGIN, 1 - radius - MARGIN, 2)
    return [Thing(*names[0], x, y, radius)]


def _related(rng: np.random.Generator, names: list[tuple[str, str]]) -> list[Thing]:
    """A large and a small thing, apart along one axis; drawn again until both lie inside."""
    way_2 = np.array(list(RELATIONS.values())[int(rng.integers(4))])
    radii = rng.uniform(*LARGE), rng.uniform(*SMALL)
    while True:
        first_2 = rng.uniform(radii[0] + MARGIN, 1 - radii[0] - MARGIN, 2)
        second_2 = first_2 - way_2 * rng.uniform(*APART) + way_2[::-1] * rng.uniform(-ASIDE, ASIDE)
        if (np.abs(second_2 - 0.5) < 0.5 - radii[1] - MARGIN).all():
            places = zip(names, (first_2, second_2), radii, strict=True)
            return [Thing(*name, float(x), float(y), radius) for name, (x, y), radius in places]


def _in_a_row(rng: np.random.Generator, names: list[tuple[str, str]]) -> list[Thing]:
    """Three small things from left to right, at any height."""
    middles = np.array([0.2, 0.5, 0.8]) + rng.uniform(-0.04, 0.04, 3)
    places = zip(names, middles, rng.uniform(0.2, 0.8, 3), rng.uniform(*SMALL, 3), strict=True)
    return [Thing(*name, float(x), float(y), float(radius)) for name, x, y, radius in places]
