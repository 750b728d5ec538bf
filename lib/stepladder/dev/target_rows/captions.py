"""Rows of the study captions."""

from stepladder.dev.target_rows.row import Record, Row


def _odd(record: Record) -> str:
    """Both rows of `bench_images`: what was given, and what became of it."""

    def one(name: str) -> str:
        row = record["rows"][name]
        classed = ", ".join(f"{outcome} {count}" for outcome, count in row["classed"].items())
        ends = f"{row['crashes']} crashes, {row['hangs']} hangs, {row['peak_gb']:.2f} GB at most"
        return f"{row['pictures']} {name}: {row['kept']} decoded, {classed}; {ends}"

    return f"{one('files')}; {one('bombs')}"


def _odd_met(record: Record) -> bool:
    rows = record["rows"].values()
    whole = all(row["kept"] + sum(row["classed"].values()) == row["pictures"] for row in rows)
    return whole and all(row["crashes"] == row["hangs"] == 0 and row["peak_gb"] < 2 for row in rows)


def _reads(record: Record) -> str:
    told = ", ".join(f"{name} {row['us']:.0f}" for name, row in record["rows"].items())
    ratios = record["ratios"]
    bytes_alone = f"bytes alone {ratios['webdataset_bytes']:.1f} x webdataset"
    return f"{ratios['files']:.2f} x files, {ratios['webdataset']:.2f} x webdataset; {bytes_alone} (CPU-us: {told})"


def images() -> tuple[Row, ...]:
    """Pictures of unknown origin, and tars."""
    return (
        Row(
            "images",
            "odd, broken and hostile picture files through the bounded decoder",
            "0 crashes, 0 hangs, < 2 GB, each decoded or classed",
            _odd,
            _odd_met,
            headline=True,
        ),
        Row(
            "images",
            "near-duplicates among 100,000 hashes within 7 bits of 64, exactly",
            "all planted ones",
            lambda r: f"{r['near']['found']} of {r['near']['planted']} in {r['near']['cpu_s']:.1f} CPU-s",
            lambda r: r["near"]["found"] == r["near"]["planted"],
        ),
        Row(
            "tars",
            "random reads of 2,000 JPEG files (256 x 256) from tars with decoding, per CPU-second",
            "≥ 1.0 x files with Pillow, ≥ 1.5 x webdataset",
            _reads,
            lambda r: r["ratios"]["files"] >= 1 and r["ratios"]["webdataset"] >= 1.5,
        ),
    )


ROWS = (*images(),)
