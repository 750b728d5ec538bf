import ctypes
import errno
import itertools
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from stepladder import studies
from stepladder.core import config, files, identity
from stepladder.core.run import Run
from stepladder.core.types import Asset
from stepladder.data import convert, shards
from stepladder.testing.template.study import DiscParams
from tests.machine import drills

PARAMS = DiscParams(study="letters")
STUDY = """
import os
import signal
import time

import numpy as np

from stepladder.core.types import Issue, ShardContent, StudyError
from stepladder.testing.template.study import Template

SCALE = 1


class Letters(Template):
    def convert(self, asset, params, cache):
        text = asset.files[0].read_text()
        with open(asset.files[0].with_name("log"), "a") as log:
            log.write(asset.id + "\\n")
        if "deadly" in text:
            flag = asset.files[0].with_name("died " + asset.id)
            if "always" in text or not flag.exists():
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if "slow" in text:
            slow(float(text.split()[-1]))
        if "broken" in text:
            raise StudyError(f"{asset.files[0].name}: broken at line 1")
        if "seed" in text:
            return params.seed
        if "tolerance" in text:
            return params.conversion.failed_share
        return ShardContent({"x": SCALE * np.frombuffer(text.encode(), np.uint8)}, issues=[Issue("short", len(text))])


def slow(seconds):
    try:
        for _ in range(int(seconds * 100)):
            time.sleep(0.01)
    except Exception as error:
        raise StudyError("whatever a library raises is said to be the file's fault") from error


study = Letters()
"""
PLACE = """
import os
from stepladder import studies
studies.__path__.append(os.environ["DRILL_STUDIES"])
"""
CONVERT = """
import sys
import signal
from pathlib import Path
from stepladder.core import config
from stepladder.core.run import Run
from stepladder.core.types import Asset
from stepladder.data import convert
from stepladder.machine.signals import Preempted
from stepladder.testing.template.study import DiscParams


def stop(signum, frame):
    raise Preempted("told to stop")


signal.signal(signal.SIGTERM, stop)
home, name, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
params = config.check(DiscParams, {"study": "letters", "run": name, "conversion": {"workers": workers}})
run = Run(home / "outputs" / "letters" / name)
run.folder.mkdir(parents=True, exist_ok=True)
assets = [Asset(path.stem, "g", (path,)) for path in sorted(home.glob("*.txt"))]
print(flush=True)
try:
    report = convert.convert_all(assets, params, run.data / "shards", run)
except Preempted:
    sys.exit(75)
sys.exit(int((report["state"] == "failed").any()))
"""


@pytest.fixture
def letters(tmp_path, monkeypatch):
    """A study that converts text files; `broken` in a file is a named error."""
    path = tmp_path / "studies" / "letters" / "study.py"
    files.write_text(path, STUDY)
    files.write_text(tmp_path / "place" / "sitecustomize.py", PLACE)  # children find it too
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "place"), *sys.path]))
    monkeypatch.setenv("DRILL_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(tmp_path / "studies")])
    sys.modules.pop("stepladder.studies.letters.study", None)
    return path


@pytest.fixture
def assets(letters, tmp_path):
    found = []
    for name, text in (("a", "hello"), ("b", "broken"), ("c", "world!")):
        path = tmp_path / f"{name}.txt"
        path.write_text(text)
        found.append(Asset(name, "g", (path,)))
    return found


def run(assets, folder, params=PARAMS):
    return convert.convert(assets, params, folder, convert.Inline()).set_index("asset")


def test_a_broken_file_is_a_named_row_and_the_others_are_converted(assets, tmp_path):
    report = run(assets, tmp_path / "out")
    assert dict(report["state"]) == {"a": "converted", "b": "failed", "c": "converted"}
    assert report.loc["b", "reason"] == "b.txt: broken at line 1" and report.loc["b", "shard"] == ""
    assert (tmp_path / "out" / report.loc["a", "shard"]).is_file()


def test_any_executor_of_the_standard_library_will_do(assets, tmp_path):
    with ThreadPoolExecutor(2) as executor:
        report = convert.convert(assets, PARAMS, tmp_path / "out", executor)
    assert report["state"].tolist() == ["converted", "failed", "converted"]


def test_only_what_changed_is_converted_again_and_nothing_is_replaced(assets, tmp_path):
    first = run(assets, tmp_path / "out")
    assets[0].files[0].write_text("other")
    second = run(assets, tmp_path / "out")
    assert dict(second["state"]) == {"a": "converted", "b": "failed", "c": "kept"}
    assert shards.Shard(tmp_path / "out" / first.loc["a", "shard"]).array("x").tobytes() == b"hello"
    assert shards.Shard(tmp_path / "out" / second.loc["a", "shard"]).array("x").tobytes() == b"other"


def test_the_same_bytes_fetched_again_are_converted_already(assets, tmp_path):
    first = run(assets, tmp_path / "out")
    path = assets[0].files[0]
    path.unlink()
    path.write_text("hello")
    os.utime(path, (1, 1))
    again = run(assets, tmp_path / "out")
    assert again.loc["a", "state"] == "kept" and again.loc["a", "shard"] == first.loc["a", "shard"]


@pytest.mark.parametrize("settled", [2.0, -1.0])
def test_a_file_changed_in_place_with_its_old_size_and_time_is_noticed(assets, tmp_path, monkeypatch, settled):
    monkeypatch.setattr(identity, "SETTLED", settled)  # -1: what was hashed is remembered at once
    path = assets[0].files[0]
    run(assets, tmp_path / "out")
    time_ns = path.stat().st_mtime_ns
    path.write_text("jello")
    os.utime(path, ns=(time_ns, time_ns))
    assert run(assets, tmp_path / "out").loc["a", "state"] == "converted"


@pytest.mark.parametrize(
    ("changed", "states"),
    [
        ({"seed": 5}, "kept"),  # no conversion may read it
        ({"model": {"width": 3}}, "kept"),
        ({"conversion": {"workers": 2}}, "kept"),
        ({"conversion": {"failed_share": 0.5}}, "kept"),
    ],
)
def test_what_conversion_cannot_read_converts_nothing_again(assets, tmp_path, changed, states):
    run(assets, tmp_path / "out")
    other = config.check(DiscParams, config.merge(PARAMS.model_dump(), changed))
    assert run(assets, tmp_path / "out", other).loc["a", "state"] == states


def test_conversion_is_handed_nothing_that_its_recipe_does_not_hold(assets, tmp_path):
    for text, name in (("seed", r"DiscParams\.seed"), ("tolerance", r"ConversionParams\.failed_share")):
        assets[0].files[0].write_text(text)
        with pytest.raises(config.ParameterError, match=f"{name} is read where it does not count"):
            run(assets, tmp_path / "out")


def test_code_that_converts_counts(assets, letters, tmp_path):
    run(assets, tmp_path / "out")
    letters.write_text(STUDY.replace("SCALE = 1", "SCALE = 2"))
    assert run(assets, tmp_path / "out").loc["a", "state"] == "converted"


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_a_half_written_or_damaged_shard_is_written_again(assets, tmp_path, damage):
    path = tmp_path / "out" / run(assets, tmp_path / "out").loc["a", "shard"]
    path.write_bytes(damage(path.read_bytes()))
    assert run(assets, tmp_path / "out").loc["a", "state"] == "converted"


def test_a_full_disk_stops_everything_clearly_and_leaves_no_litter(assets, tmp_path, monkeypatch):
    def full(path, content, recipe):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards, "write", full)
    with pytest.raises(OSError, match=r"cannot write [abc]\.h5: No space left on device; free some space"):
        run(assets, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.h5*"))


def make(home, **texts):
    """Assets of text files."""
    for name, text in texts.items():
        (home / f"{name}.txt").write_text(text)
    return [Asset(name, "g", (home / f"{name}.txt",)) for name in texts]


def convert_all(assets, home, workers):
    """`convert.convert_all` in a run of its own."""
    params = config.check(DiscParams, {"study": "letters", "conversion": {"workers": workers}})
    made = Run(home / "outputs" / "letters" / "quick")
    made.folder.mkdir(parents=True, exist_ok=True)
    return convert.convert_all(assets, params, made.data / "shards", made).set_index("asset"), made


def begin(home, name="quick", workers=1):
    """`convert_all` of all text files in a process of its own, which SIGTERM stops as it stops a kernel."""
    mark, environment = drills.marked()
    child = subprocess.Popen(
        [sys.executable, "-c", CONVERT, str(home), name, str(workers)],
        env=environment,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    child.stdout.readline()
    return child, mark


def tried(home):
    """Ids of assets in the order in which their conversion began."""
    return (home / "log").read_text().split() if (home / "log").exists() else []


def made_by(home, name="quick"):
    """Shards that a run told of, in order."""
    told = Run(home / "outputs" / "letters" / name).events("converted")
    return [event["asset"] for event in told if event["state"] == "converted"]


@pytest.mark.slow
@pytest.mark.drill
def test_one_killed_process_costs_no_asset_and_the_guilty_one_is_named_and_tried_again(letters, tmp_path):
    deadly = {"once": "deadly", "twice": "deadly always"}
    assets = make(tmp_path, **deadly, **dict.fromkeys("abcdef", "hello"))
    report, _ = convert_all(assets, tmp_path, workers=2)
    assert report.loc[report["state"] == "failed", "reason"].to_dict() == {
        "twice": "twice its process was killed (SIGKILL)"
    }
    assert set(report["state"]) == {"converted", "failed"}
    assert sorted(tried(tmp_path)) == [*"abcdef", "once", "once", "twice", "twice"]
    (tmp_path / "log").unlink()
    make(tmp_path, twice="mended")
    report, _ = convert_all(assets, tmp_path, workers=2)
    assert set(report["state"].drop("twice")) == {"kept"} and report.loc["twice", "state"] == "converted"
    assert tried(tmp_path) == ["twice"]


class Refusing:
    """An executor that is not to be given work."""

    def map(self, task, assets, /):
        assert not assets
        return []


class Opens:
    """How often files are opened, by any process: Linux counts (inotify)."""

    OPEN = 0x20

    def __init__(self, paths):
        self.libc = ctypes.CDLL(None)
        self.descriptor = self.libc.inotify_init1(os.O_NONBLOCK)
        self.names = {self.libc.inotify_add_watch(self.descriptor, bytes(path), self.OPEN): path for path in paths}

    def count(self):
        """Opens since the last call, by path."""
        counts = dict.fromkeys(self.names.values(), 0)
        try:
            data = os.read(self.descriptor, 1 << 20)
        except BlockingIOError:
            data = b""
        for watch in itertools.islice(memoryview(data).cast("i"), 0, None, 4):
            counts[self.names[watch]] += 1
        return counts


@pytest.mark.parametrize("settled", [2.0, -1.0])
def test_where_nothing_has_changed_no_process_gets_work_and_no_shard_is_opened_twice(
    letters, tmp_path, monkeypatch, settled
):
    monkeypatch.setattr(identity, "SETTLED", settled)  # -1: what was hashed is remembered at once
    assets = make(tmp_path, a="hello", b="world")
    first = run(assets, tmp_path / "out")
    opens = Opens([tmp_path / "out" / shard for shard in first["shard"]])
    again = convert.convert(assets, PARAMS, tmp_path / "out", Refusing()).set_index("asset")
    assert set(opens.count().values()) == ({1} if settled > 0 else {0})
    assert set(again["state"]) == {"kept"}
    columns = ["group", "bytes", "shard", "issues", "reason"]
    assert again[columns].to_dict() == first[columns].to_dict()
    assert (again.loc["a", "issues"][0]["kind"], again.loc["a", "issues"][0]["count"]) == ("short", 5)


def test_a_seal_of_old_without_issues_is_believed(letters, tmp_path):
    assets = make(tmp_path, a="hello")
    path = tmp_path / "out" / run(assets, tmp_path / "out").loc["a", "shard"]
    seal = path.with_suffix(convert.SEAL)
    seal.write_text(seal.read_text().splitlines()[0])
    again = run(assets, tmp_path / "out")
    assert again.loc["a", "state"] == "kept" and again.loc["a", "issues"][0]["count"] == 5


@pytest.mark.parametrize("damage", ["", "\0" * 80, "{", "0" * 64 + "\n{"])
def test_a_damaged_seal_means_converting_again(letters, tmp_path, damage):
    assets = make(tmp_path, a="hello")
    path = tmp_path / "out" / run(assets, tmp_path / "out").loc["a", "shard"]
    path.with_suffix(convert.SEAL).write_text(damage)
    assert run(assets, tmp_path / "out").loc["a", "state"] == "converted"
    assert run(assets, tmp_path / "out").loc["a", "state"] == "kept"


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_stops_a_conversion_within_the_asset_in_hand(letters, tmp_path, workers):
    make(tmp_path, **{f"a{number}": "slow 0.5" for number in range(6)}, z="slow 600")
    child, mark = begin(tmp_path, workers=workers)
    drills.wait_for(lambda: made_by(tmp_path))
    child.terminate()
    begun = tried(tmp_path)
    assert child.wait(timeout=300) == 75
    drills.wait_for(lambda: not drills.alive(mark))
    assert len(tried(tmp_path)) <= len(begun) + 1, "it went on with more"  # one may have begun beside the signal
    assert not list((tmp_path / "outputs").rglob("*.part"))
    done = {path.stem for path in (tmp_path / "outputs").rglob("*.h5") if path.with_suffix(convert.SEAL).exists()}
    (tmp_path / "log").unlink()
    make(tmp_path, z="slow 0")
    child, _ = begin(tmp_path, workers=workers)
    assert child.wait(timeout=300) == 0
    assert set(tried(tmp_path)) == {f"a{number}" for number in range(6)} - done | {"z"}


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.parametrize("after", [0.3, None])  # more of them with light processes: see test_workers
def test_no_process_outlives_a_killed_kernel(letters, tmp_path, after):
    make(tmp_path, a="slow 600", b="slow 600", c="slow 600")
    child, mark = begin(tmp_path, workers=2)
    if after is None:
        drills.wait_for(lambda: len(tried(tmp_path)) == 2)  # both are at work
    else:
        time.sleep(after)
    child.kill()
    child.wait()
    drills.wait_for(lambda: not drills.alive(mark))


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.parametrize("workers", [1, 2])
def test_two_conversions_at_once_make_every_shard_once(letters, tmp_path, workers):
    names = [f"a{number}" for number in range(6)]
    make(tmp_path, **dict.fromkeys(names, "slow 0.2"))
    both = [begin(tmp_path, name, workers)[0] for name in ("one", "two")]
    assert [child.wait(timeout=300) for child in both] == [0, 0]
    assert sorted(tried(tmp_path)) == names
    assert sorted(made_by(tmp_path, "one") + made_by(tmp_path, "two")) == names


@pytest.mark.slow
@pytest.mark.drill
def test_a_killed_conversion_holds_nobody_up_and_its_litter_is_cleared_away(letters, tmp_path):
    make(tmp_path, a="slow 600", b="hello")
    first, _ = begin(tmp_path, "one")
    drills.wait_for(lambda: tried(tmp_path))
    (place,) = {path.parent for path in (tmp_path / "outputs").rglob("lock")}
    (place / ".a.h5.x1y2.part").write_bytes(b"half a shard")
    second, _ = begin(tmp_path, "two")
    first.kill()
    first.wait()
    time.sleep(0.1)
    make(tmp_path, a="hello")
    drills.wait_for(lambda: len(tried(tmp_path)) > 1)
    second.kill()  # what it reads is the slow text it found
    second.wait()
    assert not list(place.glob("*.part"))
    third, _ = begin(tmp_path, "three")
    assert third.wait(timeout=300) == 0


def test_a_file_system_without_locks_is_no_hindrance(assets, tmp_path, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    assert run(assets, tmp_path / "out").loc["a", "state"] == "converted"


def test_issues_are_summed_with_an_example(assets, tmp_path):
    table = convert.issue_table(run(assets, tmp_path / "out").reset_index())
    assert table.iloc[0].to_dict() == {"kind": "short", "count": 11, "assets": 2, "example": ""}


def gate(report, tolerated):
    checks = convert.checks(report, {"train": ["c"], "validation": [], "test": []}, [1], tolerated)
    return {check.name: check for check in checks}["assets were converted"]


def failing(count, of):
    """A report with so many failed assets."""
    state = ["failed"] * count + ["kept"] * (of - count)
    reasons = [f"{number} is broken" if number < count else "" for number in range(of)]
    return pd.DataFrame({"asset": [f"a{number}" for number in range(of)], "state": state, "reason": reasons})


def test_the_gate_tells_how_many_failed_how_many_may_which_and_the_way_out():
    check = gate(failing(3, 100), 0.02)
    assert not check.ok
    assert check.reason == (
        "3 of 100 assets failed (3 %), tolerated 2 %; a0: 0 is broken; a1: 1 is broken; a2: 2 is broken; "
        "mend them, or set conversion.failed_share; they are tried again next time"
    )
    assert "; and 7 more in the table of the conversion; " in gate(failing(12, 100), 0.02).reason


@pytest.mark.parametrize(
    ("count", "of", "tolerated", "ok"),
    [(0, 4, 0.0, True), (1, 4, 0.02, False), (2, 100, 0.02, True), (1, 4, 0.25, True), (1, 1000, 0.0, False)],
)
def test_the_gate_tolerates_no_more_than_its_share_and_shows_what_it_tolerates(count, of, tolerated, ok):
    check = gate(failing(count, of), tolerated)
    assert check.ok == ok
    assert check.reason == "all assets have a shard" if not count else f"{count} of {of} assets failed" in check.reason


def test_the_notebook_judges_by_the_runs_own_share():
    cells = json.loads((Path(__file__).parents[2] / "notebooks/02_conversion.ipynb").read_text())["cells"]
    (judge,) = [text for cell in cells if "convert.checks" in (text := "".join(cell["source"]))]
    assert "stage.params.conversion.failed_share" in judge
