"""Reading what surrounds the data of a Parquet file: footer, schema, column chunks, and page headers.

# Design: the footer's bytes are kept as they are, with an index of where each column chunk's metadata begins
# (4 bytes a chunk), and a chunk is decoded when it is asked for. Decoding all of them into Python objects at
# once was turned down: it costs some 4 kB a chunk, and wide files in many row groups have a million chunks.
# Everything is checked before it is used: pyarrow's own metadata objects end the process on some corrupt
# files.
"""

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from streamnorm.errors import DataError
from streamnorm.parquet import format as fmt
from streamnorm.parquet.format import (
    ChunkFields,
    ColumnMetaData,
    FileMetaData,
    PageHeader,
    RowGroupFields,
    SchemaElement,
)
from streamnorm.parquet.random_access import RandomAccess
from streamnorm.parquet.thrift import (
    BINARY,
    I32,
    I64,
    LIST,
    STRUCT,
    Struct,
    ThriftError,
    chunk_statistics,
    decode,
    decode_struct,
    encode,
    skip_struct,
    struct_list,
    value_of,
)

__all__ = ["ColumnChunk", "Footer", "Leaf", "Page", "RowGroup", "SchemaField", "footer_bytes", "largest_page",
           "page_sizes", "parse_footer", "parse_schema", "read_footer"]  # fmt: skip

# A page header is some 30 bytes, or a few hundred with page statistics; no writer makes one near this size.
MAX_PAGE_HEADER = 1 << 20

# Paths are copied on the way down, so that depth times elements is what a schema costs.
MAX_SCHEMA_DEPTH = 256


@dataclass(frozen=True, slots=True)
class Leaf:
    """A column in Parquet's sense: a primitive node of the schema.

    Attributes
    ----------
    path : tuple of bytes
        Names from the top-level field down.
    max_definition_level, max_repetition_level : int
    element : dict
        The schema element.
    field : int
        Index of its top-level field.
    """

    path: tuple[bytes, ...]
    max_definition_level: int
    max_repetition_level: int
    element: Struct
    field: int

    @property
    def name(self) -> str:
        """The path, dotted."""
        return b".".join(self.path).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class SchemaField:
    """A top-level field: its subtree of schema elements, depth first, and which leaves it has."""

    name: str
    elements: tuple[Struct, ...]
    first_leaf: int
    num_leaves: int

    @property
    def leaves(self) -> range:
        """Indices of its leaves."""
        return range(self.first_leaf, self.first_leaf + self.num_leaves)


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group, without its chunks."""

    num_rows: int
    total_byte_size: int


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """A column chunk of a file.

    Attributes
    ----------
    metadata : dict
        ColumnMetaData, as it is in the file.
    start : int
        Position of its first page, be it dictionary or data.
    obstacle : str or None
        Why its bytes cannot be copied into another file; None if they can.
    """

    file: str
    row_group: int
    column: str
    metadata: Struct
    start: int
    compressed_size: int
    uncompressed_size: int
    num_values: int
    obstacle: str | None

    def error(self, message: str) -> DataError:
        """A DataError about this chunk."""
        return _chunk_error(self.file, self.row_group, self.column, message)

    @property
    def holds_only_indices(self) -> bool:
        """Whether the footer says that all data pages hold indices into the chunk's dictionary."""
        _, counts = value_of(self.metadata, ColumnMetaData.ENCODING_STATS, LIST, (STRUCT, ()))
        data = (fmt.DATA_PAGE, fmt.DATA_PAGE_V2)
        used = {value_of(each, 2, I32, fmt.PLAIN) for each in counts if value_of(each, 1, I32, fmt.DATA_PAGE) in data}
        return bool(used) and used <= {fmt.PLAIN_DICTIONARY, fmt.RLE_DICTIONARY}


@dataclass(frozen=True, slots=True)
class Page:
    """A page, as its header has it: the sizes are those of the body, in bytes."""

    kind: int
    header_size: int
    uncompressed_size: int
    compressed_size: int


def _chunk_error(file: str, row_group: int, column: str, message: str) -> DataError:
    where = f"{file}: row group {row_group}, column {column!r}: "
    return DataError(where + message, file=file, row_group=row_group, column=column)


def parse_schema(elements: list[Struct]) -> tuple[tuple[SchemaField, ...], tuple[Leaf, ...]]:
    """Group a depth-first list of schema elements into top-level fields and leaves."""
    if not elements:
        raise ThriftError("the schema is empty")
    fields: list[SchemaField] = []
    leaves: list[Leaf] = []
    # Per open group: children still to come, and path and levels for them.
    stack: list[tuple[int, tuple[bytes, ...], int, int]]
    stack = [(value_of(elements[0], SchemaElement.NUM_CHILDREN, I32, 0), (), 0, 0)]
    first, first_leaf = 1, 0
    for at, element in enumerate(elements[1:], 1):
        if not stack[-1][0]:
            raise ThriftError("the schema has more elements than its groups hold")
        left, path, definition, repetition = stack[-1]
        stack[-1] = (left - 1, path, definition, repetition)
        name = value_of(element, SchemaElement.NAME, BINARY, b"")
        kind = value_of(element, SchemaElement.REPETITION, I32, fmt.REQUIRED)
        children = value_of(element, SchemaElement.NUM_CHILDREN, I32, 0)
        definition += kind != fmt.REQUIRED
        repetition += kind == fmt.REPEATED
        if SchemaElement.TYPE in element:
            leaves.append(Leaf((*path, name), definition, repetition, element, len(fields)))
        elif children < 0 or len(path) >= MAX_SCHEMA_DEPTH:
            raise ThriftError("the schema is nested too deep, or has a negative number of children")
        else:
            stack.append((children, (*path, name), definition, repetition))
        while len(stack) > 1 and not stack[-1][0]:
            stack.pop()
        if len(stack) == 1:
            top = value_of(elements[first], SchemaElement.NAME, BINARY, b"").decode("utf-8", "replace")
            fields.append(
                SchemaField(top, tuple(elements[first : at + 1]), first_leaf, len(leaves) - first_leaf)
            )
            first, first_leaf = at + 1, len(leaves)
    if len(stack) > 1 or stack[0][0]:
        raise ThriftError("the schema has fewer elements than its groups hold")
    return tuple(fields), tuple(leaves)


def _parquet_mr_version(created_by: str | None) -> tuple[int, ...] | None:
    """parquet-mr's version, None for other writers."""
    words = (created_by or "").split()
    if len(words) < 3 or words[0] != "parquet-mr" or words[1] != "version":
        return None
    numbers = []
    for part in words[2].split(".")[:3]:
        digits = part[: next((i for i, c in enumerate(part) if not c.isdigit()), len(part))]
        numbers.append(int(digits[:9] or 0))
    return tuple(numbers)


class Footer:
    """The footer of one file. Made by `read_footer`.

    Attributes
    ----------
    file : str
        Name for messages.
    num_rows : int
    fields : tuple of SchemaField
    leaves : tuple of Leaf
    row_groups : list of RowGroup
    root : dict
        The schema's first element, the group that holds the fields.
    key_value_metadata : dict of bytes to bytes
    column_orders : list of dict, or None
        One ColumnOrder per leaf.
    created_by : str or None
    """

    def __init__(self, data: bytes, file: str, data_end: int):
        self.file = file
        self._data = data
        self._data_end = data_end
        try:
            self._read()
        except (ThriftError, TypeError, AttributeError, KeyError) as error:
            raise DataError(f"{file}: the Parquet footer is corrupt: {error}", file=file) from error

    def _read(self) -> None:
        top, starts, _ = struct_list(self._data, 0, FileMetaData.ROW_GROUPS)
        self._top = top
        self._starts = array("I", starts or ())
        elements = _structs(top, FileMetaData.SCHEMA)
        self.fields, self.leaves = parse_schema(elements)
        self.root = elements[0]
        self.num_rows: int = value_of(top, FileMetaData.NUM_ROWS, I64, 0)
        created_by = value_of(top, FileMetaData.CREATED_BY, BINARY)
        self.created_by = None if created_by is None else created_by.decode("utf-8", "replace")
        self.key_value_metadata: dict[bytes, bytes] = {
            value_of(pair, 1, BINARY, b""): value_of(pair, 2, BINARY, b"")
            for pair in _structs(top, FileMetaData.KEY_VALUES)
        }
        orders = _structs(top, FileMetaData.COLUMN_ORDERS)
        self.column_orders = orders if len(orders) == len(self.leaves) else None
        self.row_groups: list[RowGroup] = []
        self._chunks: list[array] = []
        for start in starts or ():
            group, chunks, _ = struct_list(self._data, start, RowGroupFields.COLUMNS)
            rows = value_of(group, RowGroupFields.NUM_ROWS, I64, -1)
            chunks = chunks or []
            if rows < 0 or len(chunks) != len(self.leaves):
                at = len(self.row_groups)
                raise ThriftError(
                    f"row group {at} has {rows} rows and {len(chunks)} columns of {len(self.leaves)}"
                )
            self.row_groups.append(RowGroup(rows, value_of(group, RowGroupFields.TOTAL_BYTE_SIZE, I64, 0)))
            self._chunks.append(array("I", chunks))
        # parquet-mr before 1.2.9 left the dictionary page's header out of a chunk's size, so that a copy
        # would lose the chunk's end (PARQUET-816).
        old = _parquet_mr_version(self.created_by)
        self._short_chunks = old is not None and old < (1, 2, 9)

    @property
    def num_row_groups(self) -> int:
        """Number of row groups."""
        return len(self.row_groups)

    @property
    def file_size(self) -> int:
        """Bytes of the whole file."""
        return self._data_end + len(self._data) + 8

    @property
    def sha256(self) -> str:
        """SHA-256 of the footer's bytes, in hexadecimal."""
        return hashlib.sha256(self._data).hexdigest()

    @property
    def nbytes(self) -> int:
        """Bytes held, about."""
        return len(self._data) + sum(96 + 4 * len(chunks) for chunks in self._chunks)

    @cached_property
    def _positions(self) -> dict[str, int]:
        # The first of two fields of one name, as a search from the front would find it.
        return {field.name: index for index, field in reversed(list(enumerate(self.fields)))}

    @cached_property
    def group_rows(self) -> array:
        """Rows of each row group, as 64-bit integers."""
        return array("q", [group.num_rows for group in self.row_groups])

    def field_index(self, name: str) -> int:
        """Position of a top-level field.

        Raises
        ------
        KeyError
            If there is none of that name.
        """
        return self._positions[name]

    def excerpt(self, row_groups: range) -> bytes:
        """A Parquet file without data whose footer has these row groups alone, their offsets unchanged.

        Given to a reader as the metadata of this file, it makes the memory that the reader's own objects take
        (1 kB a column chunk in Arrow's) a matter of the row groups at hand and not of the file's.
        """
        rows = sum(self.row_groups[group].num_rows for group in row_groups)
        starts = [self._starts[group] for group in row_groups]
        raw = [self._data[start : skip_struct(self._data, start)] for start in starts]
        footer = encode(
            {**self._top, FileMetaData.NUM_ROWS: (I64, rows), FileMetaData.ROW_GROUPS: (LIST, (STRUCT, raw))}
        )
        return fmt.MAGIC + footer + len(footer).to_bytes(4, "little") + fmt.MAGIC

    def chunk(self, row_group: int, leaf: int) -> ColumnChunk:
        """Decode one column chunk's metadata and check its place in the file.

        Raises
        ------
        DataError
            If it is corrupt, encrypted, or lies outside of the file.
        """
        name = self.leaves[leaf].name
        try:
            return self._chunk(row_group, leaf, name)
        except (ThriftError, TypeError, AttributeError) as error:
            raise _chunk_error(self.file, row_group, name, f"the metadata is corrupt: {error}") from error

    def _chunk(self, row_group: int, leaf: int, name: str) -> ColumnChunk:
        frame = decode_struct(self._data, self._chunks[row_group][leaf])
        meta = value_of(frame, ChunkFields.META_DATA, STRUCT)
        if ChunkFields.CRYPTO_METADATA in frame or ChunkFields.ENCRYPTED_METADATA in frame:
            raise _chunk_error(self.file, row_group, name, "encrypted columns are not supported")
        if meta is None:
            raise ThriftError("there is none")
        # Some writers put 0 where there is no dictionary page, and a page never begins there.
        offsets = [
            value_of(meta, number, I64, 0)
            for number in (ColumnMetaData.DATA_PAGE_OFFSET, ColumnMetaData.DICTIONARY_PAGE_OFFSET)
        ]
        start = min((offset for offset in offsets if offset > 0), default=0)
        size = value_of(meta, ColumnMetaData.COMPRESSED_SIZE, I64, -1)
        plain = value_of(meta, ColumnMetaData.UNCOMPRESSED_SIZE, I64, -1)
        values = value_of(meta, ColumnMetaData.NUM_VALUES, I64, -1)
        if size < 0 or plain < 0 or values < 0:
            raise ThriftError("a size or the number of values is missing or negative")
        obstacle = None
        if value_of(frame, ChunkFields.FILE_PATH, BINARY) is not None:
            obstacle = "its data is in another file"
        elif self._short_chunks:
            obstacle = "its writer, an old parquet-mr, recorded wrong sizes"
        elif start < len(fmt.MAGIC) or start + size > self._data_end:
            # A chunk of no values may have no pages, and any offset.
            if size or values:
                raise ThriftError(
                    f"bytes {start} to {start + size} are not in the file's data ({self._data_end} bytes)"
                )
            start = len(fmt.MAGIC)
        return ColumnChunk(self.file, row_group, name, meta, start, size, plain, values, obstacle)

    def chunk_statistics(self, leaf: int):
        """The statistics of a leaf in all row groups; see `streamnorm.parquet._thrift.chunk_statistics`."""
        starts = array("I", [chunks[leaf] for chunks in self._chunks])
        kind = value_of(self.leaves[leaf].element, SchemaElement.TYPE, I32, -1)
        return chunk_statistics(self._data, starts, kind)

    def column_order(self, leaf: int) -> Struct | None:
        """The ColumnOrder of a leaf's statistics; None if the file does not say."""
        return None if self.column_orders is None else self.column_orders[leaf]


def _structs(struct: Struct, number: int) -> list[Struct]:
    kind, items = value_of(struct, number, LIST, (STRUCT, []))
    if items and kind != STRUCT:
        raise ThriftError(f"field {number} is not a list of structs")
    return items


def parse_footer(data, file: str = "<buffer>") -> Footer:
    """`read_footer` of a file in memory."""
    return read_footer(RandomAccess(data, file))


def read_footer(source) -> Footer:
    """Read and check a file's footer.

    Parameters
    ----------
    source : path, binary file, pyarrow.NativeFile, bytes-like or RandomAccess

    Raises
    ------
    DataError
        If the file is not Parquet, is truncated, corrupt, or has an encrypted footer.
    """
    file = RandomAccess.of(source)
    if file is not source:
        with file:
            return read_footer(file)
    data, end = footer_bytes(file)
    return Footer(data, file.name, end)


def footer_bytes(file: RandomAccess) -> tuple[bytes, int]:
    """A file's footer, not parsed, and where it begins.

    Raises
    ------
    DataError
        If the file is not Parquet, is truncated, or has an encrypted footer.
    """
    if file.size < 4:
        raise DataError(f"{file.name}: not a Parquet file ({file.size} bytes)", file=file.name)
    head = file.read_at(0, 4)
    if head not in (fmt.MAGIC, fmt.MAGIC_ENCRYPTED):
        if file.size > 9 and file.read_at(7, 2) == b"\0{":  # as safetensors begin: a length of 8 bytes, and JSON
            raise DataError(f"{file.name}: is a model, and data are wanted here: name a file of data", file=file.name)
        raise DataError(f"{file.name}: not a Parquet file (it begins with {head!r})", file=file.name)
    tail = file.read_at(file.size - 8, 8) if file.size >= 12 else b""
    if fmt.MAGIC_ENCRYPTED in (head, tail[4:]):
        raise DataError(f"{file.name}: an encrypted footer (PARE) is not supported", file=file.name)
    if tail[4:] != fmt.MAGIC:
        raise DataError(
            f"{file.name}: the footer is truncated; the file was not written to its end", file=file.name
        )
    length = int.from_bytes(tail[:4], "little")
    if length > file.size - 12:
        message = f"{file.name}: the footer is truncated or corrupt: it claims {length} bytes of {file.size}"
        raise DataError(message, file=file.name)
    end = file.size - 8 - length
    return file.read_at(end, length), end


def page_sizes(source, chunk: ColumnChunk) -> Iterator[Page]:
    """Walk the page headers of a column chunk; bodies are passed over, not read.

    Raises
    ------
    DataError
        If a header is corrupt or a page reaches beyond its chunk.
    """
    file = RandomAccess.of(source)
    at, end = chunk.start, chunk.start + chunk.compressed_size
    while at < end:
        header, size = _page_header(file, chunk, at, end)
        try:
            kind, plain, packed = (
                value_of(header, number, I32, -1)
                for number in (PageHeader.TYPE, PageHeader.UNCOMPRESSED_SIZE, PageHeader.COMPRESSED_SIZE)
            )
        except ThriftError as error:
            raise chunk.error(f"the page header at byte {at} is corrupt: {error}") from error
        if plain < 0 or packed < 0 or packed > end - at - size:
            raise chunk.error(
                f"the page at byte {at} is corrupt: it claims {packed} bytes, {plain} uncompressed"
            )
        yield Page(kind, size, plain, packed)
        at += size + packed


def _page_header(file: RandomAccess, chunk: ColumnChunk, at: int, end: int) -> tuple[Struct, int]:
    window = 128
    while True:
        window = min(window, end - at)
        try:
            return decode(file.read_at(at, window))
        except ThriftError as error:
            # It may only be longer than the window.
            if window == end - at or window >= MAX_PAGE_HEADER:
                raise chunk.error(f"the page header at byte {at} is corrupt: {error}") from error
        window *= 8


def largest_page(source, chunk: ColumnChunk, most: int | None = None) -> Page | None:
    """The page of a chunk, or of its first ones, that takes the most memory to read: uncompressed and compressed size
    together."""
    return max(
        islice(page_sizes(source, chunk), most),
        key=lambda page: page.uncompressed_size + page.compressed_size,
        default=None,
    )
