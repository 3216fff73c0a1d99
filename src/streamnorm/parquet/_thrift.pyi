from array import array
from typing import Any

from streamnorm.parquet.thrift import Struct

_BytesLike = Any  # whatever has the buffer protocol; collections.abc.Buffer is newer than Python 3.11

MAX_DEPTH: int
ENCRYPTED: int
CORRUPT: int
STATISTICS: int
NULL_COUNT: int
NAN_COUNT: int
INEXACT: int
DEPRECATED: int
VERDICTS: tuple[str, ...]
OF_NOTHING: str

class ThriftError(ValueError): ...

def decode(data: _BytesLike, start: int = 0) -> tuple[Struct, int]: ...
def decode_struct(data: _BytesLike, start: int = 0) -> Struct: ...
def skip_struct(data: _BytesLike, start: int = 0) -> int: ...
def struct_list(data: _BytesLike, start: int, field: int) -> tuple[Struct, list[int] | None, int]: ...
def chunk_statistics(
    data: _BytesLike, starts: array[int], physical_type: int
) -> tuple[bytearray, array[int], array[int], array[int], list[bytes | None], list[bytes | None]]: ...
def chunk_verdicts(
    chunks: tuple[bytearray, array[int], array[int], array[int], list[bytes | None], list[bytes | None]],
    rows: _BytesLike,
    *,
    required: bool,
    floats: bool,
    width: int,
    bounds: bool,
    old_pair: bool,
    uncounted: bool,
) -> tuple[bytearray, bytearray, array[int]]: ...
