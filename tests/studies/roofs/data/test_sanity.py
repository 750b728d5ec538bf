"""Label sanity: right labels pass, and every silent fault of a reader fails by its name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stepladder.data import shards
from stepladder.studies.roofs.data import conversion, derive, probes, sanity
from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.labels import BACKGROUND, LINES, SECTORS, UNTYPED
from stepladder.studies.roofs.data.readers import find
from stepladder.studies.roofs.data.synthesis import scene
from stepladder.studies.roofs.params import RoofsParams
from tests.studies.roofs import drawn_roofs

SCENES = 8


@pytest.fixture(scope="module")
def truth() -> list[Labelled]:
    """Exact labels of some scenes."""
    scenes = [scene.make(np.random.default_rng((11, number)), 256, 0.1) for number in range(SCENES)]
    return [one.labelled() for one in scenes]


def only(given: Labelled, *names: str) -> Labelled:
    """What a source that labels less would say."""
    kept = {name: getattr(given, name) for name in names}
    return Labelled(given.image_NYXC, given.gsd_m, facts=given.facts, **kept)


def roofline(given: Labelled) -> Labelled:
    """Heights, eaves, ridges and hips, as that set has them."""
    there = np.isin(given.lines_LF[:, 5], [LINES.index(name) for name in ("ridge", "hip", "eave")])
    return replace(only(given, "height_NYX"), lines_LF=given.lines_LF[there], line_types=("ridge", "hip", "eave"))


def outlined(given: Labelled) -> Labelled:
    return only(given, "outline_NYX")


def retyped(given: Labelled, **order: str) -> Labelled:
    """Lines of a type called another."""
    lines_LF = given.lines_LF.copy()
    for name, called in order.items():
        lines_LF[given.lines_LF[:, 5] == LINES.index(name), 5] = LINES.index(called)
    return replace(given, lines_LF=lines_LF)


def mask_above_zero(given: Labelled) -> Labelled:
    """The segment mask `> 0`: its 0 faces north and its last class is background."""
    return replace(given, outline_NYX=(given.face_NYX > 0).astype(np.uint8))


def inverted(given: Labelled) -> Labelled:
    """RID's outline masks as they are: there 0 is roof."""
    return replace(given, outline_NYX=1 - given.outline_NYX)


def channels_in_another_order(given: Labelled) -> Labelled:
    """The file holds eave, ridge, hip; read as ridge, valley, eave."""
    other = retyped(given, eave="ridge", ridge="valley", hip="eave")
    return replace(other, line_types=("ridge", "valley", "eave"))


def lines_overwritten(given: Labelled) -> Labelled:
    """Every pixel of a line became the class roof: no line is left."""
    return replace(given, lines_LF=given.lines_LF[:0])


def types_overwritten(given: Labelled) -> Labelled:
    lines_LF = given.lines_LF.copy()
    lines_LF[:, 5] = UNTYPED
    return replace(given, lines_LF=lines_LF)


def one_height_for_all_roofs(given: Labelled) -> Labelled:
    """The depth that was made from masks: 0.3 on roofs, 0 elsewhere."""
    return replace(given, height_NYX=(0.3 * given.outline_NYX).astype(np.float16))


def a_height_for_each_class(given: Labelled) -> Labelled:
    height_NYX = np.where(
        given.superstructure_NYX == BACKGROUND, 4.0 * given.outline_NYX, 5.0 + given.superstructure_NYX
    )
    return replace(given, height_NYX=height_NYX.astype(np.float16))


def scaled(factor: float) -> Callable[[Labelled], Labelled]:
    def scale(given: Labelled) -> Labelled:
        return replace(given, height_NYX=given.height_NYX * np.float16(factor))

    return scale


def rise_in_pixels(given: Labelled) -> Labelled:
    return replace(given, rise_NYX=given.rise_NYX / np.float16(given.gsd_m), height_NYX=None)


def background_is_the_first_class(given: Labelled) -> Labelled:
    return replace(given, superstructure_NYX=((given.superstructure_NYX + 1) % (BACKGROUND + 1)).astype(np.uint8))


def labels_beside_the_image(given: Labelled) -> Labelled:
    """A corner of the image read as another: what is drawn comes to lie elsewhere."""
    return replace(given, superstructure_NYX=np.roll(given.superstructure_NYX, (90, 90), axis=(1, 2)))


def bearings_point_up(given: Labelled) -> Labelled:
    """Azimuth taken for a bearing: 180 degrees off."""
    face_NYX = np.where(given.face_NYX < SECTORS, (given.face_NYX + SECTORS // 2) % SECTORS, given.face_NYX)
    return replace(given, face_NYX=face_NYX.astype(np.uint8), slope_NYXG=-given.slope_NYXG)


FAULTS = {  # name: what the source labels, what its reader does, the checks that must fail
    "mask above zero": (None, mask_above_zero, {"faces of every bearing are roof", "the ground is no roof"}),
    "mask above zero, outlines only": (outlined, mask_above_zero, {"the ground is more than a fifth"}),
    "outlines inverted": (None, inverted, {"the ground is no roof", "superstructures lie on roofs"}),
    "outlines inverted, nothing else": (outlined, inverted, {"roofs are islands in the ground"}),
    "channels in another order": (
        roofline,
        channels_in_another_order,
        {"ridges have roof on both sides", "eaves have roof on one side", "roofs fall towards valleys"},
    ),
    "lines overwritten": (roofline, lines_overwritten, {"images with roofs have lines"}),
    "types overwritten": (roofline, types_overwritten, {"lines have the types their source labels"}),
    "depth of 0.3 on roofs": (None, one_height_for_all_roofs, {"heights are measured", "height is in metres"}),
    "a depth for each class": (None, a_height_for_each_class, {"heights are measured"}),
    "heights of 0 .. 1": (roofline, scaled(0.05), {"height is in metres"}),
    "heights in centimetres": (roofline, scaled(100), {"height is in metres"}),
    "rise in pixels": (None, rise_in_pixels, {"heights climb as faces are steep"}),
    "background first": (None, background_is_the_first_class, {"most of an image holds no superstructure"}),
    "labels beside the image": (None, labels_beside_the_image, {"superstructures lie on roofs"}),
    "bearings point up": (
        None,
        bearings_point_up,
        {"roofs fall away from ridges", "roofs fall away from hips", "heights climb as faces are steep"},
    ),
}


def failed(folder: Path, labels: list[Labelled]) -> set[str]:
    """Names of the checks that fail."""
    paths = [drawn_roofs.shard(folder, given, f"s{number}", "made") for number, given in enumerate(labels)]
    return {check.name.removeprefix("synthetic: ") for check in sanity.checks(paths) if not check.ok}


@pytest.mark.parametrize("less", [None, roofline, outlined], ids=["everything", "roofline", "outlines"])
def test_right_labels_pass(truth, tmp_path, less):
    assert not failed(tmp_path, truth if less is None else [less(given) for given in truth])


@pytest.mark.parametrize("name", FAULTS)
def test_every_silent_fault_fails_by_name(truth, tmp_path, name):
    less, fault, expected = FAULTS[name]
    found = failed(tmp_path, [fault(given) if less is None else _like(less, given, fault(given)) for given in truth])
    assert expected <= found, found


def _like(less: Callable[[Labelled], Labelled], right: Labelled, wrong: Labelled) -> Labelled:
    """Of the faulty labels those that the source gives at all."""
    given = less(right)
    names = [name for name in vars(given) if getattr(given, name) is not None and name != "facts"]
    return replace(given, **{name: getattr(wrong, name) for name in names})


def test_a_failing_check_says_what_may_be_wrong(truth, tmp_path):
    paths = [drawn_roofs.shard(tmp_path, inverted(given), f"s{n}") for n, given in enumerate(truth)]
    (told,) = [check.reason for check in sanity.checks(paths) if check.name == "synthetic: the ground is no roof"]
    assert "inverted mask" in told and "expected 0 to 0.3" in told


def test_the_table_sets_shares_beside_what_is_expected(truth, tmp_path):
    right, wrong = (tmp_path / name for name in ("right", "wrong"))
    for folder in (right, wrong):
        folder.mkdir()
    good = sanity.table([drawn_roofs.shard(right, given, f"s{n}") for n, given in enumerate(truth)])
    assert good.ok.all() and set(good.task) == {"superstructure", "face", "outline"}
    assert good.groupby("task").share.sum().to_numpy() == pytest.approx(1)
    swapped = [background_is_the_first_class(given) for given in truth]
    bad = sanity.table([drawn_roofs.shard(wrong, given, f"s{n}") for n, given in enumerate(swapped)])
    assert set(bad[~bad.ok]["class"]) == {"background", "pvmodule"}


def test_islands_are_what_lies_whole_in_the_image():
    mask = np.zeros((20, 20), bool)
    mask[2:9, 2:9] = mask[12:18, 3:9] = mask[0:3, 15:20] = True  # the last one at the border
    mask[4:6, 4:6] = False
    assert probes.islands(mask) == 2 and probes.islands(~mask) == 1, "a courtyard is one too"
    mask[4:9, 12:17] |= np.eye(5, dtype=bool)
    assert probes.islands(mask) == 3, "what runs aslant is one"


@pytest.mark.parametrize("folder", ["rid", "outlines_oam", "rooflines_hensel"])
def test_real_labels_pass(shared_data, tmp_path, folder):
    settings = RoofsParams(study="roofs")
    assets = find.assets([shared_data / "roofs" / folder], settings)[:8]
    if not assets:
        pytest.skip(f"roofs/{folder} is not among the real data")
    for asset in assets:
        shards.write(tmp_path / f"{asset.id}.h5", conversion.convert(asset, settings), "recipe")
    found = sanity.checks(sorted(tmp_path.glob("*.h5")))
    assert found and not [check for check in found if not check.ok]


def test_the_sign_of_rid_azimuths_would_be_noticed(tmp_path):
    """With the azimuth itself as bearing ridges become valleys, as they once did: roofs do not fall that way."""
    wrong = [
        derive.Segment(one.polygon, (one.bearing_deg + 180) % 360, one.pitch_deg) for one in drawn_roofs.segments(30)
    ]
    assert derive.facts(derive.lines(wrong, 0.1), 0.1)["lines"]["ridge"] == 0
