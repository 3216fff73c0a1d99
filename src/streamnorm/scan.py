"""The scan pass: statistics of the columns of Parquet files, on worker threads, merged in the order of the files."""

# Design: a unit of work is a few columns over a run of row groups, cut by row counts alone; each unit has statistics
# of its own, and the caller's thread merges them in file order. So the bits depend on the files, not on threads or
# timing. Turned down: one accumulator a column that all row groups pass through, which serializes a one-column file.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ._core import ColumnStats
from ._sketch import Weights
from .errors import BadRow, DataError
from .memory import TIGHT
from .pipeline import Outlet, run_ordered
from .scalers._nested import feed, leaf, numbers_of
from .scalers._paths import Place, is_list
from .scalers._select import numeric_chunk
from .sources import BATCH_ROWS, ParquetInput, ReaderCache, column_batches, one_line

# Row groups are joined into units of a 16th of the work, within these bounds: fewer, longer units make sketches cheaper
# (8 ns a value after a million values, 4 after five), more make all cores busy, and tiny row groups cost little each.
MIN_UNIT_ROWS, MAX_UNIT_ROWS = 1 << 17, 1 << 23
UNITS = 16
UNIT_BYTES = 8 << 20
MAX_COLUMNS = 64
STATS_BYTES = 16 << 10  # of a feature: the values that wait to be a block

Progress = Callable[[int, int | None, int], None]
NewStats = Callable[[str, int], ColumnStats]  # (feature, number of the unit, which seeds its sketch)
Nested = Mapping[str, tuple[Place, Sequence[str]]]  # by name: of structs and lists, the place and the features there


class ProgressMeter:
    """Turns work done, by file, into calls of a user's ``progress(rows_done, rows_total, bytes_done)``.

    Rows count once a pass; `passes` is how often the job reads them.
    """

    def __init__(self, progress: Progress | None, files: Sequence[ParquetInput], passes: int = 1) -> None:
        self._progress = progress
        self._rows = sum(file.num_rows for file in files) * passes
        self._bytes_a_row = sum(file.footer.file_size for file in files) * passes / max(self._rows, 1)
        self._done = 0.0
        self._unread = 0

    def expect(self, rows: float) -> None:
        """Count on more rows than were known of."""
        self._rows += round(rows)

    def add(self, rows: float) -> None:
        """Count rows of a pass as done; a part of the columns counts as that part of the rows."""
        if self._progress is not None:
            self._done += rows
            done = min(round(self._done), self._rows)
            self._progress(done, self._rows, round(max(0, done - self._unread) * self._bytes_a_row))

    def skip(self, rows: int) -> None:
        """Count rows of a pass as done that took no reading."""
        self._unread += rows
        self.add(rows)


@dataclass(frozen=True, slots=True)
class ScanUnit:
    """Columns of a run of row groups of one file, by the names that they are asked for by."""

    file: ParquetInput
    row_groups: range
    rows: int
    columns: tuple[str, ...]
    seed: int


def runs_of_row_groups(file: ParquetInput, rows: int) -> Iterator[tuple[range, int]]:
    """Consecutive row groups, joined until they hold `rows` rows; with the rows that they hold."""
    start, held = 0, 0
    groups = file.footer.row_groups
    for stop, group in enumerate(groups, 1):
        held += group.num_rows
        if held >= rows or stop - start >= file.groups_at_once or stop == len(groups):
            yield range(start, stop), held
            start, held = stop, 0


def column_groups(columns: Sequence[str], rows: int, memory: int) -> Iterator[tuple[str, ...]]:
    """Columns to be read together: one by one when they are long, up to 64 when they are short."""
    most = min(UNIT_BYTES, memory // 24)
    together = max(1, min(MAX_COLUMNS, most // (8 * max(min(rows, BATCH_ROWS * 8), 1))))
    for start in range(0, len(columns), together):
        yield tuple(columns[start : start + together])


def scan_units(files: Sequence[ParquetInput], columns: Sequence[str], memory: int, of: int) -> list[ScanUnit]:
    """The scan's work, in order. `of` is the number of columns that the rows of a unit go by."""
    units = []
    share = sum(file.num_rows for file in files) * of // UNITS
    unit_rows = max(MIN_UNIT_ROWS, min(MAX_UNIT_ROWS, share))
    runs = ((file, groups, rows) for file in files for groups, rows in runs_of_row_groups(file, unit_rows))
    for seed, (file, groups, rows) in enumerate(runs):
        units += [ScanUnit(file, groups, rows, together, seed) for together in column_groups(columns, rows, memory)]
    return units


def scan(
    files: Sequence[ParquetInput],
    columns: Sequence[str],
    new_stats: NewStats,
    *,
    of: int,
    weight: str | None = None,
    memory: int,
    threads: int,
    meter: ProgressMeter,
    nested: Nested | None = None,
) -> dict[str, ColumnStats]:
    """Statistics of each feature over all files; `weight` is the column that holds the weights of the rows, if any.

    A column is a feature of its own name, unless `nested` says otherwise.

    `of` is the number of columns that are fitted: what the footers tell of some must not change the bits of others.

    Raises
    ------
    DataError
        If a column cannot be read, or holds an infinity or something that is no weight; names file, row group and
        column.
    """
    units = scan_units(files, columns, memory, of)
    readers, inside = ReaderCache(), nested or {}

    def work(unit: ScanUnit, outlet: Outlet) -> None:
        outlet.push(unit_stats(unit, readers, new_stats, outlet, memory, weight, inside), stats_size(unit, inside))

    merged: dict[str, ColumnStats] = {}

    def consume(unit: ScanUnit, found: list[list[ColumnStats]]) -> None:
        for column, its in zip(unit.columns, found, strict=True):
            for name, stats in zip(_features(column, inside), its, strict=True):
                if name not in merged:
                    merged[name] = new_stats(name, unit.seed)  # merged into, it needs no block of rows that wait
                merged[name].merge(stats)

    options: dict[str, Any] = dict(weight=weight, memory=memory, threads=threads, meter=meter, nested=inside)
    run_units(units, work, consume, len(columns), **options)
    features = [name for column in columns for name in _features(column, inside)]
    return {name: merged[name] if name in merged else new_stats(name, 0) for name in features}


def _features(column: str, nested: Nested) -> Sequence[str]:
    return nested[column][1] if column in nested else (column,)


def place_in(column: str, nested: Nested) -> Place:
    """Where the values of a column, or of what stands for one, are."""
    return nested[column][0] if column in nested else Place(column, column)


def run_units(
    units: Sequence[ScanUnit],
    work: Callable[[ScanUnit, Outlet], None],
    consume: Callable[[ScanUnit, Any], None],
    columns: int,
    *,
    weight: str | None = None,
    memory: int,
    threads: int,
    meter: ProgressMeter,
    nested: Nested | None = None,
) -> None:
    """Work on units whose reading takes half of `memory` at most, in a pass over so many columns."""

    def need(unit: ScanUnit) -> int:
        read = columns_read(unit, weight, nested or {})
        return unit.file.reading_need(unit.row_groups, read, memory) + stats_size(unit, nested or {})

    for unit in run_ordered(
        units, work, consume, threads=threads, stash=memory // 8, need=need, limit=memory // 2
    ):
        meter.add(unit.rows * len(unit.columns) / columns)


def stats_size(unit: ScanUnit, nested: Nested) -> int:
    """Bytes that the statistics of a unit's features hold until they are merged; where there is one for each position
    of long lists, that is more than what is read for them."""
    return STATS_BYTES * sum(len(_features(column, nested)) for column in unit.columns)


def columns_read(unit: ScanUnit, weight: str | None, nested: Nested) -> tuple[str, ...]:
    """The columns of a table that a unit reads, and last that of the weights if it is none of them."""
    columns = tuple(place_in(name, nested).column for name in unit.columns)
    return columns if weight is None or weight in unit.columns else (*columns, weight)


def place_batches(
    unit: ScanUnit, readers: ReaderCache, nested: Nested, memory: int, weight: str | None = None
) -> Iterator[list[pa.Array]]:
    """The arrays of a unit's columns, batch by batch, and last those of the weights; of structs what is asked for."""
    names = columns_read(unit, weight, nested)
    if nested.keys().isdisjoint(unit.columns):
        return column_batches(unit.file, readers, unit.row_groups, names, batch_rows=batch_rows(len(names), memory))
    paths = [place_in(name, nested).path for name in unit.columns]
    values = sum(_values_a_row(unit, name, nested) for name in unit.columns)
    rows = max(64, batch_rows(len(names), memory) * len(names) // max(values, len(names)))
    leaves = [*paths, *names[len(paths) :]]
    return column_batches(unit.file, readers, unit.row_groups, names, batch_rows=rows, leaves=leaves)


def _values_a_row(unit: ScanUnit, name: str, nested: Nested) -> int:
    """How many values a row of a column has, roughly and at most."""
    place = place_in(name, nested)
    footer, most = unit.file.footer, 1
    steps = tuple(step.encode() for step in (place.column, *place.fields))
    for leaf_number, column in enumerate(footer.leaves):
        if tuple(column.path[: len(steps)]) == steps:
            for group in unit.row_groups:
                rows = max(footer.row_groups[group].num_rows, 1)
                most = max(most, -(-footer.chunk(group, leaf_number).num_values // rows))
    return most


def unit_stats(
    unit: ScanUnit,
    readers: ReaderCache,
    new_stats: NewStats,
    outlet: Outlet,
    memory: int,
    weight: str | None,
    nested: Nested,
) -> list[list[ColumnStats]]:
    """Read one unit: for each of its columns, the statistics of its features."""
    stats = [[new_stats(name, unit.seed) for name in _features(column, nested)] for column in unit.columns]
    names = columns_read(unit, weight, nested)
    row = 0
    for arrays in place_batches(unit, readers, nested, memory, weight):
        weights = None
        if weight is not None:
            try:
                weights = Weights(numeric_chunk(arrays[names.index(weight)]))
            except (TypeError, ValueError, pa.ArrowException) as error:
                raise _bad_weight(unit, readers, weight, error) from error
        for name, its, array in zip(unit.columns, stats, arrays, strict=False):  # behind them may be the weights
            try:
                if name in nested:
                    feed(its, array, nested[name][0], weights)
                else:
                    its[0].update(numeric_chunk(array), weights)
            except BadRow as error:
                raise bad_row(unit.file, unit.row_groups, name, error, row) from error
            except DataError as error:
                if error.column is not None:
                    raise
                raise unit.file.error(str(error), _group_of_digits(unit, readers, name, nested), name) from error
            except (TypeError, pa.ArrowException) as error:
                raise unit.file.error(f"cannot be taken as numbers ({one_line(error)})", column=name) from error
        row += len(arrays[0])
        outlet.check()
    for name, its in zip(unit.columns, stats, strict=True):
        if any(column.infinite_count and not column.skips_infinite for column in its):
            raise _infinity(unit, readers, name, nested)
    return stats


def _group_of_digits(unit: ScanUnit, readers: ReaderCache, name: str, nested: Nested) -> int | None:
    """The row group whose decimals have more digits than the kernels take."""
    for group in unit.row_groups:
        place, one = place_in(name, nested), ScanUnit(unit.file, range(group, group + 1), 0, (name,), 0)
        try:
            for (array,) in place_batches(one, readers, nested, TIGHT):
                numeric_chunk(numbers_of(leaf(array, place.fields)))
        except DataError:
            return group
    return None


def bad_row(file: ParquetInput, row_groups: range, name: str, error: BadRow, first: int) -> DataError:
    """The error with its place; `first` is the row, counted over the row groups, that its array begins with."""
    row = first + error.row
    for group in row_groups:
        if row < file.footer.row_groups[group].num_rows:
            break
        row -= file.footer.row_groups[group].num_rows
    return file.error(f"{error.problem}, in row {row} of the row group: {error.advice}", group, name)


def _bad_weight(unit: ScanUnit, readers: ReaderCache, weight: str, error: Exception) -> Any:
    """An error that says in which row group the weight is that cannot be used."""
    for group in unit.row_groups:
        rows = 0
        for (array,) in column_batches(unit.file, readers, range(group, group + 1), [weight]):
            try:
                rows += len(Weights(numeric_chunk(array), first_row=rows))
            except (TypeError, ValueError, pa.ArrowException) as cause:
                return unit.file.error(f"cannot weigh rows ({one_line(cause)})", group, weight)
    return unit.file.error(f"cannot weigh rows ({one_line(error)})", column=weight)


def batch_rows(columns: int, memory: int) -> int:
    """Rows of a batch of so many columns: about a megabyte, or a quarter where that counts; at least 1,024 rows."""
    return max(1024, (BATCH_ROWS if memory >= TIGHT else BATCH_ROWS // 4) // columns)


def _infinity(unit: ScanUnit, readers: ReaderCache, name: str, nested: Nested) -> Any:
    for group in unit.row_groups:
        stats = ColumnStats(moments=False)
        place = place_in(name, nested)
        one = ScanUnit(unit.file, range(group, group + 1), 0, (name,), 0)
        for (array,) in place_batches(one, readers, nested, TIGHT):
            values = leaf(array, place.fields)
            stats.update(numeric_chunk(numbers_of(values) if is_list(values.type) else values))
        if stats.infinite_count:
            break
    return unit.file.error(
        f"holds {stats.infinite_count} infinite value{'s' if stats.infinite_count > 1 else ''}: set them to null, "
        'exclude the column, or leave them out by infinite="null" or "ignore" (--infinite)',
        group,
        name,
    )
