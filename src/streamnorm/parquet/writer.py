"""A Parquet file, put together chunk by chunk: own float pages, copies of another file's chunks, pyarrow's
for the rest.

# Design: chunks come in any order of row group and column, because the engine holds one group of columns at a
# time and takes it through a whole input row group. A Parquet footer names each chunk's position, so order is
# free; only a chunk's own pages must follow each other. What is kept per chunk until the end is its encoded
# metadata, about 200 bytes.
#
# Design: the schema is taken from an empty table that pyarrow writes to memory, and so is the
# ``ARROW:schema`` entry with which pyarrow finds the Arrow types again. Mapping Arrow types to Parquet's here
# was turned down: it would have to follow pyarrow's choices for good. A field whose chunks are copied gets
# the schema elements of its source instead, since the bytes mean what those say.
#
# Design: version 1 in the footer, as parquet.thrift recommends to writers; version 2 means nothing to
# readers.
#
# Design: no page indexes and no Bloom filters. A copied chunk loses those it had, as they lie elsewhere in
# the source; statistics of the chunk stay, unless the source's order or writer makes them mean something
# else.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from streamnorm._version import __version__
from streamnorm.parquet import format as fmt
from streamnorm.parquet.encode import (
    FLOAT_DTYPES,
    EncodedChunk,
    EncodedField,
    FloatChunkEncoder,
    encode_arrow,
    writer_options,
)
from streamnorm.parquet.footer import Footer, parse_footer, parse_schema
from streamnorm.parquet.format import (
    ChunkFields,
    ColumnMetaData,
    Compression,
    FileMetaData,
    RowGroupFields,
    SchemaElement,
)
from streamnorm.parquet.random_access import RandomAccess
from streamnorm.parquet.splice import clean_statistics, is_binary, mismatch, moved
from streamnorm.parquet.thrift import BINARY, I16, I32, I64, LIST, STRUCT, Struct, encode

__all__ = ["ParquetWriter"]

# The most that one call to the file's write gets, and the size of a copy's pieces. With a megabyte at a time,
# Linux 6.18 with ext4 took two to five times the system time in every other run, for the same data (large
# folios of page cache are the suspect); a quarter of that is as fast, and steady.
WRITE_BYTES = 1 << 18

_DROPPED = (ColumnMetaData.INDEX_PAGE_OFFSET, ColumnMetaData.BLOOM_OFFSET, ColumnMetaData.BLOOM_LENGTH)


@dataclass(slots=True)
class _RowGroup:
    num_rows: int
    chunks: list[bytes | None]
    offset: int = 0
    uncompressed: int = 0
    compressed: int = 0
    missing: int = field(default=0)


class ParquetWriter:
    """Writes one Parquet file to an open binary file. One thread at a time; encoding is apart, in `encode`.

    Parameters
    ----------
    file : binary file object
        Positioned where the Parquet file begins. It is neither closed nor synced.
    arrow_schema : pyarrow.Schema
        What pyarrow shall read back, metadata included.
    key_value_metadata : dict of bytes to bytes, optional
        For the footer, beside the schema's own. The attribute of that name can be changed until `close`.
    compression : str, None or Compression
        "snappy", "zstd", "gzip", "brotli", "lz4", "none"; for the encoders that this writer makes.
    compression_level : int, optional

    Raises
    ------
    ValueError
        For a codec or level that does not exist.
    """

    def __init__(
        self,
        file,
        arrow_schema: pa.Schema,
        *,
        key_value_metadata: dict[bytes, bytes] | None = None,
        compression: str | None | Compression = "snappy",
        compression_level: int | None = None,
    ):
        self.compression = Compression.of(compression, compression_level)
        self.arrow_schema = arrow_schema
        self.key_value_metadata = dict(key_value_metadata or {})
        sink = pa.BufferOutputStream()
        # Closed at once: an empty table would do, too, but making one imports pandas where it is installed.
        pq.ParquetWriter(sink, arrow_schema, **writer_options(self.compression)).close()
        template = parse_footer(sink.getvalue(), "<schema>")
        self._template = template
        self._elements = [list(found.elements) for found in template.fields]
        self._orders = [
            [template.column_order(leaf) or fmt.TYPE_ORDER for leaf in found.leaves]
            for found in template.fields
        ]
        self._row_groups: list[_RowGroup] = []
        self._open: tuple[int, int, int] | None = (
            None  # row group, leaf and first byte of a chunk in the making
        )
        self._copy_buffer: bytearray | None = None
        self._file = file
        self._position = 0
        self._closed = False
        self._lay_out()
        self._write(fmt.MAGIC)

    def _lay_out(self) -> None:
        self._twice = {name for name, count in Counter(self.arrow_schema.names).items() if count > 1}
        self._positions = {name: index for index, name in enumerate(self.arrow_schema.names)}
        flat = [self._template.root, *(element for elements in self._elements for element in elements)]
        self.fields, self.leaves = parse_schema(flat)
        self._leaf_orders = [order for orders in self._orders for order in orders]

    @property
    def position(self) -> int:
        """Bytes written so far."""
        return self._position

    def field_index(self, field: int | str) -> int:
        """Position of a top-level field, by position or by name.

        Raises
        ------
        KeyError
            If there is none of that name, or several.
        """
        if isinstance(field, int):
            return range(len(self.fields))[field]
        if field in self._twice:
            raise KeyError(f"several fields are named {field!r}")
        return self._positions[field]

    def holds_floats(self, field: int | str) -> bool:
        """Whether a top-level field has float32 and float64 values and no others, in lists and structs or not."""
        leaves = self.fields[self.field_index(field)].leaves
        kinds = (self.leaves[leaf].element.get(SchemaElement.TYPE) for leaf in leaves)
        return all(kind in ((I32, fmt.FLOAT), (I32, fmt.DOUBLE)) for kind in kinds)

    def use_source_schema(
        self,
        field: int | str,
        elements: Sequence[Struct],
        column_orders: Sequence[Struct | None] | None = None,
    ) -> None:
        """Take a top-level field's schema from a source file, whose chunks can then be copied.

        Parameters
        ----------
        field : int or str
        elements : sequence of dict
            The field's subtree of schema elements (`SchemaField.elements`).
        column_orders : sequence of dict, optional
            The source's ColumnOrder of each leaf; TYPE_ORDER where there is none.

        Raises
        ------
        RuntimeError
            After the first row group was begun.
        """
        if self._row_groups:
            raise RuntimeError("the schema is fixed once a row group has begun")
        index = self.field_index(field)
        found, leaves = parse_schema([{SchemaElement.NUM_CHILDREN: (I32, 1)}, *elements])
        if found[0].name != self.fields[index].name:
            raise ValueError(f"the source's field is {found[0].name!r}, not {self.fields[index].name!r}")
        orders = list(column_orders or [None] * len(leaves))
        if len(orders) != len(leaves):
            raise ValueError(
                f"field {found[0].name!r} has {len(leaves)} leaves, but {len(orders)} column orders"
            )
        self._elements[index] = list(elements)
        self._orders[index] = [order or fmt.TYPE_ORDER for order in orders]
        self._lay_out()

    def begin_row_group(self, num_rows: int) -> int:
        """Announce a row group; returns its index. One of no rows takes chunks, but is not in the file."""
        if num_rows < 0:
            raise ValueError(f"a row group cannot have {num_rows} rows")
        self._check_open()
        leaves = len(self.leaves)
        self._row_groups.append(_RowGroup(num_rows, [None] * leaves, missing=leaves))
        return len(self._row_groups) - 1

    def float_encoder(self, field: int | str, **options) -> FloatChunkEncoder:
        """An encoder for a flat float field, as the schema has it, with the writer's codec."""
        index = self.field_index(field)
        arrow = self.arrow_schema.field(index)
        return FloatChunkEncoder(
            FLOAT_DTYPES[arrow.type],
            arrow.nullable,
            options.pop("compression", self.compression),
            **options,
        )

    def append_partial(self, row_group: int, field: int | str, pages: Iterable) -> None:
        """Write pages of a float chunk that is not finished; until it is, nothing else can be appended."""
        self._write_pages(row_group, self._float_leaf(field), pages)

    def append_pages(self, row_group: int, field: int | str, chunk: EncodedChunk) -> None:
        """Write a float chunk, or what is left of it after `append_partial`.

        Raises
        ------
        RuntimeError
            If the chunk is there already, or does not have the row group's number of rows.
        """
        leaf = self._float_leaf(field)
        rows = self._row_groups[row_group].num_rows
        if chunk.num_values != rows:
            raise RuntimeError(
                f"{self._where(row_group, leaf)} has {chunk.num_values} rows, its row group {rows}"
            )
        schema = self.leaves[leaf]
        if (schema.max_definition_level == 0 and chunk.null_count) or schema.element.get(
            SchemaElement.TYPE
        ) != (chunk.metadata[ColumnMetaData.TYPE]):
            raise RuntimeError(f"{self._where(row_group, leaf)}: the pages are not of the schema's type")
        levels = fmt.RLE in chunk.metadata[ColumnMetaData.ENCODINGS][1][1]
        if levels != (schema.max_definition_level > 0):
            raise RuntimeError(f"{self._where(row_group, leaf)}: definition levels are not as in the schema")
        start = self._write_pages(row_group, leaf, chunk.pages)
        self._open = None
        if self._position - start != (chunk.compressed_size if rows else 0):
            raise RuntimeError(f"{self._where(row_group, leaf)}: pages are missing")
        meta = {**chunk.metadata, ColumnMetaData.DATA_PAGE_OFFSET: (I64, start)}
        self._store(row_group, leaf, meta, start, fmt.TYPE_ORDER)

    def append_arrow(self, row_group: int, field: int | str, data) -> None:
        """Write a top-level field of any type.

        Parameters
        ----------
        data : EncodedField, pyarrow.Array, pyarrow.ChunkedArray or iterable of pyarrow.RecordBatch
            All but the first go through `encode_arrow` here.

        Raises
        ------
        RuntimeError
            If it is there already, or does not fit the row group or the schema.
        """
        index = self.field_index(field)
        if not isinstance(data, EncodedField):
            data = encode_arrow(self.arrow_schema.field(index), data, self.compression)
        out = self.fields[index]
        rows = self._row_groups[row_group].num_rows
        if data.num_rows != rows:
            raise RuntimeError(f"row group {row_group}, field {out.name!r}: {data.num_rows} rows of {rows}")
        obstacle = mismatch(out.elements, data.elements)
        if obstacle:
            raise RuntimeError(
                f"row group {row_group}, field {out.name!r} was encoded for another schema: {obstacle}"
            )
        for leaf, encoded in zip(out.leaves, data.leaves, strict=True):
            self._check_missing(row_group, leaf)
            start = self._position
            if rows:
                self._write(encoded.data)
            self._store(row_group, leaf, moved(encoded.metadata, start - encoded.start), start, encoded.order)

    def copy_obstacle(
        self, field: int | str, footer: Footer, source_field: int, source_row_group: int
    ) -> str | None:
        """Why a field of a source's row group cannot be copied as it is; None if it can."""
        out, source = self.fields[self.field_index(field)], footer.fields[source_field]
        obstacles = (footer.chunk(source_row_group, leaf).obstacle for leaf in source.leaves)
        return mismatch(out.elements, source.elements) or next(filter(None, obstacles), None)

    def copy_field(
        self,
        row_group: int,
        field: int | str,
        source,
        footer: Footer,
        source_field: int,
        source_row_group: int,
    ) -> None:
        """Copy all chunks of a top-level field from a row group of another file, byte by byte.

        Raises
        ------
        RuntimeError
            If there is an obstacle (`copy_obstacle`), or numbers of rows differ.
        DataError
            If the source is corrupt.
        """
        obstacle = self.copy_obstacle(field, footer, source_field, source_row_group)
        if obstacle:
            raise RuntimeError(f"a field of {footer.file} cannot be copied: {obstacle}")
        leaves = zip(
            self.fields[self.field_index(field)].leaves, footer.fields[source_field].leaves, strict=True
        )
        for leaf, other in leaves:
            self.copy_chunk(row_group, leaf, source, footer, source_row_group, other)

    def copy_chunk(
        self, row_group: int, leaf: int, source, footer: Footer, source_row_group: int, source_leaf: int
    ) -> None:
        """Copy one leaf's chunk; see `copy_field`, which also compares the groups that the leaf is in.

        Parameters
        ----------
        source : binary file or RandomAccess
            The open file that ``footer`` was read from.
        """
        chunk = footer.chunk(source_row_group, source_leaf)
        rows, theirs = self._row_groups[row_group].num_rows, footer.row_groups[source_row_group].num_rows
        if rows != theirs:
            raise RuntimeError(f"{self._where(row_group, leaf)}: {theirs} rows of {rows}")
        obstacle = chunk.obstacle or mismatch(
            [self.leaves[leaf].element], [footer.leaves[source_leaf].element]
        )
        if obstacle:
            raise RuntimeError(f"{self._where(row_group, leaf)}: {obstacle}")
        self._check_missing(row_group, leaf)
        start = self._position
        if rows:
            self._copy(RandomAccess.of(source), chunk.start, chunk.compressed_size)
        self._store(
            row_group,
            leaf,
            moved(chunk.metadata, start - chunk.start),
            start,
            footer.column_order(source_leaf),
        )

    def close(self) -> int:
        """Write the footer; returns the file's size. The file object stays open, and is not synced.

        Raises
        ------
        RuntimeError
            If a chunk is missing.
        """
        self._check_open()
        for number, group in enumerate(self._row_groups):
            if group.missing:
                leaf = group.chunks.index(None)
                raise RuntimeError(
                    f"{self._where(number, leaf)} was not written ({group.missing} chunks are missing)"
                )
        groups: list[bytes] = []
        total = sum(group.num_rows for group in self._row_groups)
        for group in self._row_groups:
            if group.num_rows:
                groups.append(_encode_group(group, len(groups)))
            group.chunks = []
        pairs = self._template.key_value_metadata | self.key_value_metadata
        flat = [self._template.root, *(element for elements in self._elements for element in elements)]
        head: Struct = {
            FileMetaData.VERSION: (I32, 1),
            FileMetaData.SCHEMA: (LIST, (STRUCT, flat)),
            FileMetaData.NUM_ROWS: (I64, total),
            FileMetaData.ROW_GROUPS: (LIST, (STRUCT, groups)),
        }
        tail: Struct = {
            FileMetaData.CREATED_BY: (BINARY, f"streamnorm version {__version__}".encode()),
            FileMetaData.COLUMN_ORDERS: (LIST, (STRUCT, self._leaf_orders)),
        }
        # A value may have megabytes: it goes to the file as it is.
        pieces = [encode(head)[:-1]]
        if pairs:
            before = encode({FileMetaData.KEY_VALUES: (LIST, (STRUCT, [b""] * len(pairs)))}, FileMetaData.ROW_GROUPS)
            pieces.append(before[:-1])
            for key, value in pairs.items():
                pieces += (fmt.key_value_head(key, len(value)), value, b"\0")
        pieces.append(encode(tail, FileMetaData.KEY_VALUES if pairs else FileMetaData.ROW_GROUPS))
        for piece in pieces:
            self._write(piece)
        self._write(sum(map(len, pieces)).to_bytes(4, "little"))
        self._write(fmt.MAGIC)
        self._closed = True
        return self._position

    def _float_leaf(self, field: int | str) -> int:
        found = self.fields[self.field_index(field)]
        if found.num_leaves != 1 or len(found.elements) != 1:
            raise RuntimeError(f"field {found.name!r} is nested; pages are for flat columns")
        return found.first_leaf

    def _where(self, row_group: int, leaf: int) -> str:
        return f"row group {row_group}, column {self.leaves[leaf].name!r}"

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the Parquet file is closed")
        if self._open is not None:
            raise RuntimeError(f"{self._where(*self._open[:2])} is not finished")

    def _check_missing(self, row_group: int, leaf: int) -> None:
        self._check_open()
        if self._row_groups[row_group].chunks[leaf] is not None:
            raise RuntimeError(f"{self._where(row_group, leaf)} was written before")

    def _write_pages(self, row_group: int, leaf: int, pages: Iterable) -> int:
        """Write to the chunk in the making, or begin it; returns its first byte."""
        if self._open is None:
            self._check_missing(row_group, leaf)
            self._open = (row_group, leaf, self._position)
        elif self._open[:2] != (row_group, leaf):
            raise RuntimeError(f"{self._where(*self._open[:2])} is not finished")
        if self._row_groups[row_group].num_rows:
            for page in pages:
                self._write(page)
        return self._open[2]

    def _store(self, row_group: int, leaf: int, metadata: Struct, start: int, order: Struct | None) -> None:
        group, schema = self._row_groups[row_group], self.leaves[leaf]
        metadata[ColumnMetaData.PATH] = (LIST, (BINARY, list(schema.path)))
        clean_statistics(metadata, order == self._leaf_orders[leaf], is_binary(schema))
        ordered = {number: metadata[number] for number in sorted(metadata) if number not in _DROPPED}
        group.chunks[leaf] = encode(
            {ChunkFields.FILE_OFFSET: (I64, 0), ChunkFields.META_DATA: (STRUCT, ordered)}
        )
        group.missing -= 1
        group.uncompressed += metadata[ColumnMetaData.UNCOMPRESSED_SIZE][1]
        group.compressed += metadata[ColumnMetaData.COMPRESSED_SIZE][1]
        if leaf == 0:
            group.offset = start

    def _write(self, data) -> None:
        view = memoryview(data)
        while len(view):
            # An unbuffered file may take less than it was given; others return None or the whole length.
            done = self._file.write(view)
            done = len(view) if done is None else done
            self._position += done
            view = view[done:]

    def _copy(self, source: RandomAccess, offset: int, size: int) -> None:
        if self._copy_buffer is None:
            self._copy_buffer = bytearray(WRITE_BYTES)
        while size:
            piece = memoryview(self._copy_buffer)[: min(size, WRITE_BYTES)]
            source.read_into(piece, offset)
            self._write(piece)
            offset, size = offset + len(piece), size - len(piece)


def _encode_group(group: _RowGroup, ordinal: int) -> bytes:
    fields: Struct = {
        RowGroupFields.COLUMNS: (LIST, (STRUCT, group.chunks)),
        RowGroupFields.TOTAL_BYTE_SIZE: (I64, group.uncompressed),
        RowGroupFields.NUM_ROWS: (I64, group.num_rows),
        RowGroupFields.FILE_OFFSET: (I64, group.offset),
        RowGroupFields.TOTAL_COMPRESSED_SIZE: (I64, group.compressed),
    }
    if ordinal < 1 << 15:  # an i16, and optional
        fields[RowGroupFields.ORDINAL] = (I16, ordinal)
    return encode(fields)
