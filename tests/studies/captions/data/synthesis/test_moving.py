"""What moves: the first frame tells no answer, the pixels of later frames tell it."""

from collections import Counter

import numpy as np
import pytest
from scipy import ndimage, stats

from stepladder.studies.captions.data.synthesis import drawing, moving, scenes

SIDE = 96


def spot(image_YXC: np.ndarray, colour: str) -> tuple[np.ndarray, int]:
    """Middle (x, y) as shares of the side, and area in pixels, of what is nearest to a colour."""
    palette_KC = np.array([*scenes.COLOURS.values(), *([level] * 3 for level in scenes.BACKGROUNDS.values())], float)
    nearest_YX = ((palette_KC**2).sum(1) - 2 * image_YXC.astype(float) @ palette_KC.T).argmin(
        -1
    )  # without its own norm
    mask_YX = ndimage.binary_opening(nearest_YX == list(scenes.COLOURS).index(colour), np.ones((3, 3)))
    y, x = np.nonzero(mask_YX)
    return np.array([x.mean(), y.mean()]) / SIDE, int(mask_YX.sum())


@pytest.mark.parametrize("kind", moving.ANSWERS)
def test_the_same_first_frame_goes_with_every_answer(kind: str):
    """Bytes of frame 0 are equal whatever happens after it: no reader of them can do better than chance."""
    for number in range(10):
        first = moving.beginning(np.random.default_rng(number), kind)
        told = [moving.motion(np.random.default_rng(9), first, kind, answer) for answer in range(moving.ANSWERS[kind])]
        frames = [drawing.jpeg(drawing.draw(scene.frame(0), SIDE)) for scene in told]
        assert len(set(frames)) == 1
        assert len({moving.caption(scene) for scene in told}) == len(told)


@pytest.mark.parametrize("kind", moving.ANSWERS)
def test_positions_in_the_first_frame_say_nothing_of_the_answer(kind: str):
    """Over 3,000 scenes: answers are equally frequent, and independent of where and what things are at first."""
    drawn = [moving.moving(np.random.default_rng((3, number))) for number in range(3000)]
    drawn = [scene for scene in drawn if scene.kind == kind]
    answers = np.array([scene.answer for scene in drawn])
    assert stats.chisquare(np.bincount(answers, minlength=moving.ANSWERS[kind])).pvalue > 1e-4
    first = [scene.first.things[0] for scene in drawn]
    for value in ([t.x for t in first], [t.y for t in first], [t.radius for t in first]):
        groups = [np.array(value)[answers == answer] for answer in range(moving.ANSWERS[kind])]
        assert stats.kruskal(*groups).pvalue > 1e-4
    names = sorted({t.colour for t in first})
    table_NA = np.zeros((len(names), moving.ANSWERS[kind]))
    np.add.at(table_NA, ([names.index(t.colour) for t in first], answers), 1)
    assert stats.chi2_contingency(table_NA).pvalue > 1e-4


@pytest.mark.parametrize("last", [4, 16])
def test_pixels_of_later_frames_tell_the_answer(last: int):
    """Also of the fifth frame, where one step of a world tower ends."""
    told = Counter()
    for number in range(60):
        scene = moving.moving(np.random.default_rng((1, number)))
        things, kind = scene.first.things, scene.kind
        before, after = (drawing.draw(scene.frame(t), SIDE) for t in (0, last))
        spots = [(spot(before, thing.colour), spot(after, thing.colour)) for thing in things]
        way_2 = spots[0][1][0] - spots[0][0][0]
        if kind == "direction":
            axis = int(np.abs(way_2).argmax())
            seen = list(moving.WAYS.values()).index(tuple(int(np.sign(way_2[axis])) * (a == axis) for a in (0, 1)))
        elif kind == "size":
            seen = int(spots[0][1][1] < spots[0][0][1])
        else:
            gone = [np.abs(end[0] - start[0]).max() for start, end in spots]
            seen = int(np.argmax(gone))
        assert seen == scene.answer, (kind, number)
        told[kind] += 1
    assert set(told) == set(moving.ANSWERS)


def test_nothing_leaves_the_picture():
    for number in range(1000):
        scene = moving.moving(np.random.default_rng(number))
        for frame in (0, moving.FRAMES - 1):
            for thing in scene.frame(frame).things:
                assert min(thing.x, thing.y, 1 - thing.x, 1 - thing.y) > thing.radius


def test_questions_have_their_answer_among_the_choices_in_no_order():
    places = Counter()
    for number in range(800):
        rng = np.random.default_rng((2, number))
        scene = moving.moving(rng)
        (question,) = moving.questions(rng, scene)
        assert question["kind"] == "temporal"
        places[scene.kind, question["choices"].index(question["answer"])] += 1
    for kind, answers in moving.ANSWERS.items():
        assert stats.chisquare([places[kind, place] for place in range(answers)]).pvalue > 1e-4
