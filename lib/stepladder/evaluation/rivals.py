"""Is the model better? In every metric beside the baseline that measured best there: one table, one sentence.

Decisions:
- The rival of a metric is the baseline with the best measured value in it, so the lead shown is the smallest over all
  baselines. A study's order of baselines decides nothing but ties (the later one, which the study holds for stronger).
- A baseline without a finite value in a metric has not answered. It is no rival there, and both are named.
- `verdict` is decided in one place, from the paired interval: an interval that holds zero is no clear difference,
  whatever the value. The table shows it and the sentence counts it, so they cannot disagree.
- The first metric is the study's main one: the sentence tells its lead in numbers, of the others the verdict.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stepladder.core.schema import EvaluationParams
from stepladder.evaluation.metrics import compare, metric_value, number

MODEL = "model"
COLUMNS = ["metric", "model", "against", "rival", "value", "low", "high", "units", "verdict"]
BETTER, WORSE, UNCLEAR = "better", "worse", "no clear difference"
ALONE, MUTE, NO_RIVAL = "one unit, no interval", "the model has no value", "no baseline has a value"
ORDER = (BETTER, WORSE, UNCLEAR, ALONE, MUTE, NO_RIVAL)
ADVICE = "Look at the curve of 05_training, and train longer (training.steps)."


def measured(records: pd.DataFrame) -> pd.DataFrame:
    """The value of every method (rows, in the study's order) in every metric (columns); nan where it has none."""
    units = {metric: sorted(set(table["unit"])) for metric, table in records.groupby("metric", sort=False)}
    rows = records.groupby(["method", "metric"], sort=False)
    found = pd.Series({key: metric_value(table, units[key[1]]) for key, table in rows})
    return found.unstack().reindex(index=records["method"].unique(), columns=list(units))


def gains(
    records: pd.DataFrame, metrics: Sequence[str], better: str, params: EvaluationParams, seed: int
) -> pd.DataFrame:
    """The model less the strongest baseline of every metric, with the paired interval and the verdict.

    Args:
        records: of `metrics.evaluate`.
        metrics: the metrics to tell of, the main one first.
        better: the study's: whether a `higher` or a `lower` value is the better one.
        params, seed: of the bootstrap.

    Returns:
        Columns `metric, model, against, rival, value, low, high, units, verdict`: the two values, and their difference.
    """
    table = measured(records)
    rows = []
    for metric in metrics:
        rival = strongest(table[metric], better)
        row = {"metric": metric, "model": table[metric].get(MODEL, np.nan), "against": rival}
        if rival is not None:
            row |= {"rival": table[metric][rival], **compare(records, metric, MODEL, rival, params, seed)}
        rows.append({**row, "verdict": verdict(row, better)})
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def strongest(values: pd.Series, better: str) -> str | None:
    """The baseline with the best finite value of one metric, of equals the last; None where none has one."""
    others = values.drop(MODEL, errors="ignore")
    others = others[np.isfinite(others)]
    if others.empty:
        return None
    best = others.max() if better == "higher" else others.min()
    return str(others.index[others == best][-1])


def verdict(row: dict, better: str) -> str:
    """One row of `gains` in words, by its interval alone."""
    if row["against"] is None:
        return NO_RIVAL
    if not np.isfinite(row["value"]):
        return MUTE
    if row["units"] < 2 or not np.isfinite([row["low"], row["high"]]).all():
        return ALONE
    if row["low"] <= 0 <= row["high"]:
        return UNCLEAR
    return BETTER if (row["low"] > 0) == (better == "higher") else WORSE


def unanswered(records: pd.DataFrame, metrics: Sequence[str]) -> dict[str, list[str]]:
    """Baseline -> the metrics in which it has no finite value, so that it is no rival there."""
    table = measured(records)[list(metrics)].drop(index=MODEL, errors="ignore")
    lacking = {str(name): [str(m) for m in table.columns[~np.isfinite(row)]] for name, row in table.iterrows()}
    return {name: lacks for name, lacks in lacking.items() if lacks}


def note(records: pd.DataFrame, metrics: Sequence[str]) -> str:
    """What stands under the table: who the rivals are, and who has not answered where."""
    mute = [f"{name} in {', '.join(lacks)}" for name, lacks in unanswered(records, metrics).items()]
    left_out = f" Without a value there, so left out: {'; '.join(mute)}." if mute else ""
    told = "The rival is the baseline that measured best in that metric; value: the model's less the rival's"
    return f"{told}, low and high by paired bootstrap.{left_out}"


def sentence(table: pd.DataFrame) -> str:
    """`gains` in words: the lead in the main metric with its interval, the verdicts of all others counted."""
    first = table.iloc[0]
    told = f"{first['metric']}: {_lead(first)}."
    if len(table) > 1:
        others = table.iloc[1:].groupby("verdict")["metric"].agg(", ".join)
        told += f" Of the others {'; '.join(f'{word} in {others[word]}' for word in ORDER if word in others)}."
    return told if (table["verdict"] == BETTER).any() else f"{told} {ADVICE}"


def _lead(row: pd.Series) -> str:
    """The main metric: both values, their difference with its interval, and the verdict."""
    if row["verdict"] in (MUTE, NO_RIVAL):
        return row["verdict"]
    interval = "" if row["verdict"] == ALONE else f" [{_signed(row['low'])}, {_signed(row['high'])}]"
    values = f"the model {number(row['model'])}, the strongest baseline ({row['against']}) {number(row['rival'])}"
    return f"{values}: {_signed(row['value'])}{interval}, {row['verdict']}"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value)}"
