"""Parquet files written piece by piece in bounded memory, and the metadata that this takes."""

from streamnorm.parquet.encode import EncodedChunk, EncodedField, FloatChunkEncoder, Scratch, encode_arrow
from streamnorm.parquet.footer import ColumnChunk, Footer, largest_page, page_sizes, read_footer
from streamnorm.parquet.format import Compression
from streamnorm.parquet.random_access import RandomAccess
from streamnorm.parquet.writer import ParquetWriter

__all__ = [
    "ColumnChunk", "Compression", "EncodedChunk", "EncodedField", "Footer", "FloatChunkEncoder",
    "ParquetWriter", "RandomAccess", "Scratch", "encode_arrow", "largest_page", "page_sizes", "read_footer",
]  # fmt: skip
