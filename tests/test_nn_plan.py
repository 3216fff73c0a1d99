"""A plan does what the same layers do one by one, to the last bit, and refuses what it cannot."""

import copy
import os
import signal
import threading
import time

import numpy as np
import pytest

from streamnorm import _nn, nn
from streamnorm.nn._plan import Plan
from streamnorm.nn._steps import Steps
from streamnorm.nn.optimizers import CosineSchedule

TYPES = (np.float32, np.float64)
LOSS_TOLERANCE = 1e-12  # the one thing that is added up in another order


def dense_network(dtype, norm):
    rng = np.random.default_rng(2)
    norms = {
        "batch": lambda n: nn.BatchNorm(n, dtype=dtype),
        "average": lambda n: nn.BatchNorm(n, momentum=None, affine=False, dtype=dtype),
        "last": lambda n: nn.BatchNorm(n, channel_axis=-1, dtype=dtype),
        "layer": lambda n: nn.LayerNorm(n, dtype=dtype),
        "plain": lambda n: nn.LayerNorm(n, elementwise_affine=False, dtype=dtype),
        "instance": lambda n: nn.InstanceNorm(n, affine=True, dtype=dtype),
        "group": lambda n: nn.GroupNorm(4, n, dtype=dtype),
        "rms": lambda n: nn.RMSNorm(n, dtype=dtype),
    }
    made = norms[norm] if norm else None
    layers = [nn.Dense(7, 20, dtype=dtype, random_state=rng), *([made(20)] if made else []), nn.ReLU()]
    layers += [nn.Dense(20, 12, bias=False, dtype=dtype, random_state=rng), *([made(12)] if made else []), nn.Tanh()]
    layers += [nn.Dropout(0.3, random_state=rng), nn.Sigmoid(), nn.Dense(12, 3, dtype=dtype, random_state=rng)]
    return layers


def data(dtype, rows=101, shape=(7,), outputs=3):
    rng = np.random.default_rng(rows)
    x, y = rng.standard_normal((rows, *shape)), rng.standard_normal((rows, outputs))
    return x.astype(dtype), y.astype(dtype), rng.permutation(rows), rng.uniform(0.0, 2.0, rows).astype(dtype)


def pair(layers, shape, rows, loss, optimizer, **options):
    """A plan and steps over two copies of the layers."""
    found = Plan(copy.deepcopy(layers), shape, rows, loss=loss, optimizer=copy.deepcopy(optimizer), **options)
    return found, Steps(copy.deepcopy(layers), shape, rows, loss=loss, optimizer=copy.deepcopy(optimizer), **options)


def assert_same(plan, steps):
    assert plan.optimizer.steps == steps.optimizer.steps
    for i, (found, wanted) in enumerate(zip(plan.layers, steps.layers, strict=True)):
        for name, array in wanted.state_dict().items():
            assert found.state_dict()[name].tobytes() == array.tobytes(), (i, name)
        for (name, parameter), (_, other) in zip(found.named_parameters(), wanted.named_parameters(), strict=True):
            assert parameter.grad.tobytes() == other.grad.tobytes(), (i, name)
    for name, array in steps.optimizer.state_dict().items():
        assert plan.optimizer.state_dict()[name].tobytes() == array.tobytes(), name


def train_both(plan, steps, x, y, order, weight, batch):
    for each in ((None, None), (order, None), (order, weight)):
        losses = [runner.train(x, y, batch, *each) for runner in (plan, steps)]
        assert losses[0] == pytest.approx(losses[1], rel=LOSS_TOLERANCE)
        assert_same(plan, steps)
    assert plan.forward(x).tobytes() == steps.forward(x).tobytes()
    evaluated = [runner.evaluate(x, y, weight) for runner in (plan, steps)]
    assert evaluated[0] == pytest.approx(evaluated[1], rel=LOSS_TOLERANCE)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("norm", [None, "batch", "average", "last", "layer", "plain", "instance", "group", "rms"])
def test_a_plan_has_the_bits_of_the_steps(dtype, norm):
    x, y, order, weight = data(dtype)
    plan, steps = pair(dense_network(dtype, norm), (7,), 20, nn.MSELoss(), nn.Adam(0.01))
    train_both(plan, steps, x, y, order, weight, 20)  # 101 rows: the last batch has 21


@pytest.mark.parametrize(
    "optimizer",
    [
        nn.SGD(0.1),
        nn.SGD(0.1, 0.9, weight_decay=0.01),
        nn.SGD(0.1, 0.9, nesterov=True),
        nn.Adam(CosineSchedule(0.1, 12, warmup=3), weight_decay=0.1),
        nn.AdamW(0.01, clip_norm=0.1),
        nn.Adam(0.01, clip_value=0.01),
        nn.SGD(0.5, clip_value=0.1, clip_norm=1e9),
    ],
    ids=repr,
)
def test_optimizers_have_the_bits_of_the_steps(optimizer):
    x, y, order, weight = data(np.float32)
    plan, steps = pair(dense_network(np.float32, "batch"), (7,), 32, nn.MSELoss(), optimizer)
    train_both(plan, steps, x, y, order, weight, 32)


@pytest.mark.parametrize(
    "loss",
    [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(0.5), nn.QuantileLoss(0.9), nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()],
    ids=repr,
)
def test_losses_have_the_bits_of_the_steps(loss):
    x, y, order, weight = data(np.float32)
    if isinstance(loss, nn.BCEWithLogitsLoss):
        y = (y > 0).astype(np.float32)
    if isinstance(loss, nn.CrossEntropyLoss):
        y = np.argmax(y, axis=1)
    plan, steps = pair(dense_network(np.float32, "batch"), (7,), 32, loss, nn.Adam(0.01))
    train_both(plan, steps, x, y, order, weight, 32)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("axis", [1, -1])
def test_samples_of_several_dimensions(dtype, axis):
    shape = (6, 3, 4) if axis == 1 else (3, 4, 6)
    layers = [
        nn.BatchNorm(6, channel_axis=axis, dtype=dtype),
        nn.Tanh(),
        nn.InstanceNorm(6, affine=True, track_running_stats=True, channel_axis=axis, dtype=dtype),
        nn.GroupNorm(3, 6, channel_axis=axis, dtype=dtype),
        nn.LayerNorm(shape[1:], dtype=dtype),
        nn.RMSNorm(shape[2], dtype=dtype),
        nn.Flatten(),
        nn.Dense(72, 3, dtype=dtype, random_state=0),
    ]
    x, y, order, weight = data(dtype, 25, shape)
    plan, steps = pair(layers, shape, 8, nn.MSELoss(), nn.Adam(0.01))
    train_both(plan, steps, x, y, order, weight, 8)


def test_embeddings_and_activations_before_all_parameters():
    x, y, order, weight = data(np.float32)
    x[:, 5:] = np.random.default_rng(0).integers(0, 9, (101, 2))
    layers = [nn.ColumnEmbedding(9, 4, 2, random_state=0), nn.Dropout(0.2, random_state=1), nn.ReLU()]
    layers += [nn.Dense(13, 3, random_state=2)]
    train_both(*pair(layers, (7,), 16, nn.MSELoss(), nn.Adam(0.01)), x, y, order, weight, 16)
    layers = [nn.ReLU(), nn.Tanh(), nn.Dropout(0.2, random_state=1), nn.Dense(7, 3, random_state=2), nn.Sigmoid()]
    before = x.copy()
    train_both(*pair(layers, (7,), 16, nn.MSELoss(), nn.SGD(0.01)), x, y, order, weight, 16)
    assert x.tobytes() == before.tobytes()
    bad = x.copy()
    bad[3, 6] = 9
    plan, _ = pair([nn.ColumnEmbedding(9, 4, 2, random_state=0)], (7,), 16, nn.MSELoss(), nn.Adam(0.01))
    for run in (lambda: plan.forward(bad), lambda: plan.train(bad, np.zeros((101, 13), np.float32), 16)):
        with pytest.raises(ValueError, match="row 3 of x"):
            run()


@pytest.mark.parametrize("rows", [1, 2, 31, 32, 33, 64, 65, 97])
@pytest.mark.parametrize("threads", [1, 2])
def test_all_ways_that_batches_end(rows, threads):
    x, y, order, weight = data(np.float32, rows)
    norm = "layer" if rows == 1 else "batch"
    plan, steps = pair(dense_network(np.float32, norm), (7,), 32, nn.MSELoss(), nn.Adam(0.01), threads=threads)
    train_both(plan, steps, x, y, order, weight, 32)
    train_both(plan, steps, x, y, order, weight, 50)  # more than was said: buffers grow


def test_subsets_and_empty_epochs():
    x, y, order, _ = data(np.float32)
    plan, steps = pair(dense_network(np.float32, "batch"), (7,), 32, nn.MSELoss(), nn.Adam(0.01))
    assert plan.train(x, y, 32, order[:0]) == (0.0, 0.0)
    assert plan.optimizer.steps == 0
    for runner in (plan, steps):
        runner.train(x, y, 32, order[:40])
    assert_same(plan, steps)
    assert plan.forward(x[:0]).shape == (0, 3)


def test_large_batches_on_two_threads_have_the_bits_of_one():
    x, y, order, _ = data(np.float32, 3000)
    layers = [nn.Dense(7, 300, random_state=0), nn.BatchNorm(300), nn.ReLU(), nn.Dense(300, 3, random_state=1)]
    states = []
    for threads in (1, 2, None):
        mine = copy.deepcopy(layers)
        Plan(mine, (7,), 1500, loss=nn.MSELoss(), optimizer=nn.Adam(), threads=threads).train(x, y, 1500, order)
        states.append(b"".join(array.tobytes() for layer in mine for array in layer.state_dict().values()))
    assert states[0] == states[1] == states[2]


def state_of(plan):
    arrays = [*plan.optimizer.state_dict().values()]
    return b"".join(np.asarray(each).tobytes() for layer in plan.layers for each in layer.state_dict().values()) + (
        b"".join(array.tobytes() for array in arrays)
    )


def test_what_is_refused_changes_nothing():
    x, y, order, weight = data(np.float32)
    layers = dense_network(np.float32, "batch")
    plan = Plan(layers, (7,), 32, loss=nn.MSELoss(), optimizer=nn.Adam())
    before = state_of(plan)
    outside = order.copy()
    outside[50] = 101
    for error, match, arguments in (
        (ValueError, "one row", (x, y, 1)),
        (ValueError, "batch_size is 0", (x, y, 0)),
        (ValueError, "one row", (x[:1], y[:1], 32)),
        (IndexError, "order has 101", (x, y, 32, outside)),
        (IndexError, "order has -1", (x, y, 32, np.array([0, -1]))),
        (TypeError, "order", (x, y, 32, order.astype(np.int32))),
        (ValueError, "C-contiguous", (np.asfortranarray(x), y, 32)),
        (TypeError, "float64", (x.astype(np.float64), y, 32)),
        (ValueError, "y has shape", (x, y[:50], 32)),
        (TypeError, "float64", (x, y.astype(np.float64), 32)),
        (ValueError, "sample_weight", (x, y, 32, None, weight[:5])),
        (ValueError, "rows of shape", (x[:, :6], y, 32)),
    ):
        with pytest.raises(error, match=match):
            plan.train(*arguments)
        assert state_of(plan) == before, match
    readonly = [array.copy() for array in (x, y, order)]
    for array in readonly:
        array.flags.writeable = False
    plan.train(readonly[0], readonly[1], 32, readonly[2])
    with pytest.raises(ValueError, match="read-only"):
        plan.forward(x, readonly[1])


def test_nan_travels_to_the_loss_and_the_parameters():
    x, y, _, _ = data(np.float32)
    x[3, 2] = np.nan
    plan = Plan(dense_network(np.float32, None), (7,), 32, loss=nn.MSELoss(), optimizer=nn.Adam())
    loss, weight = plan.train(x, y, 32)
    assert np.isnan(loss)
    assert weight == 101
    assert np.isnan(plan.layers[0].weight).any()


class Mine(nn.Dense):
    """A child, which may override anything."""


def test_covers_says_what_there_is_a_plan_for():
    dense = nn.Dense(7, 7, random_state=0)
    assert Plan.covers(dense_network(np.float64, "batch"))
    assert Plan.covers(dense_network(np.float64, "batch"), (7,), loss=nn.MSELoss(), optimizer=nn.AdamW())
    shared = nn.Dense(7, 7, random_state=0)
    shared.__dict__["weight"] = dense.weight
    half = nn.BatchNorm(7, dtype=np.float16)
    patched = nn.ReLU()
    patched.forward = lambda x, out=None: x
    for layers in (
        [],
        [Mine(7, 7)],
        [dense, dense],
        [dense, shared],
        [dense, nn.Dense(7, 7, dtype=np.float64)],
        [dense, half],
        [dense, patched],
        [dense, nn.ColumnEmbedding(3, 2)],
        [dense, nn.BatchNorm(7, track_running_stats=False)],
    ):
        assert not Plan.covers(layers), layers
        with pytest.raises(TypeError):
            Plan(layers, (7,), 32)
    assert not Plan.covers([dense], (6,))
    assert not Plan.covers([nn.InstanceNorm(7, track_running_stats=True)], (7,))

    class OwnLoss(nn.MSELoss):
        pass

    assert not Plan.covers([dense], loss=OwnLoss())


def test_what_is_described_wrongly_is_no_network():
    dense = np.ones((2, 3), np.float32)
    about = {"kind": "dense", "n_in": 3, "n_out": 2, "weight": 0}
    table = {"kind": "embedding", "n_in": 2, "n_out": 2, "weight": 1, "tables": (1, 4, 1), "positions": 1}
    for match, layers in (
        ("6 values", [about | {"n_out": 3}]),
        ("parameter 2 of 2", [about | {"weight": 2}]),
        ("not the first", [about, table]),
        ("keeps shapes", [{"kind": "relu", "n_in": 3, "n_out": 2}]),
        ("takes 2 values, and there are 3", [about | {"n_in": 2, "n_out": 3}]),
        ("make 3 values; expected 2", [{"kind": "relu", "n_in": 3, "n_out": 3}]),
        ("has no weight", [about | {"weight": None}]),
    ):
        with pytest.raises((ValueError, IndexError), match=match):
            _nn.Network(np.float32, layers, [dense, np.ones((1, 4, 1), np.float32)], 3, 2)


CONV = {"kind": "conv", "n_in": 24, "n_out": 12, "weight": 0, "bias": 1, "image": (3, 4, 2), "kernel": (2, 2, 2, 2),
        "strides": (1, 1), "padding": ((0, 0), (0, 0))}  # fmt: skip
POOL = {"kind": "pool", "n_in": 24, "n_out": 12, "image": (3, 4, 2), "pool_size": (2, 2), "strides": (1, 1),
        "padding": ((0, 0), (0, 0))}  # fmt: skip
LSTM = {"kind": "lstm", "n_in": 24, "n_out": 2, "weight": 2, "weight_hh": 3, "bias": 4, "series": (6, 4), "hidden": 2,
        "sequences": False}  # fmt: skip
TABLE = {"kind": "embedding", "n_in": 24, "n_out": 24, "weight": 0, "tables": (1, 16, 1), "positions": 24}
HUGE = 1 << 62


@pytest.mark.parametrize(
    ("match", "about"),
    [
        ("16 values, and its layer takes 24", CONV | {"kernel": (2, 3, 2, 2), "n_out": 8}),
        ("3 channels, and an image has 2", CONV | {"kernel": (2, 2, 3, 2)}),
        ("a convolution makes 12 values", CONV | {"image": (3, 3, 2)}),
        ("a convolution makes 12 values", CONV | {"strides": (2, 1)}),
        ("a convolution makes 12 values", CONV | {"padding": ((1, 0), (0, 0))}),
        ("larger than its image", CONV | {"image": (1, 12, 2)}),
        ("strides", CONV | {"strides": (0, 1)}),
        ("padding", CONV | {"padding": ((-1, 0), (0, 0))}),
        ("padding", CONV | {"padding": ((HUGE, 0), (0, 0))}),
        ("an image has sizes", CONV | {"image": (0, 4, 2)}),
        ("a kernel has sizes", CONV | {"kernel": (2, 0, 2, 2)}),
        ("expected at most", CONV | {"n_out": HUGE}),
        ("2 values, and its layer takes 3", CONV | {"kernel": (2, 2, 2, 3), "weight": 5, "n_out": 18}),
        ("has no weight", CONV | {"weight": None}),
        ("a pooling makes 12 values", POOL | {"strides": (1, 2)}),
        ("expected less than pool_size", POOL | {"padding": ((2, 0), (0, 0))}),
        ("larger than its image", POOL | {"image": (1, 12, 2)}),
        ("an image has sizes", POOL | {"image": (3, 4, HUGE)}),
        ("positions; expected less than", POOL | {"image": (1 << 20, 1 << 20, 2)}),
        ("an LSTM makes 2 values", LSTM | {"series": (4, 4)}),
        ("an LSTM makes 2 values", LSTM | {"sequences": True}),
        ("a series has sizes", LSTM | {"series": (24, 0)}),
        ("32 values, and its layer takes 64", LSTM | {"series": (3, 8)}),
        ("32 values, and its layer takes 16", LSTM | {"weight_hh": 2}),
        ("2 values, and its layer takes 8", LSTM | {"bias": 1}),
        ("lacks its second weight", LSTM | {"weight_hh": None}),
        ("lacks its second weight", LSTM | {"bias": None}),
        ("an embedding makes 24 values", TABLE | {"positions": 5}),
        ("an embedding has 0 rows", TABLE | {"positions": 0}),
        ("16 values, and its layer takes 32", TABLE | {"tables": (1, 32, 1)}),
    ],
)
def test_sizes_of_images_and_series_agree(match, about):
    parameters = [np.ones(n, np.float32) for n in (16, 2, 32, 16, 8, 24)]
    for kind in ("conv", "pool", "lstm", "embedding"):
        right = {"conv": CONV, "pool": POOL, "lstm": LSTM, "embedding": TABLE}[kind]
        _nn.Network(np.float32, [right], parameters, 24, right["n_out"])
    with pytest.raises(ValueError, match=match):
        _nn.Network(np.float32, [about], parameters, 24, about["n_out"])


def test_a_layer_too_large_for_memory_is_a_memory_error():
    network = nn.Sequential([nn.Conv2D(1, 1, 1, padding=2_000_000)])
    with pytest.raises(ValueError, match="expected at most"):
        network.predict(np.ones((1, 2, 2, 1), np.float32))
    pooled = {"padding": ((0, 0), (0, 0)), "image": (1 << 15, 1 << 15, 1 << 10), "pool_size": (1, 1), "strides": (1, 1)}
    made = _nn.Network(np.float32, [{"kind": "pool", "n_in": 1 << 40, "n_out": 1 << 40} | pooled], [], 1 << 40, 1 << 40)
    with pytest.raises(MemoryError, match="no memory"):
        made.reserve(2)


def test_a_training_plan_answers_to_a_signal():
    x, y, _, _ = data(np.float32, 20000)
    layers = [nn.Dense(7, 256, random_state=0), nn.ReLU(), nn.Dense(256, 3, random_state=1)]
    plan = Plan(layers, (7,), 32, loss=nn.MSELoss(), optimizer=nn.Adam())
    order = np.tile(np.arange(20000), 100)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    timer.start()
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            plan.train(x, y, 32, order)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 5
    assert 0 < plan.optimizer.steps < len(order) // 32
    assert plan.train(x[:64], y[:64], 32)[1] == 64


def test_two_threads_take_turns():
    x, y, order, _ = data(np.float32, 2000)
    plan, steps = pair(dense_network(np.float32, "batch")[:3], (7,), 32, nn.MSELoss(), nn.SGD(0.0))
    y = np.zeros((2000, 20), np.float32)
    threads = [threading.Thread(target=plan.train, args=(x, y, 32, order)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(4):
        steps.train(x, y, 32, order)
    assert_same(plan, steps)


def test_a_forked_child_trains():
    x, y, order, _ = data(np.float32, 3000)
    plan = Plan([nn.Dense(7, 300, random_state=0), nn.Dense(300, 3, random_state=1)], (7,), 1500, loss=nn.MSELoss(),
                optimizer=nn.Adam(), threads=2)  # fmt: skip
    plan.train(x, y, 1500, order)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        plan.train(x, y, 1500, order)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
