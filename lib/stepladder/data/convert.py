"""Conversion: every asset becomes one shard, or one named row that says why not.

Decisions:
- Each asset is its own unit of work on any `concurrent.futures.Executor`: a process pool here, a Dask cluster's
  `Client(address).get_executor()` when one machine is not enough. A kill loses at most the assets in hand.
- A shard lies under its recipe: the bytes of the raw files, the conversion's parameters and the code of the study that
  converts. Another recipe is another file, so no run replaces what another stands on, and the same bytes fetched again
  are converted already. `convert` is handed nothing that the recipe does not hold.
- A broken asset is a row of the report with its reason. Only a full disk stops everything, because every later asset
  would fail for the same reason.
"""

import errno
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pandas as pd

from stepladder.core import closure, files, identity, study
from stepladder.core.records import Splits
from stepladder.core.run import Run
from stepladder.core.schema import Parameters
from stepladder.core.types import Asset, Check, Dataset, StudyError
from stepladder.data import shards

Progress = Callable[[dict[str, Any]], None]
SEAL = ".sha256"  # of a shard, in a file beside it
RECIPE = ("conversion",)  # the parameters a shard may depend on


def convert_all(assets: Sequence[Asset], params: Parameters, folder: Path, run: Run) -> pd.DataFrame:
    """`convert` on `conversion.workers` processes of this machine, each asset told in the run's event log."""
    workers = params.conversion.workers
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) if workers > 1 else Inline()
    with pool as executor:
        return convert(assets, params, folder, executor, lambda row: run.event("converted", **row))


class Inline(Executor):
    """An executor that works in this process, one task at a time: for small jobs, tests and debuggers."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run `fn` now and return its finished future."""
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def convert(
    assets: Sequence[Asset],
    params: Parameters,
    folder: Path,
    executor: Executor,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Convert `assets` to `folder/<recipe>/<id>.h5` and report on each.

    Returns:
        One row per asset in their order: `asset, group, state` (converted, kept, failed), `reason`, `seconds`, `bytes`,
        `shard` (relative to `folder`; empty where it failed) and `issues`, the list of `{kind, count, example}` of
        everything skipped or repaired.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing half-written stays behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tasks = {executor.submit(convert_asset, asset, params, folder): asset for asset in assets}
    rows = {}
    try:
        for task in as_completed(tasks):
            row = _outcome(task, tasks[task])
            rows[row["asset"]] = row
            if progress is not None:
                progress(row)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    return pd.DataFrame([rows[asset.id] for asset in assets])


def _outcome(task: Future, asset: Asset) -> dict[str, Any]:
    """The row of a finished task; a worker process that was killed is a failed row, not a crash."""
    try:
        return task.result()
    except BrokenExecutor:
        reason = (
            "a conversion process was killed, perhaps for memory: run again, with conversion.workers: 1 if it repeats"
        )
        return _row(asset, "failed", reason)


def _row(asset: Asset, state: str, reason: str = "") -> dict[str, Any]:
    return {
        "asset": asset.id,
        "group": asset.group,
        "state": state,
        "reason": reason,
        "seconds": 0.0,
        "bytes": 0,
        "shard": "",
        "issues": [],
    }


def convert_asset(asset: Asset, params: Parameters, folder: Path) -> dict[str, Any]:
    """Convert one asset unless its shard is there already; the row of the report (see `convert`)."""
    start, name = time.perf_counter(), f"{asset.id}.h5"
    row = _row(asset, "kept")
    try:
        memory = folder.parent / "hashes"
        recipe = recipe_of(asset, params, memory)
        path = folder / recipe / name
        if not _is_whole(path, memory):
            content = study.find(params.study).convert(asset, params.only(RECIPE), folder / "_cache")
            shards.write(path, content, recipe)
            files.write_text(path.with_suffix(SEAL), identity.content(path, memory))
            row["state"] = "converted"
        facts = shards.Shard(path).attributes
        row |= {"bytes": path.stat().st_size, "shard": f"{recipe}/{name}", "issues": list(facts["issues"])}
    except (StudyError, shards.ShardError, FileNotFoundError) as error:
        row |= {"state": "failed", "reason": str(error)}
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise OSError(
                error.errno, f"cannot write {name}: {error.strerror}; free some space and run again"
            ) from None
        row |= {"state": "failed", "reason": str(error)}
    return {**row, "seconds": time.perf_counter() - start}


def _is_whole(path: Path, memory: Path) -> bool:
    """Whether a shard is there with the bytes it was written with, which the file beside it tells."""
    seal = path.with_suffix(SEAL)
    return path.exists() and seal.exists() and identity.content(path, memory) == seal.read_text()


def recipe_of(asset: Asset, params: Parameters, memory: Path | None = None) -> str:
    """Hash of what decides a shard: code and parameters of the conversion, the asset's facts and its files' bytes.

    Args:
        asset: what is converted.
        params: of which only `conversion` counts, without the number of workers.
        memory: where hashes of files are remembered (see `identity.content`).
    """
    raw = [(path.name, identity.content(path, memory)) for path in (*asset.files, *asset.neighbours)]
    facts = [asset.id, asset.group, asset.region, dict(asset.meta)]
    values = params.conversion.model_dump(mode="json", exclude={"workers"})
    code = closure.of_member(params.study, "convert")
    return files.fingerprint([shards.FORMAT, facts, raw, values, code])


def issue_table(report: pd.DataFrame) -> pd.DataFrame:
    """Everything skipped or repaired, summed over the report: kind, count, assets, an example."""
    rows = [{"asset": row.asset, **issue} for row in report.itertuples() for issue in row.issues]
    if not rows:
        return pd.DataFrame(columns=["kind", "count", "assets", "example"])
    table = (
        pd.DataFrame(rows)
        .groupby("kind")
        .agg(count=("count", "sum"), assets=("asset", "nunique"), example=("example", "first"))
    )
    return table.reset_index().sort_values("count", ascending=False, ignore_index=True)


def converted(report: pd.DataFrame, folder: Path) -> Iterator[tuple[str, Path]]:
    """Asset id and shard path below `folder` of every asset that has one."""
    for row in report.itertuples():
        if row.state != "failed":
            yield row.asset, folder / row.shard


def asset_table(assets: Sequence[Asset]) -> pd.DataFrame:
    """One row per asset: id, group, number and megabytes of its own files, number of neighbours' files."""
    rows = []
    for asset in assets:
        size = sum(path.stat().st_size for path in asset.files) / 1e6
        rows.append({"asset": asset.id, "group": asset.group, "files": len(asset.files), "MB": size, **asset.meta})
    return pd.DataFrame(rows)


def report_table(report: pd.DataFrame) -> pd.DataFrame:
    """The report as people read it: state, seconds, megabytes, number of issues, reason."""
    table = report[["asset", "group", "state", "seconds"]].copy()
    table["MB"] = report["bytes"] / 1e6
    table["issues"] = [sum(issue["count"] for issue in issues) for issues in report["issues"]]
    table["reason"] = report["reason"]
    return table


def failed(report: pd.DataFrame) -> dict[str, str]:
    """Asset id -> reason of every asset without a shard."""
    return {row.asset: row.reason for row in report.itertuples() if row.state == "failed"}


def checks(report: pd.DataFrame, splits: Splits, train: Dataset) -> list[Check]:
    """The gates of the conversion: shards exist, splits share nothing, training has samples."""
    broken = failed(report)
    reason = "all assets have a shard" if not broken else "; ".join(f"{id}: {why}" for id, why in broken.items())
    held = [set(splits[name]) for name in ("train", "validation", "test")]
    apart = not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])
    return [
        Check("most assets were converted", len(broken) <= len(report) / 2, reason),
        Check("splits share no asset", apart, f"{' + '.join(str(len(part)) for part in held)} assets"),
        Check("training has samples", len(train) > 0, f"{len(train)} samples"),
    ]
