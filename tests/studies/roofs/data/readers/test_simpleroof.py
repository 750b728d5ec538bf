"""Wireframes as they are published; a copy that was flipped, turned or tinted stays with its original."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.labels import UNTYPED
from stepladder.studies.roofs.data.readers import find, read, simpleroof
from tests.studies.roofs.data.readers.layouts import colours, params, png

CROSS = np.array([[[10, 10], [80, 12]], [[80, 12], [70, 55]], [[70, 55], [10, 10]]], float)


def text(segments_L22: np.ndarray, edges: int | None = None) -> str:
    """A wireframe as the set writes it."""
    junctions = np.unique(segments_L22.reshape(-1, 2), axis=0)
    pairs = "\n".join(f"[[{a[0]:.2f} {a[1]:.2f}]\n [{b[0]:.2f} {b[1]:.2f}]]" for a, b in segments_L22)
    ones = " ".join(["1.00"] * 2 * (len(segments_L22) if edges is None else edges))
    return "#1#\n" + "\n".join(f"[{x:.2f} {y:.2f}]" for x, y in junctions) + f"\n#2#\n{pairs}\n#3#\n[[{ones}]]\n"


def crop(folder: Path, name: str, segments_L22: np.ndarray = CROSS, **options: int) -> Path:
    image = png(folder / f"{name}.png", colours(64, 96))
    image.with_suffix(".txt").write_text(text(segments_L22, **options))
    return image


def test_lines_are_read_and_have_no_type(tmp_path: Path) -> None:
    crop(tmp_path, "val_1")
    (asset,) = find.assets([tmp_path], params())
    labelled = read.read(asset, params())
    assert labelled.tasks == ("line",) and labelled.line_types == ()
    assert labelled.lines_LF[:, 1:5].tolist() == CROSS.reshape(-1, 4).tolist()
    assert (labelled.lines_LF[:, 5] == UNTYPED).all() and not labelled.facts["gsd_known"]


@given(turns=st.integers(0, 3), mirrored=st.booleans(), seed=st.integers(0, 99))
def test_turned_and_mirrored_copies_share_a_group(turns: int, mirrored: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    segments = rng.integers(0, 100, (6, 2, 2)).astype(float)
    copy = segments * (-1 if mirrored else 1, 1)
    for _ in range(turns):
        copy = np.stack([-copy[..., 1], copy[..., 0]], axis=-1)
    copy = (copy - copy.min((0, 1)) + 10)[rng.permutation(6)][:, :: rng.choice([-1, 1])]
    assert simpleroof.split_group(copy) == simpleroof.split_group(segments)
    longer = copy + np.array([[0, 0], [1, 0]])
    assert simpleroof.split_group(longer) != simpleroof.split_group(segments)


def test_what_is_odd_is_counted_and_what_is_broken_is_named(tmp_path: Path) -> None:
    crop(tmp_path, "outside", np.concatenate([CROSS, [[[200, 200], [300, 300]], [[5, 5], [5, 5]]]]), edges=2)
    for name, content in {
        "cut": "#1#\n[1 2]\n#2#\n[[1 2]\n",
        "odd": "#1#\n[1 2]\n#2#\n[[1 2]\n [3]]\n#3#\n",
        "none": "#1#\n#2#\n#3#\n",
        "nan": "#1#\n[1 2]\n#2#\n[[1e999 2]\n [3 4]]\n#3#\n",
    }.items():
        crop(tmp_path, name).with_suffix(".txt").write_text(content)
    crop(tmp_path, "readme").with_suffix(".txt").write_text("no wireframe, and so no asset")
    found = {asset.id.removeprefix("simpleroof_"): asset for asset in find.assets([tmp_path], params())}
    assert set(found) == {"outside", "cut", "odd", "none", "nan"}
    labelled = read.read(found.pop("outside"), params())
    assert len(labelled.lines_LF) == 3 and {issue.count for issue in labelled.issues} == {2, 1}
    for name, asset in found.items():
        with pytest.raises(StudyError, match=rf"{name}\.txt"):
            read.read(asset, params())


def test_the_real_crops(shared_data: Path) -> None:
    found = find.assets([shared_data / "roofs" / "rooflines_hensel"], params())
    train = [asset for asset in found if asset.meta["part"] == "train"]
    sizes = Counter(Counter(asset.split_group for asset in train).values())
    assert (len(train), len(found) - len(train)) == (200, 99) and sizes == {1: 184, 2: 8}, "192 roofs in 200 crops"
    assert sum(len(read.read(asset, params()).lines_LF) for asset in found if asset.meta["part"] == "val") > 700
