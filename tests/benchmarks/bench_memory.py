"""Memory of a training step, forecast at four times the largest batch that was measured: a 3-D U-Net in two sizes.

Run `python tests/benchmarks/bench_memory.py`. The step is measured at batches 1 and 2 in processes of their own, the
forecast for batch 8 is the fake-tensor bytes there and the largest offset, and batch 8 is then measured too. Measured
is the peak resident set of the process, or the device's peak where there is one. The record is
tests/benchmarks/records/memory.json.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stepladder.dev import records
from stepladder.ladder.forecast.memory import fake_bytes, forecast
from stepladder.ladder.measure.job import Key, Stepper
from stepladder.ladder.measure.measurer import ProcessMeasurer
from stepladder.ladder.measure.runner import Runner
from stepladder.training.setting import Setting
from stepladder.training.step import Clock

SIDES, WIDTH, PROBED, ASKED = (32, 48), 16, (1, 2), 8
TARGET = (-0.03, 0.10)  # of the measured bytes


class Block(nn.Sequential):
    """Two convolutions, each normalised and rectified."""

    def __init__(self, inputs: int, outputs: int):
        layers = []
        for first in (inputs, outputs):
            layers += [nn.Conv3d(first, outputs, 3, padding=1), nn.InstanceNorm3d(outputs), nn.LeakyReLU()]
        super().__init__(*layers)


class UNet(nn.Module):
    """A 3-D U-Net of three levels (Cicek et al., 2016)."""

    def __init__(self, width: int):
        super().__init__()
        self.down = nn.ModuleList([Block(1, width), Block(width, 2 * width), Block(2 * width, 4 * width)])
        self.up = nn.ModuleList([Block(6 * width, 2 * width), Block(3 * width, width)])
        self.last = nn.Conv3d(width, 1, 1)

    def forward(self, image_B1ZYX: Tensor) -> Tensor:
        kept, now = [], image_B1ZYX
        for level, block in enumerate(self.down):
            now = block(nn.functional.max_pool3d(now, 2) if level else now)
            kept.append(now)
        for block, skip in zip(self.up, kept[-2::-1], strict=True):
            now = block(torch.cat([nn.functional.interpolate(now, scale_factor=2), skip], 1))
        return self.last(now)


class UNetJob:
    """The network on random cubes."""

    def __init__(self, side: int):
        self.side, self.device = side, torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def samples(self) -> list[np.ndarray]:
        return [np.random.default_rng(0).random((1, self.side, self.side, self.side), dtype=np.float32)]

    def order(self, batch: int, count: int) -> list[list[Key]]:
        return [[0] * batch] * count

    def stepper(self, setting: Setting) -> Stepper:
        torch.manual_seed(0)
        network = UNet(WIDTH).to(self.device)
        optimizer = torch.optim.AdamW(network.parameters(), fused=True)

        def one(number: int, batch: Tensor, clock: Clock) -> Tensor:
            loss = nn.functional.softplus(network(batch.to(self.device))).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.detach()

        return one

    def fake_bytes(self, setting: Setting) -> int | None:
        return fake_bytes(self, setting)


def unet(side: int) -> UNetJob:
    """The job of one size."""
    return UNetJob(side)


def main() -> None:
    """Measure, forecast, compare, record."""
    sys.path.insert(0, str(Path(__file__).parent))
    runner = Runner()
    rows = [compare(side, runner) for side in SIDES]
    runner.close()
    record = {"batches probed": PROBED, "batch asked for": ASKED, "target": TARGET, "rows": rows}
    records.write(__file__, record)
    if not all(row["ok"] for row in rows):
        raise SystemExit("a forecast is outside the target")


def compare(side: int, runner: Runner) -> dict[str, Any]:
    """Forecast and measurement of one size."""
    with tempfile.TemporaryDirectory() as folder:
        batches = (*PROBED, ASKED)
        measurer = ProcessMeasurer("bench_memory:unet", {"side": side}, Path(folder), 600.0, 2e10, batches, runner)
        measured = {batch: _measured(measurer, batch) for batch in batches}
        fake = {batch: measurer.fake_bytes(Setting(batch=batch)) for batch in batches}
    predicted = forecast(fake, {batch: measured[batch] for batch in PROBED}, ASKED)
    line = measured[1] + (measured[2] - measured[1]) * (ASKED - 1)
    error, truth = predicted / measured[ASKED] - 1, measured[ASKED]
    print(
        f"UNet {side}^3, batch {ASKED}: forecast {predicted / 1e6:.0f} MB, measured {truth / 1e6:.0f} MB ({error:+.1%})"
    )
    print(f"  a line through the measured batches: {line / 1e6:.0f} MB ({line / truth - 1:+.1%})")
    shown = {"measured": measured, "fake": fake, "forecast": predicted, "error": error, "line_error": line / truth - 1}
    return {"side": side, **shown, "ok": TARGET[0] <= error <= TARGET[1]}


def _measured(measurer: ProcessMeasurer, batch: int) -> int:
    trial = measurer.step(Setting(batch=batch), 3)
    if trial.probe is None:
        raise SystemExit(f"batch {batch}: {trial.ending}: {trial.reason}")
    return trial.probe.device_bytes or trial.probe.process_bytes


if __name__ == "__main__":
    main()
