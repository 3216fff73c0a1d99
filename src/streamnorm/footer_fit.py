"""The fit that reads no data: extrema of the columns of Parquet files from their footers, where these prove them."""

# Design: a column comes from the footers whole or not at all, so that `Summary.source` can say where it came from in a
# few words, and a reader who doubts it knows what to look at. Turned down: to scan only those row groups whose
# statistics are missing, which pays off only for files of mixed origin and makes a summary of two provenances.

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

import pyarrow as pa

from ._core import ColumnStats
from .parquet.statistics import LeafExtrema, decimal_of, leaf_extrema
from .scalers import BaseScaler
from .sources import ParquetInput

FOOTER, SCAN = "footer", "scan"


def stats_from_footers(
    scaler: BaseScaler, files: Sequence[ParquetInput], columns: Sequence[str], weight: str | None = None
) -> tuple[dict[str, ColumnStats], dict[str, str]]:
    """The statistics of the columns whose method needs no more than the footers of all files prove.

    Parameters
    ----------
    scaler : scaler
        Says what each column needs.
    files : sequence of ParquetInput
        All with these columns, of the same types.
    columns : sequence of str
    weight : str or None
        The column of the rows' weights; footers do not tell what a row of weight zero holds.

    Returns
    -------
    stats : dict of str to ColumnStats
        Of the columns that need not be scanned.
    source : dict of str to str
        For each column "footer"; "scan: " and the reason; or "scan" where the method needs the values.
    """
    methods = scaler._methods(dict.fromkeys(columns, pa.float64()))
    stats: dict[str, ColumnStats] = {}
    source = dict.fromkeys(columns, SCAN)
    known = set(files[0].schema.names)  # what else is asked for is nested
    for name in columns:
        if methods[name]._extrema_suffice and name in known:
            found = _column_stats(files, name, methods[name]) if weight is None else "the rows have weights"
            if isinstance(found, str):
                source[name] = f"{SCAN}: {found.replace(';', ',')}"  # semicolons stand between sources
            else:
                stats[name], source[name] = found, FOOTER
    return stats, source


def _column_stats(files: Sequence[ParquetInput], column: str, method: BaseScaler) -> ColumnStats | str:
    """The statistics of a column over all files; a str that names the first place where they are not proved."""
    parts = []
    for file in files:
        part = file_extrema(file, column)
        if isinstance(part, str):
            return part
        parts.append(part)
    rows = sum(int(part.rows.sum()) for part in parts)
    if rows >= 1 << 63:
        return "the files claim more rows than there can be"
    kind, scale = parts[0].kind, parts[0].scale
    unknown = any(((part.nan_count < 0) & part.has_values).any() for part in parts)
    low = min((bound for part in parts for bound in compress(part.low, part.has_values.tolist())), default=None)
    high = max((bound for part in parts for bound in compress(part.high, part.has_values.tolist())), default=None)
    if kind == "decimal" and low is not None and high is not None:
        low, high = decimal_of(low, scale), decimal_of(high, scale)
    return ColumnStats.from_extrema(
        rows,
        sum(int(part.null_count.sum()) for part in parts),
        kind,
        low,
        high,
        nan_count=None if unknown else sum(int(part.nan_count.sum()) for part in parts),
        scale=scale,
        skip_infinite=method._new_stats(column).skips_infinite,
    )


def file_extrema(file: ParquetInput, column: str) -> LeafExtrema | str:
    """What a file's footer proves of a column; a str that says why that is nothing."""
    found = leaf_extrema_of(file, column)
    if not isinstance(found, str) and found.reasons:
        group = min(found.reasons)
        return f"{file.path.name} row group {group} {found.reasons[group]}"
    return found


def leaf_extrema_of(file: ParquetInput, column: str) -> LeafExtrema | str:
    """What the footer proves of a column, also if that is not something of every row group; a str if it is nothing."""
    try:
        field = file.footer.fields[file.footer.field_index(column)]
    except KeyError:
        return f"{file.path.name} has another name for the column"
    if field.num_leaves != 1:
        return f"{file.path.name} nests the column"
    found = leaf_extrema(file.footer, field.first_leaf, file.schema.field(column).type)
    return f"{file.path.name} {found}" if isinstance(found, str) else found
