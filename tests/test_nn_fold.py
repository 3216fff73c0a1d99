"""Scalers, batch normalization and dense layers into each other."""

import math
import pickle

import numpy as np
import pyarrow as pa
import pytest

import streamnorm as sn
from streamnorm import nn

SEED = 5
RTOL = 1e-12  # what from_scaler promises
FOLD_RTOL = 1e-11  # of the size of the largest summand of an output
D = 4


@pytest.fixture
def X():
    rng = np.random.default_rng(SEED)
    return rng.normal(size=(211, D)) * [1.0, 1e-9, 1e6, 3.0] + [0.0, 1.0, -1e7, 1e3]


SCALERS = {
    "standard": sn.StandardScaler(),
    "ddof": sn.StandardScaler(ddof=1),
    "exact": sn.StandardScaler(exact=True),
    "centered": sn.StandardScaler(with_std=False),
    "scaled": sn.StandardScaler(with_mean=False),
    "neither": sn.StandardScaler(with_mean=False, with_std=False),
    "minmax": sn.MinMaxScaler(),
    "minmax_range": sn.MinMaxScaler((-3, 5)),
    "maxabs": sn.MaxAbsScaler(),
    "robust": sn.RobustScaler(),
    "robust_unit": sn.RobustScaler(unit_variance=True, with_centering=False),
    "columns": sn.ColumnScaler({(0, 2): "robust", 1: "minmax", 3: sn.MaxAbsScaler()}),
}
scalers = pytest.mark.parametrize("scaler", SCALERS.values(), ids=SCALERS)


def with_values(scaler, X):
    return type(scaler)(**scaler.get_params(deep=False)).fit(X)


# ---------------------------------------------------------------- scaler -> layer -> scaler


@scalers
def test_a_layer_does_what_its_scaler_does(scaler, X):
    fitted = with_values(scaler, X)
    layer = nn.BatchNorm.from_scaler(fitted)
    assert not layer.training and layer.eps == 0.0 and layer.dtype == np.float64
    expected = fitted.transform(X)
    np.testing.assert_allclose(layer(X), expected, rtol=RTOL, atol=RTOL * 1e-3)
    assert layer.affine == (scaler is SCALERS["minmax_range"])
    before = layer.state_dict()
    layer(X)
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


@scalers
def test_the_round_trip_gives_the_map_back(scaler, X):
    fitted = with_values(scaler, X)
    back = nn.BatchNorm.from_scaler(fitted).to_scaler()
    assert type(back) is sn.StandardScaler
    maps = list(fitted._maps().values())
    scale = np.array([m.scale for m in maps])
    np.testing.assert_array_max_ulp(back.scale_, scale, maxulp=1)
    np.testing.assert_array_max_ulp(back.mean_, np.array([m.center - m.offset * m.scale for m in maps]), maxulp=1)
    rounding = np.spacing(np.abs(back.mean_)) / np.abs(scale)  # what rounding the center once more does to an output
    assert (np.abs(back.transform(X) - fitted.transform(X)) <= rounding + 1e-14).all()
    if isinstance(fitted, sn.StandardScaler) and fitted.with_mean and fitted.with_std:
        np.testing.assert_array_equal(back.mean_, fitted.mean_)
        np.testing.assert_array_equal(back.scale_, fitted.scale_)


def test_scalers_may_be_merged_loaded_weighted_and_named(X, tmp_path):
    merged = sn.StandardScaler().fit(X[:50]) + sn.StandardScaler().fit(X[50:])
    merged.save(tmp_path / "state.json")
    weighted = sn.StandardScaler().fit(X, sample_weight=np.arange(len(X)) % 3)
    named = sn.fit(pa.table({name: X[:, j] for j, name in enumerate("abcd")}))
    copied = pickle.loads(pickle.dumps(merged))
    for fitted in (merged, sn.load(tmp_path / "state.json"), weighted, copied, named):
        layer = nn.BatchNorm.from_scaler(fitted)
        maps = list(fitted._maps().values())
        np.testing.assert_array_equal(layer.running_mean, [m.center for m in maps])
        np.testing.assert_array_equal(np.sqrt(layer.running_var), [m.scale for m in maps])
    back = layer.to_scaler(columns=list("abcd"))
    table = pa.table({"d": [1.0], "c": [2.0], "b": [3.0], "a": [4.0]})
    assert back.transform(table).equals(named.transform(table))


def test_every_column_counts_constant_and_empty_ones_too():
    X = np.array([[3.0, np.nan, 1.0], [3.0, np.nan, 2.0]])
    with pytest.warns(sn.StreamnormWarning):
        fitted = sn.StandardScaler().fit(X)
    y = nn.BatchNorm.from_scaler(fitted)(X)
    np.testing.assert_array_equal(y, fitted.transform(X))


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1.0, 1e160, 1e300])
@pytest.mark.parametrize("sign", [1, -1])
def test_scales_whose_squares_are_no_numbers(size, sign):
    fitted = sn.StandardScaler.from_statistics([0.5 * size, 0.0], [sign * 0.7 * size, 3.0])
    layer = nn.BatchNorm.from_scaler(fitted)
    X = np.array([[1.3 * size, 1.0], [-2.9 * size, 2.0]])
    np.testing.assert_allclose(layer(X), fitted.transform(X), rtol=RTOL)
    back = layer.to_scaler()
    np.testing.assert_array_equal(back.scale_, fitted.scale_)
    np.testing.assert_array_equal(back.mean_, fitted.mean_)


def test_a_narrower_layer_rounds_the_statistics():
    fitted = sn.StandardScaler().fit([[0.1], [0.3], [1e6]])
    layer = nn.BatchNorm.from_scaler(fitted, dtype=np.float32, channel_axis=-1, threads=1)
    assert layer.running_mean.dtype == np.float32 and layer.threads == 1 and layer.channel_axis == -1
    np.testing.assert_allclose(layer(np.ones((1, 1))), fitted.transform([[1.0]]), rtol=1e-5)
    narrow = nn.BatchNorm.from_scaler(sn.StandardScaler.from_statistics([0.0], [1000.0]), dtype=np.float16)
    assert narrow(np.array([[500.0]])) == pytest.approx(0.5, rel=1e-3)  # 1000 squared is beyond float16
    with pytest.raises(ValueError, match="running_mean has values beyond float32"):
        nn.BatchNorm.from_scaler(sn.StandardScaler.from_statistics([1e300], [1.0]), dtype=np.float32)


@pytest.mark.parametrize(
    ("scaler", "error", "message"),
    [
        (sn.MinMaxScaler(clip=True).fit([[1.0], [2.0]]), ValueError, "MinMaxScaler clips"),
        (sn.ColumnScaler({0: sn.MaxAbsScaler(clip=True)}).fit([[1.0]]), ValueError, "ColumnScaler clips"),
        (sn.ColumnScaler({1: "standard"}).fit([[1.0, 2.0], [1.0, 3.0]]), ValueError, r"columns \[1\] of an array"),
        (sn.StandardScaler.from_statistics([1.0], [5e-324]), ValueError, "channel 0 has a scale so small"),
        (sn.StandardScaler(), sn.NotFittedError, "not fitted"),
        (nn.LayerNorm(2), TypeError, "a fitted scaler of streamnorm is wanted, got LayerNorm"),
    ],
)
def test_what_is_no_affine_map_is_refused(scaler, error, message):
    with pytest.raises(error, match=message):
        nn.BatchNorm.from_scaler(scaler)
    if error is not TypeError and "small" not in message:
        with pytest.raises(error, match=message):
            nn.fold(scaler, np.ones((1, 1)))


# ---------------------------------------------------------------- layer -> scaler


def trained(dtype=np.float64, **options):
    layer = nn.BatchNorm(D, dtype=dtype, **options)
    rng = np.random.default_rng(SEED)
    layer.running_mean, layer.running_var = rng.normal(size=D) * 5, rng.uniform(0.1, 9.0, D)
    if layer.affine:
        layer.weight, layer.bias = [1.5, -0.3, 2.0, -1e-3], rng.normal(size=D)
    return layer


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"eps": 0.25}, {"dtype": np.float32}])
def test_a_scaler_does_what_its_layer_does(options):
    layer = trained(**options)
    scaler = layer.to_scaler()  # in training mode as well: what it will do in evaluation
    X = np.random.default_rng(SEED + 1).normal(size=(50, D)) * 7
    np.testing.assert_allclose(scaler.transform(X), layer.eval()(X), rtol=1e-9, atol=1e-12)
    again = nn.BatchNorm.from_scaler(scaler)
    np.testing.assert_allclose(again(X), layer(X), rtol=1e-9, atol=1e-12)


def test_weight_and_bias_are_in_mean_and_scale():
    layer = nn.BatchNorm(2, eps=0.0, dtype=np.float64)
    layer.running_mean, layer.running_var = [5.0, 1.0], [4.0, 16.0]
    layer.weight, layer.bias = [0.5, -2.0], [1.0, 3.0]
    scaler = layer.to_scaler(columns=["a", "b"])
    assert scaler.scale_.tolist() == [4.0, -2.0] and scaler.mean_.tolist() == [1.0, 7.0]
    assert scaler.transform(pa.table({"b": [3.0], "a": [9.0]})).to_pydict() == {"b": [2.0], "a": [2.0]}
    with pytest.raises(sn.NotMergeableError, match="made from given statistics"):
        scaler.partial_fit([[1.0, 2.0]])


def test_a_calibrated_layer_gives_the_scaler_of_its_source(X):
    scaler = nn.BatchNorm(D, eps=0.0, dtype=np.float64).calibrate(X).to_scaler()
    fitted = sn.StandardScaler(ddof=1).fit(X)
    np.testing.assert_array_equal(scaler.mean_, fitted.mean_)
    np.testing.assert_allclose(scaler.scale_, fitted.scale_, rtol=1e-15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": [1.0, 0.0, 1.0, 1.0]}, "channel 1 has the weight 0"),
        ({"running_var": [1.0, 1.0, 1.0, 0.0]}, "channel 3 has running_var . eps that is not positive"),
        ({"running_var": [1.0, -1.0, 1.0, 1.0]}, "channel 1 has running_var . eps that is not positive"),
        ({"running_mean": [math.nan, 1.0, 1.0, 1.0]}, "channel 0 has a value that is not finite"),
        ({"bias": [1e300] * 4, "weight": [1e-200] * 4}, "mean is -inf for column 0"),
    ],
)
def test_a_layer_that_is_no_scaler_says_which_channel(change, message):
    layer = trained(eps=0.0)
    for name, values in change.items():
        setattr(layer, name, values)
    with pytest.raises(ValueError, match=message):
        layer.to_scaler()


# ---------------------------------------------------------------- fold


def assert_folds(norm, apply, X, weight, bias):
    before = (weight.copy(), None if bias is None else np.copy(bias))
    W, b = nn.fold(norm, weight, bias)
    assert W.dtype == b.dtype == weight.dtype and W.shape == weight.shape and b.shape == (len(weight),)
    assert not np.shares_memory(W, weight) and type(W) is type(b) is np.ndarray
    expected = apply(X) @ weight.T.astype(np.float64) + (0.0 if bias is None else bias)
    size = np.abs(X) @ np.abs(W.T.astype(np.float64)) + np.abs(b)  # of the summands, whose rounding errors stay
    tolerance = FOLD_RTOL if weight.dtype == np.float64 else 8 * np.finfo(weight.dtype).eps
    assert (np.abs(X @ W.T.astype(np.float64) + b - expected) <= tolerance * size).all()
    np.testing.assert_array_equal(weight, before[0])
    if bias is not None:
        np.testing.assert_array_equal(bias, before[1])


@scalers
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_dense_layer_takes_over_from_a_scaler(scaler, dtype, X):
    fitted = with_values(scaler, X)
    weight = np.random.default_rng(SEED).normal(size=(3, D)).astype(dtype)
    assert_folds(fitted, fitted.transform, X, weight, None)
    assert_folds(fitted, fitted.transform, X, weight, np.array([1.0, -2.0, 0.5], dtype))


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"eps": 0.25}, {"dtype": np.float32}])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_dense_layer_takes_over_from_a_layer(options, dtype):
    layer = trained(**options).eval()
    if layer.affine:
        layer.weight[2] = 0  # which a scaler could not have
    X = np.random.default_rng(SEED + 2).normal(size=(50, D)) * 7
    weight = np.random.default_rng(SEED).normal(size=(3, D)).astype(dtype)
    before = layer.state_dict()
    assert_folds(layer, layer, X, weight, [0.5, 0.0, -1.0])
    assert_folds(layer, layer, X, nn.Parameter(weight), None)
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_fold_by_hand():
    layer = nn.BatchNorm(2, eps=0.0, dtype=np.float64).eval()
    layer.running_mean, layer.running_var = [1.0, 2.0], [4.0, 0.25]
    weight, bias = nn.fold(layer, np.array([[1.0, 1.0], [0.0, 2.0]]), [10.0, 20.0])
    assert weight.tolist() == [[0.5, 2.0], [0.0, 4.0]] and bias.tolist() == [5.5, 12.0]


def test_fold_is_pytorchs():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(SEED)
    peer, linear = torch.nn.BatchNorm1d(D).double(), torch.nn.Linear(D, 3).double()
    peer(torch.from_numpy(rng.normal(size=(64, D)) * 3 + 1))
    layer = nn.BatchNorm(D, dtype=np.float64)
    layer.load_state_dict(peer.state_dict())
    W, b = nn.fold(layer.eval(), linear.weight.detach().numpy(), linear.bias.detach().numpy())
    x = rng.normal(size=(10, D))
    expected = linear(peer.eval()(torch.from_numpy(x))).detach().numpy()
    np.testing.assert_allclose(x @ W.T + b, expected, rtol=1e-12, atol=1e-14)


ONE = sn.StandardScaler.from_statistics([1.0], [2.0])


@pytest.mark.parametrize(
    ("norm", "weight", "bias", "error", "message"),
    [
        (nn.BatchNorm(1), [[1.0]], None, ValueError, "in training mode.*call eval"),
        (nn.BatchNorm(1, track_running_stats=False), [[1.0]], None, ValueError, "normalizes by each batch"),
        (nn.LayerNorm(1), [[1.0]], None, TypeError, "LayerNorm cannot be folded, because.*each instance"),
        (nn.RMSNorm(1).eval(), [[1.0]], None, TypeError, "RMSNorm cannot be folded"),
        (nn.GroupNorm(1, 1).eval(), [[1.0]], None, TypeError, "GroupNorm cannot be folded"),
        (nn.InstanceNorm(1).eval(), [[1.0]], None, TypeError, "InstanceNorm cannot be folded"),
        ("standard", [[1.0]], None, TypeError, "a BatchNorm or a fitted scaler, got str"),
        (ONE, [1.0], None, ValueError, r"weight has shape \(1,\), and \(out_features, 1\)"),
        (ONE, [[1.0, 2.0]], None, ValueError, r"weight has shape \(1, 2\)"),
        (ONE, [[1]], None, TypeError, "float16, float32 or float64, got int64"),
        (ONE, [[1.0]], [1.0, 2.0], ValueError, r"bias has shape \(2,\), and \(1,\)"),
        (ONE, [[math.nan]], None, ValueError, "weight holds NaN"),
        (ONE, [[1.0]], [math.inf], ValueError, "bias holds NaN"),
        (sn.StandardScaler.from_statistics([1e6], [1.0]), np.ones((1, 1), np.float16), None, ValueError, "float16"),
        (sn.StandardScaler.from_statistics([1.0], [1e-320]), [[1.0]], None, ValueError, "beyond float64"),
    ],
)
def test_what_cannot_be_folded_is_named(norm, weight, bias, error, message):
    with pytest.raises(error, match=message):
        nn.fold(norm, weight, bias)
