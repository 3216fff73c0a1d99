"""Gradients against fourth-order central differences of the forward pass, on sizes that are distinct primes."""

from typing import Any

import numpy as np
import pytest
from support.norms import Layer, Values, backward, error, forward, values_for

import streamnorm.nn.functional as F
from streamnorm.reference import norms as twins

# A step of 1e-3 leaves an error of h**4 * f''''' / 30 and of eps / h: 1e-12 each for values of size 1.
STEP = 1e-3
TOLERANCE = 1e-9

LAYERS = [
    Layer("batch_norm", (5, 3)),
    Layer("batch_norm", (5, 3), own=False),
    Layer("batch_norm", (5, 3, 7)),
    Layer("batch_norm", (5, 7, 3), channel_axis=-1),
    Layer("batch_norm", (2, 3, 5, 7), own=False),
    Layer("batch_norm", (3, 2, 5, 7), channel_axis=0),
    Layer("instance_norm", (3, 7)),
    Layer("instance_norm", (2, 3, 7)),
    Layer("instance_norm", (2, 3, 5, 7)),
    Layer("instance_norm", (2, 5, 7, 3), channel_axis=3),
    Layer("instance_norm", (2, 3, 7), own=False),
    Layer("group_norm", (3, 7), groups=1),
    Layer("group_norm", (2, 3, 7), groups=3),
    Layer("group_norm", (2, 3, 5, 7), groups=1),
    Layer("group_norm", (2, 7, 6, 5), groups=2, channel_axis=2),
    Layer("layer_norm", (3, 7)),
    Layer("layer_norm", (2, 3, 5, 7), axes=1),
    Layer("layer_norm", (2, 3, 5, 7), axes=3),
    Layer("layer_norm", (7,)),
    Layer("rms_norm", (3, 7)),
    Layer("rms_norm", (2, 3, 5, 7), axes=2),
    Layer("rms_norm", (7,)),
]


MODULES = pytest.mark.parametrize("module", [F, twins], ids=["compiled", "twins"])


def loss(module: Any, layer: Layer, v: Values) -> float:
    return float(np.sum(forward(module, layer, v)[0] * v.dy))


def differences(module: Any, layer: Layer, v: Values, array: np.ndarray) -> np.ndarray:
    """d loss / d array, an entry at a time."""
    slope = np.empty(array.size)
    for i, at in enumerate(np.ndindex(array.shape)):
        before, samples = array[at], []
        for k in (-2, -1, 1, 2):
            array[at] = before + k * STEP
            samples.append(loss(module, layer, v))
        array[at] = before
        slope[i] = (samples[0] - 8 * samples[1] + 8 * samples[2] - samples[3]) / (12 * STEP)
    return slope.reshape(array.shape)


@MODULES
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_gradients_are_the_slopes_of_the_forward_pass(layer, affine, module):
    v = values_for(layer, affine=affine)
    if layer.own:
        v.running_mean = v.running_var = None
    gradients = backward(module, layer, v, forward(module, layer, v)[1:])
    for array, gradient in zip((v.x, v.weight, v.bias), gradients, strict=False):
        assert (array is None) == (gradient is None)
        if array is not None:
            assert error(gradient, differences(module, layer, v, array)) <= TOLERANCE


@MODULES
@pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer.op != "rms_norm"], ids=str)
def test_a_bias_alone_and_a_weight_alone(layer, module):
    v = values_for(layer)
    if layer.own:
        v.running_mean = v.running_var = None
    weight, bias = v.weight, v.bias
    for v.weight, v.bias in ((weight, None), (None, bias)):
        there = v.bias if v.bias is not None else False
        _, dweight, dbias = backward(module, layer, v, forward(module, layer, v)[1:], bias=there)
        for array, gradient in ((v.weight, dweight), (v.bias, dbias)):
            assert (array is None) == (gradient is None)
            if array is not None:
                assert error(gradient, differences(module, layer, v, array)) <= TOLERANCE
