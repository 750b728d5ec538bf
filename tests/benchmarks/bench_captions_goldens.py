"""Captions: our metrics and our reading of answers against numbers that others printed. Needs the real files.

Run `python tests/benchmarks/bench_captions_goldens.py`: BLEU, ROUGE-L and CIDEr-D on the example of nlg-eval; four
models' published answers to BLINK scored to the README's leaderboard; on all 7,604 answers to `val`, how often our
parser reads what was read for the paper, beside two rivals. Its rules were written on these answers, so the same is
told of the 7,624 answers to `test`, which nobody looked at. Pairs of sentences for the judge of meaning. Every accuracy
stands beside the difference that its number of questions could not show. The record is
tests/benchmarks/records/captions_goldens.json.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stepladder.dev import records
from stepladder.studies.captions.evaluation import blink, meaning, parser, text_metrics
from stepladder.studies.captions.evaluation.paired import detectable, mcnemar

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("STEPLADDER_SHARED_DATA") or ROOT.parent / "shared" / "data") / "captions"
GOLDENS = {
    "BLEU-1": 0.55, "BLEU-2": 0.428174, "BLEU-3": 0.284043, "BLEU-4": 0.201143, "ROUGE-L": 0.522104,
    "CIDEr-D": 1.242192,
}  # fmt: skip
README = {"GPT4o": 60.0, "GPT4Turbo": 54.6, "llava_v1.5_7b": 37.1, "MiniGPT-4-v2": 34.2}
PAIRS = (("cat", "kitten"), ("A cat sits on the sofa.", "The stock market fell today."))


def main() -> None:
    """Measure, print, record."""
    saved = DATA / "zeyofu__BLINK_Benchmark" / "eval" / "saved_outputs"
    answers = {model: blink.outputs(saved / model) for model in README}
    unseen = {model: blink.outputs(saved / model, "test") for model in README}
    record = {
        "metrics": metrics(),
        "metrics_expected": GOLDENS,
        "blink": [scored(model, table) for model, table in answers.items()],
        "parsers": parsers(answers),
        "parsers_test": parsers(unseen),
        "meaning": {" / ".join(pair): meaning.meaning(*pair) for pair in PAIRS},
        "could_not_be_seen": compared(answers["GPT4o"], answers["GPT4Turbo"]),
    }
    for name, value in record["metrics"].items():
        print(f"{name}: {value:.6f} ({GOLDENS[name]})")
    for row in record["blink"]:
        print(f"BLINK val, {row['model']}: {row['mean']:.2f} ± {row['half_width']:.1f} (README {row['printed']})")
    for row in [*record["parsers"], *record["parsers_test"]]:
        told = f"the same letter {row['named']:.1%}, abstentions included {row['agrees']:.1%}"
        print(f"{row['parser']}, of {row['answers']} answers: {told}, abstains {row['abstains']:.1%}")
    print(record["meaning"])
    for row in record["could_not_be_seen"]:
        told = f"{row['difference']:+.1f} points, McNemar p = {row['p']:.3f}, n = {row['n']}"
        print(f"GPT4o over GPT4Turbo, {row['task']}: {told}, less than {row['detectable']:.1f} points cannot be seen")
    records.write(__file__, record)


def metrics() -> dict[str, float]:
    """The example of nlg-eval: two answers, two references each."""
    names = ("hyp.txt", "ref1.txt", "ref2.txt")
    folder = DATA / "Maluuba__nlg-eval" / "examples"
    answers, *references = ((folder / name).read_text(encoding="utf-8").splitlines() for name in names)
    return text_metrics.corpus(answers, list(zip(*references, strict=True)))


def scored(model: str, answers: pd.DataFrame) -> dict[str, Any]:
    """One model's published readings, scored; and its free answers by our parser."""
    table = blink.score(answers["task"], list(answers["prediction"] == answers["answer"]))
    mean = table.iloc[-1]
    tasks = dict(zip(table["task"], table["accuracy"], strict=True))
    ours = [
        parser.parse(text, choices) for text, choices in zip(answers["full_prediction"], shown(answers), strict=True)
    ]
    right = [
        place is not None and f"({parser.LETTERS[place]})" == one
        for place, one in zip(ours, answers["answer"], strict=True)
    ]
    by_parser = blink.score(answers["task"], right, [place is None for place in ours]).iloc[-1]
    printed = {"model": model, "printed": README[model], "mean": float(mean["accuracy"]), "n": int(mean["n"])}
    by_ours = {"by_our_parser": float(by_parser["accuracy"]), "abstained": float(by_parser["abstained"])}
    return {**printed, "half_width": float(mean["half_width"]), **by_ours, "tasks": tasks}


def shown(answers: pd.DataFrame) -> list[Sequence[str]]:
    """The choices that every answer had, as far as they are known."""
    return [blink.TASKS[task] or tuple("ABCD") for task in answers["task"]]


def parsers(answers: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """How every parser agrees with the published readings, over all models and model by model."""
    every = pd.concat(answers.values(), ignore_index=True)
    ways: dict[str, tuple[blink.Parser, bool]] = {
        "ours": (parser.parse, True),
        "ours, letters alone": (parser.parse, False),
        "two rules": (lambda text, _: parser.two_rules(text), False),
        "the plan's rules": (lambda text, _: parser.never_abstains(text), False),
    }
    return [
        {
            "parser": name,
            "answers": len(every),
            **blink.agreement(every, way, words),
            "by_model": {model: blink.agreement(one, way, words)["agrees"] for model, one in answers.items()},
        }
        for name, (way, words) in ways.items()
    ]


def compared(one: pd.DataFrame, other: pd.DataFrame) -> list[dict[str, Any]]:
    """Two models on two tasks: what a paired test says, and what it could not have."""
    both = one.merge(other, on=["task", "idx"])
    rows = []
    for task in ("Relative_Depth", "Spatial_Relation"):
        asked = both[both["task"] == task]
        first, second = ((asked[f"prediction_{side}"] == asked[f"answer_{side}"]).to_numpy() for side in "xy")
        test = mcnemar(first, second)
        difference = 100 * float(first.mean() - second.mean())
        seen = 100 * detectable(len(asked), (test.first + test.second) / len(asked))
        rows.append({"task": task, "n": len(asked), "difference": difference, "p": test.p, "detectable": seen})
    return rows


if __name__ == "__main__":
    main()
