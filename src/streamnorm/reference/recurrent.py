"""The twins of the kernels of layers that go through sequences.

As in ``streamnorm.reference.network``, whose tolerances hold here too: float64 until a result is cast, arguments that
are right, no ``threads`` and no ``out``.

The layer is that of S. Hochreiter and J. Schmidhuber, "Long short-term memory" (Neural Computation 9(8), 1997), with
the forget gate of F. A. Gers, J. Schmidhuber and F. Cummins, "Learning to forget" (Neural Computation 12(10), 2000),
and its gradients are those of back-propagation through all steps.
"""

from typing import Any

import numpy as np

from .network import _sigmoid, _wide

__all__ = ["lstm_backward", "lstm_forward"]


def lstm_forward(
    x: Any, weight_ih: Any, weight_hh: Any, bias: Any, *, sequences: bool, keep: bool = True
) -> tuple[np.ndarray, list[tuple[np.ndarray, ...]] | None]:
    """x (N, T, F), weight_ih (4 * H, F), weight_hh (4 * H, H), bias (4 * H,); y (N, T, H), or (N, H) of the last step.

    With z = weight_ih @ x + weight_hh @ h + bias in four parts, i, f and o the logistic function of theirs and g the
    hyperbolic tangent of its part: ``c = f * c + i * g``, ``h = o * tanh(c)``. h and c begin as 0. What is kept is,
    for each step, (i, f, g, o, c, c before, h before).
    """
    dtype = np.asarray(x).dtype
    x, weight_ih, weight_hh, bias = map(_wide, (x, weight_ih, weight_hh, bias))
    n, steps, _ = x.shape
    size = weight_hh.shape[1]
    h, c = np.zeros((n, size)), np.zeros((n, size))
    kept: list[tuple[np.ndarray, ...]] = []
    y = np.empty((n, steps, size))
    with np.errstate(all="ignore"):
        for t in range(steps):
            z = x[:, t] @ weight_ih.T + h @ weight_hh.T + bias
            i, f, o = (_sigmoid(z[:, k * size : (k + 1) * size]) for k in (0, 1, 3))
            g = np.tanh(z[:, 2 * size : 3 * size])
            before = c, h
            c = f * c + i * g
            h = o * np.tanh(c)
            y[:, t] = h
            kept.append((i, f, g, o, c, *before))
        return (y if sequences else h).astype(dtype), kept if keep else None


def lstm_backward(
    dy: Any,
    kept: list[tuple[np.ndarray, ...]],
    x: Any,
    weight_ih: Any,
    weight_hh: Any,
    *,
    sequences: bool,
    dx: bool = True,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray, np.ndarray]:
    """dx, dweight_ih, dweight_hh and dbias: from the last step to the first one; None for dx if it is not wanted."""
    dtype = np.asarray(x).dtype
    dy, x, weight_ih, weight_hh = map(_wide, (dy, x, weight_ih, weight_hh))
    n, steps, _ = x.shape
    dh, dc = np.zeros((n, weight_hh.shape[1])), np.zeros((n, weight_hh.shape[1]))
    dx_all = np.empty(x.shape)
    dweight_ih, dweight_hh, dbias = np.zeros(weight_ih.shape), np.zeros(weight_hh.shape), np.zeros(len(weight_hh))
    with np.errstate(all="ignore"):
        for t in reversed(range(steps)):
            i, f, g, o, c, c_before, h_before = kept[t]
            if sequences:
                dh = dh + dy[:, t]
            elif t == steps - 1:
                dh = dy
            do = dh * np.tanh(c)
            dc = dc + dh * o * (1 - np.tanh(c) ** 2)
            parts = dc * g * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - g**2), do * o * (1 - o)
            dz = np.concatenate(parts, axis=1)
            dweight_ih += dz.T @ x[:, t]
            if t > 0:  # h before the first step is no variable: what is NaN at that step has no part in it
                dweight_hh += dz.T @ h_before
            dbias += dz.sum(axis=0)
            dx_all[:, t] = dz @ weight_ih
            dh, dc = dz @ weight_hh, dc * f
        dx_or_none = dx_all.astype(dtype) if dx else None
        return dx_or_none, dweight_ih.astype(dtype), dweight_hh.astype(dtype), dbias.astype(dtype)
