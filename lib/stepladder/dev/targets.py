"""What is measured, its target, whether it is met, and the record behind it: the rows of the tables of results.

Decisions:
- Whether a target is met is computed from the record, never typed; one without a threshold says so by `met=None`.
- Where somebody else answers the same question, the target is the strongest of them, and a lead counts when it is
  clear: intervals apart where there are intervals, else more than CLEAR of the value.
- Seconds and rates depend on the machine: such rows (`absolute`) are shown with the one they were measured on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stepladder.dev import measured as m

Record = dict[str, Any]
CLEAR = 0.05


@dataclass(frozen=True)
class Row:
    """One row of the results.

    Attributes:
        record: name of the record.
        what: what was measured.
        target: what was aimed at, in words.
        say: how the record says what was measured.
        met: whether the record meets the target; None where the target names no threshold.
        absolute: whether what is said depends on the machine.
        headline: whether it stands in README; all rows stand on the page of results.
    """

    record: str
    what: str
    target: str
    say: m.Say
    met: Callable[[Record], bool] | None
    absolute: bool = False
    headline: bool = False


def _above(metric: str, seconds: tuple[str, ...] = ("",)) -> Callable[[Record], bool]:
    """Whether ours leads the strongest rival clearly by a metric of which more is better, at every horizon."""

    def met(record: Record) -> bool:
        for second in seconds:
            ours, best = m.methods(record, metric + second)["model"], m.strongest(record, metric + second)
            if ours["low"] is not None and ours["low"] <= best["high"]:
                return False
            if ours["value"] <= best["value"] * (1 + CLEAR):
                return False
        return True

    return met


def _below(task: str, ours: str = "operator", key: str = "nrmse", but: str = "operator") -> Callable[[Record], bool]:
    """Whether ours is clearly below every other method of a task, in every group; `but` begins names that are ours."""

    def met(record: Record) -> bool:
        return all(
            values[ours] < (1 - CLEAR) * value
            for values in m.groups(record, task, key).values()
            for name, value in values.items()
            if not name.startswith(but)
        )

    return met


def _market(key: str, sign: int) -> Callable[[Record], bool]:
    """Whether ours is clearly above (sign 1) or below (-1) every other strategy on the fake market."""

    def met(record: Record) -> bool:
        ours, *others = (row[key] for row in record["strategies"].values())
        return all(sign * ours > sign * value * (1 + sign * CLEAR) for value in others)

    return met


def _jobs(met: Callable[[Record], bool]) -> Callable[[Record], bool]:
    return lambda record: all(met(job) for job in record["jobs"])


def _peers(value: str, sign: int) -> Callable[[Record], bool]:
    """Whether ours, the first of each job's rows, has the most (sign 1) or least (-1) of a value."""

    def met(record: Record) -> bool:
        jobs: dict[str, list[float]] = {}
        for row in record["rows"]:
            jobs.setdefault(row["job"], []).append(sign * row[value])
        return all(ours >= max(others) for ours, *others in jobs.values())

    return met


def _search(record: Record) -> Record:
    return next(iter(record["methods"].values()))


def _voxels(record: Record, voxel_m: float) -> Record:
    return next(row for row in record["rows"] if row["voxel_m"] == voxel_m)


def _burgers(record: Record) -> bool:
    ours = m.seeds_mean(record, "operator", "nrmse")
    others = {row["method"] for row in record["rows"]} - {"operator"}
    return ours <= 0.02 and all(ours < (1 - CLEAR) * m.seeds_mean(record, name, "nrmse") for name in others)


def _viscous(record: Record) -> bool:
    values = {group: methods["operator"] for group, methods in m.groups(record, "burgers_eps").items()}
    return values["eps=0.03"] <= 2 * min(values["eps=0.01"], values["eps=0.1"])


def _wrong_speed(record: Record) -> bool:
    rows = m.groups(record, "advection").values()
    return all(values["operator, wrong speed"] > 10 * values["operator"] for values in rows)


def _survived(record: Record) -> bool:
    return all(fault["ok"] and not fault.get("left") for host in record["hosts"].values() for fault in host.values())


SECONDS = ("@1s", "@2s", "@3s")

# By part of the project.
ROWS: dict[str, tuple[Row, ...]] = {
    "The road": (
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
            headline=True,
        ),
        Row(
            "fetch",
            "bytes moved for one theme of one city",
            "≤ 1.05 x members + directory",
            m.FETCH,
            lambda r: r["rows"][0]["moved / (members + directory)"] <= 1.05,
        ),
    ),
    "The ladder": (
        Row(
            "search",
            "200 simulated jobs: ≥ 95 % of the best rate in",
            "≥ 90 % of jobs",
            m.search,
            lambda r: _search(r)["jobs_at_95_percent"] >= 0.9,
            headline=True,
        ),
        Row(
            "search",
            "... at a median cost of",
            "≤ 10 % of the grid, no OOM",
            m.search_cost,
            lambda r: _search(r)["median_cost"] <= 0.1 and _search(r)["ooms_per_job"] == 0,
        ),
        Row(
            "emulated",
            "jobs A-D, real loader: share of the best rate",
            "≥ 98 %",
            m.SHARE,
            _jobs(lambda job: job["share_of_best"] >= 0.98),
        ),
        Row(
            "emulated",
            "... for",
            "≤ 10 % of the grid's time",
            m.each("jobs", "{job} {cost:.1%}"),
            _jobs(lambda job: job["cost"] <= 0.1),
        ),
        Row(
            "real",
            "real jobs against the grid of the same run",
            "≥ 95 % for ≤ 30 %",
            m.REAL,
            _jobs(lambda job: job["share_of_best"] >= 0.95 and job["cost"] <= 0.3),
            headline=True,
        ),
        Row(
            "peers",
            "samples/s found on A-D: ladder, Lightning, accelerate",
            "the most",
            m.PEERS,
            _peers("samples_per_s", 1),
            absolute=True,
        ),
        Row(
            "peers",
            "... seconds, and out-of-memory deaths",
            "the fewest",
            m.PEER_COST,
            lambda r: _peers("seconds", -1)(r) and _peers("out_of_memory", -1)(r),
            absolute=True,
        ),
        Row(
            "reference_workloads",
            "six known workloads diagnosed",
            "all, ≤ 3 minutes each",
            m.reference_workloads,
            lambda r: all(all(w["checks"].values()) and w["seconds"] <= 180 for w in m.workloads(r)),
            absolute=True,
            headline=True,
        ),
        Row(
            "memory",
            "memory forecast at 4 x the largest probed batch",
            "-3 to +10 %",
            m.each("rows", "{error:+.1%}"),
            lambda r: all(-0.03 <= row["error"] <= 0.1 for row in r["rows"]),
        ),
        Row(
            "survival",
            "faults x {script, kernel, papermill} told rightly",
            "all, no orphan",
            m.survival,
            _survived,
            headline=True,
        ),
    ),
    "Rented machines": (
        Row(
            "launch",
            "ten machines that vanish at a random step: final weights bit for bit those of an undisturbed run",
            "10 of 10",
            "{deaths[identical]} of 10; at most {deaths[repeated_most]} steps made twice (checkpoints every "
            "{deaths[interval]})",
            lambda r: r["deaths"]["identical"] == 10,
        ),
        Row(
            "launch",
            "... each",
            "≤ 60 s",
            "{deaths[seconds_most]:.0f} s at most",
            lambda r: r["deaths"]["seconds_most"] <= 60,
            absolute=True,
        ),
        Row(
            "launch",
            "how old the newest line of the curve is here",
            "≤ 5 s",
            "median {follow[lag_median]:.1f} s, at most {follow[lag_max]:.1f} s",
            lambda r: r["follow"]["lag_max"] <= 5,
        ),
        Row(
            "launch",
            "processor time that following costs there, of one core",
            "≤ 1 %",
            "{follow[cost]:.2%}",
            lambda r: r["follow"]["cost"] <= 0.01,
        ),
        Row(
            "launch",
            "bytes of a shard sent twice after a supervisor was killed while sending",
            "0",
            "{twice[twice]:.1%} of it",
            lambda r: r["twice"]["twice"] < 0.01 and not any(r["twice"]["sent_again"]),
        ),
        Row(
            "launch",
            "from `launch` to the first step, warm and cold (48 wheels sent and installed)",
            "no target",
            "{first_step[warm]:.0f} s, {first_step[cold]:.0f} s",
            None,
            absolute=True,
        ),
        Row(
            "launch_market",
            "200 jobs on a fake market (prices move, machines vanish): beyond the budget, in heartbeats' cost",
            "≤ 1, for every job",
            m.market("heartbeats_over_budget", "{:.2g}"),
            lambda r: r["strategies"]["stepladder"]["heartbeats_over_budget"] <= 1,
        ),
        Row(
            "launch_market",
            "... finished within the budget",
            "clearly more than the best fixed policy",
            m.market("finished", more="knowing the future at most {finishable:.0%}"),
            _market("finished", sign=1),
        ),
        Row(
            "launch_market",
            "... dollars spent a finished job",
            "clearly below the best fixed policy",
            m.market("dollars_a_finished_job", "${:.2f}"),
            _market("dollars_a_finished_job", sign=-1),
        ),
        Row(
            "launch_market",
            "... dollars over ours, of the jobs that both finish (ours finishes more, hardly cheaper)",
            "clearly above 1",
            m.market("dollars_over_ours", "{:.2f}"),
            lambda r: min(row["dollars_over_ours"] for row in list(r["strategies"].values())[1:]) > 1 + CLEAR,
        ),
        Row(
            "launch_market",
            "... dollars of finished jobs above a lower bound that knows the future, median",
            "no target",
            m.market("median_gap_to_hindsight"),
            None,
        ),
        Row(
            "launch_market",
            "... were a running machine left for a cheaper one (not built: hosts of one target have one price)",
            "no target",
            "{leaving_for_cheaper[finished]:.0%} finished, ${leaving_for_cheaper[dollars_a_finished_job]:.2f} each",
            None,
        ),
    ),
    "PLATEAU": (
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
            _above("IoU", SECONDS),
            headline=True,
        ),
        Row(
            "osaka",
            "... on newly revealed voxels, where no warp can answer",
            "clearly above the last frame",
            lambda r: m.osaka(r, "IoU new"),
            _above("IoU new", SECONDS),
            headline=True,
        ),
    ),
    "Scroll": (
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
            _above("SurfaceDice@2"),
            headline=True,
        ),
        Row(
            "flyem",
            "... VOI score",
            "above every filter",
            lambda r: m.flyem(r, "VOI score"),
            _above("VOI score"),
            headline=True,
        ),
    ),
    "PDE": (
        Row(
            "burgers",
            "Burgers eps 0.01, 20 steps, 150 CPU-s: nRMSE",
            "≤ 0.02, below every FNO",
            m.burgers,
            _burgers,
            headline=True,
        ),
        Row(
            "burgers",
            "... mass drift (cRMSE)",
            "< 0.001",
            m.drift,
            lambda r: m.seeds_mean(r, "operator", "crmse") < 0.001,
        ),
        Row(
            "burgers",
            "... milliseconds a trajectory (the solver: next row / 200)",
            "no target",
            m.milliseconds,
            None,
            absolute=True,
        ),
        Row(
            "solvers",
            "our solver of that equation, 1024 cells, 200 trajectories, exact to 1e-4",
            "≤ 60 s",
            m.solvers,
            lambda r: max(r["burgers_cpu_s_per_200"].values()) <= 60,
            absolute=True,
        ),
        Row(
            "tasks",
            "advection, one model for 4 speeds: nRMSE (an exact shift is 0)",
            "below each FNO without the moving frame, equal total CPU",
            m.ADVECTION,
            _below("advection"),
        ),
        Row("tasks", "... told a wrong speed", "clearly worse", m.WRONG_SPEED, _wrong_speed),
        Row(
            "tasks", "Burgers, 4 viscosities in one model: nRMSE", "eps 0.03 ≤ 2 x its neighbours", m.viscous, _viscous
        ),
        Row("tasks", "three equations in one model: nRMSE", "joint beside single", m.MIXED, None),
        Row(
            "tasks",
            "Darcy, 16 x 16, real file: L2RE",
            "below ridge, nearest",
            m.DARCY,
            _below("darcy", key="l2re"),
        ),
        Row(
            "tasks",
            "Poisson, mesh with holes, real file: L2RE",
            "below all others",
            m.MESH,
            _below("mesh", key="l2re"),
        ),
        Row(
            "tasks",
            "Lennard-Jones, real file, 20 frames: nRMSE",
            "clearly below constant acceleration",
            m.PARTICLES,
            _below("particles"),
        ),
        Row(
            "tasks",
            "Burgers eps 0.01, networks of one size, 150 CPU-s (only the operator has the moving frame): nRMSE",
            "below all",
            m.nets,
            _below("nets"),
        ),
        Row("steady", "steady prior over Darcy's operator: kept?", "only what wins", m.stages, None),
        Row(
            "scaling_law",
            "scaling law: a run outside its grid, 4 x in both",
            "in its forecast band",
            m.LAWS,
            lambda r: all(law["verdict"] == "hit" for law in r["laws"]),
        ),
        Row("stages", "flow over the operator's error, its student: kept?", "only what wins", m.stages, None),
    ),
}
