"""The rows of series: which group each is of, in which order they come, and which of them are before the split."""

# Design: what has to be known of the whole source before the first window is little: how many rows each group has, from
# when to when the times go, and that they ascend. One pass over those two columns tells, and nothing later looks at a
# time to find that it is out of order. Turned down: sorting by time. It takes memory that grows with the source, and
# rows out of order mean as a rule that a group was forgotten.

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ._batch_sources import BatchSource, Chunk
from .errors import DataError
from .features import _plain_values, as_numbers, nulls
from .sources import one_line

_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


class Labelled(NamedTuple):
    """Rows of one part: where they are in a chunk, and what is known of them."""

    chunk: Chunk
    at: slice | np.ndarray  # numbers of rows in the chunk, ascending
    rows: int
    codes: np.ndarray | None  # of their groups
    times: np.ndarray | None


class SeriesRows:
    """The rows of a source, told apart by a split.

    Parameters
    ----------
    source : BatchSource
    time, group : str, int or None
        Columns.
    split : number, time or None
        As :class:`~streamnorm.Windows` takes it.
    max_step : number, timedelta or None
    chunk_rows : int
        Rows to read at a time.

    Attributes
    ----------
    rows : int
        Of the source.
    sizes : ndarray of int64, shape (groups,)
        Rows of each group.
    split : int, float, datetime, date or None
        Where it is: a time, or a number of rows; the fraction if every group has another number of rows.
    max_step : int, float or None
        In the units of the column of times.

    Raises
    ------
    DataError
        If times do not ascend within a group, or a time or a group is missing.
    ValueError
        If `split` or `max_step` is nothing that goes with the column of times.
    """

    def __init__(
        self, source: BatchSource, time: Any, group: Any, split: Any, max_step: Any, *, chunk_rows: int
    ) -> None:
        self.source, self.time, self.group = source, time, group
        self._chunk_rows = chunk_rows
        self._numbers: dict[Any, int] = {}
        self._kind = None if time is None or source.schema is None else source.schema.field(time).type
        self.max_step = None if max_step is None else self._step(max_step)
        fraction, limit = self._parsed(split)
        self.sizes = np.zeros(1, np.int64)
        self._last: np.ndarray | None = None
        if time is None and group is None and source.num_rows is not None:
            self.sizes[0] = source.num_rows
        else:
            self._survey()
        self.rows = int(self.sizes.sum())
        self._limits = self.sizes  # how many rows of each group are before the split
        self.split: Any = None
        if split is not None and time is not None:
            limit = limit if fraction is None else self._time_at(fraction)
            self._limits, self.split = self._rows_before(limit), self._shown(limit)
        elif fraction is not None:
            self._limits = np.round(self.sizes * fraction).astype(np.int64)
            self.split = int(self._limits[0]) if group is None else fraction
        elif split is not None:
            self._limits, self.split = np.minimum(self.sizes, limit), limit

    def _step(self, step: Any) -> Any:
        """The largest step in the units of the times."""
        if self.time is None:
            raise ValueError("max_step goes with time, the column that it is a step of")
        unit = _unit_of(self._kind)
        if isinstance(step, bool) or isinstance(step, datetime.timedelta | np.timedelta64) != (unit is not None):
            what = "a number" if unit is None else "a timedelta"
            raise ValueError(f"max_step is {what} where column {self.time!r} holds {self._kind}, got {step!r}")
        if unit is not None:
            found: Any = int(np.timedelta64(step).astype("timedelta64[ns]").astype(np.int64)) // unit
        else:
            found = step
        if not isinstance(found, int | float | np.number) or not found > 0:
            raise ValueError(f"max_step must be positive, got {step!r}")
        return found

    def _parsed(self, split: Any) -> tuple[float | None, Any]:
        """The split as a fraction, or as a time or a number of rows."""
        if split is None:
            return None, None
        if isinstance(split, float | np.floating) and 0.0 < split < 1.0:
            return float(split), None
        unit = _unit_of(self._kind)
        number = isinstance(split, int | float | np.number) and not isinstance(split, bool)
        if self.time is None:
            if not isinstance(split, int | np.integer) or isinstance(split, bool) or split < 1:
                raise ValueError(f"split must be a fraction between 0 and 1 or a number of rows, got {split!r}")
            return None, int(split)
        if unit is None:
            if not number or not math.isfinite(split):
                raise ValueError(f"split must be a fraction or a value of column {self.time!r}, got {split!r}")
            return None, split
        if number or isinstance(split, bool):
            raise ValueError(f"split must be a fraction between 0 and 1 or a time, got {split!r}")
        return None, -(-_nanoseconds(split, self._kind) // unit)  # a time is before it if its own ticks are

    def _shown(self, limit: Any) -> Any:
        """A time of the column as Python has it."""
        if _unit_of(self._kind) is None:
            return limit
        value = pa.scalar(limit, pa.int64()).cast(pa.int32() if pa.types.is_date32(self._kind) else pa.int64())
        try:
            return value.cast(self._kind).as_py()
        except (ValueError, ImportError):  # nanoseconds, which only pandas' type has
            return np.datetime64(limit, "ns")

    def _time_at(self, fraction: float) -> Any:
        first, last = self._span
        if first > last:
            raise DataError("there are no rows to make windows of")
        if isinstance(first, int):
            return first + math.ceil((last - first) * fraction)
        return first + (last - first) * fraction

    def _names(self) -> list[Any]:
        return [name for name in (self.time, self.group) if name is not None]

    def _survey(self) -> None:
        """Count the rows of each group, and see that their times ascend."""
        low: Any = math.inf
        high: Any = -math.inf
        self.sizes = np.zeros(0 if self.group is not None else 1, np.int64)
        for chunk in self._chunks(self._names()):
            codes, times = self._labels(chunk, chunk.arrays, grow=True)
            groups = max(1, len(self._numbers))
            if groups > len(self.sizes):
                self.sizes = np.concatenate([self.sizes, np.zeros(max(groups, 16) - len(self.sizes), np.int64)])
            order, begins, counts = runs(codes, chunk.rows)
            of = np.zeros(len(begins), np.int64)
            if codes is not None:
                of = codes[begins if order is None else order[begins]]
            if times is not None and chunk.rows:
                self._check_order(chunk, times, order, begins, of, codes)
                low, high = min(low, times.min().item()), max(high, times.max().item())
            self.sizes[of] += counts
        self.sizes = self.sizes[: max(1, len(self._numbers))]
        self._span = low, high

    def _check_order(
        self, chunk: Chunk, times: np.ndarray, order: Any, begins: np.ndarray, of: np.ndarray, codes: Any
    ) -> None:
        last = self._last if self._last is not None else np.zeros(0, times.dtype)
        if len(last) < len(self.sizes):
            last = np.concatenate([last, np.zeros(len(self.sizes) - len(last), times.dtype)])
        self._last = last
        mine = times if order is None else times[order]
        bad = np.empty(len(mine), bool)
        bad[1:] = mine[1:] <= mine[:-1]
        bad[begins] = (self.sizes[of] > 0) & (mine[begins] <= last[of])
        if bad.any():
            found = np.flatnonzero(bad)
            places = found if order is None else order[found]
            row = int(places.min())
            where = "" if codes is None else f" of group {list(self._numbers)[codes[row]]!r}"
            rows = chunk.first_row + row
            number = rows if chunk.unit.file is None else rows - chunk.unit.first_row + chunk.unit.file_row
            advice = "sort the rows by it" if codes is not None else "sort the rows by it, or name the group= column"
            raise chunk.unit.error(
                f"is {self._shown(times[row].item())} in row {number:,}, which is not after the row before it{where}: "
                f"{advice}",
                rows,
                self.time,
            )
        ends = np.append(begins[1:], len(mine)) - 1
        last[of] = mine[ends]

    def _rows_before(self, limit: Any) -> np.ndarray:
        """How many rows of each group have an earlier time."""
        before = np.zeros(len(self.sizes), np.int64)
        for chunk in self._chunks(self._names()):
            codes, times = self._labels(chunk, chunk.arrays)
            assert times is not None
            early = times < limit
            if codes is not None:
                before += np.bincount(codes[early], minlength=len(before))
                continue
            before[0] += np.count_nonzero(early)
            if not early.all():
                break
        return before

    def _chunks(self, names: Sequence[Any], skip: int = 0, source: BatchSource | None = None) -> Iterator[Chunk]:
        """The source from the beginning, without units that end before row number `skip`."""
        session = self.source.session() if source is None else source
        encoded = [self.group] if self.group is not None and self._is_string(self.group) else []
        try:
            for unit in session.units:
                if unit.rows is None or unit.first_row + unit.rows > skip:
                    yield from session.read(unit, names, encoded, self._chunk_rows)
        finally:
            if source is None:
                session.close()

    def _is_string(self, name: Any) -> bool:
        return self.source.schema is not None and pa.types.is_string(self.source.schema.field(name).type)

    def _labels(
        self, chunk: Chunk, arrays: Sequence[Any], grow: bool = False
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Groups and times of a chunk's rows; `arrays` begins with these columns."""
        times = None if self.time is None else self._times(chunk, arrays[0])
        codes = None if self.group is None else self._codes(chunk, arrays[self.time is not None], grow)
        return codes, times

    def _times(self, chunk: Chunk, array: Any) -> np.ndarray:
        numbers = as_numbers(self.time, array)
        if isinstance(numbers, np.ndarray):
            values = numbers.astype(np.float64 if numbers.dtype.kind == "f" else np.int64)
            missing = np.isnan(values)
        else:
            gone = nulls(numbers)
            whole = pa.types.is_integer(numbers.type)
            try:
                numbers = numbers.cast(pa.int64() if whole else pa.float64())
            except pa.ArrowException as error:
                message = f"cannot be taken as times ({one_line(error)})"
                raise chunk.unit.error(message, chunk.first_row, self.time) from error
            raw = _plain_values(numbers) if len(numbers) else np.zeros(0, np.int64)
            values = raw if whole else raw.view(np.float64)
            missing = np.isnan(values) if gone is None else gone | np.isnan(values)
        self._check_present(chunk, missing, self.time)
        return values

    def _check_present(self, chunk: Chunk, missing: np.ndarray, name: Any) -> None:
        if missing.any():
            row = chunk.first_row + int(np.argmax(missing))
            raise chunk.unit.error(f"is missing in row {row:,}: fill it in, or leave the row out", row, name)

    def _codes(self, chunk: Chunk, array: Any, grow: bool) -> np.ndarray:
        if not len(array):
            return np.zeros(0, np.int64)
        if isinstance(array, np.ndarray):
            found, indices = np.unique(array, return_inverse=True)
            values: list[Any] = found.tolist()
            missing = None
        else:
            try:
                encoded = array if isinstance(array, pa.DictionaryArray) else array.dictionary_encode()
            except pa.ArrowException as error:
                message = f"cannot tell groups ({one_line(error)})"
                raise chunk.unit.error(message, chunk.first_row, self.group) from error
            values, indices, missing = encoded.dictionary.to_pylist(), _plain_values(encoded.indices), nulls(array)
        if missing is not None:
            self._check_present(chunk, missing, self.group)
        lacking = np.array([value is None or value != value for value in values])
        if lacking.any():
            self._check_present(chunk, lacking[indices], self.group)
        if not grow and any(value not in self._numbers for value in values):
            raise DataError("the source is not what it was: it has groups now that it had not before")
        codes = [self._numbers.setdefault(value, len(self._numbers)) for value in values]
        return np.array(codes, np.int64)[indices]

    def ends_of(self, part: str) -> np.ndarray:
        """The number in its group of the row behind the last one of a part, for each group."""
        return self._limits if part == "train" else self.sizes

    def rows_of(self, part: str) -> int:
        """How many rows a part has."""
        before = int(self._limits.sum())
        return before if part == "train" else self.rows - before

    def labelled(
        self,
        part: str,
        names: Sequence[Any],
        *,
        timed: bool = False,
        source: BatchSource | None = None,
        seen: np.ndarray | None = None,
    ) -> Iterator[Labelled]:
        """The rows of a part, as they come in the source.

        Parameters
        ----------
        part : {"train", "validation"}
        names : sequence
            Columns, of which the chunks' arrays are.
        timed : bool
            Whether the times are wanted.
        source : BatchSource, optional
            The session to read in.
        seen : ndarray of int64, shape (groups,), optional
            Counts the rows of each group that have come, of both parts.
        """
        train, total, came = part == "train", self.rows_of(part), 0
        seen = np.zeros(len(self.sizes), np.int64) if seen is None else seen
        mine = [name for name in self._names() if timed or name != self.time]
        limit = int(self._limits[0]) if self.group is None else 0
        for chunk in self._chunks([*mine, *names], 0 if train else limit, source):
            if came == total:
                return
            times = self._times(chunk, chunk.arrays[0]) if timed and self.time is not None else None
            rest = chunk._replace(arrays=chunk.arrays[len(mine) :])
            codes = None
            if self.group is None:
                edge = min(max(limit - chunk.first_row, 0), chunk.rows)
                at: Any = slice(0, edge) if train else slice(edge, chunk.rows)
                rows = at.stop - at.start
            else:
                codes = self._codes(chunk, chunk.arrays[len(mine) - 1], False)
                before = _places(codes, seen) < self._limits[codes]
                at = np.flatnonzero(before if train else ~before)
                rows = len(at)
                if rows and at[-1] - at[0] == rows - 1:
                    at = slice(int(at[0]), int(at[-1]) + 1)
                codes = codes[at]
            came += rows
            if rows:
                yield Labelled(rest, at, rows, codes, None if times is None else times[at])


def _places(codes: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The number in its group of each row, where `seen` rows of each came before; these are added to it."""
    order, begins, counts = runs(codes, len(codes))
    mine = codes if order is None else codes[order]
    places = np.arange(len(codes)) + np.repeat(seen[mine[begins]] - begins, counts)
    seen[mine[begins]] += counts
    if order is None:
        return places
    out = np.empty_like(places)
    out[order] = places
    return out


def runs(codes: np.ndarray | None, rows: int) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Rows put together by their groups, in their order within each.

    Returns
    -------
    (ndarray of int64 or None, ndarray of int64, ndarray of int64)
        The order that does so, None where each group's rows are together as it is; where in that order each group
        begins; and its rows.
    """
    if rows == 0:
        return None, np.zeros(0, np.int64), np.zeros(0, np.int64)
    if codes is None:
        return None, np.zeros(1, np.int64), np.array([rows])
    begins = np.flatnonzero(codes[1:] != codes[:-1]) + 1
    order = None
    if len(begins) and _comes_again(codes, begins):
        small = codes.astype(np.uint16) if codes.max() < 1 << 16 else codes  # sorted by digits
        order = np.argsort(small, kind="stable")
        mine = codes[order]
        begins = np.flatnonzero(mine[1:] != mine[:-1]) + 1
    begins = np.append(0, begins)
    return order, begins, np.diff(np.append(begins, rows))


def _comes_again(codes: np.ndarray, begins: np.ndarray) -> bool:
    """Whether a group's rows are in more than one place."""
    places = len(begins) + 1
    return places > codes.max() + 1 or len(np.unique(codes[np.append(0, begins)])) < places


def _unit_of(kind: pa.DataType | None) -> int | None:
    """Nanoseconds of a tick of a column of times or dates; None for numbers."""
    if kind is None or not pa.types.is_temporal(kind):
        return None
    if pa.types.is_date32(kind):
        return 86_400 * 10**9
    return 10**6 if pa.types.is_date64(kind) else _NS[kind.unit]


def _nanoseconds(value: Any, kind: Any) -> int:
    """A time since 1970 in nanoseconds; without a zone it is UTC where the column has one."""
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"split must be a fraction or a time like '2013-09-30', got {value!r}") from None
    if isinstance(value, np.datetime64):
        return int(value.astype("datetime64[ns]").astype(np.int64))
    if not isinstance(value, datetime.date):
        raise ValueError(f"split must be a fraction between 0 and 1 or a time, got {value!r}")
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    if value.tzinfo is not None:
        if getattr(kind, "tz", None) is None:
            raise ValueError(f"split has a time zone, and the column of times ({kind}) has none: give it without")
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return (value - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1) * 1000
