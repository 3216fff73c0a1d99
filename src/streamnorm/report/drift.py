"""Drift: what has changed between two data sets, or between the states that were fitted on them."""

# Design: both sides are summaries, whether they were read from states or are collected now, so that last month's state
# can be held against today's data without last month's data. What one side does not know is not compared, and said so:
# a distance that was guessed would be believed. Where one side is a state, only its columns are read of the other.

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..errors import DataError, StateError
from ..fitting import DEFAULT_MEMORY
from ..formats import TEXT, format_by_name, is_pipe, listed
from ..locations import locate, placed
from ..masking import masked
from ..memory import MIN_MEMORY, parse_memory
from ..scalers import BaseScaler
from ..scalers._paths import each_of, place_of
from ..sources import is_file_source
from ..state import _encode_float
from ..states import is_arrow, is_parquet, is_state, load_scaler
from ..summary import ColumnSummary, Summary
from .measures import kolmogorov_smirnov, population_stability_index, shift_and_ratio
from .measuring import observe

if TYPE_CHECKING:
    from ..scan import Progress

MAX_PSI = 0.2  # Siddiqi (2006): above 0.25 has changed, 0.1 to 0.25 has changed a little
# What the others are where a normal column moves so far that its PSI is 0.2: 0.45 standard deviations.
MAX_KS = 0.18
MAX_SHIFT = 0.45
MAX_NULLS = 0.05  # of the rows


@dataclass(frozen=True, kw_only=True)
class ColumnDrift:
    """What has changed in one column. What one of the two sides does not know is None.

    Attributes
    ----------
    name : str or int
    status : {"both", "added", "removed", "type"}
        Of both sides; of the second, the first alone; or of both, in kinds of numbers that differ.
    type_a, type_b : str or None
        Arrow's, of data; "float", "int" or "decimal" of states.
    count_a, count_b : int or None
        Values.
    psi : float or None
        Population stability index, over the deciles of the first side.
    ks, ks_low, ks_high : float or None
        Kolmogorov-Smirnov distance, and the interval that it lies in at 99 % confidence, by the sketches' errors.
    shift : float or None
        How far the center has moved, in units of the first side's scale.
    ratio : float or None
        The second scale over the first; None also where the first is 0 and the second is not.
    by : str or None
        What center and scale are: "mean and std", "median and quartiles" (the range of these over 1.349), "range".
    nulls_a, nulls_b : float or None
        Shares of nulls and NaN.
    crossed : tuple of str
        The thresholds that it is past: "psi", "ks", "shift", "nulls"; and "removed", "type", and "empty" where one side
        has values and the other has none.
    """

    name: str | int
    status: str = "both"
    type_a: str | None = None
    type_b: str | None = None
    count_a: int | None = None
    count_b: int | None = None
    psi: float | None = None
    ks: float | None = None
    ks_low: float | None = None
    ks_high: float | None = None
    shift: float | None = None
    ratio: float | None = None
    by: str | None = None
    nulls_a: float | None = None
    nulls_b: float | None = None
    crossed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What has changed between two sides.

    Attributes
    ----------
    columns : tuple of ColumnDrift
        In the order of the first side, then what the second one has added.
    a, b : str
        What the sides are called.
    of_a, of_b : "data" or "state"
    rows_a, rows_b : int
    limits : dict of str to float
        The thresholds: psi, ks, shift, nulls.
    """

    columns: tuple[ColumnDrift, ...]
    a: str
    b: str
    of_a: str
    of_b: str
    rows_a: int
    rows_b: int
    limits: dict[str, float]

    @property
    def drifted(self) -> list[ColumnDrift]:
        """The columns that are past a threshold, were removed or emptied, or have changed their type."""
        return [column for column in self.columns if column.crossed]

    def __getitem__(self, name: str | int) -> ColumnDrift:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"no column {name!r} on either side")

    def __iter__(self) -> Iterator[ColumnDrift]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def table(self, width: int | None = None) -> str:
        """A line for each column, those that have drifted first.

        Parameters
        ----------
        width : int, optional
            Of the terminal: names are cut to a third of it, and figures that there is no room for are left out and
            named. None: all of them.
        """
        from .drift_page import as_text

        return as_text(self, width)

    def to_json(self) -> str:
        """As RFC 8259 JSON; infinities are strings, as in state files."""
        said = {**asdict(self), "columns": [_jsonable(asdict(column)) for column in self.columns]}
        said["limits"] = _jsonable(self.limits)
        said["drifted"] = [column.name for column in self.drifted]
        return json.dumps(said, indent=2, allow_nan=False)

    def to_html(self) -> str:
        """One page that needs nothing else."""
        from .drift_page import as_page

        return as_page(self)

    def __repr__(self) -> str:
        return f"Drift of {len(self.drifted)} of {len(self)} columns\n{self.table()}"

    def _repr_html_(self) -> str:
        from .drift_page import as_table

        return as_table(self)


def _jsonable(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: _encode_float(value) if isinstance(value, float) else value for key, value in fields.items()}


@dataclass(frozen=True)
class _Side:
    summary: Summary
    types: dict[Any, str]
    rows: int
    of: str
    name: str


def diff(
    a: Any,
    b: Any,
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
    max_psi: float = MAX_PSI,
    max_ks: float = MAX_KS,
    max_shift: float = MAX_SHIFT,
    max_nulls: float = MAX_NULLS,
) -> Drift:
    """What has changed from one data set to another, column by column.

    Parameters
    ----------
    a, b : scaler, path, list of paths, glob, directory, or data
        Before and after. A fitted scaler, the file that it was saved to, or a file that streamnorm normalized stands
        for the data that it was fitted on; anything else is data, which is read once.
    columns, exclude, where, format, types, filesystem, memory, threads, progress
        As for :func:`~streamnorm.describe`; `where`, `format` and `types` of data alone. Where one side is a state, its
        columns are compared. Where one side is standard input, `format` is that of it; where one is CSV or JSON lines,
        `types` are those of it.
    max_psi : float, default 0.2
        Threshold of the population stability index.
    max_ks : float, default 0.18
        Threshold of the Kolmogorov-Smirnov distance, which is past it only if the lower end of its interval is.
    max_shift : float, default 0.45
        Threshold of the distance that the center has moved, in units of the first side's scale.
    max_nulls : float, default 0.05
        Threshold of the difference of the shares of nulls and NaN. Infinity turns a threshold off.

    Returns
    -------
    Drift

    Raises
    ------
    DataError, StateError
        If a file, row group or column is at fault, or the two have no column in common.
    ValueError
        If a threshold is negative or no number.

    Examples
    --------
    >>> import numpy as np, pyarrow as pa, streamnorm as sn
    >>> x = np.random.default_rng(0).normal(size=5000)
    >>> drift = sn.diff(pa.table({"x": x, "y": x}), pa.table({"x": x + 1, "y": x}))
    >>> [column.name for column in drift.drifted], round(drift["x"].ks, 2), drift["y"].psi
    (['x'], 0.38, 0.0)
    """
    limits = {"psi": max_psi, "ks": max_ks, "shift": max_shift, "nulls": max_nulls}
    for name, limit in limits.items():
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit >= 0:
            raise ValueError(f"max_{name} must be a number that is not negative, got {limit!r}")
    reading: dict[str, Any] = dict(where=where, filesystem=filesystem, memory=memory, threads=threads)
    reading["progress"] = progress
    a, b = placed(a, filesystem), placed(b, filesystem)
    formats = _formats(a, b, format)
    scalers = [_state_of(side, own) for side, own in zip((a, b), formats, strict=True)]
    data = [
        listed(side, own) if scaler is None else None
        for side, own, scaler in zip((a, b), formats, scalers, strict=True)
    ]
    typed = _typed(data, formats)
    names = [_name_of(side, which) for side, which in ((a, "a"), (b, "b"))]
    if scalers == [None, None]:  # the statistics of both are held at a time
        reading["memory"] = max(MIN_MEMORY, parse_memory(memory) // 2)
    sides = []
    for i, source in enumerate(data):
        scaler, other = scalers[i], scalers[1 - i]
        if scaler is not None:
            sides.append(_of_state(scaler, names[i], columns, exclude))
        else:
            chosen = columns if other is None else _columns_of_state(other, columns, exclude)
            own: dict[str, Any] = {"format": formats[i], "types": types if typed[i] else None}
            seen, _ = observe(source, columns=chosen, exclude=exclude, **own, **reading)
            sides.append(_Side(seen.summary(), seen.types(), seen.rows, "data", names[i]))
            del seen  # and with it what only a description needs
    return _compared(*sides, limits)


def _formats(a: Any, b: Any, given: str | None) -> tuple[str | None, str | None]:
    """The format of each side as it was given: of a pipe, if one is, as the other has a name."""
    if is_pipe(a) == is_pipe(b):
        return given, given
    return (given, None) if is_pipe(a) else (None, given)


def _typed(sides: Sequence[Any], formats: Sequence[str | None]) -> list[bool]:
    """Which sides have columns whose types can be given: those that are text, or both if none is."""
    kinds = [own if is_pipe(side) else getattr(side, "format", None) for side, own in zip(sides, formats, strict=True)]
    text = [kind in TEXT for kind in kinds]
    return text if any(text) else [True, True]


def _state_of(source: Any, format: str | None) -> BaseScaler | None:
    """The state that a side is or carries, if any."""
    if isinstance(source, BaseScaler):
        source._check_fitted()
        return source
    if isinstance(source, (list, tuple)) and len(source) == 1 and isinstance(source[0], str | os.PathLike):
        [source] = source
    if not isinstance(source, str | os.PathLike) or is_pipe(source) or not locate(source).is_file():
        return None
    if is_parquet(source) or is_arrow(source):
        try:
            return load_scaler(source)
        except StateError:
            return None
    if is_state(source) or (format is None and format_by_name(source) is None):
        return load_scaler(source)  # which says what is wrong with a file that is no data either
    return None


def _name_of(source: Any, which: str) -> str:
    if isinstance(source, BaseScaler):
        return type(source).__name__
    if not is_file_source(source):
        return which
    items = source if isinstance(source, (list, tuple)) else [source]
    return masked(os.fspath(items[0])) + (f" and {len(items) - 1:,} more" if len(items) > 1 else "")


def _of_state(scaler: BaseScaler, name: str, columns: Any, exclude: Any) -> _Side:
    summary = scaler.summary_
    wanted = _among(list(summary), columns, exclude)
    part = summary.part(wanted)
    return _Side(part, {key: part[key].stats.kind or "" for key in part}, summary.rows, "state", name)


def _among(names: list[Any], columns: Any, exclude: Any) -> list[Any]:
    """The columns of a state that are asked for."""
    wanted = None if columns is None else {columns} if isinstance(columns, str) else set(columns)
    left_out = set() if exclude is None else {exclude} if isinstance(exclude, str) else set(exclude)
    found = [name for name in names if (wanted is None or name in wanted) and name not in left_out]
    if not found:
        raise DataError("no column is left to compare: the state has none of those that are asked for")
    return found


def _columns_of_state(scaler: BaseScaler, columns: Any, exclude: Any) -> Callable[[pa.Schema], list[str]] | None:
    """Which columns of data are compared with a state: those of the state that are there."""
    summary = scaler.summary_
    if not summary.named:
        return None
    names = _among(list(summary), columns, exclude)
    for name in names:
        if each_of(name) is not None:
            raise DataError(
                f"{name!r} is a position of lists, which is not described one by one: fit the other side, too",
                column=name,
            )

    def there(schema: pa.Schema) -> list[str]:
        found = [name for name in names if place_of(name, schema.names).column in schema.names]
        if not found:
            raise DataError(f"the data has none of the columns of the state: {', '.join(map(repr, names[:8]))}")
        return found

    return there


def _compared(a: _Side, b: _Side, limits: dict[str, float]) -> Drift:
    if not set(a.summary) & set(b.summary):
        raise DataError(f"{a.name} and {b.name} have no column in common: nothing can be compared")
    made = []
    for name in a.summary:
        if name in b.summary:
            made.append(_column(name, a, b, limits))
        else:
            made.append(ColumnDrift(name=name, status="removed", type_a=a.types[name], crossed=("removed",)))
    for name in b.summary:
        if name not in a.summary:
            made.append(ColumnDrift(name=name, status="added", type_b=b.types[name]))
    return Drift(
        columns=tuple(made), a=a.name, b=b.name, of_a=a.of, of_b=b.of, rows_a=a.rows, rows_b=b.rows, limits=limits
    )


def _column(name: Any, a: _Side, b: _Side, limits: dict[str, float]) -> ColumnDrift:
    first, second = a.summary[name], b.summary[name]
    said: dict[str, Any] = {"name": name, "type_a": a.types[name] or None, "type_b": b.types[name] or None}
    counts = [None if column.given is not None else column.stats.count for column in (first, second)]
    said |= dict(zip(("count_a", "count_b"), counts, strict=True))
    crossed = []
    if None not in counts and bool(counts[0]) != bool(counts[1]):  # an empty file has no figures that could be past
        crossed.append("empty")
    if _kind(first) and _kind(second) and _family(first, a.types[name]) != _family(second, b.types[name]):
        said["status"] = "type"
        crossed.append("type")
    sketches = first.stats.sketch, second.stats.sketch
    if None not in sketches and first.quantiles is None and second.quantiles is None:
        said["psi"] = population_stability_index(*sketches)
        distance = kolmogorov_smirnov(*sketches)
        if distance is not None:
            said |= dict(zip(("ks", "ks_low", "ks_high"), distance, strict=True))
    moved = shift_and_ratio(first, second)
    if moved is not None:
        said |= dict(zip(("shift", "ratio", "by"), moved, strict=True))
    said |= {"nulls_a": _missing(first), "nulls_b": _missing(second)}
    figures = {"psi": said.get("psi"), "ks": said.get("ks_low"), "shift": said.get("shift")}
    if None not in (said["nulls_a"], said["nulls_b"]):
        figures["nulls"] = said["nulls_b"] - said["nulls_a"]
    crossed += [name for name, figure in figures.items() if figure is not None and abs(figure) > limits[name]]
    return ColumnDrift(**said, crossed=tuple(crossed))


def _kind(column: ColumnSummary) -> str | None:
    return column.stats.kind if column.given is None else None


def _family(column: ColumnSummary, kind: str) -> str:
    """What kind of numbers a column holds: what is stored, and what Arrow says that it means."""
    meaning = kind.partition("[")[0]
    return meaning if meaning in ("timestamp", "date32", "date64", "time32", "time64", "duration", "bool") else str(
        column.stats.kind
    )


def _missing(column: ColumnSummary) -> float | None:
    if column.given is not None or column.stats.nan_count is None or not column.stats.rows:
        return None
    return (column.stats.null_count + column.stats.nan_count) / column.stats.rows
