"""A content-addressed registry of converted data sets and checkpoints, in any folder or bucket.

Decisions:
- Everything is named by the hash of its bytes: files by theirs, versions by their manifest's. So what is fetched is
  what was published, the same bytes are stored and moved once, and no two publishers can overwrite each other.
- `store` knows blobs, `index` manifests, versions and aliases; `publish` judges (`leaks`, `secrecy`) and writes,
  `pull` verifies and fetches (`unpack`). The command line is `cli.artifacts`; `mirror` shows manifests in W&B.
"""
