"""What a network keeps from one prediction to the next."""

import copy
import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from streamnorm import nn
from streamnorm.nn import _module

X = np.random.default_rng(3).normal(size=(37, 5)).astype(np.float32)


def network():
    layers = [nn.Dense(5, 7, random_state=0), nn.BatchNorm(7), nn.ReLU(), nn.Dense(7, 2, random_state=1)]
    return nn.Sequential(layers)


def fresh(net):
    """The predictions of the same network that has kept nothing."""
    return copy.deepcopy(net).predict(X)


def lower_eps(net):
    net[1].eps = 0.5


def replace_layer(net):
    setattr(net, "3", nn.Dense(7, 3, random_state=5))


def step_in_place(net):
    net[0].weight -= 0.25


def load(net):
    net.load_state_dict({name: 2 * values for name, values in net.state_dict().items()})


def train(net):
    net.compile("sgd", "mse").fit(X, X[:, :2], epochs=2, random_state=0)


@pytest.mark.parametrize("change", [lower_eps, replace_layer, step_in_place, load, train])
def test_predictions_follow_every_change(change):
    net = network()
    before = net.predict(X)
    change(net)
    after = net.predict(X)
    assert after.shape != before.shape or not np.array_equal(after, before)
    np.testing.assert_array_equal(after, fresh(net))


def test_any_number_of_rows_and_another_width_of_rows():
    net = network()
    whole = net.predict(X)
    for rows in (1, 37, 5, 0, 36):
        np.testing.assert_array_equal(net.predict(X[:rows]), whole[:rows])
    np.testing.assert_array_equal(net.predict(X, batch_size=4), whole)
    with pytest.raises(ValueError, match=r"\(37, 4\)"):
        net.predict(X[:, :4])
    np.testing.assert_array_equal(net.predict(X), whole)


def test_what_is_kept_is_used_again_and_does_not_travel():
    net = network()
    net.predict(X)
    kept = net.__dict__["_predictor"][1]
    net.predict(X[:3])
    assert net.__dict__["_predictor"][1] is kept
    assert "_predictor" not in pickle.loads(pickle.dumps(net)).__dict__
    assert "_predictor" not in copy.deepcopy(net).__dict__


def test_threads_predict_at_once():
    net = network()
    whole = net.predict(X)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: net.predict(X), range(200)):
            np.testing.assert_array_equal(found, whole)


def test_a_network_of_another_process_sees_its_changes(monkeypatch):
    made = network()
    stored = pickle.dumps(made)
    monkeypatch.setattr(_module, "_changes", itertools.count(made[1]._changed))  # where this process is in counting
    loaded = pickle.loads(stored)
    before = loaded.predict(X)
    loaded[1].eps = 10.0
    assert not np.array_equal(loaded.predict(X), before)
