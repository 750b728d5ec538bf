"""What is measured, its target, and how its record says it in one cell of a table: by a text, or a function of it.

`make bench` writes `tests/benchmarks/records/*.json`; `ROWS`, at the end, names the record behind every row of README.
"""

from collections.abc import Callable
from statistics import mean, median
from typing import Any

Say = str | Callable[[dict[str, Any]], str]  # `{loss:.2f}`, filled in from the record, or a function of it

LOOP = "{overhead_us:.0f} µs (bare step {bare_us:.0f} µs)"
FETCH = "{rows[0][moved / (members + directory)]:.3f} x in {rows[0][requests]} requests"
CITYGML = "{cpu_seconds[read]:.2f} CPU-s ({read_over_floor:.1f} x the bare XML parse of the same run)"
PATCHES = "{patches_per_cpu_s[shard]:,.0f} per CPU-s, {shard_over_raw:.2f} x raw map"
READER = "{times_slow[ours, augmented]:,.0f} x, augmentation included"


def said(record: dict[str, Any], say: Say) -> str:
    """What a record, or a row of one, says by `say`."""
    return say.format_map(record) if isinstance(say, str) else say(record)


def _each(rows: str, say: Say, between: str = ", ") -> Say:
    """What every one of a record's `rows` says, one after the other."""
    return lambda record: between.join(said(row, say) for row in record[rows])


def _by_tool(say: str) -> Say:
    """The tools' rows of every job, side by side."""

    def told(record: dict[str, Any]) -> str:
        jobs: dict[str, list[str]] = {}
        for row in record["rows"]:
            jobs.setdefault(row["job"], []).append(said(row, say))
        return "; ".join(f"{job} {', '.join(tools)}" for job, tools in jobs.items())

    return told


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


def _stages(record: dict[str, Any]) -> str:
    verdicts = record["gates"].items()
    return "; ".join(f"{stage} {'kept' if ok else 'not kept'}: {why.split(';')[0]}" for stage, (ok, why) in verdicts)


def _reference_workloads(record: dict[str, Any]) -> str:
    right = sum(all(row["checks"].values()) for row in record.values())
    return f"{right} of {len(record)}; the longest {max(row['seconds'] for row in record.values()):.0f} s"


def _survival(record: dict[str, Any]) -> str:
    told = [fault["ok"] for host in record["hosts"].values() for fault in host.values()]
    return f"{sum(told)} of {len(told)}"


def _edt(record: dict[str, Any]) -> str:
    return f"{record['faster']:.0f} x faster, {min(record['leaner'], 1000):.0f} x leaner or more, equal bits"


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


def _task(task: str, *methods: str, key: str = "nrmse") -> Say:
    """Methods side by side for every group of a task, means over seeds: `eps=0.1 0.0050 (FNO 0.0178)`."""

    def told(record: dict[str, Any]) -> str:
        groups: dict[str, dict[str, list[float]]] = {}  # group -> method -> a value per seed
        for row in record["rows"]:
            if row["task"] == task and row["method"] in methods:
                groups.setdefault(row.get("group", ""), {}).setdefault(row["method"], []).append(row[key])
        lines = []
        for group, values in groups.items():
            first, *others = ((name, mean(values[name])) for name in methods if name in values)
            rest = f" ({', '.join(f'{name} {value:.4f}' for name, value in others)})" if others else ""
            lines.append(f"{group.split(' ', 1)[-1]} {first[1]:.4f}{rest}".strip())
        seeds = max((len(values.get(methods[0], ())) for values in groups.values()), default=0)
        return "; ".join(lines or ["not run"]) + (f"; {seeds} seeds" if seeds > 1 else "")

    return told


def _viscous(record: dict[str, Any]) -> str:
    """Every viscosity, then the held-out one beside two other trainings."""
    rows = [row for row in record["rows"] if row["task"] == "burgers_eps" and row.get("group") == "burgers eps=0.03"]
    others = {"operator, one clock": "without other clocks", "operator, eps 0.03 too": "trained on its files too"}
    told = [f"{word} {row['nrmse']:.4f}" for row in rows if (word := others.get(row["method"]))]
    return "; ".join(
        [said(record, _task("burgers_eps", "operator")), *([f"eps=0.03 {', '.join(told)}"] if told else [])]
    )


def _nets(record: dict[str, Any]) -> str:
    methods = list(dict.fromkeys(row["method"] for row in record["rows"] if row["task"] == "nets"))
    return said(record, _task("nets", *methods))


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


SHARE = _each("jobs", "{job} {share_of_best:.1%}")
REAL = _each("jobs", "{job} {share_of_best:.0%} for {cost:.0%}", "; ")
PEERS = _by_tool("{samples_per_s:.0f}")
PEER_COST = _by_tool("{seconds:.0f} s / {out_of_memory}")
BAND = "{forecast[value]:.3f} [{forecast[low]:.3f}, {forecast[high]:.3f}]"
LAWS = _each("laws", "{metric} {verdict}: {measured:.3f}, " + BAND + " foretold", "; ")
ADVECTION = _task("advection", "operator", "FNO of its own")
MIXED = _task("mix", "operator, joint", "operator, single")
DARCY, MESH = (
    _task(t, "operator", "ridge", "nearest", "polynomial of degree 3", key="l2re") for t in ("darcy", "mesh")
)
PARTICLES = _task("particles", "operator", "constant velocity", "constant acceleration")

# Record -> what was measured, the target, and how the record says it; by part of the project.
ROWS: dict[str, tuple[tuple[str, str, str, Say], ...]] = {
    "The road": (
        ("loop", "loop overhead per step over bare torch", "≤ 100 µs CPU", LOOP),
        ("engine", "our engine's wall time over stock papermill's", "≤ 1.10", "{ratio:.2f}"),
        ("fetch", "bytes moved for one theme of one city", "≤ 1.05 x members + directory", FETCH),
    ),
    "The ladder": (
        ("search", "200 simulated jobs: ≥ 95 % of the best rate in", "≥ 90 % of jobs", _search),
        ("search", "... at a median cost of", "≤ 10 % of the grid, no OOM", _search_cost),
        ("emulated", "jobs A-D, real loader: share of the best rate", "≥ 98 %", SHARE),
        ("emulated", "... for", "≤ 10 % of the grid's time", _each("jobs", "{job} {cost:.1%}")),
        ("real", "real jobs against the grid of the same run", "≥ 95 % for ≤ 30 %", REAL),
        ("peers", "samples/s found on A-D: ladder, Lightning, accelerate", "the most", PEERS),
        ("peers", "... seconds, and out-of-memory deaths", "the fewest", PEER_COST),
        ("reference_workloads", "six known workloads diagnosed", "all, ≤ 3 minutes each", _reference_workloads),
        ("memory", "memory forecast at 4 x the largest probed batch", "-3 to +10 %", _each("rows", "{error:+.1%}")),
        ("survival", "faults x {script, kernel, papermill} told rightly", "all, no orphan", _survival),
    ),
    "PLATEAU": (
        ("citygml", "parse + triangulate a real 42 MB tile", "≤ 1.0 CPU-s", CITYGML),
        ("voxelize", "its labelled exact surface voxels at 0.4 m", "≤ 3 CPU-s, < 500 MB", _voxels),
        ("voxelize", "same occupied set as open3d at 0.5 m", "equal up to touched faces", _open3d),
        ("clips", "random 16-frame clips of 200 x 200 x 16 from shards", "≥ 20 per CPU-s", _clips),
        ("osaka", "`osaka`, held-out tile: IoU at 1, 2, 3 s over ego-warp", "≥ 0", lambda r: _osaka(r, "IoU@")),
        ("osaka", "... on newly revealed voxels", "clearly above 0", lambda r: _osaka(r, "IoU new@")),
    ),
    "Scroll": (
        ("distance", "truncated exact distance transform, 128³, over scipy", "≥ 5 x faster, ≥ 5 x leaner", _edt),
        ("patches", "random 64³ patches of a 512³ volume", "≥ 5,000 per CPU-s, ≥ 0.9 x raw map", PATCHES),
        ("scroll_reader", "samples per CPU-s over a reader that filters each volume", "≥ 50 x", READER),
        ("flyem", "`flyem`, held-out volume: SurfaceDice@2", "above sheetness", lambda r: _flyem(r, "SurfaceDice@2")),
        ("flyem", "... VOI score", "above sheetness", lambda r: _flyem(r, "VOI score")),
    ),
    "PDE": (
        ("burgers", "Burgers eps 0.01, 20 steps, 150 CPU-s: nRMSE", "≤ 0.02, below our FNO", _burgers),
        ("burgers", "... mass drift (cRMSE)", "< 0.001", lambda r: f"{_rows(r, 'operator', 'crmse'):.1e}"),
        ("tasks", "advection, one model for 4 speeds: nRMSE", "below each FNO, equal total CPU", ADVECTION),
        ("tasks", "... told a wrong speed", "clearly worse", _task("advection", "operator, wrong speed")),
        ("tasks", "Burgers, 4 viscosities in one model: nRMSE", "eps 0.03 ≤ 2 x its neighbours", _viscous),
        ("tasks", "three equations in one model: nRMSE", "joint beside single", MIXED),
        ("tasks", "Darcy, 16 x 16, real file: L2RE", "below ridge, nearest", DARCY),
        ("tasks", "Poisson, mesh with holes, real file: L2RE", "below ridge, nearest", MESH),
        ("tasks", "Lennard-Jones, real file, 20 frames: nRMSE", "below constant velocity", PARTICLES),
        ("tasks", "Burgers eps 0.01, networks of one size, 150 CPU-s: nRMSE", "below all", _nets),
        ("steady", "steady prior over Darcy's operator: kept?", "only what wins", _stages),
        ("scaling_law", "scaling law: a run outside its grid, 4 x in both", "in its forecast band", LAWS),
        ("stages", "flow over the operator's error, its student: kept?", "only what wins", _stages),
        ("solvers", "Burgers, 1024 cells, 200 trajectories", "≤ 60 s", _solvers),
    ),
}
