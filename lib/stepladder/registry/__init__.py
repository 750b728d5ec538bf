"""A content-addressed registry of converted data sets and checkpoints, in any folder or bucket.

Decisions:
- Everything is named by the hash of its bytes: files by theirs, versions by their manifest's. So what is fetched is
  what was published, the same bytes are stored and moved once, and no two publishers can overwrite each other.
- `store` knows blobs, `index` manifests, versions and aliases; `publish` judges (`leaks`, `secrecy`) and writes,
  `pull` verifies and fetches (`unpack`). The command line is `cli.artifacts`; `mirror` shows manifests in W&B.
"""

from stepladder.registry.index import Entry, Manifest, Registry, version_of
from stepladder.registry.leaks import Leak
from stepladder.registry.publish import Published, publish_folder, publish_run
from stepladder.registry.pull import Pulled, damaged, fetched, pull, survey
from stepladder.registry.store import RegistryError, Store, Unavailable

__all__ = [
    "Entry",
    "Leak",
    "Manifest",
    "Published",
    "Pulled",
    "Registry",
    "RegistryError",
    "Store",
    "Unavailable",
    "damaged",
    "fetched",
    "publish_folder",
    "publish_run",
    "pull",
    "survey",
    "version_of",
]
