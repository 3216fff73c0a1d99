"""From columns as they are stored to the rows that a network takes: scaled numbers, imputed values, hashed strings."""

# Design: a feature map holds its affine maps, not the scaler, so that a model file needs no other state. Numbers are
# computed in double and rounded once, to the type of the result; a scaler's own transform gives the same bits wherever
# it rounds no more. Strings are hashed by a fixed function and not by their order of appearance: there is nothing to
# fit, nothing that grows with the number of different strings, and a model reads a string that it has never seen.
# Turned down: Python's hash(), which differs from process to process.

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ._rows import fill_matrix, hash_strings
from .errors import DataError, StateError, StatisticNotCollected
from .scalers._frames import as_frame
from .scalers._inputs import as_matrix, is_frame
from .scalers._select import as_names, check_columns, numeric_chunk, value_type
from .scalers._transform import AffineMap
from .sources import one_line
from .state_values import _decode_float, _encode_float
from .summary import near_matches

__all__ = ["FeatureMap", "bucket_numbers"]

Key = str | int
FORMAT, VERSION = "streamnorm-features", 1


def bucket_numbers(array: pa.Array, buckets: int) -> np.ndarray:
    """The bucket of each string: 0 for a null, and for others 1 to `buckets` - 1.

    A bucket is ``1 + ((h >> 32) * (buckets - 1) >> 32)``, where h is the 64-bit FNV-1a hash of the string's UTF-8 bytes
    (the offset basis is 0xcbf29ce484222325, the prime 0x100000001b3) after the finalizer of SplitMix64. Integers and
    booleans are hashed as they are written.

    Parameters
    ----------
    array : pyarrow.Array
        Strings, binary, integers or booleans, dictionary-encoded or not.
    buckets : int
        At least 2, and below 2**24, up to where float32 holds every whole number.

    Returns
    -------
    ndarray of int32, shape (n,)

    Examples
    --------
    >>> import pyarrow as pa
    >>> bucket_numbers(pa.array(["JFK", "LGA", None, "JFK"]), 1000)
    array([378, 173,   0, 378], dtype=int32)
    """
    _check_buckets(buckets)
    if not isinstance(array, pa.Array):
        raise TypeError(f"bucket_numbers takes a pyarrow.Array, got {type(array).__name__}")
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    if isinstance(array, pa.DictionaryArray):
        of_values = bucket_numbers(array.dictionary, buckets)
        if len(of_values) == 0:
            return np.zeros(len(array), np.int32)
        indices, missing = _plain_values(array.indices), nulls(array.indices)
        if missing is None:
            return of_values[indices]
        found = of_values[np.where(missing, 0, indices)]  # what stands under a null may be any number
        found[missing] = 0
        return found
    if not can_be_hashed(array.type):
        raise TypeError(f"strings, binary, integers and booleans have buckets, and {array.type} has none")
    strings = array if _is_stringlike(array.type) else array.cast(pa.binary() if _is_bytes(array.type) else pa.string())
    high = hash_strings(strings) >> np.uint64(32)
    found = (1 + ((high * np.uint64(buckets - 1)) >> np.uint64(32))).astype(np.int32)
    missing = nulls(strings)
    if missing is not None:
        found[missing] = 0
    return found


# Arrow's own to_numpy and fill_null import pandas, where it is installed, to see whether values are its.
def _plain_values(array: pa.Array) -> np.ndarray:
    """An array of integers, whatever stands under its nulls."""
    kind = ("i" if pa.types.is_signed_integer(array.type) else "u") + str(array.type.bit_width // 8)
    return np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array)]


def nulls(array: pa.Array) -> np.ndarray | None:
    """Where an array has nulls, or None if it has none."""
    if not array.null_count:
        return None
    if array.buffers()[0] is None:  # of nulls alone
        return np.ones(len(array), bool)
    first, start = divmod(array.offset, 8)
    bits = np.frombuffer(array.buffers()[0], np.uint8)[first : first + (start + len(array) + 7) // 8]
    return np.unpackbits(bits, bitorder="little")[start : start + len(array)] == 0


def _is_stringlike(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _is_bytes(kind: pa.DataType) -> bool:
    """Whether these are bytes in another layout than that of binary."""
    is_view = getattr(pa.types, "is_binary_view", lambda kind: False)
    return pa.types.is_fixed_size_binary(kind) or is_view(kind)


def _check_buckets(buckets: Any) -> None:
    if isinstance(buckets, bool) or not isinstance(buckets, int | np.integer) or not 2 <= buckets < 1 << 24:
        raise ValueError(f"buckets must be a whole number, at least 2 and below 2**24, got {buckets!r}")


def can_be_hashed(kind: pa.DataType) -> bool:
    """Whether a column of this type may be embedded."""
    kind = value_type(kind)
    is_string_view = getattr(pa.types, "is_string_view", lambda kind: False)
    return (
        _is_stringlike(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
        or is_string_view(kind)
        or _is_bytes(kind)
    )


class FeatureMap:
    """How columns become the rows of a matrix: numbers scaled, then indicators of missing values, then bucket numbers.

    Parameters
    ----------
    scaler : scaler or None
        Fitted; gives the numeric columns that it knows their affine maps. Others are taken as they are.
    columns : sequence of str or int, or None
        The numeric columns, in the order of the result; None: those of the scaler, without those to embed.
    impute : bool, default False
        A missing value (null or NaN) becomes the center of its column: the mean if the scaler knows it, else the
        median, else the middle of the extrema; 0 after a StandardScaler. Each column that had missing values in the fit
        gets a column of 0 and 1 behind the numeric ones that says where. Needs a scaler that was fitted on data.
    embed : sequence of str, optional
        Columns of strings (or integers, or booleans) that become bucket numbers in the last columns of the result; see
        :func:`bucket_numbers`.
    buckets : int, default 1000
        Of each of those.
    keep_missing : bool, default False
        Without `impute`: let missing values through as NaN. If both are false, they are an error.
    dtype : dtype, default float32
        float32 or float64.

    Attributes
    ----------
    columns, indicators, embed : tuple
        Numeric columns, those of them with an indicator, and columns to embed.
    feature_names : list of str
        One for each column of the result; an indicator is called ``<column> is missing``.
    width : int
        Columns of the result.

    Examples
    --------
    >>> import pyarrow as pa, streamnorm as sn
    >>> table = pa.table({"fare": [2.0, None, 4.0], "zone": ["a", None, "a"]})
    >>> scaler = sn.StandardScaler().fit(table, columns="fare")
    >>> features = FeatureMap(scaler, impute=True, embed=["zone"], buckets=10)
    >>> features.matrix(table)
    array([[-1.,  0.,  1.],
           [ 0.,  1.,  0.],
           [ 1.,  0.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        scaler: Any = None,
        columns: Sequence[Key] | None = None,
        *,
        impute: bool = False,
        embed: str | Sequence[str] | None = None,
        buckets: int = 1000,
        keep_missing: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        self.embed = tuple(as_names(embed) or ())
        if scaler is not None:
            scaler._check_fitted()
        if columns is None:
            if scaler is None:
                raise ValueError("name the columns, or give a fitted scaler, which knows them")
            columns = [name for name in scaler.summary_ if name not in self.embed]
        self.columns: tuple[Key, ...] = tuple(columns)
        both = [name for name in self.columns if name in self.embed]
        if both or len(set(self.columns)) < len(self.columns) or len(set(self.embed)) < len(self.embed):
            raise ValueError(f"a column is taken once, as a number or embedded, got {list(columns)} and {self.embed}")
        _check_buckets(buckets)
        self.buckets = int(buckets)
        self.impute, self.keep_missing = bool(impute), bool(keep_missing)
        self.dtype = _float_type(dtype)
        maps = scaler._plain_maps() if scaler is not None else {}
        self.maps: dict[Key, AffineMap] = {name: maps.get(name, AffineMap()) for name in self.columns}
        self.fills: dict[Key, float] = {}
        self.indicators: tuple[Key, ...] = ()
        if impute:
            self._plan_imputing(scaler)
        self._finish()

    def _plan_imputing(self, scaler: Any) -> None:
        unknown = [name for name in self.columns if scaler is None or name not in scaler.summary_]
        if unknown:
            raise ValueError(f"impute needs a scaler that was fitted on every numeric column, but for {unknown}")
        summary = scaler.summary_
        self.fills = {name: _center(summary[name], self.maps[name]) for name in self.columns}
        self.indicators = tuple(name for name in self.columns if _had_missing(summary[name]))

    def _finish(self) -> None:
        """What follows from the rest, laid out for the kernel."""
        d, k = len(self.columns), len(self.indicators)
        self.width = d + k + len(self.embed)
        self.feature_names = [str(name) for name in self.columns]
        self.feature_names += [f"{name} is missing" for name in self.indicators]
        self.feature_names += list(self.embed)
        plain = AffineMap()
        self._table = map_table([self.maps[name] for name in self.columns] + [plain] * len(self.embed))
        fills = [self._scaled_fill(name) for name in self.columns] + [math.nan] * len(self.embed)
        self._fills = np.array(fills, dtype=np.float64)
        flag = {name: d + i for i, name in enumerate(self.indicators)}
        self._flags = np.array([flag.get(name, -1) for name in self.columns] + [-1] * len(self.embed), dtype=np.int64)
        self._places = np.array([*range(d), *range(d + k, self.width)], dtype=np.int64)

    def _scaled_fill(self, name: Key) -> float:
        if not self.impute:
            return math.nan
        m = self.maps[name]
        scaled = (self.fills[name] - m.center) / m.scale + m.offset
        return scaled if m.clip is None else min(max(scaled, m.clip[0]), m.clip[1])

    @property
    def names(self) -> list[Key]:
        """The columns that are read: the numeric ones and those to embed."""
        return [*self.columns, *self.embed]

    def check_schema(self, schema: pa.Schema) -> None:
        """Raise DataError unless each column is there, once, with a type that can be taken."""
        check_columns(schema, [str(name) for name in self.columns])
        for name in self.embed:
            found = schema.get_all_field_indices(name)
            if len(found) != 1:
                what = "there is no column" if not found else f"there are {len(found)} columns"
                hint = near_matches(name, schema.names) if not found else "give them different names"
                raise DataError(f"{what} {name!r}: {hint}", column=name)
            kind = schema.field(found[0]).type
            if not can_be_hashed(kind):
                raise DataError(
                    f"column {name!r} holds {kind}, which is not embedded: strings, integers and booleans are",
                    column=name,
                )

    def matrix(self, batch: Any, out: np.ndarray | None = None) -> np.ndarray:
        """The rows of a record batch, table, frame or array.

        Parameters
        ----------
        batch : pyarrow.RecordBatch, pyarrow.Table, data frame, or array-like of shape (n, d)
            Columns are matched by name, in any order, and others are left alone; those of an array by position, and it
            has as many as there are in `columns`.
        out : ndarray of shape (n, width), C-contiguous, of `dtype`, optional

        Returns
        -------
        ndarray of shape (n, width), C-contiguous

        Raises
        ------
        DataError
            If a column is missing or of another kind, or lacks a value and `impute` is false.
        """
        if isinstance(batch, pa.RecordBatch | pa.Table) or is_frame(batch, "pandas") or is_frame(batch, "polars"):
            frame = as_frame(batch)
            self.check_schema(frame.schema)
            rows = frame.rows
            columns = [frame.chunks(frame.names.index(str(name)), fit=False) for name in self.names]
        else:
            matrix = as_matrix(batch, type(self).__name__)
            if self.embed:
                raise DataError(f"an array has no strings to embed as {list(self.embed)}: pass a table or a frame")
            if matrix.shape[1] != len(self.columns):
                raise DataError(
                    f"X has {matrix.shape[1]} features, but {type(self).__name__} is expecting {len(self.columns)} "
                    "features as input."
                )
            rows = len(matrix)
            columns = [[matrix[:, j]] for j in range(matrix.shape[1])]
        if out is None:
            out = np.empty((rows, self.width), self.dtype)
        elif out.shape != (rows, self.width) or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise ValueError(f"out must be a C-contiguous {self.dtype} array of shape ({rows}, {self.width})")
        if all(len(chunks) == 1 for chunks in columns):
            self._raise_missing(self.fill(out, [chunks[0] for chunks in columns]))
            return out
        table = pa.table([pa.chunked_array(chunks) for chunks in columns], names=list(map(str, self.names)))
        at = 0
        for part in table.to_batches():
            self._raise_missing(self.fill(out[at : at + len(part)], part.columns))
            at += len(part)
        return out

    def _raise_missing(self, missing: tuple[Key, int] | None) -> None:
        if missing is not None:
            name, row = missing
            raise DataError(f"column {name!r} {MISSING}", column=name)

    def fill(self, out: np.ndarray, arrays: Sequence[Any], keep: np.ndarray | None = None) -> tuple[Key, int] | None:
        """Write rows into the first columns of a matrix.

        Parameters
        ----------
        out : ndarray of shape (n, at least width), C-contiguous, of `dtype`
        arrays : sequence of ndarray or pyarrow.Array
            One for each of `names`, all of length n.
        keep : ndarray of uint8, shape (n,), or None
            A missing value in a row that is 0 here is no error.

        Returns
        -------
        (column, row) or None
            A missing value that is an error, in the first column that has one.
        """
        d = len(self.columns)
        numbers = [as_numbers(name, array) for name, array in zip(self.columns, arrays, strict=False)]
        codes = [bucket_numbers(array, self.buckets) for array in arrays[d:]]
        first = fill_matrix(out, numbers + codes, self._places, self._table, self._fills, self._flags, keep)
        if self.impute or self.keep_missing:
            return None
        return next(((name, int(row)) for name, row in zip(self.columns, first, strict=False) if row >= 0), None)

    def to_dict(self) -> dict[str, Any]:
        """The state, of JSON's types."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "columns": [
                {
                    "name": name,
                    "center": _encode_float(m.center),
                    "scale": _encode_float(m.scale),
                    "offset": _encode_float(m.offset),
                    "clip": None if m.clip is None else [_encode_float(bound) for bound in m.clip],
                    "fill": _encode_float(self.fills[name]) if self.impute else None,
                    "indicator": name in self.indicators,
                }
                for name, m in self.maps.items()
            ],
            "embed": list(self.embed),
            "buckets": self.buckets,
            "impute": self.impute,
            "keep_missing": self.keep_missing,
            "dtype": self.dtype.name,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> FeatureMap:
        """What :meth:`to_dict` was called on.

        Raises
        ------
        StateError
            If it is not such a state.
        """
        try:
            if state["format"] != FORMAT or state["version"] != VERSION:
                raise StateError(f"version {state['version']!r} of a feature map is not known: use a later streamnorm")
            columns = {column["name"]: column for column in state["columns"]}
            if len(columns) != len(state["columns"]) or not all(isinstance(name, Key) for name in columns):
                raise ValueError("its columns have no names of their own")
            made = cls(
                None,
                list(columns),
                embed=list(state["embed"]),
                buckets=state["buckets"],
                keep_missing=state["keep_missing"],
                dtype=state["dtype"],
            )
            for name, column in columns.items():
                center, scale, offset = (_decode_float(column[key], key) for key in ("center", "scale", "offset"))
                clip = None
                if column["clip"] is not None:
                    low, high = (_decode_float(bound, "clip") for bound in column["clip"])
                    clip = (low, high)
                made.maps[name] = AffineMap(center, scale, offset, clip)
                if state["impute"]:
                    made.fills[name] = _decode_float(column["fill"], "fill")
            made.impute = bool(state["impute"])
            made.indicators = tuple(name for name, column in columns.items() if made.impute and column["indicator"])
            made._finish()
        except StateError:
            raise
        except Exception as error:
            raise StateError(f"is not the state of a feature map ({one_line(error)}): save it anew") from error
        return made

    def to_json(self) -> str:
        """The state as JSON text, which :meth:`from_json` reads."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> FeatureMap:
        """What :meth:`to_json` was called on; StateError if the text is nothing of the kind."""
        try:
            state = json.loads(text)
        except ValueError as error:
            raise StateError(f"is not the state of a feature map ({one_line(error)}): save it anew") from error
        return cls.from_dict(state)


MISSING = "has a missing value (null or NaN): impute missing values, fill them in, or leave the column out"


def as_numbers(name: Key, array: Any) -> Any:
    """A column's array as the kernels take it."""
    if isinstance(array, np.ndarray):
        return array
    try:
        return numeric_chunk(array)
    except (TypeError, pa.ArrowException) as error:
        raise DataError(f"column {name!r} cannot be taken as numbers ({one_line(error)})", column=name) from error


def map_table(maps: Sequence[AffineMap]) -> np.ndarray:
    """Affine maps as the kernel takes them: a row of center, scale, offset, low and high for each."""
    rows = [[m.center, m.scale, m.offset, *((-math.inf, math.inf) if m.clip is None else m.clip)] for m in maps]
    return np.array(rows, dtype=np.float64).reshape(len(maps), 5)


def _float_type(dtype: Any) -> np.dtype:
    try:
        found = None if dtype is None else np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    return found


def _had_missing(column: Any) -> bool:
    if column.given is not None:
        return False
    nans = column.stats.nan_count  # None: a footer was all that was read, which does not tell
    return column.stats.null_count > 0 or nans is None or nans > 0


def _center(column: Any, m: AffineMap) -> float:
    """The value in the middle of a fitted column, by what its scaler knows."""
    if column.given is not None:
        return float(column.given[0])
    if not column.has_values:
        return m.center
    for find in (lambda: column.mean, lambda: column.quantile(0.5), lambda: column.min / 2 + column.max / 2):
        try:
            found = float(find())
        except (StatisticNotCollected, TypeError):
            continue
        if math.isfinite(found):
            return found
    return m.center
