"""Runs with checkpoints made by hand, and a clock, for the tests of a hub."""

import torch

from stepladder.core import files
from stepladder.core.run import Run
from stepladder.core.stages import before
from stepladder.core.study import find
from stepladder.registry.hub import Time
from stepladder.training import checkpoint

REPO = "lab/discs"


def save(run: Run, params, step: int, best: int, given=None) -> None:
    """A checkpoint as training leaves it, of a model of its own."""
    torch.manual_seed(step)
    model = find("template").model(params)
    average = {name: value.detach() + 1 for name, value in model.named_parameters()}
    state = {"model": model.state_dict(), "given": given or {}, "optimizer": {}, "average": average, "scaler": None}
    progress = checkpoint.Progress(step, "all", {"step": best, "loss": 1.0}, {}, "code")
    checkpoint.save(run.checkpoints, state, progress)


def evaluated(run: Run, params, method: str = "model") -> None:
    """The stages up to 06 are done, and 06 found numbers."""
    for part in before("06_evaluation"):
        run.finish_stage(part.name, params, [])
    aside = run.make_aside("06_evaluation")
    common = {"group": "all", "metric": "IoU", "units": 9}
    values = {method: 0.5, "nothing": 0.25}
    rows = [{**common, "method": name, "value": v, "low": v - 0.1, "high": v + 0.1} for name, v in values.items()]
    files.write_json(aside / "metrics.json", {"summary": rows, "gains": []})
    notes = [{"title": "", "columns": [], "rows": [], "note": "world: no effect."}]
    run.finish_stage("06_evaluation", params, [], made=aside, sentence="IoU: level with nothing.", tables=notes)


class Clock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.at, self.waited = 1e9, []

    def now(self) -> float:
        return self.at

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.at += seconds

    @property
    def time(self) -> Time:
        return Time(self.now, self.wait)


def everything(run: Run) -> str:
    """All text that a run holds, its events and records among it."""
    return "".join(path.read_text("utf-8", "ignore") for path in run.folder.rglob("*") if path.is_file())
