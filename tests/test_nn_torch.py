"""The layers for PyTorch agree with PyTorch's own, share its memory, and leave to it what is not theirs."""

import copy
import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.autograd import forward_ad, gradcheck  # noqa: E402
from torch.nn.utils import parametrize, prune  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

import streamnorm.nn.torch as st  # noqa: E402
from streamnorm.errors import StreamnormWarning  # noqa: E402
from streamnorm.nn import functional as kernels  # noqa: E402

# torch's own modules use what torch has deprecated, when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 1e-3}
HAS_RMS = hasattr(nn, "RMSNorm")

# Name, arguments, and the shape of an input; sizes are distinct primes where they can be.
CASES = {
    "batch1d-2": ("BatchNorm1d", (5,), {}, (7, 5)),
    "batch1d-3": ("BatchNorm1d", (5,), {}, (7, 5, 3)),
    "batch2d": ("BatchNorm2d", (3,), {}, (2, 3, 5, 7)),
    "batch2d-cumulative": ("BatchNorm2d", (3,), {"momentum": None}, (2, 3, 5, 7)),
    "batch2d-untracked": ("BatchNorm2d", (3,), {"track_running_stats": False}, (2, 3, 5, 7)),
    "batch2d-plain": ("BatchNorm2d", (3,), {"affine": False, "eps": 1e-3}, (2, 3, 5, 7)),
    "batch3d": ("BatchNorm3d", (3,), {"momentum": 0.3}, (2, 3, 5, 1, 7)),
    "instance1d": ("InstanceNorm1d", (3,), {}, (2, 3, 5)),
    "instance1d-unbatched": ("InstanceNorm1d", (3,), {"affine": True}, (3, 5)),
    "instance2d": ("InstanceNorm2d", (3,), {"affine": True}, (2, 3, 5, 7)),
    "instance2d-tracked": ("InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True}, (2, 3, 5, 7)),
    "instance2d-fixed": ("InstanceNorm2d", (3,), {"momentum": None, "track_running_stats": True}, (2, 3, 5, 7)),
    "instance3d": ("InstanceNorm3d", (3,), {}, (2, 3, 5, 1, 7)),
    "layer": ("LayerNorm", (5,), {}, (2, 3, 5)),
    "layer-2": ("LayerNorm", ((3, 5),), {}, (2, 3, 5)),
    "layer-all": ("LayerNorm", ((2, 3, 5),), {}, (2, 3, 5)),
    "layer-biasless": ("LayerNorm", (5,), {"bias": False}, (2, 3, 5)),
    "layer-plain": ("LayerNorm", (5,), {"elementwise_affine": False}, (2, 3, 5)),
    "group": ("GroupNorm", (2, 6), {}, (3, 6, 5, 7)),
    "group-vectors": ("GroupNorm", (2, 6), {}, (3, 6)),
    "group-plain": ("GroupNorm", (3, 6), {"affine": False}, (2, 6, 5)),
}
if HAS_RMS:
    CASES["rms"] = ("RMSNorm", (5,), {}, (2, 3, 5))
    CASES["rms-2"] = ("RMSNorm", ((3, 5),), {"eps": 1e-2}, (2, 3, 5))
    CASES["rms-plain"] = ("RMSNorm", (5,), {"elementwise_affine": False}, (2, 3, 5))
every_case = pytest.mark.parametrize("case", CASES)


def pair(case, dtype=torch.float64):
    """torch's layer with parameters and buffers of no special values, and ours with the same."""
    name, arguments, options, _ = CASES[case]
    torch.manual_seed(5)
    theirs = getattr(nn, name)(*arguments, **options, dtype=dtype)
    ours = getattr(st, name)(*arguments, **options, dtype=dtype)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.uniform_(-2, 2)
    if getattr(theirs, "running_mean", None) is not None:
        theirs.running_mean.uniform_(-1, 1)
        theirs.running_var.uniform_(0.5, 2)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def data(case, dtype=torch.float64, seed=11):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(CASES[case][-1], dtype=torch.float64, generator=generator).mul_(3).add_(1).to(dtype)


@pytest.fixture
def calls(monkeypatch):
    """The names of the kernels that were called."""
    called = []

    def spy(name, kernel):
        def wrapper(*args, **kwargs):
            called.append(name)
            return kernel(*args, **kwargs)

        return wrapper

    for norm in ("batch_norm", "layer_norm", "instance_norm", "group_norm", "rms_norm"):
        for name in (norm, f"{norm}_forward", f"{norm}_backward"):
            monkeypatch.setattr(kernels, name, spy(name, getattr(kernels, name)))
    return called


def close(ours, theirs, tolerance):
    if theirs is None:
        assert ours is None
        return
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=tolerance, atol=tolerance)


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


class Marked(torch.Tensor):
    pass


def fallbacks():
    """Inputs and contexts that are torch's to treat, each a function of a layer and an input."""
    yield "bfloat16", lambda layer, x: layer.bfloat16()(x.bfloat16())
    yield "meta", lambda layer, x: layer.to("meta")(x.to("meta")).shape
    yield "subclass", lambda layer, x: layer(x.as_subclass(Marked))
    yield "negated", lambda layer, x: layer(torch.complex(x, x).conj().imag)
    yield "vmap", lambda layer, x: torch.vmap(layer.eval())(x[None])
    yield "func.grad", lambda layer, x: torch.func.grad(lambda v: layer.eval()(v).square().sum())(x)
    yield "func.jvp", lambda layer, x: torch.func.jvp(layer.eval(), (x,), (x,))
    yield "func.hessian", lambda layer, x: torch.func.hessian(lambda v: layer.eval()(v).sum())(x[:1])
    yield "jit.trace", lambda layer, x: torch.jit.trace(layer.eval(), x, check_trace=False)(x + 1)
    yield "autocast", in_autocast
    yield "fake", in_fake_mode
    yield "dispatch mode", in_dispatch_mode
    yield "function mode", in_function_mode


def in_autocast(layer, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return layer(x)


def in_fake_mode(layer, x):
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = mode.from_tensor(x)
    return layer(fake).shape


def in_dispatch_mode(layer, x):
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **kwargs or {})

    with Watch():
        y = layer(x)
    assert any("norm" in name or "rsqrt" in name for name in seen)
    return y


def in_function_mode(layer, x):
    seen = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func.__name__)
            return func(*args, **kwargs or {})

    with Watch():
        y = layer(x)
    assert any(name.endswith("_norm") for name in seen)
    return y


@pytest.mark.filterwarnings("ignore:.*fallback:UserWarning", "ignore:Converting a tensor to a Python boolean")
@pytest.mark.parametrize("case", ["batch2d", "instance2d", "layer", "group"] + ["rms"] * HAS_RMS)
@pytest.mark.parametrize("way", [pytest.param(run, id=name) for name, run in fallbacks()])
def test_torch_treats_what_is_not_ours(case, way, calls):
    theirs, ours = pair(case, torch.float32)
    torch.testing.assert_close(way(ours, data(case, torch.float32)), way(theirs, data(case, torch.float32)))
    assert calls == []
    for b1, b2 in zip(ours.buffers(), theirs.buffers(), strict=True):
        if not b1.is_meta:
            torch.testing.assert_close(b1, b2)


@pytest.mark.parametrize("case", ["batch2d", "layer"])
def test_compile_sees_torch_in_one_graph(case, calls):
    theirs, ours = pair(case)
    compiled = torch.compile(ours, backend="eager", fullgraph=True)
    close(compiled(data(case)), theirs(data(case)), 1e-12)
    assert calls == []
    for b1, b2 in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(b1, b2)


WRONG = {
    "batch2d": [torch.zeros(2, 4, 5, 7), torch.zeros(2, 3, 5), torch.zeros(1, 3, 1, 1), torch.zeros(2, 3, 5, 7).long()],
    "batch1d-2": [torch.zeros(5), torch.zeros(1, 5), torch.zeros(2, 5, dtype=torch.float64)],
    "instance2d": [torch.zeros(2, 4, 5, 7), torch.zeros(2, 3, 1, 1), torch.zeros(3, 5)],
    "layer": [torch.zeros(3, 4), torch.zeros(3, 5, dtype=torch.float64), torch.zeros(3, 5, dtype=torch.complex64)],
    "group": [torch.zeros(2, 4, 5), torch.zeros(6), torch.zeros(1, 2, 1)],
    "group-plain": [torch.zeros(1, 3, 1), torch.zeros(1, 5, 2)],
}


@pytest.mark.parametrize(("case", "x"), [(case, x) for case, inputs in WRONG.items() for x in inputs])
def test_errors_are_torchs(case, x):
    outcomes = []
    for layer in pair(case, torch.float32):
        try:
            outcomes.append((layer(x).dtype, None))
        except (ValueError, RuntimeError, TypeError, NotImplementedError) as error:
            outcomes.append((type(error), str(error)))
        outcomes[-1] += ({name: b.tolist() for name, b in layer.named_buffers()},)
    assert outcomes[0] == outcomes[1]


@every_case
def test_state_repr_and_copies_are_torchs(case, tmp_path):
    theirs, ours = pair(case)
    assert isinstance(ours, type(theirs)) and repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    expected = copy.deepcopy(ours)(data(case))
    saved = io.BytesIO()
    torch.save(ours, saved)
    saved.seek(0)
    for twin in (pickle.loads(pickle.dumps(ours)), torch.load(saved, weights_only=False), copy.deepcopy(ours)):
        assert type(twin) is type(ours) and torch.equal(twin(data(case)), expected)


def network():
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.GroupNorm(2, 6), nn.ReLU(),
        nn.InstanceNorm2d(6, affine=True), nn.Flatten(), nn.Linear(6 * 16, 8), nn.LayerNorm(8), nn.ReLU(),
        nn.Linear(8, 1),
    ).double()  # fmt: skip


def losses(model, optimizer):
    generator = torch.Generator().manual_seed(4)
    found = []
    for _ in range(12):
        x = torch.randn(5, 1, 8, 8, generator=generator, dtype=torch.float64)
        loss = (model(x) - x.mean((1, 2, 3)).reshape(-1, 1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def test_training_goes_the_same_way_converted(calls):
    results = []
    for change in (lambda model: model, st.convert):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)  # before converting
        results.append(losses(change(model), optimizer))
    assert len(calls) == 12 * 4 * 2
    np.testing.assert_allclose(results[1], results[0], rtol=1e-9)
    assert results[1][-1] != results[1][0]


def test_convert_changes_classes_and_nothing_else():
    shared = nn.LayerNorm(3)
    model = nn.ModuleDict(
        {"a": nn.Sequential(nn.BatchNorm1d(3).eval(), shared), "b": shared, "lin": nn.Linear(3, 3), "own": nn.Module()}
    )
    model["own"].norm = nn.GroupNorm(1, 3)
    shared.bias.requires_grad_(False)
    heard = []
    model["own"].norm.register_forward_hook(lambda *_: heard.append("hook"))
    before = list(model.named_modules(remove_duplicate=False)), dict(model.named_parameters())
    flags = [module.training for module in model.modules()]
    assert st.convert(model) is model
    assert model["b"] is model["a"][1] is shared
    assert type(shared) is st.LayerNorm and type(model["a"][0]) is st.BatchNorm1d and type(model["lin"]) is nn.Linear
    after = list(model.named_modules(remove_duplicate=False)), dict(model.named_parameters())
    assert [name for name, _ in before[0]] == [name for name, _ in after[0]]
    assert all(a is b for (_, a), (_, b) in zip(before[0], after[0], strict=True))
    assert all(before[1][name] is parameter for name, parameter in after[1].items())
    assert flags == [module.training for module in model.modules()] and not shared.bias.requires_grad
    model["own"].norm(torch.randn(2, 3))
    assert heard == ["hook"]
    classes = [type(module) for module in model.modules()]
    assert [type(module) for module in st.convert(model).modules()] == classes
    st.revert(st.revert(model))
    assert {type(module) for module in model.modules()} >= {nn.LayerNorm, nn.BatchNorm1d, nn.GroupNorm}
    assert not [module for module in model.modules() if type(module).__module__.startswith("streamnorm")]
    assert type(st.convert(nn.BatchNorm3d(2))) is st.BatchNorm3d


class ChannelsFirst(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def test_convert_leaves_alone_what_may_do_something_else():
    replaced = nn.LayerNorm(3)
    replaced.forward = lambda x: x
    ones, zeros = nn.Parameter(torch.ones(3)), nn.Parameter(torch.zeros(3))
    parametrized = nn.LayerNorm(3)
    parametrize.register_parametrization(parametrized, "weight", nn.Identity())
    left = {
        "mine": ChannelsFirst(3),
        "sync": nn.SyncBatchNorm(3),
        "lazy": nn.LazyBatchNorm1d(),
        "quantized": torch.ao.nn.quantized.LayerNorm(3, ones, zeros, 1.0, 0),
        "replaced": replaced,
        "parametrized": parametrized,
    }
    model = nn.ModuleDict({**left, "norm": nn.LayerNorm(3)})
    classes = {name: type(module) for name, module in left.items()}
    with pytest.warns(StreamnormWarning, match="mine is a .*ChannelsFirst; sync is .*; replaced has a forward") as said:
        st.convert(model)
    assert said[0].filename == __file__
    assert set(said[0].message.columns) == set(left)
    assert {name: type(module) for name, module in left.items()} == classes
    assert type(model["norm"]) is st.LayerNorm
    with pytest.raises(TypeError, match="model is a list"):
        st.convert([model])


def test_parametrized_and_pruned_layers_of_ours_work():
    for case in ("layer", "batch2d", "instance2d", "group"):
        theirs, ours = pair(case)
        for layer in (theirs, ours):
            parametrize.register_parametrization(layer, "weight", nn.Tanh())
        close(ours(data(case)), theirs(data(case)), 1e-12)
        theirs, ours = pair(case)
        for layer in (theirs, ours):
            prune.l1_unstructured(layer, "weight", 1)
        close(ours(data(case)), theirs(data(case)), 1e-12)


def test_checkpoints_recompute():
    theirs, ours = pair("layer")
    grads = []
    for layer in (theirs, ours):
        x = data("layer").requires_grad_()
        torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False).square().sum().backward()
        grads.append(x.grad)
    close(grads[1], grads[0], 1e-12)


def test_inference_mode():
    for case in ("batch2d", "layer"):
        theirs, ours = pair(case)
        with torch.inference_mode():
            x = data(case)
            close(ours(x), theirs(x), 1e-12)
            close(copy.deepcopy(ours)(x), copy.deepcopy(theirs)(x), 1e-12)


def test_threads_follow_torch(monkeypatch):
    asked = []
    forward, backward = kernels.layer_norm_forward, kernels.layer_norm_backward

    def spy(kernel):
        return lambda *args, threads, **kwargs: asked.append(threads) or kernel(*args, threads=threads, **kwargs)

    monkeypatch.setattr(kernels, "layer_norm_forward", spy(forward))
    monkeypatch.setattr(kernels, "layer_norm_backward", spy(backward))
    _, layer = pair("layer")
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            layer(data("layer")).sum().backward()
    finally:
        torch.set_num_threads(before)
    assert asked == [1, 1, 2, 2]


def test_many_threads_at_once():
    theirs, ours = pair("layer")
    inputs = [data("layer", seed=seed) for seed in range(40)]

    def gradient(x):
        x = x.clone().requires_grad_()
        (dx,) = torch.autograd.grad(ours(x).square().sum(), x)
        return dx

    expected = [gradient(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for found, dx in zip(pool.map(gradient, inputs * 5), expected * 5, strict=True):
            assert torch.equal(found, dx)


def test_without_torch_the_error_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None\nimport streamnorm.nn.torch"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode and 'pip install "streamnorm[torch]"' in run.stderr.splitlines()[-1]


def test_torch_without_rms_norm():
    code = """
from torch import nn
del nn.RMSNorm
import streamnorm.nn.torch as st
assert not hasattr(st, "RMSNorm") and "RMSNorm" not in st.__all__ and not hasattr(st, "rms_norm")
assert type(st.convert(nn.LayerNorm(3))) is st.LayerNorm
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
