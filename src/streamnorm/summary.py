"""Summaries: what is known about each column, by name, and the merge of two of them.

Design: a :class:`ColumnSummary` holds the live statistics of the kernel, not a copy of the figures, so that a
stream that goes on continues where it stopped, with the same bits as if it had never been cut. The figures
are computed when asked for. Turned down: a frozen record of numbers, which cannot be fed again.
"""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ._core import ColumnStats
from .certificates import CONFIDENCE, certify, exactly
from .errors import NotMergeableError, StatisticNotCollected
from .ledger import CountedFile, FoldedFiles, Ledger

__all__ = ["FIT_AT_ONCE", "ColumnSummary", "Summary", "near_matches"]

GIVEN = "its scaler was made from given statistics, without data"
FIT_AT_ONCE = "no state smaller than the data can; fit over all sources at once, or without exact=True"


def near_matches(name: object, known: Iterable[object]) -> str:
    """A hint for a message: the known names that resemble this one, or the first few of them."""
    names = [str(other) for other in known]
    close = difflib.get_close_matches(str(name), names, n=3)
    if close:
        return "did you mean " + " or ".join(repr(other) for other in close) + "?"
    if not names:
        return "there are none"
    return "there are " + ", ".join(repr(other) for other in names[:8]) + (", ..." if len(names) > 8 else "")


class ColumnSummary:
    """The statistics of one column.

    Nulls and NaN are counted and otherwise left out. What the method did not collect raises
    :class:`~streamnorm.errors.StatisticNotCollected`.

    Attributes
    ----------
    count : int
        Number of values that are neither null nor NaN.
    null_count, nan_count : int
        Numbers of nulls and of NaN. Unnamed arrays have no nulls. ``count``, ``nan_count`` and ``weight`` of floats may
        be unknown where the footer of a Parquet file was all that was read, and then raise
        :class:`~streamnorm.errors.StatisticNotCollected`.
    weight : float
        Sum of the weights of the values; the count, where rows came without weights.
    mean : float
        NaN if count is 0.
    min, max : float, int, decimal.Decimal or None
        Of the column's own kind; None without values. Not known after a subtraction, or
        where another system did not keep them.
    given : (float, float) or None
        The mean and the scale of a scaler that was made from them, without data: then there are no statistics.
    lists : int or None
        Of a column of lists, all of whose values have one statistic: number of rows. The counts are of values then.
    rank_error : float
        Bound on the error of a quantile's rank, as a fraction of the values (with weights, of their sum), for one query
        at 99 % confidence; 0 while the sketch still holds every value, and where quantiles are exact.
    """

    __slots__ = ("given", "lists", "name", "quantiles", "stats")

    def __init__(
        self,
        name: str | int,
        stats: ColumnStats,
        quantiles: Mapping[float, float] | None = None,
        given: tuple[float, float] | None = None,
        lists: int | None = None,
    ) -> None:
        self.name = name
        self.stats = stats
        self.quantiles = None if quantiles is None else dict(quantiles)
        self.given = given
        self.lists = lists

    @property
    def rows(self) -> int:
        """Number of rows seen, nulls and NaN included."""
        return self.stats.rows if self.lists is None else self.lists

    @property
    def has_values(self) -> bool:
        """Whether there is a value that is neither null nor NaN."""
        return self.stats.min is not None if self.stats.has_extrema else self.count > 0

    @property
    def count(self) -> int:
        return self._counted(self.stats.count, "count of values")

    @property
    def null_count(self) -> int:
        return self.stats.null_count

    @property
    def nan_count(self) -> int:
        return self._counted(self.stats.nan_count, "number of NaN")

    @property
    def weight(self) -> float:
        return self._counted(self.stats.weight, "sum of the weights")

    @property
    def left_out(self) -> int:
        """Number of rows whose weight is zero or missing; they count in rows and nowhere else."""
        return self.stats.left_out

    @property
    def mean(self) -> float:
        return self._moments("mean").mean

    def var(self, ddof: int = 0) -> float:
        """The variance, with count - ddof (with weights: their sum - ddof) in the denominator; NaN if that is not
        positive."""
        return self._moments("variance").var(ddof)

    def std(self, ddof: int = 0) -> float:
        """The standard deviation, the square root of :meth:`var`."""
        return self._moments("standard deviation").std(ddof)

    @property
    def min(self) -> Any:
        return self._extrema("minimum").min

    @property
    def max(self) -> Any:
        return self._extrema("maximum").max

    def quantile(self, q: Any) -> Any:
        """The quantile for a number or an array q in [0, 1].

        That of NumPy while the sketch holds every value: interpolated linearly, or with weights by the method
        "inverted_cdf". After that, one of the values, whose rank may be off; :meth:`certificate` says how far. With
        ``exact=True`` that of NumPy again, of which those that the scaler needs are known, and the extrema; others
        raise :class:`~streamnorm.errors.StatisticNotCollected`.
        """
        if self.quantiles is None:
            return self._sketch().quantile(q)
        wanted = np.asarray(q, dtype=np.float64)
        found = np.array([self._exact_quantile(one) for one in wanted.ravel().tolist()]).reshape(wanted.shape)
        return found if wanted.ndim else float(found)

    def _exact_quantile(self, q: float) -> float:
        assert self.quantiles is not None
        known: dict[float, Any] = {0.0: self.min, 1.0: self.max, **self.quantiles}
        if q not in known:
            raise StatisticNotCollected(
                f"the exact quantiles of column {self.name!r} are known for {sorted(known)}, not for {q}: "
                "name it in quantile_range, or fit without exact=True"
            )
        return math.nan if known[q] is None else float(known[q])

    @property
    def rank_error(self) -> float:
        return 0.0 if self.quantiles is not None else self._sketch().rank_error

    def certificate(self, q: Any, confidence: float = CONFIDENCE) -> Any:
        """The quantile with the intervals that it is sure to lie in.

        Parameters
        ----------
        q : float or sequence of float
            Ranks in [0, 1].
        confidence : float, default 0.99
            Of each interval by itself, above 0 and at most 1; 1: whatever the seed.

        Returns
        -------
        Certificate, or list of Certificate
            As `q` is a number or a sequence: ``q value low high value_low value_high confidence exact``.

        Raises
        ------
        StatisticNotCollected
            If there are no quantiles.
        ValueError
            If `q` or `confidence` is out of its domain.
        """
        single = np.ndim(q) == 0
        ranks = [float(each) for each in ([q] if single else q)]
        if self.quantiles is None:
            certificates = certify(self._sketch(), ranks, confidence)
        else:
            certificates = [exactly(each, self.quantile(each), confidence) for each in ranks]
        return certificates[0] if single else certificates

    def copy(self) -> "ColumnSummary":
        """A summary of its own, that goes on independently."""
        return ColumnSummary(self.name, self.stats.copy(), self.quantiles, self.given, self.lists)

    def _counted(self, number: Any, what: str) -> Any:
        if number is None:
            raise StatisticNotCollected(
                f"no {what} of column {self.name!r}: it was fitted from a Parquet footer, which does not tell NaN from "
                "other values; fit a StandardScaler to have it"
            )
        return number

    def _moments(self, what: str) -> ColumnStats:
        if not self.stats.has_moments:
            raise self._not_collected(what, "StandardScaler")
        return self.stats

    def _extrema(self, what: str) -> ColumnStats:
        if not self.stats.has_extrema:
            raise StatisticNotCollected(
                f"no {what} of column {self.name!r}: another system did not keep it, or which one stays cannot be "
                "known after a subtraction, fit anew to have it"
            )
        return self.stats

    def _sketch(self) -> Any:
        if not self.stats.has_sketch:
            raise self._not_collected("quantiles", "RobustScaler")
        return self.stats.sketch

    def _not_collected(self, what: str, scaler: str) -> StatisticNotCollected:
        if self.given is not None:
            return StatisticNotCollected(f"no {what} of column {self.name!r}: {GIVEN}; fit one to have it")
        return StatisticNotCollected(
            f"no {what} of column {self.name!r}: its method does not collect that, fit a {scaler} to have it"
        )

    def __repr__(self) -> str:
        if self.given is not None:
            return f"ColumnSummary({self.name!r}: given mean={self.given[0]:.6g}, scale={self.given[1]:.6g})"
        counts = {name: getattr(self.stats, name) for name in ("count", "null_count", "nan_count")}
        fields = [f"{name}={'?' if number is None else number}" for name, number in counts.items() if number != 0]
        if self.stats.weighted and self.stats.weight is not None:
            fields += [f"weight={self.stats.weight:.6g}"]
        if self.stats.has_moments:
            fields += [f"mean={self.mean:.6g}", f"std={self.std():.6g}"]
        if self.stats.has_extrema:
            fields += [f"min={_short(self.min)}", f"max={_short(self.max)}"]
        if self.quantiles is not None:
            fields += [f"q{100 * q:.4g}={value:.6g}" for q, value in self.quantiles.items()]
        elif self.stats.has_sketch:
            fields += [f"median={self.quantile(0.5):.6g}", f"rank_error={self.rank_error:.2g}"]
        return f"ColumnSummary({self.name!r}: {', '.join(fields)})"


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class Summary(Mapping):
    """The statistics of a table: an ordered mapping from column to :class:`ColumnSummary`.

    Keys are column names, or 0 to d - 1 for an array whose columns have none.

    Parameters
    ----------
    columns : mapping of str or int to ColumnStats
        The statistics, in the order of the columns; they are held, not copied.
    quantiles : mapping of str or int to mapping of float to float, optional
        Exact quantiles, of the columns that have them.
    given : mapping of str or int to (float, float), optional
        Mean and scale of the columns that have no statistics.
    lists : mapping of str to int, optional
        Rows of the columns of lists, all of whose values have one statistic.
    passes : int
        See below.
    source : mapping of str or int to str, optional
        See below.
    files : Ledger or iterable of CountedFile
        The files whose rows are counted in them.

    Attributes
    ----------
    passes : int
        How often the data was read: 1; 0 where the footers told all; for exact quantiles 2 as a rule, and at most 6.
        Of a merge, the most of its parts; 1 after a load.
    source : dict of str or int to str
        Where each column's statistics came from. "footer": from the footers of Parquet files alone; "scan": from their
        data, with a reason where the footers could have done ("scan: trips.parquet row group 3 has no statistics");
        "data": from what was in memory. After merges, several of these, with a semicolon between. Not saved: a state
        that was read has none, and is "state" in what it is merged with.
    files : Ledger
        The files that were counted, in the order of their paths, each with ``path size footer rows``; data in memory
        leaves no trace in it.

    Examples
    --------
    >>> from streamnorm._core import ColumnStats
    >>> import numpy as np
    >>> a = Summary({"fare": ColumnStats().update(np.array([1.0, 2.0]))})
    >>> b = Summary({"fare": ColumnStats().update(np.array([6.0, np.nan]))})
    >>> a.merge(b)["fare"].mean
    3.0
    >>> a["fare"].nan_count
    1
    """

    def __init__(
        self,
        columns: Mapping[str | int, ColumnStats] | None = None,
        *,
        quantiles: Mapping[str | int, Mapping[float, float]] | None = None,
        given: Mapping[str | int, tuple[float, float]] | None = None,
        passes: int = 1,
        source: Mapping[Any, str] | None = None,
        files: Iterable[CountedFile] = (),
        lists: Mapping[Any, int] | None = None,
    ) -> None:
        known, made, of_lists = quantiles or {}, given or {}, lists or {}
        self._columns = {
            name: ColumnSummary(name, stats, known.get(name), made.get(name), of_lists.get(name))
            for name, stats in (columns or {}).items()
        }
        self.passes = passes
        self.source: dict[Any, str] = dict(source or {})
        self.files = files if isinstance(files, Ledger) else Ledger(files)

    def __getitem__(self, name: str | int) -> ColumnSummary:
        try:
            return self._columns[name]
        except KeyError:
            raise KeyError(
                f"no column {name!r} in this summary: {near_matches(name, self._columns)}"
            ) from None

    def __iter__(self) -> Iterator[str | int]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    @property
    def rows(self) -> int:
        """Number of rows seen, 0 without columns."""
        return max((column.rows for column in self.values()), default=0)

    @property
    def given(self) -> bool:
        """Whether it is of a scaler that was made from given statistics, without data."""
        return any(column.given is not None for column in self.values())

    @property
    def named(self) -> bool:
        """Whether the columns have names, rather than positions alone."""
        return any(isinstance(name, str) for name in self)

    def copy(self) -> "Summary":
        """A summary of its own, that goes on independently."""
        new = Summary(passes=self.passes, source=self.source, files=self.files)
        new._columns = {name: column.copy() for name, column in self.items()}
        return new

    def part(self, names: Iterable[str | int]) -> "Summary":
        """A summary of some of the columns, which are shared with this one."""
        new = Summary(passes=self.passes, files=self.files)
        new._columns = {name: self[name] for name in names}
        new.source = {name: self.source[name] for name in new if name in self.source}
        return new

    def note_source(self, text: str) -> None:
        """Say that statistics from there join those of every column."""
        self.source = {name: _joined_sources(self.source.get(name), text) for name in self}

    def merge(self, other: "Summary", *, recount: bool = False) -> "Summary":
        """Take in what another summary has seen, in place, column by column; the order of columns stays.

        A summary without columns is the neutral element: merging one changes nothing. If the merge fails,
        this summary is as it was.

        Parameters
        ----------
        other : Summary
            Of the same columns, in any order; left alone.
        recount : bool, default False
            Count files again that both have counted.

        Returns
        -------
        Summary
            Itself.

        Raises
        ------
        NotMergeableError
            If the columns differ, a column's statistics were collected in another way, or both have counted the
            same file.
        """
        whole = self.copy()
        whole.absorb(other, recount=recount)
        self.__dict__.update(whole.__dict__)
        return self

    def absorb(self, other: "Summary", *, recount: bool = False) -> None:
        """`merge` without copies of the columns, which may be merged in part if it fails."""
        if not other:
            return
        if not self:
            self.__dict__.update(other.copy().__dict__)
            return
        self._check_same_columns(other)
        if not recount:
            self.files.check_disjoint(other.files)
        for name, column in self.items():
            _absorb(column, other[name])
        self.files += other.files
        self.passes = max(self.passes, other.passes)
        known = [name for name in self if name in self.source or name in other.source]
        self.source = {name: _joined_sources(self.source.get(name), other.source.get(name)) for name in known}

    def subtract(self, other: "Summary") -> "Summary":
        """Take out what another summary has seen, in place; if that fails, this summary is as it was.

        Parameters
        ----------
        other : Summary
            Of the same columns, in any order; left alone.

        Returns
        -------
        Summary
            Itself.

        Raises
        ------
        NotMergeableError
            If the columns differ, a column's statistics are not exact, or the other is no part of this one.
        """
        self._check_same_columns(other)
        try:
            # Of a state that was fitted in memory nobody knows that the files are not in it.
            files = self.files.without(other.files) if self.files else self.files
        except KeyError as error:
            [file] = error.args
            raise NotMergeableError(f"{_file_name(file)} was not counted: subtract parts of what was counted") from None
        rest = {name: _rest(column, other[name]) for name, column in self.items()}
        lists = {name: _rows_of_lists(column, other[name], -1) for name, column in self.items()}
        self._columns = {name: ColumnSummary(name, stats, lists=lists[name]) for name, stats in rest.items()}
        self.files = files
        return self

    def _check_same_columns(self, other: "Summary") -> None:
        only_here = [name for name in self if name not in other]
        only_there = [name for name in other if name not in self]
        if only_here or only_there:
            raise NotMergeableError(
                f"summaries of different columns cannot be merged (only here: {_list(only_here)}; "
                f"only in the other: {_list(only_there)}): fit both on the same columns"
            )

    def __arrow_c_schema__(self) -> Any:
        """The schema of `__arrow_c_stream__`."""
        from .summary_table import SCHEMA  # pyarrow, which nothing else here needs

        return SCHEMA.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The statistics as a table, by the Arrow PyCapsule interface: one row for each column.

        Its columns are ``column rows count null_count nan_count weight mean std var min max q25 median q75 rank_error
        given_mean given_scale source``; what was not collected is null, and extrema are float64.
        """
        from .summary_table import summary_table

        return summary_table(self).__arrow_c_stream__(requested_schema)

    def _repr_html_(self) -> str:
        """The columns as a table for notebooks, with a small histogram of those that have quantiles."""
        from .report.small import summary_html

        return summary_html(self)

    def __repr__(self) -> str:
        shown = [f"  {column!r}" for column in list(self.values())[:20]]
        if len(self) > len(shown):
            shown.append(f"  ... and {len(self) - len(shown)} more")
        return "\n".join([f"Summary of {self.rows} rows, {len(self)} columns", *shown])


def _list(names: list[Any]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return (shown + ", ..." if len(names) > 8 else shown) or "none"


def _joined_sources(mine: str | None, theirs: str | None) -> str:
    """Both texts, with one of each kind, the first that gives a reason; "state" for what was read from a file.

    >>> _joined_sources("footer", "scan: a.parquet row group 3 has no statistics; data")
    'footer; scan: a.parquet row group 3 has no statistics; data'
    >>> _joined_sources("scan; data", "scan: b.parquet has no statistics")
    'scan: b.parquet has no statistics; data'
    """
    if mine is not None and mine == theirs:
        return mine
    kinds: dict[str, str] = {}
    for part in "; ".join(text or "state" for text in (mine, theirs)).split("; "):
        kind = part.partition(":")[0]
        if kinds.get(kind) in (None, kind):
            kinds[kind] = part
    return "; ".join(kinds.values())


def _file_name(file: CountedFile | FoldedFiles) -> str:
    if isinstance(file, FoldedFiles):
        return f"a set of {file.files:,} files"
    return file.path or f"a file of {file.size:,} bytes and {file.rows:,} rows"


def _rest(whole: ColumnSummary, part: ColumnSummary) -> ColumnStats:
    """The statistics of what is in one and not in the other, new."""
    why = _why_inexact(whole) or _why_inexact(part)
    if why:
        raise NotMergeableError(f"nothing can be subtracted from column {whole.name!r}: {why}")
    try:
        return whole.stats.copy().subtract(part.stats)
    except ValueError as error:
        raise NotMergeableError(f"column {whole.name!r} cannot be subtracted: {error}") from error


def _why_inexact(column: ColumnSummary) -> str | None:
    stats = column.stats
    if column.given is not None:
        return f"{GIVEN}; fit one over what stays"
    if column.quantiles is not None:
        return "its exact quantiles say nothing of the other values; fit anew over what stays"
    if stats.has_sketch:
        return "its quantiles come from a sketch, which forgets single values; fit anew over what stays"
    if not stats.has_moments:
        return "the next smaller or larger value after its extrema is not kept; fit anew over what stays"
    if not stats.exact:
        return "its moments are rounded; fit with exact=True, whose sums can be subtracted, or fit anew over what stays"
    return None


def _absorb(mine: ColumnSummary, theirs: ColumnSummary) -> None:
    a, b = mine.stats, theirs.stats
    if mine.given is not None or theirs.given is not None:
        raise NotMergeableError(f"column {mine.name!r} cannot be merged: {GIVEN}; fit one over the data")
    if mine.quantiles is not None or theirs.quantiles is not None:
        raise NotMergeableError(f"the exact quantiles of column {mine.name!r} cannot be merged: {FIT_AT_ONCE}")
    if (a.has_moments, a.has_sketch) != (b.has_moments, b.has_sketch):
        raise NotMergeableError(
            f"column {mine.name!r} was summarized in two ways that cannot be merged: fit both with the same method"
        )
    lists = _rows_of_lists(mine, theirs, 1)
    try:
        a.merge(b)
    except (TypeError, ValueError) as error:
        raise NotMergeableError(f"column {mine.name!r} cannot be merged: {error}") from error
    mine.lists = lists


def _rows_of_lists(mine: ColumnSummary, theirs: ColumnSummary, sign: int) -> int | None:
    """The rows of both, or of one without the other, where one has lists."""
    return None if mine.lists is None and theirs.lists is None else mine.rows + sign * theirs.rows
