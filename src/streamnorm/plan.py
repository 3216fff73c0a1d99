"""How the row groups of an input become those of an output, and what happens to each column on the way."""

# Design: output row groups follow the input's as long as one fits a quarter of the memory; larger ones are split
# evenly, and tiny neighbours are joined. A span is the piece of input that one column is taken through at a time: its
# output chunks are written column by column, so that a split row group is read once and never held. (A Parquet footer
# gives each chunk's position; chunks of one row group need not lie side by side.) Turned down: a reader for every
# column of a row group side by side, which holds a page of each, 80 MB apiece in files that have one page a chunk.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa

from .scan import runs_of_row_groups
from .sources import BATCH_ROWS, ParquetInput

TINY_BYTES = 10**6
JOINED_BYTES = 16 * 10**6
JOINED_ROWS = 1 << 20
STRING_INDEX = 4
NESTED = 12  # bytes beside each value in lists and structs: levels, its page, and the double that it may become


@dataclass(frozen=True, slots=True)
class Span:
    """Rows of one file, from row `skip` of the first of its row groups on, and how they are cut on the way out."""

    file: ParquetInput
    row_groups: range
    skip: int
    out_rows: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Rows written."""
        return sum(self.out_rows)

    @property
    def keeps(self) -> bool:
        """Whether each input row group becomes one output row group, so that chunks may be copied."""
        groups = self.file.footer.row_groups
        return self.skip == 0 and self.out_rows == tuple(groups[group].num_rows for group in self.row_groups)

    def row_group_at(self, row: int) -> int:
        """The input row group of a row, counted from the first one of the first row group."""
        groups = self.file.footer.row_groups
        for group in self.row_groups:
            if row < groups[group].num_rows:
                return group
            row -= groups[group].num_rows
        return self.row_groups[-1]

    def pieces(self) -> Pieces:
        """What says of rows, as they are read, which output row group they go to."""
        return Pieces(self)


class Pieces:
    """Cuts the rows of a span, as they come, into those of its output row groups."""

    def __init__(self, span: Span) -> None:
        self._skip, self._out_rows = span.skip, span.out_rows
        self._part, self._left = 0, span.out_rows[0]

    def cut(self, rows: int) -> list[tuple[int, int, int]]:
        """For the next rows that are read: number of the output row group, first row of the piece, its length."""
        start = min(self._skip, rows)
        self._skip -= start
        found = []
        while start < rows and not self.complete:
            if self._left == 0:
                self._part += 1
                self._left = self._out_rows[self._part]
            length = min(self._left, rows - start)
            found.append((self._part, start, length))
            start += length
            self._left -= length
        return found

    @property
    def complete(self) -> bool:
        """Whether all rows were there."""
        return self._left == 0 and self._part + 1 == len(self._out_rows)


def row_width(file: ParquetInput) -> int:
    """Bytes a row takes in memory in the columns of fixed width, and in the offsets or indices of strings."""
    return sum(_width(field.type) or STRING_INDEX for field in file.schema)


def _width(kind: pa.DataType) -> int:
    try:
        return max(1, kind.bit_width // 8)
    except ValueError:
        return 0


def has_variable_width(file: ParquetInput) -> bool:
    """Whether a column is of strings, lists or other types without a width."""
    return any(_width(field.type) == 0 for field in file.schema)


def decoded_sizes(file: ParquetInput) -> list[int]:
    """What each row group takes in memory, roughly: for strings what the footer says of their pages, and for lists and
    structs that or what their values take, whichever is more. (Strings are held as dictionaries.)"""
    width, variable = row_width(file), has_variable_width(file)
    nested = [leaf for field in file.footer.fields if len(field.elements) > 1 for leaf in field.leaves]
    return [
        group.num_rows * width
        + (group.total_byte_size if variable else 0)
        + sum(file.unfolded_size(number, leaf) + NESTED * file.footer.chunk(number, leaf).num_values for leaf in nested)
        for number, group in enumerate(file.footer.row_groups)
    ]


def plan_spans(file: ParquetInput, memory: int, row_group_size: int | None) -> list[Span]:
    """The spans of a file, in order."""
    if row_group_size is not None:
        return list(_cut_by_rows(file, row_group_size))
    return list(_follow_input(file, memory))


def kept_spans(file: ParquetInput) -> list[Span]:
    """Spans that leave all row groups as they are, whatever their size; small neighbours go through together."""
    groups, spans = file.footer.row_groups, []
    for run, _ in runs_of_row_groups(file, BATCH_ROWS):
        for filled, numbers in groupby(run, key=lambda group: groups[group].num_rows > 0):
            if filled:
                together = list(numbers)
                rows = tuple(groups[group].num_rows for group in together)
                spans.append(Span(file, range(together[0], together[-1] + 1), 0, rows))
    return spans


def _follow_input(file: ParquetInput, memory: int) -> Iterator[Span]:
    groups, sizes = file.footer.row_groups, decoded_sizes(file)
    index = 0
    while index < len(groups):
        stop, size, rows = index + 1, sizes[index], groups[index].num_rows
        if size < TINY_BYTES:
            while (
                stop < len(groups)
                and stop - index < file.groups_at_once
                and sizes[stop] < TINY_BYTES
                and size + sizes[stop] <= min(JOINED_BYTES, memory // 4)
                and rows + groups[stop].num_rows <= JOINED_ROWS
            ):
                size, rows, stop = size + sizes[stop], rows + groups[stop].num_rows, stop + 1
        if rows:
            yield Span(file, range(index, stop), 0, _even_parts(rows, -(-size * 4 // memory)))
        index = stop


def _even_parts(rows: int, parts: int) -> tuple[int, ...]:
    parts = max(1, min(parts, rows))
    return tuple(rows * (i + 1) // parts - rows * i // parts for i in range(parts))


def _cut_by_rows(file: ParquetInput, size: int) -> Iterator[Span]:
    """Row groups of `size` rows; a span has those that begin in one input row group."""
    groups = file.footer.row_groups
    starts = [0]
    for group in groups:
        starts.append(starts[-1] + group.num_rows)
    row = 0
    for index, group in enumerate(groups):
        first, parts = row, []
        while row < starts[index] + group.num_rows:
            parts.append(min(size, starts[-1] - row))
            row += parts[-1]
        if parts:
            stop = index + 1
            while starts[stop] < row:
                stop += 1
            yield Span(file, range(index, stop), first - starts[index], tuple(parts))


def describe(spans: Sequence[Span]) -> str | None:
    """A sentence for people when row groups are not kept as they are."""
    before = sum(len(span.row_groups) for span in spans)
    after = sum(len(span.out_rows) for span in spans)
    if all(span.keeps for span in spans):
        return None
    return f"{before:,} row groups become {after:,}, to fit the memory"


def describe_columns(doing: str, names: Sequence[str], passing: Sequence[str]) -> str:
    """A sentence for people: which columns a pass works on, and which pass through.

    Examples
    --------
    >>> describe_columns("fitting", ["fare", "tip"], ["zone"])
    'fitting 2 of 3 columns: fare, tip; passing through 1: zone'
    """
    total = len(names) + len(passing)
    rest = f"; passing through {len(passing)}: {_shortened(passing)}" if passing else ""
    return f"{doing} {len(names)} of {total} column{'s' if total > 1 else ''}: {_shortened(names)}{rest}"


def describe_sources(source: Mapping[str, str]) -> str | None:
    """A sentence for people: which columns come from the footers, and why others are scanned; None if none could.

    Examples
    --------
    >>> describe_sources({"fare": "footer", "tip": "scan: trips.parquet row group 3 has no statistics", "zone": "scan"})
    'from the footers: fare; scanned: tip (trips.parquet row group 3 has no statistics), zone'
    """
    from_footers = [name for name, where in source.items() if where == "footer"]
    scanned = {name: where.partition(": ")[2] for name, where in source.items() if where != "footer"}
    if not from_footers and not any(scanned.values()):
        return None
    parts = [f"from the footers: {_shortened(from_footers)}"] if from_footers else []
    if scanned:
        parts.append("scanned: " + _shortened([f"{name} ({why})" if why else name for name, why in scanned.items()]))
    return "; ".join(parts)


def _shortened(names: Sequence[str], most: int = 12) -> str:
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"
