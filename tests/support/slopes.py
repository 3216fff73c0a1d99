"""Slopes by fourth-order central differences, and how far arrays are apart."""

from collections.abc import Callable

import numpy as np

# A step of 1e-3 leaves an error of h**4 * f''''' / 30 and of eps / h: 1e-12 each for values of size 1.
STEP = 1e-3
TOLERANCE = 1e-9


def slopes(number: Callable[[], float], array: np.ndarray) -> np.ndarray:
    """The derivative of a number by each entry of an array that it depends on, which is moved and put back."""
    found = np.empty(array.shape)
    for at in np.ndindex(array.shape):
        before, samples = array[at], []
        for k in (-2, -1, 1, 2):
            array[at] = before + k * STEP
            samples.append(number())
        array[at] = before
        found[at] = (samples[0] - 8 * samples[1] + 8 * samples[2] - samples[3]) / (12 * STEP)
    return found


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference over the largest magnitude."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    scale = np.abs(expected).max(initial=0.0)
    return float(np.abs(found - expected).max(initial=0.0) / (scale or 1.0))
