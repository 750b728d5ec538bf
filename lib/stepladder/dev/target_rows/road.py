"""Rows of the road itself."""

from stepladder.dev import measured as m
from stepladder.dev.target_rows.row import Row

ROWS = (
    Row(
        "loop",
        "loop overhead per step over bare torch",
        "≤ 100 µs CPU",
        m.LOOP,
        lambda r: r["overhead_us"] <= 100,
        absolute=True,
    ),
    Row(
        "engine",
        "our engine's wall time over stock papermill's",
        "≤ 1.10",
        "{ratio:.2f}",
        lambda r: r["ratio"] <= 1.10,
    ),
    Row(
        "fetch",
        "bytes moved for one theme of one city",
        "≤ 1.05 x members + directory",
        m.FETCH,
        lambda r: r["rows"][0]["moved / (members + directory)"] <= 1.05,
    ),
)
