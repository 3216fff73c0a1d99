from typing import Any

BytesLike = Any  # whatever has the buffer protocol; collections.abc.Buffer is newer than Python 3.11

class PageStats:
    @property
    def min(self) -> float: ...
    @property
    def max(self) -> float: ...
    @property
    def count(self) -> int: ...
    @property
    def nan_count(self) -> int: ...

def count_valid(validity: BytesLike, offset: int, length: int) -> int: ...
def levels_bytes(rows: int, valid: int) -> int: ...
def pack_page(
    out: BytesLike | None,
    start: int,
    stats: PageStats,
    values: BytesLike,
    itemsize: int,
    validity: BytesLike | None,
    offset: int,
    rows: int,
    valid: int,
    levels: bool,
) -> int: ...
