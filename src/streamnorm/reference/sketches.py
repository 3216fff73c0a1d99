"""The twin of the quantile sketch, which keeps every value."""

import math
from typing import Any

import numpy as np

from ._values import _chunks, _values, _weights

__all__ = ["QuantileSketch"]


class QuantileSketch:
    """A "sketch" that keeps every value: the answers that the real one approximates.

    Parameters
    ----------
    error : float
        Kept; the rank error here is always 0.
    seed : int
        Kept; nothing is drawn.
    """

    def __init__(self, error: float = 0.001, seed: int = 0) -> None:
        self.error, self.seed, self._items = error, seed, np.empty((0, 2))  # values and their weights
        self.weighted = False

    rank_error = 0.0

    @property
    def count(self) -> int:
        return len(self._items)

    @property
    def weight(self) -> float:
        return math.fsum(self._items[:, 1])

    def update(self, values: Any, weights: Any = None) -> "QuantileSketch":
        self.weighted |= weights is not None
        chunks, at = _chunks(values), 0
        n = sum(map(len, chunks))
        every = np.ones(n) if weights is None else _weights(weights, n)
        for chunk in chunks:
            present, mask, _ = _values(chunk)
            each, at = every[at : at + len(chunk)][mask], at + len(chunk)
            pairs = np.column_stack([np.asarray(present, dtype=np.float64), each])
            self._items = np.concatenate([self._items, pairs[~np.isnan(pairs[:, 0]) & (each > 0)]])
        return self

    def merge(self, other: "QuantileSketch") -> "QuantileSketch":
        self._items = np.concatenate([self._items, other._items])
        self.weighted |= other.weighted
        return self

    def copy(self) -> "QuantileSketch":
        new = QuantileSketch(self.error, self.seed)
        new._items, new.weighted = self._items, self.weighted
        return new

    def quantile(self, q: Any) -> Any:
        if self.count == 0:
            return math.nan if np.ndim(q) == 0 else np.full(np.shape(q), np.nan)
        values, weights = self._items.T
        with np.errstate(all="ignore"):
            if self.weighted:
                result = np.quantile(values, q, weights=weights, method="inverted_cdf")
            else:
                result = np.quantile(values, q)
        return float(result) if np.ndim(q) == 0 else result

    def rank(self, x: Any) -> Any:
        if self.count == 0:
            return math.nan if np.ndim(x) == 0 else np.full(np.shape(x), np.nan)
        values, weights = self._items[np.argsort(self._items[:, 0], kind="stable")].T
        upto = np.concatenate([[0.0], np.cumsum(weights)])
        result = upto[np.searchsorted(values, x, side="right")] / upto[-1]
        return float(result) if np.ndim(x) == 0 else result

    def rank_interval(self, q: Any, confidence: float = 0.99) -> tuple[Any, Any]:
        ranks = np.asarray(q, dtype=np.float64) if self.count else np.full(np.shape(q), np.nan)
        both = float(ranks) if np.ndim(q) == 0 else ranks
        return both, both

    def value_interval(self, q: Any, confidence: float = 0.99) -> tuple[Any, Any]:
        both = self.quantile(q)
        return both, both

    def to_bytes(self) -> bytes:
        header = np.array([self.error, self.seed, self.weighted], dtype="<f8")
        return header.tobytes() + self._items.astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "QuantileSketch":
        if len(data) < 24 or len(data) % 16 != 8:
            raise ValueError("not a sketch: wrong length")
        numbers = np.frombuffer(data, dtype="<f8")
        new = cls(float(numbers[0]), int(numbers[1]))
        new.weighted = bool(numbers[2])
        new._items = numbers[3:].astype(np.float64).reshape(-1, 2)
        return new
