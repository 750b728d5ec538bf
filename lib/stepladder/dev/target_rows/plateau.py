"""Rows of the study plateau."""

from stepladder.dev import measured as m
from stepladder.dev.target_rows.row import Record, Row, above

SECONDS = ("@1s", "@2s", "@3s")


def _voxels(record: Record, voxel_m: float) -> Record:
    return next(row for row in record["rows"] if row["voxel_m"] == voxel_m)


ROWS = (
    Row(
        "citygml",
        "parse + triangulate a real 42 MB tile",
        "≤ 1.0 CPU-s",
        m.CITYGML,
        lambda r: r["cpu_seconds"]["read"] <= 1,
        absolute=True,
    ),
    Row(
        "voxelize",
        "its labelled exact surface voxels at 0.4 m",
        "≤ 3 CPU-s, < 500 MB",
        m.voxels,
        lambda r: _voxels(r, 0.4)["cpu_s"] <= 3 and _voxels(r, 0.4)["peak_mb"] < 500,
        absolute=True,
    ),
    Row(
        "voxelize",
        "same occupied set as open3d at 0.5 m",
        "equal up to touched faces",
        m.open3d,
        lambda r: "open3d" in _voxels(r, 0.5) and _voxels(r, 0.5)["open3d"]["only_ours"] == 0,
    ),
    Row(
        "clips",
        "random 16-frame clips of 200 x 200 x 16 from shards",
        "≥ 20 per CPU-s",
        m.clips,
        lambda r: min(r["clips_per_cpu_s"]) >= 20,
        absolute=True,
    ),
    Row(
        "osaka",
        "`osaka`, held-out tile: IoU at 1, 2, 3 s",
        "clearly above the best warp",
        lambda r: m.osaka(r, "IoU"),
        above("IoU", SECONDS),
        headline=True,
    ),
    Row(
        "osaka",
        "... on newly revealed voxels, where no warp can answer",
        "clearly above the last frame",
        lambda r: m.osaka(r, "IoU new"),
        above("IoU new", SECONDS),
        headline=True,
    ),
)
