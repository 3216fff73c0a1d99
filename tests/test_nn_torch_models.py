"""The layers for PyTorch leave to it what is not theirs, convert models, and go where PyTorch's own go."""

import copy
import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.torch_layers import HAS_RMS, close, data, every_case, pair, spy_on_kernels  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils import parametrize, prune  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

import streamnorm.nn.torch as st  # noqa: E402
from streamnorm.errors import StreamnormWarning  # noqa: E402
from streamnorm.nn import functional as kernels  # noqa: E402

# torch's own modules use what torch has deprecated, when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


@pytest.fixture
def calls(monkeypatch):
    """The names of the kernels that were called."""
    return spy_on_kernels(monkeypatch)


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
