"""Numbers of the Parquet format, codecs by name, and the few structs that this package builds itself.

Source: parquet-format, ``parquet.thrift``. Structs are generic (see `streamnorm.parquet.thrift`); the
comments beside the field numbers name the fields.
"""

from dataclasses import dataclass

import pyarrow as pa

from streamnorm.parquet.thrift import BINARY, I32, I64, LIST, STRUCT, Struct, encode, varint

MAGIC = b"PAR1"
MAGIC_ENCRYPTED = b"PARE"

# Type
BOOLEAN, INT32, INT64, INT96, FLOAT, DOUBLE, BYTE_ARRAY, FIXED_LEN_BYTE_ARRAY = range(8)
# FieldRepetitionType
REQUIRED, OPTIONAL, REPEATED = 0, 1, 2
# Encoding
PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY = 0, 2, 3, 8
# PageType
DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 1, 2, 3


class FileMetaData:
    """Field numbers of the footer."""

    VERSION, SCHEMA, NUM_ROWS, ROW_GROUPS, KEY_VALUES, CREATED_BY, COLUMN_ORDERS = 1, 2, 3, 4, 5, 6, 7


class SchemaElement:
    """Field numbers of one node of the schema."""

    TYPE, TYPE_LENGTH, REPETITION, NAME, NUM_CHILDREN = 1, 2, 3, 4, 5
    CONVERTED_TYPE, SCALE, PRECISION, FIELD_ID, LOGICAL_TYPE = 6, 7, 8, 9, 10


class RowGroupFields:
    """Field numbers of a row group."""

    COLUMNS, TOTAL_BYTE_SIZE, NUM_ROWS, SORTING_COLUMNS, FILE_OFFSET, TOTAL_COMPRESSED_SIZE, ORDINAL = range(
        1, 8
    )


class ChunkFields:
    """Field numbers of a column chunk, the frame around its metadata."""

    FILE_PATH, FILE_OFFSET, META_DATA = 1, 2, 3
    CRYPTO_METADATA, ENCRYPTED_METADATA = 8, 9


class ColumnMetaData:
    """Field numbers of a column chunk's metadata."""

    TYPE, ENCODINGS, PATH, CODEC, NUM_VALUES, UNCOMPRESSED_SIZE, COMPRESSED_SIZE = range(1, 8)
    KEY_VALUES, DATA_PAGE_OFFSET, INDEX_PAGE_OFFSET, DICTIONARY_PAGE_OFFSET, STATISTICS = range(8, 13)
    ENCODING_STATS, BLOOM_OFFSET, BLOOM_LENGTH, SIZE_STATISTICS = range(13, 17)


class Statistics:
    """Field numbers of a column chunk's statistics; MAX and MIN are the deprecated pair."""

    MAX, MIN, NULL_COUNT, DISTINCT_COUNT, MAX_VALUE, MIN_VALUE, MAX_EXACT, MIN_EXACT, NAN_COUNT = range(1, 10)


class PageHeader:
    """Field numbers of a page header."""

    TYPE, UNCOMPRESSED_SIZE, COMPRESSED_SIZE, CRC, DATA_PAGE = 1, 2, 3, 4, 5


# ColumnOrder: statistics follow the order of the column's type; of floats, also that of IEEE 754's totalOrder.
TYPE_ORDER: Struct = {1: (STRUCT, {})}
TOTAL_ORDER: Struct = {2: (STRUCT, {})}


@dataclass(frozen=True, slots=True)
class Compression:
    """A codec: its name in Parquet's metadata, and how pyarrow makes it.

    Attributes
    ----------
    name : str
        As users write it: "snappy", "zstd", "gzip", "brotli", "lz4" or "none".
    level : int or None
        None: the codec's default.
    number : int
        Parquet's ``CompressionCodec``.
    arrow : str or None
        pyarrow's name for it; None: no compression.
    """

    name: str
    level: int | None
    number: int
    arrow: str | None

    @classmethod
    def of(cls, compression: "str | None | Compression", level: int | None = None) -> "Compression":
        """Check a codec's name and level.

        Raises
        ------
        ValueError
            If there is no such codec, pyarrow was built without it, or it does not take that level.
        """
        if isinstance(compression, Compression):
            return compression
        name = "none" if compression is None else compression
        if not isinstance(name, str) or name.lower() not in _CODECS:
            raise ValueError(
                f"unknown compression {compression!r}; use one of {', '.join(map(repr, _CODECS))}"
            )
        name = name.lower()
        number, arrow = _CODECS[name]
        if arrow is not None and not pa.Codec.is_available(arrow):
            raise ValueError(f"this pyarrow was built without {name!r} compression")
        if level is not None:
            if isinstance(level, bool) or not isinstance(level, int):
                raise ValueError(f"compression_level must be an integer or None, not {level!r}")
            if arrow is None or not pa.Codec.supports_compression_level(arrow):
                raise ValueError(f"compression {name!r} has no levels; leave the level out")
            low, high = pa.Codec.minimum_compression_level(arrow), pa.Codec.maximum_compression_level(arrow)
            if not low <= level <= high:
                raise ValueError(f"compression {name!r} takes levels {low} to {high}, not {level}")
        return cls(name, level, number, arrow)

    def codec(self) -> pa.Codec | None:
        """A new codec, for one thread at a time (some keep state between calls); None for "none"."""
        return None if self.arrow is None else pa.Codec(self.arrow, compression_level=self.level)


# Parquet's number and pyarrow's name. "lz4" is LZ4_RAW, the raw block format: Parquet's first LZ4 (number 5)
# wraps blocks in a frame of Hadoop's own and is deprecated.
_CODECS: dict[str, tuple[int, str | None]] = {
    "snappy": (1, "snappy"),
    "zstd": (6, "zstd"),
    "gzip": (2, "gzip"),
    "brotli": (4, "brotli"),
    "lz4": (7, "lz4_raw"),
    "none": (0, None),
}


def float_metadata(
    physical_type: int,
    nullable: bool,
    codec: int,
    num_values: int,
    sizes: tuple[int, int],
    pages: int,
    statistics: Struct,
) -> Struct:
    """ColumnMetaData of a chunk of PLAIN pages, without its path and offset, which the writer knows.

    Parameters
    ----------
    sizes : (int, int)
        Uncompressed and compressed, page headers included.
    """
    encodings = [PLAIN, RLE] if nullable else [PLAIN]
    return {
        ColumnMetaData.TYPE: (I32, physical_type),
        ColumnMetaData.ENCODINGS: (LIST, (I32, encodings)),
        ColumnMetaData.CODEC: (I32, codec),
        ColumnMetaData.NUM_VALUES: (I64, num_values),
        ColumnMetaData.UNCOMPRESSED_SIZE: (I64, sizes[0]),
        ColumnMetaData.COMPRESSED_SIZE: (I64, sizes[1]),
        ColumnMetaData.STATISTICS: (STRUCT, statistics),
        ColumnMetaData.ENCODING_STATS: (
            LIST,
            (STRUCT, [{1: (I32, DATA_PAGE), 2: (I32, PLAIN), 3: (I32, pages)}] if pages else []),
        ),
    }


def data_page_header(rows: int, uncompressed: int, compressed: int) -> Struct:
    """Header of a PLAIN data page of version 1."""
    return {
        PageHeader.TYPE: (I32, DATA_PAGE),
        PageHeader.UNCOMPRESSED_SIZE: (I32, uncompressed),
        PageHeader.COMPRESSED_SIZE: (I32, compressed),
        PageHeader.DATA_PAGE: (
            STRUCT,
            # num_values, encoding, and the encodings of definition and repetition levels (required even
            # where, as in a flat column, a page has none)
            {1: (I32, rows), 2: (I32, PLAIN), 3: (I32, RLE), 4: (I32, RLE)},
        ),
    }


def key_value_head(key: bytes, size: int) -> bytes:
    """A KeyValue struct up to its value of `size` bytes, which follows, with a zero byte behind it."""
    return encode({1: (BINARY, key)})[:-1] + encode({2: (BINARY, b"")}, after=1)[:-2] + varint(size)
