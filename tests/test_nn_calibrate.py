"""BatchNorm.calibrate: the statistics of a whole source, from whatever it is."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamnorm as sn
from streamnorm import nn

SEED = 11
RTOL = 1e-13  # of float64 statistics against NumPy's
D, ROWS = 3, 1013


@pytest.fixture
def X():
    return np.random.default_rng(SEED).normal(size=(ROWS, D)) * [1.0, 10.0, 0.1] + [5.0, -3.0, 100.0]


@pytest.fixture
def table(X):
    return pa.table({"id": [str(i) for i in range(ROWS)], **{name: X[:, j] for j, name in enumerate("abc")}})


def norm(channels=D, **options):
    return nn.BatchNorm(channels, dtype=np.float64, **options)


def assert_is(layer, mean, var, count):
    np.testing.assert_allclose(layer.running_mean, mean, rtol=RTOL)
    np.testing.assert_allclose(layer.running_var, var, rtol=RTOL)
    assert layer.num_batches_tracked == count and layer.num_batches_tracked.dtype == np.int64


def sources(table, X, tmp_path):
    pq.write_table(table, tmp_path / "whole.parquet", row_group_size=200)
    parts = tmp_path / "parts"
    parts.mkdir()
    for i in range(3):
        pq.write_table(table.slice(400 * i, 400), parts / f"{i}.parquet")
    return {
        "array": X,
        "table": table,
        "reader": table.to_reader(100),
        "file": tmp_path / "whole.parquet",
        "files": str(parts),
        "paths": sorted(parts.iterdir()),
        "batches": iter([X[:7], X[7:500], X[500:]]),
        "generator": (X[i : i + 50] for i in range(0, ROWS, 50)),
        "list": [X[:100], X[100:]],
        "tables": iter(table.to_batches(300)),
        "rows": X.tolist(),
    }


KINDS = ["array", "table", "reader", "file", "files", "paths", "batches", "generator", "list", "tables", "rows"]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_any_source_gives_mean_and_unbiased_variance(X, table, tmp_path, kind, exact):
    layer = norm()
    assert layer.calibrate(sources(table, X, tmp_path)[kind], exact=exact) is layer
    assert_is(layer, X.mean(0), X.var(0, ddof=1), ROWS)
    assert layer.training


def test_exact_statistics_do_not_depend_on_the_order(X):
    one, other = norm().calibrate(X, exact=True), norm().calibrate(iter([X[500:][::-1], X[:500]]), exact=True)
    np.testing.assert_array_equal(one.running_mean, other.running_mean)
    np.testing.assert_array_equal(one.running_var, other.running_var)
    scaler = sn.StandardScaler(exact=True, ddof=1).fit(X)
    np.testing.assert_array_equal(one.running_var, scaler.var_)


def test_columns_are_chosen_by_name(X, table):
    assert_is(norm(2).calibrate(table, columns=["c", "a"]), X[:, [0, 2]].mean(0), X[:, [0, 2]].var(0, ddof=1), ROWS)
    assert_is(norm(2).calibrate(table, exclude="b"), X[:, [0, 2]].mean(0), X[:, [0, 2]].var(0, ddof=1), ROWS)


def test_nulls_and_nan_are_left_out_of_their_column_alone():
    table = pa.table({"a": [1.0, None, 4.0, float("nan")], "b": [1, 2, 3, None]})
    assert_is(norm(2).calibrate(table), [2.5, 2.0], [4.5, 1.0], 4)
    images = np.array([[[1.0, np.nan], [1.0, 3.0]], [[4.0, np.nan], [5.0, 7.0]]])
    assert_is(norm(2).calibrate(images), [2.5, 4.0], [4.5, 20 / 3], 2)


def test_masked_values_are_left_out():
    x = np.arange(24.0).reshape(4, 2, 3)
    mask = x % 5 == 1
    expected = np.where(mask, np.nan, x)
    for source in (np.ma.array(x, mask=mask), iter([np.ma.array(x, mask=mask)])):
        assert_is(norm(2).calibrate(source), np.nanmean(expected, (0, 2)), np.nanvar(expected, (0, 2), ddof=1), 4)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
def test_arrays_of_more_dimensions_have_channels_along_their_axis(axis, dtype, monkeypatch):
    x = (np.random.default_rng(SEED).normal(size=(5, 4, 7, 6)) * 10 + 3).astype(dtype)
    others = tuple(i for i in range(4) if i != axis % 4)
    wide = x.astype(np.float64)
    mean, var = wide.mean(others), wide.var(others, ddof=1)
    samples = x.shape[others[0]]
    layer = norm(x.shape[axis], channel_axis=axis).calibrate(x)
    assert_is(layer, mean, var, samples)
    blocks = norm(x.shape[axis], channel_axis=axis)
    monkeypatch.setattr("streamnorm.nn._calibrate.BLOCK_VALUES", 100)
    cut = np.array_split(x, [2, 3], axis=others[0])
    for source in (x, iter(cut), cut, (part for part in cut)):
        blocks.calibrate(source)
        np.testing.assert_array_equal(blocks.running_mean, layer.running_mean)  # the same bits, however it is cut
        np.testing.assert_array_equal(blocks.running_var, layer.running_var)
        assert blocks.num_batches_tracked == samples


def test_two_dimensional_arrays_may_have_channels_first(X):
    assert_is(norm(D, channel_axis=0).calibrate(X.T), X.mean(0), X.var(0, ddof=1), ROWS)
    assert_is(norm(D, channel_axis=0).calibrate(iter([X.T])), X.mean(0), X.var(0, ddof=1), ROWS)


def test_a_batch_normalized_after_it_is_standard(X):
    y = norm(eps=0.0).calibrate(X).eval()(X)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(0, ddof=1), 1, rtol=1e-12)


def test_tensors_come_in_batches(X):
    torch = pytest.importorskip("torch")
    batches = torch.utils.data.DataLoader(torch.from_numpy(X.reshape(ROWS, D, 1)), batch_size=64)
    assert_is(norm().calibrate(iter(batches)), X.mean(0), X.var(0, ddof=1), ROWS)


def test_one_batch_calibrates_as_training_does_without_momentum(X):
    calibrated, trained = norm().calibrate(X), norm(momentum=None)
    trained(X)
    np.testing.assert_allclose(calibrated.running_mean, trained.running_mean, rtol=RTOL)
    np.testing.assert_allclose(calibrated.running_var, trained.running_var, rtol=RTOL)


def test_training_goes_on_from_it(X):
    layer = norm(momentum=None).calibrate(X)
    layer(X[:32] + 1000.0)
    moved = layer.running_mean - X.mean(0)
    assert ((moved > 0) & (moved < 1.01 * 1000 / ROWS)).all()  # one batch does not drown the source
    assert layer.num_batches_tracked == ROWS + 1


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_stays(X, training):
    assert norm().train(training).calibrate(X).training is training


def test_a_constant_column_is_no_doubt(recwarn):
    layer = norm(2, eps=1e-3).calibrate(np.array([[1.0, 2.0], [1.0, 4.0]]))
    assert layer.running_var.tolist() == [0.0, 2.0] and not recwarn.list


@pytest.mark.parametrize("kind", ["array", "file"])
def test_progress_is_told(X, table, tmp_path, kind):
    calls = []
    source = sources(table, X, tmp_path)[kind]
    norm().calibrate(source, progress=lambda *call: calls.append(call), memory="64MB", threads=1)
    assert calls[-1][:2] == (ROWS, ROWS)


def _lacking_values():
    return pa.table({"a": [1.0, 2.0], "b": [None, 4.0], "c": [1, 2]})


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (np.ones((4, 2)), {}, "array of 2 columns, and num_features is 3"),
        (iter([np.ones((4, 2))]), {}, r"array of shape \(4, 2\), and num_features, 3, along axis 1"),
        (np.ones((2, 4, 4)), {}, r"array of shape \(2, 4, 4\), and num_features, 3, along axis 1"),
        (np.ones(3), {}, r"array of shape \(3,\)"),
        (pa.table({"a": [1.0], "b": [2.0]}), {}, r"2 columns to calibrate on \('a', 'b'\), and num_features is 3"),
        (_lacking_values(), {"exclude": "a"}, "2 columns to calibrate on .'b', 'c'."),
        (_lacking_values(), {}, "column 'b' has 1 value that are neither null nor NaN"),
        (np.ones((1, 3)), {}, "column 0 has 1 value"),
        (np.array([[1.0, 2.0, np.inf]] * 2), {}, "column 2 holds 2 infinite values"),
        (np.ones((4, 3)), {"columns": ["a"]}, "need named columns"),
        (iter([]), {}, "no rows"),
    ],
)
def test_what_cannot_calibrate_is_named_and_changes_nothing(source, options, message):
    layer = norm()
    layer(np.random.default_rng(SEED).normal(size=(4, 3)))
    before = layer.state_dict()
    with pytest.raises(sn.DataError, match=message):
        layer.calibrate(source, **options)
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_the_number_of_columns_is_known_before_anything_is_read(table, tmp_path):
    pq.write_table(table, tmp_path / "x.parquet")
    calls = []
    with pytest.raises(sn.DataError, match="3 columns to calibrate on .'a', 'b', 'c'., and num_features is 2"):
        norm(2).calibrate(tmp_path / "x.parquet", progress=lambda *call: calls.append(call))
    assert not calls


def test_statistics_beyond_the_type_are_refused():
    x = np.array([[1e25], [-1e25]])
    layer = nn.BatchNorm(1)
    with pytest.raises(sn.DataError, match="column 0 has a mean of 0.*beyond what running statistics of float32 hold"):
        layer.calibrate(x)
    assert layer.running_var.tolist() == [1.0]
    assert norm(1).calibrate(x).running_var == pytest.approx(2e50)
    with pytest.raises(sn.DataError, match="divide it by a constant"):
        norm(1).calibrate(x * 1e150)


def test_a_layer_without_running_statistics_is_refused(X):
    with pytest.raises(ValueError, match="track_running_stats=True"):
        norm(track_running_stats=False).calibrate(X)
    with pytest.raises(TypeError, match="exact must be True or False"):
        norm().calibrate(X, exact="yes")
