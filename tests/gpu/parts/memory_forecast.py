"""Memory of a step by fake tensors and a measured offset, against what the allocator reserves: three networks.

As the ladder does it: measured at a batch and at twice that, forecast for eight times the first, and measured there
too. The ladder measures what is allocated; a card is full by what is reserved, so both stand here.
"""

import gc
from typing import Any

import torch

from stepladder.ladder.forecast.cells import UNSURE_BYTES
from stepladder.ladder.forecast.memory import forecast
from stepladder.ladder.measure.study_job import StudyJob
from stepladder.training.setting import Setting
from stepladder.training.step import train_step
from tests.gpu import place as p
from tests.gpu.parts.precision import made

WALKS = 2
PROBED, ASKED = (1, 2), 8  # times the first batch
STEPS = 3
TARGET = (-0.03, 0.10)  # of what was allocated, as `bench_memory.py` has it
Bytes = dict[int, dict[str, int]]


def measure(place: p.Place) -> tuple[dict[str, Any], list[p.Check]]:
    """Per network: forecast, allocated, reserved."""
    figures, checks = {}, []
    for study in place.in_time(place.studies):
        figures[study] = found = one(place, study)
        known = all(found["fake"].values())
        checks.append(p.Check(f"{study}: can be faked", known, f"{len(found['fake'])} batches"))
        if place.cuda:
            checks += judged(study, found)
    done = len(figures) == len(place.studies)
    return figures, [p.Check("all networks", done, ", ".join(figures)), *checks]


def one(place: p.Place, study: str) -> dict[str, Any]:
    """Fake bytes at three batches and, on a card, measured ones."""
    job, first = place.job(study), max(1, place.batch(study) // 4)
    batches = [first * times for times in (*PROBED, ASKED)]
    fake = {batch: job.fake_bytes(Setting(batch=batch)) or 0 for batch in batches}
    measured = {batch: peaks(job, batch) for batch in batches} if place.cuda else {}
    return {"fake": fake, "measured": measured}


def judged(study: str, found: dict[str, Any]) -> list[p.Check]:
    """The forecast against both measurements."""
    fake, measured = found["fake"], found["measured"]
    *probed, asked = fake
    checks = []
    for kind in ("allocated", "reserved"):
        said = forecast(fake, {batch: measured[batch][kind] for batch in probed}, asked)
        truth = measured[asked][kind]
        # What the ladder would refuse: the forecast and its margin, of what was not yet measured.
        kept = said + UNSURE_BYTES["device"] * max(0, said - measured[probed[-1]][kind])
        error = said / truth - 1
        found[kind] = {"forecast": said, "measured": truth, "error": error}
        ok = TARGET[0] <= error <= TARGET[1] if kind == "allocated" else kept >= truth
        words = f"{said / 1e6:.0f} MB foretold, {truth / 1e6:.0f} MB {kind} ({error:+.1%})"
        checks.append(p.Check(f"{study}: {kind}", ok, words))
    return checks


def peaks(job: StudyJob, batch: int) -> dict[str, int]:
    """Largest bytes allocated and reserved in some steps at `batch`."""
    batches = made(job, batch)
    batches = [{k: v.cpu() if isinstance(v, torch.Tensor) else v for k, v in one.items()} for one in batches]
    gc.collect()  # a training state refers to itself
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    state = job.train_state(Setting(batch=batch))
    for number in range(STEPS):
        train_step(state, number, [batches[number % 2]])
    torch.cuda.synchronize()
    return {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
