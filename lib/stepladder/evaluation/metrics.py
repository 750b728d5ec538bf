"""Evaluation: metrics from records, beside baselines on the same samples, with intervals over independent units.

Decisions:
- A study returns `Record`s: numerators and denominators per sample. A metric is the mean over its parts of summed
  numerators over summed denominators, so IoU is pooled over voxels and never an average of ratios.
- A part (a class) whose support sums to zero is absent from the data and left out. It never counts as 1.
- Intervals resample independent units (clips, trajectories), the same draws for every method, so that differences
  between methods are paired.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import default_collate

from stepladder.core import files
from stepladder.core.schema import EvaluationParams, Parameters
from stepladder.core.study import Study
from stepladder.core.types import Baseline, Batch, Check, Dataset, Prediction, Sample

TABLE = ["method", "group", "metric", "value", "low", "high", "units"]


def choose(dataset: Dataset, count: int) -> np.ndarray:
    """Indices of `count` samples spread evenly over the data set (all of them when it holds fewer).

    They are the middles of equal parts: the first sample of a data set is often an odd one, at an edge.
    """
    count = min(count, len(dataset))
    return ((np.arange(count) + 0.5) * len(dataset) / count).astype(int)


def batches(dataset: Dataset, indices: Iterable[int], size: int) -> Iterable[tuple[np.ndarray, Batch]]:
    """Plain (not augmented) samples `indices`, collated to batches of `size`, with their indices."""
    indices = np.asarray(list(indices))
    for start in range(0, len(indices), size):
        part = indices[start : start + size]
        yield part, default_collate([dataset.sample(int(index), None) for index in part])


@torch.inference_mode()
def evaluate(
    study: Study, params: Parameters, model: torch.nn.Module, dataset: Dataset, train: Sequence[Path]
) -> pd.DataFrame:
    """Records of the model (as `model`) and of every baseline (fitted to the shards `train`) on the same samples.

    Returns:
        Columns `method, group, unit, metric, part, numerator, denominator, support`.
    """
    model.eval()
    methods: dict[str, Baseline] = study.baselines(params, train) | {"model": lambda batch: study.predict(model, batch)}
    rows: list[dict[str, Any]] = []
    for indices, batch in batches(dataset, choose(dataset, params.evaluation.samples), params.evaluation.batch):
        for method, function in methods.items():
            for record in study.score(batch, function(batch), params):
                index = indices[record.item]
                where = {"method": method, "group": str(dataset.groups[index]), "unit": str(dataset.clusters[index])}
                rows.append({**where, **vars(record)})
    return pd.DataFrame(rows).drop(columns="item")


def summarize(records: pd.DataFrame, params: EvaluationParams, seed: int) -> pd.DataFrame:
    """Every metric of every method, per group and over all of them (`group == "all"`), with bootstrap intervals."""
    parts = [("all", records)]
    if records["group"].nunique() > 1:
        parts += records.groupby("group")
    rows = []
    for group, subset in parts:
        clusters = sorted(subset["unit"].unique())
        draws = _resample(len(clusters), params.bootstrap, seed)
        for (method, metric), table in subset.groupby(["method", "metric"], sort=False):
            value = metric_value(table, clusters)
            low, high = _ends(_values(table, clusters, draws), len(clusters), params)
            rows.append(dict(zip(TABLE, (method, group, metric, value, low, high, len(clusters)), strict=True)))
    return pd.DataFrame(rows, columns=TABLE)


def compare(
    records: pd.DataFrame, metric: str, method: str, other: str, params: EvaluationParams, seed: int
) -> dict[str, float]:
    """Difference `method - other` in one metric with its paired bootstrap interval; none (nan) of a single unit."""
    subset = records[records["metric"] == metric]
    clusters = sorted(subset["unit"].unique())
    # Row 0 weighs every unit once: the value itself. The same draws for both methods, so their difference is paired.
    draws = np.vstack([np.ones(len(clusters)), _resample(len(clusters), params.bootstrap, seed)])
    one, two = (_values(subset[subset["method"] == name], clusters, draws) for name in (method, other))
    difference = one - two
    low, high = _ends(difference[1:], len(clusters), params)
    return {"value": float(difference[0]), "low": low, "high": high, "units": len(clusters)}


def parts(records: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One metric part by part (class by class): value and support per method; an absent part has no value."""
    subset = records[records["metric"] == metric]
    sums = subset.groupby(["method", "part"], sort=False)[["numerator", "denominator", "support"]].sum().reset_index()
    present = (sums["support"] > 0) & (sums["denominator"] > 0)
    sums["value"] = np.where(present, sums["numerator"] / sums["denominator"].where(present, 1), np.nan)
    return sums[["method", "part", "value", "support"]]


def metric_value(table: pd.DataFrame, clusters: list[str]) -> float:
    """The value of one metric of one method over `clusters`; nan where nothing supports it."""
    return float(_values(table, clusters, np.ones((1, len(clusters))))[0])


def pooled(records: pd.DataFrame) -> dict[str, float]:
    """The value of every metric of one method's records, over all their units."""
    clusters = sorted(records["unit"].unique())
    return {str(metric): metric_value(table, clusters) for metric, table in records.groupby("metric", sort=False)}


def _ends(values_R: np.ndarray, clusters: int, params: EvaluationParams) -> tuple[float, float]:
    """Ends of the interval of bootstrapped values; nan of a single unit, and where no value is finite."""
    if clusters < 2 or not np.isfinite(values_R).any():
        return float("nan"), float("nan")
    tail = 50 * (1 - params.confidence)
    low, high = np.nanpercentile(values_R, [tail, 100 - tail])
    return float(low), float(high)


def _values(table: pd.DataFrame, clusters: list[str], draws_RU: np.ndarray) -> np.ndarray:
    """The metric under each row of unit weights, shape (replicates,); nan where no part has support."""

    table = table[table["unit"].isin(clusters)]
    unit = pd.Index(clusters).get_indexer(table["unit"])
    part, names = pd.factorize(table["part"], sort=True)

    def sums(column: str) -> np.ndarray:
        # Units that a method has no record of weigh nothing; a number that is none makes the sum none.
        total_UP = np.zeros((len(clusters), len(names)))
        np.add.at(total_UP, (unit, part), table[column].to_numpy(dtype=float))
        return draws_RU @ total_UP

    # Sums first, then the ratio: every part is pooled over units, and only parts are averaged.
    numerator_RP, denominator_RP, support_RP = sums("numerator"), sums("denominator"), sums("support")
    present = (support_RP > 0) & (denominator_RP > 0)
    ratio = np.divide(numerator_RP, denominator_RP, out=np.zeros_like(numerator_RP), where=present)
    count = present.sum(axis=1)
    return np.divide(ratio.sum(axis=1), count, out=np.full(len(count), np.nan), where=count > 0)


def _resample(clusters: int, replicates: int, seed: int) -> np.ndarray:
    """How often each unit is drawn in each bootstrap replicate, shape (replicates, units)."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=replicates).astype(float)


@torch.inference_mode()
def forecast(study: Study, model: torch.nn.Module, dataset: Dataset, index: int) -> tuple[Sample, Prediction]:
    """One plain sample and what the model says of it."""
    sample = dataset.sample(index, None)
    return sample, study.predict(model.eval(), default_collate([sample]))


def protocol_table(study: Study, params: Parameters) -> pd.DataFrame:
    """What every number rests on, as a table."""
    return pd.DataFrame(study.protocol(params).items(), columns=["what", "how"])


def headline(summary: pd.DataFrame) -> list[str]:
    """The metrics to show first, kin side by side: all but those that are also there by horizon (`IoU@3s`)."""
    metrics = list(dict.fromkeys(summary["metric"]))
    families = list(dict.fromkeys(name.split("@")[0] for name in metrics))
    shown = [name for name in metrics if not any(other.startswith(f"{name}@") for other in metrics)]
    return sorted(shown, key=lambda name: families.index(name.split("@")[0]))


def wide(summary: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """One row per group and method, one column per metric: `0.512 [0.48, 0.54]`."""
    text = summary[summary["metric"].isin(list(metrics))].copy()
    text["shown"] = [_shown(row.value, row.low, row.high) for row in text.itertuples()]
    order = list(dict.fromkeys(zip(text["group"], text["method"], strict=True)))
    table = text.pivot(index=["group", "method"], columns="metric", values="shown")[list(metrics)]
    return table.loc[order].reset_index()


def parted(records: pd.DataFrame) -> str:
    """The headline metric with the most parts (classes, say); of kin at several horizons the last, the hardest."""
    counts = records.groupby("metric", sort=False)["part"].nunique()[headline(records)]
    most = [str(name) for name in counts.index[counts == counts.max()]]
    return [name for name in most if name.split("@")[0] == most[0].split("@")[0]][-1]


def checks(records: pd.DataFrame, summary: pd.DataFrame) -> list[Check]:
    """The gates of evaluation: the same samples for every method, no metric beyond perfect, the model scored."""
    clusters = {method: frozenset(table["unit"]) for method, table in records.groupby("method")}
    values = summary.loc[summary["method"] == "model", "value"].dropna()
    lost = ~np.isfinite(records.loc[records["method"] == "model", "numerator"].to_numpy(dtype=float))
    told = f"{lost.sum()} of {len(lost)} records hold no number" if lost.any() else ""
    own, count = len(set(clusters.values())) == 1, len(clusters["model"])
    return [
        Check("all methods saw the same samples", own, f"{len(clusters)} methods, {count} units"),
        Check("the model was scored", len(values) > 0, f"{len(values)} values"),
        Check("values are finite", not lost.any(), told or f"{values.min():.3f} to {values.max():.3f}"),
    ]


def values(summary: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Method -> metric -> value over all groups, for records."""
    table = summary[summary["group"] == "all"]
    return {
        method: dict(zip(rows["metric"], rows["value"], strict=True))
        for method, rows in table.groupby("method", sort=False)
    }


def save(path: Path, summary: pd.DataFrame, differences: pd.DataFrame) -> None:
    """Write `metrics.json`: every value with its interval, and the differences to the strongest baselines."""
    files.write_json(path, {"summary": summary.to_dict("records"), "gains": differences.to_dict("records")})


def _shown(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "absent"
    return f"{number(value)} [{number(low)}, {number(high)}]" if np.isfinite(low) else number(value)


def number(value: float) -> str:
    """A metric's value as people read it: three decimals, or two significant digits where that would show nothing."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"
