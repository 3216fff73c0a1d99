"""Quantile sketches by name: what to feed them, how they are checked, timed and merged."""

# Design: streams longer than memory should hold are the same array again and again, each time twice as large as before.
# That is exact in floating point, so the rank of a value in the whole stream is known from the one array in order; and
# it is a stream that drifts, where a sketch that took its first values for typical would fail. Making a chunk is not
# timed. Time is that of the processor: a sketch is fed by one thread, and polars takes every core that there is.
# Those that take a whole column at a time get the array many times over in a chunked array, which holds it once.

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from . import arrays
from .measure import RANK_TOLERANCE, WrongAnswer
from .peers import QUANTILES

SEED = 7
ERROR = 0.001
RANKS = np.linspace(0.001, 0.999, 999)
CONFIDENCE = 99  # percent of the ranks, over all rounds, whose error is taken
STATE_VALUES = 10_000


def lognormal(rows: int) -> np.ndarray:
    return np.exp(np.random.default_rng([SEED, rows]).standard_normal(rows))


class Stream:
    """`rows` lognormal values that are made `repeats` times, scaled by 1, 2, 4..."""

    def __init__(self, rows: int, repeats: int = 1) -> None:
        self.rows = rows * repeats
        self.repeats = repeats
        self.values = lognormal(rows)

    def chunks(self) -> Iterator[np.ndarray]:
        """The values of the stream; an array is overwritten when the next one is asked for."""
        chunk = np.empty_like(self.values)
        for power in range(self.repeats):
            yield np.ldexp(self.values, power, out=chunk)

    def column(self) -> pa.ChunkedArray:
        """As many values without the scaling, at the price of one array."""
        return pa.chunked_array([pa.array(self.values)] * self.repeats)

    @functools.cached_property
    def _ordered(self) -> np.ndarray:
        return np.sort(self.values)

    def rank_errors(self, found: np.ndarray, scaled: bool) -> np.ndarray:
        """Distance of each of `RANKS` from the ranks that what was found for it can claim, as a share."""
        powers = range(self.repeats) if scaled else [0]
        low, high = (
            sum(np.searchsorted(self._ordered, np.ldexp(found, -power), side) for power in powers)
            / (len(self.values) * len(powers))
            for side in ("left", "right")
        )
        return np.maximum(0.0, np.maximum(low - RANKS, RANKS - high))


@dataclass(frozen=True)
class Sketched:
    """One run: seconds from values to three quantiles, errors of `RANKS`, the error stated and the state's bytes.

    Seconds are the processor's.
    """

    seconds: float
    errors: np.ndarray
    stated: float
    size: int | None = None  # of those that have a state to serialize


def _feed(sketch, stream: Stream) -> float:
    taken = 0.0
    for chunk in stream.chunks():
        taken += _timed(lambda: sketch.update(chunk))  # noqa: B023 (called at once)
    return taken


def _timed(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def _streamnorm(stream: Stream, seed: int) -> Sketched:
    from streamnorm import QuantileSketch

    sketch = QuantileSketch(error=ERROR, seed=seed)
    taken = _feed(sketch, stream) + _timed(lambda: sketch.quantile(QUANTILES))
    errors = stream.rank_errors(sketch.quantile(RANKS), scaled=True)
    return Sketched(taken, errors, sketch.rank_error, len(sketch.to_bytes()))


def _datasketches(k: int) -> Callable[[Stream, int], Sketched]:
    def sketch(stream: Stream, seed: int) -> Sketched:  # its coins have no seed
        from datasketches import kll_doubles_sketch

        made = kll_doubles_sketch(k)
        taken = _feed(made, stream) + _timed(lambda: made.get_quantiles(QUANTILES))
        errors = stream.rank_errors(np.array(made.get_quantiles(RANKS)), scaled=True)
        return Sketched(taken, errors, made.normalized_rank_error(False), len(made.serialize()))

    return sketch


def _polars(stream: Stream, seed: int) -> Sketched:
    import polars as pl

    frame = pl.from_arrow(pa.table({"x": stream.column()}), rechunk=False).lazy()
    taken = _timed(frame.select(pl.col("x").approx_quantile(list(QUANTILES))).collect)
    # With quantiles at the ends it would choose another method than the one that was timed.
    found = frame.select(pl.col("x").approx_quantile(RANKS.tolist(), method="kll")).collect()
    return Sketched(taken, stream.rank_errors(found["x"][0].to_numpy(), scaled=False), ERROR)


def _pyarrow(stream: Stream, seed: int) -> Sketched:
    import pyarrow.compute as pc

    column = stream.column()
    taken = _timed(lambda: pc.tdigest(column, q=QUANTILES))
    found = pc.tdigest(column, q=RANKS).to_numpy(zero_copy_only=False)
    return Sketched(taken, stream.rank_errors(found, scaled=False), RANK_TOLERANCE)


# The k at which DataSketches' sketch of ten million values errs as ours does, at the 99th percentile (`equal_k` says
# what it would be now). Its own bound at k = 4000 is what ours states.
EQUAL_K = 2400
EQUAL = f"datasketches_{EQUAL_K}"
SKETCHES: dict[str, Callable[[Stream, int], Sketched]] = {
    "streamnorm": _streamnorm,
    "datasketches_200": _datasketches(200),
    "datasketches_1000": _datasketches(1000),
    EQUAL: _datasketches(EQUAL_K),
    "datasketches_4000": _datasketches(4000),
    "polars": _polars,
    "pyarrow_tdigest": _pyarrow,
}
SERIALIZED = [name for name in SKETCHES if name not in ("polars", "pyarrow_tdigest")]
COMPARED = [EQUAL, "polars", "pyarrow_tdigest"]  # those to which a ratio is a target


def alternate(names: Sequence[str], stream: Stream, rounds: int) -> dict[str, list[Sketched]]:
    """Sketch `stream` with each once a round, in turning order, each round with another seed."""
    taken: dict[str, list[Sketched]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            taken[name].append(SKETCHES[name](stream, number))
    return taken


def observed_error(runs: Sequence[Sketched]) -> float:
    """The rank error that 99 % of `RANKS` keep to, over all runs."""
    return float(np.percentile(np.concatenate([run.errors for run in runs]), CONFIDENCE))


def equal_k(k: int, theirs: float, ours: float) -> int:
    """The k that would bring an error of `theirs` to ours: it falls with k to the power of 0.9."""
    return round(k * (theirs / ours) ** (1 / 0.9))


@functools.cache
def check_sketch(name: str) -> None:
    """Compare the error that `name` states with the observed one; raises `WrongAnswer` if that is larger."""
    for repeats in (1, 3):
        stream = Stream(100_003, repeats)
        run = SKETCHES[name](stream, 0)
        # What is stated holds for one rank at a time, this is the worst of 999; definitions of a quantile between
        # two values differ by one place.
        if run.errors.max() > 2 * run.stated + 1 / stream.rows:
            raise WrongAnswer(f"sketch {name}: rank error {run.errors.max()} where {run.stated} is stated")


# Merging many states. Ours also as scalers, which is what parts that were fitted apart become. A state comes up ten
# times in the list: a thousand of them are made, and fall out of the caches before they are read again.

TIMES = 10
Merged = tuple[np.ndarray, float, int]  # quantiles at RANKS, the error stated, the number of values


def _streamnorm_state(values: np.ndarray) -> bytes:
    from streamnorm import QuantileSketch

    return QuantileSketch(error=ERROR).update(values).to_bytes()


def _streamnorm_merge(states: Sequence[bytes]) -> Merged:
    from streamnorm import QuantileSketch

    merged = QuantileSketch(error=ERROR)
    for state in states:
        merged.merge(QuantileSketch.from_bytes(state))
    return merged.quantile(RANKS), merged.rank_error, merged.count


def _scaler(values: np.ndarray):
    from streamnorm import RobustScaler

    return RobustScaler().fit(values[:, None])


def _merge_scalers(scalers: Sequence) -> Merged:
    import streamnorm as sn

    column = sn.merge(scalers).summary_[0]
    return column.quantile(RANKS), column.rank_error, column.count


def _datasketches_state(values: np.ndarray) -> bytes:
    from datasketches import kll_doubles_sketch

    made = kll_doubles_sketch(EQUAL_K)
    made.update(values)
    return made.serialize()


def _datasketches_merge(states: Sequence[bytes]) -> Merged:
    from datasketches import kll_doubles_sketch

    merged = kll_doubles_sketch.deserialize(states[0])
    for state in states[1:]:
        merged.merge(kll_doubles_sketch.deserialize(state))
    return np.array(merged.get_quantiles(RANKS)), merged.normalized_rank_error(False), merged.n


MERGES: dict[str, tuple[Callable, Callable]] = {
    "streamnorm": (_streamnorm_state, _streamnorm_merge),
    "streamnorm_scalers": (_scaler, _merge_scalers),
    EQUAL: (_datasketches_state, _datasketches_merge),
}


def states(name: str, count: int) -> tuple[Stream, list]:
    """`count` states of `STATE_VALUES` values, a tenth of them different, and the values that those have seen."""
    stream = Stream(count // TIMES * STATE_VALUES)
    make, _ = MERGES[name]
    return stream, [make(values) for values in stream.values.reshape(-1, STATE_VALUES)] * TIMES


def merge_seconds(name: str, stream: Stream, parts: list) -> tuple[float, float]:
    """Seconds to merge all parts and ask for quantiles, and the 99th percentile of their rank errors.

    Raises
    ------
    WrongAnswer
        Values are missing, or an error is larger than what the result states.
    """
    start = time.perf_counter()
    found, stated, count = MERGES[name][1](parts)
    taken = time.perf_counter() - start
    if count != len(parts) * STATE_VALUES:
        raise WrongAnswer(f"merging by {name}: {count:,} values of {len(parts):,} states of {STATE_VALUES:,}")
    errors = stream.rank_errors(found, scaled=False)
    if errors.max() > 2 * stated + 1 / stream.rows:
        raise WrongAnswer(f"merging by {name}: rank error {errors.max()} where {stated} is stated")
    return taken, float(np.percentile(errors, CONFIDENCE))


# Values with weights: ours alone, for the peers have none.


def weighted_sketch(array: np.ndarray, each: np.ndarray):
    from streamnorm import QuantileSketch

    return QuantileSketch(error=0.001, seed=0).update(array, each)


@functools.cache
def check_weighted_sketch(kind: str) -> None:
    """Compare the error that our sketch of values with weights states with the observed one, as `check_sketch` does."""
    array = lognormal(100_003)
    each = arrays.weights(len(array), kind=kind)
    sketch, order = weighted_sketch(array, each), np.argsort(array)
    observed = np.abs(sketch.rank(array[order]) - np.cumsum(each[order]) / each.sum()).max()
    if observed > 2 * sketch.rank_error:
        raise WrongAnswer(f"sketch of {kind} weights: rank error {observed} where {sketch.rank_error} is stated")
