"""Networks on streams of batches: the bits of arrays, and what is wrong with a batch."""

import numpy as np
import pytest
from support.networks import SEED, bits, problem, small

import streamnorm as sn
from streamnorm import nn
from streamnorm.nn import _steps
from streamnorm.nn._plan import Plan

BATCH = 20
X, Y = (array.astype(np.float32) for array in problem(101))
W = np.random.default_rng(SEED).uniform(0, 2, 101).astype(np.float32)


class Mine(nn.ReLU):
    """A child, which no plan knows."""


def network(steps=False, optimizer="adam", **compiled):
    layers = [nn.Dense(7, 13, random_state=0), nn.BatchNorm(13), (Mine if steps else nn.ReLU)()]
    made = nn.Sequential([*layers, nn.Dropout(0.2, random_state=1), nn.Dense(13, 1, random_state=2)])
    made.compile(optimizer, compiled.pop("loss", "mse"), **compiled)
    assert type(made.runner((7,), 32)) is (_steps.Steps if steps else Plan)
    return made


def batches(*arrays, order=None, size=BATCH):
    """Batches of rows, cut as a runner cuts them."""
    order = np.arange(len(arrays[0])) if order is None else order
    return [tuple(array[order[a:b]] for array in arrays) for a, b in _steps.cuts(len(order), size)]


class Orders:
    """Batches in another order in each epoch, that of a generator of the seed."""

    def __init__(self, *arrays, seed=5):
        self.arrays, self.rng, self.begun = arrays, np.random.default_rng(seed), 0

    def __iter__(self):
        self.begun += 1
        yield from batches(*self.arrays, order=self.rng.permutation(len(self.arrays[0])))


both = pytest.mark.parametrize("steps", [False, True], ids=["plan", "steps"])


@pytest.mark.parametrize("weighted", [False, True])
@both
def test_a_stream_of_the_same_batches_gives_the_bits_of_arrays(steps, weighted):
    on_arrays, on_stream = network(steps), network(steps)
    weight = W if weighted else None
    held = (X[:33], Y[:33]) + ((W[:33],) if weighted else ())
    expected = on_arrays.fit(X, Y, 3, BATCH, sample_weight=weight, random_state=5, validation_data=held)
    stream = Orders(X, Y, W) if weighted else Orders(X, Y)
    found = on_stream.fit(stream, epochs=3, validation_data=held)
    assert stream.begun == 3
    assert found == expected
    assert bits(on_stream) == bits(on_arrays)
    for (_, parameter), (_, other) in zip(on_stream.named_parameters(), on_arrays.named_parameters(), strict=True):
        assert parameter.grad.tobytes() == other.grad.tobytes()
    assert on_stream.evaluate(X, Y, weight) == on_arrays.evaluate(X, Y, weight)
    assert on_stream.evaluate(batches(*held, size=1000)) == on_arrays.evaluate(*held)
    np.testing.assert_array_equal(on_stream.predict(batches(X, Y)), on_arrays.predict(X))
    np.testing.assert_array_equal(on_stream.predict(iter([X[:50], X[50:]])), on_arrays.predict(X))


@both
def test_a_buffer_that_is_filled_again_is_read_in_time(steps):
    class Reused:
        def __iter__(self):
            x, y = np.empty((10, 7), np.float32), np.empty(10, np.float32)
            for start in range(0, 100, 10):
                x[...], y[...] = X[start : start + 10], Y[start : start + 10]
                yield x, y

    on_arrays, on_stream = network(steps), network(steps)
    expected = on_arrays.fit(X[:100], Y[:100], 2, 10, shuffle=False)
    assert on_stream.fit(Reused(), epochs=2) == expected
    assert bits(on_stream) == bits(on_arrays)


def test_batches_of_several_sizes_and_empty_ones():
    sizes = [5, 40, 0, 3, 53]
    edges = np.cumsum([0, *sizes])
    stream = [(X[a:b], Y[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    made = network()
    history = made.fit(stream, epochs=2)
    assert made.optimizer.steps == 8
    assert history["loss"][1] < history["loss"][0]
    twin = network(True)
    assert twin.fit(stream, epochs=2)["loss"] == pytest.approx(history["loss"], rel=1e-12)
    assert bits(twin) == bits(made)


def test_batches_of_a_source_train_as_their_arrays():
    rows = np.column_stack([X, Y]).astype(np.float64)  # 101 rows in batches of 20: the last one has 21
    made, other = network(), network()
    options = {"batch_size": 20, "seed": 3, "target": 7}
    history = made.fit(sn.batches(rows, **options), epochs=2, validation_data=sn.batches(rows, **options))
    assert made.optimizer.steps == 10
    stream = sn.batches(rows, **options)
    for epoch in range(2):
        (piece,) = stream.pieces()
        found = other.fit(*piece[:2], 1, 20, shuffle=False)
        assert found["loss"] == [history["loss"][epoch]]
    assert bits(other) == bits(made)
    weighted = sn.batches(np.column_stack([rows, W]), batch_size=20, target=7, sample_weight=8, shuffle=False)
    assert network().fit(weighted)["loss"] == network().fit(X, Y, 1, 20, sample_weight=W, shuffle=False)["loss"]
    with pytest.raises(sn.DataError, match="piece 0 of X: it has no targets"):
        made.fit(sn.batches(rows, batch_size=20))


def test_a_data_loader_of_pytorch_is_a_stream():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    loader = torch.utils.data.DataLoader(data, batch_size=25, drop_last=True)
    one, two = network(), network()
    assert one.fit(loader, epochs=2) == two.fit(X[:100], Y[:100], 2, 25, shuffle=False)
    assert bits(one) == bits(two)
    np.testing.assert_array_equal(one.predict(loader), two.predict(X[:100]))


# ---------------------------------------------------------------- what is wrong


def damaged(number, change):
    stream = [tuple(array.copy() for array in batch) for batch in batches(X, Y)]
    stream[number] = change(*stream[number])
    return stream


def with_nan(x, y):
    x[4, 2] = np.nan
    return x, y


def with_infinite_target(x, y):
    y[3] = np.inf
    return x, y


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_nan, "batch 2 of X: x has NaN in row 4, column 2"),
        (with_infinite_target, "batch 2 of X: y has an infinite value in row 3"),
        (lambda x, y: (x[:, :6], y), r"batch 2 of X: x has shape \(20, 6\), and rows of the first .* shape \(7,\)"),
        (lambda x, y: (x, y[:5]), r"batch 2 of X: x has shape \(20, 7\) and y has shape \(5,\): rows differ"),
        (lambda x, y: (x, np.stack([y, y], 1)), r"batch 2 of X: targets have shape \(20, 2\)"),
        (lambda x, y: (x, y, -y), "batch 2 of X: sample_weight is"),
        (lambda x, y: (x, y, y, y), "batch 2 of X: it is 4 parts"),
        (lambda x, y: (x, None), "batch 2 of X: it has no targets"),
        (lambda x, y: x, "batch 2 of X: it is a ndarray, and"),
        (lambda x, y: {"x": x, "y": y}, "batch 2 of X: it is a dict, and"),
        (lambda x, y: (x.astype(str), y), "batch 2 of X: numbers are wanted"),
        (lambda x, y: (x.ravel(), y), "batch 2 of X: x has shape"),
    ],
)
@both
def test_what_is_wrong_with_a_batch_is_said_with_its_number(steps, change, said):
    made = network(steps)
    with pytest.raises(sn.DataError, match=said):
        made.fit(Later(damaged(2, change)))
    assert made.optimizer.steps == 2  # the batches before it
    fine = network(steps)
    with pytest.raises(sn.DataError, match=said.replace("of X", "of validation_data")):
        fine.fit(batches(X, Y), validation_data=Later(damaged(2, change)))
    assert np.isfinite(made.fit(batches(X, Y))["loss"]).all()


class Later:
    """Any object with an iter()."""

    def __init__(self, stream):
        self.stream = stream

    def __iter__(self):
        return iter(self.stream)


def test_a_stream_that_ends_before_it_begins():
    made = network()
    with pytest.raises(sn.DataError, match="X has no rows in epoch 1$"):
        made.fit(Later([]))
    with pytest.raises(sn.DataError, match="X has no rows in epoch 1$"):
        made.fit(Later([(X[:0], Y[:0])]))
    with pytest.raises(sn.DataError, match="validation_data has no rows in epoch 1$"):
        made.fit(batches(X, Y), validation_data=Later([]))
    with pytest.raises(sn.DataError, match="X has no batches"):
        made.predict(Later([]))
    once = iter(batches(X, Y))

    class Exhausted:
        def __iter__(self):
            yield from once

    with pytest.raises(sn.DataError, match="X has no rows in epoch 2: iter\\(\\) must begin anew"):
        made.fit(Exhausted(), epochs=2)


def test_one_shot_iterators_are_for_one_epoch():
    made = network()
    with pytest.raises(ValueError, match="X can be gone through once, and 2 epochs are wanted"):
        made.fit(iter(batches(X, Y)), epochs=2)
    with pytest.raises(ValueError, match="validation_data can be gone through once"):
        made.fit(batches(X, Y), epochs=2, validation_data=iter(batches(X, Y)))
    assert made.optimizer.steps == 0
    other = network()
    assert made.fit(batch for batch in batches(X, Y)) == other.fit(X, Y, 1, BATCH, shuffle=False)
    assert made.evaluate(iter(batches(X, Y, size=1000))) == other.evaluate(X, Y)


@pytest.mark.parametrize(
    "option",
    [
        {"batch_size": 16},
        {"validation_split": 0.5},
        {"shuffle": False},
        {"sample_weight": W},
        {"random_state": 0},
    ],
    ids=lambda option: next(iter(option)),
)
def test_options_of_arrays_are_refused_with_a_stream(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} is for arrays"):
        network().fit(batches(X, Y), **option)


def test_what_is_no_stream_and_what_is_one_with_targets_beside_it():
    made = network()
    with pytest.raises(TypeError, match="y is None, and X is no stream"):
        made.fit(X)
    with pytest.raises(TypeError, match="y is None, and X is no stream"):
        made.evaluate(X.tolist())
    with pytest.raises(TypeError, match="y is None, and X is no stream"):
        made.fit(lambda: batches(X, Y))
    with pytest.raises(TypeError, match="X is a stream of batches"):
        made.fit(Later(batches(X, Y)), Y)
    with pytest.raises(ValueError, match="batch_size is for arrays"):
        made.predict(batches(X, Y), batch_size=10)
    with pytest.raises(ValueError, match="sample_weight is for arrays"):
        made.evaluate(batches(X, Y), sample_weight=W)
    with pytest.raises(TypeError, match=r"\(X, y, sample_weight\) or a stream"):
        made.fit(batches(X, Y), validation_data=3)
    with pytest.raises(sn.DataError, match="batch 0 of validation_data: x has shape"):
        made.fit(batches(X, Y), validation_data=[(X[:, :3], Y)])
    any_length = nn.Sequential([nn.InstanceNorm(2, affine=True)]).compile()
    long, short = np.ones((4, 2, 6)), np.ones((4, 2, 5))
    with pytest.raises(ValueError, match=r"validation_data has rows of shape \(2, 5\)"):
        any_length.fit([(long, long)], validation_data=[(short, short)])
    with pytest.raises(ValueError, match="validation X has shape"):
        made.fit(batches(X, Y), validation_data=(X[:, :3], Y))
    with pytest.raises(sn.DataError, match="batch 1 of X: X has shape"):
        made.predict(Later([X, X[:, :3]]))
    assert made.optimizer.steps == 0


def test_a_batch_of_one_row_is_refused_by_what_normalizes_batches_alone():
    stream = [(X[:20], Y[:20]), (X[20:21], Y[20:21])]
    for steps in (False, True):
        with pytest.raises(ValueError, match="one row|one value per channel"):
            network(steps).fit(stream)
    bare = small(np.float32, norm=False).compile()
    assert np.isfinite(bare.fit(stream)["loss"]).all()


@both
def test_an_interrupt_between_batches_leaves_a_network_that_trains_on(steps):
    closed = []

    class Interrupted:
        def __iter__(self):
            try:
                yield from batches(X, Y)[:3]
                raise KeyboardInterrupt
            finally:
                closed.append(True)

    made, other = network(steps), network(steps)
    made.eval()
    with pytest.raises(KeyboardInterrupt):
        made.fit(Interrupted())
    assert closed == [True]
    assert not made.training
    other.fit(batches(X, Y)[:3])
    assert bits(made) == bits(other)
    assert made.fit(batches(X, Y)) == other.fit(batches(X, Y))
    assert bits(made) == bits(other)


def test_a_stream_is_closed_where_training_stops():
    closed = []

    class Endless:
        def __iter__(self):
            try:
                while True:
                    yield X, Y
            finally:
                closed.append(True)

    made = network(optimizer=nn.SGD(1e30))
    with pytest.raises(FloatingPointError, match="the loss became"):
        made.fit(Endless())
    assert closed == [True]


def test_predictions_in_an_order_that_nobody_knows_are_refused():
    windows = sn.Windows(np.random.default_rng(0).random(100), length=3)
    network = nn.Sequential([nn.LSTM(1, 2), nn.Dense(2, 1)]).compile()
    with pytest.raises(ValueError, match="X is shuffled"):
        network.predict(windows.train)
    assert network.predict(windows.validation).shape == (windows.validation.num_windows, 1)


def test_a_batch_of_one_row_is_named_before_batch_norm_meets_it():
    network = nn.Sequential([nn.BatchNorm(3), nn.Dense(3, 1)]).compile()
    rng = np.random.default_rng(0)
    batches = [(rng.random((n, 3)), rng.random(n)) for n in (5, 1)]
    with pytest.raises(sn.DataError, match="batch 1 of X has one row, and batch normalization takes two or more"):
        network.fit(batches)


def test_a_sigmoid_before_a_loss_of_logits_is_refused():
    with pytest.raises(ValueError, match=r"the last layer is Sigmoid\(\), and binary cross-entropy takes logits"):
        nn.Sequential([nn.Dense(3, 1), nn.Sigmoid()]).compile("adam", "binary_crossentropy")
