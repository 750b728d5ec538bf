from pathlib import Path

from stepladder.dev import results

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
