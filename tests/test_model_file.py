"""Model files: networks come back to the last bit and train on, and what is not one is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

import streamnorm as sn
from streamnorm import nn
from streamnorm.documents import canonical
from streamnorm.nn import _model_file, _model_parts
from streamnorm.nn import _tensor_file as tensors

SEED = 20130707
X = np.random.default_rng(SEED).normal(size=(61, 4))
Y = X[:, :1] * X[:, 1:2] + X[:, 2:3]


def network(dtype=np.float32):
    return nn.Sequential(
        [
            nn.Dense(4, 6, bias=False, dtype=dtype, random_state=1),
            nn.BatchNorm(6, eps=1e-4, momentum=None, dtype=dtype),
            nn.Tanh(),
            nn.Dropout(0.25, random_state=2),
            nn.Sequential([nn.Dense(6, 6, dtype=dtype, random_state=3), nn.LayerNorm(6, bias=False, dtype=dtype)]),
            nn.ReLU(),
            nn.RMSNorm((6,), eps=None, dtype=dtype),
            nn.Sigmoid(),
            nn.GroupNorm(2, 6, dtype=dtype),
            nn.InstanceNorm(6, dtype=dtype),
            nn.Flatten(),
            nn.Dense(6, 1, dtype=dtype, random_state=4),
        ]
    )


OPTIMIZERS = {
    "adam": lambda: nn.Adam(nn.CosineSchedule(0.01, 40, warmup=3), clip_norm=1.0),
    "adamw": lambda: nn.AdamW(nn.StepSchedule(0.01, 10), betas=(0.8, 0.99)),
    "sgd": lambda: nn.SGD(0.01, 0.9, nesterov=True, clip_value=2.0),
    "sgd_plain": lambda: nn.SGD(0.01),
}
LOSSES = [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(0.5), nn.QuantileLoss(0.9), nn.BCEWithLogitsLoss()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def same_bits(a, b):
    left, right = a.state_dict(), b.state_dict()
    assert list(left) == list(right)
    for name in left:
        assert left[name].dtype == right[name].dtype and left[name].tobytes() == right[name].tobytes(), name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_loaded_network_predicts_and_trains_on_to_the_same_bits(name, dtype, path):
    first = network(dtype).compile(OPTIMIZERS[name](), nn.HuberLoss(0.5))
    first.fit(X, Y, epochs=2, batch_size=16, random_state=0)
    first.save(path)
    second = sn.load(path)
    assert repr(second) == repr(first) and repr(second.optimizer) == repr(first.optimizer)
    same_bits(first, second)
    assert first.predict(X).tobytes() == second.predict(X).tobytes()
    for each in (first, second):
        each.fit(X, Y, epochs=2, batch_size=16, random_state=1)
    same_bits(first, second)


def test_the_same_model_is_the_same_file(path):
    model = network()
    model.save(path)
    assert path.read_bytes() == _model_file.dumps(model) == _model_file.dumps(sn.load(path))


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_losses_come_back(loss, path):
    nn.Sequential([nn.Dense(1, 1)]).compile("sgd", loss).save(path)
    found = sn.load(path).loss
    assert type(found) is type(loss) and vars(found) == vars(loss)


def test_a_network_that_is_not_compiled_and_its_mode_come_back(path):
    model = network().eval()
    model.save(path)
    found = sn.load(path)
    assert not found.training and found.loss is None and found.optimizer is None
    found.save(path, overwrite=True)


def test_layers_that_normalize_images_and_look_up_codes_come_back(path):
    model = nn.Sequential(
        [nn.BatchNorm(3, affine=False, track_running_stats=False, channel_axis=-1), nn.ColumnEmbedding(5, 2, 3)]
    )
    model.save(path)
    assert repr(sn.load(path)) == repr(model)
    same_bits(model, sn.load(path))


def test_pytorch_reads_the_arrays(path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    ours = nn.Sequential([nn.Dense(4, 3), nn.BatchNorm(3), nn.ReLU(), nn.Dense(3, 1)]).eval()
    ours.save(path)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.ReLU(), torch.nn.Linear(3, 1)
    ).eval()
    theirs.load_state_dict({name.removeprefix("network."): tensor for name, tensor in load_file(path).items()})
    x = X.astype(np.float32)
    np.testing.assert_allclose(theirs(torch.from_numpy(x)).detach().numpy(), ours(x), rtol=1e-5, atol=1e-6)


def test_an_existing_file_is_replaced_on_request_alone(path):
    network().save(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite"):
        nn.Sequential([nn.Tanh()]).save(path)
    assert path.read_bytes() == before
    nn.Sequential([nn.Tanh()]).save(path, overwrite=True)
    assert len(sn.load(path)) == 1
    assert [each.name for each in path.parent.iterdir()] == [path.name]


class Custom(nn.ReLU):
    pass


def test_what_is_not_ours_is_not_saved(path):
    with pytest.raises(sn.StateError, match="layer 1 is a Custom"):
        nn.Sequential([nn.Tanh(), Custom()]).save(path)
    with pytest.raises(sn.StateError, match="lr is <function"):
        nn.Sequential([nn.Dense(1, 1)]).compile(nn.SGD(lambda step: 0.1)).save(path)
    assert not path.exists()


def test_threads_stay_behind(path):
    nn.Sequential([nn.Dense(2, 2, threads=2)]).save(path)
    assert sn.load(path)[0].threads is None


def test_every_layer_loss_optimizer_and_schedule_is_known():
    """A class that is added to the library is to be in the tables, with all that it is made with."""
    import inspect

    tables = _model_parts.LAYERS | _model_parts.LOSSES | _model_parts.OPTIMIZERS | _model_parts.SCHEDULES
    own = {"Module", "Parameter", "Sequential", "Loss", "Optimizer", "Regressor"}
    classes = {name for name in nn.__all__ if inspect.isclass(getattr(nn, name))} - own
    assert classes == set(tables)
    for name, arguments in tables.items():
        wanted = set(inspect.signature(getattr(nn, name)).parameters) - {"random_state", "threads"}
        assert set(arguments) == wanted, name


# ------------------------------------------------------------------------------------------------ refused


def content_of(data):
    arrays, text = tensors.from_bytes(data)
    return json.loads(text), arrays


def forged(content, arrays):
    """A file whose digest is right, whatever it says."""
    content = {key: value for key, value in content.items() if key != "digest"}
    return tensors.to_bytes(arrays, canonical(content | {"digest": _model_file._digest(content, arrays)}).decode())


DENSE = {"in_features": 4, "out_features": 6, "bias": False, "dtype": "float32"}
TAMPERED = [
    (lambda c, a: c.update(version=2), "has format version 2"),
    (lambda c, a: c.update(version=True), "has no 'version' of type int"),
    (lambda c, a: c.update(format="other"), "not one of a model"),
    (lambda c, a: c.update(kind="classifier"), "of a kind 'classifier'"),
    (lambda c, a: c.update(extra=1), "unknown member 'extra'"),
    (lambda c, a: c.pop("loss"), "lacks 'loss'"),
    (lambda c, a: c.update(kind="regressor"), "lacks 'regressor'"),
    (lambda c, a: c["layers"].pop(), "do not fit"),
    (lambda c, a: c.update(layers=[]), "has arrays that do not fit|no network"),
    (lambda c, a: c.update(layers={}), "no list of layers"),
    (lambda c, a: c["layers"][0].update({"class": "Conv"}), "a layer 'Conv' that this version does not know"),
    (lambda c, a: c["layers"][0].update({"class": "Module"}), "a layer 'Module' that this version does not know"),
    (lambda c, a: c["layers"][0].update({"class": "os.system"}), "does not know"),
    (lambda c, a: c["layers"][0]["arguments"].update(out_features=2**40), "of 4,398,046,511,104 values"),
    (lambda c, a: c["layers"][0]["arguments"].update(out_features=-6), "impossible sizes"),
    (lambda c, a: c["layers"][0]["arguments"].update(out_features="6"), "impossible sizes"),
    (lambda c, a: c["layers"][0]["arguments"].update(out_features=5), "do not fit"),
    (lambda c, a: c["layers"][0]["arguments"].update(dtype="float64"), "of float32, and float64 is wanted"),
    (lambda c, a: c["layers"][0]["arguments"].update(dtype="object"), "cannot be made"),
    (lambda c, a: c["layers"][0]["arguments"].update(threads=1), "unknown member 'threads'"),
    (lambda c, a: c["layers"][1]["arguments"].update(num_features=2**50), "values, and an array of 6"),
    (lambda c, a: c["layers"][1]["arguments"].update(eps=-1.0), "cannot be made"),
    (lambda c, a: c["layers"][3].pop("seed"), "lacks 'seed'"),
    (lambda c, a: c.update(layers=[{"class": "Sequential", "layers": [{"class": "Dense", "arguments": DENSE}] * 99}]),
     "values, and an array of 0"),
    (lambda c, a: c["optimizer"].update({"class": "Lion"}), "has a 'Lion' that this version does not know"),
    (lambda c, a: c["optimizer"]["arguments"].update(betas=[2, 3]), "a Adam that cannot be made"),
    (lambda c, a: c.update(optimizer=c["loss"]), "has the state of an optimizer"),
    (lambda c, a: c.update(optimizer=None), "has the state of an optimizer"),
    (lambda c, a: c.update(loss=c["optimizer"]), "has a loss that is none"),
    (lambda c, a: c.update(training=1), "has no 'training' of type bool"),
    (lambda c, a: a.pop("network.0.weight"), "values, and an array of 0|lacks"),
    (lambda c, a: a.pop("network.1.bias"), "lacks the array 'network.1.bias'"),
    (lambda c, a: a.update({"network.0.more": np.zeros(2)}), "unexpected 0.more"),
    (lambda c, a: a.update({"other": np.zeros(2)}), "belong to nothing"),
    (lambda c, a: a.update({"network.1.bias": np.zeros(6)}), "of float64, and float32 is wanted"),
    (lambda c, a: a.update({"network.1.bias": np.zeros(5, np.float32)}), "shape \\(5,\\)"),
    (lambda c, a: a.pop("optimizer.0.m"), "do not fit"),
    (lambda c, a: a.update({"optimizer.0.m": np.zeros((1, 1), np.float32)}), "do not fit"),
    (lambda c, a: a.update({"optimizer.steps": np.array(-1)}), "do not fit"),
]  # fmt: skip


def images():
    layers = [nn.Conv2D(2, 3, (2, 3), (1, 2), "same", random_state=1), nn.ReLU(), nn.MaxPool2D((2, 1), 1, (1, 0))]
    layers += [nn.Conv2D(3, 4, 2, padding=(0, 1), bias=False, random_state=2), nn.MaxPool2D(2, padding=1)]
    return nn.Sequential([*layers, nn.Flatten(), nn.Dense(36, 3, random_state=3)]), (5, 6, 2), 3


def words():
    layers = [nn.Embedding(7, 3, random_state=1), nn.LSTM(3, 5, True, random_state=2), nn.LayerNorm(5)]
    return nn.Sequential([*layers, nn.LSTM(5, 4, random_state=3), nn.Dense(4, 2, random_state=4)]), (6,), 2


@pytest.mark.parametrize("make", [images, words])
def test_networks_of_images_and_words_come_back_and_train_on(make, path):
    first, shape, classes = make()
    first.compile(nn.Adam(0.01), "cross_entropy", metrics=("accuracy",))
    rng = np.random.default_rng(SEED)
    x, y = rng.integers(0, 7, (31, *shape)), rng.integers(0, classes, 31)
    first.fit(x, y, epochs=2, batch_size=8, random_state=0)
    first.save(path)
    second = sn.load(path)
    assert repr(second) == repr(first)
    for each in (first, second):
        each.fit(x, y, epochs=2, batch_size=8, random_state=1)
    same_bits(first, second)
    assert first.predict(x).tobytes() == second.predict(x).tobytes()
    assert second.evaluate(x, y, return_dict=True) == first.evaluate(x, y, return_dict=True)


def of_layer(number, **arguments):
    return lambda content: content["layers"][number]["arguments"].update(arguments)


@pytest.mark.parametrize(
    ("make", "change", "said"),
    [
        (images, of_layer(0, out_channels=2**40), "of 13,194,139,533,312 values, and an array of 36"),
        (images, of_layer(0, kernel_size=[2**30, 2**30]), "values, and an array of 36"),
        (images, of_layer(0, kernel_size=4), "of 96 values, and an array of 36"),
        (images, of_layer(0, kernel_size=[3, 2]), "do not fit"),
        (images, of_layer(0, kernel_size=[2, 3, 1]), "cannot be made"),
        (images, of_layer(0, kernel_size=[0, 3]), "impossible sizes"),
        (images, of_layer(0, strides=[0, 1]), "cannot be made"),
        (images, of_layer(0, strides=None), "cannot be made"),
        (images, of_layer(0, padding="round"), "cannot be made"),
        (images, of_layer(0, padding=[-1, 0]), "cannot be made"),
        (images, of_layer(0, bias=False), "do not fit"),
        (images, of_layer(2, pool_size=[1, 1]), "cannot be made"),
        (images, of_layer(2, pool_size="all"), "cannot be made"),
        (images, of_layer(2, ceil_mode=True), "unknown member 'ceil_mode'"),
        (words, of_layer(0, num_embeddings=2**30), "of 3,221,225,472 values, and an array of 21"),
        (words, of_layer(0, embedding_dim=4), "of 28 values, and an array of 21"),
        (words, of_layer(1, hidden_size=2**20, input_size=1), "of 4,398,046,511,104 values, and an array of 100"),
        (words, of_layer(1, input_size=2**40), "values, and an array of 100"),
        (words, of_layer(1, hidden_size=4), "do not fit"),
        (words, of_layer(1, return_sequences=1), "cannot be made"),
        (words, of_layer(1, hidden_size=True), "impossible sizes"),
    ],
)
def test_layers_of_other_sizes_than_their_arrays_are_refused(make, change, said, path):
    content, arrays = content_of(_model_file.dumps(make()[0]))
    change(content)
    path.write_bytes(forged(content, arrays))
    with pytest.raises(sn.StateError, match=said):
        sn.load(path)


@pytest.mark.parametrize("make", [images, words])
def test_a_lost_or_changed_array_of_images_and_words_is_refused(make, path):
    data = _model_file.dumps(make()[0])
    for name in content_of(data)[1]:
        content, arrays = content_of(data)
        lost = arrays.pop(name)
        path.write_bytes(forged(content, arrays))
        with pytest.raises(sn.StateError, match="lacks the array|values, and an array of"):
            sn.load(path)
        path.write_bytes(forged(content, arrays | {name: lost[..., :-1]}))
        with pytest.raises(sn.StateError, match="do not fit|values, and an array of"):
            sn.load(path)


@pytest.fixture(scope="module")
def written():
    model = network().compile(nn.Adam())
    model.fit(X, Y, random_state=0)
    return _model_file.dumps(model)


@pytest.mark.parametrize(("change", "said"), TAMPERED)
def test_what_is_not_as_it_was_written_is_refused(change, said, written, path):
    content, arrays = content_of(written)
    change(content, arrays)
    path.write_bytes(forged(content, arrays))
    with pytest.raises(sn.StateError, match=said) as error:
        sn.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_changed_byte_anywhere_is_noticed(written, path):
    rng = np.random.default_rng(SEED)
    for at in rng.choice(len(written), 200, replace=False):
        changed = bytearray(written)
        changed[at] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        with pytest.raises(sn.StateError, match="model.safetensors"):
            sn.load(path)


def test_a_file_that_ends_anywhere_too_early_is_refused(written, path):
    for length in range(0, len(written), 97):
        path.write_bytes(written[:length])
        with pytest.raises(sn.StateError, match="model.safetensors"):
            sn.load(path)


def test_nothing_is_imported_that_the_file_names(written, path):
    content, arrays = content_of(written)
    content["layers"][0]["class"] = "antigravity"
    path.write_bytes(forged(content, arrays))
    code = (
        "import sys, streamnorm as sn\n"
        "try: sn.load(sys.argv[1])\n"
        "except sn.StateError: print('antigravity' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
