"""Rules by name: columns without spread, infinite values, and presets against the systems that they are named after."""

import copy
import json
import math
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import HOSTILE, as_doubles

import streamnorm as sn
from streamnorm import state
from streamnorm.rule_names import CONSTANT, PRESETS

pytestmark = pytest.mark.filterwarnings("ignore::streamnorm.StreamnormWarning")

METHODS = ("standard", "minmax", "maxabs", "robust")
RTOL = 1e-12  # between two ways to compute the same in doubles
ULPS = 8  # roundings of the other formula, relative to the largest term in it
FLOAT32 = 2.0**-23


def both(preset, method, values, **rules):
    scaler = sn.fit(values, method, preset=preset, **rules)
    return scaler, scaler.transform(values)[:, 0]


def close(got, expected, size=0.0, rtol=RTOL):
    expected = np.asarray(expected, dtype=np.float64)
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=ULPS * np.finfo(float).eps * size)


# scikit-learn itself, on every hostile column

UNLIKE = {
    "arrow_empty": "it refuses a column without rows, and so do we",
    "plus_minus_1e308": "its sums overflow to NaN",
}
NAN = ("size_1e300", "standard")  # its variance overflows to NaN, and every value with it


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", [case for case, _ in HOSTILE if case not in UNLIKE])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_preset_sklearn_has_its_numbers(case, method):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    values = as_doubles(dict(HOSTILE)[case])[:, None]
    name = type(sn.fit([[1.0], [2.0]], method)).__name__
    theirs = getattr(preprocessing, name)().fit(values)
    expected = theirs.transform(values)[:, 0]
    if (case, method) == NAN:
        assert np.isnan(expected).all()
        return
    mine, got = both("sklearn", method, values)
    np.testing.assert_allclose(mine.scale_, theirs.scale_, rtol=1e-9)
    # What their formula can lose: x * scale + min for a range, x - mean for moments.
    size = np.nanmax(np.abs(values)) / mine._all_maps()[0].scale if not np.isnan(values).all() else 0.0
    close(got, expected, size=abs(size), rtol=1e-9)


def test_preset_sklearn_of_a_column_without_values_gives_nan_for_any_value():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    empty = np.full((3, 1), np.nan)
    for method in METHODS:
        theirs = getattr(preprocessing, type(sn.fit([[1.0], [2.0]], method)).__name__)()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = theirs.fit(empty).transform([[5.0]])
        assert np.array_equal(sn.fit(empty, method, preset="sklearn").transform([[5.0]]), expected, equal_nan=True)
        assert sn.fit(empty, method).transform([[5.0]]) == 5.0


# Spark: recorded from pyspark 4.3.0 (OpenJDK, one partition), StandardScaler(withMean=True), MinMaxScaler(min=-3,
# max=5.5) and MaxAbsScaler.

SPARK = {
    "spread": (
        [1.0, 2.0, 4.0, 8.0],
        [0.3230291412348993, 0.6460582824697986, 1.2921165649395971, 2.5842331298791943],
        [-0.8883301383959731, -0.5653009971610737, 0.08075728530872482, 1.372873850248322],
        [-3.0, -1.7857142857142858, 0.6428571428571423, 5.5],
        [0.125, 0.25, 0.5, 1.0],
    ),
    "constant": ([3.7] * 4, [0.0] * 4, [0.0] * 4, [1.25] * 4, [0.9999999999999999] * 4),
    "zero": ([0.0] * 4, [0.0] * 4, [0.0] * 4, [1.25] * 4, [0.0] * 4),
    "one_row": ([42.5], [0.0], [0.0], [1.25], [1.0]),
    "tiny": (
        [1e-13, 2e-13, 4e-13, 8e-13],
        [0.32302914123489934, 0.6460582824697987, 1.2921165649395974, 2.5842331298791947],
        [-0.8883301383959733, -0.5653009971610738, 0.08075728530872481, 1.3728738502483222],
        [-3.0, -1.7857142857142858, 0.6428571428571432, 5.5],
        [0.125, 0.25, 0.5, 1.0],
    ),
    "negative": (
        [-5.0, -4.0, -2.0, -1.0],
        [-2.73861278752583, -2.1908902300206643, -1.0954451150103321, -0.5477225575051661],
        [-1.0954451150103321, -0.5477225575051661, 0.5477225575051661, 1.0954451150103321],
        [-3.0, -0.875, 3.375, 5.5],
        [-1.0, -0.8, -0.4, -0.2],
    ),
    "almost": (
        [1.0, 1.0, 1.0, 1.0 + 2.0**-52],
        None,  # their mean is rounded to 1, and the deviations with it
        None,
        [-3.0, -3.0, -3.0, 5.5],
        [0.9999999999999998, 0.9999999999999998, 0.9999999999999998, 1.0],
    ),
    "offset": (
        [1e9 + 1, 1e9 + 2, 1e9 + 4, 1e9 + 8],
        [323029143.06476617, 323029143.38779527, 323029144.0338536, 323029145.3259701],
        None,  # their means of large values have lost digits
        [-3.0, -1.7857142857142858, 0.6428571428571423, 5.5],
        [0.9999999930000001, 0.9999999940000001, 0.9999999960000001, 1.0],
    ),
}


@pytest.mark.parametrize("case", SPARK)
def test_preset_spark_has_its_numbers(case):
    x, plain, centered, ranged, largest = SPARK[case]
    X = np.array(x)[:, None]
    rtol = 1e-8 if case == "offset" else RTOL
    if plain is not None:
        close(both("spark", "standard", X)[1], plain, rtol=rtol)
    if centered is not None:
        scaler = sn.StandardScaler(ddof=1, constant="zero").fit(X)
        close(scaler.transform(X)[:, 0], centered, size=1.0)
    close(sn.MinMaxScaler((-3, 5.5), constant="zero").fit(X).transform(X)[:, 0], ranged, size=10.0)
    close(both("spark", "maxabs", X)[1], largest)


def squares(x):
    """The mean, and the sum of squared deviations from it before it was rounded."""
    mean = math.fsum(x) / len(x)
    rest = x - mean
    return mean, max(math.fsum(rest**2) - math.fsum(rest) ** 2 / len(x), 0.0)


def spark_twin(x, method):
    """The formulas of Spark's own sources."""
    x = np.asarray(x, dtype=np.float64)
    x = x[~np.isnan(x)]
    if method == "standard":
        variance = squares(x)[1] / (len(x) - 1) if len(x) > 1 else 0.0
        return x * (1.0 / math.sqrt(variance) if variance else 0.0)
    if method == "minmax":
        spread = x.max() - x.min()
        return (x - x.min()) * (1.0 / spread) if spread else np.full(len(x), 0.5)
    largest = np.abs(x).max()
    return x / (largest if largest else 1.0)


# Keras: recorded from keras 3.15.1 (torch backend, float32), Normalization(axis=-1).adapt.

KERAS = {
    "spread": ([1.0, 2.0, 4.0, 8.0], [-1.0257552862167358, -0.6527533531188965, 0.09325048327445984, 1.58525812625885]),
    "constant": ([3.5] * 4, [0.0] * 4),
    "zero": ([0.0] * 4, [0.0] * 4),
    "one_row": ([42.5], [0.0]),
    "tiny": (
        [1e-9, 2e-9, 4e-9, 8e-9],
        [-0.02749999798834324, -0.017499998211860657, 0.002500000176951289, 0.04249999672174454],
    ),
    "offset": (
        [10001.0, 10002.0, 10004.0, 10008.0],
        [-1.0257552862167358, -0.6527533531188965, 0.09325048327445984, 1.58525812625885],
    ),
}


@pytest.mark.parametrize("case", KERAS)
def test_preset_keras_has_its_numbers(case):
    x, expected = KERAS[case]
    _, got = both("keras", "standard", np.array(x)[:, None])
    np.testing.assert_allclose(got, expected, rtol=4 * FLOAT32, atol=0)


def keras_twin(x, method):
    x = np.asarray(x, dtype=np.float64)
    x = x[~np.isnan(x)]
    mean, sum_of_squares = squares(x)
    return (x - mean) / max(math.sqrt(sum_of_squares / len(x)), 1e-7)


def lerobot_twin(x, method):
    """normalize_processor.py: MEAN_STD and MIN_MAX, in double precision."""
    x = np.asarray(x, dtype=np.float64)
    x = x[~np.isnan(x)]
    if method == "standard":
        mean, sum_of_squares = squares(x)
        return (x - mean) / (math.sqrt(sum_of_squares / len(x)) + 1e-8)
    spread = x.max() - x.min()
    return 2 * (x - x.min()) / (spread if spread else 1e-8) - 1


LEROBOT = {  # by hand from those formulas: std of 1, 2, 4, 8 is sqrt(7.1875)
    ("standard", (1.0, 2.0, 4.0, 8.0)): [(v - 3.75) / (math.sqrt(7.1875) + 1e-8) for v in (1.0, 2.0, 4.0, 8.0)],
    ("standard", (3.5, 3.5)): [0.0, 0.0],
    ("minmax", (1.0, 2.0, 5.0)): [-1.0, -0.5, 1.0],
    ("minmax", (3.5, 3.5)): [-1.0, -1.0],
    ("minmax", (42.5,)): [-1.0],
}


@pytest.mark.parametrize("method, x", LEROBOT)
def test_preset_lerobot_has_its_numbers(method, x):
    scaler, got = both("lerobot", method, np.array(x)[:, None])
    close(got, LEROBOT[method, x], size=1.0)
    close(lerobot_twin(x, method), LEROBOT[method, x], size=1.0)
    close(scaler.inverse_transform(got[:, None])[:, 0], x)


def test_what_lerobot_makes_of_new_values_in_a_constant_column():
    scaler, _ = both("lerobot", "minmax", np.array([[3.5], [3.5]]))
    close(scaler.transform([[4.5]])[0], [2 * 1.0 / 1e-8 - 1])
    scaler, _ = both("lerobot", "standard", np.array([[3.5], [3.5]]))
    close(scaler.transform([[4.5]])[0], [1e8])


TWINS = [
    ("spark", spark_twin, "standard"),
    ("spark", spark_twin, "minmax"),
    ("spark", spark_twin, "maxabs"),
    ("keras", keras_twin, "standard"),
    ("lerobot", lerobot_twin, "standard"),
    ("lerobot", lerobot_twin, "minmax"),
]
# Squares of these leave the range of a double in the other systems' formulas.
# And none of them takes a column without rows or values.
BEYOND = {"size_1e300", "plus_minus_1e308", "size_1e-200", "denormals", "arrow_empty", "arrow_all_null"}


@pytest.mark.parametrize("preset, twin, method", TWINS)
@pytest.mark.parametrize("case", [case for case, _ in HOSTILE if case not in BEYOND])
def test_presets_on_hostile_columns(case, preset, twin, method):
    values = as_doubles(dict(HOSTILE)[case])[:, None]
    scaler, got = both(preset, method, values)
    m = scaler._all_maps()[0]
    size = 0.0 if math.isinf(m.scale) else np.nanmax(np.abs(values)) / m.scale
    # Where an offset is 1e15 times the spread, a twin's own mean is off by that much.
    close(got[~np.isnan(got)], twin(values[:, 0], method), size=size, rtol=1e-9)


# The rules one by one

COLUMN = np.array([[2.0, 5.0], [4.0, 5.0], [9.0, 5.0]])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rule", CONSTANT)
def test_rules_travel_and_come_back(rule, method, tmp_path):
    eps = {"eps": 0.5} if rule in ("floor", "add", "replace") else {}
    data = COLUMN if rule != "error" else COLUMN[:, :1]
    scaler = sn.fit(data, method, constant=rule, infinite="ignore", **eps)
    scaler.save(tmp_path / "s.json")
    again = sn.load(tmp_path / "s.json")
    assert repr(again) == repr(scaler) and f"constant={rule!r}" in repr(scaler) or rule == "relative"
    assert np.array_equal(again.transform(data), scaler.transform(data))
    assert again.digest() == scaler.digest() == sn.fit(data, method).digest()
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(data)), data, rtol=RTOL)
    assert sn.inspect(tmp_path / "s.json")["params"]["constant"] == rule
    both = (again + scaler).transform(data)
    assert np.isfinite(both).all()


def test_what_zero_makes_of_a_column_and_of_its_new_values():
    X, new = np.full((3, 1), 5.0), np.array([[5.0], [7.0], [np.nan]])
    for scaler, fate in (
        (sn.StandardScaler(constant="zero"), 0.0),
        (sn.RobustScaler(constant="zero"), 0.0),
        (sn.MinMaxScaler((2, 4), constant="zero"), 3.0),
    ):
        result = scaler.fit(X).transform(new)
        assert result[:2].tolist() == [[fate], [fate]] and np.isnan(result[2])
        assert scaler.inverse_transform(result)[:2].tolist() == [[5.0], [5.0]]
        table = scaler.fit(pa.table({"a": X[:, 0]})).transform(pa.table({"a": [7.0, None]}))
        assert table["a"].to_pylist() == [fate, None]
    assert sn.MaxAbsScaler(constant="zero").fit(X * 0).transform(new)[:2].tolist() == [[5.0], [7.0]]


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_column_can_be_an_error(method, tmp_path):
    X = COLUMN if method != "maxabs" else COLUMN * [1, 0]
    with pytest.raises(sn.DataError, match="column 1 has no spread.*constant='error'") as caught:
        sn.fit(X, method, constant="error")
    assert caught.value.column == 1
    table = pa.table({"a": X[:, 0], "b": X[:, 1]})
    pq.write_table(table, tmp_path / "t.parquet")
    for source in (table, tmp_path / "t.parquet"):
        with pytest.raises(sn.DataError, match="column 'b' has no spread"):
            sn.fit(source, method, constant="error")
    with pytest.raises(sn.DataError, match="column 'b' has no spread"):
        sn.normalize(tmp_path / "t.parquet", tmp_path / "out.parquet", method, constant="error")
    assert not (tmp_path / "out.parquet").exists()
    stream = type(sn.fit(X, method))(constant="error").partial_fit(X)  # more rows may come
    with pytest.raises(sn.DataError, match="column 1 has no spread"):
        stream.transform(X)
    assert stream.partial_fit(X + [[0, 1], [0, 2], [0, 3]]).transform(X).shape == (3, 2)


def test_a_fit_that_is_refused_leaves_the_scaler_as_it_was():
    scaler = sn.StandardScaler(constant="error").fit(COLUMN[:, :1])
    with pytest.raises(sn.DataError):
        scaler.fit(COLUMN)
    assert scaler.n_features_in_ == 1


INFINITE = np.array([1.0, np.inf, 2.0, np.nan, -np.inf, 4.0, 8.0])
FINITE = np.where(np.isinf(INFINITE), np.nan, INFINITE)


def many(values):
    """Longer than a block of the kernels, and no multiple of one."""
    return np.resize(values, 5003)


def sources(values, tmp_path):
    table = pa.table({"x": pa.array(values, mask=np.zeros(len(values), bool), from_pandas=False)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=700)
    return [values[:, None], table, iter(table.to_batches(max_chunksize=97)), tmp_path / "x.parquet"]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rule", ["null", "ignore"])
def test_infinities_are_left_out_like_missing_values(rule, method, exact, tmp_path):
    expected = sn.fit(many(FINITE)[:, None], method, exact=exact)
    for source in sources(many(INFINITE), tmp_path):
        scaler = sn.fit(source, method, exact=exact, infinite=rule, spool=True)
        [column], [other] = scaler.summary_.values(), expected.summary_.values()
        assert column.count == other.count and column.stats.infinite_count == np.isinf(many(INFINITE)).sum()
        assert column.stats.nan_count == np.isnan(many(INFINITE)).sum()
        np.testing.assert_allclose(scaler.scale_, expected.scale_, rtol=1e-13)
        again = state.loads(state.dumps(scaler))
        assert again.digest() == scaler.digest() and repr(again) == repr(scaler)
        assert again.summary_[column.name].stats.infinite_count == column.stats.infinite_count


@pytest.mark.parametrize("rule", ["null", "ignore"])
@pytest.mark.parametrize("weights", [None, 1.5])
def test_how_the_rows_come_in_shows_in_no_bit(rule, weights):
    values = many(INFINITE)[:, None]
    w = None if weights is None else np.full(len(values), weights)
    for method in METHODS:
        whole = sn.fit(values, method, infinite=rule, sample_weight=w)
        parts = type(whole)(infinite=rule)
        for start in range(0, len(values), 611):
            piece = slice(start, start + 611)
            parts.partial_fit(values[piece], sample_weight=None if w is None else w[piece])
        assert parts.digest() == whole.digest()
        column = whole.summary_[0]
        assert column.count + column.nan_count + column.stats.infinite_count == len(values)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_becomes_of_infinities_in_the_output(dtype, tmp_path):
    x = INFINITE.astype(dtype)
    null, ignore = (sn.fit(x[:, None], infinite=rule) for rule in ("null", "ignore"))
    got = null.transform(x[:, None])[:, 0]
    assert got.dtype == dtype and np.array_equal(np.isnan(got), ~np.isfinite(INFINITE))
    assert np.array_equal(ignore.transform(x[:, None])[:, 0][np.isinf(INFINITE)], [np.inf, -np.inf])
    assert np.isinf(x).sum() == 2  # transform left its input alone
    field = pa.field("x", pa.from_numpy_dtype(x.dtype), nullable=False)
    table = pa.table({"x": pa.array(x, mask=np.zeros(len(x), bool), from_pandas=False)}, schema=pa.schema([field]))
    pq.write_table(table, tmp_path / "x.parquet")
    scaler = sn.normalize(tmp_path / "x.parquet", tmp_path / "y.parquet", infinite="null")
    streamed = scaler.transform(pa.RecordBatchReader.from_batches(table.schema, table.to_batches())).read_all()
    for result in (pq.read_table(tmp_path / "y.parquet"), scaler.transform(table), streamed):
        assert result.schema.field("x").nullable
        assert result["x"].is_null().to_pylist() == np.isinf(INFINITE).tolist()
        values = result["x"].to_numpy()
        assert np.array_equal(values[np.isfinite(INFINITE)], got[np.isfinite(INFINITE)])
        result.validate(full=True)


def test_transform_blanks_in_place_where_it_may():
    X = np.array([[1.0, np.inf], [2.0, 1.0], [3.0, 2.0]])
    scaler = sn.ColumnScaler({1: sn.StandardScaler(infinite="null", copy=False)}).fit(X)
    result = scaler.transform(X, copy=False)
    assert result is X and np.isnan(X[0, 1]) and X[:, 0].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_infinities_in_frames(library):
    frame = pytest.importorskip(library).DataFrame({"x": INFINITE[[0, 1, 2, 5]]})
    result = sn.fit(frame, "maxabs", infinite="null").transform(frame)
    assert type(result) is type(frame)
    assert result["x"].to_list()[0] == 0.25
    missing = result["x"].isna() if library == "pandas" else result["x"].is_null()
    assert list(missing) == [False, True, False, False]


def test_infinities_are_an_error_unless_a_rule_is_named(tmp_path):
    for source in sources(INFINITE, tmp_path):
        with pytest.raises(sn.DataError, match='infinite value.*infinite="null" or "ignore"'):
            sn.fit(source)


def test_exact_parts_with_infinities_merge_and_subtract():
    a, b = (sn.fit(v[:, None], exact=True, infinite="null") for v in (many(INFINITE), INFINITE[:4]))
    assert ((a + b) - b).digest() != a.digest()  # minimum and maximum are forgotten
    assert ((a + b) - b).mean_ == a.mean_ and ((a + b) - b).summary_[0].stats.infinite_count == 1430


@pytest.mark.parametrize(
    "rules", [{"constant": "zero"}, {"infinite": "ignore"}, {"constant": "add", "eps": 1.0}], ids=str
)
@pytest.mark.parametrize("method", METHODS)
def test_different_rules_do_not_merge(method, rules):
    a, b = sn.fit(COLUMN, method), sn.fit(COLUMN, method, **rules)
    with pytest.raises(sn.NotMergeableError, match="go by different rules.*fit both by the same"):
        a + b
    with pytest.raises(sn.NotMergeableError, match="different rules"):
        sn.ColumnScaler({0: a}).fit(COLUMN).merge(sn.ColumnScaler({0: b}).fit(COLUMN))
    with pytest.raises(sn.NotMergeableError, match="different rules"):
        sn.merge([b, a])
    assert sn.merge([b, copy.deepcopy(b)]).summary_.rows == 6


def test_what_only_computes_maps_refuses_to_make_nulls(tmp_path):
    scaler = sn.fit(COLUMN[:, :1], infinite="null")
    with pytest.raises(sn.DataError, match="infinite='null', which only transform and normalize go by"):
        sn.nn.fold(scaler, np.ones((2, 1)), np.zeros(2))
    pq.write_table(pa.table({"a": COLUMN[:, 0]}), tmp_path / "a.parquet")
    with pytest.raises(sn.DataError, match="fit with infinite='ignore' for this"):
        next(iter(sn.batches(tmp_path / "a.parquet", scaler=sn.fit(tmp_path / "a.parquet", infinite="null"))))


# What is asked for, and how

BAD = [
    (dict(constant="none"), "'constant' parameter of StandardScaler must be one of 'relative'"),
    (dict(infinite=None), "'infinite' parameter"),
    (dict(constant="add"), "needs a positive number eps, got None"),
    (dict(constant="floor", eps=0.0), "needs a positive number eps, got 0.0"),
    (dict(eps=1e-8), "leave eps out"),
]


@pytest.mark.parametrize("params, message", BAD, ids=str)
def test_bad_rules_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        sn.StandardScaler(**params).fit(COLUMN)


def test_a_preset_is_a_bundle_of_parameters():
    for preset, methods in PRESETS.items():
        for method, params in methods.items():
            scaler = sn.fit(COLUMN[:, :1], method, preset=preset)
            assert scaler.get_params().items() >= params.items()
    assert sn.fit(COLUMN, preset="spark", ddof=0, infinite="null").get_params().items() >= {
        "ddof": 0, "infinite": "null", "constant": "zero", "with_mean": False
    }.items()  # fmt: skip


def test_rules_go_with_names_of_methods():
    table = pa.table({"a": COLUMN[:, 0], "b": COLUMN[:, 1], "c": COLUMN[:, 0]})
    own = sn.MinMaxScaler()
    scaler = sn.fit(table, {"a": "standard", "b": own}, preset="lerobot")
    assert scaler.transformers["a"].eps == 1e-8 and scaler.transformers["b"] is own
    rest = sn.fit(table, sn.ColumnScaler({"a": own}, remainder="minmax"), constant="zero", ddof=None)
    assert rest.remainder.constant == "zero"
    for method, rules, message in (
        (own, {"preset": "spark"}, "preset go with the name of a method"),
        ({"a": own}, {"constant": "zero"}, "there is none: give each scaler its own"),
        ("minmax", {"ddof": 1}, "ddof is no parameter of the method 'minmax'"),
        ("robust", {"preset": "spark"}, "no 'robust' that could be reproduced"),
        ("standard", {"preset": "numpy"}, "preset must be one of 'sklearn', 'spark'"),
    ):
        with pytest.raises(ValueError, match=message):
            sn.fit(table, method, **rules)


def test_an_update_goes_by_the_rules_of_the_state(tmp_path):
    pq.write_table(pa.table({"a": [1.0, np.inf]}), tmp_path / "1.parquet")
    old = sn.fit(tmp_path, infinite="null")
    pq.write_table(pa.table({"a": [4.0, -np.inf]}), tmp_path / "2.parquet")
    new = sn.fit(tmp_path, update=old)
    assert new.mean_ == 2.5 and new.infinite == "null" and new.summary_["a"].stats.infinite_count == 2
    with pytest.raises(ValueError, match="update goes by the rules of the state"):
        sn.fit(tmp_path, update=old, infinite="ignore")
    with pytest.raises(sn.DataError, match="the state to update is of"):
        sn.fit(tmp_path, "standard", update=old, infinite="ignore")


def test_footers_serve_where_infinities_are_left_out(tmp_path):
    pq.write_table(pa.table({"a": [1.0, 4.0], "b": [np.inf, 1.0]}), tmp_path / "1.parquet")
    scaler = sn.fit(tmp_path, "minmax", infinite="ignore")
    assert scaler.summary_.source["a"] == "footer" and scaler.summary_.source["b"].startswith("scan")
    assert scaler.data_max_.tolist() == [4.0, 1.0]
    assert scaler.partial_fit(pa.table({"a": [7.0, np.inf], "b": [0.0, 0.0]})).data_max_.tolist() == [7.0, 1.0]


def test_doubts_tell_what_becomes_of_a_constant():
    for rules, fate in (
        ({}, "centered and not scaled"),
        ({"constant": "zero"}, "set to 0"),
        ({"constant": "add", "eps": 0.5}, "centered and divided by eps=0.5"),
    ):
        with pytest.warns(sn.StreamnormWarning, match=f"the only value is 5.0.*; {fate}$"):
            sn.fit(COLUMN, **rules)


def test_the_command_line_takes_rules(folder):
    from click.testing import CliRunner

    from streamnorm.cli import cli

    pq.write_table(pa.table({"x": [1.0, np.inf, 3.0], "c": [2.0, 2.0, 2.0]}), "bad.parquet")

    def run(*arguments):
        return CliRunner().invoke(cli, arguments)

    run("normalize", "bad.parquet", "-o", "good.parquet", "--infinite", "null", "--preset", "spark")
    assert pq.read_table("good.parquet").to_pydict() == {
        "x": [pytest.approx(1 / math.sqrt(2)), None, pytest.approx(3 / math.sqrt(2))],
        "c": [0.0, 0.0, 0.0],
    }
    run("fit", "bad.parquet", "-o", "rules.json", "--constant", "floor", "--eps", "0.5", "--infinite", "ignore")
    params = json.loads((folder / "rules.json").read_text())["scaler"]["params"]
    assert (params["constant"], params["eps"], params["infinite"]) == ("floor", 0.5, "ignore")
    for arguments in (
        ("--preset", "keras", "--method", "minmax"),
        ("--eps", "0.5"),
        ("--method", "robust", "--ddof", "1"),
    ):
        result = run("fit", "trips.parquet", "-o", "no.json", *arguments)
        assert result.exit_code == 2, result.output
