"""RID in both its forms: which pixel is roof, which way faces fall, what nobody labelled; real files where given."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rasterio.transform import from_bounds

from stepladder.core.types import Asset, StudyError
from stepladder.studies.roofs.data.labels import BACKGROUND, FLAT, IGNORE, LINES, NO_FACE
from stepladder.studies.roofs.data.readers import find, read, rid, ridvectors
from tests.studies.roofs.data.readers.layouts import colours, params, png, tif

BOUNDS = (11.99, 48.40, 11.99 + 0.00034332, 48.40 + 0.000227935)  # 256 pixels of 10 cm
SIDE = 256
GABLE = {  # a saddle roof in the middle: ridge from west to east, one face falls north, one south
    "segments": [
        {"id": 1, "pv_area_id": 7, "azimuth_pv": 180.0, "slope_deg": 45.0,
         "polygons_px": [[[[60, 80], [200, 80], [200, 120], [60, 120], [60, 80]]]],
         "gutter_px": [[[60, 80], [200, 80]]]},
        {"id": 2, "pv_area_id": 7, "azimuth_pv": 0.0, "slope_deg": 45.0,
         "polygons_px": [[[[60, 120], [200, 120], [200, 160], [60, 160], [60, 120]]]],
         "gutter_px": [[[60, 160], [200, 160]]]},
        {"id": 3, "pv_area_id": 8, "azimuth_pv": None, "slope_deg": 0.0,
         "polygons_px": [[[[0, 200], [40, 200], [40, 300], [0, 300], [0, 200]]]], "gutter_px": []},
    ],
    "pv_areas": [
        {"id": 7, "roof_type": "Gabled", "polygons_px": [[[[60, 80], [200, 80], [200, 160], [60, 160], [60, 80]]]]},
        {"id": 8, "roof_type": "Flat", "polygons_px": [[[[0, 200], [40, 200], [40, 300], [0, 300], [0, 200]]]]},
    ],
    "superstructures": [
        {"id": 1, "type": "chimney", "polygons_px": [[[[90, 90], [100, 90], [100, 100], [90, 100], [90, 90]]]]},
        {"id": 2, "type": "window", "polygons_px": [[[[10, 210], [20, 210], [20, 220], [10, 220], [10, 210]]]]},
        {"id": 3, "type": "balkony", "polygons_px": [[[[10, 230], [20, 230], [20, 240], [10, 240], [10, 230]]]]},
    ],
}  # fmt: skip


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Of the building in the middle: superstructures with one chimney, and outline with 0 on the roof."""
    superstructure, outline = np.full((SIDE, SIDE), BACKGROUND, np.uint8), np.ones((SIDE, SIDE), np.uint8)
    superstructure[90:100, 90:100], outline[80:160, 60:205] = 4, 0
    return superstructure, outline


def repository(root: Path, vectors: bool = True, name: str = "17") -> Path:
    png(root / "images" / f"{name}.png", colours(SIDE, SIDE))
    superstructure, outline = masks()
    for annotator in rid.ANNOTATORS[:3]:
        png(root / "superstructures" / f"{name}_{annotator}.png", superstructure)
        png(root / "outlines" / f"{name}_{annotator}.png", outline)
    if vectors:
        told = GABLE | {"id": name, "bounds_lonlat": BOUNDS, "crs": "EPSG:4326", "size": [SIDE, SIDE]}
        (root / "vectors").mkdir(exist_ok=True)
        (root / "vectors" / f"{name}.json").write_text(json.dumps(told))
    return root


def mediatum(root: Path, separator: str = ",") -> Path:
    """The raster form, with the village's tables."""
    place = {"crs": "EPSG:4326", "transform": from_bounds(*BOUNDS, SIDE, SIDE)}
    tif(root / "images" / "17.tif", colours(SIDE, SIDE), **place)
    segments = np.full((SIDE, SIDE), 17, np.uint8)
    segments[80:120, 60:200], segments[120:160, 60:200], segments[200:, :40] = 0, 8, 16
    png(root / "masks_segments_reviewed" / "17.png", segments)
    png(root / "masks_superstructures_reviewed" / "17.png", masks()[0])
    lists = root / "filenames_train_val_test_split"
    lists.mkdir(parents=True)
    (lists / "train_filenames_1_rev.txt").write_bytes(b"17.png\r\n18.png\r\n")
    (lists / "val_filenames_2_rev.txt").write_bytes(b"data\\19.png\r\n\r\n")
    west, south, east, north = BOUNDS

    def text(kind: str, points: list[list[float]]) -> str:
        pairs = ", ".join(f"{north - y / SIDE * (north - south)} {west + x / SIDE * (east - west)}" for x, y in points)
        return f"{kind} (({pairs}))"

    def area(row: dict) -> str:
        return text("MULTIPOLYGON", row["polygons_px"][0][0]).replace("((", "(((").replace("))", ")))")

    tables = {
        "segments": [
            {"id": s["id"], "segment": area(s), "azimuth": s["azimuth_pv"], "slope": s["slope_deg"],
             "gutter": text("MULTILINESTRING", s["gutter_px"][0]) if s["gutter_px"] else None}
            for s in GABLE["segments"]
        ],
        "pv_areas": [{"id": b["id"], "area": area(b), "roof_type": b["roof_type"]} for b in GABLE["pv_areas"]],
        "obstacles": [{"id": o["id"], "obstacle": area(o), "type": o["type"]} for o in GABLE["superstructures"]],
    }  # fmt: skip
    for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(root / f"{name}_reviewed.csv", sep=separator, encoding="utf-8-sig")
    return root


def only(root: Path, **options: object) -> Asset:
    return find.assets([root], params(**options))[0]


def test_zero_is_roof_and_the_neighbours_come_from_vectors(tmp_path: Path) -> None:
    labelled = read.read(only(repository(tmp_path / "rid")), params())
    outline_YX = labelled.outline_NYX[0]
    assert outline_YX[100, 100] == 1 and outline_YX[100, 203] == 1, "the mask of the building in the middle"
    assert outline_YX[220, 20] == 1, "the neighbour, which masks do not know"
    assert outline_YX[10, 10] == 0 and outline_YX.mean() == pytest.approx((80 * 145 + 56 * 40) / SIDE**2)
    assert np.array_equal(labelled.focus_NYX[0], masks()[1] == 0)
    superstructure_YX = labelled.superstructure_NYX[0]
    assert (
        superstructure_YX[95, 95] == 4 and superstructure_YX[215, 15] == 2 and superstructure_YX[10, 10] == BACKGROUND
    )
    assert superstructure_YX[235, 15] == BACKGROUND, "a balkony is no class"
    assert any("no class" in issue.kind and issue.example == "balkony" for issue in labelled.issues)


def test_bearings_are_those_of_the_way_down(tmp_path: Path) -> None:
    labelled = read.read(only(repository(tmp_path / "rid")), params())
    face_YX, slope_YXG = labelled.face_NYX[0], labelled.slope_NYXG[0]
    assert face_YX[100, 150] == 0 and face_YX[140, 150] == 8, "north above the ridge, south below"
    assert np.allclose(slope_YXG[100, 150], (0, 1), atol=1e-3) and np.allclose(slope_YXG[140, 150], (0, -1), atol=1e-3)
    assert face_YX[220, 20] == FLAT and face_YX[10, 10] == NO_FACE
    assert face_YX[100, 203] == IGNORE, "roof by the mask, but nobody drew a segment"
    kinds = {LINES[int(kind)]: line for *line, kind in labelled.lines_LF[:, 1:].tolist()}
    assert sorted(np.round(kinds["ridge"]).tolist()) == [60, 120, 120, 200] and "valley" not in kinds
    assert labelled.gsd_m == pytest.approx(0.0992, abs=2e-4)
    assert labelled.rise_NYX[0, 119, 150] == pytest.approx(39.5 * labelled.gsd_m, abs=0.05), (
        "45 degrees: as far as high"
    )


def test_lines_end_at_the_image(tmp_path: Path) -> None:
    lines_LF = read.read(only(repository(tmp_path / "rid")), params()).lines_LF
    assert lines_LF[:, 1:5].min() >= 0 and lines_LF[:, 1:5].max() <= SIDE
    assert lines_LF.dtype == np.float32 and lines_LF.shape[1] == 6


def test_masks_without_vectors_leave_the_neighbours_unlabelled(tmp_path: Path) -> None:
    labelled = read.read(only(repository(tmp_path / "rid", vectors=False)), params())
    assert labelled.tasks == ("superstructure", "outline")
    assert set(np.unique(labelled.outline_NYX)) == {1, IGNORE} and labelled.superstructure_NYX[0, 220, 20] == IGNORE


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    one = read.read(only(repository(tmp_path / "one")), params())
    for separator in ",;\t":
        folder = tmp_path / f"other{ord(separator)}"
        other = read.read(only(mediatum(folder, separator)), params())
        assert np.array_equal(
            other.face_NYX[0, :, :200], np.where(one.face_NYX == IGNORE, NO_FACE, one.face_NYX)[0, :, :200]
        )
        assert len(other.lines_LF) == len(one.lines_LF) and other.gsd_m == pytest.approx(one.gsd_m, rel=1e-9)
        assert np.allclose(np.sort(other.lines_LF, axis=0), np.sort(one.lines_LF, axis=0), atol=0.01)
        assert other.facts["roof_types"] == {"Gabled": 1, "Flat": 1}
        assert other.focus_NYX is None, "all buildings are labelled"


def test_background_is_the_last_class_of_a_mask_of_segments(tmp_path: Path) -> None:
    root = mediatum(tmp_path / "rid")
    for table in root.glob("*.csv"):
        table.unlink()
    labelled = read.read(only(root), params())
    face_YX = labelled.face_NYX[0]
    assert (face_YX[100, 100], face_YX[140, 100], face_YX[220, 20], face_YX[10, 10]) == (0, 8, FLAT, NO_FACE)
    assert labelled.outline_NYX[0, 100, 100] == 1 and labelled.outline_NYX[0, 10, 10] == 0, "north roofs stay"
    assert labelled.slope_NYXG is None and labelled.lines_LF is None, "a mask knows no pitch"


@pytest.mark.parametrize("sectors", [4, 8])
def test_coarse_sectors_are_not_taken_for_sixteen(tmp_path: Path, sectors: int) -> None:
    root = mediatum(tmp_path / "rid")
    for table in root.glob("*.csv"):
        table.unlink()
    mask = np.full((SIDE, SIDE), sectors + 1, np.uint8)
    mask[:100], mask[100:120] = 1, sectors
    png(root / "masks_segments_reviewed" / "17.png", mask)
    labelled = read.read(only(root), params())
    assert set(np.unique(labelled.face_NYX)) == {FLAT, NO_FACE, IGNORE}
    assert any("fewer than 16" in issue.kind and issue.count == 100 * SIDE for issue in labelled.issues)
    png(root / "masks_segments_reviewed" / "17.png", np.full((SIDE, SIDE), 3, np.uint8))
    with pytest.raises(StudyError, match="ends at class 3"):
        read.read(only(root), params())


def test_the_reviewed_round_wins_over_the_initial_one(tmp_path: Path) -> None:
    root = mediatum(tmp_path / "rid")
    (root / "segments_initial.csv").write_text("of the first round, and never read")
    png(root / "masks_segments_initial" / "17.png", np.full((SIDE, SIDE), 17, np.uint8))
    assert {path.name for path in only(root).neighbours} == {
        "obstacles_reviewed.csv", "pv_areas_reviewed.csv", "segments_reviewed.csv",
    }  # fmt: skip
    for table in root.glob("*.csv"):
        table.unlink()
    assert read.read(only(root), params()).face_NYX[0, 100, 100] == 0


def test_split_lists_are_read_whatever_ends_their_lines(tmp_path: Path) -> None:
    root = mediatum(tmp_path / "rid")
    assert only(root).meta["lists"] == "train_filenames_1_rev"
    missing = find.inventory([root], params()).set_index("source").loc["rid", "missing"]
    assert missing == "18, 19", "named, but not there"


def test_the_annotator_can_be_chosen_and_a_missing_one_is_named(tmp_path: Path) -> None:
    root = repository(tmp_path / "rid")
    superstructure, outline = masks()
    png(root / "superstructures" / "17_labeler2.png", np.where(superstructure == 4, 0, superstructure).astype(np.uint8))
    png(root / "outlines" / "17_labeler2.png", np.roll(outline, 3, axis=1))
    second = read.read(only(root), params(conversion={"annotator": "labeler2"}))
    assert second.superstructure_NYX[0, 95, 95] == 0 and second.facts["annotator"] == "labeler2"
    assert np.array_equal(second.focus_NYX[0], outline == 0), "all are scored where the reviewed mask says"
    with pytest.raises(StudyError, match=r"17\.png has no mask in outlines by 'labeler5'"):
        read.read(only(root), params(conversion={"annotator": "labeler5"}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda root: png(root / "outlines" / "17_reviewed.png", np.ones((9, 9), np.uint8)),
            r"17_reviewed\.png has 9 x 9",
        ),
        (
            lambda root: png(root / "superstructures" / "17_reviewed.png", np.full((SIDE, SIDE), 9, np.uint8)),
            r"17_reviewed\.png holds class 9; classes end at 8",
        ),
        (
            lambda root: png(root / "outlines" / "17_reviewed.png", np.full((SIDE, SIDE), 7, np.uint8)),
            r"17_reviewed\.png holds the values 7",
        ),
        (lambda root: (root / "vectors" / "17.json").write_text("{"), r"17\.json is not RID's file"),
        (lambda root: (root / "vectors" / "17.json").write_text('{"size": [256, 256]}'), r"17\.json.*segments"),
        (lambda root: png(root / "images" / "17.png", colours(64, 64)), r"17\.json is of an image of 256 x 256"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, harm, message: str) -> None:
    root = repository(tmp_path / "rid")
    harm(root)
    with pytest.raises(StudyError, match=message):
        read.read(only(root), params())


def test_a_table_without_a_column_or_with_broken_text_is_named(tmp_path: Path) -> None:
    root = mediatum(tmp_path / "rid")
    table = pd.read_csv(root / "segments_reviewed.csv")
    table.drop(columns="slope").to_csv(root / "segments_reviewed.csv")
    with pytest.raises(StudyError, match=r"segments_reviewed\.csv has no column 'slope'"):
        read.read(only(root), params())
    table.assign(segment="POLYGON ((48").to_csv(root / "segments_reviewed.csv")
    with pytest.raises(StudyError, match=r"segments_reviewed\.csv.*well-known text"):
        read.read(only(root), params())


def test_decimals_may_follow_a_comma(tmp_path: Path) -> None:
    root = mediatum(tmp_path / "rid", ";")
    table = pd.read_csv(root / "segments_reviewed.csv", sep=";")
    table["slope"] = table["slope"].map("{:.1f}".format).str.replace(".", ",")
    table.to_csv(root / "segments_reviewed.csv", sep=";")
    assert np.allclose(read.read(only(root), params()).slope_NYXG[0, 100, 150], (0, 1), atol=1e-3)
    table.assign(slope="steep").to_csv(root / "segments_reviewed.csv", sep=";")
    with pytest.raises(StudyError, match=r"segments_reviewed\.csv, column 'slope'.*steep"):
        read.read(only(root), params())


def test_polygons_that_cross_themselves_or_are_empty_are_counted(tmp_path: Path) -> None:
    root = repository(tmp_path / "rid")
    path = root / "vectors" / "17.json"
    told = json.loads(path.read_text())
    told["superstructures"] += [
        {"id": 4, "type": "tree", "polygons_px": [[[[0, 0], [20, 20], [20, 0], [0, 20], [0, 0]]]]},
        {"id": 5, "type": "tree", "polygons_px": []},
        {"id": 6, "type": "tree", "polygons_px": [[[[0, 0], [5, 5], [9, 9], [0, 0]]]]},
    ]
    path.write_text(json.dumps(told))
    labelled = read.read(only(root), params())
    kinds = {issue.kind: issue.count for issue in labelled.issues}
    assert kinds["polygon repaired: it crossed or touched itself"] == 1 and kinds["polygon left out: empty"] == 1
    assert kinds["polygon left out: it has no area"] == 1
    assert (labelled.superstructure_NYX == 6).sum() == pytest.approx(200, abs=25), "the area of the bow tie"


# Real files ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(shared_data: Path) -> list[Asset]:
    return [a for a in find.assets([shared_data / "roofs"], params(sources=["rid"])) if a.group == "rid"]


def test_the_real_images_are_read_whole(real: list[Asset]) -> None:
    assert len(real) == 18 and all(len(asset.files) == 14 for asset in real)
    together = {asset.id: asset.split_group for asset in real if asset.split_group}
    assert len(together) == 6 and together["rid_1011"] == together["rid_1186"], "three pairs show the same houses"
    for asset in real[::6]:
        labelled = read.read(asset, params())
        assert labelled.tasks == ("superstructure", "face", "outline", "line", "rise")
        assert labelled.gsd_m == pytest.approx(0.0992, abs=2e-4), "Google's zoom 20, twice as fine, at 48.4 degrees"
        own_YX = labelled.focus_NYX[0] == 1
        covered = (labelled.face_id_NYX[0] > 0)[own_YX].mean()
        assert 0.94 < covered < 1, "vectors lie on the pixels of the masks"
        kinds = np.bincount(labelled.lines_LF[:, 5].astype(int), minlength=7)
        assert kinds[LINES.index("ridge")] > 0 and kinds[LINES.index("eave")] > 0


def test_the_villages_tables_and_the_images_own_file_agree(real: list[Asset]) -> None:
    asset = next(a for a in real if a.id == "rid_846")
    vectors, place = ridvectors.of_image(next(p for p in asset.files if p.suffix == ".json"), (512, 512))
    tables = sorted(asset.files[0].parents[1].glob("*.csv"))
    village = ridvectors.of_village(tables, place, (512, 512))
    areas, expected = (sorted(s.polygon.area for s in told.segments) for told in (village, vectors))
    assert areas == pytest.approx(expected, rel=1e-3)
    bearings, expected = (sorted(s.bearing_deg or -1 for s in told.segments) for told in (village, vectors))
    assert bearings == pytest.approx(expected)
