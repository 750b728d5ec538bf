"""What each kind of arithmetic is worth, and what it costs in numbers: every study's network, against plain float32.

All variants start from the same weights and see the same batches. Float32 is plain: no TF32 in products and none in
convolutions, which torch allows by default. Milliseconds are those of whole optimizer steps by CUDA events.
"""

import contextlib
import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Any

import torch
from torch.utils.data import default_collate

from stepladder.ladder.measure.study_job import StudyJob
from stepladder.training.setting import Setting
from stepladder.training.step import TrainState, train_step
from tests.gpu import place as p

WALKS = 2
STEPS, WARM = 20, 5
TINY_STEPS, TINY_WARM = 2, 1
LAST = 5  # steps whose mean loss is compared
NEAR = 0.05  # of that loss, relative to float32


@dataclass(frozen=True)
class Variant:
    """One kind of arithmetic."""

    setting: Setting = field(default_factory=Setting)
    tf32: bool = False
    channels_last: bool = False
    foreach: bool = False


VARIANTS = {
    "float32": Variant(),
    "AdamW foreach": Variant(foreach=True),
    "TF32": Variant(tf32=True),
    "channels last": Variant(tf32=True, channels_last=True),
    "bfloat16": Variant(Setting(precision="bfloat16"), tf32=True),
    "float16, scaled": Variant(Setting(precision="float16"), tf32=True),
    "bfloat16, compiled": Variant(Setting(precision="bfloat16", compile=True), tf32=True),
}
ON_CPU = ("float32", "AdamW foreach", "bfloat16")


def measure(place: p.Place) -> tuple[dict[str, Any], list[p.Check]]:
    """Per study and variant: milliseconds a step, loss at the end, memory."""
    figures: dict[str, Any] = {study: {} for study in place.studies}
    checks, failed = [], []
    wanted = [f"{study}:{name}" for name in (VARIANTS if place.cuda else ON_CPU) for study in place.studies]
    for pair in place.in_time(wanted):
        study, name = pair.split(":")
        try:
            figures[study][name] = one(place, study, VARIANTS[name])
        except Exception as error:  # one variant that breaks is an answer
            failed.append(pair)
            checks.append(p.Check(pair, False, f"{type(error).__name__}: {str(error)[:300]}"))
        print(pair, figures[study].get(name), flush=True)
    for study, rows in figures.items():
        for name, row in rows.items():
            plain = rows["float32"]
            row["faster"], row["apart"] = plain["ms"] / row["ms"], abs(row["loss"] / plain["loss"] - 1)
            said = f"{row['ms']:.1f} ms a step ({row['faster']:.2f} x), loss {row['apart']:.1e} from float32's"
            checks.append(p.Check(f"{study}, {name}", row["apart"] <= NEAR, said))
    done = sum(len(rows) for rows in figures.values()) + len(failed)
    return figures, [p.Check("all variants tried", done == len(wanted), f"{done} of {len(wanted)}"), *checks]


def one(place: p.Place, study: str, variant: Variant) -> dict[str, float]:
    """One network in one kind of arithmetic."""
    steps, warm = (STEPS, WARM) if place.cuda else (TINY_STEPS, TINY_WARM)
    job = place.job(study)
    batches = made(job, place.batch(study))
    setting = replace(variant.setting, batch=place.batch(study))
    with arithmetic(variant.tf32):
        state = train_state(job, setting, variant)
        if place.cuda:
            torch.cuda.reset_peak_memory_stats()
        for number in range(warm):
            train_step(state, number, [batches[number % 2]])
        losses, milliseconds = timed(state, batches, warm, steps, place.cuda)
    peak = torch.cuda.max_memory_allocated() if place.cuda else 0
    del state
    gc.collect()  # a training state refers to itself
    if place.cuda:
        torch.cuda.empty_cache()
    torch.compiler.reset()
    return {"ms": milliseconds, "loss": mean(losses[-LAST:]), "peak_mb": peak / 1e6}


def made(job: StudyJob, size: int) -> list[Any]:
    """Two batches of the training, on the device."""
    drawn = job.samples()
    batches = [default_collate([drawn[key] for key in keys]) for keys in job.order(size, 2)]
    return [{k: v.to(job.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()} for batch in batches]


def train_state(job: StudyJob, setting: Setting, variant: Variant) -> TrainState:
    """The training's own state, with what it does not offer put in afterwards."""
    state = job.train_state(setting)
    if variant.channels_last:
        for parameter in state.model.parameters():
            formats = {4: torch.channels_last, 5: torch.channels_last_3d}
            if parameter.ndim in formats:
                parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])
    if variant.foreach:
        groups = [{**group, "fused": False, "foreach": True} for group in state.optimizer.param_groups]
        state.optimizer = torch.optim.AdamW(groups, lr=job.params.training.learning_rate, foreach=True)
    return state


def timed(state: TrainState, batches: list[Any], first: int, steps: int, cuda: bool) -> tuple[list[float], float]:
    """Losses of `steps` steps, and milliseconds of one."""
    losses, begin = [], time.perf_counter()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if cuda else []
    if marks:
        torch.cuda.synchronize()
        marks[0].record()
    for number in range(first, first + steps):
        losses.append(train_step(state, number, [batches[number % 2]]).loss)
    if marks:
        marks[1].record()
        torch.cuda.synchronize()
        spent = marks[0].elapsed_time(marks[1])
    else:
        spent = 1e3 * (time.perf_counter() - begin)
    return [float(loss) for loss in losses], spent / steps


@contextlib.contextmanager
def arithmetic(tf32: bool) -> Iterator[None]:
    """TF32 for products and convolutions, or for neither."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
