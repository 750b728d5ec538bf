"""Which GPUs this code has run on: the records of `make gpu`, their keys, and what the docs say of them.

Decisions:
- `tests/benchmarks/records/gpu-<card>.json` holds a row for each part of the check. A row carries the key of the code
  that it measured: the part's own file, what that imports, the check's shared files, and the stages that it walks.
- Whether CUDA has been seen is rendered from the records and never typed: while there is none, the docs say so.
"""

import ast
import re
from pathlib import Path
from typing import Any

from stepladder.core import closure, files
from stepladder.core.stages import STAGES
from stepladder.core.study import names
from stepladder.dev import records

HOME = "tests/gpu"
SHARED = ("place.py", "jobs.py")
UNSEEN = (
    "No card has been seen yet: every line that runs on CUDA has been checked by review and by fake tensors only. "
    "`make gpu` checks it on a card in eight minutes."
)


def path_of(root: Path, card: str) -> Path:
    """Where the record of a card lies, as `gpu-nvidia-h100.json`."""
    word = re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")
    return root / records.FOLDER / "records" / f"gpu-{word}.json"


def parts(root: Path) -> list[str]:
    """Names of all parts of the check."""
    return sorted(path.stem for path in (root / HOME / "parts").glob("*.py"))


def key(root: Path, part: str) -> str:
    """The key of the code that a part measures."""
    home = root / HOME
    script = home / "parts" / f"{part}.py"
    digests = [closure.of_script(path) for path in (script, *(home / name for name in SHARED))]
    walked = [closure.of_stage(root, stage.name, study) for stage in STAGES[: _walks(script)] for study in names()]
    return files.fingerprint([digests, walked])


def _walks(script: Path) -> int:
    """How many stages of the road a part walks: its constant `WALKS`."""
    for node in ast.parse(script.read_bytes()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "WALKS":
            return int(ast.literal_eval(node.value))
    return 0


def seen(root: Path) -> list[dict[str, Any]]:
    """The records of all cards, by name."""
    found = sorted((root / records.FOLDER / "records").glob("gpu-*.json"))
    return [record for path in found if (record := files.read_json(path))]


def sentence(root: Path) -> str:
    """What README says: the cards seen, or that there was none."""
    cards = [f"{record['card']} ({_counted(record)})" for record in seen(root)]
    return f"Cards seen by `make gpu`: {', '.join(cards)}." if cards else UNSEEN


def _counted(record: dict[str, Any]) -> str:
    rows = record["parts"].values()
    good = sum(row["state"] == "measured" and all(check["ok"] for check in row.get("checks", [])) for row in rows)
    return f"{good} of {len(rows)} parts as they should be, torch {record['torch']}"


def page(root: Path) -> str:
    """The part of docs/results.md about cards, in Markdown."""
    lines = ["## Cards seen", "", sentence(root)]
    for record in seen(root):
        drives = f"driver {record.get('driver') or 'unknown'}, CUDA {record.get('cuda')}, torch {record['torch']}"
        lines += ["", f"### {record['card']}", "", f"{drives}, {record['machine']}.", ""]
        lines += ["| part | state | seconds | found |", "| --- | --- | --- | --- |"]
        for name, row in record["parts"].items():
            older = "" if row.get("code") == _key_now(root, name) else " †"
            cells = (name, f"{told(row)}{older}", f"{row['seconds']:.0f}", found(row).replace("|", "\\|"))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _key_now(root: Path, part: str) -> str:
    return key(root, part) if part in parts(root) else ""


def told(row: dict[str, Any]) -> str:
    """A part's state in words, as people read it."""
    if row["state"] != "measured":
        return row["state"]
    failing = [check["name"] for check in row["checks"] if not check["ok"]]
    return f"**not as it should be:** {'; '.join(failing)}" if failing else "as it should be"


def found(row: dict[str, Any]) -> str:
    """What a part found, in one cell: the reasons of its checks, or why there are none."""
    if row["state"] != "measured":
        return row.get("reason", "").splitlines()[0] if row.get("reason") else ""
    return "; ".join(f"{check['name']}: {check['reason']}" for check in row["checks"])
