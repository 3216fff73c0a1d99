"""One more pass over Parquet files for exact quantiles: values go to the selections of their columns."""

# Design: row groups whose bounds in the footer are outside of every interval are not read: they are below it as a
# whole, or above. What a footer claims of a column is used only if it agrees with what the first pass has seen of it:
# the number of values, the minimum and the maximum. The other row groups are read as in the first pass, and what is
# selected is merged as it comes.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import compress, groupby

import numpy as np
import pyarrow as pa

from ._core import Selection
from .footer_fit import file_extrema
from .parquet.statistics import LeafExtrema
from .pipeline import Outlet
from .quantiles import key_at
from .scalers._nested import leaf, numbers_of, positions_of
from .scalers._paths import Place
from .scalers._select import finite_chunk, finite_values
from .scan import Nested, ProgressMeter, ScanUnit, batch_rows, place_batches, run_units, scan_units
from .sources import ParquetInput, ReaderCache, column_batches
from .summary import ColumnSummary, Summary

MIN_ROWS = 4096  # of a row group; the bounds of smaller ones take as long as their values


def refine(
    files: Sequence[ParquetInput],
    summary: Summary,
    selections: Mapping[str | int, Selection],
    *,
    memory: int,
    threads: int,
    meter: ProgressMeter,
    nested: Nested | None = None,
) -> None:
    """Feed every value of the columns to the selections of their names.

    Parameters
    ----------
    files : sequence of ParquetInput
    summary : Summary
        What the first pass found.
    selections : mapping of column to Selection
    memory, threads, meter, nested
        As for :func:`~streamnorm.scan.scan`.

    Raises
    ------
    DataError
        If a column cannot be read; names file, row group and column.
    """
    inside = {
        name: (place, [feature for feature in features if feature in selections])
        for name, (place, features) in (nested or {}).items()
        if not selections.keys().isdisjoint(features)
    }
    flat = {name: selection for name, selection in selections.items() if not _is_inside(name, inside)}
    units = _units(files, summary, flat, list(inside), memory)
    columns = len(flat) + len(inside)
    meter.expect(sum(unit.rows * len(unit.columns) for unit in units) / columns)
    readers = ReaderCache()

    def work(unit: ScanUnit, outlet: Outlet) -> None:
        names = {column: inside[column][1] if column in inside else [column] for column in unit.columns}
        found = {name: selections[name].fresh() for its in names.values() for name in its}
        for arrays in _batches(unit, readers, inside, memory):
            for column, array in zip(unit.columns, arrays, strict=True):
                if column in inside:
                    _select_inside(found, summary, array, inside[column][0], (nested or {})[column][1])
                else:
                    found[column].update(finite_chunk(array, summary[column]))
            outlet.check()
        outlet.push(found, 0)

    def consume(unit: ScanUnit, found: dict[str, Selection]) -> None:
        for name, selection in found.items():
            selections[name].merge(selection)

    run_units(units, work, consume, columns, memory=memory, threads=threads, meter=meter, nested=inside)


def _batches(unit: ScanUnit, readers: ReaderCache, nested: Nested, memory: int) -> Iterator[list[pa.Array]]:
    if not nested.keys().isdisjoint(unit.columns):
        return place_batches(unit, readers, nested, memory)
    rows = batch_rows(len(unit.columns), memory)
    return column_batches(unit.file, readers, unit.row_groups, unit.columns, batch_rows=rows)


def _is_inside(name: str | int, nested: Nested) -> bool:
    return any(name in features for _, features in nested.values())


def _select_inside(
    found: Mapping[str, Selection], summary: Summary, array: pa.Array, place: Place, features: Sequence[str]
) -> None:
    """Give what lies at a place to the selections of those of its features that have one."""
    values = leaf(array, place.fields)
    if not place.each:
        found[features[0]].update(finite_chunk(numbers_of(values), summary[features[0]]))
        return
    arrays = positions_of(values, place, len(features))
    columns = arrays.T if isinstance(arrays, np.ndarray) else arrays
    for feature, column in zip(features, columns, strict=True):
        if feature in found:
            found[feature].update(finite_values(column, summary[feature]))


def _units(
    files: Sequence[ParquetInput],
    summary: Summary,
    selections: Mapping[str | int, Selection],
    nested: Sequence[str],
    memory: int,
) -> list[ScanUnit]:
    """What has to be read, all of what is nested; the rest is counted in the selections."""
    whole = list(nested)
    units: list[ScanUnit] = []
    for name, selection in selections.items():
        column = str(name)
        bounds = _trusted_bounds(files, summary[name])
        keys = [_keys(part, selection) for part in bounds]
        outside = [_outside(part, *ends, selection) for part, ends in zip(bounds, keys, strict=True)]
        if not any(mask.any() for mask in outside):
            whole.append(column)
            continue
        for file, part, (_, high), mask in zip(files, bounds, keys, outside, strict=True):
            _count(part, high, mask, selection)
            units += _units_of_rest(file, column, mask)
    return units + (scan_units(files, whole, memory, len(whole)) if whole else [])


def _trusted_bounds(files: Sequence[ParquetInput], column: ColumnSummary) -> list[LeafExtrema]:
    """The bounds of the column in each file's row groups; none unless they agree with the first pass."""
    rows, groups = sum(file.num_rows for file in files), sum(len(file.footer.row_groups) for file in files)
    if column.nan_count or rows < MIN_ROWS * groups:
        return []
    found = []
    for file in files:
        part = file_extrema(file, str(column.name))
        if isinstance(part, str) or part.reasons or part.kind != column.stats.kind or part.kind == "decimal":
            return []
        found.append(part)
    claimed = (
        sum(int((part.rows - part.null_count).sum()) for part in found),
        min((low for part in found for low in compress(part.low, part.has_values.tolist())), default=None),
        max((high for part in found for high in compress(part.high, part.has_values.tolist())), default=None),
    )
    return found if claimed == (column.count, column.min, column.max) else []


def _outside(part: LeafExtrema, low: np.ndarray, high: np.ndarray, selection: Selection) -> np.ndarray:
    """Which row groups, with bounds of these keys, have no value within any interval."""
    mask = np.ones(len(part.rows), dtype=bool)
    for first, last, _ in selection.intervals:
        mask &= (high < first) | (low > last)
    return mask | ~part.has_values


def _keys(part: LeafExtrema, selection: Selection) -> tuple[np.ndarray, np.ndarray]:
    """The keys of the bounds; a zero's sign is not known, so that both zeros are within them."""
    low, high = (
        np.array([key_at(bound, selection.kind, side) for bound in bounds], dtype=np.int64)
        for bounds, side in ((part.low, -1), (part.high, 1))
    )
    return low, high


def _count(part: LeafExtrema, high: np.ndarray, mask: np.ndarray, selection: Selection) -> None:
    """Count the values of the row groups in the mask that are below each interval."""
    values = np.where(mask & part.has_values, part.rows - part.null_count, 0)
    for i, (first, _, _) in enumerate(selection.intervals):
        selection.add_below(i, int(values[high < first].sum()))


def _units_of_rest(file: ParquetInput, column: str, mask: np.ndarray) -> Iterator[ScanUnit]:
    """Units of the row groups that are not in the mask."""
    needed = [group for group in range(len(mask)) if not mask[group]]
    for _, run in groupby(enumerate(needed), lambda pair: pair[1] - pair[0]):
        groups = [group for _, group in run]
        for start in range(groups[0], groups[-1] + 1, file.groups_at_once):
            some = range(start, min(start + file.groups_at_once, groups[-1] + 1))
            rows = sum(file.footer.row_groups[group].num_rows for group in some)
            yield ScanUnit(file, some, rows, (column,), 0)
