"""Formats of files: by which names they go, which files of which format a source means, and their Hive keys."""

# Design: a format goes by the suffix, and by `format` where that does not tell; what has neither is taken for Parquet,
# whose reader says so if it is none. Nothing is opened to find out, as a pipe can be read only once.

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from .errors import DataError
from .locations import StorePath, locate
from .masking import is_uri
from .sources import find_files, is_file_source

FORMATS = ("parquet", "arrow", "arrows", "csv", "tsv", "jsonl")
TEXT = ("csv", "tsv", "jsonl")
STREAMED = ("arrows", *TEXT)  # read from the beginning to the end, and so through a pipe
BY_SUFFIX = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".arrows": "arrows",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
CODECS = {".gz": "gzip", ".zst": "zstd"}
SUFFIXES = (*BY_SUFFIX, *(suffix + packed for suffix, kind in BY_SUFFIX.items() if kind in TEXT for packed in CODECS))
PIPE = "-"
NULL_KEY = "__HIVE_DEFAULT_PARTITION__"


def is_pipe(source: Any) -> bool:
    """Whether a source or a sink is standard input or output."""
    return source == PIPE if isinstance(source, str) else isinstance(source, (list, tuple)) and list(source) == [PIPE]


def _name_of(path: str | os.PathLike[str]) -> str:
    return (locate(path) if is_uri(path) else path if isinstance(path, StorePath) else Path(path)).name


def codec_of(path: str | os.PathLike[str]) -> str | None:
    """How a file of text is packed, by its name."""
    return CODECS.get(Path(_name_of(path)).suffix.lower())


def suffix_of(path: str | os.PathLike[str]) -> str:
    """The suffix that tells the format, with that of the packing; empty if it is none of ours."""
    name = _name_of(path).lower()
    return max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default="")


def format_by_name(path: str | os.PathLike[str]) -> str | None:
    """The format that a file's name tells."""
    suffix = suffix_of(path)
    return BY_SUFFIX["." + suffix.split(".")[1]] if suffix else None


def check_format(given: str | None, what: str = "format") -> None:
    """Raise ValueError unless it is a format or None."""
    if given is not None and given not in FORMATS:
        raise ValueError(f"{what} must be one of {', '.join(FORMATS)} or None, got {given!r}")


def sink_format(sink: Any, given: str | None) -> str:
    """The format of a sink that is one file or standard output.

    Raises
    ------
    DataError
        If it cannot go through a pipe.
    """
    if not is_pipe(sink):
        return given or format_by_name(sink) or "parquet"
    if given is not None and given not in STREAMED:
        raise DataError(f"{given} does not go through a pipe: choose one of {', '.join(STREAMED)}, or name a file")
    return given or "arrows"


@dataclass(frozen=True)
class Found:
    """The files that a source means.

    Attributes
    ----------
    format : str
        Of all of them.
    files : dict of Path to Path
        File to its name relative to where the search began.
    whole : Found or None
        What these are some files of; the types of keys go by all.
    """

    format: str
    files: dict[Path, Path]
    whole: Found | None = None

    @cached_property
    def _keys(self) -> dict[Path, dict[str, str | None]]:
        return {path: _keys_of(name) for path, name in self.files.items()}

    @property
    def key_names(self) -> set[str]:
        """The Hive keys of any of the folders."""
        return {name for keys in self._keys.values() for name in keys}

    def keys(self) -> dict[str, tuple[pa.DataType, dict[Path, Any]]]:
        """The Hive keys of the folders: int32 or int64 where all values are whole numbers, else strings; by file.

        Raises
        ------
        DataError
            If the files lie in folders of different keys.
        """
        if self.whole is not None:
            return self.whole.keys()
        first = next(iter(self._keys))
        names = list(self._keys[first])
        for path, keys in self._keys.items():
            if list(keys) != names:
                raise DataError(
                    f"{path}: lies in folders of the keys {list(keys)}, and {first} of {names}: read them one by one, "
                    "or write them to a directory",
                    file=str(path),
                )
        return {name: _typed({path: keys[name] for path, keys in self._keys.items()}) for name in names}

    def only(self, paths: Collection[Path]) -> Found:
        """Those of these paths."""
        wanted = set(paths)
        files = {path: name for path, name in self.files.items() if path in wanted}
        return Found(self.format, files, self.whole or self)


class ParquetPaths(list[Path]):
    """Paths of files that are Parquet whatever their names say."""


def find(source: Any, given: str | None = None) -> Found:
    """Find the files of a source.

    Raises
    ------
    DataError
        If there is none, or they are of different formats.
    """
    if isinstance(source, Found):
        return source
    items = source if isinstance(source, (list, tuple)) else [source]
    if any(isinstance(item, str) and item == PIPE for item in items):
        raise DataError("standard input (-) is a source of its own: give it alone (a file of that name is ./-)")
    if given is None:
        suffixes: tuple[str, ...] = SUFFIXES
    else:
        suffixes = tuple(suffix for suffix in SUFFIXES if format_by_name("x" + suffix) == given)
    files = find_files(source, suffixes)
    if given is None:
        first = next(iter(files))
        kinds = {path: format_by_name(path) or "parquet" for path in files}
        other = next((path for path in files if kinds[path] != kinds[first]), None)
        if other is not None:
            raise DataError(
                f"{first} is {kinds[first]} and {other} is {kinds[other]}: read files of one format at a time, by a "
                "pattern such as 'folder/*.parquet' or by format (--input-format)",
                file=str(other),
            )
        given = kinds[first]
    return Found(given, files)


def listed(source: Any, given: str | None) -> Any:
    """A source of files as `find` finds them, so that nobody needs to list them again; others as they are."""
    return find(source, given) if is_file_source(source) and not is_pipe(source) else source


def _keys_of(name: Path) -> dict[str, str | None]:
    found = {}
    for part in name.parts[:-1]:
        key, equals, value = part.partition("=")
        if equals and key:
            found[unquote(key)] = None if value == NULL_KEY else unquote(value)
    return found


def _typed(values: dict[Path, str | None]) -> tuple[pa.DataType, dict[Path, Any]]:
    given = [value for value in values.values() if value is not None]
    if given and all(re.fullmatch(r"-?[0-9]{1,18}", value) for value in given):
        numbers = {path: None if value is None else int(value) for path, value in values.items()}
        small = all(-(1 << 31) <= number < 1 << 31 for number in numbers.values() if number is not None)
        return (pa.int32() if small else pa.int64()), numbers
    return pa.string(), values


def output_name(name: Path, given: str | None) -> Path:
    """The name of an output in a folder: that of its input, with the suffix of the output's format."""
    old = suffix_of(name)
    if given is None or format_by_name(name) == given:
        return name
    new = next(suffix for suffix, kind in BY_SUFFIX.items() if kind == given)
    return name.with_name((name.name[: -len(old)] if old else name.name) + new)


def check_no_terminal(stream: Any, packed: str) -> None:
    """Raise DataError where bytes that nobody can read would go to a terminal."""
    if packed not in TEXT and stream is not None and stream.isatty():
        raise DataError(f"standard output is a terminal, and {packed} is binary: name a file, or pipe it on (| ...)")


def standard_input() -> Any:
    """The bytes of standard input.

    Raises
    ------
    DataError
        If it is closed or a terminal.
    """
    if sys.stdin is None:
        raise DataError("standard input is closed")
    if sys.stdin.isatty():
        raise DataError("standard input is a terminal: pipe data into it (cat file | ...), or name a file")
    return sys.stdin.buffer
