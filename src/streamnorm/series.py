"""Series as windows for training: the last rows as inputs, a later one as target, and nothing seen across the split."""

# Design: the split is where a series is cut in two, and whatever is learned (scaler, targets' scaler, what stands for
# missing values) is learned from the rows before it. A window belongs to the side on which all its rows are, its
# target's included; one that reaches across belongs to none. Turned down: windows first and a random split of them,
# which puts nearly every row of the validation windows into training as well.

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from ._batch_columns import Columns, NamedColumns, as_keys, whole_number
from ._batch_sources import CHUNK_ROWS, BatchSource, open_source
from ._batches import CODE_BYTES
from ._series_blocks import BlockMaker, RowMaker, Shape
from ._series_rows import Labelled, SeriesRows
from ._series_stream import WindowStream
from .errors import DataError
from .features import FeatureMap, _center, map_table
from .memory import MIN_MEMORY, parse_memory
from .scalers import BaseScaler, ColumnScaler
from .scalers._inputs import is_frame
from .scalers._transform import AffineMap
from .stream import Stream

__all__ = ["WindowStream", "Windows"]

SAME = "same"


class Windows:
    """Windows of a series, with the value `horizon` steps after each as its target, as two streams of batches.

    Parameters
    ----------
    source : path, list of paths, glob, directory, or data
        Parquet files, or whatever a scaler's ``fit`` takes and can be read again: tables, frames, arrays of shape
        (rows, columns). An array of shape (rows,) is a series of one column. Rows are in the order of the source, files
        by name.
    columns : str, int, sequence of those, or None
        The inputs; None: every integer, float and decimal column but `time` and `group`, so that a target is among them
        and its past an input. Those of an array have positions.
    target : str, int, sequence of those, or None
        One column: y has shape (n,); a list of t: (n, t). None: the inputs themselves, (n,) if there is one of them.
    length : int, default 24
        Rows of a window.
    horizon : int, default 1
        Steps from a window's last row to its target's.
    stride : int, default 1
        Rows from the beginning of one window to that of the next, counted from the first row of each stretch: from the
        split, from a gap, or from where a group begins.
    time : str, int or None
        A column of times, dates or numbers, which ascends from row to row (within a group); a row that does not is an
        error.
    group : str, int or None
        A column that says which of several series a row is of. No window mixes them. Their rows may be interleaved, or
        one series may come after the other.
    split : float, int, time, str or None, default 0.8
        Where validation begins. A fraction: of the span of `time` or else of the rows (of each group; rounded). A
        number of rows (of each group), where there is no `time`. A value of `time`, where there is one: a datetime, a
        date or a string in ISO format, without a zone in UTC where the column has one; or a number. Rows before it are
        for training. None: all rows are, and validation is empty.
    scaler : str, mapping, scaler or None, default "standard"
        A method, or a scaler that is not fitted, of which `scaler_` is a copy: fitted on the rows before the split
        alone. A fitted scaler is used as it is, and it is for the caller to know on what rows it was fitted. None:
        values as they are.
    target_scaler : str, mapping, scaler or None, default "same"
        "same": for the targets what `scaler` is for the inputs. Else as `scaler`.
    max_step : number or timedelta, optional
        The largest step of `time` from one row to the next. Where it is larger, no window goes across.
    impute : bool, default False
        A missing input (null or NaN) becomes the center of its column before the split: its mean, median or middle of
        the extrema, whichever the scaler knows first. Without it, a window with one is left out and counted in
        `skipped`, as is one whose target is missing in any case.
    batch_size : int, default 32
        A last batch of one window joins the one before it.
    shuffle : bool, default True
        Whether the windows for training come in another order every epoch. Those for validation never do.
    seed : int, default 0
    memory : str or int, default "256MB"
        Bound of all buffers, whatever the number of rows and the length of the windows.
    threads : int or None
        1: everything happens in the thread that iterates; else a background thread works ahead where the rows do not
        fit the memory. The result does not depend on it.

    Attributes
    ----------
    train, validation : WindowStream
        Each iterable any number of times, over ``(x, y)`` with x of shape (n, length, features), both float32.
    scaler_, target_scaler_ : scaler or None
        As they were fitted or given.
    split_ : int, float, datetime, date or None
        Where validation begins: a time, a number of rows, or the fraction if each group has rows of its own number.
    columns : list
        The inputs.
    sample_shape : (int, int)
        `length` and the number of inputs.
    skipped : int or None
        Windows of both parts that lack a value; None as long as that is not known.

    Raises
    ------
    DataError
        If times do not ascend, or a value is infinite; the error names file, row group, column and row. If there is no
        row before the split, no window to train on, or the source can be read only once.
    ValueError
        If an argument is out of its domain.

    Notes
    -----
    What is kept is rows: a source whose rows fit (three eighths of `memory` for those before the split, an eighth for
    the others) is read once for all epochs, and its windows are shuffled perfectly. Of a larger one, as many
    consecutive rows as fit are read at a time, and their windows are shuffled among themselves; epochs go through it in
    its own order. Of each group that has more rows to come, the last ``length + horizon - 1`` rows are kept besides, so
    that a source of many groups had better have the rows of each together.

    ``keras.utils.timeseries_dataset_from_array(data, targets, sequence_length, sequence_stride)`` is given targets that
    the caller has shifted; here `horizon` does that. Its ``sampling_rate`` (every r-th row within a window) has no
    counterpart.

    Examples
    --------
    >>> import numpy as np, streamnorm as sn
    >>> windows = sn.Windows(np.arange(10.0), length=3, split=0.6, scaler=None, shuffle=False)
    >>> for x, y in windows.train:
    ...     print(x[:, :, 0].tolist(), y.tolist())
    [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]] [3.0, 4.0, 5.0]
    >>> windows.validation.arrays()[1]
    array([9.], dtype=float32)
    """

    def __init__(
        self,
        source: Any,
        columns: Columns = None,
        *,
        target: Columns = None,
        length: int = 24,
        horizon: int = 1,
        stride: int = 1,
        time: str | int | None = None,
        group: str | int | None = None,
        split: Any = 0.8,
        scaler: Any = "standard",
        target_scaler: Any = SAME,
        max_step: Any = None,
        impute: bool = False,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        memory: str | int = "256MB",
        threads: int | None = None,
    ) -> None:
        counts = {"length": length, "horizon": horizon, "stride": stride, "batch_size": batch_size}
        for name, value in counts.items():
            if not 1 <= whole_number(name, value, "a positive integer") < 1 << 48:
                raise ValueError(f"{name} must be a positive integer below 2**48, got {value!r}")
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise ValueError(f"threads must be a positive integer or None, got {threads!r}")
        if time is not None and time == group:
            raise ValueError(f"time and group name the same column, {time!r}")
        self.length, self.horizon, self.stride, self.batch_size = map(int, counts.values())
        self.time, self.group, self.target = time, group, target
        self.seed, self.memory = whole_number("seed", seed), parse_memory(memory)
        self._source = _opened(source, time)
        if not self._source.rereadable:
            raise DataError(
                "the source can be read only once, and windows take several passes: give files, a table or an array"
            )
        named, inputs = self._named(columns, scaler)
        if self._source.schema is None and columns is None and _is_fitted(scaler) and len(inputs) < self._source.width:
            raise DataError(
                f"the scaler was fitted on {len(inputs)} columns, and there are {self._source.width}: name the inputs "
                "in columns"
            )
        self.columns, self._targets = inputs, list(inputs) if target is None else as_keys(target)
        NamedColumns(self._source, self._targets)  # raises
        read = list(dict.fromkeys([*(name for name in (time, group) if name is not None), *inputs, *self._targets]))
        self._source.check(read)
        room = self.memory - min(self._source.reading_need(read, self.memory) + CODE_BYTES, self.memory // 2)
        chunk_rows = max(1024, min(CHUNK_ROWS, self.memory // 64 // max(1, self._source.row_bytes(read))))
        self._rows = SeriesRows(self._source, time, group, split, max_step, chunk_rows=chunk_rows)
        self.split_ = self._rows.split
        keys = named.matched(scaler) if _is_fitted(scaler) else inputs
        self.scaler_ = self._fitted(scaler, inputs)
        known = _Known.of(self.scaler_, keys)
        self._features = _features(known, inputs, impute)
        self.target_scaler_, self._maps = self._target_maps(known, scaler, target_scaler)
        maker = RowMaker(self._features, tuple(self._targets), map_table(self._maps))
        shape = Shape(self.length, self.horizon, self.stride)
        flat = not isinstance(target, list | tuple) and len(self._targets) == 1
        streams = [
            WindowStream(
                BlockMaker(self._rows, maker, shape, part, int(room * share)),
                batch_size=self.batch_size,
                shuffle=bool(shuffle) and part == "train",
                seed=self.seed,
                memory=self.memory,
                threads=threads,
                flat_target=flat,
            )
            for part, share in (("train", 0.375), ("validation", 0.125))
        ]
        self.train, self.validation = streams
        self.sample_shape = self.train.sample_shape

    def __repr__(self) -> str:
        what = f"{self.columns} to {self._targets}, length={self.length}, horizon={self.horizon}, stride={self.stride}"
        return f"Windows({what}, split_={self.split_})"

    @property
    def skipped(self) -> int | None:
        both = self.train.skipped, self.validation.skipped
        return None if both[0] is None or both[1] is None else both[0] + both[1]

    def _named(self, columns: Columns, scaler: Any) -> tuple[NamedColumns, list[Any]]:
        """The inputs that these arguments ask for."""
        chosen = as_keys(columns)
        if self._source.schema is not None and self.group is not None and self.group not in self._source.schema.names:
            raise DataError(f"there is no column {self.group!r} to tell groups by", column=self.group)
        extra = [name for name in (self.time, self.group) if name is not None and name not in chosen]
        if self._source.schema is not None and self.group in extra:
            kind = self._source.schema.field(self.group).type
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
                extra.remove(self.group)  # no number, and so no input by itself
        named = NamedColumns(self._source, extra)
        return named, named.features(columns, None, scaler if _is_fitted(scaler) else None)

    def _fitted(self, scaler: Any, columns: list[Any]) -> BaseScaler | None:
        """The scaler, fitted on the rows before the split unless it was fitted before."""
        if scaler is None or _is_fitted(scaler):
            return scaler
        from .making import make_scaler

        # A copy: the same scaler given twice would be fitted the second time already, and on other rows.
        return self.fit_scaler(copy.deepcopy(make_scaler(scaler)), columns)

    def fit_scaler(self, scaler: BaseScaler, columns: Columns = None) -> BaseScaler:
        """Fit a scaler on the rows before the split, and on no other.

        Parameters
        ----------
        scaler : scaler
        columns : str, int, sequence of those, or None
            None: the inputs.

        Returns
        -------
        scaler
            The same one.
        """
        names = self.columns if columns is None else as_keys(columns)
        if not self._rows.rows_of("train"):
            raise DataError(f"no row is before the split ({self.split_}): there is nothing to train on")
        rows: Any = self._before(names)
        schema = self._source.schema
        if schema is None:
            return scaler.fit(list(rows) if scaler._rereads() else rows, memory=self._fit_memory())
        if scaler._rereads():
            kept = pa.schema([schema.field(name) for name in names])
            rows = Stream(lambda: pa.RecordBatchReader.from_batches(kept, self._before(names)), True)
        # One that gives columns methods of their own knows which it scales, maybe not all; others may be told to take
        # what they would not take by themselves (booleans, times).
        chosen = None if isinstance(scaler, ColumnScaler) else names
        return scaler.fit(rows, columns=chosen, memory=self._fit_memory())

    def _fit_memory(self) -> int:
        return max(MIN_MEMORY, self.memory // 2)

    def _before(self, names: list[Any]) -> Iterator[Any]:
        """The rows before the split as they are stored: record batches, or arrays."""
        source = self._source.session()
        try:
            for rows in self._rows.labelled("train", names, source=source):
                yield _stored(rows, names, self._source.schema)
        finally:
            source.close()

    def _target_maps(self, known: _Known, scaler: Any, wanted: Any) -> tuple[BaseScaler | None, list[AffineMap]]:
        """The scaler of the targets, and what it does to each; `scaler` is that of the inputs as it was given."""
        if isinstance(wanted, str) and wanted == SAME:
            if _is_fitted(scaler):
                unknown = [name for name in self._targets if name not in known.maps]
                if unknown:
                    raise ValueError(f"scaler was not fitted on the target {unknown[0]!r}: give a target_scaler, too")
                return known.scaler, [known.maps[name] for name in self._targets]
            if isinstance(scaler, Mapping | ColumnScaler):
                raise ValueError("where scaler gives each column a method of its own, give a target_scaler, too")
            wanted = scaler
        found = self._fitted(wanted, self._targets)
        if found is None:
            return None, [AffineMap()] * len(self._targets)
        named = found.summary_.named
        if named and not any(name in found.summary_ for name in self._targets):
            raise DataError(f"target_scaler was fitted on {list(found.summary_)}, and the target is {self._targets}")
        if not named and len(found.summary_) != len(self._targets):
            raise DataError(f"target_scaler knows {len(found.summary_)} columns, and there are {len(self._targets)}")
        maps = _Known.of(found, list(found.summary_) if named else self._targets).maps
        return found, [maps.get(name, AffineMap()) for name in self._targets]

    def inverse_target(self, y: ArrayLike) -> np.ndarray:
        """Targets, or what a model predicts for them, in the units of the source.

        Parameters
        ----------
        y : array-like of shape (n,), (n, 1) or (n, targets)

        Returns
        -------
        ndarray of float64, of the same shape

        Examples
        --------
        >>> import numpy as np, streamnorm as sn
        >>> windows = sn.Windows(np.arange(10.0), length=3, split=0.6)
        >>> windows.inverse_target(windows.validation.arrays()[1]).round(3)
        array([9.])
        """
        values = np.array(y, dtype=np.float64)
        maps = self._maps
        rows = values.reshape(-1, 1) if len(maps) == 1 else values
        if rows.ndim < 1 or rows.shape[-1] != len(maps):
            raise ValueError(f"y has shape {values.shape}, and there are {len(maps)} targets")
        for j, m in enumerate(maps):
            rows[..., j] = (rows[..., j] - m.offset) * m.scale + m.center
        return values


@dataclass(frozen=True)
class _Known:
    """A fitted scaler by the columns of the source: its maps, and what it has seen of them."""

    scaler: BaseScaler | None
    maps: dict[Any, AffineMap]
    columns: dict[Any, Any]

    @classmethod
    def of(cls, scaler: BaseScaler | None, names: list[Any]) -> _Known:
        """`names`: what the source calls the scaler's columns, in its order; or more, if it has the same names."""
        if scaler is None:
            return cls(None, {}, {})
        if scaler.summary_.named and set(scaler.summary_) <= set(names):
            names = list(scaler.summary_)
        return cls(
            scaler,
            dict(zip(names, scaler._plain_maps().values(), strict=True)),
            dict(zip(names, scaler.summary_.values(), strict=True)),
        )


def _is_fitted(scaler: Any) -> bool:
    return isinstance(scaler, BaseScaler) and scaler.__sklearn_is_fitted__()


def _features(known: _Known, names: list[Any], impute: bool) -> FeatureMap:
    """How the inputs become numbers; a missing one stays NaN without `impute`."""
    made = FeatureMap(None, names, keep_missing=True)
    made.maps = {name: known.maps.get(name, AffineMap()) for name in names}
    if impute:
        unknown = [name for name in names if name not in known.columns]
        if unknown:
            raise ValueError(f"impute needs a scaler that knows every input, but for {unknown}")
        made.impute = True
        made.fills = {name: _center(known.columns[name], made.maps[name]) for name in names}
    made._finish()
    return made


def _opened(source: Any, time: Any) -> BatchSource:
    """A source of rows; what has one dimension is a column."""
    if is_frame(source, "pandas") and time is not None and time not in source.columns and source.index.name == time:
        source = source.reset_index()
    if isinstance(source, pa.Array | pa.ChunkedArray) or type(source).__name__ == "Series":
        source = np.asarray(source)
    if isinstance(source, np.ndarray) and source.ndim == 1:
        source = source[:, None]
    elif isinstance(source, list | tuple) and source and isinstance(source[0], int | float):
        source = np.asarray(source)[:, None]
    return open_source(source)


def _stored(rows: Labelled, names: list[Any], schema: pa.Schema | None) -> Any:
    """Rows of a chunk as a record batch, or as an array where columns have no names."""
    arrays, at = rows.chunk.arrays, rows.at
    if schema is None:
        return np.column_stack([array[at] for array in arrays])
    kept = pa.schema([schema.field(name) for name in names])
    batch = pa.RecordBatch.from_arrays(arrays, schema=kept)
    if isinstance(at, slice):
        return batch.slice(at.start, at.stop - at.start)
    numbers = pa.Array.from_buffers(pa.int64(), len(at), [None, pa.py_buffer(np.ascontiguousarray(at))])
    return batch.take(numbers)
