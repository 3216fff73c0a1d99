"""What a fitted scaler does to data: the affine map of each column, over arrays, tables, frames and streams."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from .._core import affine, affine_matrix
from ..errors import BadRow
from ..summary import Summary
from . import _queries, _tensors
from ._contract import ScikitLearnContract
from ._frames import ArrowFrame, Frame, as_frame, as_reader, parts, replaced_schema
from ._inputs import as_matrix, kind_of, unwrapped, wrapped_like
from ._nested import mapped_column, mapped_type, validity
from ._paths import check_features, is_list, places_in, storage_type
from ._select import check_numeric, output_type, rounded_chunk, without_infinities


@dataclass(frozen=True, slots=True)
class AffineMap:
    """y = (x - center) / scale + offset, then clipped to these bounds if there are any.

    An infinite scale makes the offset of every finite x. With `blank`, infinite x become null.
    """

    center: float = 0.0
    scale: float = 1.0
    offset: float = 0.0
    clip: tuple[float, float] | None = None
    blank: bool = False

    def factor(self, inverse: bool) -> float:
        """What the kernel divides by, or in the inverse multiplies by: 0, where all values became one."""
        return 0.0 if inverse and math.isinf(self.scale) else self.scale

    def taken(self, numbers: pa.Array, inverse: bool) -> pa.Array:
        """The values that it maps: without the infinities, where they become null."""
        return without_infinities(numbers) if self.blank and not inverse else numbers

    def values(self, x: Any, inverse: bool, dtype: Any, out: np.ndarray | None = None) -> np.ndarray:
        """The map over one array of numbers, or its inverse, as floats of this type, in `out` if that is given."""
        factor = self.factor(inverse)
        return affine(
            x, self.center, factor, self.offset, clip=self.clip, inverse=inverse, dtype=np.dtype(dtype), out=out
        )

    def apply(
        self, array: pa.Array, inverse: bool, kind: pa.DataType, dtype: Any, out: np.ndarray | None = None
    ) -> pa.Array:
        """The map over one Arrow array, as an array of type `kind`, which NumPy calls `dtype`, in `out` if given.

        Nulls stay; what stands under them is unspecified.
        """
        numbers = self.taken(rounded_chunk(array), inverse)
        values = self.values(numbers, inverse, dtype, out)
        return pa.Array.from_buffers(kind, len(values), [validity(numbers), pa.py_buffer(values)], numbers.null_count)

    def apply_at_once(
        self, chunks: list[pa.Array], inverse: bool, kind: pa.DataType, out: np.ndarray
    ) -> list[pa.Array]:
        """The map over integers or floats in chunks, none of them null, as chunks of the same lengths in `out`."""
        self.values(pa.chunked_array(chunks), inverse, out.dtype, out)
        made = pa.Array.from_buffers(kind, len(out), [None, pa.py_buffer(out)], 0)
        ends = list(accumulate(map(len, chunks)))
        return [made[start:stop] for start, stop in pairwise([0, *ends])]


class Transforms(ScikitLearnContract):
    """The half of a scaler that maps data; `BaseScaler` is the other."""

    summary_: Summary
    fit: Any
    _maps: Any
    _names_in: Any
    _positions: Any

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Fit on X, then transform it; parameters as for :meth:`fit`. X must be readable twice."""
        if kind_of(X) == "stream" or (kind_of(X) == "batches" and isinstance(X, Iterator)):
            X = as_reader(X).read_all() if kind_of(X) == "stream" else list(X)
        return self.fit(X, y, **fit_params).transform(X)

    def transform(self, X: Any, copy: bool | None = None) -> Any:
        """Normalize X.

        Parameters
        ----------
        X : data
            An array-like or a tensor of shape (n_samples, n_features), matched by position; or a table, a frame or
            a query, whose columns are matched by name, in any order, while other columns pass through; or one
            column by itself.
        copy : bool or None
            False: write into X itself if it is an array of floats. None: as the parameter ``copy`` says.

        Returns
        -------
        ndarray, tensor, frame, query or column
            Of the kind of X: a LazyFrame for a LazyFrame, a frame of Dask or a DuckDB relation for one, a reader for a
            reader, a Dataset or a Scanner, a generator for an iterator, a pyarrow Table for other Arrow streams.
            float16, float32 and float64 stay, all else becomes float64. Nulls and NaN stay, and infinities pass
            through, unless ``infinite="null"``.

        Raises
        ------
        NotFittedError
            If it was not fitted.
        DataError
            If a column is missing, not numeric, constant where constant="error" forbids it, or the number of features
            is another.
        """
        return self._wrap(self._apply(X, self._copies(copy), inverse=False), X)

    def inverse_transform(self, X: Any, copy: bool | None = None) -> Any:
        """Undo :meth:`transform`, except for clipping; parameters and result as there."""
        return self._apply(X, self._copies(copy), inverse=True)

    def _copies(self, copy: bool | None) -> bool:
        return getattr(self, "copy", True) if copy is None else copy

    def _apply(self, X: Any, copy: bool, *, inverse: bool) -> Any:
        self._check_fitted()
        kind = kind_of(X)
        if kind == "stream":
            return self._apply_stream(X, inverse)
        if kind == "query":
            return self._apply_query(X, inverse)
        if kind == "wrapped":
            return wrapped_like(X, self._apply(unwrapped(X), copy, inverse=inverse))
        if kind == "tensor":
            return _tensors.mapped(X, partial(self._apply_matrix, copy=copy, inverse=inverse), copy)
        if kind == "batches":
            results = (self._apply(part, copy, inverse=inverse) for part in X)
            return type(X)(results) if isinstance(X, list | tuple) else results
        [part] = parts(X)
        if isinstance(part, Frame):
            return self._apply_frame(part, inverse)
        return self._apply_matrix(part, copy, inverse)

    def _apply_matrix(self, X: Any, copy: bool, inverse: bool) -> np.ndarray:
        matrix = as_matrix(X, type(self).__name__)
        positions = self._positions(self.summary_, matrix.shape[1])
        maps = list(self._maps().values())
        dtype = matrix.dtype if matrix.dtype.kind == "f" else np.dtype(np.float64)
        if not inverse and matrix.dtype.kind == "f" and any(m.blank for m in maps):
            blank = [position for position, m in zip(positions, maps, strict=True) if m.blank]
            matrix = _blanked(matrix, blank, copy or not matrix.flags.writeable)
        out = matrix if not copy and matrix.dtype == dtype and matrix.flags.writeable else None
        whole = positions == list(range(matrix.shape[1]))
        if out is None and whole and matrix.flags.f_contiguous and not matrix.flags.c_contiguous:
            out = np.empty_like(matrix, dtype)  # of the same order, whose columns the kernel writes where they stay
            for j, m in enumerate(maps):
                m.values(matrix[:, j], inverse, dtype, out[:, j])
            return out
        if whole and (out is None or out.flags.c_contiguous):
            triples = ((m.center, m.factor(inverse), m.offset) for m in maps)
            vectors = [np.array(vector) for vector in zip(*triples, strict=True)]
            return affine_matrix(matrix, *vectors, clip=[m.clip for m in maps], inverse=inverse, out=out)
        if out is None:
            out = matrix.astype(dtype)  # what passes through
        for j, m in zip(positions, maps, strict=True):
            out[:, j] = m.values(matrix[:, j], inverse, dtype)
        return out

    def _apply_frame(self, frame: Frame, inverse: bool) -> Any:
        names = self._names_in(self.summary_, frame)
        maps = dict(zip(names, self._maps().values(), strict=True))
        return frame.replace(mapped_in_place(frame, names, maps, inverse), _nullable(frame.names, maps, inverse))

    def _apply_query(self, X: Any, inverse: bool) -> Any:
        schema = _queries.schema_of(X)
        names = self._names_in(self.summary_, ArrowFrame(schema.empty_table()))
        check_features(schema, names)
        maps = dict(zip(names, self._maps().values(), strict=True))

        def mapped(frame: Any, features: list[str]) -> Any:
            """A frame that has but the columns of these features."""
            part = as_frame(frame)
            return part.replace(mapped_in_place(part, features, maps, inverse), _nullable(part.names, maps, inverse))

        result = _queries.mapped(X, schema, maps, mapped, inverse)
        return self._apply_stream(_queries.reader(X), inverse) if result is None else result

    def _apply_stream(self, X: Any, inverse: bool) -> Any:
        reader = as_reader(X)
        names = self._names_in(self.summary_, ArrowFrame(reader.schema.empty_table()))
        check_features(reader.schema, names)
        types: dict[int, pa.DataType] = {}
        for place, _ in places_in(reader.schema.names, names):
            i = reader.schema.get_field_index(place.column)
            types[i] = mapped_type(types.get(i, reader.schema.field(i).type), place.fields, output_type)
        maps = dict(zip(names, self._maps().values(), strict=True))
        schema = replaced_schema(reader.schema, types, _nullable(reader.schema.names, maps, inverse))
        batches = map(partial(self._apply_frame, inverse=inverse), map(ArrowFrame, reader))
        result = pa.RecordBatchReader.from_batches(schema, batches)
        return result if isinstance(X, pa.RecordBatchReader) else result.read_all()


def _nullable(columns: Sequence[str], maps: Mapping[str, Any], inverse: bool) -> Collection[int]:
    """The positions of those columns in which a map may turn values into nulls."""
    if inverse:
        return ()
    return {columns.index(name) for name, m in maps.items() if m.blank and name in columns}


def mapped_in_place(
    frame: Frame, names: Sequence[str], maps: Mapping[str, Any], inverse: bool
) -> dict[int, tuple[pa.DataType, list[pa.Array]]]:
    """The columns of a frame in which these features are, by position, after the features' maps.

    A column's chunks go into one buffer: the system makes new pages available faster to one than to many small ones.
    """
    replaced: dict[int, tuple[pa.DataType, list[pa.Array]]] = {}
    for place, features in places_in(frame.names, names):
        i = frame.names.index(place.column)
        chunks = replaced[i][1] if i in replaced else frame.chunks(i, fit=False)
        before = chunks[0].type if chunks else frame.schema.field(i).type
        kind = mapped_type(before, place.fields, output_type)
        its = [maps[feature] for feature in features]
        column, changed, at = None, [], 0
        if not (place.fields or place.each or is_list(storage_type(before))):
            check_numeric(place.name, before)
            column = np.empty(sum(map(len, chunks)), output_type(before)[1])
            if _go_at_once(chunks, its[0]):
                changed, chunks = its[0].apply_at_once(chunks, inverse, kind, column), []
        for chunk in chunks:
            try:
                if column is None:
                    changed.append(mapped_column(chunk, place, its, inverse, output_type))
                else:
                    room = column[at : at + len(chunk)]
                    changed.append(its[0].apply(chunk, inverse, kind, column.dtype, room))
            except BadRow as error:
                raise error.behind(at, place.name) from None
            at += len(chunk)
        replaced[i] = (kind, changed)
    return replaced


def _go_at_once(chunks: Sequence[pa.Array], m: Any) -> bool:
    """Whether the kernel takes all of these chunks in one call."""
    if len(chunks) < 2 or not isinstance(m, AffineMap) or m.blank:
        return False
    of, kind = pa.types, chunks[0].type
    return (of.is_integer(kind) or of.is_floating(kind)) and not any(chunk.null_count for chunk in chunks)


def _blanked(matrix: np.ndarray, positions: list[int], copy: bool) -> np.ndarray:
    """The matrix with NaN for the infinities in these columns."""
    infinite = np.isinf(matrix[:, positions])
    if not infinite.any():
        return matrix
    matrix = matrix.copy() if copy else matrix
    matrix[:, positions] = np.where(infinite, np.nan, matrix[:, positions])
    return matrix
