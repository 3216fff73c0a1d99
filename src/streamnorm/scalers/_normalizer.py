"""The scaler of rows: each to unit length, by itself.

Design: a row's length depends on no other row, so that there is nothing to fit. ``fit`` looks at the data all the same,
as that of the other scalers: it finds infinities before a job has written anything, and its counts are what a state,
its file and its merges have to say. Turned down: a class outside of the scalers, which files, column scalers and states
would all have to know.

Nulls and NaN count in no length and stay what they are, as everywhere here; scikit-learn's Normalizer refuses NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from .._core import ColumnStats
from .._unit import NORMS, unit_rows
from ..errors import DataError
from ..memory import RANK_ERROR
from ..summary import ColumnSummary, Summary
from ._buffers import missing_rows
from ._elementary import _ElementaryScaler
from ._frames import Frame
from ._inputs import as_matrix, kind_of
from ._nested import floats_array, floats_of, rows_of
from ._paths import is_list, places_in, storage_type
from ._select import check_numeric, numeric_chunk
from ._transform import mapped_in_place

_NO_MAP = "Normalizer has no map for each column, as each row is divided by its own length: apply it beforehand"
_NO_INVERSE = "Normalizer has no inverse: what length a row had is not kept"


@dataclass(frozen=True, slots=True)
class UnitMap:
    """y = x / norm(x), for each list x."""

    norm: str

    @property
    def blank(self) -> bool:
        """Whether infinite values become null."""
        return False

    def __getattr__(self, name: str) -> Any:
        if name in ("center", "scale", "offset", "clip"):  # asked for by whoever knows nothing but maps of columns
            raise DataError(_NO_MAP)
        raise AttributeError(name)

    def apply(
        self, array: pa.Array, inverse: bool, kind: pa.DataType, dtype: Any, out: np.ndarray | None = None
    ) -> pa.Array:
        """Refuse single numbers."""
        raise DataError(_NO_INVERSE if inverse else "Normalizer brings lists to unit length, not single numbers")

    def apply_rows(
        self, lists: pa.Array, values: pa.Array, inverse: bool, kind: pa.DataType, dtype: Any
    ) -> pa.Array:
        """The values of these lists, brought to unit length list by list."""
        if inverse:
            raise DataError(_NO_INVERSE)
        x, rows, numbers = floats_of(values), rows_of(lists), numeric_chunk(values)
        if lists.null_count:  # whatever a null hides is no list
            lengths = np.diff(rows) if isinstance(rows, np.ndarray) else rows
            x = np.where(np.repeat(missing_rows(lists), lengths), x.dtype.type(0), x)
        bitmap = numbers.buffers()[0] if numbers.null_count else None
        result = to_unit(x, rows, self.norm, dtype, validity=bitmap, bit=numbers.offset if bitmap else 0)
        return floats_array(result, values, kind)


def to_unit(x: np.ndarray, rows: Any, norm: Any, dtype: Any, **nulls: Any) -> np.ndarray:
    """:func:`~streamnorm._unit.unit_rows` of doubles, unless `x` is of the type wanted, and that has a kernel."""
    if x.dtype != dtype or x.dtype.itemsize < 4:
        x = x.astype(np.float64)
    return unit_rows(np.ascontiguousarray(x), rows, norm, **nulls).astype(dtype, copy=False)


class Normalizer(_ElementaryScaler):
    """Divide each row by its norm, so that it has unit length: y = x / norm(x).

    Rows are those of an array, or the lists of a column of lists, each by itself. In a table or a frame in memory, the
    columns of single numbers that are fitted make a row together.

    Parameters
    ----------
    norm : {"l2", "l1", "max"}, default="l2"
        The square root of the sum of squares, the sum of magnitudes, or the largest magnitude.
    copy : bool, default=True
        False: ``transform`` writes into an array of floats itself.

    Attributes
    ----------
    n_features_in_, feature_names_in_
        Of the normalized columns. ``fit`` learns nothing else.
    summary_ : Summary
        Counts, minima and maxima, by column; the map does not depend on them.

    Notes
    -----
    A row of zeros, or without a number, stays as it is. Nulls and NaN stay and count in no norm; an infinity is an
    error. Integers and decimals become float64, floats keep their type, and all is computed in double: with n values in
    a row, a norm's relative error is below (n / 8 + 10) * 2**-53, and huge or tiny values neither overflow nor
    underflow. There is no inverse.

    Examples
    --------
    >>> Normalizer().transform([[3.0, 4.0], [0.0, 0.0]])
    array([[0.6, 0.8],
           [0. , 0. ]])
    >>> import pyarrow as pa
    >>> table = pa.table({"id": [7, 8], "embedding": [[1.0, 3.0], [2.0, None]]})
    >>> Normalizer("l1").fit_transform(table, columns="embedding").to_pydict()
    {'id': [7, 8], 'embedding': [[0.25, 0.75], [1.0, None]]}
    """

    _takes_lists = True
    constant, infinite, eps = "relative", "error", None  # rules that it has no parameters for

    def __init__(self, norm: str = "l2", *, copy: bool = True) -> None:
        self.norm = norm
        self.copy = copy

    def fit(self, X: Any, y: Any = None, **options: Any) -> Self:
        """Look at X: its columns, its rows, and whether it holds infinities.

        Parameters
        ----------
        X, y, **options
            As for the other scalers, without `sample_weight`, which scikit-learn would pass if it had a name here.

        Returns
        -------
        self
        """
        return super().fit(X, y, **options)

    def _check_params(self) -> None:
        if not isinstance(self.norm, str) or self.norm not in NORMS:
            raise ValueError(
                f"The 'norm' parameter of Normalizer must be a str among {{'l1', 'l2', 'max'}}. Got {self.norm!r} "
                "instead."
            )
        if not isinstance(self.copy, bool | np.bool_):
            raise ValueError(
                f"The 'copy' parameter of Normalizer must be an instance of 'bool'. Got {self.copy!r} instead."
            )

    def _check_weighable(self) -> None:
        raise DataError("Normalizer looks at each row by itself, so that none has a weight: leave sample_weight out")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags

    def _new_stats(self, name: str | int, seed: int = 0, error: float = RANK_ERROR) -> ColumnStats:
        return ColumnStats(moments=False, extrema=True)

    def _attributes(self, summary: Summary) -> dict[str, Any]:
        return {}

    def _affine(self) -> Any:
        raise DataError(_NO_MAP)

    def _all_maps(self) -> Mapping[str | int, Any]:  # type: ignore[override]
        return dict.fromkeys(self.summary_, UnitMap(self.norm))

    def _is_constant(self, column: ColumnSummary) -> bool:
        return False

    def _apply(self, X: Any, copy: bool, *, inverse: bool) -> Any:
        if inverse:
            raise DataError(_NO_INVERSE)
        if not self.__sklearn_is_fitted__() and kind_of(X) == "array":
            self._check_params()
            return self._of_matrix(as_matrix(X, "Normalizer"), copy)
        return super()._apply(X, copy, inverse=inverse)

    def _apply_matrix(self, X: Any, copy: bool, inverse: bool) -> np.ndarray:
        matrix = as_matrix(X, "Normalizer")
        self._positions(self.summary_, matrix.shape[1])
        return self._of_matrix(matrix, copy)

    def _of_matrix(self, matrix: np.ndarray, copy: bool) -> np.ndarray:
        dtype = matrix.dtype if matrix.dtype.kind == "f" else np.dtype(np.float64)
        result = to_unit(matrix.reshape(-1), matrix.shape[1], self.norm, dtype).reshape(matrix.shape)
        if copy or matrix.dtype != dtype or not matrix.flags.writeable:
            return result
        matrix[...] = result
        return matrix

    def _apply_frame(self, frame: Frame, inverse: bool) -> Any:
        """Lists one by one; single numbers as the rows of a matrix."""
        names = self._names_in(self.summary_, frame)
        together = []
        for place, _ in places_in(frame.names, names):
            i = frame.names.index(place.column)
            if not (place.fields or is_list(storage_type(frame.schema.field(i).type))):
                check_numeric(place.name, frame.schema.field(i).type)
                together.append(i)
        lists = [name for name in names if name not in {frame.names[i] for i in together}]
        replaced = mapped_in_place(frame, lists, dict.fromkeys(lists, UnitMap(self.norm)), inverse)
        if together:
            replaced |= self._rows_of_frame(frame, together)
        return frame.replace(replaced)

    def _rows_of_frame(self, frame: Frame, together: list[int]) -> dict[int, tuple[pa.DataType, list[pa.Array]]]:
        columns = [pa.chunked_array(frame.chunks(i, fit=False), frame.schema.field(i).type) for i in together]
        arrays = [numeric_chunk(_one(column)) for column in columns]
        floats = [floats_of(array) for array in arrays]
        dtype = np.result_type(*{values.dtype for values in floats})
        matrix = np.empty((frame.rows, len(together)), dtype)
        for j, (array, values) in enumerate(zip(arrays, floats, strict=True)):
            matrix[:, j] = np.where(missing_rows(array), np.nan, values) if array.null_count else values
        result = self._of_matrix(matrix, False)
        kind = pa.from_numpy_dtype(dtype)
        return {
            i: (kind, [floats_array(np.ascontiguousarray(result[:, j]), array, kind)])
            for j, (i, array) in enumerate(zip(together, arrays, strict=True))
        }


def _one(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)
