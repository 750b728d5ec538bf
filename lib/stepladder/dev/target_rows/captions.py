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


def download() -> tuple[Row, ...]:
    """Rows of `bench_download`."""
    return (
        Row(
            "download",
            "5,000 URLs over 300 hosts of a faulty server, the download killed 10 times",
            "every row in its class, nothing asked twice but what was in hand, ledger = tars",
            "{right_class:,} of {rows:,} rows in their class, {asked_though_settled} asked again that the ledger had, "
            "{asked_twice} asked twice that were in hand, {tars_differ_from_ledger} differ between ledger and tars",
            _kept,
        ),
        Row(
            "download",
            "CPU of the download per picture, without decoding",
            "≤ 2 ms",
            "{cpu_ms_per_picture:.2f} ms",
            lambda record: record["cpu_ms_per_picture"] <= 2,
            absolute=True,
        ),
    )


def _kept(record: Record) -> bool:
    faults = ("unclassed", "asked_though_settled", "tars_differ_from_ledger")
    in_hand = record["in_hand_at_kills"]
    return (
        record["right_class"] == record["rows"]
        and not any(record[fault] for fault in faults)
        and max(in_hand) <= record["most_in_hand"]
        and record["asked_twice"] <= sum(in_hand)
        and record["tars_equal_undisturbed"]
    )


def _ways(record: Record) -> str:
    plain, *others = record["rows"]
    told = (
        f"{row['way']} {row['stays'] / plain['stays']:.0%} for {row['ms'] / plain['ms']:.2f} x the time"
        for row in others
    )
    return f"{plain['stays'] / 1e6:.0f} MB, of which on a {record['device']} " + ", ".join(told)
