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
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from .errors import DataError, StreamnormError
from .globs import pattern_of
from .masking import is_chained, is_uri, masked
from .ranged import RangedFile
from .stores import ArrowStore, FsspecStore, Info, explained

__all__ = ["StorePath", "expand", "file_version", "locate", "open_arrow", "open_binary", "placed", "version_found",
           "version_of"]  # fmt: skip

ARROW_SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
_ENVIRONMENT = ("AWS_", "GOOGLE_", "AZURE_", "HADOOP_", "ARROW_")


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
            if scheme not in ("hdfs", "viewfs") and root.partition("?")[0].endswith("://"):
                raise DataError(f"{masked(uri)}: names no bucket: {scheme}://BUCKET/...", file=masked(uri))
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
