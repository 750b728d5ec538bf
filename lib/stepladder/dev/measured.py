"""How a record says in one cell of a table what was measured: by a text that it fills in, or a function of it.

`make bench` writes `tests/benchmarks/records/*.json`; `targets.ROWS` names the record behind every row. What beats us
is in the same cell as what we reach.
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


def each(rows: str, say: Say, between: str = ", ") -> Say:
    """What every one of a record's `rows` says, one after the other."""
    return lambda record: between.join(said(row, say) for row in record[rows])


def by_tool(say: str) -> Say:
    """The tools' rows of every job, side by side."""

    def by_job(record: dict[str, Any]) -> str:
        jobs: dict[str, list[str]] = {}
        for row in record["rows"]:
            told = said(row, say) + (" (earlier run)" if row.get("earlier") else "")
            jobs.setdefault(row["job"], []).append(told)
        return "; ".join(f"{job} {', '.join(tools)}" for job, tools in jobs.items())

    return by_job


def clips(record: dict[str, Any]) -> str:
    """The median of the rounds."""
    return f"{median(record['clips_per_cpu_s']):.0f} per CPU-s"


def search(record: dict[str, Any]) -> str:
    """Share of jobs, ours and the two rivals'."""
    share = {name: f"{row['jobs_at_95_percent']:.0%}" for name, row in record["methods"].items()}
    ours, *others = share.values()
    return f"{ours} of jobs (batch doubling {others[0]}, hill climb {others[1]})"


def search_cost(record: dict[str, Any]) -> str:
    """Median cost, and how often memory ran out, ours and the rivals'."""
    rows = list(record["methods"].values())
    ooms = ", ".join(f"{row['ooms_per_job']:.2g}" for row in rows)
    return f"{rows[0]['median_cost']:.1%}; OOMs per job {ooms}"


def stages(record: dict[str, Any]) -> str:
    """What became of every stage of a training, and why."""
    verdicts = record["gates"].items()
    return "; ".join(f"{stage} {'kept' if ok else 'not kept'}: {why.split(';')[0]}" for stage, (ok, why) in verdicts)


def workloads(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a record that has one under the name of every workload."""
    return [row for row in record.values() if isinstance(row, dict)]


def reference_workloads(record: dict[str, Any]) -> str:
    """How many are told rightly, and the longest."""
    rows = workloads(record)
    right = sum(all(row["checks"].values()) for row in rows)
    return f"{right} of {len(rows)}; the longest {max(row['seconds'] for row in rows):.0f} s"


def survival(record: dict[str, Any]) -> str:
    """How many faults are told rightly."""
    told = [fault["ok"] for host in record["hosts"].values() for fault in host.values()]
    return f"{sum(told)} of {len(told)}"


def market(key: str, form: str = "{:.0%}", more: Say = "") -> Say:
    """One figure of every strategy on the fake market, ours first."""

    def say(record: dict[str, Any]) -> str:
        ours, *others = ((name, form.format(row[key])) for name, row in record["strategies"].items())
        told = "; ".join([", ".join(" ".join(other) for other in others), *([said(record, more)] if more else [])])
        return f"{ours[1]} ({told})"

    return say


def edt(record: dict[str, Any]) -> str:
    """Speed and memory over scipy's."""
    return f"{record['faster']:.0f} x faster, {min(record['leaner'], 1000):.0f} x leaner or more, equal bits"


def methods(record: dict[str, Any], metric: str) -> dict[str, dict[str, Any]]:
    """Method -> its row of an evaluation's summary over all groups, for one metric."""
    rows = [row for row in record["summary"] if row["metric"] == metric and row["group"] == "all"]
    return {row["method"]: row for row in rows}


def strongest(record: dict[str, Any], metric: str) -> dict[str, Any]:
    """The row of the best rival by a metric of which more is better."""
    rivals = [row for name, row in methods(record, metric).items() if name not in ("model", "all_empty")]
    return max(rivals, key=lambda row: row["value"])


def _named(row: dict[str, Any]) -> str:
    return f"{row['method'].replace('_', ' ')} {row['value']:.3f}"


def flyem(record: dict[str, Any], metric: str) -> str:
    """Ours, then every other answer from the best down; an empty one too, which scores without answering."""
    rows = methods(record, metric)
    ours = rows.pop("model")["value"]
    others = sorted(rows.values(), key=lambda row: -row["value"])
    return f"{ours:.3f} ({', '.join(_named(row) for row in others)})"


def seeds_mean(record: dict[str, Any], method: str, key: str) -> float:
    """Mean over the seeds of a method."""
    return mean(row[key] for row in record["rows"] if row["method"] == method)


def burgers(record: dict[str, Any]) -> str:
    """The operator, the FNOs with and without its co-moving frame, the answers without training."""
    names = ("operator", "FNO, moving frame", "FNO", "ridge", "spatial mean")
    told = [f"{name} {seeds_mean(record, name, 'nrmse'):.4f}{_seeds(record, name)}" for name in names]
    return "; ".join(told)


def _seeds(record: dict[str, Any], method: str) -> str:
    count = sum(row["method"] == method and "seed" in row for row in record["rows"])
    return f" ({count} seed{'s' if count > 1 else ''})" if count else ""


def drift(record: dict[str, Any]) -> str:
    """Drift of mass, ours and the FNOs'."""
    names = ("operator", "FNO, moving frame", "FNO", "spatial mean")
    return ", ".join(f"{name} {seeds_mean(record, name, 'crmse'):.1e}" for name in names)


def milliseconds(record: dict[str, Any]) -> str:
    """What one trajectory costs the operator, and the FNO."""
    return ", ".join(f"{name} {seeds_mean(record, name, 'ms_per_trajectory'):.0f} ms" for name in ("operator", "FNO"))


def groups(record: dict[str, Any], task: str, key: str = "nrmse") -> dict[str, dict[str, float]]:
    """Group -> method -> mean over the seeds of a task."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in record["rows"]:
        if row["task"] == task:
            group = row.get("group", "").split(" ", 1)[-1]
            found.setdefault(group, {}).setdefault(row["method"], []).append(row[key])
    return {group: {name: mean(values) for name, values in rows.items()} for group, rows in found.items()}


def task(name: str, *shown: str, key: str = "nrmse") -> Say:
    """Methods side by side for every group of a task, means over seeds: `eps=0.1 0.0050 (FNO 0.0178)`."""

    def told(record: dict[str, Any]) -> str:
        lines = []
        for group, values in groups(record, name, key).items():
            first, *others = (f"{method} {values[method]:.4f}" for method in shown if method in values)
            ours = first.removeprefix(shown[0]).strip()
            lines.append(f"{group} {ours}".strip() + (f" ({', '.join(others)})" if others else ""))
        seeds = len({row["seed"] for row in record["rows"] if (row["task"], row["method"]) == (name, shown[0])})
        return "; ".join(lines or ["not run"]) + (f"; {seeds} seeds" if seeds > 1 else "")

    return told


def viscous(record: dict[str, Any]) -> str:
    """Every viscosity, then the held-out one beside two other trainings."""
    rows = [row for row in record["rows"] if row["task"] == "burgers_eps" and row.get("group") == "burgers eps=0.03"]
    others = {"operator, one clock": "without other clocks", "operator, eps 0.03 too": "trained on its files too"}
    told = [f"{word} {row['nrmse']:.4f}" for row in rows if (word := others.get(row["method"]))]
    return "; ".join(
        [said(record, task("burgers_eps", "operator")), *([f"eps=0.03 {', '.join(told)}"] if told else [])]
    )


def nets(record: dict[str, Any]) -> str:
    """Every network of the comparison."""
    return said(record, task("nets", *groups(record, "nets")[""]))


def solvers(record: dict[str, Any]) -> str:
    """What 200 trajectories cost, by viscosity."""
    return ", ".join(f"{name}: {seconds:.0f} CPU-s" for name, seconds in record["burgers_cpu_s_per_200"].items())


def voxels(record: dict[str, Any]) -> str:
    """Time, memory and voxels at 0.4 m."""
    row = next(row for row in record["rows"] if row["voxel_m"] == 0.4)
    return f"{row['cpu_s']:.1f} CPU-s, {row['peak_mb']:.0f} MB, {row['voxels'] / 1e6:.2f} M voxels"


def open3d(record: dict[str, Any]) -> str:
    """Cells that differ, and open3d's time over ours in the run in which both were measured."""
    peer = next(row for row in record["rows"] if row["voxel_m"] == 0.5).get("open3d")
    if peer is None:
        return "open3d has not been installed in any run"
    differ, speed = peer["only_ours"] + peer["only_open3d"], peer["cpu_s"] / peer["ours_cpu_s"]
    return f"{differ} of {peer['voxels']:,} cells differ; open3d takes {speed:.1f} x the CPU"


def osaka(record: dict[str, Any], metric: str) -> str:
    """Ours beside the strongest rival at every horizon: `0.922 (fused warp 0.864)`."""
    told = []
    for second in (1, 2, 3):
        name = f"{metric}@{second}s"
        told.append(f"{methods(record, name)['model']['value']:.3f} ({_named(strongest(record, name))})")
    return ", ".join(told)


SHARE = each("jobs", "{job} {share_of_best:.1%}")
REAL = each("jobs", "{job} {share_of_best:.0%} for {cost:.0%}", "; ")
PEERS = by_tool("{samples_per_s:.0f}")
PEER_COST = by_tool("{seconds:.0f} s / {out_of_memory}")
BAND = "{forecast[value]:.3f} [{forecast[low]:.3f}, {forecast[high]:.3f}]"
LAWS = each("laws", "{metric} {verdict}: {measured:.3f}, " + BAND + " foretold", "; ")
ADVECTION = task("advection", "operator", "FNO of its own")
WRONG_SPEED = task("advection", "operator, wrong speed")
MIXED = task("mix", "operator, joint", "operator, single")
DARCY, MESH = (
    task(name, "operator", "polynomial of degree 3", "ridge", "nearest", key="l2re") for name in ("darcy", "mesh")
)
PARTICLES = task("particles", "operator", "constant acceleration", "constant velocity")
