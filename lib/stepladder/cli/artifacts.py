"""`stepladder artifact ...`: publish, list, fetch, verify. Thin: every command is one call into the package.

A store is any folder or URL that fsspec knows, such as `/mnt/share/artifacts` or `s3://bucket/artifacts`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from stepladder.api import find
from stepladder.cli.console import console
from stepladder.cli.options import Named
from stepladder.core import config, profiles
from stepladder.core.paths import command, outputs_root, project_root

if TYPE_CHECKING:  # who asks for help needs no store; each command imports what it calls
    from stepladder.registry.index import Manifest, Registry
    from stepladder.registry.publish import Published

app = typer.Typer(
    no_args_is_help=True,
    help="Share converted data and checkpoints: publish once, fetch and verify anywhere. A store is a folder or a URL.",
)
To = Annotated[str, typer.Option("--to", metavar="URL", help="The store: a folder, s3://bucket/folder, ...")]
From = Annotated[str, typer.Option("--from", metavar="URL", help="The store: a folder, s3://bucket/folder, ...")]
Reference = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="NAME, NAME@VERSION or NAME@ALIAS.")]
Aliases = Annotated[list[str] | None, typer.Option("--alias", help="Another name of this version, as `paper`; repeat.")]
Trusted = Annotated[
    list[str] | None, typer.Option("--trust", metavar="PATH", help="A file known to hold no secret; repeat.")
]


@app.command()
def publish(
    name: Named,
    to: To,
    what: Annotated[
        Literal["shards", "checkpoints"], typer.Option(help="Converted data, or trained models.")
    ] = "shards",
    artifact: Annotated[
        str | None, typer.Option("--name", help="Name of the artifact; STUDY-RUN if not given.")
    ] = None,
    aliases: Aliases = None,
    held_out: Annotated[
        list[str] | None, typer.Option("--held-out", metavar="GROUP", help="Only the test split may hold it; repeat.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="The study's if not given.")] = None,
    trusted: Trusted = None,
    wandb: Annotated[bool, typer.Option("--wandb", help="Also log the manifest to W&B.")] = False,
) -> None:
    """Publish the shards of a run, with splits, recipes and licence; refuses what leaks or gives away a secret."""
    from stepladder.registry.index import Registry
    from stepladder.registry.mirror import to_wandb
    from stepladder.registry.publish import publish_run
    from stepladder.registry.store import Store

    run = find(name)
    published = publish_run(
        Registry(to), run, what, artifact, aliases or [], held_out or [], licence=licence, trusted=trusted or []
    )
    _say(published)
    if wandb:
        console.print(f"W&B: {to_wandb(published, Store(to), run.folder).name}", soft_wrap=True)


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Every file below it.")],
    to: To,
    artifact: Annotated[str, typer.Option("--name", help="Name of the artifact.")],
    licence: Annotated[str, typer.Option(help="What others may do with it, such as CC-BY-4.0.")],
    source: Annotated[str, typer.Option(help="Who or what made it.")] = "",
    aliases: Aliases = None,
    unpack: Annotated[bool, typer.Option("--unpack", help="tar and zip files are fetched as folders.")] = False,
    trusted: Trusted = None,
) -> None:
    """Publish any folder of files."""
    from stepladder.registry.index import Registry
    from stepladder.registry.publish import publish_folder

    _say(publish_folder(Registry(to), folder, artifact, licence, source, aliases or [], unpack, trusted or []))


@app.command("list")
def list_(url: Annotated[str, typer.Argument(metavar="URL", help="The store.")]) -> None:
    """Show every version of every artifact, newest first."""
    from stepladder.registry.index import Registry

    table = Table("artifact", "version", "aliases", "kind", "files", "MB", "published (UTC)", "licence")
    rows = _listed(Registry(url))
    for row in rows:
        table.add_row(*row)
    console.print(table if rows else f"{url}: no artifacts", soft_wrap=not rows)


@app.command()
def fetch(
    reference: Reference,
    url: From,
    into: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where; the outputs folder of this project if not given.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Name the run differently here.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite files that are there with other content.")
    ] = False,
) -> None:
    """Verify what is there and fetch what is missing; run it again after any failure and it goes on."""
    from stepladder.registry.index import Registry
    from stepladder.registry.pull import pull

    with console.status("looking") as status:

        def tell(come: int, total: int, path: str) -> None:
            status.update(f"{come / 1e6:,.0f} of {total / 1e6:,.0f} MB  {path}")

        folder = into or outputs_root(project_root())
        done = pull(Registry(url), reference, folder, run=run, replace=replace, on_progress=tell)
    counts = {word: list(done.states.values()).count(word) for word in ("there", "fetched", "replaced")}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    console.print(f"{done.manifest.name}@{done.version}: {told}, {done.moved / 1e6:,.1f} MB moved", soft_wrap=True)
    console.print(f"licence: {done.manifest.licence}", soft_wrap=True, markup=False)
    if done.manifest.run and into is None:
        console.print(f"go on with: {_next(done.manifest)}", soft_wrap=True, markup=False)


@app.command()
def verify(
    reference: Reference,
    url: Annotated[str | None, typer.Option("--from", metavar="URL", help="Verify the store itself.")] = None,
    into: Annotated[
        Path | None,
        typer.Option("--in", metavar="FOLDER", help="Where it was fetched into; the outputs folder if not given."),
    ] = None,
) -> None:
    """Hash every file again: of what was fetched, without network, or of the store. Exit code 1 names what is wrong."""
    from stepladder.registry.index import Registry
    from stepladder.registry.pull import damaged, fetched, survey

    if url:
        registry = Registry(url)
        version, manifest = registry.read(reference)
        wrong = damaged(registry.store, manifest)
    else:
        folder = into or outputs_root(project_root())
        version, manifest = fetched(folder, reference)
        wrong = {path: state for path, state in survey(manifest, folder).items() if state != "there"}
    for path, problem in wrong.items():
        console.print(f"{problem}: {path}", soft_wrap=True, markup=False)
    console.print(
        f"{manifest.name}@{version}: {len(manifest.files) - len(wrong)} of {len(manifest.files)} files verified"
    )
    raise typer.Exit(1 if wrong else 0)


@app.command()
def alias(
    reference: Reference,
    name: Annotated[str, typer.Argument(metavar="ALIAS", help="Such as `paper`.")],
    url: Annotated[str, typer.Option("--at", metavar="URL", help="The store.")],
) -> None:
    """Let an alias mean this version from now on."""
    from stepladder.registry.index import Registry

    registry = Registry(url)
    version, manifest = registry.read(reference)
    registry.point(manifest.name, name, version)
    console.print(f"{manifest.name}@{name} is {version}")


def _say(published: Published) -> None:
    count, size = len(published.manifest.files), published.manifest.bytes / 1e6
    console.print(
        f"{published.name}@{published.version}: {count} files, {size:,.1f} MB, {published.moved / 1e6:,.1f} MB moved",
        soft_wrap=True,
    )


def _listed(registry: Registry) -> list[list[str]]:
    """Rows of `list`; a manifest that cannot be used is a row that says so."""
    from stepladder.registry.store import RegistryError

    rows = []
    for name in registry.names():
        aliases = registry.aliases(name)
        for version in registry.versions(name):
            own = ", ".join(alias for alias, meant in aliases.items() if meant == version)
            try:
                manifest = registry.read(f"{name}@{version}")[1]
            except RegistryError as error:
                rows.append([name, version, own, "BROKEN", "-", "-", "-", str(error)])
                continue
            size = f"{manifest.bytes / 1e6:,.1f}"
            facts = [manifest.kind, str(len(manifest.files)), size, manifest.created[:19], manifest.licence[:60]]
            rows.append([name, version, own, *facts])
    return sorted(sorted(rows, key=lambda row: row[6], reverse=True), key=lambda row: row[0])


def _next(manifest: Manifest) -> str:
    """The command that goes on with a fetched run: what differs from the profile here is set."""
    stages = "3-7" if manifest.kind == "shards" else "6-7"
    call = f"{command()} run {manifest.study} --profile {manifest.profile} --run {manifest.run} --stages {stages}"
    usual = profiles.load(project_root(), manifest.study, manifest.profile).model_dump(mode="json")
    other = config.flat(config.changes(manifest.parameters, usual))
    return " ".join([call, *(f"--set '{key}={json.dumps(value)}'" for key, value in other)])
