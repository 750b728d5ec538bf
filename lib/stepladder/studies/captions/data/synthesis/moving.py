"""Scenes that move: 17 frames of one or two shapes, and questions that no single frame answers.

Decisions:
- Where things lie in the first frame is drawn before, and apart from, what they will do: whatever the first frame looks
  like, every answer is equally likely. For the same reason they begin near the middle: all ways are open.
- What is asked shows in the first five frames too, which is one step of a world tower (1 + 4n frames), so that more
  steps are more evidence of the same thing and not another question.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from stepladder.studies.captions.data.synthesis.scenes import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    SMALL,
    Question,
    Scene,
    Thing,
    item,
    sentence,
)

FRAMES = 17
WAYS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"to the left": (-1, 0), "to the right": (1, 0), "up": (0, -1), "down": (0, 1)}
)
FAST, SLOW = 0.017, 0.006  # of the side, per frame
GROWTH = 0.035  # of the first radius, per frame
LATE = 8  # frames that the second of two waits
START = (0.4, 0.6)  # where things begin, so that the fast reach no edge
MEDIUM = (0.12, 0.15)  # radii from which things grow to 0.24 or shrink to 0.05
ANSWERS: Mapping[str, int] = MappingProxyType({"direction": 4, "speed": 2, "size": 2, "first": 2})  # how many there are


@dataclass(frozen=True)
class Motion:
    """What a thing does in every frame after `start`: it moves by shares of the side and grows by shares of itself."""

    x: float = 0.0
    y: float = 0.0
    growth: float = 0.0
    start: int = 0


@dataclass(frozen=True)
class Moving:
    """A first frame, what each of its things does, what is asked of it (of `ANSWERS`) and which answer is true."""

    first: Scene
    motions: tuple[Motion, ...]
    kind: str
    answer: int

    def frame(self, number: int) -> Scene:
        """Frame `number` of 0 to 16."""
        things = zip(self.first.things, self.motions, strict=True)
        return replace(self.first, things=tuple(_moved(thing, motion, number) for thing, motion in things))


def moving(rng: np.random.Generator) -> Moving:
    """A moving scene; its first frame is drawn before its answer."""
    kind = str(rng.choice(list(ANSWERS)))
    first = beginning(rng, kind)
    return motion(rng, first, kind, int(rng.integers(ANSWERS[kind])))


def beginning(rng: np.random.Generator, kind: str) -> Scene:
    """The first frame of a scene of this kind: one thing, or two above each other."""
    two = kind in ("speed", "first")
    colours = [str(name) for name in rng.choice(list(COLOURS), 2, replace=False)]
    heights = rng.uniform((0.2, 0.68), (0.32, 0.8)) if two else rng.uniform(*START, 1)
    radii = rng.uniform(*(MEDIUM if kind == "size" else SMALL), 2)
    places = zip(colours, rng.choice(SHAPES, 2), rng.uniform(*START, 2), heights, radii, strict=False)
    things = tuple(Thing(colour, str(shape), float(x), float(y), float(r)) for colour, shape, x, y, r in places)
    return Scene(things, str(rng.choice(list(BACKGROUNDS))), int(rng.integers(2**31)))


def motion(rng: np.random.Generator, first: Scene, kind: str, answer: int) -> Moving:
    """What happens after a first frame so that `answer` is true; the ways of two things are drawn and tell nothing."""
    if kind == "direction":
        x, y = list(WAYS.values())[answer]
        return Moving(first, (Motion(x * FAST, y * FAST),), kind, answer)
    if kind == "size":
        return Moving(first, (Motion(growth=(GROWTH, -GROWTH)[answer]),), kind, answer)
    slower = {"speed": Motion(SLOW), "first": Motion(FAST, start=LATE)}[kind]
    motions = [replace(move, x=move.x * rng.choice((-1, 1))) for move in (Motion(FAST), slower)]
    return Moving(first, tuple(motions if answer == 0 else motions[::-1]), kind, answer)


def caption(moving: Moving) -> str:
    """What happens, in a sentence; of two things the faster or earlier one is named first."""
    some = [thing.some for thing in moving.first.things]
    if moving.kind == "direction":
        return sentence(f"{some[0]} moves {list(WAYS)[moving.answer]}")
    if moving.kind == "size":
        return sentence(f"{some[0]} {('grows', 'shrinks')[moving.answer]}")
    verb = {"speed": "moves faster than", "first": "moves before"}[moving.kind]
    return sentence(f"{some[moving.answer]} {verb} {some[1 - moving.answer]}")


def questions(rng: np.random.Generator, moving: Moving) -> list[Question]:
    """The one question of a moving scene."""
    names = [thing.name for thing in moving.first.things]
    if moving.kind == "direction":
        return [item(f"Which way does the {names[0]} move?", list(WAYS)[moving.answer], "temporal", tuple(WAYS))]
    if moving.kind == "size":
        choices = ("it grows", "it shrinks")
        return [item(f"Does the {names[0]} grow or shrink?", choices[moving.answer], "temporal", choices)]
    asked = {"speed": "Which shape moves faster?", "first": "Which shape moves first?"}[moving.kind]
    choices = tuple(f"the {names[place]}" for place in rng.permutation(2))
    return [item(asked, f"the {names[moving.answer]}", "temporal", choices)]


def _moved(thing: Thing, motion: Motion, frame: int) -> Thing:
    steps = max(0, frame - motion.start)
    radius = thing.radius * (1 + motion.growth * steps)
    return replace(thing, x=thing.x + motion.x * steps, y=thing.y + motion.y * steps, radius=radius)
