"""From lists among the raw files to tars of pictures: rows chosen, downloaded, decoded, almost twins left out.

Decisions:
- All lists of a run are one plan: filters, cap and twins hold over all of them, and its numbers make the blocks. What
  is brought lies under a key of the lists' bytes and of the parameters that decide it (`DECIDE`), so another choice
  touches nothing, and the same choice goes on where it stood or moves nothing.
- How often and how fast hosts are asked (`connections`, `passes`, ...) is not part of the key: it changes no picture.
- Almost the same picture of two families, such as one compressed anew, is left out but for its first row, over all
  blocks: else one split could hold what another is scored on. Views of one photograph are one family and stay.
- A synthetic corpus lies beside its web; only that, and only where the run says `synthetic`, is served on loopback.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepladder.core import files
from stepladder.core.errors import ParameterError
from stepladder.core.types import Gathered, StudyError
from stepladder.data.download.connecting import Loopback
from stepladder.data.download.downloading import Report, Settled, Wanted, download, leave_out
from stepladder.data.download.policy import Policy
from stepladder.data.images.bounded import Decoder, Kept, Options
from stepladder.studies.captions.data import gathered, offline
from stepladder.studies.captions.data.layout import ITEMS
from stepladder.studies.captions.data.synthesis.corpus import FAULTS
from stepladder.studies.captions.params import CaptionsData, CaptionsParams

if TYPE_CHECKING:
    from stepladder.data.images.tars import TarReader

DECIDE = (
    "rows", "least_clip", "least_side", "most_aspect", "basic", "english", "robots", "block", "side", "resize", "blur"
)  # fmt: skip
TOLD_ELSEWHERE = ("url", "sha256", "original_width", "original_height")  # by the ledger and by what is decoded
LEAST_SIDE = 16  # pixels: what is smaller counts readers and shows nothing
NEAR = 6  # bits of 64 in which almost equal pictures differ at most: compressed anew 0 to 4, others 10 and more
NOBODY = "offline.example"  # who asks the offline web


def gather(raw: Sequence[Path], params: CaptionsParams, folder: Path, tell: Callable[[str], None]) -> Gathered:
    """Bring the pictures that the lists at or below `raw` name; without a list there is nothing to bring.

    Args:
        raw: files and folders.
        params: of which `data` decides what is brought, and how hosts are asked.
        folder: where what is brought lies, below a key of its own.
        tell: told in sentences how far it is.

    Raises:
        StudyError: a list cannot be read, or lacks a column that a filter needs.
        ParameterError: nobody is named whom hosts may reach.
        DownloadError: the disk is full.
    """
    from stepladder.studies.captions.data import lists

    found = lists.find(raw)
    if not found:
        return Gathered()
    place = Path(folder) / key(found, params.data)
    place.mkdir(parents=True, exist_ok=True)
    report = _downloaded(found, params, place, tell)
    tell(str(report))
    checks = gathered.checks(report, params.data)
    return Gathered(place, frozenset(report.tars), gathered.shown(found, report), checks)


def key(lists: Sequence[Path], data: CaptionsData) -> str:
    """Of the bytes of lists and of what decides which of their pictures are brought, and how they are kept."""
    decide = {name: getattr(data, name) for name in DECIDE}
    return files.fingerprint([[files.file_sha256(path) for path in lists], decide])


def policy(data: CaptionsData) -> Policy:
    """What is kept to towards hosts.

    Raises:
        ParameterError: nobody is named whom they may reach.
    """
    if not data.contact and data.source != "synthetic":
        raise ParameterError("data.contact is empty: name a mail address or page where the asked hosts reach you")
    names = ("connections", "per_host", "per_second", "passes", "block", "robots")
    return Policy(contact=data.contact or NOBODY, **{name: getattr(data, name) for name in names})


def wanted(lists: Sequence[Path], params: CaptionsParams) -> Iterator[Wanted]:
    """The chosen rows, numbered; questions are read from their JSON."""
    from stepladder.studies.captions.data import filters

    for number, row in enumerate(filters.chosen(lists, params)):
        facts = {name: value for name, value in row.items() if name not in TOLD_ELSEWHERE and value is not None}
        if facts.get("questions"):
            facts["questions"] = _questions(facts["questions"], row["url"])
        yield Wanted(number, row["url"], row.get("sha256") or "", facts)


def _questions(told: Any, url: str) -> list[dict[str, Any]]:
    """The questions of a row: JSON in a text, or as a jsonl file has it already."""
    try:
        found = json.loads(told) if isinstance(told, str) else told
        known = isinstance(found, list) and all(q["kind"] in ITEMS and q["question"] and q["answer"] for q in found)
    except (TypeError, KeyError, ValueError):
        found, known = [], False
    if not known:
        raise StudyError(
            f"questions of {url}: {str(told)[:80]!r} is no JSON list of question, answer and kind, which is "
            f"one of {', '.join(ITEMS)}; give that column another name if it means something else"
        )
    return found


def _downloaded(lists: Sequence[Path], params: CaptionsParams, place: Path, tell: Callable[[str], None]) -> Report:
    """The download to its end, then once more without what turned out to be almost twins."""
    asking = policy(params.data)
    options = Options(params.data.side, params.data.resize, least_side=max(LEAST_SIDE, params.data.least_side))
    with _web(lists, params.data, place) as loopback, Decoder() as decoder:

        def settle(rows: Sequence[tuple[Wanted, bytes]]) -> list[Settled]:
            return settled(decoder, options, params.data.blur, rows)

        def bring() -> Report:
            return download(wanted(lists, params), place, asking, settle, loopback=loopback, tell=tell)

        report = bring()
        if report.complete and (near := near_twins(report.tars)):
            tell(f"{len(near)} pictures are almost the same as earlier ones and are left out")
            leave_out(place, dict.fromkeys(near, "near_duplicate"))
            report = bring()
    return report


def _web(lists: Sequence[Path], data: CaptionsData, place: Path) -> AbstractContextManager[Loopback | None]:
    """The offline web beside a synthetic list, served; nothing for any other."""
    corpora = [path.parent for path in lists if (path.parent / FAULTS).is_file()]
    if data.source != "synthetic" or not corpora:
        return nullcontext()
    return offline.serving(corpora[0], place / "asked.txt")


def settled(decoder: Decoder, options: Options, blur: bool, rows: Sequence[tuple[Wanted, bytes]]) -> list[Settled]:
    """What becomes of bodies: pictures of the wanted size with their facts, or why they are none."""
    boxes = [row.facts.get("face_bboxes") or () if blur else () for row, _ in rows]
    found = decoder.run([body for _, body in rows], options, boxes)
    return [_settled(row, picture) for (row, _), picture in zip(rows, found, strict=True)]


def _settled(row: Wanted, picture: Any) -> Settled:
    if not isinstance(picture, Kept):
        return Settled(row.number, picture.outcome, picture.reason)
    return Settled(row.number, "ok", "", picture.body, picture.ending, picture.as_json())


# Almost the same ----------------------------------------------------------------------------------------------------


def near_twins(tars: Sequence[Path]) -> list[int]:
    """Numbers of pictures that differ in at most `NEAR` bits of their hash from an earlier one of another family."""
    from stepladder.data.images import hashes
    from stepladder.data.images.tars import TarReader

    rows = [row for tar in tars for row in _hashed(TarReader(tar))]
    firsts = hashes.groups([dhash for _, _, dhash in rows], NEAR)
    return [number for (number, family, _), first in zip(rows, firsts, strict=True) if family != rows[first][1]]


def _hashed(reader: "TarReader") -> Iterable[tuple[int, str, int]]:
    """Number, family (the address where none is told) and hash of every picture of a tar."""
    for index, name in enumerate(reader.keys):
        facts = reader.json(index)
        yield int(name), facts.get("family") or facts["url"], int(facts["dhash"], 16)
