"""Descriptions: what one pass over data, or a saved state, says of each column."""

# Design: a description of data is made in one streaming pass, of what scalers would collect together (moments, extrema,
# a quantile sketch) and what tally.py adds. A description of a state has the same fields, with None for what that state
# does not know, so that whoever draws or judges one takes both. It is a record of figures, without the sketches
# themselves: it goes to JSON and comes back equal.

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

from .. import doubts
from ..doubts import Doubt
from ..fitting import DEFAULT_MEMORY
from ..scalers import BaseScaler
from ..scan import Progress
from ..state import _encode_float, _encode_int
from ..summary import ColumnSummary, near_matches
from .shape import Histogram, adjusted_outliers, bowley, histogram, quantiles_of, tail_weight, tukey_outliers

if TYPE_CHECKING:
    from .tally import Tally

FORMAT = 1
NAMED_FILES = 20  # of a description


@dataclass(frozen=True, kw_only=True)
class ColumnDescription:
    """One column in figures. What is not known, as much is not of a saved state, is None.

    Attributes
    ----------
    name : str or int
        An int is a position in an array whose columns have no names.
    type : str
        As Arrow writes it ("double", "timestamp[us]"); of a state "float", "int", "decimal", or "" where it has seen
        no values.
    count, null_count, nan_count, infinite_count : int
        Values (neither null nor NaN nor infinite), nulls, NaN and infinities. Those of lists count values.
    mean, std : float
        The standard deviation with ddof=0. Of a scaler that was made from given statistics, its center and scale.
    min, max : float, int, decimal.Decimal
        Of the column's own kind; dates and times as the whole numbers that they are stored as.
    quantiles : dict of float to float
        Of :data:`~streamnorm.report.shape.QUANTILES`; of a state with exact quantiles, those that it has; {} without.
    rank_error : float
        Bound on a quantile's rank, at 99 % confidence each; 0 where they are exact.
    histogram : Histogram
    skew : float
        m3 / m2**1.5; of data alone.
    quantile_skew : float
        Bowley's: ((q75 - q50) - (q50 - q25)) / (q75 - q25).
    medcouple : float
        The robust skewness of Brys, Hubert and Struyf, of 101 quantiles.
    tail_weight : float
        (q99 - q01) / (q75 - q25) over that of a normal distribution: 0.57 uniform, 1 normal, 9 Cauchy.
    zero_count : int
    outlier_count, outlier_error : int
        Values beyond Tukey's fences, 1.5 interquartile ranges outside of the quartiles, and by how much that is off at
        most.
    fences : (float, float)
        These fences.
    adjusted_outlier_count : int
        The same with the fences of Hubert and Vandervieren, which allow for skewness.
    distinct : int
        Different values: exact up to 1,024, then an estimate.
    distinct_error : float
        Relative standard error of that; 0 where it is exact.
    whole : bool
        Whether all values are whole numbers.
    monotone : "increasing", "decreasing" or None
        Whether no value is below, above the one before it, in the order of the rows. None also of states.
    constant : bool
        Whether there is no spread, relative to the size of the values.
    warnings : tuple of Doubt
        As a fit by mean and standard deviation tells them; each with ``code`` and ``text``.
    """

    name: str | int
    type: str
    count: int | None = None
    null_count: int | None = None
    nan_count: int | None = None
    infinite_count: int | None = None
    mean: float | None = None
    std: float | None = None
    min: Any = None
    max: Any = None
    quantiles: dict[float, float] = field(default_factory=dict)
    rank_error: float | None = None
    histogram: Histogram | None = None
    skew: float | None = None
    quantile_skew: float | None = None
    medcouple: float | None = None
    tail_weight: float | None = None
    zero_count: int | None = None
    outlier_count: int | None = None
    outlier_error: int | None = None
    fences: tuple[float, float] | None = None
    adjusted_outlier_count: int | None = None
    distinct: int | None = None
    distinct_error: float | None = None
    whole: bool | None = None
    monotone: str | None = None
    constant: bool | None = None
    warnings: tuple[Doubt, ...] = ()

    @property
    def rows(self) -> int | None:
        """Values, nulls, NaN and infinities together."""
        parts = (self.count, self.null_count, self.nan_count, self.infinite_count)
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is known about the columns of a source.

    Attributes
    ----------
    columns : tuple of ColumnDescription
        In the order of the source.
    rows : int
    files : tuple of str
        The first of the files that were read, by their names; none of data in memory.
    file_count : int
        How many there were.
    others : dict of str to str
        Columns that are not described, by name, with their types: text, lists, structs.
    digest : str
        A hash of the statistics, as :meth:`StandardScaler.digest`.
    of : "data" or "state"
        What it was made from.

    Examples
    --------
    >>> import pyarrow as pa
    >>> found = describe(pa.table({"fare": [2.0, 4.0, 9.0], "zone": ["a", "b", "a"]}))
    >>> fare = found["fare"]
    >>> fare.mean, fare.max, fare.distinct, fare.monotone
    (5.0, 9.0, 3, 'increasing')
    >>> found.others, Description.from_json(found.to_json()) == found
    ({'zone': 'string'}, True)
    """

    columns: tuple[ColumnDescription, ...]
    rows: int
    files: tuple[str, ...] = ()
    file_count: int = 0
    others: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    of: str = "data"

    def __getitem__(self, name: str | int) -> ColumnDescription:
        for column in self.columns:
            if column.name == name:
                return column
        names = [column.name for column in self.columns]
        raise KeyError(f"no column {name!r} in this description: {near_matches(name, names)}")

    def __iter__(self) -> Iterator[ColumnDescription]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    @classmethod
    def from_state(cls, state: BaseScaler | str | os.PathLike[str]) -> Self:
        """What a fitted scaler, or the file that it was saved to, knows of its columns.

        Raises
        ------
        StateError, DataError
            If the file holds no state.
        """
        from ..states import load_scaler

        scaler = state if isinstance(state, BaseScaler) else load_scaler(state)
        scaler._check_fitted()
        summary = scaler.summary_
        found = doubts.doubts(scaler)
        columns = tuple(
            described(column, column.stats.kind or "", tuple(found[name]))
            for name, column in summary.items()
        )
        named = tuple(os.path.basename(file.path) for file in summary.files if file.path)
        return cls(
            columns=columns,
            rows=summary.rows,
            files=named[:NAMED_FILES],
            file_count=summary.files.count,
            digest=scaler.digest(),
            of="state",
        )

    def to_json(self) -> str:
        """As RFC 8259 JSON; NaN, infinities, and decimals are strings, as in state files."""
        said = {"streamnorm_description": FORMAT, **_plain(self), "columns": [_plain(each) for each in self.columns]}
        return json.dumps(said, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The description that `to_json` wrote.

        Raises
        ------
        ValueError
            If it is none.
        """
        try:
            said = json.loads(text)
            version = said.pop("streamnorm_description")
            if version != FORMAT:
                raise ValueError(f"its format is {version}, and this version of streamnorm reads {FORMAT}")
            said["columns"] = tuple(_column_from(each) for each in said["columns"])
            said["files"] = tuple(said["files"])
            return cls(**said)
        except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"this is no description that streamnorm wrote ({error})") from error


def describe(
    source: Any,
    *,
    columns: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    where: str | None = None,
    format: str | None = None,
    types: Mapping[str, Any] | None = None,
    filesystem: Any = None,
    memory: str | int = DEFAULT_MEMORY,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Description:
    """Describe the columns of a source, in one pass and in bounded memory.

    Parameters
    ----------
    source : path, list of paths, glob, directory, or data
        As for :func:`~streamnorm.fit`.
    columns : str, sequence of str, or None
        None: every number, boolean, date and time. A column of lists, or a field of a struct, when it is named.
    exclude : str, sequence of str, or None
        Columns to leave out.
    where, format, types, filesystem, memory, threads, progress
        As for :func:`~streamnorm.fit`. The result has the same bits for any number of threads.

    Returns
    -------
    Description

    Raises
    ------
    DataError
        If a file, row group or column is at fault, or there is no column to describe.
    """
    from .measuring import measure

    reading: dict[str, Any] = dict(columns=columns, exclude=exclude, where=where, format=format, types=types)
    reading["filesystem"] = filesystem
    return measure(source, **reading, memory=memory, threads=threads, progress=progress)[0]




def described(
    column: ColumnSummary, kind: str, warnings: tuple[Doubt, ...], tally: Tally | None = None
) -> ColumnDescription:
    """The description of a column by its statistics, and by its tally if data were read."""
    if column.given is not None:
        return ColumnDescription(
            name=column.name, type=kind, mean=column.given[0], std=column.given[1], warnings=warnings
        )
    stats = column.stats
    said: dict[str, Any] = {
        "name": column.name,
        "type": kind,
        "count": stats.count,
        "null_count": stats.null_count,
        "nan_count": stats.nan_count,
        "infinite_count": stats.infinite_count,
        "warnings": warnings,
    }
    if stats.has_extrema:
        said |= {"min": stats.min, "max": stats.max}
    if stats.has_moments and stats.count:
        said |= {"mean": column.mean, "std": column.std()}
    if column.has_values:
        said["constant"] = any(doubt.code == "constant" for doubt in warnings)
        said |= _from_quantiles(column)
    if tally is not None:
        seen = tally.seen
        said["zero_count"] = seen.zero_count
        if column.has_values:
            distinct, said["distinct_error"] = tally.distinct()
            said["distinct"] = min(distinct, stats.count)
            said |= {"skew": seen.skew, "whole": seen.whole, "monotone": seen.monotone}
            said["histogram"] = histogram(stats.sketch, stats.min, stats.max, whole=seen.whole)
    return ColumnDescription(**said)


def _from_quantiles(column: ColumnSummary) -> dict[str, Any]:
    """What follows from the quantiles that are known."""
    stats = column.stats
    if column.quantiles is not None:
        known = dict(sorted(column.quantiles.items()))
        return {"quantiles": known, "rank_error": 0.0, "quantile_skew": bowley(known)}
    if not stats.has_sketch:
        return {}
    quantiles = quantiles_of(stats.sketch.quantile)
    said: dict[str, Any] = {"quantiles": quantiles, "rank_error": column.rank_error}
    said |= {"quantile_skew": bowley(quantiles), "tail_weight": tail_weight(quantiles)}
    if stats.weighted or not stats.has_extrema:  # ranks are of weights, and not of values that could be counted
        return said
    outliers, adjusted = tukey_outliers(stats.sketch), adjusted_outliers(stats.sketch)
    if outliers is not None and adjusted is not None:
        said |= {"outlier_count": outliers.count, "outlier_error": outliers.count_error}
        said |= {"fences": (outliers.low, outliers.high)}
        said |= {"medcouple": adjusted[0], "adjusted_outlier_count": adjusted[1].count}
    said["histogram"] = histogram(stats.sketch, float(stats.min), float(stats.max), whole=stats.kind == "int")
    return said


def _plain(record: Any) -> dict[str, Any]:
    """The fields of a record, as JSON has them."""
    return {entry.name: _jsonable(getattr(record, entry.name)) for entry in fields(record)}


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, dict):
        return {key if isinstance(key, str) else repr(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, Histogram | Doubt):
        return _plain(value)
    if isinstance(value, ColumnDescription):
        return None  # written by itself
    if isinstance(value, int):
        return _encode_int(value)
    return str(value) if isinstance(value, Decimal) else _encode_float(value)


_FLOATS = {"mean", "std", "rank_error", "skew", "quantile_skew", "medcouple", "tail_weight", "distinct_error"}


def _column_from(said: dict[str, Any]) -> ColumnDescription:
    """A column that `_plain` wrote."""
    known: dict[str, Any] = dict(said)
    known |= {key: float(said[key]) for key in _FLOATS if said[key] is not None}
    whole, decimal = _is_whole(said["type"]), said["type"].startswith("decimal")
    for key in ("min", "max"):
        if known.get(key) is not None:
            known[key] = (Decimal if decimal else int if whole else float)(known[key])
    known["quantiles"] = {float(key): float(value) for key, value in said["quantiles"].items()}
    if known["histogram"] is not None:
        parts = known["histogram"]
        edges, counts = tuple(map(float, parts["edges"])), tuple(map(int, parts["counts"]))
        known["histogram"] = Histogram(edges, counts, parts["counts_error"], (parts["tails"][0], parts["tails"][1]))
    if known["fences"] is not None:
        known["fences"] = (float(known["fences"][0]), float(known["fences"][1]))
    known["warnings"] = tuple(Doubt(**each) for each in known["warnings"])
    return ColumnDescription(**known)


def _is_whole(kind: str) -> bool:
    """Whether numbers of a type are ints, by its name."""
    inner = kind[kind.find("item: ") + 6 :] if "item: " in kind else kind  # of lists
    return not inner.startswith(("float", "double", "halffloat", "decimal"))
