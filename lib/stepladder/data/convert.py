"""Conversion: every asset becomes one shard, or one named row that says why not.

Decisions:
- Each asset is its own unit of work, for processes here (`machine.workers`) or for any `concurrent.futures.Executor`: a
  Dask cluster's `Client(address).get_executor()` when one machine is not enough. A kill loses at most what is in hand.
- A shard lies under its recipe: the bytes of the raw files, the conversion's parameters and the code of the study that
  converts. Another recipe is another file, so no run replaces what another stands on, and the same bytes fetched again
  are converted already. `convert` is handed nothing that the recipe does not hold.
- What is converted already is found here, without opening it: its hash and its issues stand in a file beside it. Only
  what is missing goes to other processes, and where nothing is, none starts.
- Of two who want one shard at once, the second waits for the first, and takes what that made.
- A broken asset is a row of the report with its reason, and is tried again the next time. Only a full disk stops
  everything, because every later asset would fail for the same reason.
"""

import errno
import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stepladder.core import closure, files, identity, study
from stepladder.core.records import Splits
from stepladder.core.run import Run
from stepladder.core.schema import Parameters
from stepladder.core.types import Asset, Check, Dataset, StudyError
from stepladder.data import shards
from stepladder.machine.workers import Workers

if TYPE_CHECKING:  # a process that converts needs no tables
    import pandas as pd

Row = dict[str, Any]  # of the report
Progress = Callable[[Row], None]
SEAL = ".sha256"  # of a shard, in a file beside it: its hash, and below that its issues
RECIPE = ("conversion",)  # the parameters a shard may depend on, but for those that only say how it is made
ASIDE = ("workers", "failed_share")
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
NAMED = 5  # failed assets whose reasons the gate tells


class Executor(Protocol):
    """What works on assets; every `concurrent.futures.Executor` is one."""

    def map(self, task: Callable[[Asset], Row], assets: Sequence[Asset], /) -> Iterable[Row]:
        """The row of every asset, in any order."""
        ...


class Inline:
    """An executor that works in this process, one asset at a time: for small jobs, tests and debuggers."""

    def map(self, task: Callable[[Asset], Row], assets: Sequence[Asset], /) -> Iterable[Row]:
        """The row of every asset, made when it is asked for."""
        return map(task, assets)


def convert_all(assets: Sequence[Asset], params: Parameters, folder: Path, run: Run) -> "pd.DataFrame":
    """`convert` on `conversion.workers` processes of this machine, each asset told in the run's event log."""
    workers = params.conversion.workers
    executor: Executor = Workers(workers, partial(_row, state="failed")) if workers > 1 else Inline()
    return convert(assets, params, folder, executor, lambda row: run.event("converted", **row))


def convert(
    assets: Sequence[Asset],
    params: Parameters,
    folder: Path,
    executor: Executor,
    progress: Progress | None = None,
) -> "pd.DataFrame":
    """Convert `assets` to `folder/<recipe>/<id>.h5` and report on each.

    Returns:
        One row per asset in their order: `asset, group, state` (converted, kept, failed), `reason`, `seconds`, `bytes`,
        `shard` (relative to `folder`; empty where it failed) and `issues`, the list of `{kind, count, example}` of
        everything skipped or repaired.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing half-written stays behind.
    """
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    code = closure.of_member(params.study, "convert")
    rows: dict[str, Row] = {}

    def note(row: Row) -> None:
        rows[row["asset"]] = row
        if progress is not None:
            progress(row)

    for row in _kept(assets, params, folder, code):
        note(row)
    missing = [asset for asset in assets if asset.id not in rows]
    for row in executor.map(partial(convert_asset, params=params, folder=folder, code=code), missing):
        note(row)
    return pd.DataFrame([rows[asset.id] for asset in assets])


def _kept(assets: Sequence[Asset], params: Parameters, folder: Path, code: Mapping[str, str]) -> Iterator[Row]:
    """Rows of the assets that are converted already; raw files of which there is no shard at all are not read."""
    names = {path.name for path in folder.glob("*/*.h5")}
    for asset in assets:
        if _name(asset) in names:
            start = time.perf_counter()
            with suppress(OSError):  # it may be gone by now: converting tells
                recipe = recipe_of(asset, params, _memory(folder), code)
                if row := _done(asset, folder, recipe):
                    yield {**row, "seconds": time.perf_counter() - start}


def convert_asset(asset: Asset, params: Parameters, folder: Path, code: Mapping[str, str] | None = None) -> Row:
    """Convert one asset unless its shard is there already; the row of the report (see `convert`).

    Args:
        code: digests of the code that converts, where they are known.
    """
    start = time.perf_counter()
    try:
        recipe = recipe_of(asset, params, _memory(folder), code)
        with _alone(folder / recipe):
            row = _done(asset, folder, recipe) or _convert(asset, params, folder, recipe)
    except (StudyError, shards.ShardError, FileNotFoundError) as error:
        row = _row(asset, str(error), "failed")
    except OSError as error:
        if error.errno in UNWRITABLE:
            raise OSError(
                error.errno, f"cannot write {_name(asset)}: {error.strerror}; free some space and run again"
            ) from None
        row = _row(asset, str(error), "failed")
    return {**row, "seconds": time.perf_counter() - start}


def _convert(asset: Asset, params: Parameters, folder: Path, recipe: str) -> Row:
    """Make the shard of an asset, sealed, and its row."""
    own = params.only(RECIPE, [f"conversion.{name}" for name in ASIDE])
    content = study.find(params.study).convert(asset, own, folder / "_cache")
    path = folder / recipe / _name(asset)
    shards.write(path, content, recipe)
    issues = files.plain([vars(issue) for issue in content.issues])
    seal = f"{identity.content(path, _memory(folder))}\n{json.dumps(issues, ensure_ascii=False)}"
    files.write_text(path.with_suffix(SEAL), seal)
    return {**_row(asset, "", "converted"), **_facts(path, issues)}


def _done(asset: Asset, folder: Path, recipe: str) -> Row | None:
    """The row of a shard that is there with the bytes it was written with, which its seal tells; None of any other."""
    path = folder / recipe / _name(asset)
    try:
        digest, _, issues = path.with_suffix(SEAL).read_text().partition("\n")
        if identity.content(path, _memory(folder)) != digest:
            return None
        found = json.loads(issues) if issues else list(shards.Shard(path).attributes["issues"])  # seals of old had none
        return {**_row(asset, "", "kept"), **_facts(path, found)}
    except (FileNotFoundError, ValueError):
        return None


def _facts(path: Path, issues: list[Row]) -> Row:
    return {"bytes": path.stat().st_size, "shard": f"{path.parent.name}/{path.name}", "issues": issues}


@contextmanager
def _alone(place: Path) -> Generator[None]:
    """Be the only one who makes the shard in `place`; what a killed one left half made there is cleared away."""
    with files.locked(place) as alone:
        for path in place.glob(".*.part") if alone else ():
            path.unlink(missing_ok=True)
        yield


def _row(asset: Asset, reason: str, state: str) -> Row:
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


def _name(asset: Asset) -> str:
    return f"{asset.id}.h5"


def _memory(folder: Path) -> Path:
    """Where hashes of files are remembered (see `identity.content`)."""
    return folder.parent / "hashes"


def recipe_of(
    asset: Asset, params: Parameters, memory: Path | None = None, code: Mapping[str, str] | None = None
) -> str:
    """Hash of what decides a shard: code and parameters of the conversion, the asset's facts and its files' bytes.

    Args:
        asset: what is converted.
        params: of which only `conversion` counts, without what says how to work and what to tolerate.
        memory: where hashes of files are remembered (see `identity.content`).
        code: digests of the code that converts, where they are known: finding them takes 50 ms.
    """
    raw = [(path.name, identity.content(path, memory)) for path in (*asset.files, *asset.neighbours)]
    facts = [asset.id, asset.group, asset.region, dict(asset.meta)]
    values = params.conversion.model_dump(mode="json", exclude={*ASIDE})
    code = closure.of_member(params.study, "convert") if code is None else code
    return files.fingerprint([shards.FORMAT, facts, raw, values, code])


def issue_table(report: "pd.DataFrame") -> "pd.DataFrame":
    """Everything skipped or repaired, summed over the report: kind, count, assets, an example."""
    import pandas as pd

    rows = [{"asset": row.asset, **issue} for row in report.itertuples() for issue in row.issues]
    if not rows:
        return pd.DataFrame(columns=["kind", "count", "assets", "example"])
    table = (
        pd.DataFrame(rows)
        .groupby("kind")
        .agg(count=("count", "sum"), assets=("asset", "nunique"), example=("example", "first"))
    )
    return table.reset_index().sort_values("count", ascending=False, ignore_index=True)


def converted(report: "pd.DataFrame", folder: Path) -> Iterator[tuple[str, Path]]:
    """Asset id and shard path below `folder` of every asset that has one."""
    for row in report.itertuples():
        if row.state != "failed":
            yield row.asset, folder / row.shard


def asset_table(assets: Sequence[Asset]) -> "pd.DataFrame":
    """One row per asset: id, group, number and megabytes of its own files, number of neighbours' files."""
    import pandas as pd

    rows = []
    for asset in assets:
        size = sum(path.stat().st_size for path in asset.files) / 1e6
        rows.append({"asset": asset.id, "group": asset.group, "files": len(asset.files), "MB": size, **asset.meta})
    return pd.DataFrame(rows)


def report_table(report: "pd.DataFrame") -> "pd.DataFrame":
    """The report as people read it: state, seconds, megabytes, number of issues, reason."""
    table = report[["asset", "group", "state", "seconds"]].copy()
    table["MB"] = report["bytes"] / 1e6
    table["issues"] = [sum(issue["count"] for issue in issues) for issues in report["issues"]]
    table["reason"] = report["reason"]
    return table


def failed(report: "pd.DataFrame") -> dict[str, str]:
    """Asset id -> reason of every asset without a shard."""
    return {row.asset: row.reason for row in report.itertuples() if row.state == "failed"}


def checks(report: "pd.DataFrame", splits: Splits, train: Dataset, tolerated: float) -> list[Check]:
    """The gates of the conversion: all assets but a `tolerated` share have shards, splits share nothing, training has
    samples.
    """
    held = [set(splits[name]) for name in ("train", "validation", "test")]
    apart = not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])
    few = len(failed(report)) <= tolerated * len(report)
    return [
        Check("assets were converted", few, _told(report, tolerated)),
        Check("splits share no asset", apart, f"{' + '.join(str(len(part)) for part in held)} assets"),
        Check("training has samples", len(train) > 0, f"{len(train)} samples"),
    ]


def _told(report: "pd.DataFrame", tolerated: float) -> str:
    """How many assets failed, how many may, which and why, and the way out."""
    broken = failed(report)
    if not broken:
        return "all assets have a shard"
    share = 100 * len(broken) / len(report)
    reasons = [f"{name}: {reason}" for name, reason in list(broken.items())[:NAMED]]
    more = [f"and {len(broken) - NAMED} more in the table of the conversion"] if len(broken) > NAMED else []
    few = f"{len(broken)} of {len(report)} assets failed ({share:.3g} %), tolerated {100 * tolerated:.3g} %"
    return "; ".join(
        [few, *reasons, *more, "mend them, or set conversion.failed_share; they are tried again next time"]
    )
