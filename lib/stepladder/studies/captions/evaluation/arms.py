"""Every arm on the same cases: what the trained projection adds to each of them, or that it adds nothing.

Decisions:
- An arm answers the same questions with the same weights, prompts and seeds; only what stands in its sequence differs.
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
from stepladder.studies.captions.data import sequence
from stepladder.studies.captions.data.layout import CLOSE, OPEN, WORLD
from stepladder.studies.captions.evaluation import effect, meaning, scoring, text_metrics
from stepladder.studies.captions.evaluation.effect import TRAINED
from stepladder.studies.captions.evaluation.paired import half_width, mcnemar
from stepladder.studies.captions.params import CaptionsParams

COLUMNS = ["arm", "metric", "value", "low", "high", "half_width", "n", "families"]
COLUMNS += ["lead", "lead_low", "lead_high", "p", "verdict"]
Answer = Callable[[Batch, str], Prediction]  # batch, arm -> what the arm says of it


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
    for indices, batch in metrics.batches(
        cases, metrics.choose(cases, params.evaluation.samples), params.evaluation.batch
    ):
        for arm in names:
            prediction = answer(batch, arm)
            said = [scoring.item_of(batch, prediction, place) for place in range(len(indices))]
            for record in scoring.score(batch, prediction, params):
                case, item = int(indices[record.item]), said[record.item]
                told = {
                    "method": arm,
                    "group": str(cases.groups[case]),
                    "unit": str(cases.clusters[case]),
                    "case": case,
                }
                rows.append({**told, "answer": item.text or "", "reference": item.reference, **vars(record)})
    return pd.DataFrame(rows).drop(columns="item")


def table(records: pd.DataFrame, params: CaptionsParams) -> pd.DataFrame:
    """Every arm and metric: its value, and what the trained arm is above it.

    Args:
        records: of `answers`.

    Returns:
        Columns `arm, metric, value, low, high, n, families` of the arm itself, `half_width` of an accuracy over n
        questions, and `lead, lead_low, lead_high, verdict` of the trained arm over it, with McNemar's `p` for
        accuracies (nan elsewhere, and for the trained arm).
    """
    summary = metrics.summarize(records, params.evaluation, params.seed)
    summary = summary[(summary["group"] == "all") & np.isfinite(summary["value"])]
    rows = []
    for row in summary.itertuples():
        arm, metric = str(row.method), str(row.metric)
        told = {"arm": arm, "metric": metric, "value": row.value, "low": row.low, "high": row.high}
        told |= {"n": _count(records, arm, metric), "families": row.units}
        if metric in scoring.ACCURACIES:
            told["half_width"] = half_width(row.value, told["n"])
        rows.append(told | (_lead(records, metric, arm, params) if arm != TRAINED else {"verdict": ""}))
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def _count(records: pd.DataFrame, arm: str, metric: str) -> int:
    return int((_of(records, arm, metric)["support"] > 0).sum())


def _of(records: pd.DataFrame, arm: str, metric: str) -> pd.DataFrame:
    return records[(records["method"] == arm) & (records["metric"] == metric)]


def _lead(records: pd.DataFrame, metric: str, arm: str, params: CaptionsParams) -> dict[str, float | str]:
    """The trained arm less another, paired by case and resampled by family."""
    gain = metrics.compare(records, metric, TRAINED, arm, params.evaluation, params.seed)
    lead = {"lead": gain["value"], "lead_low": gain["low"], "lead_high": gain["high"], "verdict": effect.verdict(gain)}
    if metric in scoring.ACCURACIES:
        right = [_of(records, name, metric).query("support > 0").set_index("case") for name in (TRAINED, arm)]
        # A shared first place among equal choices is no right answer
        lead["p"] = mcnemar(*(one["numerator"].sort_index().to_numpy() == 1 for one in right)).p
    return lead


def by_kind(records: pd.DataFrame, metric: str = scoring.ACCURACIES[0]) -> pd.DataFrame:
    """One metric of every arm by kind of question, with the number of questions and what they could not show.

    Temporal questions stand in a row of their own here: whether several frames help is read from it.
    """
    asked = records[(records["metric"] == metric) & (records["support"] > 0)]
    if asked.empty:
        return pd.DataFrame()
    table = asked.pivot_table(index="part", columns="method", values="numerator", sort=False)
    counts = asked[asked["method"] == TRAINED].groupby("part")["case"].size().reindex(table.index)
    table.insert(0, "n", counts)
    table.insert(1, "half_width", [half_width(table.loc[kind, TRAINED], int(n)) for kind, n in counts.items()])
    return table.rename_axis(index="kind", columns=None).reset_index()


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


def report(records: pd.DataFrame, params: CaptionsParams) -> dict[str, pd.DataFrame | str]:
    """What 06 says of the arms' `answers`, by title: the headline, a sentence per arm, tables."""
    compared = table(records, params)
    told = pd.DataFrame({"in words": effect.sentences(compared, params.evaluation.confidence)})
    tables = {
        "Arm by arm": told,
        "Choices by kind of question": by_kind(records),
        "Captions of every arm": captions(records),
    }
    return {
        "What the trained projection adds": effect.sentence(compared),
        "Arms": compared,
        **{title: found for title, found in tables.items() if len(found)},
    }
