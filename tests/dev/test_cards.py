"""Which cards have been seen, as the docs say it."""

import json

from stepladder.dev import cards

HERE = {"card": "NVIDIA H100", "torch": "2", "python": "3", "machine": "9 cores"}
ROW = {"state": "measured", "seconds": 3.0, "code": "0", "checks": [{"name": "b", "ok": True, "reason": "it is"}]}


def test_a_record_of_a_card_is_told_in_the_docs_and_none_is_told_plainly(tmp_path):
    (tmp_path / cards.HOME / "parts").mkdir(parents=True)
    assert "No card has been seen" in cards.page(tmp_path) and "fake tensors only" in cards.sentence(tmp_path)
    path = cards.path_of(tmp_path, "NVIDIA H100 80GB HBM3")
    assert path.name == "gpu-nvidia-h100-80gb-hbm3.json"
    path.parent.mkdir(parents=True)
    bad = {**ROW, "checks": [{"name": "b", "ok": False, "reason": "it is not"}]}
    skipped = {"state": "skipped", "reason": "needs CUDA", "seconds": 0.1, "code": "0"}
    parts = {"overlap": ROW, "resume": bad, "ladder": skipped}
    path.write_text(json.dumps({**HERE, "parts": parts}))
    page = cards.page(tmp_path)
    assert (
        "NVIDIA H100 (1 of 3 parts as they should be" in page
        and "| overlap | as it should be † | 3 | b: it is |" in page
    )
    assert "**not as it should be:** b" in page and "needs CUDA" in page


def test_a_part_of_the_code_of_today_is_not_marked(tmp_path):
    home = tmp_path / cards.HOME
    (home / "parts").mkdir(parents=True)
    for name in (*cards.SHARED, "parts/overlap.py"):
        (home / name).write_text("")
    path = cards.path_of(tmp_path, HERE["card"])
    path.parent.mkdir(parents=True)
    row = {**ROW, "code": cards.key(tmp_path, "overlap")}
    path.write_text(json.dumps({**HERE, "parts": {"overlap": row}}))
    assert "| overlap | as it should be | 3 |" in cards.page(tmp_path)
    (home / "place.py").write_text("SHARED = 1\n")
    assert "| overlap | as it should be † | 3 |" in cards.page(tmp_path)
