"""What a study must say is refused by name when missing; what it may leave out has its default."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from stepladder.core.config import ParameterError
from stepladder.core.schema import Parameters
from stepladder.core.study import Study
from stepladder.core.types import TrainingPhase
from stepladder.testing.template.study import DiscParams, study
from stepladder.training import smoke


def test_missing_members_are_named():
    with pytest.raises(TypeError, match="study Bare does not say card, Params"):

        class Bare(Study[Parameters]):
            title = "bare"

    class Empty(Study[Parameters]):
        title, card, Params = "empty", "nothing", Parameters

    with pytest.raises(TypeError, match=r"abstract methods assets, baselines, .*, score, synthesize"):
        Empty()


def test_what_is_left_out_has_its_default():
    params = DiscParams(study="template", training={"steps": 7})
    assert study.name == "template" and study.better == "higher" and study.planned == {}
    assert study.phases(params) == [TrainingPhase("train", 7)]
    phase = study.phases(params)[0]
    assert study.can_start(phase, None, {}).ok and study.accept(phase, None, None, params).ok
    assert study.analysis(None, None, params) == {}


def test_raw_files_come_from_the_mirror_unless_the_study_says_otherwise():
    (source,) = study.sources(DiscParams(study="template", data={"source": "mirror", "mirror": "/raw"}))
    assert (source.url, source.folder, source.members) == ("/raw", "template", ("*",))
    for data in ({"source": "remote"}, {"source": "mirror"}):
        with pytest.raises(ParameterError, match=r"set data.source to mirror and data.mirror to the folder"):
            study.sources(DiscParams(study="template", data=data))


def test_a_study_without_scenes_shows_its_preview():
    sample = {"image_YX": np.zeros((4, 4)), "mask_YX": np.zeros((4, 4))}
    (picture,) = Study.scenes(study, sample, None, DiscParams(study="template")).values()
    assert isinstance(picture.drawing, Figure) and "without a prediction" in picture.caption


def test_letters_of_shape_suffixes_are_told_and_what_is_wrong_is_named():
    samples = [{"u_TX": np.zeros((2, 3)), "box_2": np.zeros(2), "index": n} for n in range(2)]
    axes = {"T": "frames", "X": "points", "Z": "layers", "2": "low and high"}
    assert smoke.suffixes(samples, axes) == "Shape suffixes: T frames, X points, 2 low and high."
    assert smoke.suffixes(samples, {}) == ""
    assert smoke.check_shapes(samples, axes).ok
    faults = {
        "does not tell: X": smoke.check_shapes(samples, {"T": "frames"}),
        "suffix wrong: u_X": smoke.check_shapes([{"u_X": np.zeros((2, 3))}], axes),
        "not finite": smoke.check_shapes([{"u_X": np.full(3, np.nan)}], axes),
        "differ in names or shapes": smoke.check_shapes([{"u_X": np.zeros(3)}, {"u_X": np.zeros(4)}], axes),
    }
    assert all(not check.ok and words in check.reason for words, check in faults.items()), faults
