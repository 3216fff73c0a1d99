"""The last epochs of a network with batch normalization, in which its statistics stand still."""

# Design: batches of some dozen rows say little about mean and variance, and what they say wrong is noise in every
# output, which a regression cannot average out: the network learns to put up with it instead of fitting. So the last
# epochs train it as it predicts, by its running statistics. In ten epochs over 26,000 hours of weather that halves the
# error, and over 330,000 flights it takes a third off. The normalizations are constant maps then, and are folded into
# the dense layers before them, so that the same compiled steps serve; afterwards the weights are unfolded, and the
# network is what it was, with other numbers. Turned down: larger batches, which take fewer steps; and statistics over
# all rows after training, which change how the network predicts, and not what it has learned.

from collections.abc import Iterator

import numpy as np

from ._batch_norm import BatchNorm
from ._module import Module
from .dense import Dense
from .sequential import Sequential

SHARE = 0.3  # of the epochs
LEAST = 1e-6  # magnitude of a scale that is folded in, and taken out again by division


def settling_epochs(network: Sequential, epochs: int) -> int:
    """How many epochs the network is to train by its running statistics."""
    return int(SHARE * epochs) if any(True for _ in _pairs(network)) else 0


def _pairs(network: Sequential) -> Iterator[tuple[Dense, BatchNorm]]:
    layers = list(network)
    for layer, after in zip(layers, layers[1:], strict=False):
        if type(layer) is Dense and type(after) is BatchNorm:
            yield layer, after


def _map_of(norm: BatchNorm) -> tuple[np.ndarray, np.ndarray]:
    """The scale of each channel, and its running mean, in float64; a scale that is nearly 0 is made LEAST."""
    variance, weight = np.array(norm.running_var, np.float64), np.array(norm.weight, np.float64)
    rstd = 1 / np.sqrt(variance + (norm.eps or 0.0))
    scale = weight * rstd
    small = np.abs(scale) < LEAST
    scale[small] = LEAST
    weight[small] = LEAST / rstd[small]
    norm.weight = weight.astype(norm.dtype)  # type: ignore[assignment]  # copied into the parameter
    return scale, np.asarray(norm.running_mean, np.float64)


class Settling:
    """A network with its normalizations folded into dense layers; the other layers are the network's own.

    Parameters
    ----------
    network : Sequential

    Attributes
    ----------
    folded : Sequential
        Without batch normalizations; not compiled.
    """

    def __init__(self, network: Sequential) -> None:
        folds = {id(layer): (layer, norm) for layer, norm in _pairs(network)}
        norms = {id(norm) for _, norm in folds.values()}
        layers: list[Module] = []
        self._folds: list[tuple[Dense, BatchNorm, Dense, np.ndarray, np.ndarray]] = []
        for layer in network:
            if id(layer) in folds:
                layers.append(self._fold(*folds[id(layer)]))
            elif id(layer) not in norms:
                layers.append(layer)
        self.folded = Sequential(layers)

    def _fold(self, layer: Dense, norm: BatchNorm) -> Dense:
        scale, mean = _map_of(norm)
        made = Dense(layer.in_features, layer.out_features, dtype=layer.dtype, random_state=0, threads=layer.threads)
        made.weight = (np.asarray(layer.weight, np.float64) * scale[:, None]).astype(layer.dtype)
        before = 0.0 if layer.bias is None else np.asarray(layer.bias, np.float64)
        made.bias = ((before - mean) * scale + np.asarray(norm.bias, np.float64)).astype(layer.dtype)
        self._folds.append((layer, norm, made, scale, mean))
        return made

    def unfold(self) -> None:
        """Bring what the folded layers have learned into those of the network."""
        for layer, norm, made, scale, mean in self._folds:
            layer.weight = (np.asarray(made.weight, np.float64) / scale[:, None]).astype(layer.dtype)
            before = 0.0 if layer.bias is None else np.asarray(layer.bias, np.float64)
            norm.bias = (np.asarray(made.bias, np.float64) - (before - mean) * scale).astype(norm.dtype)
