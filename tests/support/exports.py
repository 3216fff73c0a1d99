"""Hostile tables for exports, scalers of all kinds, and the comparison with what `transform` gives."""

import decimal
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

import streamnorm as sn

SEED = 19850411
ROWS = 60
FITTED = 40  # rows; the others lie beyond what fit has seen, too

SCALERS = {
    "standard": lambda: sn.StandardScaler(),
    "ddof": lambda: sn.StandardScaler(ddof=1),
    "center": lambda: sn.StandardScaler(with_std=False),
    "scale": lambda: sn.StandardScaler(with_mean=False),
    "minmax": lambda: sn.MinMaxScaler((-3, 5.5)),
    "minmax_clip": lambda: sn.MinMaxScaler(clip=True),
    "maxabs": lambda: sn.MaxAbsScaler(),
    "maxabs_clip": lambda: sn.MaxAbsScaler(clip=True),
    "robust": lambda: sn.RobustScaler(quantile_range=(10, 80)),
    "robust_unit": lambda: sn.RobustScaler(unit_variance=True),
    "robust_median": lambda: sn.RobustScaler(with_scaling=False),
    "columns": lambda: sn.ColumnScaler(
        {"plain": "minmax", ("select", "constant"): sn.MinMaxScaler(clip=True), "large mean": "robust"},
        remainder="standard",
    ),
}


def hostile_table() -> pa.Table:
    """Columns whose numbers, nulls and names an export may stumble over."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=ROWS) * np.where(np.arange(ROWS) < FITTED, 1.0, 3.0)
    holes = rng.random(ROWS) < 0.2
    cents = [None if hole else decimal.Decimal(int(v * 1e6)).scaleb(-2) for v, hole in zip(x, holes, strict=True)]
    exact = decimal.Context(prec=60)
    wide = [exact.scaleb(decimal.Decimal(int(v * 1e9) * 10**20 + 1), -10) for v in x]
    columns: dict[str, Any] = {
        "plain": x,
        'a "quoted", name': x * 3 + 1e9,
        "large mean": x + 1e15,
        "tiny": x * 1e-13,
        "denormal": np.abs(x) * 1e-310,
        "huge": x * 1e300,
        "thirds": np.round(x * 10) / 3,
        "whole": pa.array(rng.integers(-100, 100, ROWS), pa.int8()),
        "past 2**53": pa.array([2**60 + int(v * 1e5) for v in x], pa.int64()),
        "unsigned": pa.array([2**64 - 1 - int(abs(v) * 1e5) for v in x], pa.uint64()),
        "constant": np.full(ROWS, 0.1),
        "nulls": pa.array(x, mask=holes),
        "NaN's": pa.array(np.where(holes, np.nan, x), mask=np.arange(ROWS) % 7 == 3),
        "nothing": pa.nulls(ROWS, pa.float64()),
        "select": -x,
        "größe 😀\n--": x - 5.0,
        "*": x + 0.5,
        "^pl.*$": x + 2.5,
        "money": pa.array(cents, pa.decimal128(18, 2)),
        "wide": pa.array(wide, pa.decimal128(38, 10)),
        "single": x.astype(np.float32),
    }
    return pa.table(columns)


def many_digits(scale: int) -> pa.Table:
    """Decimals of up to 38 digits, of which careless casts get a bit wrong now and then."""
    rng = np.random.default_rng(SEED)
    digits = ["".join(map(str, rng.integers(0, 10, size))) for size in rng.integers(1, 39, 2000)]
    exact = decimal.Context(prec=60)
    numbers = [exact.scaleb(decimal.Decimal(each), -scale) for each in digits]
    return pa.table({"x": pa.array(numbers, pa.decimal128(38, scale))})


def fitted(name: str, table: pa.Table | None = None) -> Any:
    """One of the scalers, fitted on the first rows."""
    return SCALERS[name]().fit((hostile_table() if table is None else table).slice(0, FITTED))


def doubles(table: pa.Table, scaler: Any) -> np.ndarray:
    """The scaler's columns as a matrix of float64, shape (n, d); nulls are NaN."""
    columns = [table[name].to_pylist() for name in scaler.summary_]
    return np.array([[np.nan if v is None else float(v) for v in column] for column in columns]).T


def ulps(a: float, b: float) -> float:
    """How many doubles lie between the two."""
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return abs(a - b) / np.spacing(max(abs(a), abs(b)))


def check(expected: pa.Table, found: Mapping[str, Sequence[Any]], bound: float, *, has_nan: bool = True) -> None:
    """Raise AssertionError where a column of `found` is further off than `bound` ulp; floats of 32 bits are rounded."""
    for name in expected.column_names:
        column = expected[name]
        assert len(found[name]) == len(column), name
        for row, (mine, theirs) in enumerate(zip(column.to_pylist(), found[name], strict=True)):
            where = f"column {name!r}, row {row}: {mine!r} here, {theirs!r} there"
            if mine is None or (not has_nan and math.isnan(mine)):
                assert theirs is None, where
                continue
            assert isinstance(theirs, float), where
            if pa.types.is_float32(column.type):
                theirs = float(np.float32(theirs))
            assert ulps(mine, theirs) <= bound, where
