"""Summaries: figures by name, what was not collected, and the laws of merging."""

import numpy as np
import pyarrow as pa
import pytest

from streamnorm._core import ColumnStats
from streamnorm._sketch import QuantileSketch
from streamnorm.errors import NotMergeableError, StatisticNotCollected, StreamnormError
from streamnorm.summary import Summary


def stats(values, **kernels):
    return ColumnStats(**kernels).update(np.asarray(values))


@pytest.fixture
def summary():
    return Summary({"fare": stats([1.0, 2.0, np.nan]), "stops": stats([3, 4, 8])})


def states(summary):
    return {name: column.stats.state() for name, column in summary.items()}


def test_figures_by_name(summary):
    fare, stops = summary["fare"], summary["stops"]
    assert list(summary) == ["fare", "stops"]
    assert (fare.rows, fare.count, fare.null_count, fare.nan_count) == (3, 2, 0, 1)
    assert (fare.mean, fare.var(), fare.var(ddof=1), fare.std()) == (1.5, 0.25, 0.5, 0.5)
    assert (stops.min, stops.max) == (3, 8) and isinstance(stops.min, int)
    assert summary.rows == 3 and summary.named and not Summary({0: stats([1.0])}).named


def test_quantiles_from_the_sketch():
    column = Summary({"x": stats(np.arange(5.0), sketch=QuantileSketch())})["x"]
    assert column.quantile(0.5) == 2.0
    assert column.quantile([0.0, 1.0]).tolist() == [0.0, 4.0]
    assert column.rank_error == 0


@pytest.mark.parametrize(
    ("ask", "remedy"),
    [
        (lambda c: c.mean, "StandardScaler"),
        (lambda c: c.var(), "StandardScaler"),
        (lambda c: c.std(), "StandardScaler"),
        (lambda c: c.quantile(0.5), "RobustScaler"),
        (lambda c: c.rank_error, "RobustScaler"),
    ],
)
def test_what_was_not_collected_says_so(ask, remedy):
    column = Summary({"fare": stats([1.0], moments=False)})["fare"]
    with pytest.raises(StatisticNotCollected, match=f"'fare'.*{remedy}") as caught:
        ask(column)
    assert isinstance(caught.value, AttributeError) and isinstance(caught.value, StreamnormError)


def test_unknown_column_names_its_neighbours(summary):
    with pytest.raises(KeyError, match="did you mean 'fare'"):
        summary["fair"]
    assert "fair" not in summary


def test_merge_goes_by_name_in_any_order(summary):
    other = Summary({"stops": stats([1]), "fare": stats([6.0])})
    before = states(other)
    assert summary.merge(other) is summary
    assert list(summary) == ["fare", "stops"]
    assert (summary["fare"].mean, summary["stops"].min, summary["fare"].count) == (3.0, 1, 3)
    assert str(states(other)) == str(before)


def test_merge_with_itself_doubles(summary):
    summary.merge(summary)
    assert (summary["fare"].count, summary["fare"].mean) == (4, 1.5)


def test_the_empty_summary_is_neutral(summary):
    before = str(states(summary))
    assert str(states(summary.copy().merge(Summary()))) == before
    assert str(states(Summary().merge(summary))) == before
    no_rows = Summary({name: ColumnStats() for name in summary})
    assert str(states(summary.merge(no_rows))) == before


def test_merge_into_the_empty_one_copies(summary):
    merged = Summary().merge(summary)
    merged["fare"].stats.update(np.array([100.0]))
    assert summary["fare"].max == 2.0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            Summary({"fare": stats([1.0]), "stop": stats([1])}),
            "only here: 'stops'; only in the other: 'stop'",
        ),
        (Summary({"fare": stats([1.0])}), "only here: 'stops'; only in the other: none"),
        (Summary({"fare": stats([1.0]), "stops": stats([1], moments=False)}), "column 'stops'.*two ways"),
    ],
)
def test_merge_of_what_does_not_match_changes_nothing(summary, other, message):
    before = str(states(summary))
    with pytest.raises(NotMergeableError, match=message):
        summary.merge(other)
    assert str(states(summary)) == before


def test_merge_of_unlike_decimals_names_the_column():
    cents, mills = (pa.array(["1.5"]).cast(pa.decimal128(9, scale)) for scale in (2, 3))
    a = Summary({"fare": ColumnStats().update(cents)})
    with pytest.raises(NotMergeableError, match="column 'fare' cannot be merged"):
        a.merge(Summary({"fare": ColumnStats().update(mills)}))


def test_repr_shows_figures_and_stays_short(summary):
    text = repr(summary)
    assert "3 rows, 2 columns" in text and "mean=1.5" in text and "nan_count=1" in text and "max=8" in text
    robust = Summary({"x": stats([1.0, 3.0], sketch=QuantileSketch())})
    assert "median=2" in repr(robust)
    many = Summary({j: stats([1.0]) for j in range(100)})
    assert len(repr(many).splitlines()) == 22
