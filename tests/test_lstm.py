"""The compiled layer of long short-term memory against its twin, slopes and PyTorch, and what it refuses."""

import numpy as np
import pytest
from support.slopes import TOLERANCE as SLOPE_TOLERANCE
from support.slopes import error, slopes

from streamnorm import _nn as kernels
from streamnorm.reference import recurrent as twins
from streamnorm.reference.network import FLOAT32_TOLERANCE, FLOAT64_TOLERANCE

SEED = 17
TYPES = (np.float32, np.float64)
# float32 rounds at every step, and T steps follow on each other.
TOLERANCE = {np.float32: 10 * FLOAT32_TOLERANCE, np.float64: FLOAT64_TOLERANCE}
# N, T, F, H: distinct primes; one step; one sample; no sample; whole vectors; more than a block of the products; more
# samples than go through the steps together.
SHAPES = [(5, 7, 3, 11), (3, 1, 7, 5), (1, 13, 2, 3), (0, 5, 2, 3), (2, 3, 1, 1), (7, 5, 16, 32), (3, 2, 211, 67),
          (131, 3, 5, 2), (33, 11, 1, 17)]  # fmt: skip
shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape)))
kinds = pytest.mark.parametrize("dtype", TYPES)
both = pytest.mark.parametrize("sequences", [True, False])
NAMES = ("dx", "dweight_ih", "dweight_hh", "dbias")


def arguments(shape, dtype=np.float64, scale=0.5):
    """x and weights of a layer."""
    n, t, f, h = shape
    rng = np.random.default_rng(SEED)
    sizes = (n, t, f), (4 * h, f), (4 * h, h), (4 * h,)
    return [(rng.normal(size=size) * scale).astype(dtype) for size in sizes]


def gradient(y):
    return np.random.default_rng(2).normal(size=y.shape).astype(y.dtype)


@shapes
@kinds
@both
def test_the_layer_is_its_twin(shape, dtype, sequences):
    x, *weights = arguments(shape, dtype)
    y, kept = kernels.lstm_forward(x, *weights, sequences=sequences)
    wanted, wanted_kept = twins.lstm_forward(x, *weights, sequences=sequences)
    assert y.dtype == dtype and error(y, wanted) <= TOLERANCE[dtype]
    dy = gradient(y)
    found = kernels.lstm_backward(dy, kept, x, *weights[:2], sequences=sequences)
    expected = twins.lstm_backward(dy, wanted_kept, x, *weights[:2], sequences=sequences)
    for name, mine, theirs in zip(NAMES, found, expected, strict=True):
        assert mine.dtype == dtype and error(mine, theirs) <= TOLERANCE[dtype], name


@shapes
@kinds
def test_the_last_step_is_that_of_the_sequence(shape, dtype):
    x, *weights = arguments(shape, dtype)
    y, _ = kernels.lstm_forward(x, *weights, sequences=True)
    last, nothing = kernels.lstm_forward(x, *weights, sequences=False, keep=False)
    assert nothing is None and last.tobytes() == y[:, -1].tobytes()


@pytest.mark.parametrize("shape", [(3, 5, 2, 7), (2, 1, 3, 5), (1, 3, 1, 2)])
@both
def test_gradients_are_the_slopes_of_the_forward_pass(shape, sequences):
    x, *weights = arguments(shape)
    y, kept = kernels.lstm_forward(x, *weights, sequences=sequences)
    dy = gradient(y)

    def number():
        return float((kernels.lstm_forward(x, *weights, sequences=sequences, keep=False)[0] * dy).sum())

    found = kernels.lstm_backward(dy, kept, x, *weights[:2], sequences=sequences)
    for name, mine, array in zip(NAMES, found, (x, *weights), strict=True):
        expected = slopes(number, array)
        if shape[1] == 1 and name == "dweight_hh":  # h was zero: slopes are rounding
            assert not mine.any() and np.abs(expected).max() <= SLOPE_TOLERANCE
        else:
            assert error(mine, expected) <= SLOPE_TOLERANCE, name


@shapes
@both
def test_the_layer_is_pytorchs(shape, sequences):
    torch = pytest.importorskip("torch")
    n, _, f, h = shape
    if n == 0:
        pytest.skip("PyTorch takes no empty batches")
    x, *weights = arguments(shape)
    peer = torch.nn.LSTM(f, h, batch_first=True).double()
    with torch.no_grad():
        for parameter, values in zip((peer.weight_ih_l0, peer.weight_hh_l0, peer.bias_ih_l0), weights, strict=True):
            parameter.copy_(torch.from_numpy(values))
        peer.bias_hh_l0.zero_()
    t = torch.from_numpy(x.copy()).requires_grad_()
    expected = peer(t)[0] if sequences else peer(t)[0][:, -1]
    y, kept = kernels.lstm_forward(x, *weights, sequences=sequences)
    assert error(y, expected.detach().numpy()) <= FLOAT64_TOLERANCE
    dy = gradient(y)
    expected.backward(torch.from_numpy(dy))
    found = kernels.lstm_backward(dy, kept, x, *weights[:2], sequences=sequences)
    theirs = t, peer.weight_ih_l0, peer.weight_hh_l0, peer.bias_hh_l0
    for name, mine, other in zip(NAMES, found, theirs, strict=True):
        assert error(mine, other.grad.numpy()) <= FLOAT64_TOLERANCE, name


# ---------------------------------------------------------------- hostile values


@kinds
@both
def test_saturated_gates(dtype, sequences):
    """Sums that are far out: gates are 0 and 1, nothing overflows, and where a gate is flat no gradient is left."""
    x, *weights = arguments((5, 3, 2, 7), dtype)
    x[...] = np.where(np.arange(5)[:, None, None] % 2, 1e4, -1e4)
    weights[0][...] = np.where(weights[0] > 0, 1.0, -1.0)  # sums of +-2e4 or 0
    y, kept = kernels.lstm_forward(x, *weights, sequences=sequences)
    wanted, wanted_kept = twins.lstm_forward(x, *weights, sequences=sequences)
    assert np.isfinite(y).all() and error(y, wanted) <= TOLERANCE[dtype]
    dy = gradient(y)
    found = kernels.lstm_backward(dy, kept, x, *weights[:2], sequences=sequences)
    expected = twins.lstm_backward(dy, wanted_kept, x, *weights[:2], sequences=sequences)
    for name, mine, theirs in zip(NAMES, found, expected, strict=True):
        assert np.isfinite(mine).all() and error(mine, theirs) <= TOLERANCE[dtype], name


@kinds
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_sample_and_after_its_step(dtype, value):
    x, *weights = arguments((5, 7, 3, 11), dtype)
    clean, _ = kernels.lstm_forward(x, *weights, sequences=True)
    x[2, 4, 1] = value
    y, kept = kernels.lstm_forward(x, *weights, sequences=True)
    wanted, wanted_kept = twins.lstm_forward(x, *weights, sequences=True)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(wanted))
    if np.isnan(value):
        assert np.isnan(y[2, 4:]).all() and np.isnan(y).sum() == 3 * 11
    others = np.ones(y.shape, bool)
    others[2, 4:] = False
    assert y[others].tobytes() == clean[others].tobytes()
    dy = np.ones_like(y)
    found = kernels.lstm_backward(dy, kept, x, *weights[:2], sequences=True)
    expected = twins.lstm_backward(dy, wanted_kept, x, *weights[:2], sequences=True)
    for name, mine, theirs in zip(NAMES, found, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs), err_msg=name)


@kinds
def test_a_value_that_is_nan_at_the_first_step_leaves_no_trace_of_a_state_that_was_zero(dtype):
    x, *weights = arguments((3, 1, 2, 5), dtype)
    x[1] = np.nan
    y, kept = kernels.lstm_forward(x, *weights, sequences=False)
    _, dweight_ih, dweight_hh, _ = kernels.lstm_backward(np.ones_like(y), kept, x, *weights[:2], sequences=False)
    assert np.isnan(dweight_ih).all() and not dweight_hh.any()


# ---------------------------------------------------------------- threads, rows and memory


@pytest.mark.parametrize("shape", [(257, 13, 16, 32), (67, 5, 33, 129)])
@kinds
def test_results_are_those_of_one_thread(shape, dtype):
    x, *weights = arguments(shape, dtype)
    results = []
    for threads in (1, 2, 3, 8):
        y, kept = kernels.lstm_forward(x, *weights, sequences=True, threads=threads)
        evaluated, _ = kernels.lstm_forward(x, *weights, sequences=True, keep=False, threads=threads)
        assert evaluated.tobytes() == y.tobytes()
        gradients = kernels.lstm_backward(gradient(y), kept, x, *weights[:2], sequences=True, threads=threads)
        results.append([y.tobytes(), *(each.tobytes() for each in gradients)])
    assert all(result == results[0] for result in results)


@kinds
def test_a_sample_does_not_depend_on_the_others(dtype):
    x, *weights = arguments((131, 7, 3, 13), dtype)
    y, kept = kernels.lstm_forward(x, *weights, sequences=True)
    dy = gradient(y)
    dx, *_ = kernels.lstm_backward(dy, kept, x, *weights[:2], sequences=True)
    for first, last in ((0, 1), (5, 70), (130, 131)):
        part = x[first:last].copy()
        alone, kept = kernels.lstm_forward(part, *weights, sequences=True)
        assert alone.tobytes() == y[first:last].tobytes()
        back, *_ = kernels.lstm_backward(dy[first:last].copy(), kept, part, *weights[:2], sequences=True)
        assert back.tobytes() == dx[first:last].tobytes()


@kinds
@both
def test_results_go_where_they_are_wanted_and_memory_serves_again(dtype, sequences):
    x, *weights = arguments((5, 7, 3, 11), dtype)
    y, kept = kernels.lstm_forward(x, *weights, sequences=sequences)
    out = np.full_like(y, 9)
    again = kernels.lstm_forward(x, *weights, sequences=sequences, out=out, keep=kept)
    assert again[0] is out and again[1] is kept and out.tobytes() == y.tobytes()
    dy = gradient(y)
    found = kernels.lstm_backward(dy, kept, x, *weights[:2], sequences=sequences)
    kernels.lstm_forward(x, *weights, sequences=sequences, keep=kept)
    given = tuple(np.full_like(each, 9) for each in found)
    into = kernels.lstm_backward(dy, kept, x, *weights[:2], sequences=sequences, out=given)
    for mine, other, place in zip(found, into, given, strict=True):
        assert other is place and place.tobytes() == mine.tobytes()
    kernels.lstm_forward(x, *weights, sequences=sequences, keep=kept)
    nothing, *rest = kernels.lstm_backward(dy, kept, x, *weights[:2], sequences=sequences, dx=False)
    assert nothing is None
    assert [each.tobytes() for each in rest] == [each.tobytes() for each in found[1:]]


# ---------------------------------------------------------------- what is refused


def forward(**changed):
    x, weight_ih, weight_hh, bias = arguments((5, 7, 3, 11))
    given = {"x": x, "weight_ih": weight_ih, "weight_hh": weight_hh, "bias": bias, "sequences": True}
    return kernels.lstm_forward(**(given | changed))


def backward(**changed):
    x, weight_ih, weight_hh, bias = arguments((5, 7, 3, 11))
    y, kept = kernels.lstm_forward(x, weight_ih, weight_hh, bias, sequences=True)
    given = {"dy": y, "kept": kept, "x": x, "weight_ih": weight_ih, "weight_hh": weight_hh, "sequences": True}
    return kernels.lstm_backward(**(given | changed))


def read_only(shape):
    array = np.zeros(shape)
    array.flags.writeable = False
    return array


def of_x(view):
    """x beside a part of the same memory."""
    room = np.zeros(5 * 7 * 11)
    return {"x": room[: 5 * 7 * 3].reshape(5, 7, 3), "out": view(room)}


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: forward(x=np.zeros((5, 3))), ValueError, r"x has shape \(5, 3\); expected \(N, T, F\)"),
        (lambda: forward(x=np.zeros((5, 0, 3))), ValueError, "at least one step"),
        (lambda: forward(x=np.zeros((5, 7, 2))), ValueError, r"weight_ih has shape \(44, 3\); expected \(44, 2\)"),
        (lambda: forward(x=np.zeros((5, 7, 3), np.float32)), TypeError, "weight_ih has dtype float64; expected"),
        (lambda: forward(x=np.zeros((5, 7, 3), int)), TypeError, "x is of dtype int64"),
        (lambda: forward(x=np.zeros((5, 7, 6))[:, :, ::2]), ValueError, "x is not C-contiguous"),
        (lambda: forward(weight_hh=np.zeros((43, 11))), ValueError, r"weight_hh has shape \(43, 11\).*\(4 \* H, H\)"),
        (lambda: forward(weight_hh=np.zeros(44)), ValueError, "weight_hh has shape"),
        (lambda: forward(bias=np.zeros(11)), ValueError, r"bias has shape \(11,\); expected \(44,\)"),
        (lambda: forward(out=np.zeros((5, 11))), ValueError, r"out has shape \(5, 11\); expected \(5, 7, 11\)"),
        (lambda: forward(sequences=False, out=np.zeros((5, 7, 11))), ValueError, r"expected \(5, 11\)"),
        (lambda: forward(out=read_only((5, 7, 11))), ValueError, "out is read-only"),
        (lambda: forward(**of_x(lambda room: room.reshape(5, 7, 11))), ValueError, "out shares memory"),
        (lambda: forward(keep=np.zeros(10, np.uint8)), ValueError, "kept is not the"),
        (lambda: forward(keep=None), ValueError, "kept is not the"),
        (lambda: forward(threads=0), ValueError, "threads is 0"),
        (lambda: backward(dy=np.zeros((5, 11))), ValueError, r"dy has shape \(5, 11\); expected \(5, 7, 11\)"),
        (lambda: backward(dy=np.zeros((5, 7, 11), np.float32)), TypeError, "dy has dtype float32"),
        (lambda: backward(kept=None), ValueError, "kept is not the"),
        (lambda: backward(sequences=False), ValueError, r"dy has shape \(5, 7, 11\); expected \(5, 11\)"),
        (lambda: backward(out=(read_only((5, 7, 3)), None, None, None)), ValueError, "out is read-only"),
        (lambda: backward(out=(None, None, np.zeros((44, 3)), None)), ValueError, "out has shape"),
        (lambda: backward(out=(None, None)), ValueError, "out is a tuple of 2"),
    ],
)
def test_what_is_wrong_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_what_is_kept_must_be_whole_and_writable():
    x, *weights = arguments((5, 7, 3, 11))
    y, kept = kernels.lstm_forward(x, *weights, sequences=True)
    locked = kept[:]
    locked.flags.writeable = False
    for wrong in (kept[:-1], kept[64:], locked, kept.view(np.int8), kept.tobytes()):
        with pytest.raises(ValueError, match="kept is not the"):
            kernels.lstm_backward(y, wrong, x, *weights[:2], sequences=True)
    with pytest.raises(ValueError, match="shares memory"):
        out = kept[: y.nbytes].view(np.float64).reshape(y.shape)
        kernels.lstm_forward(x, *weights, sequences=True, keep=kept, out=out)
    with pytest.raises(ValueError, match="shares memory"):
        both_of_them = np.zeros((44, 11))
        out = (None, both_of_them[:12, :].reshape(-1)[:132].reshape(44, 3), both_of_them, None)
        kernels.lstm_backward(y, kept, x, *weights[:2], sequences=True, out=out)
