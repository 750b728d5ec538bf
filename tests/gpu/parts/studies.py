"""Every study's smoke profile, walked on the card and on its CPU: do both end with the same metrics?

Both walks run side by side, each in an outputs folder of its own. Notebooks 04 and 05 use the card; 03 and 06 compute
on the CPU by design. So the trained network is also asked directly: the same batch on both devices.

Without a card there is one walk, and the kept metrics of the golden notebooks beside it.
"""

import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from stepladder.core import files
from stepladder.core.config import check as checked
from stepladder.core.run import Run
from stepladder.core.study import find
from stepladder.data import loading
from stepladder.dev.golden import TOLERANCE
from stepladder.training import checkpoint
from stepladder.training.step import to_device
from tests.gpu import place as p

WALKS = 6
UNTRAINED = 1e-4  # baselines learn nothing: relative difference
FORECAST = 1e-2  # of one network's answers on two devices, relative to their largest
Figures = dict[str, Any]


def measure(place: p.Place) -> tuple[Figures, list[p.Check]]:
    """Metrics of both walks side by side."""
    figures, checks = {}, []
    for study, broke in walked(place).items():
        if broke:
            checks.append(p.Check(f"{study}: walked", False, broke))
            continue
        figures[study], found = one(place, study)
        checks += found
    return figures, checks


def walked(place: p.Place) -> dict[str, str]:
    """Study -> what broke its walks; empty where they ended well. All are under way at once."""
    places = [(place.outputs, ""), (place.outputs / "on-cpu", "cpu")][: 2 if place.cuda else 1]
    wanted = [(study, *where) for study in place.studies if study not in place.walked for where in places]
    walks = [(p.begin(study, outputs, "1-6", device=device), study, device) for study, outputs, device in wanted]
    broke = dict.fromkeys(place.studies, "")
    try:
        for child, study, device in walks:
            try:
                p.finish(child, f"{study} {device}")
            except RuntimeError as error:
                broke[study] += str(error)
    finally:
        for child, *_ in walks:
            child.kill()
    return broke


def one(place: p.Place, study: str) -> tuple[Figures, list[p.Check]]:
    """The walks of one study, compared."""
    here = Path(place.walked.get(study) or place.outputs)
    golden = p.ROOT / "tests" / "golden" / study / "metrics.json"
    mine = metrics(here, study)
    other = metrics(place.outputs / "on-cpu", study) if place.cuda else files.read_json(golden)
    allowed = UNTRAINED if place.cuda else TOLERANCE
    tolerances = {name: TOLERANCE if name == "model" else allowed for name in mine}
    worst = {name: largest(mine[name], other.get(name, {})) for name in mine}
    checks = compared(study, mine, other, worst, tolerances)
    run = Run(here / study / "smoke", p.ROOT)
    log = (run.folder / "05_training" / "train.log").read_text(errors="replace")
    device = ", ".join(sorted(set(re.findall(r"^rank \d+ of \d+ on (\S+)", log, re.MULTILINE))))
    figures = {"metrics": mine, "largest difference": worst, "device": device}
    if place.cuda:
        figures["forecast"] = difference = answers(run, study)
        checks.append(p.Check(f"{study}: trained on the card", device.startswith("cuda"), device))
        checks.append(p.Check(f"{study}: same answers", difference < FORECAST, f"{difference:.1e} apart at most"))
    return figures, checks


def metrics(outputs: Path, study: str) -> dict[str, dict[str, float | None]]:
    """Method -> metric -> value, as 06 left them."""
    return files.read_json(outputs / study / "smoke" / "06_evaluation" / "result.json")["metrics"]


def compared(
    study: str, mine: Figures, other: Figures, worst: dict[str, float], tolerances: dict[str, float]
) -> list[p.Check]:
    """The checks of one study: all methods there, model finite, differences within their tolerances."""
    finite = all(value is not None and math.isfinite(value) for value in mine["model"].values())
    same = mine.keys() == other.keys()
    rest = max((worst[name] for name in worst if name != "model"), default=0.0)
    least = min(tolerances[name] for name in tolerances if name != "model")
    return [
        p.Check(f"{study}: finite", finite and same, f"{len(mine['model'])} metrics, {len(mine)} methods"),
        p.Check(f"{study}: untrained equal", rest <= least, f"{rest:.1e} apart at most, {least:g} allowed"),
        p.Check(
            f"{study}: trained near",
            worst["model"] <= tolerances["model"],
            f"{worst['model']:.1e} apart at most, {tolerances['model']:g} allowed",
        ),
    ]


def largest(mine: dict[str, float | None], other: dict[str, float | None]) -> float:
    """Largest difference of two methods' metrics, relative beyond 1; infinite where one is missing."""
    apart = 0.0
    for name in {*mine, *other}:
        a, b = mine.get(name), other.get(name)
        if (a is None) != (b is None) or (name in mine) != (name in other):
            return math.inf
        apart = max(apart, abs(a - b) / max(1.0, abs(b))) if a is not None and b is not None else apart
    return apart


def answers(run: Run, study: str) -> float:
    """Largest relative difference of the trained network's forecasts of one batch on the two devices."""
    found = find(study)
    params = checked(found.Params, run.values())
    model, _ = checkpoint.load_model(found, params, run.checkpoints)
    _, _, cases = loading.datasets(run, found, params)
    batch = default_collate([cases.sample(0, None)])
    with torch.inference_mode():
        here = found.predict(model, batch)
        there = found.predict(model.cuda(), to_device(batch, torch.device("cuda")))
    pairs = [
        (one, there[name].cpu()) for name, one in here.items() if isinstance(one, Tensor) and one.is_floating_point()
    ]
    return max((float((a - b).abs().max() / a.abs().max().clamp(min=1e-6)) for a, b in pairs), default=0.0)
