"""Files of stores that appear whole or not at all."""

# Design: what is written goes out in parts while it is made, so that neither memory nor a disk holds it, and appears
# when it is whole. S3's multipart uploads do that, but pyarrow can complete one and not give it up, so they are made by
# requests of our own where the credentials are at hand (s3_upload.py), and by fsspec's own file where the store is
# s3fs or gcsfs. Everywhere else a file with a temporary name beside the target takes the data, and the target's name at
# the end. Turned down: a copy on the local disk, which would have to be as large as the output.

from __future__ import annotations

import contextlib
import logging
import os
from types import TracebackType
from typing import Any, Protocol

from . import dry_run
from .errors import StreamnormError
from .locations import StorePath
from .stores import ArrowStore, explained

logger = logging.getLogger("streamnorm")

DISCARDING = ("s3", "s3a", "gs", "gcs")  # whose files of fsspec's can be given up before they are complete


class Upload(Protocol):
    """Bytes on their way to a target, which `commit` makes visible and `abort` forgets."""

    def write(self, data: memoryview) -> None: ...

    def commit(self) -> None: ...

    def abort(self) -> None: ...


class StoreFile:
    """A binary file in a store, with the interface of :class:`~streamnorm.atomic.AtomicFile`.

    Parameters
    ----------
    target : StorePath
    overwrite : bool
        Whether an existing target may be replaced.
    in_flight : int
        Parts that are under way while more is written, where that is known.

    Raises
    ------
    StreamnormError
        If the target exists and must not be replaced, or cannot be written.
    """

    def __init__(self, target: StorePath, *, overwrite: bool, in_flight: int = 2) -> None:
        from .atomic import check_target

        check_target(target, overwrite=overwrite)
        dry_run.stop()
        self.target, self.closed = target, False
        self._overwrite, self._written, self._pid = overwrite, 0, os.getpid()
        with self._telling():
            self._upload = _upload_to(target, in_flight)

    @contextlib.contextmanager
    def _telling(self) -> Any:
        try:
            yield
        except StreamnormError:
            raise
        except Exception as error:  # libraries of stores raise classes of their own
            raise StreamnormError(f"{self.target}: cannot be written ({explained(error)})") from None

    def write(self, data: bytes | memoryview) -> int:
        """Write all of `data`."""
        view = memoryview(data).cast("B")
        if self.closed:  # what is cleaned up late has nothing to say
            return len(view)
        with self._telling():
            self._upload.write(view)
        self._written += len(view)
        return len(view)

    def tell(self) -> int:
        """Bytes written."""
        return self._written

    def flush(self) -> None:
        """Nothing: parts are sent when they are full."""

    def commit(self) -> None:
        """Make the file visible.

        Raises
        ------
        TargetExists
            If the target has appeared meanwhile and must not be replaced.
        StreamnormError
            If the store reports an error.
        """
        from .atomic import check_target

        if not self._overwrite:
            check_target(self.target, overwrite=False)
        with self._telling():
            self._upload.commit()
            self.closed = True
            self.target.store.refresh()
        logger.info(
            "%s: written, %s bytes",
            self.target,
            f"{self._written:,}",
            extra={"event": "written", "target": str(self.target), "bytes": self._written},
        )

    def __enter__(self) -> StoreFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def __del__(self) -> None:
        # A signal may come between the making of this object and the `with` that would clean up.
        if hasattr(self, "_upload") and os.getpid() == self._pid:
            self._discard()

    def _discard(self) -> None:
        if not self.closed:
            self.closed = True
            self._upload.abort()


def check_store_target(path: StorePath, *, overwrite: bool) -> None:
    """:func:`~streamnorm.atomic.check_target` of a store."""
    from .atomic import exists_already

    if path.is_folder:
        raise StreamnormError(f"{path}/: is a directory; name a file in it")
    if not path.store.has_folders and "/" not in path.key.strip("/"):
        raise StreamnormError(f"{path}: is a bucket; name a file in it")
    if path.store.scheme in ("http", "https"):
        raise StreamnormError(f"{path}: web addresses are read, not written to; name a file or a store")
    found = path.info()
    if found.kind == "directory":
        raise StreamnormError(f"{path}: is a directory; name a file in it")
    if found.kind is not None and not overwrite:
        raise exists_already(path)
    if found.kind is None and not path.store.has_folders:
        bucket = StorePath(path.store, path.key.lstrip("/").split("/", 1)[0])
        if bucket.info().kind is None:
            raise StreamnormError(f"{path}: there is no bucket {bucket}; make it first")
    dry_run.note_output(path)


def _upload_to(target: StorePath, in_flight: int) -> Upload:
    store = target.store
    if isinstance(store, ArrowStore) and store.scheme == "s3":
        from .s3_upload import MultipartUpload, access_of

        access = access_of(store.filesystem)
        if access is not None:
            return MultipartUpload(access, target.key, in_flight)
    if not isinstance(store, ArrowStore) and store.scheme in DISCARDING:
        return _FsspecUpload(store.filesystem.open(target.key, "wb", autocommit=False))
    return _BesideUpload(target)


class _FsspecUpload:
    """A file of fsspec's that can be given up."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: memoryview) -> None:
        """Send it when a part is full."""
        self._file.write(bytes(data))

    def commit(self) -> None:
        """Complete the upload."""
        try:
            self._file.close()
            self._file.commit()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Give up what was sent."""
        with contextlib.suppress(Exception):
            self._file.discard()
        self._file.closed = True  # or its end would send the rest


class _BesideUpload:
    """A file under a temporary name, which is given its own at the end."""

    def __init__(self, target: StorePath) -> None:
        self._target = target
        self._beside = target.with_name(f".{target.name}.{os.getpid()}.streamnorm-tmp")
        if target.store.has_folders:
            target.parent.mkdir()
        self._file = target.store.create(self._beside.key)

    def write(self, data: memoryview) -> None:
        """Send it on."""
        self._file.write(data)

    def commit(self) -> None:
        """Rename it."""
        try:
            self._file.close()
            self._target.store.move(self._beside.key, self._target.key)
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Remove it; what is closed is complete, and can be removed only then."""
        with contextlib.suppress(Exception):
            self._file.close()
        with contextlib.suppress(Exception):
            self._target.store.remove(self._beside.key)
