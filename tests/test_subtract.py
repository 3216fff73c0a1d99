"""What stays when a part is taken out of an exact state, and what is refused because it would not be exact."""

import math
import pickle
import re
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from conftest import HOSTILE, bits
from hypothesis import given
from hypothesis import strategies as st
from support.files import numbers, write

import streamnorm as sn
from streamnorm import state
from streamnorm._core import ColumnStats
from streamnorm.errors import NotMergeableError, StateError, StatisticNotCollected
from streamnorm.listing import as_table

value = st.one_of(
    st.floats(allow_infinity=False, width=64), st.sampled_from([0.0, -0.0, 1.0, 1e308, -1e308]), st.none()
)


def stats(values):
    return ColumnStats(exact=True).update(values if not isinstance(values, list) else pa.array(values, pa.float64()))


def figures(column):
    """All but the extrema, in bits."""
    kept = {key: item for key, item in column.state().items() if key not in ("min", "max", "scale", "kind")}
    return kept, [repr(x) for x in (column.mean, column.var(), column.var(1), column.std())]


@given(st.lists(value, max_size=30), st.lists(value, max_size=30))
def test_the_rest_has_the_bits_of_a_fit_of_the_rest(kept, gone):
    whole = stats(kept + gone)
    rest = whole.copy().subtract(stats(gone))
    assert figures(rest) == figures(stats(kept))
    has_values = [any(v is not None and not math.isnan(v) for v in values) for values in (kept, gone)]
    assert rest.has_extrema is not all(has_values)
    if rest.has_extrema:
        assert (rest.min, rest.max) == (stats(kept).min, stats(kept).max)
    assert figures(rest.merge(stats(gone))) == figures(whole)
    assert rest.has_extrema is not all(has_values)  # a merge does not bring them back


@pytest.mark.parametrize("array", [array for _, array in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_every_type_of_column_can_be_subtracted(array):
    cut = len(array) // 3
    rest = stats(array).subtract(stats(array[:cut]))
    assert figures(rest) == figures(stats(array[cut:]))
    again = ColumnStats.from_state(rest.state())
    assert again.state() == rest.state() and again.has_extrema == rest.has_extrema
    assert figures(again.update(array[:cut])) == figures(stats(array))


@pytest.mark.parametrize(
    ("whole", "part", "message"),
    [
        ([1.0], [1.0, 1.0], "counted more"),
        ([1.0, None], [None, None], "counted more"),
        ([1.0, 2.0], [float("nan")], "counted more"),
        ([1.0, 2.0, 3.0], [0.0], "values that the whole has not"),
        ([1.0, 2.0, 3.0], [4.0], "values that the whole has not"),
        ([1.0, 3.0], [2.0, 2.0], "sums are not those"),
        ([1.0, 3.0], [2.0], "sums are not those"),
        ([0.0, 0.0, 5.0, -5.0], [5.0, 5.0, -5.0], "sums are not those"),
        (pa.array([1, 2]), [1.0], "different kinds"),
        (pa.array([Decimal("1.0"), Decimal("2.0")]), pa.array([Decimal("1.00")]), "different kinds"),
    ],
)
def test_what_is_no_part_is_refused(whole, part, message):
    whole = stats(whole)
    before = whole.state()
    with pytest.raises(ValueError, match=message):
        whole.subtract(stats(part))
    assert whole.state() == before and whole.has_extrema


def test_integers_that_turned_to_floats_are_a_part_of_floats():
    whole = stats(pa.array([1, 2])).update(pa.array([0.5]))
    assert whole.subtract(stats(pa.array([1, 2]))).mean == 0.5


def test_only_exact_sums_are_subtracted():
    for column in (ColumnStats(), ColumnStats(moments=False), ColumnStats(exact=True, sketch=sn.QuantileSketch())):
        with pytest.raises(ValueError, match="only counts and exact sums"):
            column.subtract(column)


# ----------------------------------------------------------------------------------------------------- scalers


@pytest.fixture
def data(tmp_path):
    for i in range(3):
        write(tmp_path / "data" / f"{i}.parquet", numbers(200, start=i))
    return tmp_path / "data"


def test_taking_a_file_out(data, tmp_path):
    whole = sn.fit(data, exact=True)
    before = state.dumps(whole)
    rest = whole - sn.fit(data / "1.parquet", exact=True)
    expected = sn.fit([data / "0.parquet", data / "2.parquet"], exact=True)
    assert state.dumps(whole) == before
    for name in ("mean_", "var_", "scale_", "n_samples_seen_", "feature_names_in_"):
        np.testing.assert_array_equal(getattr(rest, name), getattr(expected, name))
    assert rest.transform(numbers(50)).equals(expected.transform(numbers(50)))
    assert rest.summary_.files == expected.summary_.files
    rest.save(tmp_path / "s.json")
    for again in (sn.load(tmp_path / "s.json"), pickle.loads(pickle.dumps(rest))):
        assert state.dumps(again) == state.dumps(rest) and again.digest() == rest.digest()
        assert not again.summary_["a"].stats.has_extrema
    assert (rest + sn.fit(data / "1.parquet", exact=True)).mean_.tolist() == whole.mean_.tolist()
    assert sn.fit(data, update=rest).mean_.tolist() == whole.mean_.tolist()  # the file is new again
    sn.transform(data / "0.parquet", tmp_path / "out.parquet", rest)
    assert not sn.load(tmp_path / "out.parquet").summary_["a"].stats.has_extrema


def test_extrema_of_the_rest_are_not_known(data, tmp_path):
    rest = sn.fit(data, exact=True) - sn.fit(data / "1.parquet", exact=True)
    column = rest.summary_["b"]
    for ask, what in ((lambda: column.min, "minimum"), (lambda: column.max, "maximum")):
        with pytest.raises(StatisticNotCollected, match=f"no {what} of column 'b': .* after a subtraction, fit anew"):
            ask()
    assert "min=" not in repr(rest.summary_) and "mean=" in repr(rest.summary_)
    rest.save(tmp_path / "s.json")
    said = sn.inspect(tmp_path / "s.json")
    assert "min" not in said["columns"][0] and "mean" in said["columns"][0]
    table = as_table(said, said["columns"], 0, tty=False)
    assert re.search(r"^a +400 ", table, re.M) and not re.search(r"\bmin\b", table)
    assert rest.partial_fit(numbers(10)).summary_.rows == 410 and not rest.summary_["b"].stats.has_extrema


def test_decimals_keep_their_scale(tmp_path):
    def prices(*texts):
        return pa.table({"price": pa.array(map(Decimal, texts), pa.decimal128(9, 2))})

    rest = sn.fit(prices("1.10", "2.25", "9.99"), exact=True) - sn.fit(prices("9.99"), exact=True)
    expected = sn.fit(prices("1.10", "2.25"), exact=True)
    again = state.loads(state.dumps(rest))
    assert again.mean_ == expected.mean_ and bits(again) == bits(rest)
    assert (again + sn.fit(prices("9.99"), exact=True)).summary_["price"].count == 3
    text = state.dumps(rest).replace('"scale": 2', '"scale": 77')
    with pytest.raises(StateError):
        state.loads(text)


def test_methods_by_column_are_subtracted_if_all_are_exact(data):
    exact = {"a": sn.StandardScaler(exact=True), "b": sn.StandardScaler(exact=True, ddof=1)}
    rest = sn.fit(data, exact) - sn.fit(data / "1.parquet", exact)
    expected = sn.fit([data / "0.parquet", data / "2.parquet"], exact)
    assert rest.transform(numbers(50)).equals(expected.transform(numbers(50)))
    mixed = {"a": sn.StandardScaler(exact=True), "b": "minmax"}
    with pytest.raises(NotMergeableError, match="from column 'b': the next smaller or larger value"):
        sn.fit(data, mixed) - sn.fit(data / "1.parquet", mixed)


def test_exact_quantiles_are_not_subtracted(data):
    whole, part = sn.fit(data, "robust", exact=True), sn.fit(data / "1.parquet", "robust", exact=True)
    with pytest.raises(NotMergeableError, match="from column 'a': its exact quantiles say nothing of the other values"):
        whole - part


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("standard", "moments are rounded; fit with exact=True"),
        ("minmax", "the next smaller or larger value after its extrema is not kept; fit anew"),
        ("maxabs", "the next smaller or larger value after its extrema is not kept; fit anew"),
        ("robust", "quantiles come from a sketch.*fit anew"),
    ],
)
def test_what_is_not_exact_says_why_and_what_helps(method, message, data):
    whole, part = sn.fit(data, method), sn.fit(data / "1.parquet", method)
    before = state.dumps(whole)
    with pytest.raises(NotMergeableError, match=f"nothing can be subtracted from column 'a': .*{message}"):
        whole - part
    assert state.dumps(whole) == before


def test_parts_that_are_none(data, tmp_path):
    whole, part = sn.fit(data, exact=True), sn.fit(data / "1.parquet", exact=True)
    write(tmp_path / "other.parquet", numbers(20, start=9))
    with pytest.raises(NotMergeableError, match=r"other.parquet was not counted: subtract parts"):
        whole - sn.fit(tmp_path / "other.parquet", exact=True)
    with pytest.raises(NotMergeableError, match=r"1.parquet was not counted"):
        (whole - part) - part
    with pytest.raises(NotMergeableError, match="column 'a' cannot be subtracted: it is no part: it has values that"):
        whole - sn.fit(pa.table({"a": [1e9], "b": [0]}), exact=True)
    with pytest.raises(NotMergeableError, match="nothing would stay"):
        whole - whole
    with pytest.raises(NotMergeableError, match="only here: 'b'"):
        whole - sn.fit(data / "1.parquet", exact=True, columns="a")
    with pytest.raises(NotMergeableError, match="a StandardScaler is subtracted from another one, not a MinMaxScaler"):
        whole - sn.fit(data, "minmax")
    with pytest.raises(TypeError):
        whole - 1
    with pytest.raises(sn.NotFittedError):
        sn.StandardScaler(exact=True) - part
    assert (whole - sn.StandardScaler(exact=True)).digest() == whole.digest()


def test_states_of_footers_are_parts_as_well(data, tmp_path):
    whole = sn.fit(data, exact=True)
    sn.normalize(data / "1.parquet", tmp_path / "out.parquet", exact=True)
    rest = whole - sn.load(tmp_path / "out.parquet")
    assert [file.path[-9:] for file in rest.summary_.files] == ["0.parquet", "2.parquet"]


def test_what_was_in_memory_is_subtracted_by_its_numbers():
    table = numbers(100)
    rest = sn.fit(table, exact=True) - sn.fit(table.slice(60), exact=True)
    np.testing.assert_array_equal(rest.mean_, sn.fit(table.slice(0, 60), exact=True).mean_)
