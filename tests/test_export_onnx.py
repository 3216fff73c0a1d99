"""ONNX: what onnxruntime makes of an export is what the model makes of the same rows."""

import json

import numpy as np
import onnx
import pyarrow as pa
import pytest
from support import exports

import streamnorm as sn
from streamnorm import nn
from streamnorm.export import to_onnx
from streamnorm.export.onnx import ULPS

runtime = pytest.importorskip("onnxruntime")

SEED = 20130405
RTOL = 1e-5  # promised
SCALER_RTOL = 1e-14  # of float64 arithmetic in the same order
EPOCH = 1.7e9  # a time in seconds: float32 puts it on a grid of 128


def run(model, x):
    """The one output, of the one input."""
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [given], [made] = session.get_inputs(), session.get_outputs()
    return session.run([made.name], {given.name: x})[0]


def agree(mine, theirs, rtol=RTOL):
    assert mine.shape == theirs.shape
    np.testing.assert_allclose(theirs, mine, rtol=rtol, atol=rtol * max(1e-300, np.nanmax(np.abs(mine), initial=0)))


def trained(layers, shape, dtype=np.float32):
    """A network in evaluation mode whose parameters and running statistics are not those of a new one."""
    rng = np.random.default_rng(SEED)
    network = nn.Sequential(layers)
    for _, array in network._own_state(""):
        if array.dtype.kind == "f":
            array[...] = rng.uniform(0.5, 1.5, array.shape)
    return network.eval(), rng.normal(size=(13, *shape)).astype(dtype)


FLAT = {
    "dense": [nn.Dense(5, 3)],
    "dense_no_bias": [nn.Dense(5, 3, bias=False)],
    "relu": [nn.Dense(5, 3), nn.ReLU()],
    "tanh": [nn.Tanh()],
    "sigmoid": [nn.Sigmoid()],
    "dropout": [nn.Dropout(0.9), nn.Dense(5, 2)],
    "batch": [nn.BatchNorm(5), nn.Dense(5, 3)],
    "batch_plain": [nn.BatchNorm(5, affine=False)],
    "batch_by_batch": [nn.BatchNorm(5, track_running_stats=False)],
    "layer": [nn.LayerNorm(5)],
    "layer_no_bias": [nn.LayerNorm(5, bias=False, eps=0.1)],
    "layer_plain": [nn.LayerNorm(5, elementwise_affine=False)],
    "instance": [nn.InstanceNorm(5, affine=True)],
    "group": [nn.GroupNorm(2, 6)],
    "rms": [nn.RMSNorm(5)],
    "rms_eps": [nn.RMSNorm(5, eps=0.25, elementwise_affine=False)],
    "nested": [nn.Sequential([nn.Dense(5, 4), nn.ReLU()]), nn.Sequential([nn.Sequential([nn.Dense(4, 2)])])],
    "deep": [nn.Dense(5, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dense(8, 8), nn.LayerNorm(8), nn.Tanh(), nn.Dense(8, 2)],
}


@pytest.mark.parametrize("name", FLAT)
def test_networks_of_rows(name):
    width = 6 if name == "group" else 5
    network, x = trained(FLAT[name], (width,))
    shape = (width,) if name in ("tanh", "sigmoid", "group") else None
    agree(network(x), run(to_onnx(network, sample_shape=shape), x))


IMAGES = {
    "batch": [nn.BatchNorm(4)],
    "batch_last": [nn.BatchNorm(6, channel_axis=-1)],
    "batch_by_batch": [nn.BatchNorm(4, track_running_stats=False)],
    "instance": [nn.InstanceNorm(4, affine=True)],
    "instance_running": [nn.InstanceNorm(4, track_running_stats=True)],
    "instance_last": [nn.InstanceNorm(6, affine=True, channel_axis=-1)],
    "group": [nn.GroupNorm(2, 4)],
    "group_last": [nn.GroupNorm(3, 6, channel_axis=-1)],
    "group_middle": [nn.GroupNorm(5, 5, channel_axis=2)],
    "layer": [nn.LayerNorm((5, 6))],
    "rms": [nn.RMSNorm((4, 5, 6))],
    "flatten": [nn.Flatten(), nn.Dense(120, 3)],
}


@pytest.mark.parametrize("name", IMAGES)
def test_networks_of_larger_samples(name):
    network, x = trained(IMAGES[name], (4, 5, 6))
    model = to_onnx(network, sample_shape=(4, 5, 6))
    agree(network(x), run(model, x))
    agree(network(x[:3]), run(model, x[:3]))  # the batch is any


def test_statistics_are_not_lost_beside_a_large_mean():
    network, x = trained([nn.LayerNorm(64, elementwise_affine=False)], (64,))
    x = (x * 0.01 + 100).astype(np.float32)
    agree(network(x), run(to_onnx(network), x))


def test_float64_stays_float64():
    network, x = trained([nn.Dense(5, 3, dtype=np.float64), nn.LayerNorm(3, dtype=np.float64)], (5,), np.float64)
    model = to_onnx(network)
    found = run(model, x)
    assert found.dtype == np.float64
    agree(network(x), found, rtol=1e-12)
    agree(network(x.astype(np.float32)), run(to_onnx(network, dtype="float32"), x.astype(np.float32)), rtol=1e-6)


@pytest.mark.parametrize("columns", [1, 3])
def test_embeddings_look_codes_up(columns):
    network, x = trained([nn.ColumnEmbedding(7, 4, columns), nn.Dense(2 + 4 * columns, 3)], (2 + columns,))
    x[:, 2:] = np.random.default_rng(SEED).integers(0, 7, x[:, 2:].shape)
    agree(network(x), run(to_onnx(network, sample_shape=(2 + columns,)), x))


def test_embeddings_of_nothing_but_codes():
    network, _ = trained([nn.ColumnEmbedding(7, 4, 2)], (2,))
    x = np.array([[0, 6], [3, 3]], np.float32)
    agree(network(x), run(to_onnx(network, sample_shape=(2,)), x))


WINDOWS = {
    "conv": lambda dtype: [nn.Conv2D(2, 3, dtype=dtype)],
    "conv_same": lambda dtype: [nn.Conv2D(2, 5, (2, 3), (2, 3), "same", bias=False, dtype=dtype), nn.ReLU()],
    "conv_zeros": lambda dtype: [nn.Conv2D(2, 3, (3, 1), (1, 2), (2, 0), dtype=dtype)],
    "pool": lambda dtype: [nn.Conv2D(2, 2, 1, dtype=dtype), nn.MaxPool2D(2)],
    "pool_same": lambda dtype: [nn.Conv2D(2, 2, 1, dtype=dtype), nn.MaxPool2D(3, (1, 2), "same")],
    "pool_zeros": lambda dtype: [nn.Conv2D(2, 2, 1, dtype=dtype), nn.MaxPool2D((2, 3), 1, 1)],
    "network": lambda dtype: [
        nn.Conv2D(2, 4, dtype=dtype), nn.ReLU(), nn.BatchNorm(4, channel_axis=-1, dtype=dtype), nn.MaxPool2D(2),
        nn.Flatten(), nn.Dense(24, 3, dtype=dtype),
    ],
}  # fmt: skip
SEQUENCES = {
    "last": lambda dtype: [nn.LSTM(3, 4, dtype=dtype)],
    "all": lambda dtype: [nn.LSTM(3, 4, True, dtype=dtype)],
    "network": lambda dtype: [
        nn.LSTM(3, 4, True, dtype=dtype), nn.LayerNorm(4, dtype=dtype), nn.LSTM(4, 5, dtype=dtype),
        nn.BatchNorm(5, dtype=dtype), nn.Dense(5, 1, dtype=dtype),
    ],
}  # fmt: skip
RTOLS = {np.float32: RTOL, np.float64: 1e-12}
kinds = pytest.mark.parametrize("dtype", RTOLS)


def signed(network):
    """With weights on both sides of zero: gates that are open wide would hide what is wrong."""
    rng = np.random.default_rng(SEED)
    for parameter in network.parameters():
        parameter[...] = rng.normal(size=parameter.shape)
    return network


@kinds
@pytest.mark.parametrize("name", WINDOWS)
def test_networks_of_images(name, dtype):
    network, x = trained(WINDOWS[name](dtype), (7, 9, 2), dtype)
    model = to_onnx(signed(network), sample_shape=(7, 9, 2))
    found = run(model, x)
    assert found.dtype == dtype
    agree(network(x), found, RTOLS[dtype])
    agree(network(x[:1]), run(model, x[:1]), RTOLS[dtype])


@kinds
@pytest.mark.parametrize("name", SEQUENCES)
def test_networks_of_series(name, dtype):
    network, x = trained(SEQUENCES[name](dtype), (8, 3), dtype)
    model = to_onnx(signed(network), sample_shape=(8, 3))
    found = run(model, x)
    assert found.dtype == dtype
    agree(network(x), found, RTOLS[dtype])
    agree(network(x[:1]), run(model, x[:1]), RTOLS[dtype])


@kinds
def test_networks_of_words(dtype):
    network, _ = trained([nn.Embedding(9, 3, dtype=dtype), *SEQUENCES["network"](dtype)], (8,), dtype)
    model = to_onnx(signed(network), sample_shape=(8,))
    x = np.random.default_rng(SEED).integers(0, 9, (5, 8)).astype(dtype)
    agree(network(x), run(model, x), RTOLS[dtype])


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Conv2D(2, 3)], (7, 9, 3)),
        ([nn.Conv2D(2, 3)], (9, 2)),
        ([nn.Conv2D(2, 3, 5)], (4, 9, 2)),
        ([nn.MaxPool2D(5)], (4, 9, 2)),
        ([nn.LSTM(2, 3)], (4, 3)),
        ([nn.LSTM(2, 3)], (2,)),
    ],
)
def test_samples_that_do_not_fit_images_and_series(layers, shape):
    with pytest.raises(ValueError, match="gets samples of shape"):
        to_onnx(nn.Sequential(layers), sample_shape=shape)
    with pytest.raises(ValueError, match="pass sample_shape"):
        to_onnx(nn.Sequential(layers))


# ------------------------------------------------------------------------------------------------ scalers


SCALERS = {
    "standard": sn.StandardScaler(),
    "center": sn.StandardScaler(with_std=False),
    "minmax": sn.MinMaxScaler((-3, 5.5)),
    "minmax_clip": sn.MinMaxScaler(clip=True),
    "maxabs": sn.MaxAbsScaler(),
    "robust": sn.RobustScaler(),
    "columns": sn.ColumnScaler({0: "minmax", 1: "robust"}, remainder="standard"),
}


@pytest.mark.parametrize("name", SCALERS)
def test_scalers(name):
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(97, 3)) * [1, 1e6, 1e-9] + [EPOCH, 0, 1]
    scaler = SCALERS[name].fit(x)
    x = x * 1.001
    x[5, 1] = np.nan
    found = run(to_onnx(scaler), x)
    agree(scaler.transform(x), found, rtol=SCALER_RTOL)
    assert np.isnan(found[5, 1]) and np.isnan(found).sum() == 1
    narrow = x[:, 1:2].astype(np.float32)
    one = sn.StandardScaler().fit(narrow)
    agree(one.transform(narrow), run(to_onnx(one, dtype=np.float32), narrow))


@pytest.mark.parametrize("name", exports.SCALERS)
def test_scalers_give_the_very_doubles_of_hostile_columns(name):
    table, scaler = exports.hostile_table(), exports.fitted(name)
    found = run(to_onnx(scaler), exports.doubles(table, scaler))
    wide = [i for i, key in enumerate(scaler.summary_) if key != "single"]  # which transform rounds to float32
    expected = exports.doubles(scaler.transform(table), scaler)
    np.testing.assert_array_max_ulp(found[:, wide], expected[:, wide], maxulp=ULPS)


def test_scalers_keep_the_names_of_columns():
    model = to_onnx(sn.StandardScaler().fit(pa.table({"b": [1.0, 2.0], "a": [3.0, 5.0]})))
    props = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(props["features"]) == ["b", "a"]


# ------------------------------------------------------------------------------------------------ files and errors


def test_a_file_is_what_is_returned(tmp_path):
    model = to_onnx(SCALERS["standard"].fit([[1.0], [3.0]]), tmp_path / "scaler.onnx")
    assert onnx.load(tmp_path / "scaler.onnx") == model
    assert [path.name for path in tmp_path.iterdir()] == ["scaler.onnx"]


def test_runtimes_of_2022_know_the_operators():
    network, _ = trained(FLAT["deep"], (5,))
    model = to_onnx(network)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    assert model.ir_version == 8


class Custom(nn.ReLU):
    pass


def test_what_has_no_form_is_an_error():
    with pytest.raises(sn.StreamnormError, match="layer 1 is a Custom"):
        to_onnx(nn.Sequential([nn.Dense(2, 2), Custom()]))
    with pytest.raises(ValueError, match="pass sample_shape"):
        to_onnx(nn.Sequential([nn.Flatten(), nn.Dense(2, 2)]))
    with pytest.raises(ValueError, match="float32 or float64"):
        to_onnx(nn.Sequential([nn.Dense(2, 2)]), dtype=np.float16)
    with pytest.raises(TypeError, match="a dict cannot be exported"):
        to_onnx({})
    with pytest.raises(sn.NotFittedError):
        to_onnx(sn.StandardScaler())
