"""What is measured, its target, and how its record says it in one cell of a table.

`make bench` writes `tests/benchmarks/records/*.json`; `ROWS`, at the end, names the record behind every row of README.
"""

from collections.abc import Callable
from statistics import mean, median
from typing import Any

Say = Callable[[dict[str, Any]], str]


def _loop(record: dict[str, Any]) -> str:
    return f"{record['overhead_us']:.0f} µs (bare step {record['bare_us']:.0f} µs)"


def _fetch(record: dict[str, Any]) -> str:
    row = record["rows"][0]
    return f"{row['moved / (members + directory)']:.3f} x in {row['requests']} requests"


def _citygml(record: dict[str, Any]) -> str:
    seconds, floor = record["cpu_seconds"]["read"], record["read_over_floor"]
    return f"{seconds:.2f} CPU-s ({floor:.1f} x the bare XML parse of the same run)"


def _clips(record: dict[str, Any]) -> str:
    return f"{median(record['clips_per_cpu_s']):.0f} per CPU-s"


def _search(record: dict[str, Any]) -> str:
    share = {name: f"{row['jobs_at_95_percent']:.0%}" for name, row in record["methods"].items()}
    ours, *others = share.values()
    return f"{ours} of jobs (batch doubling {others[0]}, hill climb {others[1]})"


def _search_cost(record: dict[str, Any]) -> str:
    rows = list(record["methods"].values())
    ooms = ", ".join(f"{row['ooms_per_job']:.2g}" for row in rows)
    return f"{rows[0]['median_cost']:.1%}; OOMs per job {ooms}"


def _emulated(record: dict[str, Any], key: str) -> str:
    return ", ".join(f"{job['job']} {job[key]:.1%}" for job in record["jobs"])


def _real(record: dict[str, Any]) -> str:
    return "; ".join(f"{job['job']} {job['share_of_best']:.0%} for {job['cost']:.0%}" for job in record["jobs"])


def _law(record: dict[str, Any]) -> str:
    laws = record["laws"]
    told = (f"{w['metric']} {w['verdict']}: {w['measured']:.3f}, {_band(w['forecast'])} foretold" for w in laws)
    return "; ".join(told)


def _band(band: dict[str, float]) -> str:
    return f"{band['value']:.3f} [{band['low']:.3f}, {band['high']:.3f}]"


def _stages(record: dict[str, Any]) -> str:
    verdicts = record["gates"].items()
    return "; ".join(f"{stage} {'kept' if ok else 'not kept'}: {why.split(';')[0]}" for stage, (ok, why) in verdicts)


def _by_tool(record: dict[str, Any], say: Say) -> str:
    """The tools' rows of every job, side by side."""
    jobs = dict.fromkeys(row["job"] for row in record["rows"])
    return "; ".join(f"{job} {', '.join(say(row) for row in record['rows'] if row['job'] == job)}" for job in jobs)


def _peers(record: dict[str, Any]) -> str:
    return _by_tool(record, lambda row: f"{row['samples_per_s']:.0f}")


def _peer_cost(record: dict[str, Any]) -> str:
    return _by_tool(record, lambda row: f"{row['seconds']:.0f} s / {row['out_of_memory']}")


def _reference_workloads(record: dict[str, Any]) -> str:
    right = sum(all(row["checks"].values()) for row in record.values())
    return f"{right} of {len(record)}; the longest {max(row['seconds'] for row in record.values()):.0f} s"


def _memory(record: dict[str, Any]) -> str:
    return ", ".join(f"{row['error']:+.1%}" for row in record["rows"])


def _survival(record: dict[str, Any]) -> str:
    told = [fault["ok"] for host in record["hosts"].values() for fault in host.values()]
    return f"{sum(told)} of {len(told)}"


def _edt(record: dict[str, Any]) -> str:
    return f"{record['faster']:.0f} x faster, {min(record['leaner'], 1000):.0f} x leaner or more, equal bits"


def _patches(record: dict[str, Any]) -> str:
    return f"{record['patches_per_cpu_s']['shard']:,.0f} per CPU-s, {record['shard_over_raw']:.2f} x raw map"


def _reader(record: dict[str, Any]) -> str:
    return f"{record['times_slow']['ours, augmented']:,.0f} x, augmentation included"


def _flyem(record: dict[str, Any], metric: str) -> str:
    rows = [row for row in record["summary"] if row["metric"] == metric and row["group"] == "all"]
    values = {row["method"]: row["value"] for row in rows}
    others = [f"{name.replace('_', ' ')} {values[name]:.3f}" for name in ("sheetness", "sheetness_post")]
    return f"{values['model']:.3f} ({', '.join(others)})"


def _rows(record: dict[str, Any], method: str, key: str) -> float:
    """Mean over the seeds of a method."""
    return mean(row[key] for row in record["rows"] if row["method"] == method)


def _burgers(record: dict[str, Any]) -> str:
    shown = {name: _rows(record, name, "nrmse") for name in ("operator", "FNO", "ridge")}
    seeds = sum(row["method"] == "operator" for row in record["rows"])
    return ", ".join(f"{name} {value:.4f}" for name, value in shown.items()) + f" ({seeds} seeds)"


def _task(record: dict[str, Any], task: str, *methods: str, key: str = "nrmse") -> str:
    """Methods side by side for every group of a task, means over seeds: `eps=0.1 0.0050 (FNO 0.0178)`."""
    rows = [row for row in record["rows"] if row["task"] == task and row["method"] in methods]
    if not rows:
        return "not run"
    told = []
    for group in dict.fromkeys(row.get("group", "") for row in rows):
        own = [row for row in rows if row.get("group", "") == group]
        values = {m: mean(row[key] for row in own if row["method"] == m) for m in methods if _has(own, m)}
        first, *others = values
        rest = f" ({', '.join(f'{name} {values[name]:.4f}' for name in others)})" if others else ""
        told.append(f"{group.split(' ', 1)[-1]} {values[first]:.4f}{rest}".strip())
    seeds = max(sum(row["method"] == methods[0] and row.get("group", "") == g for row in rows) for g in _groups(rows))
    return "; ".join(told) + (f"; {seeds} seeds" if seeds > 1 else "")


def _has(rows: list[dict[str, Any]], method: str) -> bool:
    return any(row["method"] == method for row in rows)


def _groups(rows: list[dict[str, Any]]) -> set[str]:
    return {row.get("group", "") for row in rows}


def _advection(record: dict[str, Any]) -> str:
    return _task(record, "advection", "operator", "FNO of its own")


def _viscous(record: dict[str, Any]) -> str:
    """Every viscosity, then the held-out one beside two other trainings."""
    rows = [row for row in record["rows"] if row["task"] == "burgers_eps" and row.get("group") == "burgers eps=0.03"]
    others = {"operator, one clock": "without other clocks", "operator, eps 0.03 too": "trained on its files too"}
    told = [f"{said} {row['nrmse']:.4f}" for row in rows if (said := others.get(row["method"]))]
    return "; ".join([_task(record, "burgers_eps", "operator"), *([f"eps=0.03 {', '.join(told)}"] if told else [])])


def _mixed(record: dict[str, Any]) -> str:
    return _task(record, "mix", "operator, joint", "operator, single")


def _steady(record: dict[str, Any], task: str) -> str:
    rivals = ("ridge", "nearest", "polynomial of degree 3")
    return _task(record, task, "operator", *rivals, key="l2re")


def _particles(record: dict[str, Any]) -> str:
    return _task(record, "particles", "operator", "constant velocity", "constant acceleration")


def _nets(record: dict[str, Any]) -> str:
    methods = list(dict.fromkeys(row["method"] for row in record["rows"] if row["task"] == "nets"))
    return _task(record, "nets", *methods) if methods else "not run"


def _solvers(record: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {seconds:.0f} CPU-s" for name, seconds in record["burgers_cpu_s_per_200"].items())


def _voxels(record: dict[str, Any]) -> str:
    row = next(row for row in record["rows"] if row["voxel_m"] == 0.4)
    return f"{row['cpu_s']:.1f} CPU-s, {row['peak_mb']:.0f} MB, {row['voxels'] / 1e6:.2f} M voxels"


def _open3d(record: dict[str, Any]) -> str:
    row = next(row for row in record["rows"] if row["voxel_m"] == 0.5)
    if "open3d" not in row:
        return "open3d not installed in this run"
    speed = row["open3d"]["cpu_s"] / row["cpu_s"]
    return (
        f"{row['only_ours'] + row['only_open3d']} of {row['voxels']:,} cells differ; open3d takes {speed:.1f} x the CPU"
    )


def _osaka(record: dict[str, Any], metric: str) -> str:
    """Gains over ego-warp with their intervals, by horizon."""
    rows = [gain for gain in record["gains"] if gain["metric"].startswith(metric) and gain["against"] == "ego_warp"]
    return ", ".join(f"{gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]" for gain in rows)


# Record -> what was measured, the target, and how the record says it; by part of the project.
ROWS: dict[str, tuple[tuple[str, str, str, Say], ...]] = {
    "The road": (
        ("loop", "loop overhead per step over bare torch", "≤ 100 µs CPU", _loop),
        ("engine", "our engine's wall time over stock papermill's", "≤ 1.10", lambda r: f"{r['ratio']:.2f}"),
        ("fetch", "bytes moved for one theme of one city", "≤ 1.05 x members + directory", _fetch),
    ),
    "The ladder": (
        ("search", "200 simulated jobs: ≥ 95 % of the best rate in", "≥ 90 % of jobs", _search),
        ("search", "... at a median cost of", "≤ 10 % of the grid, no OOM", _search_cost),
        (
            "emulated",
            "jobs A-D, real loader: share of the best rate",
            "≥ 98 %",
            lambda r: _emulated(r, "share_of_best"),
        ),
        ("emulated", "... for", "≤ 10 % of the grid's time", lambda r: _emulated(r, "cost")),
        ("real", "real jobs against the grid of the same run", "≥ 95 % for ≤ 30 %", _real),
        ("peers", "samples/s found on A-D: ladder, Lightning, accelerate", "the most", _peers),
        ("peers", "... seconds, and out-of-memory deaths", "the fewest", _peer_cost),
        ("reference_workloads", "six known workloads diagnosed", "all, ≤ 3 minutes each", _reference_workloads),
        ("memory", "memory forecast at 4 x the largest probed batch", "-3 to +10 %", _memory),
        ("survival", "faults x {script, kernel, papermill} told rightly", "all, no orphan", _survival),
    ),
    "PLATEAU": (
        ("citygml", "parse + triangulate a real 42 MB tile", "≤ 1.0 CPU-s", _citygml),
        ("voxelize", "its labelled exact surface voxels at 0.4 m", "≤ 3 CPU-s, < 500 MB", _voxels),
        ("voxelize", "same occupied set as open3d at 0.5 m", "equal up to touched faces", _open3d),
        ("clips", "random 16-frame clips of 200 x 200 x 16 from shards", "≥ 20 per CPU-s", _clips),
        ("osaka", "`osaka`, held-out tile: IoU at 1, 2, 3 s over ego-warp", "≥ 0", lambda r: _osaka(r, "IoU@")),
        ("osaka", "... on newly revealed voxels", "clearly above 0", lambda r: _osaka(r, "IoU new@")),
    ),
    "Scroll": (
        ("distance", "truncated exact distance transform, 128³, over scipy", "≥ 5 x faster, ≥ 5 x leaner", _edt),
        ("patches", "random 64³ patches of a 512³ volume", "≥ 5,000 per CPU-s, ≥ 0.9 x raw map", _patches),
        ("scroll_reader", "samples per CPU-s over a reader that filters each volume", "≥ 50 x", _reader),
        ("flyem", "`flyem`, held-out volume: SurfaceDice@2", "above sheetness", lambda r: _flyem(r, "SurfaceDice@2")),
        ("flyem", "... VOI score", "above sheetness", lambda r: _flyem(r, "VOI score")),
    ),
    "PDE": (
        ("burgers", "Burgers eps 0.01, 20 steps, 150 CPU-s: nRMSE", "≤ 0.02, below our FNO", _burgers),
        ("burgers", "... mass drift (cRMSE)", "< 0.001", lambda r: f"{_rows(r, 'operator', 'crmse'):.1e}"),
        ("tasks", "advection, one model for 4 speeds: nRMSE", "below each FNO, equal total CPU", _advection),
        ("tasks", "... told a wrong speed", "clearly worse", lambda r: _task(r, "advection", "operator, wrong speed")),
        ("tasks", "Burgers, 4 viscosities in one model: nRMSE", "eps 0.03 ≤ 2 x its neighbours", _viscous),
        ("tasks", "three equations in one model: nRMSE", "joint beside single", _mixed),
        ("tasks", "Darcy, 16 x 16, real file: L2RE", "below ridge, nearest", lambda r: _steady(r, "darcy")),
        ("tasks", "Poisson, mesh with holes, real file: L2RE", "below ridge, nearest", lambda r: _steady(r, "mesh")),
        ("tasks", "Lennard-Jones, real file, 20 frames: nRMSE", "below constant velocity", _particles),
        ("tasks", "Burgers eps 0.01, networks of one size, 150 CPU-s: nRMSE", "below all", _nets),
        ("steady", "steady prior over Darcy's operator: kept?", "only what wins", _stages),
        ("scaling_law", "scaling law: a run outside its grid, 4 x in both", "in its forecast band", _law),
        ("stages", "flow over the operator's error, its student: kept?", "only what wins", _stages),
        ("solvers", "Burgers, 1024 cells, 200 trajectories", "≤ 60 s", _solvers),
    ),
}
