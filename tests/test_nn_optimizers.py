"""Optimizers against PyTorch's over many steps, clipping, schedules, and states."""

import copy
import math
import pickle

import numpy as np
import pytest
from support.slopes import error

import streamnorm as sn
from streamnorm import nn
from streamnorm.reference.network import FLOAT64_TOLERANCE

SEED = 3
STEPS = 50
SHAPES = [(5, 3), (3,), (2, 3, 7)]
FLOAT32_ATOL = 5e-5  # of 50 steps in float32, each of which rounds: parameters of size 1

CASES = {
    "sgd": (lambda **k: nn.SGD(0.05, **k), lambda o, p: o.SGD(p, 0.05)),
    "sgd_decay": (
        lambda **k: nn.SGD(0.05, weight_decay=0.1, **k),
        lambda o, p: o.SGD(p, 0.05, weight_decay=0.1),
    ),
    "momentum": (
        lambda **k: nn.SGD(0.05, 0.9, weight_decay=0.01, **k),
        lambda o, p: o.SGD(p, 0.05, 0.9, weight_decay=0.01),
    ),
    "nesterov": (
        lambda **k: nn.SGD(0.05, 0.9, nesterov=True, weight_decay=0.01, **k),
        lambda o, p: o.SGD(p, 0.05, 0.9, nesterov=True, weight_decay=0.01),
    ),
    "adam": (lambda **k: nn.Adam(0.02, **k), lambda o, p: o.Adam(p, 0.02)),
    "adam_decay": (
        lambda **k: nn.Adam(0.02, (0.8, 0.95), 1e-4, weight_decay=0.1, **k),
        lambda o, p: o.Adam(p, 0.02, (0.8, 0.95), 1e-4, weight_decay=0.1),
    ),
    "adamw": (lambda **k: nn.AdamW(0.02, **k), lambda o, p: o.AdamW(p, 0.02)),
    "adamw_decay": (
        lambda **k: nn.AdamW(0.02, weight_decay=0.3, **k),
        lambda o, p: o.AdamW(p, 0.02, weight_decay=0.3),
    ),
}
cases = pytest.mark.parametrize(("make", "theirs"), CASES.values(), ids=CASES)


def parameters(dtype=np.float64):
    rng = np.random.default_rng(SEED)
    return [nn.Parameter(rng.normal(size=shape).astype(dtype)) for shape in SHAPES]


def give(params, step, dtype=np.float64):
    """Gradients that depend on the parameters, so that errors would grow."""
    rng = np.random.default_rng(SEED + step)
    for parameter in params:
        parameter.grad = (np.asarray(parameter) + rng.normal(size=parameter.shape)).astype(dtype)


def walk(optimizer, params, steps=STEPS, start=0, dtype=np.float64):
    for step in range(start, start + steps):
        give(params, step, dtype)
        optimizer.step(params)
    return params


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 1.0}, {"clip_norm": 1e3}, {"clip_value": 0.2}], ids=str)
@cases
def test_fifty_steps_are_pytorchs(make, theirs, clip):
    torch = pytest.importorskip("torch")
    params, optimizer = parameters(), make(**clip)
    tensors = [torch.from_numpy(np.array(parameter)).requires_grad_() for parameter in params]
    peer = theirs(torch.optim, tensors)
    for step in range(STEPS):
        give(params, step)
        for tensor, parameter in zip(tensors, params, strict=True):
            tensor.grad = torch.from_numpy(parameter.grad.copy())
        if "clip_norm" in clip:
            torch.nn.utils.clip_grad_norm_(tensors, clip["clip_norm"])
        if "clip_value" in clip:
            torch.nn.utils.clip_grad_value_(tensors, clip["clip_value"])
        peer.step()
        optimizer.step(params)
        for parameter, tensor in zip(params, tensors, strict=True):
            assert error(np.asarray(parameter), tensor.detach().numpy()) <= FLOAT64_TOLERANCE, step
    assert optimizer.steps == STEPS


@cases
def test_float32_follows_float64(make, theirs):
    narrow, wide = walk(make(), parameters(np.float32), dtype=np.float32), walk(make(), parameters())
    for one, other in zip(narrow, wide, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=0, atol=FLOAT32_ATOL)


@cases
def test_a_schedule_of_pytorchs_learning_rates(make, theirs):
    torch = pytest.importorskip("torch")
    params, optimizer = parameters(), make()
    first = optimizer.lr
    optimizer.lr = nn.StepSchedule(first, every=7, factor=0.5)
    tensors = [torch.from_numpy(np.array(parameter)).requires_grad_() for parameter in params]
    peer = theirs(torch.optim, tensors)
    schedule = torch.optim.lr_scheduler.StepLR(peer, 7, 0.5)
    for step in range(STEPS):
        give(params, step)
        for tensor, parameter in zip(tensors, params, strict=True):
            tensor.grad = torch.from_numpy(parameter.grad.copy())
        optimizer.step(params)
        peer.step()
        schedule.step()
    for parameter, tensor in zip(params, tensors, strict=True):
        assert error(np.asarray(parameter), tensor.detach().numpy()) <= FLOAT64_TOLERANCE


def test_the_cosine_is_pytorchs_and_stays_at_its_end():
    torch = pytest.importorskip("torch")
    peer = torch.optim.SGD([torch.zeros(1)], 0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(peer, 20, eta_min=0.01)
    mine = nn.CosineSchedule(0.3, 20, final=0.01)
    for step in range(21):
        assert mine(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12)
        peer.step()
        theirs.step()
    assert mine(1000) == pytest.approx(0.01)
    warm = nn.CosineSchedule(0.3, 20, warmup=5)
    rates = [warm(step) for step in range(25)]
    assert rates[:5] == pytest.approx([0.06, 0.12, 0.18, 0.24, 0.3]) and max(rates) == rates[5] == 0.3
    assert rates[5:21] == sorted(rates[5:21], reverse=True) and rates[20:] == [0.0] * 5


@cases
def test_a_state_goes_on_where_it_was(make, theirs):
    straight = walk(make(), parameters())
    for copied in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        params, optimizer = parameters(), make(clip_norm=1e9)
        walk(optimizer, params, 20)
        params, optimizer = copied((params, optimizer))
        walk(optimizer, params, STEPS - 20, start=20)
        for one, other in zip(params, straight, strict=True):
            np.testing.assert_array_equal(one, other)
    params, optimizer, fresh = parameters(), make(), make()
    walk(optimizer, params, 20)
    fresh.load_state_dict(optimizer.state_dict())
    walk(fresh, params, STEPS - 20, start=20)
    for one, other in zip(params, straight, strict=True):
        np.testing.assert_array_equal(one, other)
    bound = make()
    walk(bound, parameters(), 3)
    bound.load_state_dict(optimizer.state_dict())
    for key, value in optimizer.state_dict().items():
        np.testing.assert_array_equal(bound.state_dict()[key], value)


def test_the_state_of_an_optimizer_has_names():
    optimizer = nn.Adam()
    walk(optimizer, parameters(), 2)
    state = optimizer.state_dict()
    assert list(state) == ["steps", "0.m", "0.v", "1.m", "1.v", "2.m", "2.v"] and state["steps"] == 2
    state["0.m"][...] = 7  # a copy
    assert not (optimizer.state[0][0] == 7).any()
    assert list(nn.SGD().state_dict()) == ["steps"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("1.v"), "see 1.v"),
        (lambda s: s.update(momentum=np.ones(3)), "see momentum"),
        (lambda s: s.update({"1.v": np.ones(4)}), r"shapes .*\(4,\)"),
        (lambda s: s.update(steps=np.array(-1)), "steps is"),
        (lambda s: [s.pop(key) for key in ("2.m", "2.v")], "shapes"),
        (lambda s: s.update({"0.m": np.ones((5, 3)), "2.v": np.full((2, 3, 7), "x")}), "2.v is of <U1"),
        (lambda s: s.update({"0.m": np.ones((5, 3)), "2.v": np.full((2, 3, 7), 1j)}), "2.v is of complex128"),
        (lambda s: s.update({5: 1.0}), "see .*5"),
        (lambda s: s.update({"\u00b2": 1.0}), "see .*\u00b2"),
    ],
)
def test_a_state_of_others_is_refused_and_changes_nothing(change, message):
    optimizer = nn.Adam()
    walk(optimizer, parameters(), 2)
    before = optimizer.state_dict()
    state = optimizer.state_dict()
    change(state)
    with pytest.raises(sn.errors.StateError, match=message):
        optimizer.load_state_dict(state)
    for key, value in optimizer.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_a_loaded_state_of_other_shapes_is_refused_when_it_is_bound():
    optimizer, fresh = nn.Adam(), nn.Adam()
    walk(optimizer, parameters(), 2)
    fresh.load_state_dict(optimizer.state_dict())
    with pytest.raises(sn.errors.StateError, match="one of other parameters"):
        fresh.bind(parameters()[:2])


def test_a_parameter_without_gradient_stays():
    params, optimizer = parameters(), nn.Adam(clip_norm=1.0)
    give(params, 0)
    params[1].grad = None
    before = params[1].copy()
    optimizer.step(params)
    np.testing.assert_array_equal(params[1], before)


def test_values_are_clipped_before_the_norm():
    parameter = nn.Parameter(np.zeros(2))
    parameter.grad = np.array([30.0, 0.4])
    nn.SGD(1.0, clip_value=0.3, clip_norm=0.3).step([parameter])
    expected = np.array([0.3, 0.3]) * 0.3 / (0.3 * math.sqrt(2) + 1e-6)
    np.testing.assert_allclose(-np.asarray(parameter), expected, rtol=1e-12)


def test_an_optimizer_trains_one_network():
    optimizer, params = nn.Adam(), parameters()
    optimizer.bind(params)
    state = optimizer.state
    optimizer.bind(params)
    assert optimizer.state is state
    with pytest.raises(ValueError, match="trains another network"):
        optimizer.bind(parameters())
    with pytest.raises(ValueError, match="there are 1 parameters, and this optimizer is bound to 3"):
        optimizer.step(params[:1])


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: nn.SGD(-1.0), ValueError, "lr must be from 0"),
        (lambda: nn.SGD("fast"), TypeError, "lr must be a number"),
        (lambda: nn.SGD(math.inf), ValueError, "lr must be finite"),
        (lambda: nn.SGD(math.nan), ValueError, "lr must be from 0"),
        (lambda: nn.AdamW(weight_decay=math.inf), ValueError, "weight_decay must be finite"),
        (lambda: nn.SGD(lambda step: math.nan).step(_graded()), ValueError, "gives nan for step 0"),
        (lambda: nn.SGD(lambda step: -0.5).step(_graded()), ValueError, "gives -0.5 for step 0"),
        (lambda: nn.SGD(momentum=1.5), ValueError, "momentum must be from 0 to 1"),
        (lambda: nn.SGD(nesterov=True), ValueError, "give a momentum"),
        (lambda: nn.Adam(betas=(0.9, 1.0)), ValueError, "betas must be less than 1"),
        (lambda: nn.Adam(betas=0.9), TypeError, "betas must be two numbers"),
        (lambda: nn.Adam(clip_norm=0), ValueError, "clip_norm must be greater than 0"),
        (lambda: nn.AdamW(weight_decay=-1), ValueError, "weight_decay must be from 0"),
        (lambda: nn.CosineSchedule(0.1, 10, warmup=10), ValueError, "warmup must be from 0 to less than steps, 10"),
        (lambda: nn.StepSchedule(0.1, 0), ValueError, "every must be at least 1"),
        (lambda: nn.get_optimizer("Adam"), ValueError, "did you mean 'adam'"),
        (lambda: nn.get_optimizer("smd"), ValueError, "did you mean 'sgd'"),
        (lambda: nn.get_optimizer(nn.Adam), TypeError, r"write Adam\(\)"),
        (lambda: nn.get_optimizer(3), TypeError, "a name or an Optimizer"),
        (lambda: nn.Optimizer(0.1).step(_graded()), TypeError, "does not say how to update"),
    ],
)
def test_what_is_wrong_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def _graded():
    params = parameters()
    give(params, 0)
    return params


def test_names_make_optimizers():
    assert [type(nn.get_optimizer(name)) for name in ("sgd", "adam", "adamw")] == [nn.SGD, nn.Adam, nn.AdamW]
    assert nn.get_optimizer("adamw", 0.5).lr == 0.5 and nn.get_optimizer("adamw").weight_decay == 0.01
    mine = nn.SGD(0.1)
    assert nn.get_optimizer(mine, 0.5) is mine and mine.lr == 0.1
