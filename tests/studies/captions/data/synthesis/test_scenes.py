"""What the captions and questions of drawn scenes say is recomputed from the pixels of their pictures."""

import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from scipy import ndimage

from stepladder.studies.captions.data.synthesis import drawing, scenes

SIDE = 160
BETWEEN = {"to the left of": (0, -1), "to the right of": (0, 1), "above": (1, -1), "below": (1, 1)}  # axis and sign
NAME = re.compile(rf"({'|'.join(scenes.COLOURS)}) ({'|'.join(scenes.SHAPES)})")


def seen(image_YXC: np.ndarray) -> dict[str, tuple[np.ndarray, int, float]]:
    """Colour -> middle (x, y), area and width in pixels of what is colourful and nearest to it in the palette."""
    palette_KC = np.array(list(scenes.COLOURS.values()), float)
    colourful_YX = np.ptp(image_YXC, axis=2) > 60
    nearest_YX = ((palette_KC**2).sum(1) - 2 * image_YXC.astype(float) @ palette_KC.T).argmin(
        -1
    )  # without its own norm
    found = {}
    for number, colour in enumerate(scenes.COLOURS):
        mask_YX = ndimage.binary_opening(colourful_YX & (nearest_YX == number), np.ones((3, 3)))
        if mask_YX.sum() > 40:
            y, x = np.nonzero(mask_YX)
            found[colour] = (np.array([x.mean(), y.mean()]), int(mask_YX.sum()), float(np.ptp(x)))
    return found


def holds(first: str, relation: str, second: str, spots: dict) -> bool:
    """Whether the spots of two colours lie so, by the axis on which they are further apart."""
    apart_2 = spots[first][0] - spots[second][0]
    axis, sign = BETWEEN[relation]
    return int(np.abs(apart_2).argmax()) == axis and np.sign(apart_2[axis]) == sign


def drawn(count: int):
    for number in range(count):
        rng = np.random.default_rng((5, number))
        scene = scenes.scene(rng)
        yield rng, scene, drawing.draw(scene, SIDE)


def test_captions_say_what_pixels_show():
    for rng, scene, image_YXC in drawn(120):
        caption, spots = scenes.caption(rng, scene), seen(image_YXC)
        named = [colour for colour, _ in NAME.findall(caption)]
        assert set(named) == set(spots), caption
        if len(named) == 2:
            relation = next(name for name in BETWEEN if name in caption)
            assert holds(named[0], relation, named[1], spots), caption
            assert spots[named[0]][1] > spots[named[1]][1], "the larger is named first"
        if len(named) == 3:
            assert sorted(named, key=lambda colour: spots[colour][0][0]) == named, "from left to right"
        for size in {"small", "large"} & set(caption.split()):
            assert (spots[named[0]][2] > 0.225 * SIDE) == (size == "large"), caption
        for ground in set(scenes.BACKGROUNDS) & set(caption.split()):
            level = np.median(image_YXC)
            assert min(scenes.BACKGROUNDS, key=lambda name: abs(scenes.BACKGROUNDS[name] - level)) == ground


def test_answers_say_what_pixels_show():
    asked = Counter()
    for rng, scene, image_YXC in drawn(120):
        spots = seen(image_YXC)
        for question in scenes.questions(rng, scene):
            said, answer = question["question"], question["answer"]
            names = NAME.findall(f"{said} {answer}")
            assert answer in question["choices"] and len(set(question["choices"])) == len(question["choices"])
            asked[question["kind"]] += 1
            if question["kind"] in ("relation", "true_false"):
                relation = next(name for name in BETWEEN if name in f"{said} {answer}")
                assert holds(names[0][0], relation, names[1][0], spots) == (answer != "false")
            elif said.startswith("How many"):
                assert scenes.COUNTS.index(answer) + 1 == len(spots)
            elif "background" not in said:
                assert answer in spots and any(t.name == f"{answer} {said.split()[-1][:-1]}" for t in scene.things)
    assert set(asked) == {"relation", "true_false", "choice"}


def test_who_does_not_look_is_right_by_chance_only():
    """Of a question's words alone no answer is likelier: chi-square far below what a lean of 10 % would give."""
    counts = defaultdict(Counter)
    for number in range(3000):
        rng = np.random.default_rng(number)
        for question in scenes.questions(rng, scenes.scene(rng)):
            kind = question["kind"] if question["kind"] != "choice" else question["question"][:8]
            answer = NAME.sub("", question["answer"])
            counts[kind][answer] += 1
    for kind, found in counts.items():
        expected = sum(found.values()) / len(found)
        chi = sum((count - expected) ** 2 / expected for count in found.values())
        limit = len(found) - 1 + 4 * np.sqrt(2 * (len(found) - 1))  # four deviations above its mean
        if kind != "What col":  # of six colours and, rarely, three backgrounds
            assert chi < limit, (kind, found)
    assert set(counts["true_false"]) == {"true", "false"}


def test_things_lie_inside_and_apart():
    for number in range(2000):
        things = scenes.scene(np.random.default_rng(number)).things
        for place, thing in enumerate(things):
            assert min(thing.x, thing.y, 1 - thing.x, 1 - thing.y) > thing.radius
            for other in things[place + 1 :]:
                assert np.hypot(thing.x - other.x, thing.y - other.y) > thing.radius + other.radius


@pytest.mark.parametrize("side", [96, 256])
def test_pictures_follow_their_seed(side: int):
    one, two, other = drawing.pictures(3, 1, side), drawing.pictures(4, 1, side), drawing.pictures(3, 2, side)
    assert all(picture.shape == (side, side, 3) and picture.dtype == np.uint8 for picture in one)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=False)), "more pictures change none"
    assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
