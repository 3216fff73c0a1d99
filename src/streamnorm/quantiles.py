"""Exact quantiles of data that does not fit in memory: passes that narrow intervals around the wanted ranks."""

# Design: a sketch of the first pass says where a rank lies, up to its error. The second pass counts what is below that
# interval and keeps what is in it, and with that the value is known. Where more lies in the interval than memory holds,
# the pass counts by leading bits, and the next one goes on in the part that the rank is in: 13 bits a pass come to the
# end of 64 in five passes. If the sketch was wrong, which is seen in the second pass, 16 bits a pass do so in the four
# that are left of MAX_PASSES. Values that occur often (which a sketch shows) are counted and not kept. Everything is
# counted in integers, so that the result has the same bits for any order, chunking and number of threads. Turned down:
# sorting on disk, which writes all that it reads.

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ._core import ColumnStats, Selection
from .errors import DataError
from .memory import give_back
from .summary import Summary

MAX_PASSES = 6  # the first included
MIN_BITS, MAX_BITS = 10, 16
SMALL = 1 << MAX_BITS  # columns of no more values are kept as far as need be; counts would take as much
MAX_EXACT = 1 << 53
SAFETY = 1.5  # times the error that a sketch states at 99 %: missed once in some 10**5 quantiles
ROOM = 1.7  # times what an interval should hold: either end may be off outwards by the error that the sketch states
PROBES = 16  # steps in which an interval is searched for values that occur often
_SIGN = 1 << 63
_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1


def key_of(value: float) -> int:
    """The place of a double in their order, as a signed 64-bit integer."""
    bits = int(np.float64(value).view(np.int64))
    return bits ^ (_HIGHEST if bits < 0 else 0)


def value_of(key: int) -> float:
    """The double at a place in their order."""
    return float(np.int64(key ^ (_HIGHEST if key < 0 else 0)).view(np.float64))


def key_at(value: Any, kind: str, side: int) -> int:
    """The key of a number in a column of this kind; of a zero, whose sign is not known, that of the outer one.

    `side` is -1 or 1: which way is out.
    """
    if kind == "double":
        return key_of(float(value) or math.copysign(0.0, side))
    return int(value) - (_SIGN if kind == "unsigned" else 0)


@dataclass(slots=True)
class Bracket:
    """Keys, inclusive, between which a rank's value lies, and keys in it that occur often."""

    low: int
    high: int
    atoms: tuple[int, ...] = ()
    expected: float = math.inf  # number of keys in it, about


class RankSearch:
    """The search for the values at the ranks that quantiles of one column need.

    Parameters
    ----------
    stats : ColumnStats
        Of the first pass, with a sketch, all values finite.
    quantiles : sequence of float
        In [0, 1].
    """

    def __init__(self, stats: ColumnStats, quantiles: Sequence[float]) -> None:
        self.quantiles = tuple(quantiles)
        self.count = stats.count
        self._found: dict[int, int] = {}
        self._brackets: dict[int, Bracket] = {}
        if self.count == 0:
            return
        self.kind = _key_kind(stats)
        self._limits = key_at(stats.min, self.kind, -1), key_at(stats.max, self.kind, 1)
        for rank in sorted({rank for q in quantiles for rank in self._ranks(q)[:2]}):
            if self._limits[0] == self._limits[1]:
                self._found[rank] = self._limits[0]
            else:
                self._brackets[rank] = self._first_bracket(stats.sketch, rank)

    def _ranks(self, q: float) -> tuple[int, int, float]:
        """The two ranks that a quantile lies between, and how far, in NumPy's arithmetic."""
        at = (self.count - 1) * q
        below = min(math.floor(at), self.count - 1)
        return below, min(below + 1, self.count - 1), at - below

    def _first_bracket(self, sketch: object, rank: int) -> Bracket:
        reach = SAFETY * sketch.rank_error + 1.5 / self.count  # type: ignore[attr-defined]
        place = (rank + 0.5) / self.count
        probes = np.clip(np.linspace(place - reach, place + reach, PROBES + 1), 0.0, 1.0)
        values = sketch.quantile(probes)  # type: ignore[attr-defined]
        low = self._limits[0] if probes[0] <= 0 else self._end(values[0], -1)
        high = self._limits[1] if probes[-1] >= 1 else self._end(values[-1], 1)
        often: Sequence[float] = values[1:][values[1:] == values[:-1]] if self.kind == "double" else ()
        atoms = {key_at(value, self.kind, side) for value in often for side in (-1, 1)}  # both zeros, if zero is one
        kept = tuple(sorted(atom for atom in atoms if low <= atom <= high)) if low < high else ()
        return Bracket(low, high, kept, 2.0 * reach * self.count)

    def _end(self, value: float, side: int) -> int:
        """A sketch's value as the end of an interval; it has rounded wide integers."""
        if self.kind == "double":
            return key_at(value, self.kind, side)
        exact = int(np.nextafter(value, side * math.inf))
        key = exact - (_SIGN if self.kind == "unsigned" else 0)
        return max(self._limits[0], min(self._limits[1], key))

    @property
    def done(self) -> bool:
        """Whether every rank's value is known."""
        return not self._brackets

    def intervals(self) -> list[Bracket]:
        """What the next pass looks into: disjoint and ascending."""
        merged: list[Bracket] = []
        for bracket in sorted(self._brackets.values(), key=lambda bracket: (bracket.low, bracket.high)):
            last = merged[-1] if merged else None
            if last is None or bracket.low > last.high:
                merged.append(Bracket(bracket.low, bracket.high, bracket.atoms, min(bracket.expected, self.count)))
            elif bracket.high > last.high or bracket.atoms != last.atoms:
                last.high = max(last.high, bracket.high)
                last.atoms = tuple(sorted({*last.atoms, *bracket.atoms}))
                last.expected = min(last.expected + bracket.expected, self.count)
        return merged

    def selection(self, passes_left: int, capacity: int) -> Selection:
        """What the next pass is to count and keep; it and `passes_left` - 1 more will do."""
        intervals = [(one.low, one.high, one.atoms) for one in self.intervals()]
        widest = max((high - low).bit_length() for low, high, _ in intervals)
        return Selection(intervals, self.kind, max(MIN_BITS, min(MAX_BITS, -(-widest // passes_left))), capacity)

    def learn(self, selection: Selection) -> None:
        """Take what a pass over all values found."""
        for i, (low, high, _) in enumerate(selection.intervals):
            ranks = [rank for rank, bracket in self._brackets.items() if low <= bracket.low <= bracket.high <= high]
            below, inside = selection.below(i), selection.inside(i)
            within = []
            for rank in ranks:
                if rank < below:
                    self._miss(rank, self._limits[0], low - 1, below)
                elif rank >= below + inside:
                    self._miss(rank, high + 1, self._limits[1], self.count - below - inside)
                elif low == high:
                    self._settle(rank, low)
                else:
                    within.append(rank)
            if within:
                self._learn_within(selection, i, within, below)

    def _miss(self, rank: int, low: int, high: int, count: int) -> None:
        """The sketch was wrong, or the pass has read other data than the first one."""
        if low > high:
            raise _changed()
        self._brackets[rank] = Bracket(low, high, (), count)

    def _learn_within(self, selection: Selection, i: int, ranks: Sequence[int], below: int) -> None:
        low, high, atoms = selection.intervals[i]
        atom_counts = selection.atom_counts(i).tolist()
        kept = selection.keys(i)
        if kept is not None:
            if not atoms:
                kept.partition([rank - below for rank in ranks])
                for rank in ranks:
                    self._settle(rank, int(kept[rank - below]))
                return
            kept.sort()
            for rank in ranks:
                self._settle(rank, _of_rank(kept, atoms, atom_counts, rank - below))
            return
        counts, shift = selection.counts(i)  # type: ignore[misc]
        for atom, count in zip(atoms, atom_counts, strict=True):
            counts[(atom - low) >> shift] += count
        sums = np.cumsum(counts)
        for rank in ranks:
            bucket = int(np.searchsorted(sums, rank - below, side="right"))
            first = low + (bucket << shift)
            last = min(high, first + (1 << shift) - 1)
            if first == last:
                self._settle(rank, first)
            else:
                inner = tuple(atom for atom in atoms if first <= atom <= last)
                self._brackets[rank] = Bracket(first, last, inner, int(counts[bucket]))

    def _settle(self, rank: int, key: int) -> None:
        self._found[rank] = key
        del self._brackets[rank]

    def results(self) -> dict[float, float]:
        """Each quantile's value; NaN without values."""
        if self.count == 0:
            return dict.fromkeys(self.quantiles, math.nan)
        return {q: self._result(q) for q in self.quantiles}

    def _result(self, q: float) -> float:
        below, above, t = self._ranks(q)
        a, b = self._found[below], self._found[above]
        if self.kind == "double":
            return interpolate(value_of(a), value_of(b), t)
        offset = _SIGN if self.kind == "unsigned" else 0
        a, b = a + offset, b + offset
        if max(abs(a), abs(b)) <= MAX_EXACT:
            return interpolate(float(a), float(b), t)
        return _rounded(Fraction(a), Fraction(b), t)


def _changed() -> DataError:
    return DataError("the data changed while it was read: fit again")


def _key_kind(stats: ColumnStats) -> str:
    """Doubles, unless the column has integers that no double holds."""
    if stats.kind != "int" or max(-stats.min, stats.max) <= MAX_EXACT:
        return "double"
    if stats.max > _HIGHEST:
        return "unsigned" if stats.min >= 0 else "double"
    return "signed"


def _of_rank(kept: np.ndarray, atoms: Sequence[int], atom_counts: Sequence[int], rank: int) -> int:
    """The key of a rank in sorted keys and atoms that occur so often."""
    before = 0  # atoms
    for atom, count in zip(atoms, atom_counts, strict=True):
        start = int(np.searchsorted(kept, atom)) + before
        if rank < start:
            break
        if rank < start + count:
            return atom
        before += count
    return int(kept[rank - before])


def interpolate(a: float, b: float, t: float) -> float:
    """NumPy's linear interpolation, step by step; correctly rounded where NumPy's overflows.

    Examples
    --------
    >>> interpolate(1.0, 2.0, 0.25)
    1.25
    >>> interpolate(-1.5e308, 1.5e308, 0.5)
    0.0
    """
    difference = b - a
    if math.isinf(difference):
        return _rounded(Fraction(a), Fraction(b), t)
    return b - difference * (1 - t) if t >= 0.5 else a + difference * t


def _rounded(a: Fraction, b: Fraction, t: float) -> float:
    return float(a + (b - a) * Fraction(t))


def exact_quantiles(
    searches: Mapping[str | int, RankSearch],
    read: Callable[[dict[str | int, Selection]], None],
    *,
    memory: int,
    threads: int,
) -> tuple[dict[str | int, dict[float, float]], int]:
    """The exact quantiles of columns, by passes over their values.

    Parameters
    ----------
    searches : mapping of column to RankSearch
        From what the first pass found.
    read : callable
        ``read(selections)`` feeds every value of the columns to the selections of their names; called once or more a
        pass, each time for other columns.
    memory : int
        Bytes that selections may take.
    threads : int
        Selections of a column that are held at a time, beside the one that they are merged into.

    Returns
    -------
    dict of column to dict of quantile to float
    int
        Passes taken, the first one included.

    Raises
    ------
    DataError
        If the data changed between passes.
    """
    passes = 1
    while any(not search.done for search in searches.values()):
        passes += 1
        if passes > MAX_PASSES:
            raise _changed()
        left = MAX_PASSES + 1 - passes
        for group in _groups({name: one for name, one in searches.items() if not one.done}, memory, threads):
            selections = {name: searches[name].selection(left, capacity) for name, capacity in group.items()}
            read(selections)
            for name, selection in selections.items():
                searches[name].learn(selection)
    return {name: search.results() for name, search in searches.items()}, passes


def refined(
    summary: Summary,
    wanted: Callable[[str | int], Sequence[float]],
    read: Callable[[dict[str | int, Selection]], None],
    *,
    memory: int,
    threads: int,
) -> Summary:
    """A summary with exact quantiles in place of the sketches of a first pass, for the columns that want any.

    The sketches of `summary` are given up, too: the passes may need their memory. Columns with infinite values are
    left as they are: the fit refuses them.
    """
    searches = {}
    for name, column in summary.items():
        if wanted(name) and (column.stats.skips_infinite or not column.stats.infinite_count):
            searches[name] = RankSearch(column.stats, wanted(name))
            column.stats = column.stats.without_sketch()
    give_back()
    quantiles, passes = exact_quantiles(searches, read, memory=memory, threads=threads)
    stats = {name: column.stats for name, column in summary.items()}
    return Summary(stats, quantiles=quantiles, passes=passes, source=summary.source)


def _groups(
    searches: Mapping[str | int, RankSearch], memory: int, threads: int
) -> Iterator[dict[str | int, int]]:
    """Columns whose selections fit in memory together, and the keys that each of their intervals may keep."""
    group: dict[str | int, int] = {}
    used = 0.0
    for name, search in searches.items():
        intervals = search.intervals()
        # Disjoint intervals keep no more than all values. The merged selection has grown by half at a time; those of
        # units hold a part of it each, or counts where more than the capacity are inside.
        if search.count <= SMALL:
            capacity, spill = search.count, 0
            kept = min(search.count, sum(1.15 * one.expected + 64 for one in intervals))
        else:
            most = max(one.expected for one in intervals)
            capacity = min(search.count, int(ROOM * most) + (1 << MIN_BITS))
            spill = len(intervals) * threads * max(capacity // 8, 1 << MAX_BITS)
            kept = min(search.count, sum(1.15 * one.expected for one in intervals))
        need = 8 * (1.5 * kept + spill)
        if group and used + need > memory:
            yield group
            group, used = {}, 0.0
        group[name] = int(capacity * min(1.0, memory / need))
        used += need
    yield group
