"""The PyTorch module gives the doubles of `transform` and of its inverse, in itself and as source."""

import io

import numpy as np
import pytest
from support.exports import SCALERS, doubles, fitted, hostile_table

import streamnorm as sn

torch = pytest.importorskip("torch")

from streamnorm.export import to_torch  # noqa: E402
from streamnorm.export.torch import FLOAT32_EPS, ULPS, ColumnScaling, torch_source  # noqa: E402


def same(mine, theirs, bound=ULPS):
    assert theirs.shape == mine.shape
    np.testing.assert_array_max_ulp(theirs, mine, maxulp=bound)


@pytest.mark.parametrize("name", SCALERS)
def test_the_same_doubles_as_transform_and_its_inverse(name):
    scaler, module = fitted(name), to_torch(fitted(name))
    x = doubles(hostile_table(), scaler)
    if name != "columns":  # which knows its columns by name alone
        same(scaler.transform(x), module(torch.from_numpy(x)).numpy())
        same(scaler.inverse_transform(x), module.inverse(torch.from_numpy(x)).numpy())
    y = module(torch.from_numpy(x)).numpy()
    expected = scaler.transform(hostile_table())
    wide = [i for i, key in enumerate(scaler.summary_) if key != "single"]
    same(doubles(expected, scaler)[:, wide], y[:, wide])
    scope = {}
    exec(torch_source(scaler), scope)
    same(y, scope["scaling"](torch.from_numpy(x)).numpy())


def test_samples_may_have_any_leading_dimensions():
    scaler = sn.MinMaxScaler((-1, 1)).fit([[0.0, 1.0], [2.0, 5.0]])
    x = np.random.default_rng(1).normal(size=(3, 4, 2))
    found = to_torch(scaler)(torch.from_numpy(x)).numpy()
    same(scaler.transform(x.reshape(-1, 2)).reshape(x.shape), found)


def test_float32_computes_in_float32():
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(500, 3)) * [1, 1e-5, 3] + [0, 1, 1e6]).astype(np.float32)
    scaler = sn.StandardScaler().fit(x)
    module = to_torch(scaler, dtype=torch.float32)
    found = module(torch.from_numpy(x))
    assert found.dtype == torch.float32 and {b.dtype for b in module.buffers()} == {torch.float32}
    wide = x.astype(np.float64)
    expected = scaler.transform(wide)
    unit = np.finfo(np.float32).eps * ((np.abs(wide) + np.abs(scaler.mean_)) / scaler.scale_ + np.abs(expected))
    assert np.all(np.abs(found.numpy() - expected) <= FLOAT32_EPS * unit)
    assert module.double()(torch.from_numpy(x)).dtype == torch.float64


def test_the_state_dict_travels_and_nothing_is_trained(tmp_path):
    module = to_torch(sn.RobustScaler().fit([[1.0], [2.0], [9.0]]))
    assert not list(module.parameters())
    assert set(module.state_dict()) == {"center", "scale", "offset", "low", "high"}
    other = to_torch(sn.StandardScaler().fit([[0.0], [1.0]]))
    other.load_state_dict(module.state_dict())
    x = torch.tensor([[3.0], [float("nan")]], dtype=torch.float64)
    assert torch.equal(other(x)[:1], module(x)[:1]) and torch.isnan(other(x)[1, 0])
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert type(loaded) is ColumnScaling
    assert torch.equal(loaded(x)[:1], module(x)[:1])


def test_gradients_go_through():
    x = torch.tensor([[3.0]], dtype=torch.float64, requires_grad=True)
    to_torch(sn.StandardScaler().fit([[1.0], [5.0]]))(x).sum().backward()
    assert x.grad.item() == 0.5


def test_wrong_types():
    with pytest.raises(TypeError, match="floating type"):
        to_torch(sn.StandardScaler().fit([[1.0], [5.0]]), dtype=torch.int32)
    with pytest.raises(TypeError, match="cannot be exported"):
        to_torch(torch.nn.Linear(1, 1))
