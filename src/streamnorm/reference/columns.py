"""The twins of the kernels that collect statistics of columns.

Moments follow Chan, Golub and LeVeque, "Algorithms for computing the sample variance" (The American
Statistician 37(3), 1983): a block of rows has its own mean and sum of squared deviations, and blocks are
merged pairwise. The mean is an unevaluated sum of two doubles, and two-sum is Knuth's (TAOCP volume 2,
section 4.2.2). With weights, counts in these formulas become sums of weights (D. H. D. West, "Updating mean and
variance estimates: an improved method", Communications of the ACM 22(9), 1979).

Design: the stream is cut into blocks of BLOCK rows by row position, counted with nulls and NaN, and never
where a chunk ends, so that any chunking gives the same bits. The rest of an unfinished block waits in a
buffer. The option turned down, to merge whatever chunk arrives, is simpler and gives other last digits for
every batch size.
"""

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ._values import _chunks, _values, _weights
from .sketches import QuantileSketch

__all__ = ["BLOCK", "ColumnStats", "exact_sums", "keys_of", "selected", "update_matrix"]

BLOCK = 4096

# Squares of numbers within 2**±HALF_RANGE neither overflow nor vanish; beyond, a block is scaled first.
HALF_RANGE = 500

# Each one holds what the ones before it hold, when a column changes its type.
KINDS = ("int", "decimal", "float")


class _Moments(NamedTuple):
    """Weight (the count if there are none), mean (hi + lo), the sum of squared deviations in units of 4**exponent."""

    count: float = 0
    hi: float = 0.0
    lo: float = 0.0
    m2: float = 0.0
    exponent: int = 0


def _two_sum(a: float, b: float) -> tuple[float, float]:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _unit(largest: float) -> int:
    """The exponent in whose units deviations of this size can be squared."""
    if not math.isfinite(largest) or largest == 0.0:
        return 0
    e = math.frexp(largest)[1]
    return e if abs(e) > HALF_RANGE else 0


def _block_moments(values: np.ndarray, weights: np.ndarray) -> _Moments:
    """Moments of one block, shape (n,), float64, no NaN: a mean, its correction, then the deviations."""
    if len(values) == 0:
        return _Moments()
    n = math.fsum(weights)
    with np.errstate(all="ignore"):
        unit = _unit(float(np.max(np.abs(values))))
        scaled = np.ldexp(values, -unit)
        first = float(np.average(scaled, weights=weights))
        hi, lo = _two_sum(first, float(np.average(scaled - first, weights=weights)))
        deviations = (scaled - hi) - lo
        m2 = float(np.sum(weights * (deviations * deviations)))
        return _Moments(n, float(np.ldexp(hi, unit)), float(np.ldexp(lo, unit)), m2, unit)


def _merge_moments(a: _Moments, b: _Moments) -> _Moments:
    """Chan's pairwise update, in units that hold both sides and the distance between their means."""
    if a.count == 0:
        return b
    if b.count == 0:
        return a
    n = a.count + b.count
    with np.errstate(all="ignore"):
        unit = max((m.exponent for m in (a, b) if m.hi or m.m2), default=0)  # zeros fit in any unit
        a_hi, a_lo, b_hi, b_lo = (float(np.ldexp(x, -unit)) for x in (a.hi, a.lo, b.hi, b.lo))
        delta = (b_hi - a_hi) + (b_lo - a_lo)
        hi, lo = _two_sum(a_hi, delta * (b.count / n) + a_lo)
        m2 = sum(float(np.ldexp(m.m2, 2 * (m.exponent - unit))) for m in (a, b))
        m2 += delta * delta * (a.count / n) * b.count
        return _Moments(n, float(np.ldexp(hi, unit)), float(np.ldexp(lo, unit)), m2, unit)


def exact_sums(values: Any) -> tuple[Fraction, Fraction]:
    """Sum of the values and of their squares, without any rounding; NaN is left out.

    Parameters
    ----------
    values : iterable of finite float, int or Decimal, or NaN
    """
    exact = [Fraction(value) for value in values if value == value]
    return sum(exact, Fraction(0)), sum((value * value for value in exact), Fraction(0))


def keys_of(values: np.ndarray) -> np.ndarray:
    """The place of each double in their order, as int64: -0.0 just below 0.0; NaN is left out."""
    bits = values[~np.isnan(values)].view(np.int64)
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)


def selected(values: np.ndarray, low: int, high: int) -> tuple[int, np.ndarray]:
    """How many keys of the values are below `low`, and those from low to high, in order."""
    keys = keys_of(values)
    return int((keys < low).sum()), np.sort(keys[(keys >= low) & (keys <= high)])


class ColumnStats:
    """Streaming statistics of one column: counts, moments, extrema and (optionally) a quantile sketch.

    Parameters
    ----------
    moments, extrema : bool
        Whether to keep mean and variance, and smallest and largest value.
    sketch : QuantileSketch or None
        A sketch to feed; the object is then owned by the statistics.
    skip_infinite : bool
        Whether infinite values are left out.
    """

    def __init__(
        self, *, moments: bool = True, extrema: bool = True, sketch: Any = None, skip_infinite: bool = False
    ) -> None:
        self.skips_infinite = skip_infinite
        self.has_moments, self.has_extrema, self.sketch = moments, extrema, sketch
        self.rows = self.null_count = self.infinite_count = 0
        self.nan_count: int | None = 0
        self.kind: str | None = None
        self.scale: int | None = None  # of decimals
        self.min: Any = None
        self.max: Any = None
        self._total = _Moments()
        self._pending = np.empty(
            (0, 2)
        )  # rows of the unfinished block, value and weight, shape (< BLOCK, 2); NaN where there is no value
        self.left_out = 0  # rows of weight 0
        self.weighted = False
        self._weight_sums: list[float] = []

    @property
    def count(self) -> int | None:
        if self.nan_count is None:
            return None
        return self.rows - self.null_count - self.nan_count - self.left_out - self._skipped

    @property
    def _skipped(self) -> int:
        return self.infinite_count if self.skips_infinite else 0

    def _add_nans(self, more: int | None) -> None:
        self.nan_count = None if self.nan_count is None or more is None else self.nan_count + more

    @property
    def weight(self) -> float:
        return math.fsum(self._weight_sums)

    def update(self, array: Any, weights: Any = None) -> "ColumnStats":
        chunks, at = _chunks(array), 0
        n = sum(map(len, chunks))
        self.weighted |= weights is not None and n > 0
        every = np.ones(n) if weights is None else _weights(weights, n)
        for chunk in chunks:
            self._check_scale(getattr(chunk.type, "scale", None) if isinstance(chunk, pa.Array) else None)
            each, at = every[at : at + len(chunk)], at + len(chunk)
            chunk = chunk[each > 0] if isinstance(chunk, np.ndarray) else chunk.filter(pa.array(each > 0))
            self.rows += len(each) - len(chunk)
            self.left_out += len(each) - len(chunk)
            self._update_chunk(*_values(chunk), each[each > 0])
        return self

    def _check_scale(self, scale: int | None) -> None:
        if scale is not None and self.scale not in (None, scale):
            raise TypeError("decimals join only decimals of the same scale")
        self.scale = self.scale if scale is None else scale

    def _update_chunk(self, values: Any, present: np.ndarray, kind: str, weights: np.ndarray) -> None:
        if len(present) == 0:
            return
        self.rows += len(present)
        self.null_count += int(len(present) - np.count_nonzero(present))
        self._widen(kind)
        as_double = np.array([float(v) for v in values]) if kind == "decimal" else values.astype(np.float64)
        nan = np.isnan(as_double)
        self._add_nans(int(np.count_nonzero(nan)))
        infinite = np.isinf(as_double)
        self.infinite_count += int(np.count_nonzero(infinite))
        if self.skips_infinite:
            as_double, nan = np.where(infinite, np.nan, as_double), nan | infinite
        if self.has_extrema and not nan.all():
            self._widen_extrema(values if kind == "decimal" else values[~nan], kind)
        self._weight_sums.append(math.fsum(weights[present][~nan]))
        if self.sketch is not None:
            self.sketch.update(as_double[~nan], weights[present][~nan] if self.weighted else None)
        if self.has_moments:
            rows = np.column_stack([np.full(len(present), np.nan), weights])
            rows[present, 0] = as_double
            self._take_rows(rows)

    def _widen(self, kind: str) -> None:
        if self.kind is None or KINDS.index(kind) > KINDS.index(self.kind):
            self.kind = kind
            self.min, self.max = self._as_kind(self.min), self._as_kind(self.max)

    def _as_kind(self, value: Any) -> Any:
        return None if value is None else {"int": int, "decimal": Decimal, "float": float}[self.kind](value)

    def _widen_extrema(self, values: Any, kind: str) -> None:
        low, high = (
            (min(values), max(values)) if kind == "decimal" else (values.min().item(), values.max().item())
        )
        low, high = self._as_kind(low), self._as_kind(high)
        self.min = low if self.min is None else min(self.min, low)
        self.max = high if self.max is None else max(self.max, high)

    def _take_rows(self, rows: np.ndarray) -> None:
        rows = np.concatenate([self._pending, rows])
        whole = len(rows) - len(rows) % BLOCK
        for start in range(0, whole, BLOCK):
            self._total = _merge_moments(self._total, self._of_rows(rows[start : start + BLOCK]))
        self._pending = rows[whole:].copy()

    @staticmethod
    def _of_rows(rows: np.ndarray) -> _Moments:
        values, weights = rows[~np.isnan(rows[:, 0])].T
        return _block_moments(values, weights)

    def _moments(self) -> _Moments:
        """The moments of all that was seen, the unfinished block included."""
        return _merge_moments(self._total, self._of_rows(self._pending))

    def merge(self, other: "ColumnStats") -> "ColumnStats":
        same = (self.has_moments, self.has_extrema, self.sketch is None, self.skips_infinite)
        if same != (other.has_moments, other.has_extrema, other.sketch is None, other.skips_infinite):
            raise ValueError("cannot merge statistics that were not collected in the same way")
        if other.rows == 0:
            return self
        self._check_scale(other.scale)
        other = other.copy()
        if self.sketch is not None:
            self.sketch.merge(other.sketch)
        if self.has_moments:
            self._total, self._pending = _merge_moments(self._moments(), other._moments()), np.empty((0, 2))
        self.rows += other.rows
        self.null_count += other.null_count
        self._add_nans(other.nan_count)
        self.infinite_count += other.infinite_count
        self.left_out += other.left_out
        self.weighted |= other.weighted
        self._weight_sums = self._weight_sums + other._weight_sums
        if other.kind is not None:
            self._widen(other.kind)
        if other.min is not None:
            low, high = self._as_kind(other.min), self._as_kind(other.max)
            self.min = low if self.min is None else min(self.min, low)
            self.max = high if self.max is None else max(self.max, high)
        return self

    def copy(self) -> "ColumnStats":
        new = ColumnStats.__new__(ColumnStats)
        new.__dict__.update(self.__dict__)
        new.sketch = None if self.sketch is None else self.sketch.copy()
        new._weight_sums = list(self._weight_sums)
        return new

    @property
    def mean(self) -> float:
        return self._mean_pair()[0]

    @property
    def mean_lo(self) -> float:
        return self._mean_pair()[1]

    def _mean_pair(self) -> tuple[float, float]:
        self._need_moments()
        moments = self._moments()
        return (moments.hi, moments.lo) if moments.count else (math.nan, 0.0)

    @property
    def m2(self) -> float:
        self._need_moments()
        return self._moments().m2

    @property
    def exponent(self) -> int:
        self._need_moments()
        return self._moments().exponent

    def _need_moments(self) -> None:
        if not self.has_moments:
            raise AttributeError("the moments were not collected")

    def var(self, ddof: int = 0) -> float:
        self._need_moments()
        moments = self._moments()
        if moments.count - ddof <= 0:
            return math.nan
        with np.errstate(all="ignore"):
            return float(np.ldexp(moments.m2 / (moments.count - ddof), 2 * moments.exponent))

    def std(self, ddof: int = 0) -> float:
        self._need_moments()
        moments = self._moments()
        if moments.count - ddof <= 0:
            return math.nan
        with np.errstate(all="ignore"):
            return float(np.ldexp(np.sqrt(moments.m2 / (moments.count - ddof)), moments.exponent))

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("rows", "null_count", "nan_count", "infinite_count", "kind")
        }
        if self.skips_infinite:
            state["skips_infinite"] = True
        if self.weighted:
            state |= {"weight": self.weight, "weight_lo": 0.0, "left_out": self.left_out}
        if self.has_moments:
            state |= {name: getattr(self, name) for name in ("mean", "mean_lo", "m2", "exponent")}
        if self.has_extrema:
            as_text = str if self.kind in ("int", "decimal") else float
            state["min"] = None if self.min is None else as_text(self.min)
            state["max"] = None if self.max is None else as_text(self.max)
        if self.sketch is not None:
            state["sketch"] = self.sketch.to_bytes()
        return state

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "ColumnStats":
        sketch = QuantileSketch.from_bytes(state["sketch"]) if "sketch" in state else None
        skips = state.get("skips_infinite", False)
        new = cls(moments="mean" in state, extrema="min" in state, sketch=sketch, skip_infinite=skips)
        new.rows, new.null_count, new.nan_count = state["rows"], state["null_count"], state["nan_count"]
        new.infinite_count, new.kind = state["infinite_count"], state["kind"]
        new.weighted, new.left_out = "weight" in state, state.get("left_out", 0)
        most = new.rows - new.null_count - (new.nan_count or 0) - new.left_out - new._skipped
        new._weight_sums = [state.get("weight", float(most))]
        counted = new.infinite_count - new._skipped
        if min(new.null_count, new.nan_count or 0, new.infinite_count, most) < 0 or counted > most:
            raise ValueError("the counts contradict each other")
        if new.nan_count is None and (new.kind != "float" or new.has_moments or sketch is not None or not most):
            raise ValueError("the number of NaN is unknown only beside the extrema of floats")
        if new.kind not in (None, *KINDS) or (new.kind is None and most):
            raise ValueError(f"unknown kind of column {new.kind!r}")
        if new.has_moments and new.count:
            if state["m2"] < 0:
                raise ValueError("a sum of squares is negative")
            new._total = _Moments(new.weight, state["mean"], state["mean_lo"], state["m2"], state["exponent"])
        if new.has_extrema and most:
            new.min, new.max = new._as_kind(state["min"]), new._as_kind(state["max"])
            if new.kind == "decimal":
                new.scale = len(state["min"].partition(".")[2])
            if new.min is None or new.max is None or not new.min <= new.max:
                raise ValueError("the smallest value is above the largest")
        if sketch is not None and sketch.count != new.count:
            raise ValueError("the sketch has seen another number of values")
        return new

    @classmethod
    def from_extrema(
        cls,
        rows: int,
        null_count: int,
        kind: str,
        min: Any,
        max: Any,
        *,
        nan_count: int | None = 0,
        scale: int = 0,
        skip_infinite: bool = False,
    ) -> "ColumnStats":
        if kind == "float" and not np.isfinite([bound for bound in (min, max) if bound is not None]).all():
            raise ValueError("the extrema of floats have to be finite")
        as_text = (lambda bound: f"{bound:.{scale}f}") if kind == "decimal" else str
        if kind != "float":
            min, max = (None if bound is None else as_text(bound) for bound in (min, max))
        counts = {"rows": rows, "null_count": null_count, "nan_count": nan_count, "infinite_count": 0}
        new = cls.from_state({**counts, "kind": kind, "min": min, "max": max, "skips_infinite": skip_infinite})
        new.scale = scale if kind == "decimal" else None
        return new


def update_matrix(columns: Sequence[ColumnStats], X: np.ndarray, weights: Any = None) -> None:
    """Give column j of X, shape (n, d), to columns[j]; weights, if any, have shape (n,)."""
    if len(columns) != X.shape[1]:
        raise ValueError(f"expected {len(columns)} columns, got {X.shape[1]}")
    for stats, column in zip(columns, X.T, strict=True):
        stats.update(column, weights)
