"""Rows of the ladder."""

from collections.abc import Callable

from stepladder.dev import measured as m
from stepladder.dev.target_rows.row import Record, Row


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


def _survived(record: Record) -> bool:
    return all(fault["ok"] and not fault.get("left") for host in record["hosts"].values() for fault in host.values())


ROWS = (
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
)
