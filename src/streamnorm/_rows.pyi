from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from typing_extensions import disjoint_base

__all__ = [
    "Shuffler",
    "fill_matrix",
    "gather_rows",
    "gather_windows",
    "hash_strings",
    "map_pixels",
    "pack_rows",
    "words",
]

def words(key: int, first: int, n: int) -> NDArray[np.uint64]: ...
def hash_strings(array: Any) -> NDArray[np.uint64]: ...
def fill_matrix(
    out: NDArray[np.floating],
    arrays: Sequence[Any],
    places: NDArray[np.int64],
    maps: NDArray[np.float64],
    fills: NDArray[np.float64],
    flags: NDArray[np.int64],
    keep: NDArray[np.uint8] | None = None,
) -> NDArray[np.int64]: ...
def pack_rows(rows: NDArray[np.floating], keep: NDArray[np.uint8] | None = None) -> int: ...
def gather_rows(
    x: NDArray[np.floating], y: NDArray[np.floating], rows: NDArray[np.floating], order: NDArray[np.int64]
) -> None: ...
def map_pixels(
    out: NDArray[np.float32], pixels: bytes | NDArray[np.uint8], table: NDArray[np.float32]
) -> None: ...
def gather_windows(x: NDArray[np.floating], rows: NDArray[np.floating], starts: NDArray[np.int64]) -> None: ...
@disjoint_base
class Shuffler:
    def __init__(self, capacity: int, width: int, dtype: DTypeLike, key: int) -> None: ...
    @property
    def count(self) -> int: ...
    def push(
        self,
        x: NDArray[np.floating],
        y: NDArray[np.floating],
        at: int,
        rows: NDArray[np.floating],
        start: int,
        keep: NDArray[np.uint8] | None = None,
    ) -> tuple[int, int]: ...
    def drain(self, x: NDArray[np.floating], y: NDArray[np.floating], at: int) -> int: ...
