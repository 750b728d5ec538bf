"""Conversion: every asset becomes one shard, or one named row that says why not.

Decisions:
- Each asset is its own unit of work on any `concurrent.futures.Executor`: a process pool here, a Dask cluster's
  `Client(address).get_executor()` when one machine is not enough. A kill loses at most the assets in hand.
- A shard whose recipe (study code, conversion parameters, size and time of the raw files) is unchanged is kept.
- A broken asset is a row of the report with its reason. Only a full disk stops everything, because every later asset
  would fail for the same reason.
"""

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from pathlib import Path
from typing import Any

import pandas as pd

from stepladder import files, shards, study
from stepladder.params import Parameters
from stepladder.run import PACKAGE

Progress = Callable[[dict[str, Any]], None]


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
    assets: Sequence[study.Asset], params: Parameters, folder: Path, executor: Executor, progress: Progress | None = None
) -> pd.DataFrame:
    """Convert `assets` to `folder/<id>.h5` and report on each.

    Returns:
        One row per asset in their order: `asset, group, state` (converted, kept, failed), `reason`, `seconds`, `bytes`
        and `issues`, the list of `{kind, count, example}` of everything skipped or repaired.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing half-written stays behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tasks = {executor.submit(convert_asset, asset, params, folder): asset for asset in assets}
    rows = {}
    try:
        for task in as_completed(tasks):
            row = task.result()
            rows[row["asset"]] = row
            if progress is not None:
                progress(row)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    return pd.DataFrame([rows[asset.id] for asset in assets])


def convert_asset(asset: study.Asset, params: Parameters, folder: Path) -> dict[str, Any]:
    """Convert one asset unless its shard is there already; the row of the report (see `convert`)."""
    start, path = time.perf_counter(), folder / f"{asset.id}.h5"
    row = {"asset": asset.id, "group": asset.group, "state": "kept", "reason": ""}
    try:
        recipe = recipe_of(asset, params)
        if shards.recipe_of(path) != recipe:
            shards.write(path, study.find(params.study).convert(asset, params), recipe)
            row["state"] = "converted"
    except (study.StudyError, shards.ShardError, FileNotFoundError) as error:
        row |= {"state": "failed", "reason": str(error)}
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise OSError(error.errno, f"cannot write {path.name}: {error.strerror}; free some space and run again") from None
        row |= {"state": "failed", "reason": str(error)}
    if row["state"] == "failed":
        path.unlink(missing_ok=True)  # an older shard of a file that is broken now would be a silent lie
        return {**row, "seconds": time.perf_counter() - start, "bytes": 0, "issues": []}
    issues = list(shards.Shard(path).attributes["issues"])
    return {**row, "seconds": time.perf_counter() - start, "bytes": path.stat().st_size, "issues": issues}


def recipe_of(asset: study.Asset, params: Parameters) -> str:
    """Hash of what decides an asset's shard: study code, conversion parameters, and the raw files by name, size, time."""
    code = sorted((PACKAGE / "studies" / params.study).rglob("*.py"))
    raw = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in (*asset.files, *asset.neighbours)]
    return files.fingerprint(
        [asset.id, asset.group, asset.region, params.seed, params.conversion.model_dump(), raw, [files.file_sha256(p) for p in code]]
    )


def issue_table(report: pd.DataFrame) -> pd.DataFrame:
    """Everything skipped or repaired, summed over the report: kind, count, assets, an example."""
    rows = [{"asset": row.asset, **issue} for row in report.itertuples() for issue in row.issues]
    if not rows:
        return pd.DataFrame(columns=["kind", "count", "assets", "example"])
    table = pd.DataFrame(rows).groupby("kind").agg(count=("count", "sum"), assets=("asset", "nunique"), example=("example", "first"))
    return table.reset_index().sort_values("count", ascending=False, ignore_index=True)


def converted(report: pd.DataFrame, folder: Path) -> Iterator[tuple[str, Path]]:
    """Asset id and shard path of every asset that has one."""
    for row in report.itertuples():
        if row.state != "failed":
            yield row.asset, folder / f"{row.asset}.h5"
