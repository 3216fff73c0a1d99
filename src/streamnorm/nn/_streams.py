"""Streams of batches on their way into a network, and the checks that say which batch is wrong."""

# Design: a batch is trained on when it comes, and nothing is kept of it: a stream may hand out the same buffer again
# and again. That is why a last batch of one row is not joined to the one before it, as it is for arrays: the streams of
# this library do that themselves. Turned down: waiting with each batch for the next one, which takes a copy of all.

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from . import _training
from ._inputs import check_finite, unmasked
from .losses import Loss, weights_of

if TYPE_CHECKING:
    from .sequential import Sequential

Rows = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def is_stream(X: Any) -> bool:
    """Whether X yields batches, and is no array or what makes one."""
    if isinstance(X, list | tuple):  # of batches, which are tuples of arrays
        return bool(X) and isinstance(X[0], list | tuple) and bool(X[0]) and getattr(X[0][0], "ndim", 0) > 1
    if isinstance(X, np.ndarray | np.generic | str | bytes | dict) or hasattr(X, "__array__"):
        return False
    return hasattr(type(X), "__iter__")


def refuse_options(**given: bool) -> None:
    """Raise ValueError for an option of arrays that was given with a stream."""
    for name, was_given in given.items():
        if was_given:
            raise ValueError(f"{name} is for arrays: a stream says itself which rows a batch has, in which order and "
                             "with which weights")  # fmt: skip


class StreamRows:
    """Batches of a stream as a runner takes them, checked.

    Parameters
    ----------
    network : Sequential
        Compiled.
    stream : iterable
        Of (x, y) or (x, y, sample_weight).
    name : str
        What errors call it.
    times : int
        How often it will be gone through.

    Attributes
    ----------
    sample_shape : tuple of int
        Of a row of x: that of the first batch.
    rows : int
        Of the first batch; of a stream of this library, of all but the last.

    Raises
    ------
    ValueError
        If it can be gone through once, and more is wanted.
    DataError
        If there is no batch, or the first one is wrong.
    """

    def __init__(self, network: Sequential, stream: Any, name: str, times: int) -> None:
        self.stream, self.name = stream, name
        self._loss: Any = network._compiled("training")
        self._network, self._begun = network, 0
        self._output: tuple[tuple[int, ...], Any] = (), None
        # Batches of ours come in pieces of many, which cuts the way through Python.
        self._pieces = getattr(stream, "pieces", None) if hasattr(stream, "batch_size") else None
        self.batch_size: int | None = None if self._pieces is None else int(stream.batch_size)
        if times > 1 and self._pieces is None and iter(stream) is stream:
            raise ValueError(
                f"{name} can be gone through once, and {times} epochs are wanted: pass an object whose iter() begins "
                "anew, such as a class with __iter__ or a list of batches"
            )
        self._opened: Iterator[Rows] | None = None
        opened = self._batches()
        first = next(opened)
        self.sample_shape, self.rows = first[0].shape[1:], self.batch_size or len(first[0])
        self._opened = _after(first, opened)

    def __iter__(self) -> Iterator[Rows]:
        opened, self._opened = self._opened, None
        return self._batches() if opened is None else opened

    def _batches(self) -> Iterator[Rows]:
        self._begun += 1
        source = iter(self.stream) if self._pieces is None else self._pieces()
        found = False
        try:
            for number, batch in enumerate(source):
                rows = self._checked(batch, number)
                if len(rows[0]):
                    found = True
                    yield rows
        finally:
            close = getattr(source, "close", None)
            if close is not None and source is not self.stream:
                close()
        if not found:
            hint = ": iter() must begin anew each time" if self._begun > 1 else ""
            raise DataError(f"{self.name} has no rows in epoch {self._begun}{hint}")

    def _checked(self, batch: Any, number: int) -> Rows:
        what = "batch" if self._pieces is None else "piece"
        try:
            return self._rows_of(batch)
        except (TypeError, ValueError) as error:
            column = getattr(error, "column", None)
            raise DataError(f"{what} {number} of {self.name}: {error}", column=column) from error

    def _rows_of(self, batch: Any) -> Rows:
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            found = f"{len(batch)} parts" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
            raise TypeError(f"it is {found}, and (x, y) or (x, y, sample_weight) is wanted")
        x, y, sample_weight = (*batch, None)[:3]
        if y is None:
            raise TypeError("it has no targets: y is None")
        network, loss = self._network, self._loss
        assert isinstance(loss, Loss)
        inputs, targets = network._inputs(x, "x"), unmasked(y, "y")
        if targets.shape[:1] != inputs.shape[:1]:
            raise ValueError(f"x has shape {inputs.shape} and y has shape {targets.shape}: rows differ")
        check_finite(inputs, "x")
        check_finite(targets, "y")
        if self._output[1] is None:
            self._output, self.sample_shape = network._output(inputs, "x"), inputs.shape[1:]
        if inputs.shape[1:] != self.sample_shape:
            raise ValueError(f"x has shape {inputs.shape}, and rows of the first batch had shape {self.sample_shape}")
        shape, dtype = self._output
        targets = loss.targets(targets, (len(inputs), *shape), dtype)
        check_finite(targets, "y")
        return inputs, targets, weights_of(sample_weight, len(inputs), dtype)


def _after(first: Rows, others: Iterator[Rows]) -> Iterator[Rows]:
    yield first
    yield from others


def fit_stream(
    network: Sequential, X: Any, epochs: int, validation_data: Any, progress: Callable[..., Any] | None
) -> dict[str, list[float]]:
    """Train a network on a stream, as its `fit` says."""
    rows = StreamRows(network, X, "X", epochs)
    validation: Any = None
    if validation_data is not None:
        validation = validation_of(network, validation_data, rows.sample_shape, epochs)

    runner = network.runner(rows.sample_shape, rows.rows)
    one_is_too_few = getattr(runner, "needs_two_rows", False)

    def feed(epoch: int) -> Iterator[_training.Piece]:
        for number, (x, targets, weights) in enumerate(rows):
            if len(x) == 1 and one_is_too_few:
                raise DataError(
                    f"batch {number} of X has one row, and batch normalization takes two or more: leave it out "
                    "(drop_last=True), or join it to the one before"
                )
            yield x, targets, None, weights

    return _training.train(
        runner,
        epochs,
        feed,
        rows.batch_size,
        validation=None if validation is None else lambda: validation,
        progress=progress,
    )


def validation_of(network: Sequential, data: Any, sample_shape: tuple[int, ...], epochs: int) -> Iterable[Rows]:
    """What is evaluated after each epoch, of rows of the shape, as pieces that can be gone through again."""
    if is_stream(data):
        held = StreamRows(network, data, "validation_data", epochs)
        if held.sample_shape != sample_shape:
            raise ValueError(f"validation_data has rows of shape {held.sample_shape}, and X of shape {sample_shape}")
        return held
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise TypeError("validation_data must be (X, y), (X, y, sample_weight) or a stream of such batches")
    X, y, sample_weight = (*data, None)[:3]
    rows = network._rows(X, y, sample_weight, "validation X", "validation y")
    if rows[0].shape[1:] != sample_shape:
        raise ValueError(f"validation X has shape {rows[0].shape}, and X has rows of shape {sample_shape}")
    return [rows]


def predict_stream(network: Sequential, stream: Iterable[Any]) -> np.ndarray:
    """What the network makes of the x of each batch, which is an array or the first of a tuple."""
    if getattr(stream, "shuffle", False) is True:
        raise ValueError(
            "X is shuffled, and nobody could tell whose prediction is which: make it with shuffle=False, or predict "
            "its rows as an array"
        )
    predictions: list[np.ndarray] = []
    for number, batch in enumerate(stream):
        try:
            predictions.append(network.predict(np.asarray(batch[0] if isinstance(batch, tuple | list) else batch)))
        except (IndexError, TypeError, ValueError) as error:
            raise DataError(f"batch {number} of X: {error}") from error
        if predictions[-1].shape[1:] != predictions[0].shape[1:]:
            shapes = f"{predictions[-1].shape[1:]}, and those of batch 0 {predictions[0].shape[1:]}"
            raise DataError(f"batch {number} of X: its predictions have rows of shape {shapes}")
    if not predictions:
        raise DataError("X has no batches")
    return np.concatenate(predictions)
