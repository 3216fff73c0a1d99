"""Tensors, by DLPack: in and out one of the same kind, without copies."""

import numpy as np
import pytest

from streamnorm import fit, transform
from streamnorm.errors import DataError
from streamnorm.scalers import StandardScaler

ROWS = np.array([[1.0, 2.0, 7.0], [3.0, 5.0, 7.5], [8.0, 13.0, 9.0]])


class Tensor:
    """An array that offers DLPack and nothing else."""

    def __init__(self, array, device=(1, 0), namespace=False):
        self._array, self._device = array, device
        self.ndim, self.dtype = array.ndim, array.dtype
        if namespace:
            self.__array_namespace__ = lambda: Namespace

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._device


class Namespace:
    @staticmethod
    def from_dlpack(x):
        return Tensor(np.from_dlpack(x), namespace=True)


def test_what_offers_only_dlpack():
    scaler = StandardScaler().fit(ROWS)
    assert StandardScaler().fit(Tensor(ROWS)).digest() == scaler.digest()
    result = scaler.transform(Tensor(ROWS))
    assert isinstance(result, np.ndarray) and (result == scaler.transform(ROWS)).all()
    result = scaler.transform(Tensor(ROWS, namespace=True))
    assert isinstance(result, Tensor) and (result._array == scaler.transform(ROWS)).all()
    with pytest.raises(DataError, match="X is on device 2:1 of DLPack, and the kernels run on the CPU"):
        scaler.transform(Tensor(ROWS, device=(2, 1)))
    with pytest.raises(DataError, match="cannot take over the memory"):
        scaler.transform(Tensor(np.array([["a"]])))


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "int32", "uint8", "bool", "bfloat16"])
def test_types_of_tensors(name):
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, name)
    X = torch.tensor([[0, 1, 1], [1, 0, 0], [1, 1, 0]]).to(dtype)
    scaler = StandardScaler().fit(X)
    result = scaler.transform(X)
    expected = StandardScaler().fit_transform(X.float().numpy().astype(np.float64))
    assert type(result) is torch.Tensor and result.dtype == (dtype if dtype.is_floating_point else torch.float64)
    tolerance = {"bfloat16": 2**-8, "float16": 2**-10}.get(name, 2**-22)
    np.testing.assert_allclose(result.double().numpy(), expected, rtol=tolerance)
    assert scaler.inverse_transform(result).dtype == result.dtype
    assert isinstance(StandardScaler().fit_transform(X), torch.Tensor)


def test_layouts_of_tensors():
    torch = pytest.importorskip("torch")
    X = torch.from_numpy(ROWS)
    scaler = StandardScaler().fit(X)
    expected = scaler.transform(ROWS)
    for layout in (X, X.t().contiguous().t(), X.repeat_interleave(2, 0)[::2], -torch._neg_view(X)):
        result = scaler.transform(layout)
        assert (result.numpy() == expected).all()
        assert StandardScaler().fit(layout).digest() == scaler.digest()
    assert scaler.transform(X.t().contiguous().t()).stride() == (1, 3)


def test_copy_false_writes_into_the_tensor():
    torch = pytest.importorskip("torch")
    X = torch.from_numpy(ROWS.copy())
    scaler = StandardScaler().fit(X)
    expected = scaler.transform(X)
    assert scaler.transform(X, copy=False) is X and torch.equal(X, expected)
    half = X.bfloat16()
    before = half.clone()
    scaler.transform(half, copy=False)
    assert torch.equal(half, before)


def test_tensors_that_are_refused():
    torch = pytest.importorskip("torch")
    X = torch.from_numpy(ROWS)
    scaler = StandardScaler().fit(X)
    graded = X.clone().requires_grad_()
    assert StandardScaler().fit(graded).digest() == scaler.digest()
    for call in (scaler.transform, scaler.inverse_transform):
        with pytest.raises(DataError, match=r"requires a gradient.*give X.detach\(\)"):
            call(graded)
        with pytest.raises(DataError, match="X is on meta, and the kernels run on the CPU"):
            call(X.to("meta"))
        with pytest.raises(DataError, match=r"is not dense: give X.to_dense\(\)"):
            call(X.to_sparse())
        with pytest.raises(DataError, match="Expected 2D array, got 1D array"):
            call(X[0])
    with pytest.raises(DataError, match="Complex data not supported"):
        scaler.fit(X.to(torch.complex64))
    with pytest.raises(DataError, match="X is on meta"):
        scaler.fit(X.to("meta"))


def test_lists_and_jobs_of_tensors():
    torch = pytest.importorskip("torch")
    X = torch.from_numpy(ROWS)
    scaler = StandardScaler().fit(X)
    assert StandardScaler().fit([X[:1], X[1:]]).digest() == scaler.digest()
    results = scaler.transform([X[:1], X[1:]])
    assert torch.equal(torch.cat(results), scaler.transform(X))
    assert fit(X).digest() == scaler.digest()
    table = transform(X, None, StandardScaler().fit(_table())).read_all()
    assert table.column_names == ["x0", "x1", "x2"]


def _table():
    import pyarrow as pa

    return pa.table({f"x{j}": ROWS[:, j] for j in range(3)})
