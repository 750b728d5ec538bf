"""Differences between arms in words: an effect, none, or nothing that could be seen.

Decisions:
- An interval that holds zero is "no effect", in these words, whatever the value; where a single family leaves no
  interval, that is said instead.
- The headline is the smallest lead: the trained arm over the strongest other one. Every other arm has a sentence.
"""

import numpy as np
import pandas as pd

from stepladder.evaluation.metrics import number
from stepladder.studies.captions.data.layout import ARMS
from stepladder.studies.captions.evaluation import scoring

TRAINED = "trained"
MAIN = next(iter(scoring.METRICS))
EFFECT, WORSE, NO_EFFECT, ALONE = "an effect", "worse than this arm", "no effect", "one family, no interval"


def verdict(gain: dict[str, float]) -> str:
    """A difference with its interval in words."""
    if not np.isfinite([gain["low"], gain["high"]]).all():
        return ALONE
    if gain["low"] <= 0 <= gain["high"]:
        return NO_EFFECT
    return EFFECT if gain["low"] > 0 else WORSE


def sentence(table: pd.DataFrame, metric: str = MAIN) -> str:
    """The headline: the trained arm over the strongest other one in `metric`."""
    rows = table[table["metric"] == metric].set_index("arm")
    others = rows.drop(index=TRAINED)
    if others.empty:
        return f"{metric}: no other arm has a value."
    rival = str(others["value"].idxmax())
    value = number(rows.loc[TRAINED, "value"])
    against = f"the strongest other arm ({rival}) {number(others.loc[rival, 'value'])}"
    return f"{metric}: trained {value}, {against}: {_told(others.loc[rival])}."


def sentences(table: pd.DataFrame, confidence: float = 0.95) -> list[str]:
    """One sentence per arm: what the trained projection adds to it, metric by metric; the last says what luck adds."""
    told = []
    for arm, rows in table[table["arm"] != TRAINED].groupby("arm", sort=False):
        leads = "; ".join(f"{row['metric']} {_told(row)}" for _, row in rows.iterrows())
        told.append(f"Trained over {arm} ({ARMS.get(str(arm), 'another method')}): {leads}.")
    count = int(np.isfinite(table["lead_low"]).sum())
    lucky = count * (1 - confidence) / 2
    return [*told, f"Of {count} comparisons at {confidence:.0%}, about {lucky:.1f} would show an effect by luck alone."]


def _told(row: pd.Series) -> str:
    """A lead with its interval, its test and its verdict."""
    interval = "" if row["verdict"] == ALONE else f" [{_signed(row['lead_low'])}, {_signed(row['lead_high'])}]"
    test = f" (McNemar p = {row['p']:.2g}, n = {row['n']})" if np.isfinite(row["p"]) else ""
    return f"{_signed(row['lead'])}{interval}{test}, {row['verdict']}"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value)}"
