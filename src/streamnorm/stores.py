"""Stores that files lie in, behind one interface: file systems of pyarrow.fs, and of fsspec."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from .masking import masked

WITHOUT_FOLDERS = ("s3", "s3a", "gs", "gcs", "gcsfs", "abfs", "abfss", "az", "http", "https")
_VERSIONS = ("ETag", "etag", "generation", "mtime", "LastModified", "last_modified", "updated", "modified", "created",
             "md5Hash", "CRC", "sha", "hex")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Info:
    """What a store says of a name: kind is "file", "directory" or None if there is none."""

    kind: str | None
    size: int | None = None
    version: tuple[Any, ...] = ()


class ArrowStore:
    """A file system of pyarrow.fs."""

    def __init__(self, filesystem: Any, scheme: str, shown: str = "") -> None:
        self.filesystem, self.scheme = filesystem, scheme
        self._shown = shown or f"{scheme}://"

    @property
    def has_folders(self) -> bool:
        """Whether folders are more than parts of names."""
        return self.scheme not in WITHOUT_FOLDERS

    def uri(self, key: str) -> str:
        """The address of a key, without secrets."""
        return self._shown + key

    def name(self, key: str) -> str:
        """The last part."""
        return key.rsplit("/", 1)[-1]

    def info(self, key: str) -> Info:
        """About one key."""
        return _arrow_info(self.filesystem.get_file_info(key))

    def listing(self, key: str, recursive: bool) -> Iterator[tuple[str, Info]]:
        """The files below a key."""
        from pyarrow.fs import FileSelector

        for found in self.filesystem.get_file_info(FileSelector(key, recursive=recursive, allow_not_found=True)):
            if found.is_file:
                yield found.path, _arrow_info(found)

    def open(self, key: str) -> Any:
        """The file for reads at any position."""
        return self.filesystem.open_input_file(key)

    def create(self, key: str) -> Any:
        """A new file that appears when it is closed, or before."""
        return self.filesystem.open_output_stream(key)

    def make_folder(self, key: str) -> None:
        """Make a folder, and those above it."""
        self.filesystem.create_dir(key, recursive=True)

    def move(self, key: str, target: str) -> None:
        """Give a file another name, in place of what has it."""
        try:
            self.filesystem.move(key, target)
        except (OSError, NotImplementedError):
            if self.info(key).kind != "file":
                raise
            self.filesystem.copy_file(key, target)  # of stores that cannot rename
            self.filesystem.delete_file(key)

    def remove(self, key: str) -> None:
        """Remove a file."""
        if self.scheme == "s3":
            from .s3_upload import MultipartUpload, access_of

            access = access_of(self.filesystem)
            if access is not None:
                MultipartUpload(access, key).remove()
                return
        self.filesystem.delete_file(key)

    def refresh(self) -> None:
        """Nothing is kept here."""


def _arrow_info(found: Any) -> Info:
    from pyarrow.fs import FileType

    if found.type == FileType.NotFound:
        return Info(None)
    if found.type == FileType.Directory:
        return Info("directory")
    # A listing has parts of seconds that the answer about one file has not.
    return Info("file", found.size, (found.size, None if found.mtime_ns is None else found.mtime_ns // 10**9))


class FsspecStore:
    """A file system of fsspec."""

    def __init__(self, filesystem: Any, suffix: str = "") -> None:
        self.filesystem, self._suffix = filesystem, suffix
        protocol = filesystem.protocol
        self.scheme = protocol if isinstance(protocol, str) else protocol[0]

    @property
    def has_folders(self) -> bool:
        """Whether folders are more than parts of names."""
        return self.scheme not in WITHOUT_FOLDERS

    def uri(self, key: str) -> str:
        """The address of a key, without secrets."""
        return masked(self.filesystem.unstrip_protocol(key) + self._suffix)

    def name(self, key: str) -> str:
        """The last part; of a web address without what follows the path."""
        plain = urlsplit(key).path if self.scheme in ("http", "https") else key
        return unquote(plain).rsplit("/", 1)[-1] if self.scheme in ("http", "https") else plain.rsplit("/", 1)[-1]

    def info(self, key: str) -> Info:
        """About one key."""
        try:
            return _fsspec_info(self.filesystem.info(key))
        except FileNotFoundError:
            return Info(None)

    def listing(self, key: str, recursive: bool) -> Iterator[tuple[str, Info]]:
        """The files below a key."""
        depth = None if recursive else 1
        for name, about in self.filesystem.find(key, maxdepth=depth, detail=True).items():
            yield name, _fsspec_info(about)

    def open(self, key: str) -> Any:
        """The file for reads at any position."""
        if self.scheme == "memory":
            # It is one object with one position, whoever opens it; its bytes have none.
            return pa.BufferReader(pa.py_buffer(self.filesystem.open(key, "rb").getbuffer()))
        try:
            file = self.filesystem.open(key, "rb", block_size=1 << 18, cache_type="readahead")
        except (TypeError, ValueError):  # not all know these options, by which others fetch no more than is asked for
            file = self.filesystem.open(key, "rb")
        return pa.PythonFile(_Telling(file), "r")

    def create(self, key: str) -> Any:
        """A new file that appears when it is closed, or before."""
        return self.filesystem.open(key, "wb")

    def make_folder(self, key: str) -> None:
        """Make a folder, and those above it."""
        self.filesystem.makedirs(key, exist_ok=True)

    def move(self, key: str, target: str) -> None:
        """Give a file another name, in place of what has it."""
        self.filesystem.mv(key, target)

    def remove(self, key: str) -> None:
        """Remove a file."""
        self.filesystem.rm_file(key)

    def refresh(self) -> None:
        """Forget listings that are kept."""
        self.filesystem.invalidate_cache()


class _Telling:
    """A file of fsspec's, whose failures are OSErrors whatever library they come from."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, count: int = -1) -> bytes:
        """Bytes from here on."""
        try:
            return self._file.read(count)
        except OSError:
            raise
        except Exception as error:
            raise OSError(explained(error)) from error


def _fsspec_info(about: dict[str, Any]) -> Info:
    if about["type"] != "file":
        return Info("directory" if about["type"] == "directory" else None)
    version = tuple(str(about[name]) for name in _VERSIONS if about.get(name) is not None)
    return Info("file", about.get("size"), (about.get("size"), *version))


def explained(error: BaseException) -> str:
    """The first line of what a library said, without secrets."""
    lines = re.sub(r"^\[Errno -?\d+\] ", "", str(error).strip()).splitlines()
    return masked(lines[0].rstrip(".")) if lines else type(error).__name__
