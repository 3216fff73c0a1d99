"""Implementations by name for values in memory: the arrays to give them, how they are checked and timed."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pyarrow as pa

from . import data, truth
from .measure import WrongAnswer

# 256 MB of float64 for ten million rows and more, several times the last-level cache of most processors.
MEMORY_VALUES = max(100_000, min(32_000_000, round(3.2 * data.ROWS)))
CACHE_VALUES = (4096, 65_536)
CALLS = 2_000_000 if data.QUICK else 20_000_000  # values that one timing of a small array goes through
ROUNDS = 3 if data.QUICK else 15
EXACT_ROUNDS = 3 if data.QUICK else 5  # of exact sums, on every kind of values
SEED = 7

MOMENT_TOLERANCE = 1e-12  # relative to the larger of |mean| and std
AFFINE_TOLERANCE = 4e-16  # of a float64 result, relative to the largest: a rounding or two

# Kinds of values, by how many powers of two they spread over, which exact sums feel: some 1, 15, 50 and 150 of them in
# ten million values. Pareto's law with exponent 1/2 has no mean.
KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, rows: 1000 + 100 * rng.standard_normal(rows),
    "lognormal": lambda rng, rows: np.exp(rng.standard_normal(rows)),
    "pareto": lambda rng, rows: 1 + rng.pareto(0.5, rows),
    "lognormal10": lambda rng, rows: np.exp(10 * rng.standard_normal(rows)),
}


def values(dtype: str, rows: int, nulls: float = 0.0, kind: str = "normal") -> np.ndarray | pa.Array:
    """`rows` values of type `dtype` and of a kind out of `KINDS`; an Arrow array if a share of them is null."""
    rng = np.random.default_rng([SEED, rows])
    array = KINDS[kind](rng, rows).astype(dtype)
    return pa.array(array, mask=rng.random(rows) < nulls) if nulls else array


def buffer(array: np.ndarray | pa.Array) -> np.ndarray:
    """The values of `array` as they lie in memory, null or not: what a plain sum reads."""
    if isinstance(array, np.ndarray):
        return array
    return np.frombuffer(array.buffers()[1], array.type.to_pandas_dtype())[: len(array)]


def seconds(function: Callable[[], object], values_each: int, rounds: int = ROUNDS) -> float:
    """Best time of one call, out of `rounds` timings of as many calls as make `CALLS` values."""
    number = max(1, CALLS // values_each)
    return min(_timing(function, number) for _ in range(rounds))


def ratio(
    mine: Callable[[], object], other: Callable[[], object], values_each: int, rounds: int = ROUNDS
) -> float:
    """Time of `mine` over that of `other`: median over `rounds` of adjacent timings, in turning order."""
    number = max(1, CALLS // values_each)
    found = []
    for turn in range(rounds):
        pair = (mine, other) if turn % 2 == 0 else (other, mine)
        taken = {function: _timing(function, number) for function in pair}
        found.append(taken[mine] / taken[other])
    return median(found)


def _timing(function: Callable[[], object], number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        function()
    return (time.perf_counter() - start) / number


# Moments: count, mean, M2, min and max, against the least that can be done with the same bytes. Ours is one
# column's stream that gets the same chunk at each call, as the passes over a file feed it.


def _streamnorm_moments(array, **options) -> Callable[[], object]:
    from streamnorm._core import ColumnStats

    stats = ColumnStats(**options)
    return lambda: stats.update(array)


def _streamnorm_exact_moments(array) -> Callable[[], object]:
    return _streamnorm_moments(array, exact=True)


def _numpy_sum(array) -> Callable[[], object]:
    plain = buffer(array)
    return plain.sum


MOMENTS: dict[str, Callable] = {"streamnorm": _streamnorm_moments, "numpy_sum": _numpy_sum}
EXACT_MOMENTS: dict[str, Callable] = {"streamnorm_exact": _streamnorm_exact_moments, **MOMENTS}


@functools.cache
def check_moments(name: str, dtype: str, nulls: float, kind: str = "normal") -> None:
    """Compare `name` with the truth on a few thousand values.

    Raises
    ------
    WrongAnswer
        It is off by more than `MOMENT_TOLERANCE`, or by a bit if it is exact.
    """
    array = values(dtype, 5003, nulls, kind)
    got = EXACT_MOMENTS[name](array)()
    if name == "numpy_sum":
        return
    present = np.asarray(array.drop_null() if nulls else array).astype(np.float64)
    expected = (len(present), *truth.moments(present), present.min(), present.max())
    answer = (got.count, got.mean, got.std(), got.min, got.max)
    tolerance = 0.0 if name == "streamnorm_exact" else MOMENT_TOLERANCE
    if not np.allclose(answer, expected, rtol=tolerance, atol=0):
        raise WrongAnswer(
            f"moments by {name} of {kind} {dtype} with {nulls:.0%} nulls: {answer}, where {expected} is true"
        )


# Moments of values that have weights.


def weights(rows: int, zeros: float = 0.0, kind: str = "uniform") -> np.ndarray:
    """Weights of `rows` rows: "ones", "uniform" or "pareto", a share of them zero."""
    rng = np.random.default_rng([SEED, rows])
    made = {"ones": np.ones, "uniform": rng.random, "pareto": lambda n: rng.pareto(1.2, n)}[kind](rows)
    made[rng.random(rows) < zeros] = 0.0
    return made


def _streamnorm_weighted(array, each) -> Callable[[], object]:
    from streamnorm._core import ColumnStats

    stats = ColumnStats()
    return lambda: stats.update(array, each)


def _streamnorm_checked(array, each) -> Callable[[], object]:
    from streamnorm._sketch import Weights

    return _streamnorm_weighted(array, Weights(each))


def _numpy_average(array, each) -> Callable[[], object]:
    def moments() -> tuple[float, float]:
        mean = np.average(array, weights=each)
        return mean, np.average((array - mean) ** 2, weights=each)

    return moments


WEIGHTED_MOMENTS: dict[str, Callable] = {
    "streamnorm": _streamnorm_weighted,
    "streamnorm_checked": _streamnorm_checked,
    "numpy_average": _numpy_average,
}


@functools.cache
def check_weighted_moments(name: str, zeros: float) -> None:
    """Compare `name` with NumPy; raises `WrongAnswer` as `check_moments` does."""
    array, each = values("float64", 5003), weights(5003, zeros)
    got, expected = WEIGHTED_MOMENTS[name](array, each)(), _numpy_average(array, each)()
    answer = got if isinstance(got, tuple) else (got.mean, got.var())
    if not np.allclose(answer, expected, rtol=MOMENT_TOLERANCE, atol=0):
        raise WrongAnswer(f"weighted moments by {name}: {answer}, NumPy says {expected}")


# The affine map, between two buffers that have both been written before.

CENTER, SCALE = 1000.0, 100.0


def _streamnorm_affine(array, out) -> Callable[[], object]:
    from streamnorm._core import affine

    return lambda: affine(array, CENTER, SCALE, dtype=out.dtype, out=out)


def _numpy_affine(array, out) -> Callable[[], object]:
    def scale() -> None:
        np.subtract(array, CENTER, out=out)
        np.divide(out, SCALE, out=out)

    return scale


def _copy(array, out) -> Callable[[], object]:
    return lambda: np.copyto(out, array)


AFFINE: dict[str, Callable] = {"streamnorm": _streamnorm_affine, "numpy": _numpy_affine, "copy": _copy}


@functools.cache
def check_affine(name: str, dtype: str) -> None:
    """Compare `name` with NumPy; raises `WrongAnswer` as `check_moments` does."""
    array = values(dtype, 5003)
    out = np.zeros_like(array)
    AFFINE[name](array, out)()
    expected = array if name == "copy" else ((array.astype(np.float64) - CENTER) / SCALE).astype(dtype)
    tolerance = max(AFFINE_TOLERANCE, np.finfo(dtype).eps if name == "numpy" else 0.0)
    if np.abs(out - expected).max() > 100 * tolerance * np.abs(expected).max():
        raise WrongAnswer(f"affine by {name} of {dtype} differs from NumPy by {np.abs(out - expected).max()}")
