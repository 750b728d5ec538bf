from pathlib import Path

from stepladder.core import files
from stepladder.dev import records, results
from stepladder.dev.target_rows import row

ROOT = Path(__file__).parents[2]


def test_rendered_pages_are_in_step_with_records_and_schemas():
    stale = [path.name for path, text in results.pages(ROOT).items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `make results`"


def test_a_benchmark_that_has_not_run_is_said_so(tmp_path):
    assert results.table(tmp_path).count("not run") == sum(len(rows) for rows in results.ROWS.values())


def test_a_dozen_rows_stand_in_the_readme_before_the_map_of_files_and_all_on_their_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    begin, end = (text.index(mark) for mark in results.MARKERS)
    assert end < text.index("## Where to look")
    shown = [line for line in text[begin:end].splitlines() if line.startswith("| ")][2:]
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert len(shown) == 12 and all(line in page for line in shown)


def test_a_missed_target_is_marked_and_seconds_name_their_machine(tmp_path):
    script = tmp_path / records.FOLDER / "bench_loop.py"
    files.write_text(script, "from stepladder.core import files\n")
    for overhead, said in (
        (99.0, "| 99 µs (bare step 7 µs), on"),
        (101.0, "| **missed:** 101 µs (bare step 7 µs), on"),
    ):
        records.write(str(script), {"overhead_us": overhead, "bare_us": 7.0})
        assert f"{said} {records.machine()} |" in results.table(tmp_path)


def _summary(**values):
    rows = [{"method": name, "value": v, "low": v - 0.02, "high": v + 0.02} for name, v in values.items()]
    return {"summary": [{**row, "metric": "Dice", "group": "all"} for row in rows]}


def test_a_lead_counts_over_the_strongest_rival_that_answers_and_when_it_is_clear():
    above = row.above("Dice")
    assert above(_summary(model=0.8, filter=0.6, weak=0.1, all_empty=0.99))  # an empty answer is none
    assert not above(_summary(model=0.8, filter=0.78, weak=0.1))  # intervals overlap
    assert not above(_summary(model=0.8, weak=0.1, filter=0.9))


def test_a_peer_that_is_not_installed_keeps_its_last_figures(tmp_path):
    script = tmp_path / records.FOLDER / "bench_x.py"
    files.write_text(script, "import json\n")
    assert records.last(str(script)) == {}
    records.write(str(script), {"rows": [{"peer": 5}]})
    assert records.last(str(script))["rows"] == [{"peer": 5}]


def test_links_in_the_readme_lead_somewhere():
    import re

    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / link).exists(), link


def test_no_tracked_page_names_a_machine_or_a_token():
    from stepladder.core.secrets import find
    from stepladder.dev.golden import LOCAL_PATH

    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("params/**/*.yaml"),
        *ROOT.glob("notebooks/*.ipynb"),
    ]:
        text = path.read_text(encoding="utf-8")
        assert not LOCAL_PATH.search(text) and not find(text, {}), path.name


def test_a_row_is_marked_when_the_code_that_measured_it_has_changed(tmp_path, monkeypatch):
    script = tmp_path / records.FOLDER / "bench_loop.py"
    files.write_text(script, "from stepladder.core import files\n")
    records.write(str(script), {"overhead_us": 5.0, "bare_us": 7.0})
    row = f"loop overhead per step over bare torch | ≤ 100 µs CPU | 5 µs (bare step 7 µs), on {records.machine()}"
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
