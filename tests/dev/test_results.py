from pathlib import Path

from stepladder.core import files
from stepladder.dev import records, results

ROOT = Path(__file__).parents[2]


def test_rendered_pages_are_in_step_with_records_and_schemas():
    stale = [path.name for path, text in results.pages(ROOT).items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `make results`"


def test_a_benchmark_that_has_not_run_is_said_so(tmp_path):
    assert results.table(tmp_path).count("not run") == sum(len(rows) for rows in results.ROWS.values())


def test_links_in_the_readme_lead_somewhere():
    import re

    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / link).exists(), link


def test_no_tracked_page_names_a_machine_or_a_token():
    from stepladder.core.config import SECRET
    from stepladder.dev.golden import LOCAL_PATH

    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("params/**/*.yaml"),
        *ROOT.glob("notebooks/*.ipynb"),
    ]:
        text = path.read_text(encoding="utf-8")
        assert not LOCAL_PATH.search(text) and not SECRET.search(text), path.name


def test_a_row_is_marked_when_the_code_that_measured_it_has_changed(tmp_path, monkeypatch):
    script = tmp_path / records.FOLDER / "bench_loop.py"
    files.write_text(script, "from stepladder.core import files\n")
    records.write(str(script), {"overhead_us": 5.0, "bare_us": 7.0})
    row = "loop overhead per step over bare torch | ≤ 100 µs CPU | 5 µs (bare step 7 µs)"
    assert f"{row} |" in results.table(tmp_path) and results.OLDER not in results.table(tmp_path)
    files.write_text(script, "from stepladder.core import files\n\nMORE = 1\n")
    records._code.cache_clear()
    assert f"{row} {results.OLDER} |" in results.table(tmp_path)


def test_a_record_that_does_not_name_its_code_is_older_and_so_is_one_with_one_old_row(tmp_path):
    script = tmp_path / records.FOLDER / "bench_x.py"
    files.write_text(script, "import json\n")
    row = records.made_by(script)
    assert not records.is_current(tmp_path, {"overhead_us": 5.0})
    assert records.is_current(tmp_path, {"rows": [row, row]})
    assert not records.is_current(tmp_path, {"rows": [row, {"value": 3}]})


def test_a_run_s_record_is_older_when_its_evaluation_has_changed():
    assert records.is_current(ROOT, records.made_by_run(ROOT, "scroll"))
    assert not records.is_current(ROOT, {**records.made_by_run(ROOT, "scroll"), "code": "0"})
