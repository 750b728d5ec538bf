"""A content-addressed registry of converted data sets and checkpoints, in any folder or bucket.

Decisions:
- Everything is named by the hash of its bytes: files by theirs, versions by their manifest's. So what is fetched is
  what was published, the same bytes are stored and moved once, and no two publishers can overwrite each other.
- `store` knows blobs, `index` manifests, versions and aliases; `publish` judges (`leaks`, `secrecy`) and writes,
  `hydrate` verifies and fetches (`unpack`). The command line is `cli.artifacts`; `mirror` shows manifests in W&B.
"""

from stepladder.registry.hydrate import Hydrated, damaged, fetched, hydrate, survey
from stepladder.registry.index import Entry, Manifest, Registry, version_of
from stepladder.registry.leaks import Leak
from stepladder.registry.publish import Published, publish_folder, publish_run
from stepladder.registry.store import RegistryError, Store, Unavailable

__all__ = [
    "Entry",
    "Hydrated",
    "Leak",
    "Manifest",
    "Published",
    "Registry",
    "RegistryError",
    "Store",
    "Unavailable",
    "damaged",
    "fetched",
    "hydrate",
    "publish_folder",
    "publish_run",
    "survey",
    "version_of",
]
