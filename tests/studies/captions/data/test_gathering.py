"""A gathering from the offline web: every fault in its class, tars as promised, kills and repetitions harmless."""

import hashlib
import io
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stepladder.core.errors import ParameterError
from stepladder.core.types import Gathered, StudyError
from stepladder.data.images.tars import TarReader
from stepladder.studies.captions.data import gathering
from stepladder.studies.captions.data.synthesis import corpus, faults
from stepladder.studies.captions.params import CaptionsParams

ROWS, BLOCK = 150, 25


def parameters(**data) -> CaptionsParams:
    """Parameters of a hurried guest of the offline web."""
    known = {"synthetic": ROWS, "block": BLOCK, "per_second": 50.0, "faults": 0.3}
    return CaptionsParams.model_validate({"study": "captions", "profile": "quick", "run": "test", "data": known | data})


@dataclass(frozen=True)
class Walked:
    """A corpus, what was gathered of it, and what was told on the way."""

    raw: Path
    folder: Path
    found: Gathered
    told: Sequence[str]

    @property
    def root(self) -> Path:
        """Where the tars lie."""
        assert self.found.root
        return self.found.root


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    raw, folder, told = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("gathered"), []
    corpus.synthesize(raw, ROWS, 1, parameters())
    return Walked(raw, folder, gathering.gather([raw], parameters(), folder, told.append), told)


def ledger(root: Path) -> dict[str, str]:
    """Address -> class."""
    return dict(sqlite3.connect(root / "ledger.sqlite").execute("SELECT url, outcome FROM rows"))


def digests(root: Path) -> dict[str, str]:
    """Tar -> SHA-256."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(root.glob("*.tar"))}


def samples(root: Path) -> dict[str, tuple[str, dict, bytes, str]]:
    """Address -> tar, facts, picture and caption of what was kept."""
    found = {}
    for path in sorted(root.glob("*.tar")):
        reader = TarReader(path)
        for index in range(len(reader)):
            facts = reader.json(index)
            picture, text = reader.read(index, "jpg"), reader.read(index, "txt").decode()
            found[facts["url"]] = (path.name, facts, picture, text)
    return found


def test_every_fault_is_in_its_class(walked: Walked):
    bad = json.loads((walked.raw / "faults.json").read_text())["rows"]
    outcomes = ledger(walked.root)
    assert {row["fault"] for row in bad.values()} == set(faults.KINDS) and len(outcomes) == ROWS
    wrong = {url: (bad[url]["fault"], outcomes[url]) for url in bad if outcomes[url] not in bad[url]["outcomes"]}
    assert not wrong
    assert {outcomes[url] for url in outcomes if url not in bad} == {"ok"}


def test_tars_hold_the_pictures_their_captions_and_facts(walked: Walked):
    rows = {row["url"]: row for row in pq.read_table(walked.raw / "list.parquet").to_pylist()}
    outcomes, kept = ledger(walked.root), samples(walked.root)
    assert set(kept) == {url for url, outcome in outcomes.items() if outcome == "ok"}
    assert walked.found.paths == frozenset(walked.root.glob("*.tar"))
    for url, (_, facts, picture, text) in kept.items():
        row = rows[url]
        assert text == row["text"]
        assert (facts["family"], facts["group"]) == (row["family"], row["group"])
        assert facts["questions"] == json.loads(row["questions"])
        with Image.open(io.BytesIO(picture)) as image:
            assert image.size == (facts["width"], facts["height"]) == (row["original_width"], row["original_height"])
    assert {facts["group"] for _, facts, _, _ in kept.values()} == {"photos", "drawn"}


def test_no_family_lies_in_two_tars_and_no_picture_comes_twice(walked: Walked):
    tars, pictures = defaultdict(set), Counter()
    for tar, facts, picture, _ in samples(walked.root).values():
        tars[facts["family"]].add(tar)
        pictures[hashlib.sha256(picture).hexdigest()] += 1
    assert len(tars) > 50 and all(len(names) == 1 for names in tars.values())
    assert max(pictures.values()) == 1


def test_gates_pass_and_tables_tell_it(walked: Walked):
    assert [check.ok for check in walked.found.checks] == [True] * 3, walked.found.checks
    table = walked.found.shown["What became of it"].set_index("outcome")
    assert dict(table["rows"]) == Counter(ledger(walked.root).values())
    example, reason = table.loc["gone", ["example", "reason"]]
    assert ledger(walked.root)[example] == "gone" and reason in ("status 404", "status 410")
    assert walked.found.shown["Hosts with most errors"].iloc[0]["errors"] == faults.DEAD
    assert walked.told[-1].startswith(f"{table.loc['ok', 'rows']} of {ROWS} rows are pictures")


def test_a_second_time_moves_nothing(walked: Walked):
    def state() -> tuple:
        (asked,) = sqlite3.connect(walked.root / "ledger.sqlite").execute("SELECT count(*) FROM attempts").fetchone()
        return asked, {path: path.stat().st_mtime_ns for path in walked.root.glob("*.tar")}

    before = state()
    again = gathering.gather([walked.raw], parameters(connections=3), walked.folder, lambda _: None)
    assert state() == before
    assert (again.root, again.paths, again.checks) == (walked.root, walked.found.paths, walked.found.checks)


KILLED = """
import sys
from pathlib import Path
from stepladder.studies.captions.data import gathering
from stepladder.studies.captions.params import CaptionsParams
params = CaptionsParams.model_validate_json(Path(sys.argv[3]).read_text())
gathering.gather([Path(sys.argv[1])], params, Path(sys.argv[2]), print)
"""


@pytest.mark.slow
def test_killed_again_and_again_it_comes_to_the_same(walked: Walked, tmp_path: Path):
    """Killed after so many attempts, at last let through: classes and tars are those of a gathering left in peace."""
    (tmp_path / "params.json").write_text(parameters().model_dump_json())
    command = [sys.executable, "-c", KILLED, str(walked.raw), str(tmp_path / "g"), str(tmp_path / "params.json")]
    base = tmp_path / "g" / walked.root.name / "ledger.sqlite"
    killed = 0
    for limit in (1, 50, 100, 140, None):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while limit is not None and process.poll() is None and attempts(base) < limit:
            time.sleep(0.01)
        if limit is not None:
            process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 2 and process.returncode == 0
    assert ledger(base.parent) == ledger(walked.root)
    assert digests(base.parent) == digests(walked.root)


def attempts(base: Path) -> int:
    """So many were recorded until now."""
    try:
        return sqlite3.connect(f"file:{base}?mode=ro", uri=True).execute("SELECT count(*) FROM attempts").fetchone()[0]
    except sqlite3.Error:
        return 0


def test_without_a_list_there_is_nothing_to_bring(tmp_path: Path):
    (tmp_path / "raw").mkdir()
    assert gathering.gather([tmp_path / "raw"], parameters(), tmp_path / "g", print) == Gathered()
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize(("source", "served"), [("synthetic", True), ("mirror", False), ("remote", False)])
def test_only_a_synthetic_corpus_is_served_on_loopback(
    walked: Walked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, served: bool
):
    handed = []

    def asked(*_: object, loopback: object, **__: object) -> None:
        handed.append(loopback)
        raise InterruptedError

    monkeypatch.setattr(gathering, "download", asked)
    with pytest.raises(InterruptedError):
        gathering.gather([walked.raw], parameters(source=source, contact="me@here.example"), tmp_path, print)
    assert [loopback is not None for loopback in handed] == [served]


def test_hosts_must_be_able_to_reach_somebody(walked: Walked, tmp_path: Path):
    with pytest.raises(ParameterError, match=r"data\.contact is empty: name a mail address"):
        gathering.gather([walked.raw], parameters(source="remote"), tmp_path, print)


def test_the_key_is_of_what_decides_the_pictures(tmp_path: Path):
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"url": ["http://a.example/1.jpg"], "text": ["A cat."]}), path)
    key = gathering.key([path], parameters().data)
    assert (
        gathering.key([path], parameters(connections=2, per_second=1.0, passes=5, contact="me@x.example").data) == key
    )
    assert gathering.key([path], parameters(rows=5).data) != key
    pq.write_table(pa.table({"url": ["http://a.example/2.jpg"], "text": ["A cat."]}), path)
    assert gathering.key([path], parameters().data) != key


@pytest.mark.parametrize("told", ["What is this?", "{}", '[{"question": "Why?"}]', '[{"kind": "why"}]', "3"])
def test_questions_that_are_none_are_named_with_their_row(tmp_path: Path, told: str):
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"url": ["http://a.example/1.jpg"], "text": ["A cat."], "questions": [told]}), path)
    with pytest.raises(StudyError, match=r"questions of http://a\.example/1\.jpg"):
        list(gathering.wanted([path], parameters()))


def test_rows_become_wanted_with_all_they_say(tmp_path: Path):
    asked = [{"question": "Is it a cat?", "answer": "true", "kind": "true_false", "choices": ["true", "false"]}]
    row = {
        "url": "http://a.example/1.jpg",
        "text": "A cat.",
        "sha256": "ab" * 32,
        "original_width": 3,
        "licence": "CC0",
    }
    path = tmp_path / "list.jsonl"
    path.write_text(json.dumps({**row, "questions": json.dumps(asked)}) + "\n")
    (wanted,) = gathering.wanted([path], parameters())
    assert (wanted.number, wanted.url, wanted.sha256) == (0, row["url"], row["sha256"])
    assert wanted.facts == {"text": "A cat.", "licence": "CC0", "questions": asked}


def test_faces_are_blurred_where_asked():
    """Of a noise picture, the told box becomes smooth and the rest stays as it was."""
    noise_YXC = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise_YXC).save(out, "PNG")
    row = gathering.Wanted(0, "http://a.example/1.png", "", {"face_bboxes": [[0.25, 0.25, 0.75, 0.75]]})
    rough = []
    with gathering.Decoder(1) as decoder:
        for blur in (False, True):
            (settled,) = gathering.settled(decoder, gathering.Options(512), blur, [(row, out.getvalue())])
            image_YXC = np.asarray(Image.open(io.BytesIO(settled.member)).convert("RGB"), float)
            rough.append((image_YXC[32:64, 32:64].std(), image_YXC[:8].std()))
    assert rough[1][0] < 0.3 * rough[0][0] and rough[1][1] > 0.9 * rough[0][1]
