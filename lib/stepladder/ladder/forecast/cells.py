"""Which settings fit in memory, and how fast each would be: one cell per setting, before anything is tried."""

from collections.abc import Iterable
from dataclasses import dataclass

from stepladder.ladder.forecast.loader_model import LoaderModel, kind
from stepladder.ladder.records import Cell
from stepladder.training.setting import Setting

# Kept free for what a forecast of memory may be wrong by, a share of what was not yet measured. Forecasts were 0.2 %
# too low at worst (bench_memory.py); allocators round a few per cent of what lies on an accelerator.
UNSURE_BYTES = {"host": 0.02, "device": 0.03}


@dataclass(frozen=True)
class Limits:
    """What a training may use: bytes of the process tree, bytes of the accelerator (None without one)."""

    host: float
    device: float | None = None

    def objection(self, loader_model: LoaderModel, setting: Setting, samples: int) -> str:
        """Why `setting` does not fit in memory; empty where it does."""
        host = ("host", loader_model.host_bytes(setting, samples), loader_model.measured_bytes, self.host)
        device = ("device", loader_model.device_bytes(setting), loader_model.measured_device_bytes, self.device)
        for name, needed, measured, limit in (device, host):
            if limit is not None and needed + UNSURE_BYTES[name] * max(0, needed - measured) > limit:
                return f"needs {needed / 1e9:.2f} GB of {name} memory, {limit / 1e9:.2f} GB may be used"
        return ""


def forecast(loader_model: LoaderModel, space: Iterable[Setting], limits: Limits, samples: int) -> list[Cell]:
    """One cell for each setting of `space` whose kind of step was probed; `samples` are those of the whole training."""
    cells = []
    for setting in space:
        if kind(setting) not in loader_model.kinds:
            continue
        host, device = loader_model.host_bytes(setting, samples), loader_model.device_bytes(setting)
        reason = limits.objection(loader_model, setting, samples)
        cells.append(Cell(setting, loader_model.rate(setting), host, device, not reason, reason))
    return cells
