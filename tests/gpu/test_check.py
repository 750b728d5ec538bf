"""The check of a card, without one: the same script on the CPU at its smallest, and its driver against bad parts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stepladder.core import study
from stepladder.dev import cards
from stepladder.training.setting import Setting
from tests.gpu import check
from tests.gpu.place import Place

ROOT = Path(__file__).parents[2]
KNOWN = {"card": "cpu", "torch": "2", "python": "3"}
WORD = '{"state": "measured", "figures": {"a": 1}, "checks": [{"name": "b", "ok": true, "reason": "it is"}]}'
# What a part does, as the text of a process that takes the place of `one.py`.
PARTS = {
    "well": f"json = {WORD!r}",
    "raises": "raise SystemExit('it broke')",
    "hangs": "import time; time.sleep(600)",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "orphans": "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(607.5)'], "
    "start_new_session=True); import time; time.sleep(600)",
}


@pytest.fixture
def checker(tmp_path, monkeypatch):
    """A check of parts that do as `PARTS` says, in processes of their own."""
    tree = tmp_path / "tree"
    home = tree / cards.HOME
    (home / "parts").mkdir(parents=True)
    one = "import sys, pathlib, json as j\nspec = j.loads(pathlib.Path(sys.argv[1]).read_text())\n"
    one += f"PARTS, KNOWN = {PARTS!r}, {KNOWN!r}\njson = None\n"
    one += "pathlib.Path(spec['folder'], 'calls').open('a').write('x')\n"
    one += "if spec['part'] == 'card': json = j.dumps(KNOWN)\nelse: exec(PARTS[spec['part']])\n"
    one += "pathlib.Path(sys.argv[2]).write_text(json)\n"
    (home / "one.py").write_text(one)
    for name in (*cards.SHARED, *(f"parts/{part}.py" for part in PARTS)):
        (home / name).write_text("")
    monkeypatch.setattr(check, "ROOT", tree)
    monkeypatch.setattr(check, "PARTS", dict.fromkeys(PARTS, 480))
    monkeypatch.setattr(check, "LEAST", 0.0)
    monkeypatch.setattr(check, "PATIENCE", 0.5)

    def made(*parts: str, minutes: float = 1.0, again: bool = False) -> check.Checker:
        arguments = ["--device", "cpu", "--parts", ",".join(parts), "--minutes", str(minutes)]
        return check.Checker(check.asked([*arguments, *(["--again"] if again else [])]), tmp_path / "work")

    return made


def _calls(checker, part):
    return len((checker.work / part / "calls").read_text())


def test_a_part_that_raises_is_killed_or_hangs_is_named_and_the_rest_goes_on(checker):
    run = checker("raises", "killed", "hangs", "well", minutes=0.05)
    assert run.run() == 1
    rows = json.loads((run.work / "record.json").read_text())["parts"]
    assert [rows[name]["state"] for name in rows] == ["failed", "killed", "timeout", "not run"]
    assert "it broke" in rows["raises"]["reason"] and "SIGKILL" in rows["killed"]["reason"]
    again = checker("raises", "well")
    assert again.run() == 1 and again.record["parts"]["well"]["state"] == "measured"
    assert {"killed", "hangs"} <= again.record["parts"].keys(), "what is known of other parts is kept"


def test_what_the_same_code_has_measured_is_kept_and_anything_else_is_measured(checker):
    assert checker("well").run() == 0
    second = checker("well")
    assert second.run() == 0 and _calls(second, "well") == 1
    assert checker("well", again=True).run() == 0 and _calls(second, "well") == 2
    (check.ROOT / cards.HOME / "parts" / "well.py").write_text("# another\n")
    assert checker("well").run() == 0 and _calls(second, "well") == 3
    record = second.work / "record.json"
    record.write_text(record.read_text().replace('"torch": "2"', '"torch": "1"'))
    assert checker("well").run() == 0 and _calls(second, "well") == 4, "another torch is another machine"


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at /proc")
def test_nothing_of_a_part_stays_not_even_what_left_its_session(checker):
    run = checker("orphans", minutes=0.05)
    assert run.run() == 1 and run.record["parts"]["orphans"]["state"] == "timeout"
    assert _alive("607.5") == []


def _alive(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path.parent.name] if word in path.read_text() else []
        except OSError:
            continue
    return found


def test_every_part_is_in_the_plan_and_its_key_follows_the_code_it_measures(tmp_path):
    assert sorted(check.PARTS) == cards.parts(ROOT)
    assert len({cards.key(ROOT, part) for part in check.PARTS}) == len(check.PARTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in study.names()])
def test_memory_of_every_study_can_be_forecast_by_fake_tensors(smoke, name, tmp_path):
    outputs, code = smoke(name)
    assert code == 0
    job = Place("cpu", 600.0, tmp_path, tmp_path, [name], {name: str(outputs)}).job(name)
    few, more = (job.fake_bytes(Setting(batch=batch)) for batch in (1, 4))
    assert few and more and few < more < 4 * few + 1


@pytest.mark.slow
@pytest.mark.xdist_group("pde")
def test_the_whole_check_runs_without_a_card(smoke, tmp_path):
    outputs, code = smoke("pde")
    assert code == 0
    parts = "studies,precision,memory_runs_out,memory_forecast,overlap,offload,ladder,resume,burgers"
    command = [sys.executable, str(ROOT / "tests" / "gpu" / "check.py"), "--device", "cpu", "--minutes", "30"]
    command += ["--studies", "pde", "--walked", f"pde={outputs}", "--work", str(tmp_path), "--parts", parts]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "record.json").read_text())["parts"]
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {name: "skipped" if name == "overlap" else "measured" for name in check.PARTS}
    assert rows["resume"]["figures"]["pde"]["apart"] == 0 and rows["burgers"]["figures"]["steps"] >= 1


def test_a_signal_ends_the_part_too_and_the_record_stays(checker, tmp_path):
    path = tmp_path / "run.py"
    tree, work = check.ROOT, tmp_path / "work"
    path.write_text(
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'lib')!r}]\n"
        f"from pathlib import Path\nfrom tests.gpu import check\n"
        f"check.ROOT, check.PARTS = Path({str(tree)!r}), {dict.fromkeys(PARTS, 480)!r}\n"
        f"sys.argv[1:] = ['--device', 'cpu', '--parts', 'well,orphans', '--work', {str(work)!r}]\ncheck.main()\n"
    )
    child = subprocess.Popen([sys.executable, str(path)], env={**os.environ}, stdout=subprocess.DEVNULL)
    record, deadline = work / "record.json", time.monotonic() + 60
    while not ((work / "orphans" / "calls").exists() and _alive("607.5")):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 128 + signal.SIGTERM
    assert json.loads(record.read_text())["parts"]["well"]["state"] == "measured" and _alive("607.5") == []
