"""Accuracy, Keras' names of losses, and rows with a single 1 as targets."""

import json

import numpy as np
import pytest
from support.networks import SEED, bits

import streamnorm as sn
from streamnorm import _nn as kernels
from streamnorm import nn
from streamnorm.nn import _model_file
from streamnorm.nn import _tensor_file as tensors
from streamnorm.nn._plan import Plan
from streamnorm.nn._steps import Steps
from streamnorm.reference import network as twins

kinds = pytest.mark.parametrize("dtype", [np.float32, np.float64])


class Mine(nn.ReLU):
    """A child, which no plan knows."""


def of_classes(steps=False, loss="cross_entropy", outputs=3, dtype=np.float32):
    layers = [nn.Dense(4, 12, dtype=dtype, random_state=0), (Mine if steps else nn.ReLU)()]
    layers += [nn.Dense(12, outputs, dtype=dtype, random_state=1)]
    return nn.Sequential(layers).compile("adam", loss, metrics=("accuracy",))


def blobs(rows=150):
    rng = np.random.default_rng(SEED)
    classes = rng.integers(0, 3, rows)
    return rng.normal(size=(rows, 4)) + 1.5 * np.eye(3, 4)[classes], classes, rng.uniform(0, 2, rows)


# ---------------------------------------------------------------- the kernel


@pytest.mark.parametrize("kind", ["softmax", "binary"])
@pytest.mark.parametrize("shape", [(1, 1), (64, 1), (65, 7), (33, 2), (0, 3)])
@kinds
def test_what_is_right_is_counted_as_the_twin_counts(kind, shape, dtype):
    rng = np.random.default_rng(shape[0])
    prediction = rng.integers(-2, 3, shape).astype(dtype)  # many ties, and zeros
    prediction[::5, :1] = np.nan
    target = rng.integers(0, shape[1], shape[0]) if kind == "softmax" else rng.choice([0, 0.25, 0.5, 1], shape)
    target = target.astype(np.int64 if kind == "softmax" else dtype)
    for weight in (None, rng.uniform(0, 2, shape[0]).astype(dtype)):
        found = kernels.right_predictions(kind, prediction, target, weight)
        assert found == pytest.approx(twins.right_predictions(kind, prediction, target, weight), rel=1e-13)


def test_ties_go_to_the_first_and_nan_is_never_right():
    tie = np.array([[1.0, 1.0, 0.0]] * 3)
    assert [kernels.right_predictions("softmax", tie[:1], np.array([c])) for c in range(3)] == [1.0, 0.0, 0.0]
    assert kernels.right_predictions("softmax", np.array([[np.nan, 1.0]]), np.array([1])) == 0.0
    assert kernels.right_predictions("binary", np.array([0.0, np.nan, 2.0]), np.array([0.0, 0.0, 0.5])) == 2.0
    assert kernels.right_predictions("binary", np.array([[1.0, 1.0]]), np.array([[1.0, 0.0]])) == 0.5
    with pytest.raises(ValueError, match="which have classes"):
        kernels.right_predictions("squared", tie, tie)
    with pytest.raises(ValueError, match="number of a class"):
        kernels.right_predictions("softmax", tie, np.array([0, 1, 3]))


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize("weighted", [False, True])
@kinds
def test_plans_and_steps_count_the_same(dtype, weighted):
    x, classes, weight = blobs()
    x, weight = x.astype(dtype), weight.astype(dtype) if weighted else None
    found = []
    for kind in (Plan, Steps):
        network = of_classes(dtype=dtype)
        runner = kind(list(network), (4,), 16, loss=network.loss, optimizer=network.optimizer, accuracy=True)
        order = np.random.default_rng(0).permutation(150)
        found.append([*runner.train(x, classes, 16, order, weight), *runner.evaluate(x, classes, weight)])
    assert found[0] == pytest.approx(found[1], rel=1e-13)
    right = (runner.forward(x).argmax(axis=1) == classes) * (1 if weight is None else weight)
    assert found[0][5] == pytest.approx(right.sum(dtype=np.float64), rel=1e-6)


@pytest.mark.parametrize("steps", [False, True])
def test_the_history_has_the_accuracy_before_each_step(steps):
    x, classes, weight = blobs()
    network = of_classes(steps)
    history = network.fit(x, classes, 20, 16, validation_data=(x[:50], classes[:50], weight[:50]), random_state=0)
    assert list(history) == ["loss", "val_loss", "accuracy", "val_accuracy"]
    assert history["accuracy"][0] < history["accuracy"][-1]
    found = network.predict(x).argmax(axis=1) == classes
    assert network.evaluate(x, classes, return_dict=True) == {
        "loss": network.evaluate(x, classes),
        "accuracy": found.mean(),
    }
    assert found.mean() > 0.7
    told = network.evaluate(x[:50], classes[:50], weight[:50], return_dict=True)
    assert told["accuracy"] == history["val_accuracy"][-1]
    assert told["accuracy"] == pytest.approx(np.average(found[:50], weights=weight[:50]), rel=1e-6)
    still = of_classes(steps)
    still.optimizer.lr = 0.0
    whole = still.evaluate(x, classes, return_dict=True)["accuracy"]
    assert still.fit(x, classes, 1, 16)["accuracy"] == [pytest.approx(whole, rel=1e-12)]  # however it is cut
    stream = [(x[:100], classes[:100]), (x[100:], classes[100:])]
    assert still.fit(stream, validation_data=stream)["val_accuracy"] == [pytest.approx(whole, rel=1e-12)]


def test_binary_accuracy_of_one_and_of_several_outputs():
    x, classes, _ = blobs()
    network = of_classes(loss="binary_crossentropy", outputs=1)
    network.fit(x, classes == 0, 20)
    found = network.evaluate(x, classes == 0, return_dict=True)["accuracy"]
    assert found == ((network.predict(x)[:, 0] > 0) == (classes == 0)).mean()
    assert found > 0.7
    several = of_classes(loss="binary_cross_entropy")
    targets = classes[:, None] == np.arange(3)
    several.fit(x, targets, 5)
    found = several.evaluate(x, targets, return_dict=True)["accuracy"]
    assert found == pytest.approx(((several.predict(x) > 0) == targets).mean(), rel=1e-12)


def test_metrics_change_nothing_that_is_trained():
    x, classes, _ = blobs()
    one, other = of_classes(), of_classes().compile("adam", "cross_entropy")
    told = one.fit(x, classes, 3, random_state=0)
    assert other.fit(x, classes, 3, random_state=0) == {"loss": told["loss"]}
    assert bits(one) == bits(other)
    assert other.evaluate(x, classes, return_dict=True) == {"loss": one.evaluate(x, classes)}


def test_metrics_that_there_are_none_of():
    network = of_classes()
    for loss in ("mse", "huber", "mae"):
        with pytest.raises(ValueError, match="share of classes that are right"):
            network.compile("adam", loss, metrics=("accuracy",))
    with pytest.raises(ValueError, match="metrics has 'auc'"):
        network.compile("adam", "cross_entropy", metrics=["auc"])
    assert network.compile("adam", "cross_entropy", metrics="accuracy").metrics == ("accuracy",)
    assert network.compile("adam", "mse").metrics == ()
    with pytest.raises(ValueError, match="no classes"):
        Plan(list(network), (4,), 8, loss=nn.MSELoss(), optimizer=nn.Adam(), accuracy=True)


def test_model_files_keep_metrics(tmp_path):
    x, classes, _ = blobs()
    network = of_classes()
    network.save(tmp_path / "with")
    assert sn.load(tmp_path / "with").metrics == ("accuracy",)
    assert "accuracy" in sn.load(tmp_path / "with").fit(x, classes)
    content, arrays = _model_file._encode_network(network)
    content = {"format": _model_file.FORMAT, "version": 1, "streamnorm": "0", **content, "kind": "sequential"}
    for metrics in (["auc"], 3, [{}], "loss"):
        content["metrics"] = metrics
        content["digest"] = _model_file._digest({k: v for k, v in content.items() if k != "digest"}, arrays)
        (tmp_path / "edited").write_bytes(tensors.to_bytes(arrays, json.dumps(content)))
        with pytest.raises(sn.StateError, match="metrics that cannot be used"):
            sn.load(tmp_path / "edited")
    bare = of_classes().compile("adam", "cross_entropy")
    assert b"metrics" not in _model_file.dumps(bare)
    bare.save(tmp_path / "without")
    assert sn.load(tmp_path / "without").metrics == ()


# ---------------------------------------------------------------- losses by Keras' names, and a single 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("categorical_crossentropy", nn.CrossEntropyLoss),
        ("sparse_categorical_crossentropy", nn.CrossEntropyLoss),
        ("binary_crossentropy", nn.BCEWithLogitsLoss),
    ],
)
def test_keras_names_of_losses(name, kind):
    assert type(nn.get_loss(name)) is kind


@pytest.mark.parametrize("steps", [False, True])
def test_rows_with_a_single_one_are_classes(steps):
    x, classes, _ = blobs()
    one, other = of_classes(steps, "categorical_crossentropy"), of_classes(steps)
    hot = np.eye(3, dtype=np.float32)[classes]
    held = {"validation_data": (x[:9], hot[:9])}
    assert one.fit(x, hot, 2, random_state=0, **held) == other.fit(
        x, classes, 2, random_state=0, validation_data=(x[:9], classes[:9])
    )
    assert bits(one) == bits(other)
    assert one.evaluate(x, hot.astype(bool)) == other.evaluate(x, classes)
    loss = nn.CrossEntropyLoss()
    z = one.predict(x)
    assert loss(z, hot) == loss(z, classes)
    np.testing.assert_array_equal(loss.gradient(z, hot), loss.gradient(z, classes))
    assert one.fit([(x, hot)])["loss"] == other.fit([(x, classes)])["loss"]


@pytest.mark.parametrize("row", [[0, 0, 0], [1, 1, 0], [0.5, 0.5, 0], [1, -1, 1], [0, np.nan, 1], [2, 0, 0]])
def test_rows_that_have_no_single_one_are_refused(row):
    target = np.eye(3)[[0, 1, 2, 0]]
    target[2] = row
    with pytest.raises(ValueError, match="the targets in row 2 are .*a single 1"):
        nn.CrossEntropyLoss()(np.zeros((4, 3)), target)
    with pytest.raises(ValueError, match="one class a row is wanted"):
        nn.CrossEntropyLoss()(np.zeros((4, 3)), np.zeros((4, 2)))
