"""Every arm on the same cases: what the trained projection adds to each of them, or that it adds nothing.

Decisions:
- An arm answers the same questions with the same weights, prompts and seeds; only what stands in its sequence differs.
- The headline is the smallest lead: the trained arm over the strongest other one. An interval that holds zero is "no
  effect", in these words, whatever the value; where a single family leaves no interval, that is said instead.
- Beside a difference stands what could not have been seen: the half width of its interval, and McNemar's exact test of
  the questions on which two arms differ.
- Two gates come before any table: with the world on, predictions are others than with it off; with it off, logits do
  not depend on world features at all. Four published models that differed in their world branch alone gave 1,406 equal
  answers, and no table told.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch

from stepladder.core.types import Batch, Check, Dataset, Prediction
from stepladder.evaluation import metrics
from stepladder.evaluation.metrics import number
from stepladder.studies.captions.data import sequence
from stepladder.studies.captions.data.layout import ARMS, CLOSE, OPEN, WORLD
from stepladder.studies.captions.evaluation import meaning, scoring, text_metrics
from stepladder.studies.captions.evaluation.paired import mcnemar
from stepladder.studies.captions.params import CaptionsParams

Answer = Callable[[Batch, str], Prediction]  # batch, arm -> what the arm says of it
TRAINED = "trained"
MAIN = next(iter(scoring.METRICS))
EFFECT, WORSE, NO_EFFECT, ALONE = "an effect", "worse than this arm", "no effect", "one family, no interval"


@torch.inference_mode()
def answers(answer: Answer, cases: Dataset, params: CaptionsParams, arms: Sequence[str] = ()) -> pd.DataFrame:
    """Records of every arm on the same cases, as `evaluation.metrics.evaluate` makes them of methods.

    Args:
        answer: how an arm is asked.
        cases: evaluation cases; `evaluation.samples` of them are taken, as in 06.
        arms: names; default: those of `evaluation.arms`. The trained one is always among them.

    Returns:
        Columns `method` (the arm), `group, unit, case, metric, part, numerator, denominator, support, answer` and
        `reference` (texts; empty where an arm gives no free answer).
    """
    names = [*dict.fromkeys([TRAINED, *(arms or params.evaluation.arms)])]
    rows = []
    for indices, batch in metrics.batches(cases, metrics.choose(cases, params.evaluation.samples), 1):
        case = int(indices[0])
        for arm in names:
            prediction = answer(batch, arm)
            item = scoring.item_of(batch, prediction, 0)
            told = {"method": arm, "group": str(cases.groups[case]), "unit": str(cases.clusters[case]), "case": case}
            told |= {"answer": item.text or "", "reference": item.reference}
            rows += [{**told, **vars(record)} for record in scoring.score(batch, prediction, params)]
    return pd.DataFrame(rows).drop(columns="item")


def table(records: pd.DataFrame, params: CaptionsParams) -> pd.DataFrame:
    """Every arm and metric: its value, and what the trained arm is above it.

    Args:
        records: of `answers`.

    Returns:
        Columns `arm, metric, value, low, high, n, families` of the arm itself, and `lead, lead_low, lead_high, verdict`
        of the trained arm over it, with McNemar's `p` for accuracies (nan elsewhere, and for the trained arm).
    """
    summary = metrics.summarize(records, params.evaluation, params.seed)
    summary = summary[(summary["group"] == "all") & np.isfinite(summary["value"])]
    rows = []
    for row in summary.itertuples():
        arm, metric = str(row.method), str(row.metric)
        told = {"arm": arm, "metric": metric, "value": row.value, "low": row.low, "high": row.high}
        told |= {"n": _count(records, arm, metric), "families": row.units}
        rows.append(told | (_lead(records, metric, arm, params) if arm != TRAINED else {"verdict": ""}))
    columns = [
        "arm",
        "metric",
        "value",
        "low",
        "high",
        "n",
        "families",
        "lead",
        "lead_low",
        "lead_high",
        "p",
        "verdict",
    ]
    return pd.DataFrame(rows).reindex(columns=columns)


def _count(records: pd.DataFrame, arm: str, metric: str) -> int:
    return int((_of(records, arm, metric)["support"] > 0).sum())


def _of(records: pd.DataFrame, arm: str, metric: str) -> pd.DataFrame:
    return records[(records["method"] == arm) & (records["metric"] == metric)]


def _lead(records: pd.DataFrame, metric: str, arm: str, params: CaptionsParams) -> dict[str, float | str]:
    """The trained arm less another, paired by case and resampled by family."""
    gain = metrics.compare(records, metric, TRAINED, arm, params.evaluation, params.seed)
    lead = {"lead": gain["value"], "lead_low": gain["low"], "lead_high": gain["high"], "verdict": verdict(gain)}
    if metric in scoring.ACCURACIES:
        right = [_of(records, name, metric).query("support > 0").set_index("case") for name in (TRAINED, arm)]
        # A shared first place among equal choices is no right answer
        lead["p"] = mcnemar(*(one["numerator"].sort_index().to_numpy() == 1 for one in right)).p
    return lead


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


def sentences(table: pd.DataFrame) -> list[str]:
    """One sentence per arm: what the trained projection adds to it, metric by metric."""
    told = []
    for arm, rows in table[table["arm"] != TRAINED].groupby("arm", sort=False):
        leads = "; ".join(f"{row['metric']} {_told(row)}" for _, row in rows.iterrows())
        told.append(f"Trained over {arm} ({ARMS.get(str(arm), 'another method')}): {leads}.")
    return told


def _told(row: pd.Series) -> str:
    """A lead with its interval, its test and its verdict."""
    interval = "" if row["verdict"] == ALONE else f" [{_signed(row['lead_low'])}, {_signed(row['lead_high'])}]"
    test = f" (McNemar p = {row['p']:.2g}, n = {row['n']})" if np.isfinite(row["p"]) else ""
    return f"{_signed(row['lead'])}{interval}{test}, {row['verdict']}"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value)}"


def captions(records: pd.DataFrame) -> pd.DataFrame:
    """What the captions of every arm look like: papers' metrics, how often they find their picture, empty ones."""
    rows = records[(records["metric"] == "meaning") & (records["support"] > 0)]
    told = []
    for arm, of_arm in rows.groupby("method", sort=False):
        texts, references = list(of_arm["answer"]), list(of_arm["reference"])
        values = text_metrics.corpus(texts, [[reference] for reference in references])
        found = meaning.retrieval(texts, references)
        told.append({"arm": arm, **values, **found, **text_metrics.habits(texts), "n": len(texts)})
    return pd.DataFrame(told)


@torch.inference_mode()
def checks(
    logits: Callable[[Batch, str], torch.Tensor], answer: Answer, cases: Dataset, params: CaptionsParams, count: int = 8
) -> list[Check]:
    """The gates before any table, on `count` cases; none where the model has no world tokens.

    Args:
        logits: scores of the next token, batch and arm -> (B, T, vocabulary): the model itself.
        answer: how an arm is asked.
    """
    if not params.model.world:
        return []
    apart, leaks = [], []
    for _, batch in metrics.batches(cases, metrics.choose(cases, count), 1):
        off = sequence.without(batch, OPEN, WORLD, CLOSE)
        apart.append(_apart(answer(batch, TRAINED), answer(off, TRAINED)))
        plain = logits(off, TRAINED)
        leaks += [float((logits(off, arm) - plain).abs().max()) for arm in ("world_zero", "world_shuffled")]
    differ, leak = int(np.count_nonzero(apart)), max(leaks)
    return [
        Check(
            "predictions differ with the world on and off",
            2 * differ > len(apart),
            f"log-likelihoods differ in {differ} of {len(apart)} cases, by {max(apart):.3g} at most",
            differ,
            len(apart),
        ),
        Check(
            "with the world off, logits do not depend on it",
            leak == 0,
            f"largest difference between world features of its own, zero and another picture's: {leak:.3g}",
            leak,
            0,
        ),
    ]


def _apart(one: Prediction, two: Prediction) -> float:
    """The largest difference of two predictions' log-likelihoods; those of padding are equal."""
    first_BC, second_BC = one["likelihood_BC"], two["likelihood_BC"]
    return float(torch.where(first_BC == second_BC, 0.0, (first_BC - second_BC).abs()).max())
