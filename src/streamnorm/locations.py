"""Where files lie: paths of this machine, and URIs of stores, which pyarrow.fs or fsspec reach."""

# Design: a URI becomes a `StorePath`, which has of pathlib's interface what the jobs use, so that they need not tell
# the two kinds apart. s3, gs, abfs and hdfs go to pyarrow.fs, which reads without Python's lock; all else to fsspec.
# What a listing says of size and version is kept with the path, so that each file is not asked for again. Keys are
# taken as they are: nothing in them is percent-decoded, as stores' own tools do it.

from __future__ import annotations

import contextlib
import errno
import functools
import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from .errors import DataError, StreamnormError
from .globs import pattern_of
from .masking import is_chained, is_uri, masked
from .ranged import RangedFile

__all__ = ["Info", "StorePath", "expand", "explained", "file_version", "locate", "open_arrow",
           "open_binary", "placed", "version_of"]  # fmt: skip

ARROW_SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
WITHOUT_FOLDERS = ("s3", "s3a", "gs", "gcs", "gcsfs", "abfs", "abfss", "az", "http", "https")
_VERSIONS = ("ETag", "etag", "generation", "mtime", "LastModified", "last_modified", "updated", "modified", "created",
             "md5Hash", "CRC", "sha", "hex")  # fmt: skip
_ENVIRONMENT = ("AWS_", "GOOGLE_", "AZURE_", "HADOOP_", "ARROW_")


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


class StorePath(os.PathLike[str]):
    """A name in a store, with what jobs use of pathlib's interface.

    Parameters
    ----------
    store : ArrowStore or FsspecStore
    key : str
        As the file system has it.
    """

    __slots__ = ("_found", "is_folder", "key", "store")

    def __init__(self, store: Any, key: str, found: Info | None = None) -> None:
        self.is_folder = key.endswith("/")
        self.store, self.key = store, key.rstrip("/") or key[:1]
        self._found = found

    def __str__(self) -> str:
        return self.store.uri(self.key)

    def __repr__(self) -> str:
        return f"StorePath({str(self)!r})"

    def __fspath__(self) -> str:
        return str(self) + ("/" if self.is_folder else "")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StorePath) and self.key == other.key and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: object) -> bool:
        return isinstance(other, StorePath) and self._order < other._order  # after paths of this machine

    def __gt__(self, other: object) -> bool:
        return not isinstance(other, StorePath) or self._order > other._order

    @property
    def _order(self) -> list[str]:
        return str(self).split("/")

    @property
    def name(self) -> str:
        """The last part."""
        return self.store.name(self.key)

    @property
    def parent(self) -> StorePath:
        """The folder."""
        above = self.key.rsplit("/", 1)[0] if "/" in self.key else ""
        return StorePath(self.store, above or ("/" if self.key.startswith("/") else ""))

    def __truediv__(self, below: str | os.PathLike[str]) -> StorePath:
        return StorePath(self.store, self.key.rstrip("/") + "/" + PurePosixPath(below).as_posix())

    def with_name(self, name: str) -> StorePath:
        """Another name in the same folder."""
        above, slash, _ = self.key.rpartition("/")
        return StorePath(self.store, above + slash + name)

    def info(self) -> Info:
        """What the store says now."""
        with self.telling("cannot be read"):
            return self.store.info(self.key)

    def known(self) -> Info:
        """What the store has said, or says now."""
        if self._found is None:
            self._found = self.info()
        return self._found

    def exists(self) -> bool:
        """Whether there is such a file or folder now."""
        return self.info().kind is not None

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.known().kind == "directory"

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.known().kind == "file"

    def open(self) -> Any:
        """A file of Arrow's for reads at any position, each of which costs a request."""
        return self.store.open(self.key)

    def open_ranged(self) -> RangedFile:
        """A file that reads ahead."""
        file = self.open()
        return RangedFile(file, file.size())

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """Make the folder where folders are made."""
        if self.store.has_folders and self.key.strip("/"):
            with self.telling("cannot be written"):
                self.store.make_folder(self.key)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file."""
        with self.telling("cannot be removed"):
            if not missing_ok or self.info().kind is not None:
                self.store.remove(self.key)

    def files(self, recursive: bool = True) -> list[tuple[StorePath, Path]]:
        """The files below, with their names relative to here; of one listing."""
        with self.telling("cannot be listed"):
            self.store.refresh()
            base = self.key.rstrip("/") + "/" if self.key else ""
            found = []
            for key, about in self.store.listing(self.key, recursive):
                name = _below(key, base)
                if name:
                    found.append((StorePath(self.store, key, about), Path(name)))
            return found

    @contextlib.contextmanager
    def telling(self, what: str) -> Iterator[None]:
        """Turn what the store raises into an error that names the file, in one line and without secrets."""
        try:
            yield
        except StreamnormError:
            raise
        except Exception as error:  # libraries of stores raise classes of their own
            raise DataError(f"{self}: {what} ({explained(error)})", file=str(self)) from None


def _below(key: str, base: str) -> str:
    if key.startswith(base):
        return key[len(base) :]
    return key.lstrip("/")[len(base.lstrip("/")) :]


def explained(error: BaseException) -> str:
    """The first line of what a library said, without secrets."""
    lines = str(error).strip().splitlines()
    return masked(lines[0].rstrip(".")) if lines else type(error).__name__


def locate(item: Any, filesystem: Any = None) -> Any:
    """A path of this machine or of a store; what is neither text nor a path stays what it is.

    Parameters
    ----------
    item : str, path or StorePath
    filesystem : pyarrow.fs.FileSystem, fsspec file system or None
        Where names without ``scheme://`` lie, and those of its own scheme; None: on this machine.

    Raises
    ------
    DataError
        If the URI cannot be understood, or its library is missing.
    """
    if isinstance(item, StorePath) or not isinstance(item, (str, os.PathLike)):
        return item
    text = os.fspath(item)
    if filesystem is not None and not (isinstance(text, str) and text.startswith("file:")):
        return _on(filesystem, os.fsdecode(text))
    if not is_uri(text):
        return Path(item)
    if text.startswith("file://"):
        return Path(unquote(urlsplit(text).path))
    return _resolve(text)


def placed(given: Any, filesystem: Any = None) -> Any:
    """A source or sink with its URIs resolved, and names if they are on a file system that was given; all else, and
    paths of this machine, as they are.

    Raises
    ------
    DataError
        As :func:`locate`.
    """
    if isinstance(given, (list, tuple)) and any(isinstance(item, (str, os.PathLike)) for item in given):
        found = [placed(item, filesystem) for item in given]
        return given if all(a is b for a, b in zip(given, found, strict=True)) else found
    if isinstance(given, StorePath) or not isinstance(given, (str, os.PathLike)) or given == "-":
        return given
    return locate(given, filesystem) if filesystem is not None or is_uri(given) else given


def _on(filesystem: Any, text: str) -> StorePath:
    """A name on a file system that was given."""
    if hasattr(filesystem, "get_file_info"):
        store: Any = ArrowStore(filesystem, filesystem.type_name)
        scheme, colons, rest = text.partition("://")
        return StorePath(store, rest if colons and scheme in (filesystem.type_name, "gs") else text)
    if not hasattr(filesystem, "_strip_protocol"):
        raise TypeError(f"filesystem must be one of pyarrow.fs or fsspec, got a {type(filesystem).__name__}")
    folder = "/" if text.endswith("/") else ""
    return StorePath(FsspecStore(filesystem), filesystem._strip_protocol(text).rstrip("/") + folder)


def _resolve(uri: str) -> StorePath:
    scheme = uri.partition("://")[0].lower()
    try:
        if scheme in ARROW_SCHEMES and not is_chained(uri):
            root, key = _split(uri)
            return _arrow_path(root, key, scheme)
        return _fsspec_path(uri)
    except StreamnormError:
        raise
    except ImportError as error:
        raise DataError(
            f"{masked(uri)}: its scheme needs a library that is not installed ({explained(error)})", file=masked(uri)
        ) from None
    except Exception as error:
        raise DataError(f"{masked(uri)}: cannot be reached ({explained(error)})", file=masked(uri)) from None


def _split(uri: str) -> tuple[str, str]:
    """What tells the file system, and the key in it; a ``?`` may be a wildcard, or begin the options."""
    rest, options = uri, ""
    found = re.search(r"\?(?=[A-Za-z_]+=)", uri)
    if found is not None:
        rest, options = uri[: found.start()], uri[found.start() :]
    scheme, _, path = rest.partition("://")
    authority, _, key = path.partition("/")
    return f"{scheme.lower()}://{authority}{options}", key


def _arrow_path(root: str, key: str, scheme: str) -> StorePath:
    environment = tuple(sorted(item for item in os.environ.items() if item[0].startswith(_ENVIRONMENT)))
    filesystem, base = _filesystem(root if scheme != "gcs" else "gs" + root[3:], environment)
    shown = ""
    if scheme in ("hdfs", "viewfs"):
        shown = masked(root.partition("?")[0])
    joined = (base.rstrip("/") + "/" + key) if key or base == "/" else base
    return StorePath(ArrowStore(filesystem, scheme, shown), joined)


@functools.lru_cache(16)
def _filesystem(root: str, environment: tuple[Any, ...]) -> tuple[Any, str]:
    """A file system and the path of its root; with Amazon, finding the region takes a request."""
    del environment  # of which the file system may have made something
    from pyarrow.fs import FileSystem

    return FileSystem.from_uri(root)


def _fsspec_path(uri: str) -> StorePath:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise DataError(
            f"{masked(uri)}: reading {uri.partition('://')[0]}:// needs fsspec: pip install 'streamnorm[remote]'",
            file=masked(uri),
        ) from None
    filesystem, key = url_to_fs(uri)
    _, chained, rest = uri.partition("::")
    suffix = chained + rest if chained and "://" in uri.partition("::")[0] else ""
    return StorePath(FsspecStore(filesystem, suffix), key + ("/" if uri.endswith("/") and not suffix else ""))


def expand(path: StorePath, suffixes: tuple[str, ...]) -> list[tuple[StorePath, Path]]:
    """The files that a name, a pattern or a folder of a store means, with their relative names.

    Raises
    ------
    DataError
        If there is none.
    """
    if path.known().kind == "file" and not path.is_folder:
        return [(path, Path(path.name))]
    if path.known().kind == "directory":
        files = [(file, name) for file, name in path.files() if _wanted(name, suffixes)]
        if not files:
            some = ", ".join(f"*{suffix}" for suffix in suffixes[:9])
            raise DataError(f"{path}: the directory holds no {some} file", file=str(path))
        return files
    if glob.has_magic(path.key) and path.store.scheme not in ("http", "https"):  # where ? begins a query
        return _matching(path)
    raise DataError(f"{path}: there is no such file", file=str(path))


def _wanted(name: Path, suffixes: tuple[str, ...]) -> bool:
    return name.name.lower().endswith(suffixes) and not any(part[0] in "._" for part in name.parts)


def _matching(path: StorePath) -> list[tuple[StorePath, Path]]:
    parts = path.key.split("/")
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    folder = StorePath(path.store, "/".join(parts[:first]) or path.key[:1])
    below = "/".join(parts[first:])
    pattern = pattern_of(below)
    deep = len(parts) - first > 1 or "**" in below
    found = [(file, name) for file, name in folder.files(deep) if pattern.fullmatch(name.as_posix())]
    if not found:
        raise DataError(f"{path}: no file matches", file=str(path))
    return found


def file_version(about: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is replaced or written to."""
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns


def open_binary(path: Any) -> Any:
    """A file to read from its beginning, wherever it lies.

    Raises
    ------
    OSError
        If there is none.
    """
    place = locate(path)
    if not isinstance(place, StorePath):
        return open(place, "rb")
    if not place.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))
    return place.open_ranged()


def open_arrow(path: Any) -> Any:
    """A file of Arrow's, wherever it lies."""
    place = locate(path)
    return pa.PythonFile(open_binary(place), "r") if isinstance(place, StorePath) else pa.OSFile(os.fsencode(place))


def version_found(path: Path | StorePath) -> tuple[Any, ...]:
    """:func:`version_of` when the file was found: what a listing said of it is not asked for again."""
    if isinstance(path, StorePath) and isinstance(path.store, ArrowStore) and path.is_file():
        return path.known().version
    return version_of(path)


def version_of(path: Path | StorePath) -> tuple[Any, ...]:
    """What changes when a file is replaced or written to.

    Raises
    ------
    OSError
        If there is no such file.
    """
    if not isinstance(path, StorePath):
        return file_version(os.stat(path))
    found = path.info()
    if found.kind != "file":
        raise FileNotFoundError(f"{path}: there is no such file")
    return found.version
