"""The fault set: each file carries exactly the fault it is named after, and nothing leaves its folder."""

import gzip
import re
import zipfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from lxml import etree

from stepladder.core.types import StudyError
from stepladder.studies.plateau.data.citygml import reader
from stepladder.studies.plateau.data.town.faults import SECRET, faults

REFUSED = ("truncated.gml", "truncated.gml.gz", "not_xml.gml", "billion_laughs.gml", "external_entity.gml")
REPAIRED = {  # file -> (features found, a word of the issue that is counted or None)
    "nan_coordinate.gml": (2, "not a number"),
    "open_solid.gml": (2, None),
    "open_ring.gml": (2, "open ring"),
    "duplicate_id.gml": (2, "duplicate id"),
    "unknown_namespace.gml": (2, None),
    "unknown_theme.gml": (1, "not read"),
    "empty_tile.gml": (0, "empty"),
    "sentinels.gml": (2, "9999"),
    "degenerate.gml": (2, "degenerate"),
}
ZIPS = ("wrong_crc.zip", "truncated.zip", "dotdot.zip", "absolute.zip")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return faults(tmp_path_factory.mktemp("faults") / "set", seed=0)


def buildings(path: Path) -> list[etree._Element]:
    return list(etree.parse(path).iter("{*}Building"))


def rings(building: etree._Element) -> list[np.ndarray]:
    return [np.array(ring.text.split(), float).reshape(-1, 3) for ring in building.iter("{*}posList")]


def test_the_set_is_complete_and_the_same_for_the_same_seed(files, tmp_path):
    assert set(files) == {*REFUSED, *REPAIRED, *ZIPS}
    again, other = faults(tmp_path / "again", seed=0), faults(tmp_path / "other", seed=1)
    for name, path in files.items():
        assert path.name == name
        assert path.read_bytes() == again[name].read_bytes()
        assert path.read_bytes() != other[name].read_bytes() or name == "empty_tile.gml"


@pytest.mark.drill
@pytest.mark.parametrize("name", REFUSED)
def test_the_reader_refuses_by_name(files, name):
    with pytest.raises(StudyError, match=re.escape(name)) as caught:
        reader.read(files[name])
    assert SECRET not in str(caught.value)


@pytest.mark.drill
@pytest.mark.parametrize("name", REPAIRED)
def test_the_reader_keeps_what_is_sound_and_counts_the_rest(files, name):
    count, word = REPAIRED[name]
    surfaces = reader.read(files[name])
    assert len(surfaces.features) == count
    assert np.isfinite(surfaces.triangles_N33).all()
    if count:
        assert surfaces.features.lod.max() == 2  # the sound one
        assert surfaces.triangles_N33[..., 2].max() < 100
    if word:
        assert any(word in issue.kind and issue.count > 0 for issue in surfaces.issues)


def test_truncated_files_end_in_the_middle(files):
    with pytest.raises(etree.XMLSyntaxError):
        etree.parse(files["truncated.gml"])
    with pytest.raises(EOFError), gzip.open(files["truncated.gml.gz"]) as file:
        file.read()


def test_the_open_solid_lacks_a_face(files):
    sound, damaged = (next(b.iter("{*}lod1Solid")) for b in buildings(files["open_solid.gml"]))
    assert len(rings(sound)) == len(rings(damaged)) + 1
    edges = Counter()
    for ring in rings(damaged):
        points = [tuple(point) for point in ring]
        edges.update(pairwise(points))
    assert sum((b, a) not in edges for a, b in edges) == 4


def test_one_ring_is_open(files):
    closed = [(ring[0] == ring[-1]).all() for b in buildings(files["open_ring.gml"]) for ring in rings(b)]
    assert closed.count(False) == 1


def test_one_coordinate_is_not_a_number(files):
    assert sum(np.isnan(ring).sum() for b in buildings(files["nan_coordinate.gml"]) for ring in rings(b)) == 1


def test_the_same_id_comes_twice(files):
    ids = [value for b in buildings(files["duplicate_id.gml"]) for key, value in b.items() if key.endswith("id")]
    assert sorted(Counter(ids).values()) == [1, 2]


def test_sentinels_are_plateaus(files):
    text = files["sentinels.gml"].read_text()
    assert re.search(r"measuredHeight[^>]*>-9999<", text)
    assert re.search(r"storeysAboveGround[^>]*>9999<", text)
    assert sum((ring[:, 2] == 9999).any() for b in buildings(files["sentinels.gml"]) for ring in rings(b)) > 0


def test_namespaces_are_of_no_known_version(files):
    spaces = etree.parse(files["unknown_namespace.gml"]).getroot().nsmap
    assert spaces["core"].endswith("citygml/9.0") and spaces["uro"].endswith("uro/9.9")


def test_the_secret_lies_beside_and_the_entity_points_to_it(files):
    text = files["external_entity.gml"].read_text()
    target = re.search(r'SYSTEM "([^"]+)"', text)[1]
    assert (files["external_entity.gml"].parent / target).read_text() == SECRET
    assert SECRET not in text


@pytest.mark.drill
def test_zips_carry_their_faults(files):
    with zipfile.ZipFile(files["wrong_crc.zip"]) as archive, pytest.raises(zipfile.BadZipFile, match="CRC"):
        archive.read(archive.namelist()[0])
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(files["truncated.zip"])
    for name, start in (("dotdot.zip", "99201/udx/bldg/../.."), ("absolute.zip", "/")):
        with zipfile.ZipFile(files[name]) as archive:
            sound, bad = archive.namelist()
            assert bad.startswith(start)
            assert archive.testzip() is None
            assert not sound.startswith("/") and ".." not in sound
