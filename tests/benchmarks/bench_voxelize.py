"""Voxelising a real tile (Matsumoto 54372798, LOD2): CPU-seconds, peak memory, exactness, beside open3d.

Run `python tests/benchmarks/bench_voxelize.py`. Every figure is taken in a process of its own. Where the environment
variable STEPLADDER_OPEN3D_PYTHON names a Python that has open3d, the same triangles go through it in the same run;
where it does not, open3d's figures of the last run that had it are kept, with ours of that run.
The record is tests/benchmarks/records/voxelize.json.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from stepladder.dev import records

ROOT = Path(__file__).resolve().parents[2]
TILE = "plateau/20202_matsumoto/udx/bldg/54372798_bldg_6697_op.gml.gz"
SIZES_M = (1.0, 0.5, 0.4)
TARGETS = {"cpu_s": 3.0, "peak_mb": 500.0}

OPEN3D = """
import json, sys, time
import numpy as np, open3d as o3d
stored, voxel_m = np.load(sys.argv[1]), float(sys.argv[2])
triangles = stored["triangles_N33"]
corner = np.floor(triangles.min((0, 1)) / voxel_m) - 2
local = triangles - corner * voxel_m
points = o3d.utility.Vector3dVector(local.reshape(-1, 3))
faces = o3d.utility.Vector3iVector(np.arange(local.size // 3).reshape(-1, 3))
mesh = o3d.geometry.TriangleMesh(points, faces)
begin = time.process_time()
top = local.max((0, 1)) + 2 * voxel_m
grid = o3d.geometry.VoxelGrid.create_from_triangle_mesh_within_bounds(mesh, voxel_m, np.zeros(3), top)
cpu_s = time.process_time() - begin
index = np.array([voxel.grid_index for voxel in grid.get_voxels()]) + corner.astype(int)
np.save(sys.argv[3], index.astype(np.int32))
status = open("/proc/self/status").read()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"cpu_s": cpu_s, "peak_mb": peak, "voxels": len(index)}))
"""


def main() -> None:
    """Measure, print, record."""
    from stepladder.studies.plateau.data.citygml import reader

    shared = Path(os.environ.get("STEPLADDER_SHARED_DATA") or ROOT.parent / "shared" / "data")
    other = os.environ.get("STEPLADDER_OPEN3D_PYTHON")
    with tempfile.TemporaryDirectory() as folder:
        tile, cache = Path(folder, "tile.npz"), {"NUMBA_CACHE_DIR": folder}
        surfaces = reader.read(shared / TILE)
        np.savez(tile, triangles_N33=surfaces.triangles_N33, label_N=surfaces.label_N)
        cold = child([sys.executable, __file__, str(tile), "1.0", f"{folder}/cold.npy"], cache)
        print(f"{len(surfaces.label_N):,} triangles; compiling once: {cold['compile_s']:.1f} CPU-s")
        earlier = {row["voxel_m"]: row["open3d"] for row in records.last(__file__).get("rows", []) if "open3d" in row}
        rows = []
        for voxel_m in SIZES_M:
            row = {"voxel_m": voxel_m}
            row |= child([sys.executable, __file__, str(tile), str(voxel_m), f"{folder}/ours.npy"], cache)
            if other:
                theirs = child([other, "-c", OPEN3D, str(tile), str(voxel_m), f"{folder}/theirs.npy"])
                differ = difference(np.load(f"{folder}/ours.npy"), np.load(f"{folder}/theirs.npy"))
                row["open3d"] = {**theirs, **differ, "ours_cpu_s": row["cpu_s"]}
            elif voxel_m in earlier:
                row["open3d"] = earlier[voxel_m]
            rows.append(row)
            show(row)
    record = {"tile": TILE, "triangles": len(surfaces.label_N), "compile_s": cold["compile_s"], "targets": TARGETS}
    records.write(__file__, {**record, "rows": rows})


def measure(tile: str, voxel_m: float, result: str) -> dict:
    """What a child process does: voxelise the stored triangles, write the voxels, say what it took."""
    from stepladder.studies.plateau.data.tiles.voxelize import voxelize

    with np.load(tile) as stored:
        triangles_N33, label_N = stored["triangles_N33"], stored["label_N"]
    begin = time.process_time()
    voxelize(triangles_N33[:1], label_N[:1], voxel_m)
    compile_s, base_mb = time.process_time() - begin, peak_mb()
    begin = time.process_time()
    index_M3, label_M = voxelize(triangles_N33, label_N, voxel_m)
    figures = {"cpu_s": time.process_time() - begin, "compile_s": compile_s, "base_mb": base_mb, "peak_mb": peak_mb()}
    np.save(result, index_M3)
    labels = {str(label): int((label_M == label).sum()) for label in np.unique(label_M)}
    return {**figures, "voxels": len(label_M), "voxels_by_label": labels}


def difference(ours_M3: np.ndarray, theirs_M3: np.ndarray) -> dict[str, int]:
    """How many voxels only one of the two has."""
    ours, theirs = (
        np.ravel_multi_index(((a - ours_M3.min(0) + 4) % 2**14).T, [2**14] * 3) for a in (ours_M3, theirs_M3)
    )
    return {"only_ours": len(np.setdiff1d(ours, theirs)), "only_open3d": len(np.setdiff1d(theirs, ours))}


def child(command: list[str], environment: dict[str, str] | None = None) -> dict:
    """Run a command; the JSON of its last line."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def show(row: dict) -> None:
    """One line per voxel size."""
    line = (
        f"{row['voxel_m']:.1f} m: {row['voxels']:>10,} voxels  {row['cpu_s']:6.2f} CPU-s  {row['peak_mb']:6.0f} MB peak"
    )
    if "open3d" in row:
        theirs = row["open3d"]
        line += f" | open3d {theirs['voxels']:>10,}  {theirs['cpu_s']:6.2f} CPU-s  {theirs['peak_mb']:6.0f} MB"
        line += f" | only ours {theirs['only_ours']}, only open3d {theirs['only_open3d']}"
    print(line, flush=True)


def peak_mb() -> float:
    """Largest resident memory of this process so far (`ru_maxrss` would begin with the parent's)."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], float(sys.argv[2]), sys.argv[3])))
    else:
        main()
