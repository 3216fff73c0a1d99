from typing import Any

from typing_extensions import disjoint_base

_BytesLike = Any  # whatever has the buffer protocol; collections.abc.Buffer is newer than Python 3.11

@disjoint_base
class PageStats:
    @property
    def min(self) -> float: ...
    @property
    def max(self) -> float: ...
    @property
    def count(self) -> int: ...
    @property
    def nan_count(self) -> int: ...

def count_valid(validity: _BytesLike, offset: int, length: int) -> int: ...
def levels_bytes(rows: int, valid: int) -> int: ...
def pack_page(
    out: _BytesLike | None,
    start: int,
    stats: PageStats,
    values: _BytesLike,
    itemsize: int,
    validity: _BytesLike | None,
    offset: int,
    rows: int,
    valid: int,
    levels: bool,
) -> int: ...
