"""One part in this process: `python tests/gpu/one.py SPEC RESULT`. Whatever happens here costs this part alone.

`SPEC` is JSON: the part's name and the fields of `place.Place`. `RESULT` gets its state (measured, skipped, failed),
figures and checks; a process that leaves none was killed, and the driver says so. The part `card` says what is here.
"""

import importlib
import shutil
import subprocess
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stepladder.core import files
from tests.gpu.place import LAST_LINES, Place, Skipped


def main() -> None:
    """Measure the part that the specification names."""
    spec, result = files.read_json(sys.argv[1]), Path(sys.argv[2])
    name = spec.pop("part")
    place = Place(**{**spec, "folder": Path(spec["folder"]), "outputs": Path(spec["outputs"])})
    files.write_json(result, card(place.device) if name == "card" else measured(name, place))


def measured(name: str, place: Place) -> dict[str, Any]:
    """What became of a part."""
    try:
        part = importlib.import_module(f"tests.gpu.parts.{name}")
        figures, checks = part.measure(place)
    except Skipped as reason:
        return {"state": "skipped", "reason": str(reason)}
    except Exception as error:
        traceback.print_exc()
        lines = [*traceback.format_exc().splitlines()[-LAST_LINES:]]
        return {"state": "failed", "reason": f"{type(error).__name__}: {error}"[:2000], "traceback": lines}
    return {"state": "measured", "figures": files.plain(figures), "checks": [asdict(check) for check in checks]}


def card(device: str) -> dict[str, Any]:
    """The card, and what drives it."""
    import torch

    found: dict[str, Any] = {"torch": torch.__version__, "python": sys.version.split()[0], "card": "cpu"}
    if device == "cuda":
        if not torch.cuda.is_available():
            return {**found, "missing": f"torch {torch.__version__} sees no CUDA device"}
        facts = torch.cuda.get_device_properties(0)
        found |= {"card": facts.name, "cuda": torch.version.cuda, "memory_gb": round(facts.total_memory / 1e9, 1)}
        found |= {"capability": f"{facts.major}.{facts.minor}", "driver": _driver()}
    return found


def _driver() -> str:
    """Version of the driver; empty where nothing tells."""
    if not shutil.which("nvidia-smi"):
        return ""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip().partition("\n")[0]


if __name__ == "__main__":
    main()
