"""A network: layers one after the other, trained on arrays or on streams of batches."""

# Design: what predicts is kept for the next call, because to make it takes longer than to predict a row. It is good for
# as long as no attribute of a layer is set; a call takes it away meanwhile, so that calls on other threads make their
# own instead of waiting.

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from . import _training
from ._inputs import as_type, check_finite, generator_of, unmasked
from ._module import Module, check_count, check_real
from ._steps import Steps, dtype_of, forget, mode
from ._streams import StreamRows, fit_stream, is_stream, predict_stream, refuse_options, validation_of
from .activations import Sigmoid
from .losses import Loss, check_metrics, get_loss, weights_of
from .optimizers import Optimizer, get_optimizer

__all__ = ["Sequential"]

BATCH_ROWS, PREDICTED_ROWS = 32, 1024


class Sequential(Module):
    """Layers, each of which takes what the one before it makes.

    Parameters
    ----------
    layers : sequence of Module
        At least one. The network has their parameters and buffers under ``0.weight``, ``1.bias`` and so on, as
        ``torch.nn.Sequential`` has.

    Attributes
    ----------
    dtype : numpy.dtype
        What inputs are cast to: the type of the first parameter of float32 or float64, of running statistics where
        there is none; else float32.
    optimizer : Optimizer or None
        As compiled.
    loss : Loss or None
        As compiled.
    metrics : tuple of str
        As compiled.

    Examples
    --------
    >>> from streamnorm import nn
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2))
    >>> y = np.abs(X[:, 0]) + X[:, 1]
    >>> network = nn.Sequential([nn.Dense(2, 16, random_state=1), nn.ReLU(), nn.Dense(16, 1, random_state=2)])
    >>> history = network.compile(nn.Adam(0.01), "mse").fit(X, y, epochs=30, random_state=0)
    >>> history["loss"][0] > 1.0, history["loss"][-1] < 0.02
    (True, True)
    >>> network.predict([[1.0, 1.0], [-1.0, 1.0]]).round().tolist()
    [[2.0], [2.0]]
    """

    def __init__(self, layers: Sequence[Module]) -> None:
        super().__init__()
        if isinstance(layers, Module):
            raise TypeError(f"layers must be a list of layers, got one {type(layers).__name__}")
        layers = list(layers)
        if not layers:
            raise ValueError("a network needs at least one layer")
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):
                hint = f": write {layer.__name__}(...)" if isinstance(layer, type) else ""
                raise TypeError(f"layer {i} must be a layer, got {layer!r}{hint}")
            first = next(j for j, other in enumerate(layers) if other is layer)
            if first != i:
                raise ValueError(f"layer {i} is layer {first} once more: make a layer for each place")
            setattr(self, str(i), layer)
        self.optimizer: Optimizer | None = None
        self.loss: Loss | None = None
        self.metrics: tuple[str, ...] = ()
        self.threads: int | None = None

    # ------------------------------------------------------------ as a list, and as a layer

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return (layer for _, layer in self.children())

    def __getitem__(self, index: int) -> Module:
        return list(self)[index]

    @property
    def dtype(self) -> np.dtype:
        """What inputs are cast to."""
        return dtype_of(list(self))

    def forward(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """What the layers make of x, in the mode that they are in; in `out` if that is given."""
        *before, last = self
        y: Any = x
        for layer in before:
            y = layer.forward(y)
        return last.forward(y, out)

    def backward(self, dy: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """The gradient of the last input, from that of its output; the parameters' gradients add up."""
        first, *others = self
        for layer in reversed(others):
            dy = layer.backward(dy)
        return first.backward(dy, out)

    # ------------------------------------------------------------ training

    def compile(
        self,
        optimizer: str | Optimizer = "adam",
        loss: str | Loss = "mse",
        *,
        metrics: Sequence[str] = (),
        threads: int | None = None,
    ) -> Self:
        """Say what to train by.

        Parameters
        ----------
        optimizer : "adam", "adamw", "sgd" or Optimizer, default "adam"
            One of your own goes on from the steps that it has done on this network; a name makes a new one.
        loss : str or Loss, default "mse"
            A name that :func:`get_loss` knows, or a loss.
        metrics : sequence of str, default ()
            "accuracy" alone: for softmax cross-entropy the share of rows whose largest logit is that of their class;
            for binary cross-entropy that of rows whose logit is above 0 if, and only if, the target is at least 1/2.
        threads : int or None
            At most so many; None: as many as pay. Results do not depend on it.

        Returns
        -------
        Sequential
            The network itself.

        Raises
        ------
        ValueError
            If a name is none that is known, the loss has no classes to count, or one that takes logits gets what a
            Sigmoid makes of them.
        """
        made, by = get_optimizer(optimizer), get_loss(loss)
        if by.kind == "binary" and type(self._layers()[-1]) is Sigmoid:
            raise ValueError(
                "the last layer is Sigmoid(), and binary cross-entropy takes logits here: leave it out, and apply "
                "Sigmoid() to predictions where probabilities are wanted"
            )
        counted = check_metrics(metrics, by)
        threads = None if threads is None else check_count(threads, "threads")
        made.bind(self.parameters())
        self.optimizer, self.loss, self.metrics, self.threads = made, by, counted, threads
        return self

    def fit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        epochs: int = 1,
        batch_size: int = BATCH_ROWS,
        validation_split: float = 0.0,
        *,
        validation_data: Any = None,
        shuffle: bool = True,
        sample_weight: ArrayLike | None = None,
        random_state: Any = None,
        progress: Callable[[int, int, dict[str, float]], Any] | None = None,
    ) -> dict[str, list[float]]:
        """Train for some epochs; called again, it goes on, with the optimizer's moments and count of steps.

        Layers are in training mode meanwhile, and then in the one that they were in.

        Parameters
        ----------
        X : array-like of shape (N, ...), or stream
            Finite numbers. A stream is an object whose ``iter()`` begins anew in each epoch and yields (x, y) or
            (x, y, sample_weight): :func:`streamnorm.batches`, a list of batches, a ``torch.utils.data.DataLoader``.
            Each batch makes a step, as it comes; `y`, `batch_size`, `validation_split`, `shuffle`, `sample_weight` and
            `random_state` are for arrays.
        y : array-like
            Of the shape of the outputs, where (N,) matches (N, 1); for softmax cross-entropy classes (N,), or rows with
            a single 1.
        epochs : int, default 1
            How often all rows are gone through.
        batch_size : int, default 32
            Rows to a step. A last batch of one row joins the one before it.
        validation_split : float, default 0.0
            The share of rows, the last ones as they are given, that is not trained on but evaluated after each epoch,
            as in Keras. Shuffle rows first if their order means something.
        validation_data : tuple (X, y) or (X, y, sample_weight), stream, or None
            Rows to evaluate after each epoch; then nothing is split off.
        shuffle : bool, default True
            Whether rows are in another order in each epoch.
        sample_weight : array-like of shape (N,), or None
            Weights of rows in the loss.
        random_state : int, numpy.random.Generator or None
            For the orders. With an int, and layers made with one, training gives the same bits each time.
        progress : callable or None
            Called as ``progress(epochs_done, epochs, losses)`` after each epoch.

        Returns
        -------
        dict of str to list of float
            "loss": for each epoch the mean over its batches, each before its step. "val_loss": that of the validation
            after the epoch, if there is one. With that metric "accuracy" and "val_accuracy", in the same way.

        Raises
        ------
        DataError
            If X or y has a value that is NaN or infinite; if a batch of a stream is not as the first one, by its number
            from 0.
        ValueError
            If shapes do not fit, or the network is not compiled.
        FloatingPointError
            If the loss becomes NaN or infinite.
        """
        self._compiled("fit")
        epochs, batch_size = check_count(epochs, "epochs"), check_count(batch_size, "batch_size")
        share = check_real(validation_split, "validation_split", 1.0)
        if y is None and is_stream(X):
            refuse_options(
                batch_size=batch_size != BATCH_ROWS,
                validation_split=share != 0.0,
                shuffle=shuffle is not True,
                sample_weight=sample_weight is not None,
                random_state=random_state is not None,
            )
            return fit_stream(self, X, epochs, validation_data, progress)
        x, targets, weights = self._rows(X, y, sample_weight, "X", "y")
        rows = len(x)
        validation: Any = None
        if validation_data is not None:
            validation = validation_of(self, validation_data, x.shape[1:], epochs)
        elif share:
            rows = int(len(x) * (1 - share))
            if not 0 < rows < len(x):
                raise ValueError(f"validation_split={share:g} of {len(x)} rows leaves none to train on or to evaluate")
            held = x[rows:], targets[rows:], None if weights is None else weights[rows:]
            x, targets, weights = x[:rows], targets[:rows], None if weights is None else weights[:rows]
            validation = [held]
        rng = generator_of(random_state)
        runner = self.runner(x.shape[1:], min(batch_size, rows))

        def feed(epoch: int) -> Iterator[_training.Piece]:
            yield x, targets, rng.permutation(rows) if shuffle else None, weights

        return _training.train(
            runner,
            epochs,
            feed,
            batch_size,
            validation=None if validation is None else lambda: validation,
            progress=progress,
        )

    def predict(self, X: Any, batch_size: int = PREDICTED_ROWS) -> np.ndarray:
        """What the network makes of X in evaluation mode, which for losses of logits is logits.

        Parameters
        ----------
        X : array-like of shape (N, ...), or stream
            A stream yields batches, as for :meth:`fit`, or their x alone; a list of batches holds tuples. Predictions
            are in its order, which must not be shuffled.
        batch_size : int, default 1024
            Rows of an array that are gone through together.

        Returns
        -------
        ndarray of shape (N, ...)
        """
        if is_stream(X):
            refuse_options(batch_size=batch_size != PREDICTED_ROWS)
            return predict_stream(self, X)
        inputs = self._inputs(X, "X")
        batch_size = check_count(batch_size, "batch_size")
        key = inputs.shape[1:], self._version()
        runner: Any
        known, runner = self.__dict__.pop("_predictor", None) or (None, None)
        rows = max(1, min(batch_size, len(inputs)))
        if known != key or runner.rows < rows:
            runner = self._runner(inputs.shape[1:], rows, None, None)
        if not len(inputs) or type(runner) is Steps:  # a plan has looked at the shapes
            shape, dtype = self._output(inputs, "X")
            if not len(inputs):
                return np.empty((0, *shape), dtype)
        predictions = runner.forward(inputs)
        if type(runner) is not Steps:
            self.__dict__["_predictor"] = key, runner
        return predictions

    def evaluate(
        self,
        X: Any,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        batch_size: int = PREDICTED_ROWS,
        *,
        return_dict: bool = False,
    ) -> Any:
        """The loss in evaluation mode: its mean over all rows, with weights the weighted mean.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`: arrays, or a stream as X.
        batch_size : int, default 1024
            Rows of arrays that are gone through together.
        return_dict : bool, default False
            Whether to return what the metrics are, too.

        Returns
        -------
        float, or dict of str to float
            The dict has "loss", and "accuracy" with that metric.
        """
        self._compiled("evaluate")
        batch_size = check_count(batch_size, "batch_size")
        pieces: Any
        if y is None and is_stream(X):
            refuse_options(batch_size=batch_size != PREDICTED_ROWS, sample_weight=sample_weight is not None)
            pieces = StreamRows(self, X, "X", 1)
            runner = self.runner(pieces.sample_shape, pieces.rows)
        else:
            pieces = [self._rows(X, y, sample_weight, "X", "y")]
            inputs = pieces[0][0]
            runner = self.runner(inputs.shape[1:], min(batch_size, len(inputs)))
        found = _training.evaluate(runner, pieces)
        return found if return_dict else found["loss"]

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write layers, optimizer and loss to one file, whole or not at all; ``streamnorm.load(path)`` reads it.

        The file is in the format safetensors; what is in it is data, and reading it runs nothing.

        Parameters
        ----------
        path : path
        overwrite : bool, default False
            Whether the file may be there already.

        Raises
        ------
        StateError
            If a layer is none of this library, or a learning rate is a function of your own.
        FileExistsError
            If the file exists and may not be replaced.
        """
        from ._model_file import save

        save(self, path, overwrite=overwrite)

    def runner(self, sample_shape: tuple[int, ...], rows: int) -> Any:
        """What trains and predicts: a plan for layers, loss and optimizer of this library, steps for others.

        Parameters
        ----------
        sample_shape : tuple of int
            Of a row of the input.
        rows : int
            Rows of a batch.
        """
        return self._runner(sample_shape, rows, self.loss, self.optimizer)

    def _runner(self, sample_shape: tuple[int, ...], rows: int, loss: Loss | None, optimizer: Optimizer | None) -> Any:
        from ._plan import Plan

        layers = self._layers()
        # For shapes that do not fit there is no plan: the layers themselves say what is wrong.
        kind = Plan if Plan.covers(layers, sample_shape, loss=loss, optimizer=optimizer) else Steps
        counts = loss is not None and bool(self.metrics)
        return kind(
            layers, sample_shape, rows, loss=loss, optimizer=optimizer, accuracy=counts, threads=self.threads
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_predictor"}

    # ------------------------------------------------------------ checks

    @property
    def _is_plain(self) -> bool:
        """Whether the layers go one after the other, and not some other way that a child has defined."""
        own = {*vars(self), *(name for kind in type(self).__mro__[: type(self).__mro__.index(Sequential)]
                              for name in vars(kind))}  # fmt: skip
        return own.isdisjoint(("forward", "backward"))

    def _compiled(self, what: str) -> Loss:
        if self.loss is None or self.optimizer is None:
            raise ValueError(f"{what} needs a loss and an optimizer: call compile first, as in compile('adam', 'mse')")
        return self.loss

    def _inputs(self, X: ArrayLike, name: str) -> np.ndarray:
        array = unmasked(X, name)
        if array.ndim < 2:
            raise ValueError(f"{name} has shape {array.shape}, and (N, ...) is wanted: rows of at least one value")
        with np.errstate(over="ignore"):
            return as_type(array, self.dtype)

    def _layers(self) -> list[Module]:
        """What goes one after the other: layers, or this network as one that does something else."""
        return list(_flat(self)) if self._is_plain else [self]

    def _output(self, X: np.ndarray, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """The shape of a row of the output, and its type.

        Where there is a plan, it says so. Otherwise two rows of zeros are sent through, for which the layers' modes
        are switched: calls of other threads would see that.
        """
        from ._plan import Plan, shape_after

        layers = self._layers()
        if Plan.covers(layers):
            shape = shape_after(layers, X.shape[1:])
            if shape is not None:
                return shape, self.dtype
        rows = np.zeros((2, *X.shape[1:]), X.dtype)
        with mode([self], False):
            try:
                for i, layer in enumerate(self if self._is_plain else [self]):
                    try:
                        rows = layer.forward(rows)
                    except ValueError as error:
                        raise ValueError(
                            f"{name} has shape {X.shape}, of which layer {i}, {type(layer).__name__}, gets rows of "
                            f"shape {rows.shape[1:]}: {error}"
                        ) from None
            finally:
                forget(self)
        return rows.shape[1:], rows.dtype

    def _rows(self, X: Any, y: Any, sample_weight: ArrayLike | None, x_name: str, y_name: str) -> Any:
        """X, targets and weights as a runner takes them, checked."""
        loss = self._compiled("training")
        if y is None:
            raise TypeError(f"{y_name} is None, and {x_name} is no stream that yields (x, y), but of type "
                            f"{type(X).__name__}: give targets")  # fmt: skip
        if is_stream(X):
            raise TypeError(f"{x_name} is a stream of batches, which hold their targets: leave {y_name} out")
        inputs = self._inputs(X, x_name)
        targets = unmasked(y, y_name)
        if targets.shape[:1] != inputs.shape[:1]:
            raise ValueError(f"{x_name} has shape {inputs.shape} and {y_name} has shape {targets.shape}: rows differ")
        if not len(inputs):
            raise ValueError(f"{x_name} has shape {inputs.shape}: at least one row is wanted")
        check_finite(inputs, x_name)
        check_finite(targets, y_name)
        shape, dtype = self._output(inputs, x_name)
        targets = loss.targets(targets, (len(inputs), *shape), dtype)
        check_finite(targets, y_name)  # float32 has not all numbers that float64 has
        weights = weights_of(sample_weight, len(inputs), dtype)
        if weights is not None and not weights.any():
            raise ValueError(f"the weights of all rows of {x_name} are 0 in {weights.dtype}: at least one counts")
        return inputs, targets, weights


def _flat(network: Sequential) -> Iterator[Module]:
    """The layers, and in place of networks inside the layers of those."""
    for layer in network:
        if type(layer) is Sequential and layer._is_plain:
            yield from _flat(layer)
        else:
            yield layer
