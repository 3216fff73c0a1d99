"""Certificates hold: on hard streams, through lopsided merges, at every confidence, and they are not silly."""

import numpy as np
import pytest
from support.streams import STREAMS, merge_left

from streamnorm import reference
from streamnorm._core import ColumnStats
from streamnorm._sketch import QuantileSketch
from streamnorm.certificates import CONFIDENCE, Certificate
from streamnorm.errors import StatisticNotCollected
from streamnorm.summary import ColumnSummary, Summary

RANKS = np.array([0, 1e-6, 0.001, 0.01, 0.1, 0.25, 1 / 3, 0.5, 0.625, 0.75, 0.9, 0.99, 0.999, 1 - 1e-6, 1])
ROUNDING = 4e-16  # of a count divided by the count
SIGMAS = 3.1  # failures beyond the promised share by chance: once in a thousand runs of other seeds
SHRUNK = 0.1  # a certificate of a tenth of the width
SHRUNK_FAILS = 0.4  # of single queries, where values are distinct
DISTINCT = ("sorted", "reversed", "zoom in", "pareto", "lognormal", "huge")
TIED = ("all equal", "two values", "heavy duplicates", "denormal")
SIZES = [(0.02, 3_000), (0.1, 20_000), (0.02, 60_000), (0.001, 60_000)]
LONG = 2_000_000


def whole(error, seed, values):
    return QuantileSketch(error, seed).update(values)


def lopsided(error, seed, values):
    """A large part, then ever smaller ones, then those of one value."""
    parts, at = [], 0
    while at < len(values):
        size = max(1, (len(values) - at) // 2) if len(values) - at > 30 else 1
        parts.append(whole(error, seed, values[at : at + size]))
        at += size
    return merge_left(parts)


def lopsided_backwards(error, seed, values):
    """One value, then ever larger parts, through bytes; the seeds differ."""
    sketch, at, size = QuantileSketch(error, seed), 0, 1
    while at < len(values):
        part = whole(error, seed + at, values[at : at + size])
        sketch = QuantileSketch.from_bytes(part.merge(sketch).to_bytes())
        at, size = at + size, 2 * size
    return sketch


WAYS = [whole, lopsided, lopsided_backwards]


def true_ranks(values, answers):
    """From the fraction of values below each answer to the fraction that it is at least."""
    ordered = np.sort(values)
    return [np.searchsorted(ordered, answers, side=side) / len(values) for side in ("left", "right")]


def missed(true, low, high):
    """Where the ranks that an answer truly has do not meet the certificate."""
    below, upto = true
    return (below > high + ROUNDING) | (upto < low - ROUNDING)


def true_quantiles(values):
    """The neighbours between which every definition of the quantile in use here lies, and NumPy's own."""
    ordered, n = np.sort(values), len(values)
    with np.errstate(all="ignore"):
        linear = np.quantile(ordered, RANKS)
    first = ordered[np.clip(np.ceil(RANKS * n).astype(int) - 1, 0, n - 1)]
    return [first, np.where(np.isfinite(linear), linear, first)]


def every_sketch(names, sizes, seeds):
    """Sketches of streams, each with its values."""
    for name in names:
        for error, n in sizes:
            values = STREAMS[name](np.random.default_rng(n), n)
            for way in WAYS:
                for seed in range(seeds):
                    yield f"{name} {n}, {error}, {way.__name__}, seed {seed}", way(error, seed, values), values


class Tally:
    """Failures and trials of single queries."""

    def __init__(self):
        self.failures = self.trials = 0

    def add(self, failed):
        self.failures += np.count_nonzero(failed)
        self.trials += len(failed)

    @property
    def rate(self):
        return self.failures / self.trials

    def allowed(self, rate):
        return self.failures <= rate * self.trials + SIGMAS * np.sqrt(rate * (1 - rate) * self.trials)


@pytest.mark.parametrize("names", [DISTINCT, TIED], ids=["distinct", "tied"])
def test_certificates_hold_and_a_tenth_of_them_does_not(names):
    ranks, quantiles, shrunk = Tally(), Tally(), Tally()
    inner = (RANKS > 0.001) & (RANKS < 0.999)
    for label, sketch, values in every_sketch(names, SIZES, seeds=12):
        answers = sketch.quantile(RANKS)
        true, truth = true_ranks(values, answers), true_quantiles(values)

        low, high = sketch.rank_interval(RANKS, 1)
        assert not missed(true, low, high).any(), label
        assert ((low <= RANKS) & (high >= RANKS) & (low >= 0) & (high <= 1)).all(), label
        value_low, value_high = sketch.value_interval(RANKS, 1)
        assert all(((value_low <= each) & (each <= value_high)).all() for each in [answers, *truth]), label

        surely, surely_high = low, high
        low, high = sketch.rank_interval(RANKS)
        assert ((surely <= low) & (low <= RANKS) & (high >= RANKS) & (high <= surely_high)).all(), label
        assert (high - low).max() <= 2 * sketch.rank_error + 1e-8, label
        ranks.add(missed(true, low, high))
        value_low, value_high = sketch.value_interval(RANKS)
        assert ((value_low <= answers) & (answers <= value_high)).all(), label
        quantiles.add(np.any([(each < value_low) | (each > value_high) for each in truth], axis=0))
        tenth = RANKS - SHRUNK * (RANKS - low), RANKS + SHRUNK * (high - RANKS)
        shrunk.add(missed(true, *tenth)[inner])

    assert ranks.allowed(1 - CONFIDENCE), f"{ranks.failures} of {ranks.trials} intervals of ranks failed"
    assert quantiles.allowed(1 - CONFIDENCE), f"{quantiles.failures} of {quantiles.trials} intervals of values failed"
    if names == DISTINCT:
        assert shrunk.rate >= SHRUNK_FAILS, f"only {shrunk.failures} of {shrunk.trials} failed"


@pytest.mark.parametrize("name", ["reversed", "lognormal", "heavy duplicates"])
def test_long_streams(name):
    """Long enough that values are picked before they are sorted."""
    values = STREAMS[name](np.random.default_rng(3), LONG)
    ranks = Tally()
    for way in WAYS:
        for error in (0.001, 0.05):
            sketch = way(error, 1, values)
            true = true_ranks(values, sketch.quantile(RANKS))
            assert not missed(true, *sketch.rank_interval(RANKS, 1)).any(), (way.__name__, error)
            ranks.add(missed(true, *sketch.rank_interval(RANKS)))
    assert ranks.allowed(1 - CONFIDENCE), f"{ranks.failures} of {ranks.trials}"


def test_every_confidence_holds_and_low_ones_are_missed():
    values = np.random.default_rng(4).normal(size=20_000)
    sketches = [whole(0.1, seed, values) for seed in range(400)]
    truth = np.median(values)
    widths = []
    for confidence in (1e-9, 0.5, 0.9, 0.99, 0.9999, 1 - 1e-12):
        ranks, quantiles = Tally(), Tally()
        for sketch in sketches:
            low, high = sketch.rank_interval([0.5], confidence)
            ranks.add(missed(true_ranks(values, sketch.quantile([0.5])), low, high))
            value_low, value_high = sketch.value_interval([0.5], confidence)
            quantiles.add((truth < value_low) | (truth > value_high))
        widths.append(high[0] - low[0])
        for tally in (ranks, quantiles):
            assert tally.allowed(1 - confidence), (confidence, tally.failures)
            if confidence < 0.1:  # the bound is then 1.2 of the largest possible standard deviations
                assert 0.05 <= tally.rate <= 0.4, tally.rate
    assert widths == sorted(widths) and widths[-1] < sketches[0].rank_interval(0.5, 1)[1]


@pytest.mark.parametrize("n", [1, 2, 3, 63, 4096])
@pytest.mark.parametrize("name", ["sorted", "lognormal", "two values", "denormal"])
def test_exact_while_every_value_is_held(name, n):
    values = STREAMS[name](np.random.default_rng(n), n)
    sketch, twin = QuantileSketch().update(values), reference.QuantileSketch().update(values)
    for confidence in (0.5, CONFIDENCE, 1):
        for ours, theirs in (
            (sketch.rank_interval(RANKS, confidence), twin.rank_interval(RANKS, confidence)),
            (sketch.value_interval(RANKS, confidence), twin.value_interval(RANKS, confidence)),
        ):
            np.testing.assert_array_equal(ours, theirs)
    assert sketch.rank_interval(0.5) == twin.rank_interval(0.5) == (0.5, 0.5)


def test_what_is_known_exactly_narrows_the_certificate():
    rng = np.random.default_rng(5)
    sketch = QuantileSketch(0.02).update(rng.normal(size=50_000))
    assert sketch.rank_interval(0, 1) == (0, 0) and sketch.rank_interval(1, 1) == (1, 1)
    assert sketch.value_interval(0) == (sketch.min, sketch.min) and sketch.value_interval(1) == (sketch.max,) * 2
    equal = QuantileSketch(0.02).update(np.full(50_000, 7.0))
    assert equal.rank_error > 0
    assert equal.rank_interval(RANKS, 1)[0].tolist() == equal.rank_interval(RANKS, 1)[1].tolist() == RANKS.tolist()
    assert equal.value_interval(0.3, 1) == (7, 7)
    # Of values that are 0 or 1, half each, the quarter is surely 0, which no value is below of.
    two = QuantileSketch(0.02).update(STREAMS["two values"](rng, 50_000))
    low, high = two.rank_interval([0.25, 0.75])
    assert (high[0], low[1]) == (0.25, 0.75) and two.value_interval([0.25, 0.75])[0].tolist() == [0, 1]
    # A value so frequent that not even the worst case passes it by.
    most = QuantileSketch(0.02).update(np.where(rng.random(20_000) < 0.9, 5.0, rng.normal(5, 1, 20_000)))
    assert most.rank_error_worst < 0.3
    assert most.rank_interval(0.5, 1) == (0.5, 0.5) and most.value_interval(0.5, 1) == (5, 5)


def test_empty_and_arguments():
    sketch = QuantileSketch()
    assert np.isnan([*sketch.rank_interval(0.5), *sketch.value_interval(0.5)]).all()
    assert np.isnan(sketch.rank_interval([0.1, 0.2])).all() and sketch.rank_interval([])[0].shape == (0,)
    sketch = QuantileSketch(0.1).update(np.arange(5_000.0))
    low, high = sketch.rank_interval(np.full((2, 3), 0.5))
    assert low.shape == high.shape == (2, 3)
    assert isinstance(sketch.rank_interval(0.5)[0], float) and isinstance(sketch.value_interval(0.5)[0], float)
    for confidence in (0, -1, 1.01, np.nan):
        with pytest.raises(ValueError, match="confidence must be above 0 and at most 1"):
            sketch.rank_interval(0.5, confidence)
    with pytest.raises(ValueError, match="between 0 and 1"):
        sketch.value_interval([0.5, 1.5])


# ---- by column ----


def column(values, **kernels):
    return Summary({"x": ColumnStats(**kernels).update(values)})["x"]


def test_a_columns_certificate_says_all_of_it():
    values = np.random.default_rng(6).lognormal(size=60_000)
    x = column(values, sketch=QuantileSketch(0.01))
    median = x.certificate(0.5)
    assert (median.q, median.value, median.confidence, median.exact) == (0.5, x.quantile(0.5), CONFIDENCE, False)
    assert median.low < 0.5 < median.high and median.high - median.low <= 2 * x.rank_error + 1e-8
    assert median.value_low < np.median(values) < median.value_high
    both = x.certificate([0.0, 0.5], confidence=1)
    assert [each.exact for each in both] == [True, False] and both[1].high > median.high
    with pytest.raises(AttributeError):
        median.low = 0.5


def test_certificates_survive_merging_and_saving():
    values = np.random.default_rng(7).normal(size=60_000)
    a, b = (column(half, sketch=QuantileSketch(0.01, seed)) for seed, half in enumerate(np.split(values, 2)))
    both = Summary({"x": a.stats}).merge(Summary({"x": b.stats}))["x"]
    [again] = [ColumnStats.from_state(both.stats.state())]
    certificate = both.certificate(0.25)
    assert Summary({"x": again})["x"].certificate(0.25) == certificate
    assert not missed(true_ranks(values, [certificate.value]), certificate.low, certificate.high).any()


def test_exact_quantiles_are_certain():
    stats = ColumnStats(moments=False).update(np.array([1.0, 2.0, 9.0]))
    x = ColumnSummary("x", stats, {0.5: 2.0})
    assert x.certificate(0.5) == Certificate(0.5, 2.0, 0.5, 0.5, 2.0, 2.0, CONFIDENCE, True)
    assert [each.value for each in x.certificate([0.0, 1.0], 1)] == [1.0, 9.0]
    with pytest.raises(StatisticNotCollected, match="not for 0.3"):
        x.certificate(0.3)
    with pytest.raises(ValueError, match="confidence"):
        x.certificate(0.5, 0)
    empty = ColumnSummary("x", ColumnStats(moments=False), {0.5: np.nan}).certificate(0.5)
    assert np.isnan([empty.low, empty.value_high]).all() and not empty.exact


def test_small_columns_are_exact_and_others_say_what_is_missing():
    assert column(np.array([4.0, 1.0]), sketch=QuantileSketch()).certificate(0.5).exact
    empty = column(np.array([np.nan]), sketch=QuantileSketch()).certificate(0.5)
    assert np.isnan([empty.value, empty.low]).all() and not empty.exact
    with pytest.raises(StatisticNotCollected, match="no quantiles of column 'x'"):
        column(np.array([1.0])).certificate(0.5)
