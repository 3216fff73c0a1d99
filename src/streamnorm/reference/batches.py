"""The twins of what makes batches of rows for training: counter-based random words, rows from columns, the shuffle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._values import _values

__all__ = ["Shuffler", "fill_matrix", "hash_strings", "map_pixels", "words"]

GOLDEN = 0x9E3779B97F4A7C15
FNV_OFFSET, FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3
MASK = (1 << 64) - 1


def mix(x: int) -> int:
    """The finalizer of SplitMix64."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def words(key: int, first: int, n: int) -> np.ndarray:
    """Words number `first`, `first` + 1, ... of the stream of SplitMix64 whose state starts as `key`.

    Parameters
    ----------
    key : int
        0 to 2**64 - 1.
    first, n : int

    Returns
    -------
    ndarray of uint64, shape (n,)
    """
    with np.errstate(over="ignore"):
        x = (np.arange(1, n + 1, dtype=np.uint64) + np.uint64(first)) * np.uint64(GOLDEN) + np.uint64(key)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def hash_strings(array: Any) -> np.ndarray:
    """A 64-bit hash of each string: FNV-1a of its bytes, then the finalizer of SplitMix64; 0 for a null.

    Parameters
    ----------
    array : Arrow array of strings or binary

    Returns
    -------
    ndarray of uint64, shape (n,)
    """
    found = []
    for value in array.to_pylist():
        if value is None:
            found.append(0)
            continue
        x = FNV_OFFSET
        for byte in value if isinstance(value, bytes) else value.encode():
            x = ((x ^ byte) * FNV_PRIME) & MASK
        found.append(mix(x))
    return np.array(found, dtype=np.uint64)


def fill_matrix(
    out: np.ndarray,
    arrays: Sequence[Any],
    places: np.ndarray,
    maps: np.ndarray,
    fills: np.ndarray,
    flags: np.ndarray,
    keep: np.ndarray | None = None,
) -> np.ndarray:
    """Write columns, each through its affine map, into the columns of a row-major matrix.

    Parameters
    ----------
    out : ndarray of float32 or float64, shape (n, width), C-contiguous
        Other columns stay as they are.
    arrays : sequence of ndarray or Arrow array, each of length n
    places : ndarray of int64, shape (k,)
        The column of `out` for each array.
    maps : ndarray of float64, shape (k, 5)
        center, scale, offset, low, high: ``(x - center) / scale + offset``, clipped, computed in double and cast once.
    fills : ndarray of float64, shape (k,)
        What stands for a null or a NaN.
    flags : ndarray of int64, shape (k,)
        The column of `out` that becomes 1 where the value is missing, and else 0; -1 for none.
    keep : ndarray of uint8, shape (n,), or None
        Rows that are 0 here are not looked at for missing values.

    Returns
    -------
    ndarray of int64, shape (k,)
        The first row kept that has no value, or -1.
    """
    first = np.full(len(arrays), -1, dtype=np.int64)
    for j, array in enumerate(arrays):
        present_values, present, _ = _values(array)
        x = np.full(len(present), np.nan)
        x[present] = np.asarray(present_values, dtype=np.float64)
        center, scale, offset, low, high = maps[j]
        missing = np.isnan(x)
        with np.errstate(all="ignore"):
            y = np.clip((x - center) / scale + (offset or -0.0), low, high)
            out[:, places[j]] = np.where(missing, fills[j], y)
        if flags[j] >= 0:
            out[:, flags[j]] = missing
        at = np.flatnonzero(missing if keep is None else missing & (keep != 0))
        if len(at):
            first[j] = at[0]
    return first


def map_pixels(out: np.ndarray, pixels: bytes | np.ndarray, table: np.ndarray) -> None:
    """Look each value of an image up in its channel's table.

    Parameters
    ----------
    out : ndarray of float32, shape (..., channels), contiguous
    pixels : bytes or contiguous ndarray of uint8
        As many values, in the same order.
    table : ndarray of float32, shape (channels, 256)
    """
    values = np.frombuffer(pixels, np.uint8).reshape(out.shape)
    out[...] = table[np.arange(len(table)), values]


def pack_rows(rows: np.ndarray, keep: np.ndarray | None = None) -> int:
    """Move the rows that `keep` does not hold 0 for to the front, and say how many there are.

    Parameters
    ----------
    rows : ndarray of shape (n, width), C-contiguous
    keep : ndarray of uint8, shape (n,), or None
        None: all.

    Returns
    -------
    int
    """
    if keep is None:
        return len(rows)
    kept = rows[keep != 0]
    rows[: len(kept)] = kept
    return len(kept)


def gather_rows(x: np.ndarray, y: np.ndarray, rows: np.ndarray, order: np.ndarray) -> None:
    """Copy the rows of these numbers, their first columns to x and the others to y.

    Parameters
    ----------
    x, y : ndarray of shape (n, d) and (n, width - d), C-contiguous
    rows : ndarray of shape (any, width), C-contiguous
    order : ndarray of int64, shape (n,)
    """
    d = x.shape[1]
    x[:], y[:] = rows[order, :d], rows[order, d:]


def gather_windows(x: np.ndarray, rows: np.ndarray, starts: np.ndarray) -> None:
    """Copy the windows of consecutive rows that begin with the rows of these numbers.

    Parameters
    ----------
    x : ndarray of shape (n, length, d), C-contiguous
    rows : ndarray of shape (any, d), C-contiguous
    starts : ndarray of int64, shape (n,)
    """
    x[:] = rows[starts[:, None] + np.arange(x.shape[1])]


class Shuffler:
    """A buffer of rows that gives them out in another order.

    Once it is full, each row that comes in takes the place of one drawn at random, which goes out. What is left at the
    end goes out in random order. Draw i uses word i of the stream of `key`: the place is ``word * size >> 64``.

    Parameters
    ----------
    capacity : int
        Rows; 0 keeps the order.
    width : int
        Values a row.
    dtype : dtype
        float32 or float64.
    key : int
    """

    def __init__(self, capacity: int, width: int, dtype: Any, key: int) -> None:
        self.rows = np.empty((capacity, width), dtype)
        self.capacity, self.key = capacity, key
        self.count = self.drawn = 0

    def _place(self) -> int:
        word = int(words(self.key, self.drawn, 1)[0])
        self.drawn += 1
        return word * self.count >> 64

    def push(
        self, x: np.ndarray, y: np.ndarray, at: int, rows: np.ndarray, start: int, keep: np.ndarray | None = None
    ) -> tuple[int, int]:
        """Take rows in from `start` on; those that go out are written to x and y, from row `at` on.

        A row's first values go to x, the others to y. Stops when x is full or there are no more rows.

        Returns
        -------
        (int, int)
            The next row of x, and the next of `rows`.
        """
        d = x.shape[1]
        while start < len(rows) and at < len(x):
            row = rows[start]
            start += 1
            if keep is not None and not keep[start - 1]:
                continue
            if self.count < self.capacity:
                self.rows[self.count] = row
                self.count += 1
                continue
            if self.capacity:
                place = self._place()
                row, self.rows[place] = self.rows[place].copy(), row
            x[at], y[at] = row[:d], row[d:]
            at += 1
        return at, start

    def drain(self, x: np.ndarray, y: np.ndarray, at: int) -> int:
        """Write what is left to x and y from row `at` on, until they are full or nothing is left."""
        d = x.shape[1]
        while self.count and at < len(x):
            place = self._place()
            x[at], y[at] = self.rows[place, :d], self.rows[place, d:]
            self.count -= 1
            self.rows[place] = self.rows[self.count]
            at += 1
        return at
