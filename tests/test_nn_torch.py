"""The layers for PyTorch compute what PyTorch's own do, forward and backward, in memory that they share with it."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.torch_layers import CASES, HAS_RMS, close, data, every_case, pair, spy_on_kernels  # noqa: E402
from torch import nn  # noqa: E402
from torch.autograd import forward_ad, gradcheck  # noqa: E402

import streamnorm.nn.torch as st  # noqa: E402
from streamnorm.nn import functional as kernels  # noqa: E402

# torch's own modules use what torch has deprecated, when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 1e-3}


@pytest.fixture
def calls(monkeypatch):
    """The names of the kernels that were called."""
    return spy_on_kernels(monkeypatch)


def compare(ours, theirs, x, tolerance):
    """One forward and backward pass of each; theirs in float64 whatever ours has."""
    x1, x2 = x.clone().requires_grad_(), x.double().requires_grad_()
    y1, y2 = ours(x1), theirs(x2)
    assert y1.dtype == x.dtype
    close(y1, y2, tolerance)
    if y2.requires_grad:
        dy = torch.randn(y2.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).to(x.dtype)
        y1.backward(dy)
        y2.backward(dy.double())
        close(x1.grad, x2.grad, tolerance)
    for (name, p1), (_, p2) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        close(p1.grad, p2.grad, tolerance * 10)  # a sum over the batch
        assert p1.grad.dtype == p1.dtype, name
    for b1, b2 in zip(ours.buffers(), theirs.buffers(), strict=True):
        close(b1, b2, tolerance)


@every_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_training_and_evaluation_agree_with_torch(case, dtype, calls):
    theirs, ours = pair(case, dtype)
    theirs.double()
    if case.startswith("rms"):
        theirs.eps = ours.eps or torch.finfo(dtype).eps  # theirs works in float64
    for seed in (1, 2):
        compare(ours, theirs, data(case, dtype, seed), TOLERANCE[dtype])
    norm = calls[0].removesuffix("_forward")
    assert calls == [f"{norm}_forward", f"{norm}_backward"] * 2
    ours.eval(), theirs.eval()
    compare(ours, theirs, data(case, dtype, 3), TOLERANCE[dtype])
    calls.clear()
    with torch.no_grad():
        close(ours(data(case, dtype)), theirs(data(case).to(dtype).double()), TOLERANCE[dtype])
    assert calls == [norm]


@every_case
def test_gradients_agree_with_differences(case):
    _, layer = pair(case)
    for mode in (True, False):
        layer.train(mode)
        assert gradcheck(lambda x, *_: layer(x), (data(case).requires_grad_(), *layer.parameters()))


@every_case
def test_half_precision(case, calls):
    theirs, ours = pair(case, torch.float16)
    if case.startswith("rms"):
        theirs.eps = ours.eps = 1e-2
    compare(ours, theirs.double(), data(case, torch.float16), 4e-3)
    assert len(calls) == 2


def test_half_precision_with_parameters_in_single(calls):
    theirs, ours = pair("batch2d", torch.float32)
    compare(ours, theirs.double(), data("batch2d", torch.float16), 4e-3)
    assert len(calls) == 2


@pytest.mark.filterwarnings("ignore:Mismatch dtype:UserWarning")
@pytest.mark.skipif(not HAS_RMS, reason="torch before 2.4")
def test_rms_norm_in_half_precision_is_torchs_where_versions_differ(calls):
    for dtype, eps in ((torch.float16, None), (torch.float32, 1e-2)):
        theirs, ours = pair("rms", dtype)
        theirs.eps = ours.eps = eps
        x = data("rms", torch.float16) * 1e-3  # where eps shows
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
    assert calls == []


@every_case
def test_memory_is_shared_and_not_copied(case, monkeypatch):
    seen = []

    def spy(kernel):
        def wrapper(*args, out=None, **kwargs):
            seen.append((args, out))
            return kernel(*args, out=out, **kwargs)

        return wrapper

    name = CASES[case][0].rstrip("123d").removesuffix("Norm").lower() + "_norm"
    monkeypatch.setattr(kernels, f"{name}_forward", spy(getattr(kernels, f"{name}_forward")))
    monkeypatch.setattr(kernels, f"{name}_backward", spy(getattr(kernels, f"{name}_backward")))
    _, layer = pair(case)
    x = data(case).requires_grad_()
    y = layer(x)
    dy = torch.ones_like(y)
    (dx,) = torch.autograd.grad(y, x, dy)
    (forward, out), (backward, dx_out) = seen
    assert np.shares_memory(forward[0], x.detach().numpy())
    assert out.__array_interface__["data"][0] == y.data_ptr()
    assert np.shares_memory(backward[0], dy.numpy()) and np.shares_memory(backward[1], x.detach().numpy())
    assert dx_out.__array_interface__["data"][0] == dx.data_ptr()
    for tensor in layer.state_dict().values():
        if tensor.dim():
            assert any(isinstance(a, np.ndarray) and np.shares_memory(a, tensor.numpy()) for a in forward)


@pytest.mark.parametrize("case", ["batch2d", "instance2d", "group"])
def test_channels_last_stays(case, calls):
    theirs, ours = pair(case)
    x = data(case).contiguous(memory_format=torch.channels_last)
    assert not x.is_contiguous()
    x1, x2 = x.clone().requires_grad_(), x.clone().requires_grad_()
    y1, y2 = ours(x1), theirs(x2)
    assert y1.stride() == x.stride()
    y1.square().sum().backward()
    y2.square().sum().backward()
    assert x1.grad.stride() == x.stride() and len(calls) == 2
    close(y1, y2, 1e-12)
    close(x1.grad, x2.grad, 1e-11)


@every_case
def test_views_and_expanded_tensors(case):
    theirs, ours = pair(case)
    shape = CASES[case][-1]
    wide = torch.randn(*shape[:-1], 2 * shape[-1], dtype=torch.float64)
    expanded = torch.randn(1, *shape[1:], dtype=torch.float64).expand(shape)
    for x in (wide[..., ::2], expanded):
        x1, x2 = x.detach().requires_grad_(), x.detach().requires_grad_()
        ours(x1).sum().backward()  # whose gradient is expanded too
        theirs(x2).sum().backward()
        close(x1.grad, x2.grad, 1e-11)
        close(ours(x), theirs(x), 1e-12)


@every_case
@pytest.mark.parametrize("mode", [True, False])
def test_no_samples(case, mode):
    name, _, _, shape = CASES[case]
    if case in ("layer-all", "instance1d-unbatched"):
        shape = (0, *shape)
    theirs, ours = (layer.train(mode) for layer in pair(case))
    x1, x2 = (torch.empty(0, *shape[1:], dtype=torch.float64, requires_grad=True) for _ in range(2))
    y1 = ours(x1)
    assert y1.shape == x1.shape
    try:
        y2 = theirs(x2)
    except IndexError:  # with parameters or running statistics, theirs wants at least one instance
        assert case.startswith("instance")
        y1.sum().backward()
        assert all((parameter.grad == 0).all() for parameter in ours.parameters())
        return
    assert y1.shape == y2.shape
    y1.sum().backward()
    y2.sum().backward()
    assert x1.grad.shape == x2.grad.shape
    for p1, p2 in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p1.grad, p2.grad)
    if not case.startswith("instance"):  # whose mean over no instances theirs takes for the running one
        for b1, b2 in zip(ours.buffers(), theirs.buffers(), strict=True):
            torch.testing.assert_close(b1, b2, equal_nan=True)


@every_case
def test_only_asked_gradients_are_made(case):
    _, layer = pair(case)
    layer.requires_grad_(False)
    x = data(case)
    assert not layer(x).requires_grad
    layer(x.requires_grad_()).sum().backward()
    assert x.grad is not None and all(p.grad is None for p in layer.parameters())
    for frozen in layer.parameters():
        layer.requires_grad_(True)
        frozen.requires_grad_(False)
        layer.zero_grad()
        y = layer(data(case))
        if not y.requires_grad:
            continue
        y.sum().backward()
        assert frozen.grad is None and all(p.grad is not None for p in layer.parameters() if p is not frozen)


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_functions_take_one_parameter_without_the_other(name, calls):
    x = data("batch2d")
    parameter = torch.rand(3, dtype=torch.float64)
    other = {"weight": {"bias": torch.zeros_like(parameter)}, "bias": {"weight": torch.ones_like(parameter)}}[name]
    for run in (
        lambda space, **both: space.batch_norm(x, None, None, training=True, **both),
        lambda space, **both: space.instance_norm(x, **both),
        lambda space, **both: space.group_norm(x, 3, **both),
        lambda space, **both: space.layer_norm(x.movedim(1, 3), (3,), **both),
    ):
        p1, p2 = parameter.clone().requires_grad_(), parameter.clone().requires_grad_()
        y1, y2 = run(st, **{name: p1}), run(nn.functional, **{name: p2}, **other)
        close(y1, y2, 1e-12)
        y1.square().sum().backward()
        y2.square().sum().backward()
        close(p1.grad, p2.grad, 1e-11)
    assert len(calls) == 8


def test_changes_in_place_are_noticed():
    _, layer = pair("layer")
    x = data("layer").requires_grad_()
    for changed in (x, layer.weight):
        y = layer(x)
        with torch.no_grad():
            changed.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
    y = layer(x)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


def test_running_statistics_may_change_before_the_backward_pass():
    theirs, ours = pair("batch2d")
    grads = []
    for layer in (theirs, ours):
        x = data("batch2d").requires_grad_()
        y = layer.eval()(x)
        if layer is ours:
            with torch.no_grad():
                layer.running_mean.add_(1)
                layer.running_var.mul_(2)
        y.square().sum().backward()
        grads.append((x.grad, layer.weight.grad))
    close(grads[1][0], grads[0][0], 1e-12)
    close(grads[1][1], grads[0][1], 1e-12)


def test_running_statistics_are_seen_to_change():
    _, layer = pair("batch2d")
    penalty = layer.running_mean.clone().requires_grad_() * layer.running_mean
    layer(data("batch2d"))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        penalty.sum().backward()


@every_case
def test_second_derivatives_are_refused(case):
    _, layer = pair(case)
    x = data(case).requires_grad_()
    (dx,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    expected = data(case).requires_grad_()
    layer.load_state_dict(pair(case)[0].state_dict())
    layer(expected).square().sum().backward()
    close(dx, expected.grad, 1e-12)
    name = CASES[case][0].rstrip("123d")
    with pytest.raises(RuntimeError, match=rf"{name} of streamnorm.nn.torch has no second derivatives: .*revert"):
        dx.square().sum().backward()
    (dx,) = torch.autograd.grad(st.revert(layer)(x).square().sum(), x, create_graph=True)
    dx.square().sum().backward()


@every_case
def test_forward_mode_is_refused(case):
    _, layer = pair(case)
    before = copy.deepcopy(layer.state_dict())
    x = data(case)
    with forward_ad.dual_level():
        with pytest.raises(RuntimeError, match="has no forward-mode derivatives: "), torch.no_grad():
            layer(forward_ad.make_dual(x, torch.ones_like(x)))
        y = layer(x.clone().requires_grad_())
        with pytest.raises(RuntimeError, match="has no forward-mode derivatives: "):
            y.backward(forward_ad.make_dual(torch.ones_like(y), torch.ones_like(y)))
    y = layer(x)
    assert before.keys() == layer.state_dict().keys() and y.isfinite().all()


def test_batched_gradients_are_refused():
    _, layer = pair("layer")
    x = data("layer").requires_grad_()
    y = layer(x)
    with pytest.raises(RuntimeError, match="has no batched gradients: "):
        torch.autograd.grad(y, x, torch.ones(4, *y.shape, dtype=y.dtype), is_grads_batched=True)
