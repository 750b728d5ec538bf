"""Rows of the study captions; each function names those of one benchmark."""

from stepladder.dev.target_rows.row import Record, Row


def lists() -> tuple[Row, ...]:
    """Rows of `bench_captions_lists`."""
    return (
        Row(
            "captions_lists",
            "one pass over the nine columns of a list of 1 M rows, every filter on",
            "≤ 20 s, < 1 GB at any length",
            _pass,
            lambda record: record["rows"][0]["cpu_s"] <= 20 and all(row["peak_mb"] < 1000 for row in record["rows"]),
            absolute=True,
        ),
    )


def _pass(record: Record) -> str:
    first, *longer = record["rows"]
    peaks = ", ".join(f"{row['peak_mb']:.0f} MB at {row['rows'] / 1e6:g} M rows" for row in longer)
    return (
        f"{first['cpu_s']:.1f} CPU-s, peak {first['peak_mb']:.0f} MB ({first['imports_mb']:.0f} of it imports), {peaks}"
    )
