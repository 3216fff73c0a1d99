"""What all scalers share: what a child has to say, and the fit of arrays and tables.

Design: a fit that fails leaves the scaler as it was. New data goes to a copy of the statistics, which takes
the place of the old ones at the end; a copy costs a few microseconds a column.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa

from .. import doubts
from .._core import ColumnStats, Selection, update_matrix
from .._sketch import Weights
from ..errors import BadRow, DataError
from ..memory import RANK_ERROR, parse_memory
from ..quantiles import refined
from ..summary import ColumnSummary, Summary
from . import _queries
from ._frames import Frame, as_frame, parts
from ._inputs import as_matrix, is_rereadable, kind_of
from ._merge import Merges
from ._nested import feed, leaf, numbers_of, positions_of
from ._paths import (
    EACH,
    Place,
    check_features,
    check_whole_lists,
    expanded,
    is_list,
    places_in,
    select_features,
    storage_type,
)
from ._routing import PartialFit, Routing, watched
from ._select import as_names, check_numeric, finite_chunk, finite_values, numeric_chunk
from ._transform import AffineMap, Transforms
from ._weights import RowWeights, schema_without

Progress = Callable[[int, int | None, int], None]
Columns = str | Sequence[str] | None


class BaseScaler(Transforms, Merges, Routing, ABC):
    """The parent of all scalers. A child says which statistics it needs and what it makes of them."""

    feature_names_in_: np.ndarray
    _extrema_suffice = False  # whether a column's minimum and maximum are all that its map depends on
    _takes_given = False  # whether a column may have two given numbers in place of statistics
    _takes_lists = False  # whether it maps whole lists, not numbers

    @abstractmethod
    def _check_params(self) -> None:
        """Raise ValueError if a parameter is out of its domain."""

    @abstractmethod
    def _as_exact(self) -> Self:
        """This scaler if its statistics are exact, or one with the methods that are names made exact.

        Raises ValueError where that would change the parameters of somebody's scaler.
        """

    @abstractmethod
    def _new_stats(self, name: str | int, seed: int = 0, error: float = RANK_ERROR) -> ColumnStats:
        """Empty statistics with the kernels that this column needs; a sketch, if it needs one, of this rank error.

        Parts that merge want different seeds.
        """

    def _exact_quantiles(self, name: str | int) -> tuple[float, ...]:
        """The quantiles of a column that further passes are to find; none for most."""
        return ()

    def _rereads(self) -> bool:
        """Whether a fit may read the data more than once."""
        return False

    @abstractmethod
    def _attributes(self, summary: Summary) -> dict[str, Any]:
        """The fitted attributes, by name."""

    @abstractmethod
    def _all_maps(self) -> dict[str | int, AffineMap]:
        """The affine map of each normalized column, from the fitted attributes."""

    def _maps(self) -> dict[str | int, AffineMap]:
        """These maps, for use: DataError if a column is constant where that is an error."""
        self._check_fitted()
        self._check_spread()
        return self._all_maps()

    def _plain_maps(self) -> dict[str | int, AffineMap]:
        """These maps, for what can do no more than compute them: DataError if infinite values are to become null."""
        maps = self._maps()
        for name, m in maps.items():
            if m.blank:
                raise DataError(
                    f"column {name!r} has the rule infinite='null', which only transform and normalize go by: fit with "
                    "infinite='ignore' for this",
                    column=name,
                )
        return maps

    @abstractmethod
    def _check_spread(self) -> None:
        """Raise DataError if a column is constant where that is an error."""

    def _methods(self, schema_columns: Mapping[Any, pa.DataType]) -> dict[Any, "BaseScaler"]:
        """Which of these columns are normalized, and by which elementary scaler."""
        return dict.fromkeys(schema_columns, self)

    def _plan(self, schema: pa.Schema, columns: Columns = None, exclude: Columns = None) -> list[str]:
        """The columns of a table that are fitted, in the order of its schema."""
        names = select_features(schema, columns, exclude)
        if self._takes_lists:
            check_whole_lists(schema, [name for name in names if name.endswith(EACH)])
        return names

    def _plan_weighted(
        self, schema: pa.Schema, columns: Columns, exclude: Columns, weight: str | None
    ) -> list[str]:
        """:meth:`_plan` for a table of which one column, if `weight` is not None, holds the weights of the rows."""
        left_out = [name for name in as_names(exclude) or [] if name != weight]
        return self._plan(schema_without(schema, weight, self._named(columns)), columns, left_out or None)

    def _named(self, columns: Columns) -> set[str]:
        """The columns that are normalized because they were named."""
        return set(as_names(columns) or ())

    def _check_weighable(self) -> None:
        """Raise DataError if this scaler's statistics cannot have weights."""
        if getattr(self, "exact", False):
            raise DataError(
                f"{type(self).__name__}(exact=True) does not weigh rows: leave sample_weight out, repeat rows, or use "
                "exact=False"
            )

    def _plan_array(self, d: int) -> list[int]:
        return list(self._methods(dict.fromkeys(range(d), pa.float64())))

    @watched
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        columns: Columns = None,
        exclude: Columns = None,
        memory: str | int = "256MB",
        threads: int | None = None,
        progress: Progress | None = None,
        format: str | None = None,
        where: str | None = None,
        types: Mapping[str, Any] | None = None,
        filesystem: Any = None,
    ) -> Self:
        """Compute the statistics of X, forgetting what was seen before.

        Parameters
        ----------
        X : data
            An array-like or a tensor of shape (n_samples, n_features); a pyarrow Table or RecordBatch, a pandas or
            polars frame, or anything with ``__arrow_c_stream__``; a query, which is run in batches: a polars
            LazyFrame, a DuckDB relation, a pyarrow Dataset or Scanner; one column by itself: a Series or an Arrow
            array; an iterator or list of those; or files (Parquet, Arrow IPC, CSV, JSON lines): a path, a list of
            paths, a glob, a folder. Nulls and NaN are left out. pandas' NaN count as nulls. Exact quantiles need data
            that can be read again, so no iterator or reader.
        y : None
            Ignored, as in scikit-learn.
        sample_weight : array-like of shape (n_samples,), str, or None
            How much each row counts, or the name of the column that says it, which is then not normalized
            unless it is named in `columns`. A row whose weight is zero or missing (null or NaN) is left out: it
            counts in ``summary_.rows`` and in no statistic of any column. Variances divide by the sum of the
            weights, less ddof; quantiles are those of the inverse of the distribution function,
            ``numpy.quantile(..., weights=w, method="inverted_cdf")``; minima and maxima only ask whether a weight is
            zero. Rows seen without weights have weight 1. Files take a name.
        columns, exclude : str, sequence of str, or None
            For named columns: which to normalize (None: every integer, float and decimal column; booleans,
            dictionaries, dates and lists only when named), and which to leave out. ``"pos.x"`` is a field of a struct,
            ``"vector"`` a column of lists, all of whose values have one statistic, ``"vector[*]"`` each position of
            them, as features ``vector[0]`` and so on; a column that has that very name comes first.
        memory : str or int, default "256MB"
            Bound of buffers and sketches while files are read, and of what exact quantiles keep.
        threads : int or None
            Number of threads that read files; None: one a core. The result does not depend on it.
        progress : callable or None
            Called with rows done, rows in all (or None) and bytes done. Rows of files count once for each pass.
        format : {"parquet", "arrow", "arrows", "csv", "tsv", "jsonl"} or None
            Of files; None: by their names.
        where : str or None
            Which rows: a condition such as ``"distance > 500 and zone in ('a', 'b')"``, as after SQL's WHERE.
        types : mapping of str to str or pyarrow.DataType, or None
            Of columns of CSV and JSON lines, which are inferred otherwise.
        filesystem : pyarrow.fs.FileSystem, fsspec file system or None
            Where files lie that are not given by URI (``s3://bucket/trips.parquet``); None: on this machine.

        Returns
        -------
        self

        Warns
        -----
        StreamnormWarning
            Once for each kind of doubt about some columns: without a value, constant, with more digits than a
            double holds, with a mean that is large beside the standard deviation, with a larger rank error.

        Raises
        ------
        DataError
            If X is empty, holds an infinity or something other than numbers, or lacks a column; if a weight is
            negative or infinite, or none is positive; if weights come with exact=True; if exact quantiles need more
            passes than X allows for.
        ValueError
            If a parameter of the scaler is out of its domain.
        """
        before = dict(self.__dict__)
        self._fit(
            X,
            sample_weight,
            reset=True,
            columns=columns,
            exclude=exclude,
            progress=progress,
            memory=memory,
            threads=threads,
            given=dict(format=format, where=where, types=types, filesystem=filesystem),
        )
        try:
            self._check_done()
        except DataError:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self._telling(before, doubts.tell)

    def _check_done(self) -> None:
        """Raise DataError for what a whole fit must not end in, while a part of one may."""
        self._check_some_weight()
        self._check_spread()

    def _check_some_weight(self) -> None:
        """Raise DataError if no row takes part. A batch of a stream may be like that; partial_fit does not ask."""
        if any(column.stats.left_out == column.rows for column in self.summary_.values()):
            name = type(self).__name__
            raise DataError(f"every weight is zero or missing, so that no row takes part: {name} needs at least one")

    @PartialFit
    @watched
    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        columns: Columns = None,
        exclude: Columns = None,
        memory: str | int = "256MB",
        threads: int | None = None,
        progress: Progress | None = None,
        recount: bool = False,
        format: str | None = None,
        where: str | None = None,
        types: Mapping[str, Any] | None = None,
        filesystem: Any = None,
    ) -> Self:
        """Add X to what was seen before.

        One stream gives the same bits however it is split. The first call chooses the columns, later ones
        must have them. A call that raises leaves the scaler as it was.

        Parameters
        ----------
        X, y, sample_weight, columns, exclude, memory, threads, progress, format, where, types, filesystem
            As for :meth:`fit`. The name of a column of weights is not remembered from call to call.
        recount : bool, default False
            Count files again that were counted before, or have changed since.

        Returns
        -------
        self

        Warns
        -----
        StreamnormWarning
            As for :meth:`fit`, of what is new and what more data cannot heal.

        Raises
        ------
        DataError
            As for :meth:`fit`, except that all rows of a batch may have no weight; and if a file was counted before,
            or has changed since.
        NotMergeableError
            If quantiles are exact, to which nothing can be added, or the scaler was made from given statistics. In the
            first case it is an AttributeError as well: ``hasattr(scaler, "partial_fit")`` is False.
        """
        self._check_params()
        self._refuse_merging("partial_fit adds to what was seen, and")
        before = dict(self.__dict__)
        self._fit(
            X,
            sample_weight,
            reset=not self.__sklearn_is_fitted__(),
            columns=columns,
            exclude=exclude,
            progress=progress,
            memory=memory,
            threads=threads,
            recount=recount,
            given=dict(format=format, where=where, types=types, filesystem=filesystem),
        )
        return self._telling(before, doubts.tell_what_is_new, before.get("summary_"))

    def _fit(
        self,
        X: Any,
        sample_weight: Any,
        *,
        reset: bool,
        columns: Columns,
        exclude: Columns,
        progress: Progress | None,
        given: Mapping[str, Any] | None = None,
        **reading: Any,
    ) -> Self:
        self._check_params()
        if sample_weight is not None:
            self._check_weighable()
        asked = {name: value for name, value in (given or {}).items() if value is not None}
        if kind_of(X) == "files" or asked:
            from .. import fitting

            fitting.fit_into(
                self,
                X,
                reset=reset,
                sample_weight=sample_weight,
                columns=columns,
                exclude=exclude,
                progress=progress,
                **reading,
                **asked,
            )
            return self
        rereads = self._rereads()
        if rereads and not is_rereadable(X):
            raise DataError(
                f"exact quantiles take more than one pass, and this {type(X).__name__} can be read only once: give a "
                "table, a list of batches or files, or let streamnorm.fit(..., spool=True) (--spool) keep it in a "
                "temporary file"
            )
        weights = RowWeights(sample_weight)
        if kind_of(X) == "query":
            X, columns, exclude = self._projected(X, reset, columns, exclude, weights.column)
        summary = Summary() if reset else self.summary_.copy()
        summary.note_source("data")
        bytes_done, before = 0, summary.rows
        for part in parts(X):
            summary, nbytes = self._feed(summary, part, columns, exclude, weights)
            bytes_done += nbytes
            if progress is not None:
                progress(summary.rows - before, _length(X), bytes_done)
        weights.check_all_used()
        if not summary:
            raise DataError(
                f"there are no rows and no columns to fit: {type(self).__name__} needs at least one row"
            )
        if rereads:
            summary = self._refined(summary, X, parse_memory(reading["memory"]))
        self._adopt(summary, named=summary.named)
        return self

    def _projected(
        self, X: Any, reset: bool, columns: Columns, exclude: Columns, weight: str | None
    ) -> tuple[Any, Columns, Columns]:
        """A query for the columns alone that are fitted, and of which it tells; with which of them to normalize."""
        schema = _queries.schema_of(X)
        if reset:
            columns, exclude = self._plan_weighted(schema, columns, exclude, weight), None
            names = columns
        else:
            names = self._names_in(self.summary_, as_frame(schema.empty_table()), weight)
        needed = _queries.columns_of(schema, names if weight is None else [*names, weight])
        return _queries.projected(X, needed), columns, exclude

    def _telling(self, before: dict[str, Any], tell: Callable[..., None], *arguments: Any) -> Self:
        """Warn of what the fit has found; all is as before if a filter makes an error of that."""
        try:
            tell(self, *arguments)
        except Warning:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def _feed(
        self, summary: Summary, part: Any, columns: Columns, exclude: Columns, weights: RowWeights
    ) -> tuple[Summary, int]:
        """Give one table or array to the statistics; the first one founds them."""
        if isinstance(part, Frame):
            if part.unnamed and not (columns is None and exclude is None):
                raise DataError("columns= and exclude= need named columns, and this one has no name")
            if not summary:
                if part.unnamed:
                    summary = self._found(self._plan_array(1))
                else:
                    names = self._plan_weighted(part.schema, columns, exclude, weights.column)
                    summary = self._found(expanded(part.schema, names, lambda place: _values_at(part, place)))
            self._feed_frame(summary, part, columns, exclude, weights)
            return summary, part.nbytes
        if columns is not None or exclude is not None:
            raise DataError(
                "columns= and exclude= need named columns: pass a table or a frame, or slice the array"
            )
        matrix = as_matrix(part, type(self).__name__)
        if not summary:
            if len(matrix) == 0:
                raise DataError(
                    f"Found array with 0 sample(s) (shape={matrix.shape}) while a minimum of 1 is "
                    "required by "
                    f"{type(self).__name__}."
                )
            summary = self._found(self._plan_array(matrix.shape[1]))
        positions = self._positions(summary, matrix.shape[1])
        stats = [column.stats for column in summary.values()]
        whole = positions == list(range(matrix.shape[1]))
        update_matrix(stats, matrix if whole else matrix[:, positions], weights.of_matrix(len(matrix)))
        return summary, matrix.nbytes

    def _refined(self, summary: Summary, X: Any, memory: int) -> Summary:
        """The summary with exact quantiles, from further passes over data in memory."""

        def read(selections: Mapping[str | int, Selection]) -> None:
            for part in parts(X):
                self._select(selections, summary, part)

        return refined(summary, self._exact_quantiles, read, memory=memory // 3, threads=0)

    def _select(self, selections: Mapping[str | int, Selection], summary: Summary, part: Any) -> None:
        """Give one table or array to selections of some of the summary's columns."""
        if isinstance(part, Frame):
            for place, keys in self._places_in(summary, part):
                for values in _values_at(part, place) if any(key in selections for key in keys) else ():
                    if place.each:
                        arrays = positions_of(values, place, len(keys))
                        columns = arrays.T if isinstance(arrays, np.ndarray) else arrays
                        for key, column in zip(keys, columns, strict=True):
                            if key in selections:
                                selections[key].update(finite_values(column, summary[key]))
                    else:
                        selections[keys[0]].update(finite_chunk(numbers_of(values), summary[keys[0]]))
            return
        matrix = as_matrix(part, type(self).__name__)
        for key, position in zip(summary, self._positions(summary, matrix.shape[1]), strict=True):
            if key in selections:
                values = matrix[:, position]
                if summary[key].stats.skips_infinite and values.dtype.kind == "f":
                    values = np.where(np.isinf(values), np.nan, values)
                selections[key].update(values)

    def _found(self, names: Sequence[str | int]) -> Summary:
        return Summary({name: self._new_stats(name) for name in names}, source=dict.fromkeys(names, "data"))

    def _feed_frame(
        self, summary: Summary, frame: Frame, columns: Columns, exclude: Columns, weights: RowWeights
    ) -> None:
        places = self._places_in(summary, frame, weights.column)
        names = [place.name for place, _ in places]
        wanted = as_names(columns)
        if wanted is not None and set(wanted).difference(as_names(exclude) or ()) - set(names):
            raise DataError(f"this scaler was fitted on the columns {names}: use the same ones, or fit anew")
        rows = weights.of_frame(frame)
        for place, keys in places:
            found, at = [summary[key] for key in keys], 0
            for chunk in frame.chunks(frame.names.index(place.column), fit=True):
                _update(found, chunk, place, None if rows is None else rows[at : at + len(chunk)], at)
                at += len(chunk)

    def _places_in(
        self, summary: Summary, frame: Frame, weight: str | None = None
    ) -> list[tuple[Place, list[str | int]]]:
        """Where the frame has the summary's columns: place by place, with the summary's keys for what is there."""
        names = self._names_in(summary, frame, weight)
        keys = dict(zip(names, summary, strict=True))
        return [(place, [keys[name] for name in features]) for place, features in places_in(frame.names, names)]

    def _names_in(self, summary: Summary, frame: Frame, weight: str | None = None) -> list[str]:
        """The frame's names of the summary's columns: the same, or by position if one of them has none."""
        if frame.unnamed:
            self._positions(summary, 1)
            return frame.names
        if summary.named:
            names = list(summary)
            _check_present(names, frame)
            return names
        names = self._plan_weighted(frame.schema, None, None, weight)
        if len(names) != len(summary):
            raise DataError(self._width_message(len(names), len(summary)))
        return names

    def _positions(self, summary: Summary, d: int) -> list[int]:
        """The columns of an array of width d that belong to the summary's columns."""
        if d != len(summary):
            raise DataError(self._width_message(d, len(summary)))
        return list(range(d))

    def _width_message(self, got: int, expected: int) -> str:
        return f"X has {got} features, but {type(self).__name__} is expecting {expected} features as input."

    def _adopt(self, summary: Summary, *, named: bool) -> None:
        """Take a finished summary and its fitted attributes; nothing changes if it cannot be used."""
        _check_summary(summary, type(self).__name__)
        before = dict(self.__dict__)
        try:
            with np.errstate(all="ignore"):
                fitted = self._attributes(summary)
            self.__dict__.update(fitted, summary_=summary, n_features_in_=len(summary))
            self.__dict__.pop("feature_names_in_", None)
            if named:
                self.feature_names_in_ = np.array(list(summary), dtype=object)
            self._check_maps()
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _check_maps(self) -> None:
        """Raise DataError where a column's own values overflow under its map."""
        zero = getattr(self, "constant", "zero") == "zero"  # a ColumnScaler's parts have been here by themselves
        for name, m in self._all_maps().items():
            column = self.summary_[name]
            if not isinstance(m, AffineMap) or not column.has_values or not column.stats.has_extrema:
                continue
            scale = 0.0 if zero else m.scale  # which is infinite where the column becomes 0
            reach = (float(column.min) - m.center, float(column.max) - m.center, scale)
            if not all(map(math.isfinite, reach)):
                raise DataError(
                    f"column {name!r} spans more than a float64 can hold (from {column.min} to "
                    f"{column.max}): "
                    f"divide it by a constant first",
                    column=name,
                )


def _length(X: Any) -> int | None:
    """The number of rows, if it is known beforehand."""
    if kind_of(X) == "query":
        return None
    rows = getattr(X, "num_rows", None)
    if rows is None:
        rows = len(X) if hasattr(X, "__len__") and kind_of(X) != "batches" else None
    return rows


def _check_present(names: Sequence[str], frame: Frame) -> None:
    """Each of the columns, once: the error of the schema's check says which is at fault."""
    if not all(frame.names.count(name) == 1 for name in names):
        check_features(frame.schema, names)


def _values_at(frame: Frame, place: Place) -> Iterator[pa.Array]:
    """What lies at a place of a frame's column, array by array."""
    for chunk in frame.chunks(frame.names.index(place.column), fit=True):
        yield leaf(chunk, place.fields)


def _check_summary(summary: Summary, scaler: str) -> None:
    if summary.rows == 0 and not summary.given:
        raise DataError(f"there are no rows to fit: {scaler} needs at least one")
    for name, column in summary.items():
        if column.stats.infinite_count and not column.stats.skips_infinite:
            raise DataError(
                f"column {name!r} holds {column.stats.infinite_count} infinite values: set them to "
                'null or filter them out first, or leave them out by infinite="null" or "ignore"',
                column=name,
            )


def _update(
    columns: Sequence[ColumnSummary], chunk: pa.Array, place: Place, weights: Weights | None, first_row: int
) -> None:
    """Give what lies at a place of one array to the columns' statistics."""
    kind = chunk.type
    try:
        if place.fields or place.each or is_list(storage_type(kind)):
            if feed([column.stats for column in columns], chunk, place, weights):
                columns[0].lists = (columns[0].lists or 0) + len(chunk)
        else:
            check_numeric(place.name, kind)
            columns[0].stats.update(numeric_chunk(chunk), weights)
    except BadRow as error:
        raise error.behind(first_row, place.name) from None
    except DataError as error:
        if error.column is not None:
            raise
        raise DataError(f"column {place.name!r}: {error}", column=place.name) from error
    except TypeError as error:
        raise DataError(f"column {place.name!r} changed its type: {error}", column=place.name) from None
