"""Raw files with one thing wrong in each: what the reader and the download must survive or refuse by name.

Most files hold two buildings, a sound one and then a damaged one, so that a test can see the sound one arrive. The zips
carry a sound tile. Contents depend on `seed` only. Nothing here reaches outside `folder`, whoever opens it; the file an
external entity points to lies beside it and holds `SECRET`, which must never appear in what was read.
"""

import gzip
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stepladder.core import files
from stepladder.studies.plateau.data.citygml import gml, solids
from stepladder.studies.plateau.data.town.features import HOUSE, building
from stepladder.studies.plateau.data.town.town import ARCHIVE_DATE, MUNICIPALITIES, towns

SECRET = "contents of another file"
MEMBER = "99201_kawabe_city_2024_citygml_1_op/udx/bldg/{}_bldg_6697_op.gml"
RING = re.compile(r"(?<=<gml:posList>)[^<]+(?=</gml:posList>)")

Pieces = list[str]  # of a document: head, envelope, sound building, second building, foot


def faults(folder: Path, seed: int) -> dict[str, Path]:
    """Write the whole fault set to `folder`; file name -> path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(tile(seed))
    contents = {f"{name}.gml": damage(tile(seed)) for name, damage in DAMAGES.items()}
    blobs = {name: "".join(pieces).encode() for name, pieces in contents.items()}
    blobs["truncated.gml"] = text.encode()[: len(text) * 6 // 10]
    packed = gzip.compress(text.encode(), mtime=0)
    blobs["truncated.gml.gz"] = packed[: len(packed) * 6 // 10]
    blobs["not_xml.gml"] = np.random.default_rng(seed).bytes(4096)
    for name, blob in blobs.items():
        (folder / name).write_bytes(blob)
    files.write_text(folder / "secret.txt", SECRET)
    return {name: folder / name for name in blobs} | zips(folder, text)


def tile(seed: int) -> Pieces:
    """A sound document of two buildings, the second one at LOD1 only."""
    code, _, second = MUNICIPALITIES[0]
    centre = np.array(towns(second, 1)[0].centre) + np.random.default_rng(seed).uniform(-100, 100, 2)
    along = np.array([0.8, 0.6])
    near, far = (solids.rectangle(centre + shift, along, 10, 8) for shift in (0, 20))
    sound = building(near, 20.0, 5.8, 7.8, "gabled", HOUSE, 2, lod=2)
    return list(gml.document([sound, building(far, 20.0, 5.8, 7.4, "gabled", HOUSE, 2, lod=1)], f"faults/{seed}", code))


def in_second(change: Callable[[str], str]) -> Callable[[Pieces], Pieces]:
    """A damage to the second building alone."""
    return lambda pieces: [*pieces[:3], change(pieces[3]), *pieces[4:]]


def in_ring(change: Callable[[list[str]], list[str]]) -> Callable[[Pieces], Pieces]:
    """A damage to the numbers of the top of the second building's solid (its third ring)."""

    def damage(member: str) -> str:
        ring = list(RING.finditer(member))[2]
        return member[: ring.start()] + " ".join(change(ring[0].split())) + member[ring.end() :]

    return in_second(damage)


def missing_face(member: str) -> str:
    """The first face of the solid taken out (the floor), which leaves a hole."""
    return re.sub(
        r"(<bldg:lod1Solid>.*?)<gml:surfaceMember>.*?</gml:surfaceMember>", r"\1", member, count=1, flags=re.S
    )


def degenerate(member: str) -> str:
    """Faces without area: two points, three on a line, one point four times."""
    a, b, c, *_ = (" ".join(point) for point in np.reshape(RING.findall(member)[1].split()[:9], (3, 3)))
    flat = iter([f"{a} {b} {a}", f"{a} {b} {a} {b} {a}", f"{c} {c} {c} {c}"])
    return RING.sub(lambda ring: next(flat, ring[0]), member)


def unknown(pieces: Pieces) -> Pieces:
    """Namespaces of a version that does not exist yet; local names are as ever."""
    head = pieces[0].replace("/uro/3.1", "/uro/9.9").replace("/2.0", "/9.0")
    return [head, *pieces[1:]]


def unknown_theme(pieces: Pieces) -> Pieces:
    """The second object is of a theme this study does not read."""
    zone = pieces[3].replace("bldg:Building", "urf:Zone").replace("bldg:lod1Solid", "urf:lod1Solid")
    head = pieces[0].replace("<core:CityModel ", '<core:CityModel xmlns:urf="https://www.geospatial.jp/iur/urf/3.1" ')
    return [head, *pieces[1:3], zone, *pieces[4:]]


def billion_laughs(pieces: Pieces) -> Pieces:
    """Entities that would grow to 10^9 words."""
    lines = ['<!ENTITY l0 "laugh ">', *(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))]
    return _with_doctype(pieces, "".join(lines), "&l9;")


def external_entity(pieces: Pieces) -> Pieces:
    """An entity that would pull in another file."""
    return _with_doctype(pieces, '<!ENTITY outside SYSTEM "secret.txt">', "&outside;")


def _with_doctype(pieces: Pieces, entities: str, use: str) -> Pieces:
    declaration, root = pieces[0].split("\n", 1)
    head = f"{declaration}\n<!DOCTYPE CityModel [{entities}]>\n{root}<gml:name>{use}</gml:name>\n"
    return [head, *pieces[1:]]


def sentinels(member: str) -> str:
    """Unknown height and storeys as PLATEAU writes them, and a roof at 9999 m."""
    member = re.sub(r"(measuredHeight[^>]*>)[^<]*", r"\g<1>-9999", member)
    member = re.sub(r"(storeysAboveGround[^>]*>)[^<]*", r"\g<1>9999", member)
    return member.replace(" 26.600", " 9999")


DAMAGES: dict[str, Callable[[Pieces], Pieces]] = {
    "nan_coordinate": in_ring(lambda numbers: ["NaN", *numbers[1:]]),
    "open_solid": in_second(missing_face),
    "open_ring": in_ring(lambda numbers: numbers[:-3]),
    "duplicate_id": in_second(lambda member: member + member),
    "unknown_namespace": unknown,
    "unknown_theme": unknown_theme,
    "empty_tile": lambda pieces: [pieces[0], pieces[4]],
    "sentinels": in_second(sentinels),
    "billion_laughs": billion_laughs,
    "external_entity": external_entity,
    "degenerate": in_second(degenerate),
}


def zips(folder: Path, text: str) -> dict[str, Path]:
    """Archives: a wrong checksum, a lost end, names that leave the folder."""
    sound = MEMBER.format("54391601")
    names = {
        "wrong_crc.zip": [sound],
        "truncated.zip": [sound],
        "dotdot.zip": [sound, "99201/udx/bldg/../../../../outside.gml"],
        "absolute.zip": [sound, "/outside/udx/bldg/outside.gml"],
    }
    for name, members in names.items():
        with zipfile.ZipFile(folder / name, "w") as archive:
            for member in members:
                archive.writestr(zipfile.ZipInfo(member, ARCHIVE_DATE), text, zipfile.ZIP_DEFLATED)
    whole = (folder / "wrong_crc.zip").read_bytes()
    with zipfile.ZipFile(folder / "wrong_crc.zip") as archive:
        crc = archive.infolist()[0].CRC
    wrong = whole.replace(crc.to_bytes(4, "little"), (crc ^ 1).to_bytes(4, "little"))
    (folder / "wrong_crc.zip").write_bytes(wrong)
    cut = (folder / "truncated.zip").read_bytes()
    (folder / "truncated.zip").write_bytes(cut[: len(cut) * 6 // 10])
    return {name: folder / name for name in names}
