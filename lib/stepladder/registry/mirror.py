"""A mirror of manifests in Weights & Biases: it shows what exists; the bytes stay in the store.

W&B records offline unless WANDB_API_KEY or WANDB_MODE is set, as `stepladder.training.tracking` does. Offline it cannot
be asked for an artifact, so nothing is ever fetched from it.
"""

from pathlib import Path

from stepladder.core import files
from stepladder.registry.index import dump
from stepladder.registry.publish import Published
from stepladder.registry.store import Store, blob_path
from stepladder.training.tracking import open_wandb


def to_wandb(published: Published, store: Store, folder: Path) -> Path:
    """Log a manifest, and a reference to every blob, as a W&B artifact; returns the folder W&B wrote to.

    Args:
        published: what was published.
        store: where; references are made of its URL.
        folder: holds W&B's `wandb/` folder.
    """
    manifest = published.manifest
    path = folder / f"{published.name}@{published.version}.yaml"
    files.write_text(path, dump(manifest))
    facts = {"version": published.version, "licence": manifest.licence, "bytes": manifest.bytes, "store": store.url}
    with open_wandb(manifest.study or "artifacts", folder, job_type="publish") as run:
        import wandb

        artifact = wandb.Artifact(published.name, type=manifest.kind, metadata=facts)
        artifact.add_file(str(path), name="manifest.yaml")
        if "://" in store.url:
            for entry in manifest.files:
                artifact.add_reference(f"{store.url}/{blob_path(entry.sha256)}", name=entry.path, checksum=False)
        run.log_artifact(artifact)
    return Path(run.dir).parent
