"""Column chunks as they stand in a Parquet file, made apart from any file, so that workers can make them in
parallel.

# Design: flat float columns get data pages of our own (version 1, PLAIN), because a chunk can then grow page
# by page: pyarrow's writer wants a whole row group as a decoded table first, and makes a new row group of
# every smaller batch, so that its memory follows the row group's size. It also is the fastest way measured:
# Arrow's validity bitmap already is the page's definition levels, and a normalized column hardly ever pays
# for a dictionary. Turned down: the dictionary (five times the processor time, a larger file), data pages of
# version 2 (no gain, and fewer readers), page checksums (a fifth of the encoding time; nobody asked), page
# indexes (statistics of pages are kept by few readers, and cost memory until the footer is written).
#
# Design: where snappy gains nothing, pages are stored in snappy's own format as one literal: the same bytes for a
# reader, which copies once, and no search for matches and no copy here. Every SAMPLE_PAGES-th page is compressed to
# see whether it pays. On random doubles that is a quarter of the encoding's processor time.
#
# Design: every other column is encoded by pyarrow as a file of one column in memory, and its chunks are
# spliced in: all of Parquet's nesting, decimals and strings for the price of patching offsets. Writing those
# encodings once more was turned down; they are not this package's trade.
"""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streamnorm.parquet import format as fmt
from streamnorm.parquet._pages import PageStats, count_valid, levels_bytes, pack_page
from streamnorm.parquet.footer import Footer, parse_footer
from streamnorm.parquet.format import Compression, Statistics
from streamnorm.parquet.thrift import BINARY, BOOL, I64, Struct, encode, varint

__all__ = [
    "FLOAT_DTYPES",
    "ArrowLeaf",
    "EncodedChunk",
    "EncodedField",
    "FloatChunkEncoder",
    "PageBuffers",
    "Scratch",
    "encode_arrow",
    "float_statistics",
]

# 1 MiB of float64: pages much smaller cost their readers and writers a header and a codec call each, and no
# reader needs more than one page in memory.
PAGE_ROWS = 131_072

# Pages between two that are compressed to see whether compression pays, and the ratio from which it does not.
SAMPLE_PAGES = 16
STORE_RATIO = 0.98

# A page's size must fit an int32 after any codec's expansion (at most a sixth, snappy's).
MAX_PAGE_ROWS = 1 << 27

_PHYSICAL = {2: fmt.FIXED_LEN_BYTE_ARRAY, 4: fmt.FLOAT, 8: fmt.DOUBLE}


# pyarrow's own mapping, DataType.to_pandas_dtype, imports pandas where it is installed: a sixth of a second.
FLOAT_DTYPES = {pa.float16(): np.dtype("f2"), pa.float32(): np.dtype("f4"), pa.float64(): np.dtype("f8")}


def float_statistics(stats: PageStats, null_count: int, dtype: np.dtype, extrema: bool = True) -> Struct:
    """Statistics of a float column chunk by the rules of TYPE_ORDER (parquet.thrift, ``ColumnOrder``).

    NaN is counted and kept out of the extrema; there are none if nothing else is left; a zero is written as
    -0.0 where it is the minimum and as +0.0 where it is the maximum, so that no reader skips the other zero.
    """
    out: Struct = {Statistics.NULL_COUNT: (I64, null_count)}
    if extrema and stats.count > stats.nan_count:
        low = stats.min if stats.min != 0 else -0.0
        high = stats.max if stats.max != 0 else 0.0
        little = np.dtype(dtype).newbyteorder("<")
        out[Statistics.MAX_VALUE] = (BINARY, np.array(high, little).tobytes())
        out[Statistics.MIN_VALUE] = (BINARY, np.array(low, little).tobytes())
        out[Statistics.MAX_EXACT] = (BOOL, True)
        out[Statistics.MIN_EXACT] = (BOOL, True)
    out[Statistics.NAN_COUNT] = (I64, stats.nan_count)
    return out


@dataclass(slots=True)
class EncodedChunk:
    """A finished column chunk: the pages that nobody took yet, and what the footer says of it.

    Attributes
    ----------
    pages : list of bytes-like
        Page headers and bodies, to be written one behind the other.
    metadata : dict
        ColumnMetaData without path and offsets.
    """

    pages: list
    metadata: Struct
    num_values: int
    null_count: int
    nan_count: int
    uncompressed_size: int
    compressed_size: int


class FloatChunkEncoder:
    """Encodes one flat float column chunk, page by page. One thread at a time; any number of encoders side by
    side.

    Parameters
    ----------
    dtype : float16, float32 or float64
    nullable : bool
        Whether the column is optional in the schema. A required one has no definition levels and refuses
        nulls.
    compression : str, None or Compression
    compression_level : int, optional
    statistics : bool
        Whether to write minimum and maximum. Counts of nulls and NaN are always written.
    page_rows : int
        Rows of a page at most.
    scratch : Scratch, optional
        Where pages are put together before they are compressed; it grows to one page. Encoders that are used
        in turn by one worker share it.
    buffers : PageBuffers, optional
        Where stored pages come from, and go back to by `PageBuffers.give_back`.

    Raises
    ------
    ValueError
        For another type, or a codec or level that does not exist.
    """

    def __init__(
        self,
        dtype: np.typing.DTypeLike,
        nullable: bool = True,
        compression: "str | None | Compression" = "snappy",
        compression_level: int | None = None,
        statistics: bool = True,
        *,
        page_rows: int = PAGE_ROWS,
        scratch: "Scratch | None" = None,
        buffers: "PageBuffers | None" = None,
    ):
        self.dtype = np.dtype(dtype)
        if self.dtype.kind != "f" or self.dtype.itemsize not in _PHYSICAL:
            raise ValueError(f"float pages hold float16, float32 or float64, not {self.dtype}")
        if not 1 <= page_rows <= MAX_PAGE_ROWS:
            raise ValueError(f"page_rows must be between 1 and {MAX_PAGE_ROWS}, not {page_rows}")
        self.nullable = bool(nullable)
        self.compression = Compression.of(compression, compression_level)
        self._codec = self.compression.codec()
        self._extrema = statistics
        self._page_rows = page_rows
        self._scratch = Scratch() if scratch is None else scratch
        self._buffers = PageBuffers(0) if buffers is None else buffers
        self._compresses = True
        self._stats = PageStats()
        self._pages: list = []
        self._page_count = 0
        self._rows = self._nulls = 0
        self._uncompressed = self._compressed = 0
        self._finished = False

    @property
    def num_values(self) -> int:
        """Rows added so far, nulls included."""
        return self._rows

    @property
    def pending_size(self) -> int:
        """Bytes of the pages that were made and not taken."""
        return sum(map(len, self._pages))

    def add(self, values: np.ndarray, validity=None, offset: int = 0, length: int | None = None) -> None:
        """Encode rows, as one page or several; nothing of the arguments is kept.

        Parameters
        ----------
        values : ndarray, shape (length,)
            Contiguous, of the encoder's type. What stands under nulls does not matter.
        validity : bytes-like, optional
            Arrow's validity bitmap.
        offset : int
            The bit of ``validity`` that belongs to ``values[0]``.
        length : int, optional
            Must be the length of ``values`` where it is given.
        """
        if self._finished:
            raise RuntimeError("the column chunk is finished")
        if values.dtype != self.dtype or values.ndim != 1 or not values.flags.c_contiguous:
            raise ValueError(f"values must be a contiguous 1-D array of {self.dtype}")
        if length is not None and length != len(values):
            raise ValueError(f"length is {length}, but there are {len(values)} values")
        if not values.flags.aligned:
            values = values.copy()
        raw = values.view(np.uint8)
        if validity is not None:
            validity = np.frombuffer(validity, np.uint8)
        for first in range(0, len(values), self._page_rows):
            rows = min(self._page_rows, len(values) - first)
            size = self.dtype.itemsize
            self._add_page(raw[first * size : (first + rows) * size], validity, offset + first, rows)

    def _add_page(self, raw: np.ndarray, validity: np.ndarray | None, offset: int, rows: int) -> None:
        size = self.dtype.itemsize
        valid = rows if validity is None else count_valid(validity, offset, rows)
        if valid < rows and not self.nullable:
            raise ValueError("a required column cannot hold nulls")
        bitmap = validity if valid < rows else None
        head = levels_bytes(rows, valid) if self.nullable else 0
        body_size = head + valid * size
        stores = self._codec is None
        if self.compression.name == "snappy" and self._page_count % SAMPLE_PAGES:
            stores = not self._compresses
        if not stores and not self.nullable:
            # No levels in front and no gaps: the values are the page already.
            pack_page(None, 0, self._stats, raw, size, None, 0, rows, rows, False)
            body: object = self._compressed_body(raw)
        else:
            # The levels end where the values can be aligned, and one slot follows for the kernel to step on.
            before = snappy_literal(body_size) if stores and self._codec is not None else b""
            start = -(head + len(before)) % 8 + len(before)
            room = start + head + (valid + 1) * size
            target = self._buffers.take(room) if stores else self._scratch.get(room)
            pack_page(target, start, self._stats, raw, size, bitmap, offset, rows, valid, self.nullable)
            target[start - len(before) : start] = np.frombuffer(before, np.uint8)
            body = target[start - len(before) : start + body_size]
            if not stores:
                body = self._compressed_body(body)
        header = encode(fmt.data_page_header(rows, body_size, len(body)))
        self._pages += (header, body)
        self._page_count += 1
        self._rows += rows
        self._nulls += rows - valid
        self._uncompressed += len(header) + body_size
        self._compressed += len(header) + len(body)

    def _compressed_body(self, body: np.ndarray) -> pa.Buffer:
        packed = self._codec.compress(body)
        self._compresses = packed.size < STORE_RATIO * len(body)
        # The codec allocates for its worst case, and a buffer's memoryview keeps that first length.
        packed.resize(packed.size, shrink_to_fit=True)
        return packed.slice(0, packed.size)

    def take_pages(self) -> list:
        """Hand over the pages made so far, so that they can be written before the chunk is finished."""
        pages, self._pages = self._pages, []
        return pages

    def finish(self) -> EncodedChunk:
        """End the chunk."""
        self._finished = True
        metadata = fmt.float_metadata(
            _PHYSICAL[self.dtype.itemsize],
            self.nullable,
            self.compression.number,
            self._rows,
            (self._uncompressed, self._compressed),
            self._page_count,
            float_statistics(self._stats, self._nulls, self.dtype, self._extrema),
        )
        return EncodedChunk(
            self.take_pages(), metadata, self._rows, self._nulls, self._stats.nan_count, self._uncompressed,
            self._compressed,
        )  # fmt: skip


def snappy_literal(size: int) -> bytes:
    """What turns `size` bytes into a snappy block when put in front of them: the block's length, and a literal's tag
    (https://github.com/google/snappy/blob/main/format_description.txt, with a length of four bytes)."""
    if size == 0:
        return b"\0"
    return varint(size) + bytes([63 << 2]) + (size - 1).to_bytes(4, "little")


class PageBuffers:
    """Page-sized buffers that go from the encoders to whoever writes the pages, and back.

    Fresh ones cost page faults: a megabyte takes longer to be mapped than to be filled. Any thread may call.

    Parameters
    ----------
    limit : int
        Bytes kept for later at most.
    """

    def __init__(self, limit: int = 32 << 20):
        self._limit = limit
        self._kept: list[np.ndarray] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> np.ndarray:
        """A buffer of at least `size` bytes, whose content is whatever it was."""
        with self._lock:
            for index in range(len(self._kept) - 1, -1, -1):
                if self._kept[index].size >= size:
                    return self._kept.pop(index)
        return np.empty(size + size // 64 + 64, np.uint8)

    def give_back(self, pages: Iterable) -> None:
        """Take the buffers of pages that are written; nothing may use the pages any more."""
        for page in pages:
            if isinstance(page, np.ndarray) and isinstance(page.base, np.ndarray):
                with self._lock:
                    if sum(kept.size for kept in self._kept) + page.base.size <= self._limit:
                        self._kept.append(page.base)


class Scratch:
    """A buffer that grows to the largest page asked for, for one thread at a time."""

    def __init__(self):
        self._buffer = np.empty(0, np.uint8)

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._buffer.size

    def get(self, size: int) -> np.ndarray:
        """At least ``size`` bytes, whose content is whatever it was."""
        if self._buffer.size < size:
            self._buffer = np.empty(0, np.uint8)  # given back before more is taken
            self._buffer = np.empty(size + size // 16 + 64, np.uint8)
        return self._buffer


@dataclass(frozen=True, slots=True)
class ArrowLeaf:
    """One leaf's chunk, encoded: its bytes and its metadata.

    Attributes
    ----------
    start : int
        Where ``data`` begins by the offsets in ``metadata``.
    order : dict or None
        The ColumnOrder of the statistics.
    """

    data: memoryview
    metadata: Struct
    start: int
    order: Struct | None


@dataclass(frozen=True, slots=True)
class EncodedField:
    """A top-level field of one row group, encoded by pyarrow: a chunk for each leaf, and their schema."""

    num_rows: int
    leaves: tuple[ArrowLeaf, ...]
    elements: tuple[Struct, ...]

    @property
    def compressed_size(self) -> int:
        """Bytes held."""
        return sum(len(leaf.data) for leaf in self.leaves)


def writer_options(compression: Compression) -> dict:
    """What every file that pyarrow makes for this package is written with, so that all of them agree."""
    return {"compression": compression.name, "compression_level": compression.level, "version": "2.6"}


def encode_arrow(
    field: pa.Field,
    data: "pa.Array | pa.ChunkedArray | Iterable[pa.RecordBatch]",
    compression: "str | None | Compression" = "snappy",
    compression_level: int | None = None,
    *,
    dictionary: bool = True,
) -> EncodedField:
    """Encode one top-level column of one row group with pyarrow.

    Parameters
    ----------
    field : pyarrow.Field
        As in the writer's Arrow schema.
    data : pyarrow.Array, pyarrow.ChunkedArray or iterable of pyarrow.RecordBatch
        Batches have this one column. They are gathered: pyarrow wants a row group's column at once.
    dictionary : bool, default True
        Whether to try dictionaries. Where hardly a value comes twice, they cost four times the memory and the time.

    Raises
    ------
    ValueError
        If the data is not of the field's type, or has more rows than pyarrow puts into one row group.
    """
    codec = Compression.of(compression, compression_level)
    column = _chunked(field, data)
    if column.type != field.type:
        raise ValueError(f"column {field.name!r} has type {column.type}, expected {field.type}")
    table = pa.Table.from_arrays([column], schema=pa.schema([field]))
    try:
        buffer = _written(table, codec, dictionary)
    except pa.ArrowNotImplementedError:  # of slices of structs that hold views of strings
        buffer = _written(_unsliced(table), codec, dictionary)
    footer = parse_footer(buffer, f"<column {field.name!r}>")
    if footer.num_row_groups != 1:
        raise ValueError(f"column {field.name!r} has {len(column)} rows, more than one row group holds")
    return EncodedField(len(column), tuple(_leaves(buffer, footer)), footer.fields[0].elements)


def _written(table: pa.Table, codec: Compression, dictionary: bool) -> pa.Buffer:
    """A Parquet file of one row group."""
    sink = pa.BufferOutputStream()
    options = writer_options(codec) | {"use_dictionary": dictionary}
    with pq.ParquetWriter(sink, table.schema, store_schema=False, **options) as writer:
        writer.write_table(table, row_group_size=max(len(table), 1))
    return sink.getvalue()


def _unsliced(table: pa.Table) -> pa.Table:
    """The same rows in arrays that begin with their buffers, which is how Arrow's IPC writes them."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def _chunked(field: pa.Field, data) -> pa.ChunkedArray:
    if isinstance(data, pa.ChunkedArray):
        return data
    if isinstance(data, pa.Array):
        return pa.chunked_array([data])
    arrays = []
    for batch in data:
        if batch.num_columns != 1:
            raise ValueError(
                f"batches of column {field.name!r} must have one column, not {batch.num_columns}"
            )
        arrays.append(batch.column(0))
    return pa.chunked_array(arrays, type=None if arrays else field.type)


def _leaves(buffer: pa.Buffer, footer: Footer) -> Iterator[ArrowLeaf]:
    view = memoryview(buffer)
    for leaf in range(len(footer.leaves)):
        chunk = footer.chunk(0, leaf)
        data = view[chunk.start : chunk.start + chunk.compressed_size]
        yield ArrowLeaf(data, chunk.metadata, chunk.start, footer.column_order(leaf))
