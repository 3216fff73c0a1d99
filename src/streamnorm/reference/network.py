"""The twins of the kernels of a network: dense layers, activations, dropout, embeddings, losses and optimizers.

Everything is float64 until a result is cast once to the type of the arrays, but for dropout, whose twin gives the very
bits of the kernel. Arguments are taken to be right: shapes fit, all arrays are of one type, codes and classes are whole
numbers in their range. There is no ``threads``; ``out`` is not taken either, but for the optimizers, which change their
arrays in place as the kernels do.

Gradients are written as in D. E. Rumelhart, G. E. Hinton and R. J. Williams, "Learning representations by
back-propagating errors" (1986): with dy the derivative of a number L by each y, backward gives that by each input.

Design: plain sums, as NumPy makes them, are fine for the loops over a batch. The option turned down, sums that are
correctly rounded, would say no more about a kernel that is held to 1e-12.
"""

import math
from typing import Any

import numpy as np

__all__ = ["FLOAT32_TOLERANCE", "FLOAT64_TOLERANCE", "adam_step", "dense_backward", "dense_forward",
           "dropout_backward", "dropout_forward", "dropout_mask", "embedding_backward", "embedding_forward",
           "loss_backward", "loss_forward", "relu_backward", "relu_forward", "right_predictions", "sgd_step",
           "sigmoid_backward", "sigmoid_forward", "square_norm", "tanh_backward", "tanh_forward"]  # fmt: skip

# How far the compiled functions may be from these: the largest difference over the largest magnitude. In float32 the
# sums over n values are made in float32 too, so that the error of a dense layer grows with the root of n.
FLOAT64_TOLERANCE = 1e-12
FLOAT32_TOLERANCE = 2e-6

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio, the step of SplitMix64
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def _wide(array: Any) -> np.ndarray:
    return np.asarray(array, dtype=np.float64)


# ---------------------------------------------------------------- dense


def dense_forward(x: Any, weight: Any, bias: Any = None) -> np.ndarray:
    """``y = x @ weight.T + bias``: x (N, in), weight (out, in), bias (out,) or None, y (N, out)."""
    with np.errstate(all="ignore"):
        y = _wide(x) @ _wide(weight).T
        return (y if bias is None else y + _wide(bias)).astype(np.asarray(x).dtype)


def dense_backward(
    dy: Any, x: Any, weight: Any, *, bias: bool = True, dx: bool = True
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
    """``dx = dy @ weight``, ``dweight = dy.T @ x``, ``dbias = sum(dy)`` over the rows; None for what is not wanted."""
    dtype = np.asarray(x).dtype
    with np.errstate(all="ignore"):
        wide = _wide(dy)
        return (
            (wide @ _wide(weight)).astype(dtype) if dx else None,
            (wide.T @ _wide(x)).astype(dtype),
            wide.sum(axis=0).astype(dtype) if bias else None,
        )


# ---------------------------------------------------------------- activations


def relu_forward(x: Any) -> np.ndarray:
    """``max(x, 0)``; NaN stays NaN, and -0.0 becomes 0.0."""
    x = np.asarray(x)
    return np.where(x <= 0, x.dtype.type(0), x)


def relu_backward(dy: Any, y: Any) -> np.ndarray:
    """dy where y is positive (or NaN), else 0: the slope at 0 is taken to be 0."""
    dy = np.asarray(dy)
    return np.where(np.asarray(y) <= 0, dy.dtype.type(0), dy)


def tanh_forward(x: Any) -> np.ndarray:
    """The hyperbolic tangent."""
    return np.tanh(_wide(x)).astype(np.asarray(x).dtype)


def tanh_backward(dy: Any, y: Any) -> np.ndarray:
    """``dy * (1 - y**2)``, from the output y."""
    with np.errstate(all="ignore"):
        return (_wide(dy) * (1 - _wide(y) ** 2)).astype(np.asarray(dy).dtype)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), by the exponential that does not overflow; correct to a few ulp on both sides of 0."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small / (1 + small), 1 / (1 + small))


def sigmoid_forward(x: Any) -> np.ndarray:
    """The logistic function, ``1 / (1 + exp(-x))``."""
    with np.errstate(all="ignore"):
        return _sigmoid(_wide(x)).astype(np.asarray(x).dtype)


def sigmoid_backward(dy: Any, y: Any) -> np.ndarray:
    """``dy * y * (1 - y)``, from the output y."""
    with np.errstate(all="ignore"):
        return (_wide(dy) * (_wide(y) * (1 - _wide(y)))).astype(np.asarray(dy).dtype)


# ---------------------------------------------------------------- dropout


def _mix(z: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64: 64 bits to 64 bits, one to one, each bit of the result depending on all."""
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


def dropout_mask(size: int, p: float, seed: int, step: int) -> np.ndarray:
    """Which of so many values are kept, as bools of shape (size,).

    The generator has no state: SplitMix64 (G. L. Steele, D. Lea and C. H. Flood, "Fast splittable pseudorandom number
    generators", 2014) of a key that seed and step are mixed to. All in arithmetic modulo 2**64::

        key     = mix(mix(seed) + (step + 1) * golden)
        pair[j] = mix(key + (j + 1) * golden)
        word[i] = the lower 32 bits of pair[i // 2] for even i, the upper 32 for odd ones
        value i is kept if word[i] >= floor(p * 2**32)
    """
    with np.errstate(over="ignore"):
        one = np.array([seed % 2**64], dtype=np.uint64)
        steps = np.array([(step + 1) % 2**64], dtype=np.uint64)
        key = _mix(_mix(one) + steps * _GOLDEN)
        pairs = _mix(key + np.arange(1, (size + 1) // 2 + 1, dtype=np.uint64) * _GOLDEN)
    words = np.stack([pairs & np.uint64(0xFFFFFFFF), pairs >> np.uint64(32)], axis=1).reshape(-1)[:size]
    return words >= np.uint64(math.floor(p * 2.0**32))


def dropout_forward(x: Any, p: float, seed: int, step: int) -> np.ndarray:
    """Kept values divided by 1 - p, others 0; N. Srivastava and others, "Dropout" (2014), scaled in training.

    Values are counted in C order. The factor 1 / (1 - p) is rounded to x's type, and the product once more. What is
    dropped is 0, NaN too; with p = 1 that is everything.
    """
    x = np.asarray(x)
    factor = x.dtype.type(1 / (1 - p) if p < 1 else 0.0)
    kept = dropout_mask(x.size, p, seed, step).reshape(x.shape)
    with np.errstate(all="ignore"):
        return np.where(kept, x * factor, x.dtype.type(0))


def dropout_backward(dy: Any, p: float, seed: int, step: int) -> np.ndarray:
    """The same values of dy, divided by 1 - p."""
    return dropout_forward(dy, p, seed, step)


# ---------------------------------------------------------------- embedding


def _split(x: Any, weight: Any) -> tuple[int, np.ndarray]:
    """How many columns go through, and the codes of the others, shape (N, k)."""
    x = np.asarray(x)
    d = x.shape[1] - np.shape(weight)[0]
    return d, x[:, d:].astype(np.int64)


def embedding_forward(x: Any, weight: Any) -> np.ndarray:
    """Rows of tables in the place of codes.

    x (N, d + k), whose last k columns are whole numbers from 0 to buckets - 1; weight (k, buckets, dim). y has shape
    (N, d + k * dim): the first d columns as they are, then ``weight[j, code]`` for each column j of codes.
    """
    x, weight = np.asarray(x), np.asarray(weight)
    d, codes = _split(x, weight)
    return np.concatenate([x[:, :d], *(weight[j][codes[:, j]] for j in range(len(weight)))], axis=1).astype(x.dtype)


def embedding_backward(dy: Any, x: Any, weight: Any) -> tuple[np.ndarray, np.ndarray]:
    """dx, which is 0 for codes, and dweight: the sum of dy over the rows that took a row of a table."""
    x, dy = np.asarray(x), np.asarray(dy)
    d, codes = _split(x, weight)
    k, _, dim = np.shape(weight)
    dx = np.zeros_like(x)
    dx[:, :d] = dy[:, :d]
    dweight = np.zeros(np.shape(weight))
    for j in range(k):
        np.add.at(dweight[j], codes[:, j], _wide(dy[:, d + j * dim : d + (j + 1) * dim]))
    return dx, dweight.astype(x.dtype)


# ---------------------------------------------------------------- losses


def _one_by_one(kind: str, z: np.ndarray, t: np.ndarray, parameter: float) -> tuple[np.ndarray, np.ndarray]:
    """Losses and their derivatives by the prediction z: of each element, for softmax of each row.

    =========  ============================================  ===================================
    squared    (z - t)**2                                    2 (z - t)
    absolute   |z - t|                                       sign(z - t), 0 where equal
    huber      (z - t)**2 / 2 if |z - t| <= delta,           z - t, limited to +-delta
               else delta (|z - t| - delta / 2)
    quantile   q (t - z) if t > z, else (1 - q) (z - t)      -q, 1 - q, 0 where equal
    binary     log(1 + exp(z)) - z t                         sigmoid(z) - t
    softmax    log(sum(exp(z))) - z[t]                       softmax(z) - (1 at t)
    =========  ============================================  ===================================

    P. J. Huber, "Robust estimation of a location parameter" (1964); R. Koenker and G. Bassett, "Regression quantiles"
    (1978). The logarithms are taken about the largest term, so that nothing overflows.
    """
    if kind == "softmax":
        rows, classes = np.arange(len(z)), t.astype(np.int64)
        shifted = z - z.max(axis=1, keepdims=True)
        total = np.exp(shifted).sum(axis=1, keepdims=True)
        slope = np.exp(shifted) / total
        slope[rows, classes] -= 1
        return np.log(total[:, 0]) - shifted[rows, classes], slope
    d = z - t
    if kind == "squared":
        return d * d, 2 * d
    if kind == "absolute":
        return np.abs(d), np.sign(d)
    if kind == "huber":
        size = np.abs(d)
        return np.where(size > parameter, parameter * (size - parameter / 2), d * d / 2), np.clip(
            d, -parameter, parameter
        )
    if kind == "quantile":
        return np.where(d < 0, -parameter * d, (1 - parameter) * d), np.where(
            d < 0, -parameter, np.where(d > 0, 1 - parameter, d)
        )
    if kind == "binary":
        return np.maximum(z, 0) - z * t + np.log1p(np.exp(-np.abs(z))), _sigmoid(z) - t
    raise ValueError(f"kind is {kind!r}")


def _weights(prediction: np.ndarray, kind: str, sample_weight: Any) -> np.ndarray:
    """Of each element, for softmax of each row: its part of the mean; all are 0 where the weights sum to 0."""
    shape = prediction.shape[:1] if kind == "softmax" else prediction.shape
    each = np.ones(shape[:1]) if sample_weight is None else _wide(sample_weight)
    spread = np.broadcast_to(each.reshape(-1, *[1] * (len(shape) - 1)), shape)
    total = each.sum() * math.prod(shape[1:])
    return np.zeros(shape) if total == 0 else spread / total


def loss_forward(kind: str, prediction: Any, target: Any, parameter: float = 0.0, sample_weight: Any = None) -> float:
    """The mean of a loss over all elements, with weights of rows the weighted mean; 0 if the weights sum to 0.

    kind is "squared", "absolute", "huber", "quantile" or "binary", where prediction and target have one shape, (N, ...)
    ("binary" takes logits, and targets from 0 to 1); or "softmax", which takes logits (N, K) and classes (N,).
    `parameter` is delta of "huber" and q of "quantile". sample_weight: (N,), or None for 1 each.
    """
    prediction = np.asarray(prediction)
    with np.errstate(all="ignore"):
        each = _one_by_one(kind, _wide(prediction), _wide(target), parameter)[0]
        return float((each * _weights(prediction, kind, sample_weight)).sum())


def loss_backward(
    kind: str, prediction: Any, target: Any, parameter: float = 0.0, sample_weight: Any = None
) -> np.ndarray:
    """The derivative of :func:`loss_forward` by the prediction, of its shape."""
    prediction = np.asarray(prediction)
    with np.errstate(all="ignore"):
        slope = _one_by_one(kind, _wide(prediction), _wide(target), parameter)[1]
        part = _weights(prediction, kind, sample_weight)
        return (slope * (part[:, None] if kind == "softmax" else part)).astype(prediction.dtype)


def right_predictions(kind: str, prediction: Any, target: Any, sample_weight: Any = None) -> float:
    """The sum of the weights of rows whose class is right, which NaN never is.

    "softmax": the first largest logit names the class. "binary": a logit above 0 says 1, and a target of at least 1/2
    is 1; of several values in a row, the share that is right.
    """
    prediction, target = np.asarray(prediction), np.asarray(target)
    if kind == "softmax":
        right = (np.argmax(prediction, axis=1) == target) & ~np.isnan(prediction).any(axis=1)
    else:
        right = ((prediction > 0) == (target >= 0.5)) & ~np.isnan(prediction)
    shares = right.mean(axis=tuple(range(1, right.ndim)))
    return float(shares.sum() if sample_weight is None else (shares * _wide(sample_weight)).sum())


# ---------------------------------------------------------------- optimizers


def sgd_step(
    parameter: np.ndarray,
    gradient: Any,
    velocity: np.ndarray | None,
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    scale: float = 1.0,
) -> None:
    """A step of gradient descent, in place; velocity is not used without momentum and may then be None.

    As PyTorch has it, after I. Sutskever, J. Martens, G. Dahl and G. Hinton, "On the importance of initialization and
    momentum in deep learning" (2013)::

        g         = gradient * scale + weight_decay * parameter
        velocity  = momentum * velocity + g
        parameter = parameter - lr * (g + momentum * velocity if nesterov, else velocity; g without momentum)
    """
    with np.errstate(all="ignore"):
        p = _wide(parameter)
        g = _wide(gradient) * scale + weight_decay * p
        if momentum and velocity is not None:
            moved = momentum * _wide(velocity) + g
            velocity[...] = moved
            g = g + momentum * moved if nesterov else moved
        parameter[...] = p - lr * g


def adam_step(
    parameter: np.ndarray,
    gradient: Any,
    m: np.ndarray,
    v: np.ndarray,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    scale: float = 1.0,
) -> None:
    """A step of Adam, or of AdamW with decoupled, in place; `step` is the number of this step, from 1.

    D. P. Kingma and J. Ba, "Adam" (2015); I. Loshchilov and F. Hutter, "Decoupled weight decay regularization"
    (2019)::

        g         = gradient * scale        (+ weight_decay * parameter, if it is not decoupled)
        parameter = parameter * (1 - lr * weight_decay)                  (if it is)
        m         = beta1 * m + (1 - beta1) * g
        v         = beta2 * v + (1 - beta2) * g**2
        parameter = parameter - lr / (1 - beta1**step) * m / (sqrt(v / (1 - beta2**step)) + eps)
    """
    with np.errstate(all="ignore"):
        p, g = _wide(parameter), _wide(gradient) * scale
        if decoupled:
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        first = beta1 * _wide(m) + (1 - beta1) * g
        second = beta2 * _wide(v) + (1 - beta2) * g * g
        m[...], v[...] = first, second
        root = np.sqrt(second) / math.sqrt(1 - beta2**step)
        parameter[...] = p - lr / (1 - beta1**step) * first / (root + eps)


def square_norm(gradient: Any) -> float:
    """The sum of squares, in double."""
    with np.errstate(all="ignore"):
        return float((_wide(gradient) ** 2).sum())
