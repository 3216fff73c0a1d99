"""Networks and a problem for the tests of training."""

import numpy as np

from streamnorm import nn

SEED = 17


def small(dtype=np.float64, outputs=1, dropout=0.0, seed=1, norm=True):
    """7 inputs, two hidden layers."""
    rng = np.random.default_rng(seed)
    layers = [nn.Dense(7, 13, dtype=dtype, random_state=rng)]
    layers += [nn.BatchNorm(13, dtype=dtype)] if norm else []
    layers += [nn.ReLU(), nn.Dense(13, 11, dtype=dtype, random_state=rng), nn.Tanh()]
    layers += [nn.Dropout(dropout, random_state=rng)] if dropout else []
    return nn.Sequential([*layers, nn.Dense(11, outputs, dtype=dtype, random_state=rng)])


def problem(n=211, seed=SEED):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 7))
    return X, np.abs(X[:, 0]) + X[:, 1] - 0.5 * X[:, 2] * X[:, 3]


def bits(network):
    return {key: value.tobytes() for key, value in network.state_dict().items()}
