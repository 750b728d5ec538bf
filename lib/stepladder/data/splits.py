"""Splits: which assets train, validate and test, decided once and written to a file a person can read and edit.

Decisions:
- The unit is never divided: a whole group (a city), or, inside one group, a whole asset (a tile). Where the unit is the
  asset, assets of one split group (see `Asset.split_group`) stay together.
- Named units are taken as named; otherwise the seed draws about a fifth for test and a fifth of the rest for
  validation, at least one each. With fewer than three units a split would have to leak, so it is refused.
- A buffer keeps training samples away from the regions of held-out assets, because neighbours share what lies on
  their border. The study applies it when it lists its samples.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from stepladder.core import files
from stepladder.core.config import ParameterError, nearest
from stepladder.core.records import Split, Splits
from stepladder.core.schema import SplitParams
from stepladder.core.types import Asset

NAMES: tuple[Split, ...] = ("train", "validation", "test")


def split(assets: Sequence[Asset], params: SplitParams, seed: int) -> Splits:
    """Divide `assets` by `params`.

    Returns:
        `train`, `validation` and `test` as lists of asset ids; `by`, `buffer` and `units` say how.

    Raises:
        ParameterError: a named unit does not exist or stands in two splits, a split group is divided, or there are
            fewer than three units.
    """
    unit_of = {asset.id: asset.group if params.by == "group" else asset.id for asset in assets}
    units = sorted(set(unit_of.values()))
    split_group_of = (
        {asset.id: asset.split_group or asset.id for asset in assets} if params.by == "asset" else {u: u for u in units}
    )
    named = {name: getattr(params, name) for name in NAMES if getattr(params, name) is not None}
    chosen = named if len(named) == len(NAMES) else {**_draw(units, split_group_of, named, seed, params.by), **named}
    _check(chosen, units)
    _check_split_groups(chosen, split_group_of)
    ids = {name: [asset.id for asset in assets if unit_of[asset.id] in chosen[name]] for name in NAMES}
    units_of = {name: sorted(chosen[name]) for name in NAMES}
    return Splits(**ids, by=params.by, buffer=params.buffer, units=units_of)


def save(path: Path, splits: Splits) -> None:
    """Write `splits.json`."""
    files.write_json(path, splits)


def _draw(
    units: list[str], split_group_of: Mapping[str, str], named: dict[str, list[str]], seed: int, by: str
) -> dict[str, list[str]]:
    """The units that nobody named, split groups together, shuffled by the seed and dealt to the splits left open."""
    families: dict[str, list[str]] = {}
    for unit in units:
        if not any(unit in given for given in named.values()):
            families.setdefault(split_group_of[unit], []).append(unit)
    free = [members[0] for members in families.values()]
    open_splits = [name for name in ("test", "validation", "train") if name not in named]
    if len(free) < len(open_splits):
        advice = "use splits.by: asset, or add data" if by == "group" else "add data"
        raise ParameterError(
            f"{len(free)} free units ({', '.join(free) or 'none'}) cannot fill {', '.join(open_splits)} "
            f"without a leak: {advice}"
        )
    order = list(np.random.Generator(np.random.Philox(key=seed)).permutation(free))
    dealt = {}
    for name in open_splits:
        later = len(open_splits) - len(dealt) - 1  # splits that still want at least one unit each
        count = min(max(1, round(0.2 * len(order))), len(order) - later) if later else len(order)
        dealt[name] = [member for unit in order[:count] for member in families[split_group_of[unit]]]
        order = order[count:]
    return dealt


def _check(chosen: dict[str, list[str]], units: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in NAMES:
        if not chosen[name]:
            raise ParameterError(f"splits.{name} is empty: name at least one unit of {', '.join(units)}")
        for unit in chosen[name]:
            if unit not in units:
                raise ParameterError(f"splits.{name} names {unit!r}, which is not in the data{nearest(unit, units)}")
            if unit in seen:
                raise ParameterError(f"{unit!r} stands in splits.{seen[unit]} and splits.{name}: that would leak")
            seen[unit] = name


def _check_split_groups(chosen: dict[str, list[str]], split_group_of: Mapping[str, str]) -> None:
    first: dict[str, tuple[str, str]] = {}
    for name in NAMES:
        for unit in chosen[name]:
            other, place = first.setdefault(split_group_of[unit], (unit, name))
            if place != name:
                raise ParameterError(
                    f"{other!r} in splits.{place} and {unit!r} in splits.{name} begin alike, so that would leak: name "
                    "both in one split"
                )


def table(splits: Splits) -> pd.DataFrame:
    """One row per split: its units and assets."""
    rows = [
        {"split": name, splits["by"]: ", ".join(splits["units"][name]), "assets": len(splits[name])} for name in NAMES
    ]
    return pd.DataFrame(rows)
