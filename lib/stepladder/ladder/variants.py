"""What the chosen setting costs with other values of `model`: `ladder.variants`, measured and never chosen.

A longer sequence or more tokens make another model, so the ladder does not decide about them; it says what they take.
Every combination is one trial of the ladder, loader and step together, after the search; one that does not end well
says how it ended.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd

from stepladder.core import units
from stepladder.core.config import ParameterError, check, merge, nearest
from stepladder.core.schema import LadderParams, Parameters
from stepladder.core.units import digits
from stepladder.ladder.records import Measurer, SearchResult, Variant
from stepladder.training.setting import Setting


def combinations(params: Parameters) -> list[dict[str, Any]]:
    """Every combination of the values in `ladder.variants`, as overrides of `model`.

    Raises:
        ParameterError: the model has no such field, or it may not have such a value.
    """
    variants, known = params.ladder.variants, type(params.model).model_fields
    for name in variants:
        if name not in known:
            raise ParameterError(f"parameter 'ladder.variants': the model has no {name!r}{nearest(name, known)}")
    found = [dict(zip(variants, values, strict=True)) for values in product(*variants.values())] if variants else []
    for model in found:
        check(type(params.model), merge(params.model.model_dump(mode="json"), model))
    return found


def measured(
    models: Sequence[dict[str, Any]],
    setting: Setting,
    ladder: LadderParams,
    measurer_of: Callable[[Mapping[str, Any], int], Measurer],
) -> tuple[Variant, ...]:
    """A trial of each of `models` at one setting.

    Args:
        models: overrides of `model`.
        setting: the chosen one.
        ladder: says how many passes are timed.
        measurer_of: the measurer of the job with such overrides, and their number from one on.
    """
    found: list[Variant] = []
    for number, model in enumerate(models, 1):
        measurer = measurer_of(model, number)
        found.append(Variant(model, measurer.full(setting, ladder.steps), measurer.fake_bytes(setting)))
    return tuple(found)


def table(result: SearchResult) -> pd.DataFrame:
    """One row per variant: its values of `model`, samples/s, memory measured and by fake tensors, and how it ended."""
    probes = [variant.trial.probe for variant in result.variants]
    host, host_sizes = units.column([variant.trial.peak_bytes or None for variant in result.variants])
    device, device_sizes = units.column([(probe.device_bytes or None) if probe else None for probe in probes])
    fake, fake_sizes = units.column([variant.fake_bytes for variant in result.variants])
    rows = [
        {
            **variant.model,
            "samples/s": f"{digits(probe.rate)} ± {digits(probe.half_width, 2)}" if probe else None,
            f"memory ({host})": held,
            f"device ({device})": there,
            f"by fake tensors ({fake})": faked,
            "ended": variant.trial.ending if probe else f"{variant.trial.ending}: {variant.trial.reason}",
        }
        for variant, probe, held, there, faked in zip(
            result.variants, probes, host_sizes, device_sizes, fake_sizes, strict=True
        )
    ]
    found = pd.DataFrame(rows)
    return found if any(device_sizes) else found.drop(columns=f"device ({device})", errors="ignore")
