"""Hashes: the same picture keeps its hash, other pictures have others, and close ones are found without exception."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stepladder.data.images import hashes, resize
from stepladder.data.images.decode import picture

PHOTOGRAPHS = ("astronaut.png", "camera.png", "chelsea.png", "coins.png", "rocket.jpg", "text.png", "horse.png")
bits64 = st.integers(0, 2**64 - 1)


def photographs(shared_data: Path) -> dict[str, np.ndarray]:
    """Real pictures by name."""
    folder = shared_data / "captions/scikit-image__scikit-image/src/_skimage2/data"
    return {name: picture((folder / name).read_bytes()) for name in PHOTOGRAPHS}


def again(image_YXC: np.ndarray, kind: str, quality: int) -> np.ndarray:
    """A picture after it was encoded once more."""
    file = BytesIO()
    Image.fromarray(image_YXC).save(file, kind, quality=quality)
    return picture(file.getvalue())


@pytest.mark.parametrize(("kind", "quality"), [("JPEG", 95), ("JPEG", 30), ("WEBP", 50), ("GIF", 0)])
@pytest.mark.parametrize("factor", [1.0, 0.5, 0.31])
def test_a_hash_stays_when_encoded_again_at_another_size(
    shared_data: Path, kind: str, quality: int, factor: float
) -> None:
    for image_YXC in photographs(shared_data).values():
        height, width = (round(length * factor) for length in image_YXC.shape[:2])
        other_YXC = again(resize.shrunk(image_YXC, height, width), kind, quality)
        assert hashes.distance(hashes.dhash(image_YXC), hashes.dhash(other_YXC)) <= 4


def test_hashes_of_different_pictures_lie_far_apart(shared_data: Path) -> None:
    found = [hashes.dhash(image_YXC) for image_YXC in photographs(shared_data).values()]
    found += [hashes.dhash(image_YXC[:, ::-1].copy()) for image_YXC in photographs(shared_data).values()]
    apart = [hashes.distance(a, b) for i, a in enumerate(found) for b in found[:i]]
    assert min(apart) > 12


def test_bits_say_where_it_gets_brighter() -> None:
    right_YX = np.tile(np.arange(0, 252, 7, dtype=np.uint8), (32, 1))
    assert hashes.dhash(np.dstack([right_YX] * 3)) == 2**64 - 1
    assert hashes.dhash(np.dstack([right_YX[:, ::-1]] * 3)) == hashes.FLAT
    half_YX = np.vstack([right_YX, right_YX[:, ::-1]])
    assert hashes.dhash(np.dstack([half_YX] * 3)) == 0xFFFFFFFF00000000


@given(st.lists(bits64, max_size=30), st.integers(0, 15), st.data())
def test_close_pairs_are_those_that_comparing_all_finds(numbers: list[int], most: int, data: st.DataObject) -> None:
    near = [number ^ data.draw(st.integers(0, 2**16 - 1)) << data.draw(st.integers(0, 48)) for number in numbers]
    distinct = list(dict.fromkeys(numbers + near))
    expected = [
        (i, j) for j in range(len(distinct)) for i in range(j) if hashes.distance(distinct[i], distinct[j]) <= most
    ]
    assert sorted(map(tuple, hashes.close_pairs(distinct, most).tolist())) == sorted(expected)


@settings(max_examples=20)
@given(st.integers(0, 7), st.integers(0, 2**32))
def test_every_planted_near_duplicate_is_found_among_many(most: int, seed: int) -> None:
    rng = np.random.Generator(np.random.Philox(seed))
    many_N = rng.integers(1, 2**64, 3000, dtype=np.uint64)
    flipped = [sum(1 << int(bit) for bit in rng.choice(64, most, replace=False)) for _ in range(50)]
    copies = [int(many_N[place]) ^ flips for place, flips in enumerate(flipped)]
    group_N = hashes.groups([*many_N.tolist(), *copies], most)
    assert group_N[3000:].tolist() == list(range(50))


def test_groups_are_named_by_their_first_and_flat_pictures_stand_alone() -> None:
    assert hashes.groups([8, 0, 9, 2**63, 0, 8, 11], 1).tolist() == [0, 1, 0, 3, 4, 0, 0]
    assert hashes.groups([], 3).tolist() == []


def test_a_hundred_thousand_equal_and_clustered_hashes_fit_into_memory(monkeypatch) -> None:
    monkeypatch.setattr(hashes, "MOST_AT_ONCE", 1 << 16)
    rng = np.random.Generator(np.random.Philox(9))
    equal = [12345] * 50_000
    spread = rng.integers(1, 2**64, 50_000, dtype=np.uint64).tolist()
    group_N = hashes.groups(equal + spread, 4)
    assert (group_N[:50_000] == 0).all() and len(np.unique(group_N)) > 49_990


def test_more_bits_than_can_be_searched_are_refused() -> None:
    with pytest.raises(ValueError, match="16 bits"):
        hashes.groups([1, 2], 16)


def test_placeholders_come_under_many_addresses() -> None:
    assert hashes.placeholders(["a"] * 5 + ["b"] * 4 + ["c"]) == {"a"}
    assert hashes.placeholders(iter("aab"), least=2) == {"a"}
