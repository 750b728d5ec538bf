"""What notebook cells call: open a stage, show figures and tables, track progress, explore, check, record.

Decisions:
- The same cells run in JupyterLab, under our engine, under stock papermill and under nbval (see `display`).
- Figures are saved beside a caption, tables go into the stage's result: report pages are built from those files.
- `finish` writes the stage's result, last of all.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, overload

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import HTML, display
from matplotlib.figure import Figure

from stepladder import __version__
from stepladder.core import claim, closure, config, files, remarks, study
from stepladder.core.paths import project_root
from stepladder.core.records import Conversion, Result, Split
from stepladder.core.run import Run
from stepladder.core.schema import LaunchParams, Parameters, ViewParams
from stepladder.core.stages import hidden, readable, visible
from stepladder.core.stages import stage as find_stage
from stepladder.core.types import Asset, Check, Dataset, Gathered, Prediction, Sample, Source
from stepladder.data.fetch import Report
from stepladder.data.loading import split_shards
from stepladder.machine import signals
from stepladder.machine.signals import Preempted
from stepladder.notebooks import live, opening
from stepladder.notebooks.display import (
    cell_text,
    explore,
    interactive,
    png_bytes,
    table_html,
    table_text,
    telling,
    track,
)
from stepladder.view.scene import Scene
from stepladder.view.style import STYLE

__all__ = ["Preempted", "StageContext", "explore", "interactive", "open", "start", "track"]


def start(notebook: str) -> None:
    """First call of a notebook: one look for all figures, signals understood, one line of versions."""
    plt.style.use(STYLE)
    if not interactive():
        matplotlib.use("agg")
    signals.install_kernel_handler()
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    print(f"Stepladder {__version__} | {find_stage(notebook).name} | torch {torch.__version__} | {device}")


def open(notebook: str, namespace: Mapping[str, Any]) -> "StageContext":
    """Check the values of the `parameters` cell and open the stage's place in its run.

    What the cell leaves empty takes the value that was set in this run before, else the profile's; what it sets holds
    for the run from then on. Nothing of an earlier result is touched before `StageContext.finish`.

    Args:
        notebook: name of the stage, such as `03_smoke_test`.
        namespace: the notebook's names, `globals()`.

    Raises:
        ParameterError: a name that is no parameter, a value that cannot be used, or a value that changes an earlier
            stage, which has to run again first.
    """
    name = find_stage(notebook).name
    run, checked, overrides, given = opening.resolve(namespace)
    opening.begin(name, run, checked, overrides)
    torch.manual_seed(checked.seed)
    if checked.training.threads:
        torch.set_num_threads(checked.training.threads)
    print(f"run {run.study}/{run.name}, profile {checked.profile}, seed {checked.seed}")
    opened = StageContext(name, run, checked)
    if interactive():
        display(opening.form_of(name, run, checked, overrides, given).box)
    opened.show_parameters(overrides)
    return opened


class StageContext:
    """One stage of a run, open in a notebook: its parameters, its folder, and what it leaves behind.

    Attributes:
        params: what it may read; anything else in there is refused (see `stages`).
        launch: where it computes and what that may cost, which no result depends on.
        folder: where it makes what it leaves; takes the place of an earlier result at `finish`.
        kept: folder of what a later start of the stage may use again.
    """

    def __init__(self, name: str, run: Run, checked: Parameters):
        self.name, self.run = name, run
        self.params = checked.only(readable(name), hidden(name))
        on_a_box = claim.JOB in os.environ  # launched already: what computes elsewhere computes here
        self.launch = LaunchParams.defaults() if on_a_box else checked.launch
        self.study = study.find(checked.study)
        self.folder = run.make_aside(name)
        self.kept = run.stage_folder(name) / "kept"
        self._checks: list[Check] = []
        self._tables: list[dict[str, Any]] = []
        self._remarks: list[dict[str, Any]] = []
        self._code: dict[str, str] = {}
        self._opened = run.key(name, self.params.model_dump(mode="json"))

    def show_parameters(self, changed: Mapping[str, Any]) -> None:
        """List the parameters that this stage reads, those `changed` from the profile marked."""
        values = visible(self.name, self.params.model_dump(mode="json"))
        marked = [name for name, _ in config.flat(changed) if name in values]
        said = f"{len(values)} parameters, " + (", ".join(f"{n} = {values[n]}" for n in marked) or "all the profile's")
        rows = [(f"<b>{escape(n)}</b>" if n in marked else escape(n), escape(str(v))) for n, v in values.items()]
        body = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in rows)
        folded = f"<details><summary>{escape(said)}</summary><table>{body}</table></details>"
        display({"text/html": folded, "text/plain": said}, raw=True)

    @property
    def home(self) -> Path:
        """Folder of the study's runs and data; paths in results are relative to it."""
        return self.run.folder.parent

    @overload
    def require(self, name: Literal["02_conversion"]) -> Conversion: ...
    @overload
    def require(self, name: str) -> Result: ...
    def require(self, name: str) -> Result:
        """Result of an earlier stage (see `Run.require`)."""
        return self.run.require(name, self.params.model_dump(mode="json"))

    def sources(self) -> list[Source]:
        """Where this run's raw files come from; made on the spot first where the profile says `synthetic`.

        Synthetic files lie under what decides them, so no other run replaces them.
        """
        data, seed = self.params.data, self.params.seed
        if data.source != "synthetic":
            return self.study.sources(self.params)
        code = closure.of_member(self.run.study, "synthesize")
        recipe = files.fingerprint([data.model_dump(mode="json"), seed, code])
        return self.study.synthesize(self.run.data / "synthetic" / recipe, data.synthetic, seed, self.params)

    def gather(self, reports: Iterable[Report]) -> Gathered:
        """Bring what the fetched files only name (see `Study.gather`), telling how far it is."""
        with telling(self.run) as tell:
            folder = self.run.data / "gathered"
            return self.study.gather([report.root for report in reports], self.params, folder, tell)

    def assets(self, reports: Iterable[Report | Gathered]) -> list[Asset]:
        """What there is to convert of the files that were asked for now.

        Raw folders may hold more, fetched when the run's parameters asked for more: that stays where it is, unused.
        """
        places = [report for report in reports if report.root is not None]
        asked = set[Path]().union(*(report.paths for report in places))
        asked |= {parent for path in asked for parent in path.parents}  # an asset may be a folder of files
        found = self.study.assets([report.root for report in places if report.root], self.params)
        return [asset for asset in found if asset.files[0] in asked]

    def shards(self, split: Split | None = None) -> list[Path]:
        """Paths of the converted shards, of one split or of all."""
        result = self.require("02_conversion")
        names = result["splits"][split] if split else result["shards"]
        return [self.home / result["shards"][name] for name in names if name in result["shards"]]

    def dataset(self, split: Split, conversion: Conversion | None = None) -> Dataset:
        """Samples of one split, clear of the others; `conversion`: the result of 02_conversion not yet recorded."""
        own, regions = split_shards(self.home, conversion or self.require("02_conversion"), split)
        return self.study.dataset(own, self.params, regions)

    def evaluation_dataset(self, split: Split) -> Dataset:
        """What is scored and shown of one split, clear of the others."""
        own, regions = split_shards(self.home, self.require("02_conversion"), split)
        return self.study.evaluation_dataset(own, self.params, regions)

    def show(
        self, picture: Any, name: str, caption: str, more: Mapping[str, Callable[[Path], object]] = MappingProxyType({})
    ) -> None:
        """Save a matplotlib figure or a `view.Scene` with its caption, and display it.

        A scene is rendered to PNG and written as an HTML page beside it, which needs no network. `more` are the
        `files` of a `Picture`, written beside it too.
        """
        path = self.folder / "figures" / f"{name}.png"
        sidecar: dict[str, Any] = {"caption": caption}
        if isinstance(picture, Figure):
            png = png_bytes(picture)
            files.write_bytes(path, png)
        else:
            from stepladder.view import render, web

            size = self.params.view.size if "view" in readable(self.name) else ViewParams.defaults().size
            sidecar |= {"renderer": render.render(picture, path, tuple(size))}
            web.save_html(picture, path.with_suffix(".html"), alone=interactive())
            sidecar["scene"] = path.with_suffix(".html").name
            png = path.read_bytes()
        for ending, write in more.items():
            write(path.with_suffix(ending))
        files.write_json(path.with_suffix(".json"), sidecar | ({"files": sorted(more)} if more else {}))
        display({"image/png": png, "text/plain": f"figure {name}: {caption}"}, raw=True, metadata={"alt": caption})
        if "scene" in sidecar and interactive():
            place = f"{self.run.study}/{self.run.name}/{self.name}/figures/{path.stem}.html"
            words = "open the scene in 3-D, once the last cell has run"
            display(HTML(f"<a href='/files/outputs/{place}' target='_blank'>{words}</a>"))

    def picture(self, sample: Sample, prediction: Prediction) -> Figure:
        """A sample with its prediction, in the last of the study's views, which tells the most."""
        from stepladder.view import render

        last = list(self.study.scenes(sample, prediction, self.params).values())[-1]
        return render.picture(last.drawing, ViewParams.defaults().size)

    async def view(self, picture: Any) -> None:
        """Look at a figure or a `view.Scene` and keep nothing; in JupyterLab a scene can be turned (see `viewer`)."""
        from stepladder.notebooks import viewer
        from stepladder.view import render

        bundle = {"image/png": png_bytes(render.picture(picture, ViewParams.defaults().size)), "text/plain": "a scene"}
        if interactive() and isinstance(picture, Scene) and viewer.available():
            display(HTML(viewer.key(picture)))
            bundle |= (await viewer.live(picture))._repr_mimebundle_()
        display(bundle, raw=True)

    def table(self, frame: pd.DataFrame, title: str, note: str = "", measured: bool = False) -> None:
        """Display a table and keep it for the report.

        `measured` marks tables of times and rates, which differ from run to run; regression checks skip their body.
        """
        rows = [[cell_text(value) for value in row] for row in frame.itertuples(index=False)]
        columns = [str(column) for column in frame.columns]
        self._tables.append({"title": title, "columns": columns, "rows": rows, "note": note, "measured": measured})
        text = f"{title}: measured, {len(columns)} columns" if measured else table_text(title, columns, rows, note)
        display({"text/html": table_html(title, columns, rows, note, measured), "text/plain": text}, raw=True)

    def present(self, found: pd.DataFrame | Figure | str | list[Check], title: str) -> None:
        """A measured table, a figure under a name made of its title, a sentence, or gates."""
        if isinstance(found, Figure):
            self.show(found, re.sub(r"\W+", "_", title.lower()).strip("_"), title)
        elif isinstance(found, str):
            self.note(f"{title}: {found}")
        elif isinstance(found, list):
            self.check(*found)
        else:
            self.table(found, title, measured=True)

    def note(self, text: str) -> None:
        """Say one measured sentence and keep it for the report."""
        self._tables.append({"title": "In one sentence", "columns": [], "rows": [], "note": text, "measured": True})
        shown = f"<blockquote>{escape(text)}</blockquote>"
        display({"text/html": shown, "text/plain": "In one sentence: measured"}, raw=True)

    def remark(self, text: str) -> None:
        """Keep a person's note on this stage, in markdown: an issue met, a solution found; its page shows it.

        It is written at once, and a cell that only remarks makes nothing stale (see `core.remarks`).
        """
        self._remarks.append(remarks.remark(text))
        remarks.write(self.run.stage_folder(self.name), self._remarks)
        kept = self._remarks[-1]["text"]
        display({"text/markdown": kept, "text/plain": kept}, raw=True)

    def check(self, *checks: Check) -> None:
        """Note the verdicts of gates; `verdicts` shows them all."""
        for check in checks:
            self._checks.append(check)
            self.run.event("check", stage=self.name, name=check.name, ok=check.ok, reason=check.reason)

    def verdicts(self) -> None:
        """Show every check of the stage; raise when one failed, naming it.

        Raises:
            AssertionError: a check failed. The stage then leaves no result, so the road stops here.
        """
        rows = [{"check": c.name, "verdict": "pass" if c.ok else "FAIL", "reason": c.reason} for c in self._checks]
        self.table(pd.DataFrame(rows), "Checks", measured=True)
        failed = [f"{c.name}: {c.reason}" for c in self._checks if not c.ok]
        print(f"{len(self._checks) - len(failed)} of {len(self._checks)} checks passed")
        assert not failed, "; ".join(failed)

    def finish(self, vouched: Iterable[Path] = (), **values: Any) -> None:
        """Put what was made in its place and write the stage's `result.json`, last of all.

        Args:
            vouched: files elsewhere that the result stands for, such as shards: gone or changed, it is made again.
            values: what later stages read.
        """
        checks = [vars(check) for check in self._checks]
        kept = {"vouched": vouched, "made": self.folder, "code": self._code, "opened": self._opened}
        self.run.finish_stage(self.name, self.params, checks, **kept, tables=self._tables, **values)
        remarks.write(self.run.stage_folder(self.name), self._remarks)
        print(f"recorded: {self.name} of {self.run.study}/{self.run.name}")
        if self.launch.on:  # the job's end drew the page, before there was a result
            from stepladder.launch import launching

            launching.draw(self.run)


async def follow(job: Any, stage: StageContext) -> str:
    """Wait for a training job, with its curve growing in JupyterLab (see `live.follow`); why it ended, in words."""
    stage._code = dict(job.code)  # what ran decides the result, even where files have changed since
    return await live.follow(job)


def jobs() -> None:
    """All launched jobs: in JupyterLab a table that lives, with a button that stops each; headless its text."""
    from stepladder.launch import panel

    panel.show(project_root())
