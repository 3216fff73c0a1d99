"""The memory bound: how it is written, and which allocator keeps to it best."""

# Design: what a job holds is planned from the footers; what the process holds on top is what its allocator keeps of
# memory that was freed. Arrow's default, mimalloc, keeps most: the command line therefore starts with Arrow's "system"
# pool (10M rows x 8 columns with memory="128MB": 185 MB against 245 at the peak), and a user of the library may set
# ARROW_DEFAULT_MEMORY_POOL=system before pyarrow is imported. Turned down: pa.set_memory_pool, which does not reach the
# buffers that the Parquet reader takes by itself, and MIMALLOC_PURGE_DELAY=0, which doubles the time.

from __future__ import annotations

import ctypes
import functools
import re
import sys

import pyarrow as pa

TIGHT = 64 * 10**6  # with less for all work at a time, what the allocator keeps counts

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT = 4 << 20  # bytes

RANK_ERROR = 0.001
NARROWING_ERROR = 0.008  # before exact quantiles: a finer sketch takes longer than it saves in the next pass
FEW_ROWS = 20_000
# What a sketch of each rank error holds at most, in bytes, up to FEW_ROWS rows and beyond (measured up to 20M); of the
# last two, a merged one, which is what there is one of for each column. The buffers of those that are fed take 12 kB.
SKETCH_BYTES = [
    (RANK_ERROR, 30_000, 106_000),
    (0.002, 18_500, 79_000),
    (0.004, 14_500, 28_500),
    (0.008, 12_500, 21_000),
    (0.016, 8_500, 12_000),
    (0.032, 8_000, 8_500),
]

_UNITS = {"": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip
MIN_MEMORY = 16 * 10**6


def parse_memory(memory: str | int) -> int:
    """Bytes in "256MB" (MB = 10**6), "1.5GiB", or a number of bytes.

    Examples
    --------
    >>> parse_memory("256MB")
    256000000
    """
    if isinstance(memory, int) and not isinstance(memory, bool):
        size = memory
    else:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(memory))
        unit = match and {name.lower(): factor for name, factor in _UNITS.items()}.get(match[2].lower())
        if unit is None:
            raise ValueError(f'memory must be like "256MB" or a number of bytes, got {memory!r}')
        size = int(float(match[1]) * unit)
    if size < MIN_MEMORY:
        raise ValueError(f"memory must be at least {MIN_MEMORY // 10**6}MB, got {memory!r}")
    return size


def sketch_error(columns: int, rows: int, memory: int) -> float:
    """The rank error that `columns` sketches can have within a quarter of `memory`; 0.001 unless there are many."""
    for error, few_rows, many_rows in SKETCH_BYTES:
        if columns * (few_rows if rows <= FEW_ROWS else many_rows) <= memory // 4:
            return error
    return SKETCH_BYTES[-1][0]


def steady_allocator() -> None:
    """Keep glibc from holding on to what was freed, in a process that has chosen Arrow's system pool.

    By itself it raises both thresholds to twice the largest block that was freed, up to 64 MB, and each thread's arena
    may keep that much: 25 MB a thread after pages of 24 MB. Fixed at 4 MB they cost no time; at 1 MB, three times it.
    """
    if pa.default_memory_pool().backend_name == "system":
        _fix_thresholds()


@functools.cache
def _fix_thresholds() -> None:
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none, or one that does nothing
    if mallopt is not None:
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(option, _KEPT)


def give_back() -> None:
    """Let the allocator return what it keeps for later, in every thread's arena."""
    pa.default_memory_pool().release_unused()
