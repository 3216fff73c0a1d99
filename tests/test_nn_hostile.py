"""Networks in the hands of those who mean no harm: odd arrays, several threads, errors half-way, huge numbers."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.networks import SEED, bits, problem, small
from support.slopes import error

from streamnorm import nn

ATOL64 = 1e-10  # values of size 1 after a few steps


def test_rows_that_lie_at_odd_addresses_are_taken():
    def at_odd_address(array):
        moved = np.frombuffer(b"?" + array.tobytes(), array.dtype, offset=1).reshape(array.shape)
        assert not moved.flags.aligned and moved.flags.c_contiguous
        return moved

    X, y = problem(50)
    plain, odd = small().compile(), small().compile()
    plain.fit(X, y, random_state=0, sample_weight=np.ones(50))
    odd.fit(at_odd_address(X), at_odd_address(y), random_state=0, sample_weight=at_odd_address(np.ones(50)))
    assert bits(odd) == bits(plain)
    np.testing.assert_array_equal(odd.predict(at_odd_address(X)), plain.predict(X))
    of_classes = small(outputs=2).compile(loss="cross_entropy")
    assert math.isfinite(of_classes.fit(X, at_odd_address(np.ones(50, np.int64)))["loss"][0])


def test_a_layer_that_is_set_anew_keeps_its_place():
    network = small()
    keys = list(network.state_dict())
    setattr(network, "0", nn.Dense(7, 13, dtype=np.float64, random_state=9))
    network[0].register_parameter("weight", nn.Parameter(np.ones((13, 7))))
    network[1].register_buffer("running_mean", np.zeros(13))
    assert list(network.state_dict()) == keys and isinstance(network[0], nn.Dense)
    assert network.predict(np.ones((3, 7))).shape == (3, 1)


def test_a_network_without_parameters_computes_in_the_type_of_its_statistics():
    x = np.random.default_rng(SEED).normal(size=(30, 3))
    layer = nn.BatchNorm(3, affine=False, dtype=np.float64)
    network = nn.Sequential([layer, nn.Tanh()]).compile()
    assert network.dtype == np.float64 and math.isfinite(network.fit(x, x, batch_size=8)["loss"][0])
    assert error(network.predict(x), np.tanh(layer.eval()(x))) < ATOL64


def test_evaluating_on_several_threads_leaves_the_modes_alone():
    network = small(dropout=0.5).compile()
    X, y = problem(50)
    seen = []
    network[1].train = network[4].train = lambda mode=True: seen.append(mode)
    network.evaluate(X, y)
    network.fit(X, y)
    network.predict(X[:0])
    assert not seen and network.training


def test_networks_of_other_layers_are_trained_and_asked_at_once():
    class Own(nn.ReLU):
        pass

    X, y = problem(100)
    networks = [
        nn.Sequential([nn.Dense(7, 5, random_state=0), Own(), nn.Dropout(0.5, random_state=1), nn.Dense(5, 1)])
        for _ in range(2)
    ]
    for network in networks:
        network[3].reset_parameters(2)
        network.compile()
    alone, watched = networks
    alone.fit(X, y, epochs=20, random_state=0)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(lambda: [watched.predict(X) for _ in range(100)]) for _ in range(2)]
        watched.fit(X, y, epochs=20, random_state=0)
        for each in asked:
            each.result()
    assert bits(alone) == bits(watched) and watched.training and watched[2].training


def test_rows_are_let_go_of_after_an_error():
    class Stuck(nn.ReLU):
        def backward(self, dy, out=None):
            raise RuntimeError("stuck")

    network = nn.Sequential([nn.Dense(7, 1), Stuck()]).compile()
    with pytest.raises(RuntimeError, match="stuck"):
        network.fit(*problem(50))
    assert network[0]._kept is None and network.training


def test_numbers_that_c_does_not_hold_are_as_good_as_many():
    X, y = problem(50)
    found = []
    for batch_size, threads in ((50, 2), (2**70, 2), (50, 2**40), (50, 2**70)):
        network = small(dropout=0.5).compile(threads=threads)
        network[5].num_steps = -3
        network.fit(X, y, batch_size=batch_size, shuffle=False)
        found.append(bits(network))
    assert all(each == found[0] for each in found)
