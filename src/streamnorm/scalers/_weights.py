"""What was passed as sample_weight: weights of the rows, part by part, as fit goes through the data.

Design: weights come with the rows (a column of the same table) or apart from them (an array). Both end in checked
:class:`~streamnorm._sketch.Weights` of one part at a time, so that a stream with a weight column takes no more memory
than one without. Turned down: multiplying weights into the data, which moments could live with and quantiles not.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa

from .._sketch import Weights
from ..errors import DataError
from ._frames import Frame
from ._select import check_columns, numeric_chunk


class RowWeights:
    """The weights of all rows that one call of fit sees.

    Parameters
    ----------
    sample_weight : None, str, or array-like of shape (n,)
        None: no weights. A name: that of the column that holds them.
    """

    def __init__(self, sample_weight: Any) -> None:
        self.column = sample_weight if isinstance(sample_weight, str) else None
        self._all = None if sample_weight is None or self.column is not None else _checked(sample_weight)
        self._taken = 0

    def of_frame(self, frame: Frame) -> Weights | None:
        """The weights of the next rows, which are this frame."""
        if self.column is None:
            return self._next(frame.rows)
        check_columns(frame.schema, [self.column])
        chunks = [numeric_chunk(chunk) for chunk in frame.chunks(frame.names.index(self.column), fit=True)]
        start, self._taken = self._taken, self._taken + frame.rows
        try:
            return Weights(pa.chunked_array(chunks) if chunks else np.empty(0), first_row=start)
        except (TypeError, ValueError, pa.ArrowException) as error:
            raise DataError(f"column {self.column!r} cannot weigh rows ({error})", column=self.column) from None

    def of_matrix(self, rows: int) -> Weights | None:
        """The weights of the next rows, which are an array without names."""
        if self.column is not None:
            raise DataError(
                f"sample_weight names a column, {self.column!r}, and an array's columns have no names: give a table, "
                "or the weights themselves"
            )
        return self._next(rows)

    def _next(self, rows: int) -> Weights | None:
        if self._all is None:
            return None
        start, self._taken = self._taken, self._taken + rows
        if self._taken > len(self._all):
            raise self._other_length(f"at least {self._taken}")
        return self._all if rows == len(self._all) else self._all[start : self._taken]

    def check_all_used(self) -> None:
        """Raise DataError if there were more weights than rows."""
        if self._all is not None and self._taken != len(self._all):
            raise self._other_length(str(self._taken))

    def _other_length(self, rows: str) -> DataError:
        return DataError(f"sample_weight has {len(self._all or ())} entries, and X has {rows} rows: give one for each")


def _checked(sample_weight: Any) -> Weights:
    if isinstance(sample_weight, np.ma.MaskedArray):
        sample_weight = np.ma.filled(sample_weight.astype(np.float64), np.nan)  # missing, as in X
    try:
        return Weights(sample_weight)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise DataError(f"sample_weight cannot weigh rows ({error})") from None


def schema_without(schema: pa.Schema, weight: str | None, named: Collection[str]) -> pa.Schema:
    """The schema without the column of the weights, which is not normalized unless it is named.

    Raises
    ------
    DataError
        If there is no such column, or it does not hold numbers.
    """
    if weight is None:
        return schema
    check_columns(schema, [weight])
    return schema if weight in named else schema.remove(schema.get_field_index(weight))
