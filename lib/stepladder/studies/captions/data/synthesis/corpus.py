"""The offline list and the web behind it, in the layout of DataComp; and drawn scenes that move, as tars.

Decisions:
- `list.parquet` has DataComp's nine columns and three of ours: `family`, `group` and `questions` (JSON). The scores are
  drawn, not computed, and told so in the card.
- Rows are laid out by the blocks that become tars: all views of a photograph lie in one block, so that a split by tars
  divides no family; drawn scenes fill the rest. Photographs are spread over the blocks evenly.
- Bytes follow from the seed and `params.data`. What was made here before is removed first: who reads the folder reads
  what was asked for.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepladder.core import files
from stepladder.core.types import Source
from stepladder.data.images import tars
from stepladder.studies.captions.data.synthesis import drawing, faults, moving, photographs, scenes
from stepladder.studies.captions.data.synthesis.faults import Row, Web

if TYPE_CHECKING:
    import pyarrow as pa

    from stepladder.studies.captions.params import CaptionsParams

LIST, WEB, FAULTS, MOVING = "list.parquet", "web", "faults.json", "moving"
PHOTOS = 0.4  # share of the rows, as far as there are views
ROWS_A_HOST = 3  # on average; the first hosts have more
FORMATS = {3: "png", 7: "webp"}  # by the last digit of a row's number; the others are JPEG
MOVING_SIDE = 128


def synthesize(folder: Path, count: int, seed: int, params: "CaptionsParams") -> list[Source]:
    """Write a list of `count` rows, its web and `params.data.moving` moving scenes into `folder`.

    The same bytes for the same seed and `params.data`.
    """
    folder, data = Path(folder), params.data
    shutil.rmtree(folder / WEB, ignore_errors=True)
    for old in folder.glob(f"{MOVING}*"):
        old.unlink()
    web = Web(list(_rows(count, data.block, seed)), np.random.default_rng((seed, 1)))
    faults.spread(web, data.faults)
    _write(web, folder, seed)
    for block, first in enumerate(range(0, data.moving, data.block)):
        numbers = range(first, min(first + data.block, data.moving))
        members = (member for number in numbers for member in _members(number, seed))
        tars.write(folder / f"{MOVING}{block:05d}.tar", members)
    return [Source(str(folder), "captions", (LIST, *((f"{MOVING}*.tar",) if data.moving else ())))]


def places(count: int, block: int, rng: np.random.Generator) -> list[tuple[str, int] | None]:
    """What every row shows: (photograph, view), or None for a drawn scene; no photograph lies in two blocks."""
    names = [str(name) for name in rng.permutation(list(photographs.PHOTOGRAPHS))][: int(PHOTOS * count)]
    most = min(photographs.MOST_VIEWS, block, max(1, round(PHOTOS * count / len(photographs.PHOTOGRAPHS))))
    blocks = -(-count // block)
    found: list[tuple[str, int] | None] = []
    for number in range(blocks):
        room = min(block, count - number * block)
        views = []
        for name in names[number::blocks]:
            own = [(name, view) for view in range(min(most, len(photographs.PHOTOGRAPHS[name].views)))]
            views += own if len(views) + len(own) <= room else []
        found += [*views, *[None] * (room - len(views))]
    return found


def _rows(count: int, block: int, seed: int) -> Iterator[Row]:
    hosts = max(4, count // ROWS_A_HOST)
    for number, place in enumerate(places(count, block, np.random.default_rng((seed, 0)))):
        rng = np.random.default_rng((seed, 2, number))
        host = f"h{int(hosts * rng.random() ** 1.5):03d}.example"
        ending = FORMATS.get(number % 10, "jpg")
        path = f"/pictures/{rng.bytes(5).hex()}.{ending}"
        yield _drawn(rng, number, host, path) if place is None else _photo(rng, number, place, host, path)


def _drawn(rng: np.random.Generator, number: int, host: str, path: str) -> Row:
    from PIL import Image

    scene = scenes.scene(rng)
    image = Image.fromarray(drawing.draw(scene, int(rng.choice(drawing.SIDES))))
    text, questions = scenes.caption(rng, scene), scenes.questions(rng, scene)
    body = drawing.encoded(image, path)
    return Row(number, text, f"scene-{number:06d}", "drawn", questions, body, *image.size, host, path)


def _photo(rng: np.random.Generator, number: int, place: tuple[str, int], host: str, path: str) -> Row:
    image, captions = photographs.view(*place), photographs.chosen(*place).captions
    text, questions = captions[int(rng.integers(len(captions)))], photographs.questions(rng, *place)
    body, faces = drawing.encoded(image, path), photographs.faces(*place)
    return Row(number, text, place[0], "photos", questions, body, *image.size, host, path, faces)


def _write(web: Web, folder: Path, seed: int) -> None:
    """The list, its web and what goes wrong in it."""
    import pyarrow.parquet as pq

    served = {row.address: row.body for row in web.rows} | web.files
    for address, body in served.items():
        path = folder / WEB / address
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    with files.atomic(folder / LIST) as path:
        pq.write_table(_table(web, seed), path)
    said = {_url(web.rows[number]): {"fault": name, "outcomes": list(faults.KINDS[name].outcomes)}
            for number, name in sorted(web.faults.items())}  # fmt: skip
    files.write_json(folder / FAULTS, {"format": 1, "rows": said, "answers": web.answers})


def _table(web: Web, seed: int) -> "pa.Table":
    """DataComp's columns and types, and ours."""
    import pyarrow as pa

    score_2R = np.random.default_rng((seed, 3)).normal([[0.26], [0.21]], 0.04, (2, len(web.rows))).astype(np.float32)
    boxes = pa.list_(pa.list_(pa.float64()))
    columns: dict[str, Any] = {
        "uid": [hashlib.sha256(f"{seed} {row.number}".encode()).hexdigest()[:32] for row in web.rows],
        "url": [_url(row) for row in web.rows],
        "text": [row.text for row in web.rows],
        "original_width": pa.array([row.width for row in web.rows], pa.int64()),
        "original_height": pa.array([row.height for row in web.rows], pa.int64()),
        "clip_b32_similarity_score": score_2R[0],
        "clip_l14_similarity_score": score_2R[1],
        "face_bboxes": pa.array([row.faces for row in web.rows], boxes),
        "sha256": [_sha256(row) for row in web.rows],
        "family": [row.family for row in web.rows],
        "group": [row.group for row in web.rows],
        "questions": [json.dumps(row.questions) for row in web.rows],
    }
    return pa.table(columns)


def _sha256(row: Row) -> str:
    return hashlib.sha256(row.body).hexdigest() if row.sha256 is None else row.sha256


def _url(row: Row) -> str:
    return row.url or f"http://{row.address}"


def _members(number: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Of a moving scene: frames, caption and facts."""
    rng = np.random.default_rng((seed, 4, number))
    moved = moving.moving(rng)
    key, questions = f"{number:08d}", moving.questions(rng, moved)
    for frame in range(moving.FRAMES):
        ending = f"frame{frame:02d}.jpg" if frame else "jpg"
        yield f"{key}.{ending}", drawing.jpeg(drawing.draw(moved.frame(frame), MOVING_SIDE))
    yield f"{key}.txt", moving.caption(moved).encode()
    facts = {"family": f"moving-{number:06d}", "group": "moving", "width": MOVING_SIDE, "height": MOVING_SIDE}
    yield f"{key}.json", json.dumps({**facts, "questions": questions}, sort_keys=True).encode()
