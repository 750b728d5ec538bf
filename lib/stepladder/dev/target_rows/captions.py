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
