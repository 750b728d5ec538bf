"""Where artifacts lie: blobs by their SHA-256 and small texts, below any URL that fsspec knows (folder, s3://, memory://).

    <url>/sha256/ab/abcdef...                       blobs, each under the hash of its bytes
    <url>/artifacts/<name>/<version>.yaml           manifests (see `index`)
    <url>/artifacts/<name>/aliases/<alias>          a text file that holds a version

Decisions:
- A blob that is there with its right size is never written again; whoever reads it checks its hash.
- In a folder, files are written beside their place and renamed; object stores show an object only when it is whole.
  So a killed publisher leaves at most a hidden `.part` file or an unfinished upload, which nobody sees.
- Reading is by ranges without any open file, so a cut costs one block and threads share nothing.
- Credentials and endpoints are never arguments: fsspec and the SDK behind it read their own environment variables.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from stepladder.core import files
from stepladder.core.config import ParameterError
from stepladder.core.secrets import redact

PASSWORD = re.compile(r"//[^/@]*@")


class RegistryError(ParameterError):
    """An artifact or a store that cannot be used, with the way out."""


class Unavailable(RegistryError):
    """The store did not do what it was asked; asking again may help."""


def blob_path(sha256: str) -> str:
    """Place of a blob below the store's URL."""
    return f"sha256/{sha256[:2]}/{sha256}"


class Store:
    """Blobs and texts below one URL.

    Raises:
        RegistryError: the URL's protocol is unknown, or the package that speaks it is missing.
    """

    def __init__(self, url: str):
        self.url = PASSWORD.sub("//", redact(url.rstrip("/")))  # as it is shown
        try:
            self.fs, self.root = fsspec.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise RegistryError(
                f"{self.url}: {error}; for s3:// install s3fs (the extra s3 of this project), else give a folder"
            ) from None
        self.local = isinstance(self.fs, LocalFileSystem)

    def read(self, path: str) -> bytes | None:
        """The bytes of a small file; None where it is not there."""
        with self._asked("reading", path):
            try:
                return self.fs.cat_file(self._full(path))
            except FileNotFoundError:
                return None

    def write(self, path: str, data: bytes) -> None:
        """Write a small file whole, over what is there."""
        with self._asked("writing", path):
            if self.local:
                files.write_bytes(self._full(path), data)
            else:
                self.fs.pipe_file(self._full(path), data)

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; empty where it is not there."""
        with self._asked("listing", folder):
            self.fs.invalidate_cache()  # others write here too
            try:
                found = self.fs.ls(self._full(folder), detail=False)
            except FileNotFoundError:
                return []
        names = {path.rstrip("/").rpartition("/")[2] for path in found}
        return sorted(name for name in names if not name.startswith("."))

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where it is not there."""
        with self._asked("looking at", path):
            self.fs.invalidate_cache()
            try:
                return self.fs.info(self._full(path))["size"]
            except FileNotFoundError:
                return None

    def put(self, sha256: str, source: Path) -> int:
        """Store the file `source` as the blob `sha256`; bytes moved, 0 where it was there.

        The caller vouches for the hash: it has just computed it, and looks whether the file changed meanwhile.
        """
        size, place = source.stat().st_size, blob_path(sha256)
        if self.size(place) == size:
            return 0
        with self._asked("writing", place):
            if self.local:
                with files.atomic(self._full(place)) as temporary:
                    shutil.copyfile(source, temporary)
            else:
                self.fs.put_file(str(source), self._full(place))
        if self.size(place) != size:
            raise Unavailable(f"{self.url}: {place} did not arrive whole; publish again")
        return size

    def drop(self, sha256: str) -> None:
        """Delete a blob whose bytes are not what its name says."""
        with self._asked("deleting", blob_path(sha256)):
            self.fs.rm_file(self._full(blob_path(sha256)))

    def blob(self, sha256: str, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` of a blob; fewer only where the blob ends before.

        Raises:
            RegistryError: there is no such blob.
            Unavailable: it could not be read now.
        """
        place = blob_path(sha256)
        with self._asked("reading", place):
            try:
                return self.fs.cat_file(self._full(place), start=start, end=stop)
            except FileNotFoundError:
                raise RegistryError(
                    f"{self.url}: the blob {place} is missing; publish again from an intact copy"
                ) from None

    def _full(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}"

    @contextmanager
    def _asked(self, doing: str, path: str) -> Iterator[None]:
        """Whatever a file system or the SDK behind it throws, as one sentence."""
        try:
            yield
        except RegistryError:
            raise
        except PermissionError as error:
            raise RegistryError(f"{self.url}: {doing} {path} is forbidden ({error}); check the credentials") from None
        except Exception as error:
            raise Unavailable(
                f"{self.url}: {doing} {path} failed ({type(error).__name__}: {error}); "
                "mend that and call again, what has come is kept"
            ) from None  # its text may hold the address with its password; the type and the reason are told
