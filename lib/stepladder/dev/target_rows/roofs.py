"""Rows of the study roofs."""

from collections.abc import Callable
from typing import Any

from stepladder.dev import measured as m
from stepladder.dev.target_rows.row import Record, Row

NETWORK = "network, 8 views"
OURS = "own, synthetic"  # the road a user without a published encoder takes: synthetic scenes, then real roofs


def _apart(record: Record) -> float:
    """The largest distance of an agreement from the known one."""
    return max(abs(record["agreement"][name] - value) for name, value in record["agreement_expected"].items())


def _agreement(record: Record) -> str:
    mean, outline = (record["agreement"][name] for name in ("mean", "outline"))
    return f"{_apart(record):.4f} at most (mean {mean:.3f}, outline {outline:.3f})"


def _solaris(record: Record) -> str:
    return f"{sum(one['found'] == one['expected'] for one in record['solaris'])} of {len(record['solaris'])} files"


def _saps(values: dict[str, Any]) -> str:
    return " / ".join(f"{values[f'sAP{threshold}']:.1f}" for threshold in (5, 10, 15))


def _lsd(record: Record) -> str:
    return "; ".join(f"{name} {_saps(one['sap'])}" for name, one in record["lines"].items())


def _lines(record: Record) -> str:
    told = [f"{row['method']} {_saps(row)}" for row in record["rows"]]
    best = _line(record, NETWORK)
    spread = f"sAP10 of {NETWORK} {best['low10']:.1f} to {best['high10']:.1f}"
    return f"{'; '.join(told)} ({spread}; {record['cpu_s'] / 60:.0f} CPU-min)"


def _line(record: Record, method: str) -> dict[str, Any]:
    return next(row for row in record["rows"] if row["method"] == method)


def _thrice(record: Record) -> bool:
    """Whether ours has three times the sAP of every version of LSD, at all thresholds."""
    ours = _line(record, NETWORK)
    rivals = [row for row in record["rows"] if row["method"].startswith("LSD") and "HED" not in row["method"]]
    return all(ours[f"sAP{t}"] >= 3 * row[f"sAP{t}"] for row in rivals for t in (5, 10, 15))


def _vectors(record: Record) -> str:
    def one(row: dict[str, Any]) -> str:
        return (
            f"{row['method']} {row['found']} of {row['true']} faces, placement {row['placement_50']:.1f} px, area "
            f"{row['area_50']:.1%}, pitch {row['pitch_50']:.1f}° (medians)"
        )

    return "; ".join(one(row) for row in record["rows"])


def _vectors_met(record: Record) -> bool:
    row = record["rows"][0]
    return (
        row["placement_50"] <= 2 and row["area_50"] <= 0.05 and row["pitch_50"] <= 3 and 2 * row["found"] > row["true"]
    )


def _rid(score: str, people: str, key: str, where: str = "") -> Callable[[Record], str]:
    """Every method by a score of `bench_roofs_rid`, and how far annotators agree."""

    def say(record: Record) -> str:
        told = [f"{row['method']} {row[score]['value']:.3f}" for row in record["rows"]]
        lead = _of(record, OURS)["over forest"][score]
        return f"{'; '.join(told)}; annotators{where} {record[people][key]:.3f}. {OURS} over forest {_signed(lead)}"

    return say


def _gain(record: Record) -> str:
    return "; ".join(
        f"{name}: outline {_signed(gain['outline'])}, superstructure {_signed(gain['superstructure'])}"
        for name, gain in record["gains"].items()
    )


def _signed(value: dict[str, float]) -> str:
    return f"{value['value']:+.3f} ({value['low']:+.3f} to {value['high']:+.3f})"


def _of(record: Record, method: str) -> dict[str, Any]:
    return next(row for row in record["rows"] if row["method"] == method)


def _leads(score: str) -> Callable[[Record], bool]:
    """Whether ours leads the forest on the same images, clear of zero, with all six folds done."""
    return lambda r: len(r["folds"]) == 6 and _of(r, OURS)["over forest"][score]["low"] > 0


def _joint(schedule: str) -> m.Say:
    """Every task of every set that tells: of one model in this schedule, and of the set's own model."""

    def told(record: Record) -> str:
        values = {(row["method"], row["group"], row["metric"]): row["value"] for row in record["values"]}
        tasks = [key[1:] for key in values if key[0] == schedule and max(values[key], values["alone", *key[1:]]) > 0]
        lines = [f"{s} {t} {values[schedule, s, t]:.3f} ({values['alone', s, t]:.3f})" for s, t in tasks]
        worse = [
            f"{row['set']} {row['metric']} {row['value']:+.3f}" for row in _pairs(record, schedule) if row["worse"]
        ]
        silent = sorted({name for _, _, name in values} - {t for _, t in tasks})
        end = [f"worse: {', '.join(worse) or 'none'}", *([f"{', '.join(silent)}: 0 in both"] if silent else [])]
        return "; ".join([", ".join(lines), *end])

    return told


def _pairs(record: Record, schedule: str) -> list[dict[str, Any]]:
    return [row for row in record["differences"] if row["model"] == schedule]


def _none_worse(record: Record) -> bool:
    """No task worse, CPU time equal within a tenth; a task without any answer on both sides compares nothing."""
    cost = {row["model"]: row["cpu_s"] for row in record["cost"]}
    alone = sum(seconds for name, seconds in cost.items() if name.endswith(" alone"))
    equal = abs(cost["mixed"] / alone - 1) <= 0.1
    answered = all(row["low"] < row["high"] for row in _pairs(record, "mixed"))
    return equal and answered and not any(row["worse"] for row in _pairs(record, "mixed"))


def _lost(record: Record, schedule: str) -> dict[str, float]:
    """What of RID, the first set of the plan's order, was forgotten in a schedule: metric -> best less last."""
    rows = record["forgotten"]
    return {row["metric"]: row["lost"] for row in rows if (row["schedule"], row["source"]) == (schedule, "rid")}


def _forgetting(record: Record) -> str:
    names = ("renewed", "sequential", "alternating", "mixed")
    lost = {name: ", ".join(f"{metric} {value:.3f}" for metric, value in _lost(record, name).items()) for name in names}
    return "; ".join(f"{name}: {told}" for name, told in lost.items())


def _kept(record: Record) -> bool:
    return max(_lost(record, "mixed").values()) < 0.01 <= max(_lost(record, "sequential").values())


ROWS = (
    Row(
        "roofs_goldens",
        "agreement of RID's annotators on 18 images, twelve numbers: distance from the known",
        "≤ 0.001",
        _agreement,
        lambda r: _apart(r) <= 0.001,
    ),
    Row(
        "roofs_goldens",
        "solaris' own evaluation files: counts, precision, recall, F1",
        "equal",
        _solaris,
        lambda r: all(one["found"] == one["expected"] for one in r["solaris"]),
    ),
    Row(
        "roofs_goldens",
        "LSD on 99 SimpleRoof crops, sAP 5 / 10 / 15 (on 139: 2.0 / 5.0 / 6.7)",
        "within 1",
        _lsd,
        lambda r: all(abs(r["lines"]["LSD"]["sap"][n] - v) <= 1 for n, v in r["lines_expected"]["LSD"].items()),
    ),
    Row(
        "roofs_lines",
        "lines of the same crops, never trained on: sAP 5 / 10 / 15",
        "≥ 3 x LSD at each",
        _lines,
        _thrice,
        headline=True,
    ),
    Row(
        "roofs_lines",
        "... sAP10 (RoofMapNet reaches 78 on its own large set)",
        "≥ 20",
        lambda r: f"{_line(r, NETWORK)['sAP10']:.1f}",
        lambda r: _line(r, NETWORK)["sAP10"] >= 20,
    ),
    Row(
        "roofs_vectors",
        "synthetic scenes kept out: faces found, lines, area, pitch",
        "most faces, ≤ 2 px, ≤ 5 %, ≤ 3°",
        _vectors,
        _vectors_met,
    ),
    Row(
        "roofs_vectors",
        "1024 x 1024 through the quick model, two threads, after a first one",
        "≤ 2 s, < 1.5 GB",
        "{large[seconds]:.1f} s, {large[peak_gb]:.2f} GB",
        lambda r: r["large"]["seconds"] <= 2 and r["large"]["peak_gb"] < 1.5,
        absolute=True,
    ),
    Row(
        "roofs_rid",
        "RID, 18 real images in six folds, 30 CPU-s each (pre-training apart): outline IoU, all roofs of an image",
        "above the random forest",
        _rid("outline", "annotators", "outline", ", of the middle alone,"),
        _leads("outline"),
    ),
    Row(
        "roofs_rid",
        "... outline IoU of the roof in the middle, which annotators drew",
        "above the random forest",
        _rid("outline of the middle", "annotators", "outline"),
        _leads("outline of the middle"),
    ),
    Row(
        "roofs_rid",
        "... superstructures, mean IoU on the reviewed roof",
        "above the random forest",
        _rid("superstructure", "annotators_on_the_roof", "mean"),
        _leads("superstructure"),
        headline=True,
    ),
    Row(
        "roofs_rid",
        "... any superstructure, IoU on the reviewed roof",
        "above the random forest",
        _rid("any class", "annotators_on_the_roof", "any_class"),
        _leads("any class"),
    ),
    Row("roofs_rid", "... gain of a beginning over a random one", "measured", _gain, None),
    Row(
        "roofs_joint",
        "three synthetic sets in one model, mixed, against three single ones, equal total CPU time: joint (single)",
        "no task worse beyond its paired interval",
        _joint("mixed"),
        _none_worse,
    ),
    Row(
        "roofs_joint",
        "... sequential: RID, Roofline, AIRS",
        "no target (the plan's order, one rate schedule)",
        _joint("sequential"),
        None,
    ),
    Row(
        "roofs_joint",
        "... sequential with a new optimizer for each set, as the plan had it",
        "no target (the plan)",
        _joint("renewed"),
        None,
    ),
    Row(
        "roofs_joint",
        "... what RID loses from its best to the end of training (8 images)",
        "none (< 0.01) under mixed, some under sequential",
        _forgetting,
        _kept,
    ),
)
