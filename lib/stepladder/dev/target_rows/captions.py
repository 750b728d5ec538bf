"""Rows of the study captions; each function names those of one benchmark."""

from stepladder.dev.target_rows.row import Record, Row


def offload() -> tuple[Row, ...]:
    """Rows of `bench_offload`."""
    return (
        Row(
            "offload",
            "activations of a transformer that wait in host memory: what stays on the device, time of a step",
            "the same losses and gradients, to the last bit",
            _ways,
            lambda record: all(row["equal"] for row in record["rows"]),
            absolute=True,
        ),
    )


def _ways(record: Record) -> str:
    plain, *others = record["rows"]
    told = (
        f"{row['way']} {row['stays'] / plain['stays']:.0%} for {row['ms'] / plain['ms']:.2f} x the time"
        for row in others
    )
    return f"{plain['stays'] / 1e6:.0f} MB, of which on a {record['device']} " + ", ".join(told)


def goldens() -> tuple[Row, ...]:
    """Rows of `bench_captions_goldens`."""
    return (
        Row(
            "captions_goldens",
            "BLEU-1 to 4, ROUGE-L, CIDEr-D on the example of nlg-eval",
            "equal to 4 digits",
            _metrics,
            lambda record: _off(record) < 5e-5,
        ),
        Row(
            "captions_goldens",
            "BLINK val: published answers of four models, scored",
            "the README's numbers within 0.1",
            _blink,
            lambda record: all(abs(row["mean"] - row["printed"]) <= 0.1 for row in record["blink"]),
        ),
        Row(
            "captions_goldens",
            "free answers to BLINK read as they were for the paper",
            "more than a parser of two rules (77.6 %) and the plan's (45.1 %)",
            _parsers,
            lambda record: record["parsers"][0]["named"] > max(row["named"] for row in record["parsers"][2:]),
        ),
    )


def _off(record: Record) -> float:
    return max(abs(value - record["metrics_expected"][name]) for name, value in record["metrics"].items())


def _metrics(record: Record) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in record["metrics"].items())


def _blink(record: Record) -> str:
    return "; ".join(
        f"{row['model']} {row['mean']:.2f} ± {row['half_width']:.1f} ({row['printed']})" for row in record["blink"]
    )


def _parsers(record: Record) -> str:
    told = ", ".join(f"{row['parser']} {row['named']:.1%}" for row in record["parsers"])
    ours, unseen = record["parsers"][0], record["parsers_test"][0]
    agreed = f"with abstentions that agree {ours['agrees']:.1%}; of answers to test, unseen, {unseen['agrees']:.1%}"
    return f"{told} of {ours['answers']:,} answers to val; ours {agreed}"
