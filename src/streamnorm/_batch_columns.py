"""Which columns of a source are features of batches, and which targets or weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ._batch_sources import BatchSource
from .errors import DataError
from .matching import columns_in
from .scalers import BaseScaler
from .scalers._select import check_columns, select_columns

Columns = str | int | Sequence[str | int] | None


def whole_number(name: str, value: Any, kind: str = "an integer") -> int:
    """The value as an int; ValueError for what is none, even a float that is whole."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be {kind}, got {value!r}")
    return int(value)


def as_keys(names: Columns) -> list[Any]:
    """Columns as a list, whatever way they were given."""
    if names is None:
        return []
    if isinstance(names, str | int | np.integer):
        return [names]
    try:
        return list(names)
    except TypeError:
        raise ValueError(f"a column has a name or a position, got {names!r}") from None


class NamedColumns:
    """The columns of a source by their names, or by their positions in arrays.

    Parameters
    ----------
    source : BatchSource
    extra : sequence
        Targets and weight, which are no features.

    Raises
    ------
    DataError
        If one of `extra` is not there, or holds no numbers.
    """

    def __init__(self, source: BatchSource, extra: Sequence[Any]) -> None:
        self._source, self._extra = source, extra
        self._check(extra)
        if len(set(extra)) < len(extra):
            raise ValueError(f"target and weight name a column twice: {list(extra)}")

    def _check(self, names: Sequence[Any]) -> None:
        """Raise DataError unless the columns are there and can be taken as numbers."""
        if self._source.schema is None:
            self.check_positions(names)
            return
        for name in names:
            if not isinstance(name, str):
                raise DataError(
                    f"there is no column {name!r}: the columns of this source go by their names", column=name
                )
        check_columns(self._source.schema, names)

    def check_positions(self, names: Sequence[Any]) -> None:
        """Raise DataError unless an array has columns of these numbers."""
        for name in names:
            if not isinstance(name, int | np.integer) or not 0 <= name < self._source.width:
                raise DataError(
                    f"there is no column {name!r}: an array's columns are called 0 to {self._source.width - 1}",
                    column=name,
                )

    def matched(self, scaler: BaseScaler) -> list[Any]:
        """The source's columns that a fitted scaler speaks of, in its order."""
        if self._source.schema is not None:
            if scaler.summary_.named:
                return list(scaler.summary_)
            rest = pa.schema([field for field in self._source.schema if field.name not in self._extra])
            return columns_in(scaler, rest)
        free = [j for j in range(self._source.width) if j not in self._extra]
        if scaler.summary_.named:
            if len(free) != len(scaler.summary_):
                raise DataError(
                    f"X has {len(free)} features, but the scaler is expecting {len(scaler.summary_)} features as input."
                )
            return free
        return free if len(free) == len(scaler.summary_) else list(scaler.summary_)

    def features(self, columns: Columns, exclude: Columns, scaler: BaseScaler | None = None) -> list[Any]:
        """The features that these arguments ask for; without `columns` those that the scaler knows."""
        wanted = None if columns is None else as_keys(columns)
        both = [name for name in wanted or () if name in self._extra]
        if both:
            raise ValueError(f"{both} are in columns and are target or weight: decide for one")
        left_out = set(as_keys(exclude))
        if wanted is None and scaler is not None:
            wanted = [name for name in self.matched(scaler) if name not in self._extra]
        if self._source.schema is None:
            names = [j for j in (range(self._source.width) if wanted is None else wanted) if j not in left_out]
            if wanted is None:
                names = [j for j in names if j not in self._extra]
            self.check_positions([*names, *left_out])
            if not names:
                raise DataError("there is no column left to make batches of")
            return names
        if wanted is None:
            rest = pa.schema([field for field in self._source.schema if field.name not in self._extra])
            return select_columns(rest.with_metadata(self._source.schema.metadata), None, as_keys(exclude) or None)
        self._check([*wanted, *left_out])
        names = [name for name in wanted if name not in left_out]
        if not names:
            raise DataError("there is no column left to make batches of")
        return names
