"""Networks for images, words and series as a whole: slopes, PyTorch's training, threads, streams and evaluation."""

import copy

import numpy as np
import pytest
from support.networks import bits
from support.slopes import TOLERANCE, error, slopes

from streamnorm import nn
from streamnorm.nn._plan import Plan
from streamnorm.nn._steps import Steps

SEED = 11
TORCH_TOLERANCE = 1e-9  # of parameters after some steps of Adam in float64, whose quotients amplify the last digits
STEPS = 5


def image(dtype=np.float64, bend=nn.ReLU):
    rng = np.random.default_rng(SEED)
    layers = [nn.Conv2D(3, 4, dtype=dtype, random_state=rng), bend(), nn.BatchNorm(4, channel_axis=-1, dtype=dtype)]
    layers += [nn.Conv2D(4, 5, dtype=dtype, random_state=rng), bend(), nn.BatchNorm(5, channel_axis=-1, dtype=dtype)]
    layers += [nn.MaxPool2D(2), nn.Flatten(), nn.Dense(20, 7, dtype=dtype, random_state=rng), bend()]
    layers += [nn.BatchNorm(7, dtype=dtype), nn.Dense(7, 3, dtype=dtype, random_state=rng)]
    x = rng.normal(size=(24, 9, 8, 3)).astype(dtype)
    return nn.Sequential(layers), nn.CrossEntropyLoss(), x, rng.integers(0, 3, 24)


def text(dtype=np.float64):
    rng = np.random.default_rng(SEED)
    layers = [nn.Embedding(31, 6, dtype=dtype, random_state=rng), nn.LSTM(6, 5, True, dtype=dtype, random_state=rng)]
    layers += [nn.LayerNorm(5, dtype=dtype), nn.LSTM(5, 7, dtype=dtype, random_state=rng), nn.LayerNorm(7, dtype=dtype)]
    x = rng.integers(0, 31, (24, 11))
    made = nn.Sequential([*layers, nn.Dense(7, 1, dtype=dtype, random_state=rng)])
    return made, nn.BCEWithLogitsLoss(), x, rng.integers(0, 2, (24, 1)).astype(dtype)


def series(dtype=np.float64):
    rng = np.random.default_rng(SEED)
    layers = [nn.LSTM(2, 5, True, dtype=dtype, random_state=rng), nn.BatchNorm(5, channel_axis=-1, dtype=dtype)]
    layers += [nn.LSTM(5, 7, dtype=dtype, random_state=rng), nn.BatchNorm(7, dtype=dtype)]
    made = nn.Sequential([*layers, nn.Dense(7, 1, dtype=dtype, random_state=rng)])
    return made, nn.MSELoss(), rng.normal(size=(24, 10, 2)).astype(dtype), rng.normal(size=(24, 1)).astype(dtype)


MODELS = [image, text, series]
models = pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)


def runner_of(kind, made, loss, x, optimizer=None, rows=8, **options):
    return kind(list(made), x.shape[1:], rows, loss=loss, optimizer=optimizer or nn.Adam(0.01), **options)


@models
def test_gradients_are_the_slopes_of_the_loss(make, monkeypatch):
    monkeypatch.setattr("support.slopes.STEP", 1e-4)  # through normalization of small batches slopes bend
    made, loss, x, y = make(bend=nn.Tanh) if make is image else make()  # ReLU has corners within a step
    x, y = x[:6].astype(np.float64), loss.targets(y[:6], (6, *made.predict(x[:1]).shape[1:]), np.dtype(np.float64))
    runner = runner_of(Plan, made, loss, x, nn.SGD(0.0), 6)
    runner.train(x, y, 6)
    gradients = {name: parameter.grad.copy() for name, parameter in made.named_parameters()}

    def value():
        return loss(made.forward(x), y)

    made.train()
    for name, parameter in made.named_parameters():
        assert error(gradients[name], slopes(value, parameter)) <= TOLERANCE, name


# ---------------------------------------------------------------- PyTorch


def twin_of(torch, made):
    """The same network in PyTorch, and which parameter is which; images go in as they are here."""

    class Series(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.inner = torch.nn.LSTM(layer.input_size, layer.hidden_size, batch_first=True)
            self.sequences = layer.return_sequences

        def forward(self, x):
            y, _ = self.inner(x)
            return y if self.sequences else y[:, -1]

    class ChannelsLast(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x.movedim(-1, 1)).movedim(1, -1)

    layers, pairs = [], []
    for layer in made:
        if isinstance(layer, nn.Conv2D):
            inner = torch.nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size)
            pairs.append((layer.weight, inner.weight, lambda w: w.transpose(3, 2, 0, 1)))
            pairs.append((layer.bias, inner.bias, lambda w: w))
            layers.append(ChannelsLast(inner))
        elif isinstance(layer, nn.LSTM):
            layers.append(Series(layer))
            inner = layers[-1].inner
            pairs.append((layer.weight_ih, inner.weight_ih_l0, lambda w: w))
            pairs.append((layer.weight_hh, inner.weight_hh_l0, lambda w: w))
            pairs.append((layer.bias, inner.bias_ih_l0, lambda w: w))
            inner.bias_hh_l0.requires_grad_(False)  # there is one here
            inner.bias_hh_l0.data.zero_()
        elif isinstance(layer, nn.BatchNorm):
            wide = layer.channel_axis == -1
            inner = {True: torch.nn.BatchNorm2d if make_is_image(made) else torch.nn.BatchNorm1d,
                     False: torch.nn.BatchNorm1d}[wide](layer.num_features)  # fmt: skip
            pairs += [(layer.weight, inner.weight, lambda w: w), (layer.bias, inner.bias, lambda w: w)]
            layers.append(ChannelsLast(inner) if wide else inner)
        elif isinstance(layer, nn.LayerNorm | nn.Dense | nn.Embedding):
            inner = {
                nn.LayerNorm: lambda at=layer: torch.nn.LayerNorm(at.normalized_shape),
                nn.Dense: lambda at=layer: torch.nn.Linear(at.in_features, at.out_features),
                nn.Embedding: lambda at=layer: torch.nn.Embedding(at.num_embeddings, at.embedding_dim),
            }[type(layer)]()
            pairs += [(getattr(layer, name), each, lambda w: w) for name, each in inner.named_parameters()]
            layers.append(inner)
        elif isinstance(layer, nn.MaxPool2D):
            layers.append(ChannelsLast(torch.nn.MaxPool2d(layer.pool_size)))
        else:
            layers.append({nn.ReLU: torch.nn.ReLU, nn.Flatten: torch.nn.Flatten}[type(layer)]())
    twin = torch.nn.Sequential(*layers).double()
    with torch.no_grad():
        for ours, theirs, turn in pairs:
            theirs.copy_(torch.from_numpy(np.ascontiguousarray(turn(np.asarray(ours, np.float64)))))
    return twin, pairs


def make_is_image(made):
    return any(isinstance(layer, nn.Conv2D) for layer in made)


@models
def test_training_is_pytorchs(make):
    torch = pytest.importorskip("torch")
    made, loss, x, y = make()
    twin, pairs = twin_of(torch, made)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    optimizer = torch.optim.Adam([theirs for _, theirs, _ in pairs], 0.01)
    criterion = {
        "softmax": torch.nn.functional.cross_entropy,
        "binary": torch.nn.functional.binary_cross_entropy_with_logits,
        "squared": torch.nn.functional.mse_loss,
    }[loss.kind]
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    expected = []
    for step in range(STEPS):
        rows = slice(8 * (step % 3), 8 * (step % 3) + 8)
        optimizer.zero_grad()
        value = criterion(twin(inputs[rows]), targets[rows])
        value.backward()
        optimizer.step()
        expected.append(value.item())
    order = np.arange(8 * STEPS) % 24
    made.compile(nn.Adam(0.01), loss)
    stream = [(x[order[i : i + 8]], y[order[i : i + 8]]) for i in range(0, 8 * STEPS, 8)]
    history = made.fit(stream)
    assert type(made.runner(x.shape[1:], 8)) is Plan
    assert history["loss"][0] == pytest.approx(np.mean(expected), rel=1e-10)
    for ours, theirs, turn in pairs:
        assert error(turn(np.asarray(ours)), theirs.detach().numpy()) <= TORCH_TOLERANCE
    twin.eval()
    torch.set_num_threads(threads)
    assert error(made.predict(x), twin(inputs).detach().numpy()) <= TORCH_TOLERANCE


# ---------------------------------------------------------------- threads, rows and modes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@models
def test_threads_change_nothing(make, dtype):
    found = []
    for threads in (1, 2, 3, None):
        made, loss, x, y = make(dtype)
        made.compile(nn.Adam(0.01), loss, threads=threads)
        history = made.fit(np.repeat(x, 4, axis=0), np.repeat(y, 4, axis=0), 2, 48, random_state=0)
        found.append((history, bits(made), made.predict(x).tobytes()))
    assert found[0] == found[1] == found[2] == found[3]


@models
def test_predictions_do_not_depend_on_the_rows_beside_them(make, monkeypatch):
    made, loss, x, y = make(np.float32)
    made.compile(nn.Adam(0.01), loss).fit(x, y, 2, 8, random_state=0)
    whole = made.predict(x)
    for rows in (1, 2, 7):
        np.testing.assert_array_equal(made.predict(x, batch_size=rows), whole)
    np.testing.assert_array_equal(np.concatenate([made.predict(x[:1]), made.predict(x[1:])]), whole)
    value = made.evaluate(x, y)
    monkeypatch.setattr("streamnorm.nn._plan.CHUNK_BYTES", 1)  # which leaves a row at a time
    again = copy.deepcopy(made)
    assert again.runner(x.shape[1:], 24)._chunk == 1
    np.testing.assert_array_equal(again.predict(x), whole)
    assert again.evaluate(x, y) == pytest.approx(value, rel=1e-6)


@models
def test_training_goes_on_after_another_size_of_batch_and_an_evaluation(make):
    found = []
    for kind in (Plan, Steps):
        made, loss, x, y = make()
        x, y = x.astype(np.float64), loss.targets(y, (24, *made.predict(x[:1]).shape[1:]), np.dtype(np.float64))
        runner = runner_of(kind, made, loss, x, rows=8)
        told = [runner.train(x[:6], y[:6], 6), runner.evaluate(x, y), runner.train(x, y, 24)]
        told += [runner.evaluate(x[:2], y[:2]), runner.train(x, y, 5), runner.train(x[:3], y[:3], 3)]
        found.append((told, bits(made), runner.forward(x).tobytes()))
    assert np.ravel(found[0][0]).tolist() == pytest.approx(np.ravel(found[1][0]).tolist(), rel=1e-12)
    assert found[0][1:] == found[1][1:]


@models
def test_layers_that_train_in_evaluation_mode_have_the_bits_of_the_plan(make):
    made, loss, x, y = make()
    made.compile(nn.Adam(0.01), loss).fit(x, y, 1, 8, random_state=0)
    made.eval()
    np.testing.assert_array_equal(made.forward(x), made.predict(x))


def test_codes_that_there_are_none_of_are_named_with_their_place():
    made, loss, x, y = text(np.float32)
    made.compile("adam", loss)
    for code in (31, -1, 0.5):
        bad = x.astype(np.float64)
        bad[5, 3] = code
        for run, given in ((made.predict, (bad,)), (made.fit, (bad, y)), (made.fit, ([(bad, y)],))):
            with pytest.raises(ValueError, match=r"row 5 of x has codes \[.*\] at position 3; .* from 0 to 30"):
                run(*given)


@pytest.mark.parametrize(
    ("layers", "shape", "said"),
    [
        ([nn.Conv2D(3, 2)], (9, 9, 1), r"gets rows of shape \(9, 9, 1\): "),
        ([nn.Conv2D(3, 2, 5)], (4, 9, 3), r"gets rows of shape \(4, 9, 3\): "),
        ([nn.Conv2D(3, 2)], (9, 3), r"gets rows of shape \(9, 3\): "),
        ([nn.MaxPool2D(2), nn.MaxPool2D(5)], (9, 9, 1), r"layer 1, MaxPool2D, gets rows of shape \(4, 4, 1\): "),
        ([nn.LSTM(3, 2)], (9, 2), r"gets rows of shape \(9, 2\): "),
        ([nn.LSTM(3, 2), nn.LSTM(2, 2)], (9, 3), r"layer 1, LSTM, gets rows of shape \(2,\): "),
        ([nn.LSTM(3, 2)], (0, 3), r"gets rows of shape \(0, 3\): "),
    ],
)
def test_shapes_that_do_not_fit_are_named_with_their_layer(layers, shape, said):
    x = np.zeros((4, *shape), np.float32)
    assert not Plan.covers(layers, shape)
    with pytest.raises(ValueError, match=said):
        nn.Sequential(layers).predict(x)
    with pytest.raises(ValueError, match=said):
        Plan(layers, shape, 4)


def test_an_image_larger_than_one_chunk_is_predicted_in_parts():
    made = nn.Sequential([nn.Conv2D(1, 8, padding="same", random_state=0), nn.MaxPool2D(64), nn.Flatten()])
    x = np.random.default_rng(0).normal(size=(70, 256, 256, 1)).astype(np.float32)
    assert 1 < made.runner(x.shape[1:], 1024)._chunk < 70
    np.testing.assert_array_equal(made.predict(x), np.concatenate([made.predict(x[:33]), made.predict(x[33:])]))
