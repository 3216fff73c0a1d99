"""One more pass over Parquet files for exact quantiles: values go to the selections of their columns."""

# Design: the units of the scan, so that the files are read as in the first pass; what they select is merged as it
# comes, in the order of the files, though any order would give the same.

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ._core import Selection
from .pipeline import Outlet, run_ordered
from .scalers._select import numeric_chunk
from .scan import ProgressMeter, ScanUnit, batch_rows, scan_units
from .sources import ParquetInput, ReaderCache, column_batches


def refine(
    files: Sequence[ParquetInput],
    selections: Mapping[str | int, Selection],
    *,
    memory: int,
    threads: int,
    meter: ProgressMeter,
) -> None:
    """Feed every value of the columns to the selections of their names.

    Raises
    ------
    DataError
        If a column cannot be read; names file, row group and column.
    """
    units = scan_units(files, [str(name) for name in selections])
    share = 1.0 / len(selections)
    meter.expect(sum(unit.rows * len(unit.columns) for unit in units) * share)
    readers = ReaderCache()

    def work(unit: ScanUnit, outlet: Outlet) -> None:
        found = [selections[name].fresh() for name in unit.columns]
        batches = column_batches(
            unit.file, readers, unit.row_groups, unit.columns, batch_rows=batch_rows(len(unit.columns))
        )
        for arrays in batches:
            for selection, array in zip(found, arrays, strict=True):
                selection.update(numeric_chunk(array))
            outlet.check()
        outlet.push(found, 0)

    def consume(unit: ScanUnit, found: list[Selection]) -> None:
        for name, selection in zip(unit.columns, found, strict=True):
            selections[name].merge(selection)

    for unit in run_ordered(
        units,
        work,
        consume,
        threads=threads,
        need=lambda unit: unit.file.reading_need(unit.row_groups, unit.columns, memory),
        limit=memory // 2,
    ):
        meter.add(unit.rows * len(unit.columns) * share)
