"""Training and prediction layer by layer, for any layers: what a plan does in one go for those that it knows."""

# Design: the same methods as a Plan has, over each layer's forward and backward and the optimizer's step, with the same
# kernels in the same order, so that the two agree to the last bit. This is the one that says what happens.

import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise
from typing import Any

import numpy as np

from .. import _nn as kernels
from ._module import Module
from .losses import Loss
from .optimizers import Optimizer


def cuts(rows: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """Where batches begin and end: each of batch_size rows, but for the last one.

    A last batch of one row joins the one before it: a single row has no variance to be normalized by.

    Examples
    --------
    >>> list(cuts(7, 3)), list(cuts(8, 3)), list(cuts(1, 3))
    ([(0, 3), (3, 7)], [(0, 3), (3, 6), (6, 8)], [(0, 1)])
    """
    edges = [*range(0, rows, batch_size), rows]
    if batch_size > 1 and len(edges) > 2 and edges[-1] - edges[-2] == 1:
        del edges[-2]
    return pairwise(edges)


def _lock_of(layer: Module) -> Any:
    """The lock of the network that begins with the layer, however it is held.

    One for each process: in a forked child no thread may be left that would give it back.
    """
    while inside := next(layer.children(), None):
        layer = inside[1]
    locks: dict[int, Any] = layer.__dict__.setdefault("_locks", {})
    return locks.setdefault(os.getpid(), threading.RLock())


@contextmanager
def mode(layers: Sequence[Module], training: bool) -> Iterator[None]:
    """Layers, and those inside, in training or evaluation mode; then each in the one that it was in.

    Other threads wait meanwhile: a layer has one mode, and keeps one batch for backward.
    """
    with _lock_of(layers[0]):
        yield from _in_mode(layers, training)


def _in_mode(layers: Sequence[Module], training: bool) -> Iterator[None]:
    before: list[tuple[Module, bool]] = []

    def visit(layer: Module) -> None:
        before.append((layer, layer.training))
        for _, child in layer.children():
            visit(child)

    for layer in layers:
        visit(layer)
        layer.train(training)
    try:
        yield
    finally:
        for layer, was in before:
            layer.training = was


def dtype_of(layers: Sequence[Module]) -> np.dtype:
    """The type that a network computes in: of its first parameter of float32 or float64, else of its first buffer."""
    parameters = (parameter for layer in layers for parameter in layer.parameters())
    buffers = (buffer for layer in layers for _, buffer in layer.named_buffers())
    for array in chain(parameters, buffers):  # the first one, as a rule
        if array.dtype in (np.float32, np.float64):
            return array.dtype
    return np.dtype(np.float32)


class Steps:
    """Layers one after the other, with a loss and an optimizer.

    Parameters
    ----------
    layers : sequence of Module
    sample_shape : tuple of int
        Of a row of x.
    rows : int
        The rows of a batch, of which `forward` and `evaluate` take so many at a time.
    loss : Loss or None
        For `train` and `evaluate`.
    optimizer : Optimizer or None
        For `train`.
    accuracy : bool, default False
        Whether `train` and `evaluate` count which classes are right, too.
    threads : int or None
        At most so many, for layers that do not say themselves.
    """

    def __init__(
        self,
        layers: Sequence[Module],
        sample_shape: tuple[int, ...],
        rows: int,
        *,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        accuracy: bool = False,
        threads: int | None = None,
    ) -> None:
        self.layers, self.sample_shape, self.rows = list(layers), tuple(sample_shape), rows
        self.loss, self.optimizer, self.threads = loss, optimizer, threads
        self._accuracy = accuracy
        self._parameters = [parameter for layer in self.layers for parameter in layer.parameters()]
        self._gathered: list[np.ndarray | None] = [None, None]
        if optimizer is not None:
            optimizer.bind(self._parameters)

    def train(
        self,
        x: np.ndarray,
        y: np.ndarray,
        batch_size: int,
        order: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
    ) -> tuple[float, ...]:
        """A step of the optimizer for each batch of rows.

        Parameters
        ----------
        x : ndarray of shape (N, *sample_shape)
            Of the network's type.
        y : ndarray
            As from ``loss.targets``.
        batch_size : int
            A last batch of one row joins the one before it.
        order : ndarray of int64, or None
            Which rows of x, one after the other; None: all, as they are.
        sample_weight : ndarray of shape (N,), or None

        Returns
        -------
        loss_sum, weight, *right : float
            The sum over batches of the loss before the step times the weight of the batch, which is the sum of the
            weights of its rows; the sum of those; and with `accuracy` that of the weights of rows that are right.
        """
        loss, optimizer = self.loss, self.optimizer
        if loss is None or optimizer is None:
            raise ValueError("training takes a loss and an optimizer")
        total = weight = right = 0.0
        with mode(self.layers, True), self._limited(), self._forgetting():
            for start, stop in cuts(len(x) if order is None else len(order), batch_size):
                rows = slice(start, stop) if order is None else order[start:stop]
                weights = None if sample_weight is None else sample_weight[rows]
                inputs, targets = self._rows(0, x, rows), self._rows(1, y, rows)
                outputs = self._forward(inputs)
                value, gradient = self._loss_and_gradient(outputs, targets, weights)
                right += self._right(outputs, targets, weights)
                for parameter in self._parameters:
                    parameter.grad = None
                for layer in reversed(self.layers):
                    gradient = layer.backward(gradient)
                optimizer.step(self._parameters)
                part = float(stop - start) if weights is None else math.fsum(weights)
                total += value * part
                weight += part
        return (total, weight, right) if self._accuracy else (total, weight)

    def forward(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """What the network makes of x in evaluation mode."""
        with mode(self.layers, False), self._limited(), self._forgetting():
            for start in range(0, len(x), self.rows):
                y = self._forward(x[start : start + self.rows])
                if out is None:
                    out = np.empty((len(x), *y.shape[1:]), y.dtype)
                out[start : start + self.rows] = y
            if out is None:
                out = self._forward(x)
        return out

    def evaluate(self, x: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> tuple[float, ...]:
        """What `train` returns, in evaluation mode."""
        if self.loss is None:
            raise ValueError("evaluation takes a loss")
        total = weight = right = 0.0
        with mode(self.layers, False), self._limited(), self._forgetting():
            for start in range(0, len(x), self.rows):
                rows = slice(start, start + self.rows)
                weights = None if sample_weight is None else sample_weight[rows]
                outputs, targets = self._forward(x[rows]), y[rows]
                part = float(len(targets)) if weights is None else math.fsum(weights)
                total += self._loss(outputs, targets, weights) * part
                right += self._right(outputs, targets, weights)
                weight += part
        return (total, weight, right) if self._accuracy else (total, weight)

    def _forward(self, x: np.ndarray) -> np.ndarray:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def _loss(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        loss: Any = self.loss
        if loss.kind is None:
            return float(loss(outputs, targets, weights))
        return kernels.loss_forward(loss.kind, outputs, targets, loss.parameter, weights)

    def _right(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        if not self._accuracy:
            return 0.0
        kind: Any = self.loss.kind if self.loss is not None else None
        return kernels.right_predictions(kind, outputs, targets, weights)

    def _loss_and_gradient(
        self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None
    ) -> tuple[float, np.ndarray]:
        loss: Any = self.loss
        value = self._loss(outputs, targets, weights)
        if loss.kind is None:
            return value, loss.gradient(outputs, targets, weights)
        return value, kernels.loss_backward(loss.kind, outputs, targets, loss.parameter, weights)

    def _rows(self, which: int, array: np.ndarray, rows: slice | np.ndarray) -> np.ndarray:
        """Rows of an array: a view, or gathered in a buffer, of which there is one for x and one for y."""
        if isinstance(rows, slice):
            return array[rows]
        buffer = self._gathered[which]
        if buffer is None or len(buffer) < len(rows) or buffer.shape[1:] != array.shape[1:]:
            buffer = self._gathered[which] = np.empty((max(self.rows + 1, len(rows)), *array.shape[1:]), array.dtype)
        return np.take(array, rows, axis=0, out=buffer[: len(rows)], mode="clip")

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Our number of threads in layers that have none of their own."""
        free = [layer for layer in self.layers if self.threads and getattr(layer, "threads", 0) is None]
        for layer in free:
            layer.__dict__["threads"] = self.threads
        try:
            yield
        finally:
            for layer in free:
                layer.__dict__["threads"] = None

    @contextmanager
    def _forgetting(self) -> Iterator[None]:
        """Let go of what layers have kept of the last batch, which may be a view of the caller's array."""
        try:
            yield
        finally:
            for layer in self.layers:
                forget(layer)


def forget(layer: Module) -> None:
    """Drop what the layer, and those inside, have kept for backward."""
    layer.__dict__.pop("_kept", None)
    for _, child in layer.children():
        forget(child)
