"""Parquet files as inputs: which files a source means, what their footers say, and their columns batch by batch."""

# Design: a column is read alone (or with a few others) over a run of row groups, by pyarrow's reader with read-ahead
# off and a small buffer, so that a scan holds a few megabytes whatever the size of the row groups. What is planned
# from the metadata comes from our own bounds-checked footer reader: pyarrow's metadata objects cost 1 kB a column
# chunk and end the process on some corrupt files. Turned down: pyarrow.dataset, whose import alone costs 115 MB.

from __future__ import annotations

import difflib
import glob
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .dry_run import note_input
from .errors import DataError
from .locations import StorePath, expand, locate, version_found, version_of
from .masking import is_uri, masked
from .parquet import format as fmt
from .parquet import thrift
from .parquet.footer import Footer, Leaf, largest_page, read_footer
from .parquet.format import ColumnMetaData, SchemaElement
from .state import FOOTER_KEY, LINEAGE_KEY

BATCH_ROWS = 131_072  # one megabyte of doubles: fits L2, and makes a data page of ordinary size on the way out
READ_BUFFER = 1 << 20
READ_BUFFERS = 2 << 20  # of columns that are read together
MIN_BUFFER = 1 << 14
FEW = 4
STORE_BUFFERS = 4  # times the size where every read is a request to a store
CHUNKS_AT_ONCE = 1 << 13  # column chunks whose metadata one task's reader holds, 1 kB each in Arrow's objects
KEPT_CHUNKS = 5_000  # a reader is kept for the next task while its metadata has no more column chunks


def is_file_source(source: Any) -> bool:
    """Whether `source` names files: a path, a list of paths, or what `find_files` made of them."""
    if isinstance(getattr(source, "files", None), dict):
        return True
    if isinstance(source, (str, os.PathLike)):
        return True
    return isinstance(source, (list, tuple)) and all(isinstance(item, (str, os.PathLike)) for item in source)


def find_files(source: Any, suffixes: tuple[str, ...] = (".parquet",)) -> dict[Path, Path]:
    """The files that a path, a list of paths, a glob or a directory means.

    Parameters
    ----------
    source : path or list of paths
    suffixes : tuple of str
        Of the files of a directory, in lower case.

    Returns
    -------
    dict of Path to Path
        File to its name relative to where the search began, in sorted order of the files.

    Raises
    ------
    DataError
        If there is none, or one was given twice.
    """
    listed = getattr(source, "files", None)
    if isinstance(listed, dict):
        return dict(listed)
    found: dict[Path, Path] = {}
    for item in source if isinstance(source, (list, tuple)) else [source]:
        for path, name in _expand(item, suffixes):
            if path in found:
                raise DataError(f"{path}: given twice, and its rows would count twice", file=str(path))
            found[path] = name
    if not found:
        raise DataError("there is nothing to read: the list of files is empty")
    return dict(sorted(found.items()))


def _expand(item: str | os.PathLike[str], suffixes: tuple[str, ...]) -> list[tuple[Path, Path]]:
    path = locate(item)
    if isinstance(path, StorePath):
        return expand(path, suffixes)
    if path.is_dir():
        files = [
            file
            for file in path.rglob("*")
            if file.name.lower().endswith(suffixes)
            and file.is_file()
            and not any(part[0] in "._" for part in file.relative_to(path).parts)
        ]
        if not files:
            some = ", ".join(f"*{suffix}" for suffix in suffixes[:9])
            raise DataError(f"{path}: the directory holds no {some} file", file=str(path))
        return [(file, file.relative_to(path)) for file in files]
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is a pipe or a device, and Parquet is read from its end: save it", file=str(path))
    if path.exists():
        return [(path, Path(path.name))]
    pattern = os.fspath(path if is_uri(item) else item)
    if glob.has_magic(pattern):
        matches = [Path(match) for match in glob.glob(pattern, recursive=True) if not os.path.isdir(match)]
        if not matches:
            raise DataError(f"{pattern}: no file matches", file=pattern)
        return [(match, match.relative_to(_fixed_part(pattern))) for match in matches]
    known = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
    raise DataError(f"{path}: there is no such file{_did_you_mean(path.name, known)}", file=str(path))


def _fixed_part(pattern: str) -> Path:
    """The folder of a glob above its first wildcard."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:fixed])


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, cutoff=0.85)  # two names that end in .parquet are 0.6 alike
    return "; did you mean " + " or ".join(map(repr, close)) + "?" if close else ""


def without_state(schema: pa.Schema) -> pa.Schema:
    """The schema without a state and a lineage that an earlier run left in its metadata."""
    ours = (FOOTER_KEY, LINEAGE_KEY)
    metadata = {key: value for key, value in (schema.metadata or {}).items() if key not in ours}
    return schema.with_metadata(metadata or None)


class ParquetInput:
    """One Parquet file: its schema and row groups, and readers for its columns.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    schema : pyarrow.Schema
    footer : Footer
    num_rows : int

    Raises
    ------
    DataError
        If it cannot be opened or is not a Parquet file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._version = version_found(path)
            self.footer: Footer = read_footer(path)
            with self.open(range(0)) as file:
                self.schema = without_state(file.schema_arrow)
            _ = self.schema.names  # decodes them
        except DataError:
            raise
        except UnicodeDecodeError as error:
            raise self.error(f"has a column whose name is not UTF-8 ({error.object!r}): the file is damaged") from error
        except (OSError, pa.ArrowException) as error:
            raise self.error(f"cannot be opened as Parquet ({one_line(error)})") from error
        self.num_rows = sum(group.num_rows for group in self.footer.row_groups)
        note_input(path, "parquet", self.num_rows, self.footer.file_size, len(self.footer.row_groups))

    @property
    def groups_at_once(self) -> int:
        """Row groups that one task may read, by what the metadata of their column chunks takes."""
        return max(1, CHUNKS_AT_ONCE // max(1, len(self.footer.leaves)))

    def error(self, message: str, row_group: int | None = None, column: str | None = None) -> DataError:
        """A DataError that says where in this file."""
        where = [str(self.path)]
        if row_group is not None:
            where.append(f" row group {row_group}" + ("," if column is not None else ""))
        if column is not None:
            where.append(f" column {column!r}")
        place = where[0] + (":" + "".join(where[1:]) if len(where) > 1 else "")
        return DataError(f"{place}: {message}", file=str(self.path), row_group=row_group, column=column)

    def open(
        self, row_groups: range, encoded: Sequence[str] = (), buffer_size: int = READ_BUFFER
    ) -> pq.ParquetFile:
        """A reader of these row groups alone, which counts them from 0 and reads nothing ahead.

        Columns in `encoded` come out dictionary-encoded.
        """
        footer = pq.read_metadata(pa.BufferReader(self.footer.excerpt(row_groups)))
        source = self._source(row_groups)
        reader = pq.ParquetFile(
            source, metadata=footer, pre_buffer=False, buffer_size=buffer_size, read_dictionary=list(encoded)
        )
        if isinstance(self.path, StorePath):
            return reader  # each look at a store costs a request: one at the end of a job has to do
        try:
            self.check_unchanged()  # after it was opened: from here on, the reader holds on to what it has
        except DataError:
            reader.close(force=True)
            raise
        return reader

    def _source(self, row_groups: range) -> Any:
        """What pyarrow reads; nothing where the schema alone is wanted, which is in the footer."""
        if not isinstance(self.path, StorePath):
            return _openable(self.path)
        return self.path.open() if len(row_groups) else pa.BufferReader(b"")

    def check_unchanged(self) -> None:
        """Raise DataError if the file is not what it was when its footer was read."""
        try:
            now = version_of(self.path)
        except OSError as error:
            raise self.error(f"went away while it was read ({one_line(error)}): run again") from error
        if now != self._version:
            raise self.error("changed while it was read: run again once it stays as it is")

    def buffer_size(self, row_groups: range, columns: int = 1) -> int:
        """A read buffer for each of some columns, no larger than a column chunk of these row groups usually is."""
        size = sum(self.footer.row_groups[group].total_byte_size for group in row_groups)
        chunk = size // max(1, len(row_groups) * len(self.footer.leaves))
        times = STORE_BUFFERS if isinstance(self.path, StorePath) else 1
        return max(MIN_BUFFER, min(times * READ_BUFFER, times * READ_BUFFERS // max(1, columns), chunk))

    def reading_need(self, row_groups: range, columns: Sequence[str], memory: int) -> int:
        """Bytes that reading these columns together takes at most: a page of each, packed and unpacked.

        Raises
        ------
        DataError
            If one page alone is beyond `memory`.
        """
        need = 0
        for group in row_groups:
            whole = 2 * self.footer.row_groups[group].total_byte_size  # packed and unpacked, all columns of it
            if not 0 < whole <= memory // 16:
                leaves = ((leaf, name) for name in columns for leaf in self._leaves(name))
                whole = sum(self._page_need(group, leaf, name, memory) for leaf, name in leaves)
            need = max(need, whole)
        return need

    def unfolded_size(self, row_group: int, leaf: int) -> int:
        """Bytes by which a chunk's values take more memory than its pages, whose encoding may have folded them.

        Strings at the top level are held as dictionaries, and so stay folded.
        """
        chunk, column = self.footer.chunk(row_group, leaf), self.footer.leaves[leaf]
        size = chunk.num_values * decoded_width(column)
        if len(column.path) > 1:
            sizes = thrift.value_of(chunk.metadata, ColumnMetaData.SIZE_STATISTICS, thrift.STRUCT, {})
            size += thrift.value_of(sizes, 1, thrift.I64, 0)  # of strings, unencoded
        return max(0, size - chunk.uncompressed_size)

    def _leaves(self, column: str) -> range:
        """The leaves of a column; none if Arrow's schema has a name that Parquet's does not."""
        try:
            return self.footer.fields[self.footer.field_index(column)].leaves
        except KeyError:
            return range(0)

    def _page_need(self, row_group: int, leaf: int, column: str, memory: int) -> int:
        chunk = self.footer.chunk(row_group, leaf)
        whole = chunk.uncompressed_size + chunk.compressed_size
        far = isinstance(self.path, StorePath)
        if whole <= memory // (FEW if far else 16):
            return whole
        # In a store, the header of each page is a request: writers make pages of a size, so that the first ones tell.
        page = largest_page(self.path, chunk, FEW if far else None)
        need = 0 if page is None else page.uncompressed_size + page.compressed_size
        if need > memory:
            raise self.error(
                f"its largest page takes {need / 1e6:.0f} MB to read, memory allows {memory / 1e6:.0f} MB: allow more, "
                "or write the file anew with smaller pages",
                row_group,
                column,
            )
        return min(whole, need)


def _openable(path: Path) -> Any:
    """The path, or a file where Arrow does not take the path, which is not UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return pa.OSFile(os.fsencode(path))
    return path


def decoded_width(leaf: Leaf) -> int:
    """Bytes a value of this Parquet column takes in Arrow's arrays; of a string, its offset alone."""
    kind = thrift.value_of(leaf.element, SchemaElement.TYPE, thrift.I32, -1)
    if kind == fmt.FIXED_LEN_BYTE_ARRAY:
        return max(1, thrift.value_of(leaf.element, SchemaElement.TYPE_LENGTH, thrift.I32, 0))
    return _WIDTHS.get(kind, 8)


_WIDTHS = {0: 1, 1: 4, 4: 4, fmt.BYTE_ARRAY: 4}  # boolean, int32, float, strings; else eight


class ReaderCache(threading.local):
    """The open reader of one thread, for its next task on the same row groups."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] | None = None
        self._reader: pq.ParquetFile | None = None

    def get(
        self, file: ParquetInput, row_groups: range, encoded: tuple[str, ...] = (), columns: int = 1
    ) -> tuple[pq.ParquetFile, range]:
        """A reader for so many columns together, and the row groups as it counts them."""
        whole = range(len(file.footer.row_groups))
        held = whole if len(whole) * len(file.footer.leaves) <= KEPT_CHUNKS else row_groups
        buffer_size = file.buffer_size(row_groups, columns)
        key = (file.path, held, encoded, buffer_size)
        if key != self._key or self._reader is None:
            self.close()
            self._reader, self._key = file.open(held, encoded, buffer_size), key
        return self._reader, range(row_groups.start - held.start, row_groups.stop - held.start)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None


def column_batches(
    file: ParquetInput,
    readers: ReaderCache,
    row_groups: range,
    columns: Sequence[str],
    *,
    batch_rows: int = BATCH_ROWS,
    encoded: Sequence[str] = (),
    leaves: Sequence[str] | None = None,
) -> Iterator[list[pa.Array]]:
    """The columns' arrays, batch by batch; of structs only some fields, if `leaves` has Parquet's paths to them.

    Raises
    ------
    DataError
        Names the row group and the column that cannot be read.
    """
    try:
        reader, numbers = readers.get(file, row_groups, tuple(encoded), max(1, len(columns)))
        read = list(leaves or columns)
        batches = reader.iter_batches(batch_rows, row_groups=numbers, columns=read, use_threads=False)
        for batch in batches:
            yield [batch.column(batch.schema.get_field_index(name)) for name in columns]
    except (OSError, pa.ArrowException) as error:
        raise locate_damage(file, row_groups, columns, error) from error


def locate_damage(file: ParquetInput, row_groups: range, columns: Sequence[str], error: Exception) -> DataError:
    """Read again, piece by piece, to say which column of which row group is at fault."""
    try:
        file.check_unchanged()
    except DataError as changed:
        return changed
    for group in row_groups:
        for name in columns:
            try:
                with file.open(range(group, group + 1)) as reader:
                    for _ in reader.iter_batches(BATCH_ROWS, columns=[name], use_threads=False):
                        pass
            except (OSError, pa.ArrowException) as cause:
                return file.error(f"cannot be read ({one_line(cause)}): the file is damaged", group, name)
    return file.error(f"cannot be read ({one_line(error)})")


def one_line(error: BaseException) -> str:
    """The first line of an exception's message, without its final full stop."""
    lines = str(error).strip().splitlines()
    return masked(lines[0].rstrip(".")) if lines else type(error).__name__


def check_same_types(files: Sequence[ParquetInput], columns: Sequence[str]) -> None:
    """Raise DataError unless every file has the columns, with the types of the first."""
    for file in files[1:]:
        for name in columns:
            index = file.schema.get_field_index(name)
            if index < 0:
                raise file.error(
                    f"there is no such column, but {files[0].path} has it: leave it out or give files that have it",
                    column=name,
                )
            ours, theirs = file.schema.field(index).type, files[0].schema.field(name).type
            if ours != theirs:
                raise file.error(f"its type is {ours}, but {theirs} in {files[0].path}: make them alike", column=name)
