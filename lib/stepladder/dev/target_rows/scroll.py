"""Rows of the study scroll."""

from stepladder.dev import measured as m
from stepladder.dev.target_rows.row import Row, above

ROWS = (
    Row(
        "distance",
        "truncated exact distance transform, 128³, over scipy",
        "≥ 5 x faster, ≥ 5 x leaner",
        m.edt,
        lambda r: r["faster"] >= 5 and r["leaner"] >= 5,
    ),
    Row(
        "patches",
        "random 64³ patches of a 512³ volume",
        "≥ 5,000 per CPU-s, ≥ 0.9 x raw map",
        m.PATCHES,
        lambda r: r["patches_per_cpu_s"]["shard"] >= 5000 and r["shard_over_raw"] >= 0.9,
        absolute=True,
    ),
    Row(
        "scroll_reader",
        "samples per CPU-s over a reader that filters each volume",
        "≥ 50 x",
        m.READER,
        lambda r: r["times_slow"]["ours, augmented"] >= 50,
    ),
    Row(
        "flyem",
        "`flyem`, held-out volume: SurfaceDice@2",
        "above every filter",
        lambda r: m.flyem(r, "SurfaceDice@2"),
        above("SurfaceDice@2"),
        headline=True,
    ),
    Row(
        "flyem",
        "... VOI score",
        "above every filter",
        lambda r: m.flyem(r, "VOI score"),
        above("VOI score"),
        headline=True,
    ),
)
