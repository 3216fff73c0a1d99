"""A network, its loss and its optimizer as one list of compiled operations, run over all batches of an epoch."""

# Design: a plan does what `Steps` does, with the same kernels in the same order, without coming back to Python between
# them: a batch of 32 rows takes some ten microseconds, as much as a handful of calls would cost by themselves. It knows
# the layers of this library by their exact types, because a child may override anything. The option turned down, a
# graph that records what forward does, would serve layers that nobody has.
#
# Design: a plan points into the arrays of layers and of the optimizer, which stay theirs. Settings of the optimizer are
# read again for every call of `train`, those of layers when the plan is made.

import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import _nn
from . import losses
from ._module import Module
from ._norm import wanted_channels
from ._steps import dtype_of
from .activations import Dropout, Flatten, ReLU, Sigmoid, Tanh
from .convolution import Conv2D, MaxPool2D
from .dense import Dense
from .embedding import ColumnEmbedding, Embedding
from .layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from .optimizers import SGD, Adam, AdamW, Optimizer
from .recurrent import LSTM

ACTIVATIONS: dict[type, str] = {ReLU: "relu", Tanh: "tanh", Sigmoid: "sigmoid"}
NORMS = (BatchNorm, InstanceNorm, GroupNorm, LayerNorm, RMSNorm)
TABLES = (ColumnEmbedding, Embedding)
LAYERS = (Dense, Conv2D, MaxPool2D, *TABLES, LSTM, Dropout, Flatten, *ACTIVATIONS, *NORMS)
LOSSES = (
    losses.MSELoss,
    losses.L1Loss,
    losses.HuberLoss,
    losses.QuantileLoss,
    losses.BCEWithLogitsLoss,
    losses.CrossEntropyLoss,
)
FLOATS = (np.float32, np.float64)
CHUNK_BYTES = 1 << 26  # of all layers' outputs


class Plan:
    """Layers one after the other, with a loss and an optimizer, as one list of operations.

    Parameters
    ----------
    layers : sequence of Module
        Those that :meth:`covers` says yes to.
    sample_shape : tuple of int
        Of a row of x.
    rows : int
        Rows of a batch. Buffers are made for one more, and made anew for larger batches. Without training so many rows
        go through together at most, and fewer where their values would take more than CHUNK_BYTES.
    loss : Loss or None
        For `train` and `evaluate`.
    optimizer : Optimizer or None
        For `train`; it is bound to the parameters.
    accuracy : bool, default False
        Whether `train` and `evaluate` count which classes are right, too.
    threads : int or None
        At most so many, for layers that do not say themselves; None: as many as pay.

    Raises
    ------
    TypeError
        If a layer, the loss or the optimizer is none that a plan knows.
    ValueError
        If the layers do not fit each other or the shape.

    Notes
    -----
    Several threads may call one plan: they wait for each other.
    """

    def __init__(
        self,
        layers: Sequence[Module],
        sample_shape: tuple[int, ...],
        rows: int,
        *,
        loss: losses.Loss | None = None,
        optimizer: Optimizer | None = None,
        accuracy: bool = False,
        threads: int | None = None,
    ) -> None:
        self.layers, self.sample_shape, self.rows = list(layers), tuple(sample_shape), rows
        self.loss, self.optimizer, self.threads = loss, optimizer, threads
        why = _refusal(self.layers, loss, optimizer)
        if why is not None:
            raise TypeError(why)
        self._lock, self._training = threading.RLock(), False
        self._parameters = [parameter for layer in self.layers for parameter in layer.parameters()]
        arrays: list[np.ndarray] = list(self._parameters)
        self._gradients: list[np.ndarray] | None = None
        self.dtype = dtype_of(self.layers)
        numbers = {id(parameter): i for i, parameter in enumerate(self._parameters)}
        described, shape = [], self.sample_shape
        for i, layer in enumerate(self.layers):
            try:
                about, after = _describe(layer, shape, numbers, threads)
            except ValueError as error:
                raise ValueError(f"layer {i}, {type(layer).__name__}, gets rows of shape {shape}: {error}") from None
            if about is not None:
                described.append(about | {"n_in": math.prod(shape), "n_out": math.prod(after)})
            shape = after
        self.output_shape = shape
        made = self.dtype.itemsize * sum(about["n_out"] for about in described)
        self._chunk = min(rows, max(1, CHUNK_BYTES // max(1, made)))
        values = math.prod(self.sample_shape)
        self._network = _nn.Network(self.dtype, described, arrays, values, math.prod(shape))
        self.needs_two_rows = any(about.get("values") == 1 for about in described)  # of a channel in a row
        if loss is not None:
            softmax = loss.kind == "softmax"
            if softmax and (len(shape) != 1 or shape[0] == 0):
                raise ValueError(f"predictions have rows of shape {shape}, and a loss of classes takes (classes,)")
            assert loss.kind is not None
            self._network.set_loss(loss.kind, loss.parameter, 1 if softmax else math.prod(shape), accuracy)
        if optimizer is not None:
            optimizer.bind(self._parameters)

    @staticmethod
    def covers(
        layers: Sequence[Module],
        sample_shape: tuple[int, ...] | None = None,
        *,
        loss: losses.Loss | None = None,
        optimizer: Optimizer | None = None,
    ) -> bool:
        """Whether there is a plan for these layers, and for samples of that shape, this loss and this optimizer.

        There is one for the layers of this library, of the very types: all parameters of one type, float32 or float64,
        none of them in two layers, and embeddings first.
        """
        if _refusal(layers, loss, optimizer) is not None:
            return False
        if sample_shape is None:
            return True
        return shape_after(layers, sample_shape) is not None

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
            Of the network's type, C-contiguous.
        y : ndarray
            As from ``loss.targets``.
        batch_size : int
            A last batch of one row joins the one before it.
        order : ndarray of int64, or None
            Which rows of x, one after the other; None: all, as they are.
        sample_weight : ndarray of shape (N,), or None
            Of the network's type.

        Returns
        -------
        loss_sum, weight, *right : float
            The sum over batches of the loss before the step times the weight of the batch, which is the sum of the
            weights of its rows; the sum of those; and with `accuracy` that of the weights of rows that are right.

        Raises
        ------
        ValueError, TypeError, IndexError
            If an array is not as described, or a batch of one row meets batch normalization. Nothing was changed then.
        KeyboardInterrupt
            Between two batches; the layers are as after the last one that was done.
        """
        loss, optimizer = self.loss, self.optimizer
        if loss is None or optimizer is None:
            raise ValueError("training takes a loss and an optimizer")
        with self._lock:
            if self._training:
                raise RuntimeError("this plan is training: a signal's handler cannot train it as well")
            self._training = True
            try:
                return self._train(x, y, batch_size, order, sample_weight, optimizer)
            finally:
                self._training = False

    def _train(self, x: np.ndarray, y: np.ndarray, batch_size: int, order: np.ndarray | None,
               sample_weight: np.ndarray | None, optimizer: Optimizer) -> tuple[float, ...]:  # fmt: skip
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, and batches have at least one row")
        rows = len(x) if order is None else len(order)
        batch_size = min(batch_size, max(rows, 1))  # a number that C holds
        whole, rest = divmod(rows, batch_size)
        n_batches = whole + (rest > 1 or (rest == 1 and whole == 0))
        least = rows if rows < batch_size else rest if rest > 1 else batch_size
        if least == 1 and self.needs_two_rows:
            raise ValueError("a batch of one row gives batch normalization one value per channel; it takes two or more")
        x, targets = self._samples(x), self._targets(y)
        if self._gradients is None:
            self._gradients = [np.zeros(parameter.shape, parameter.dtype) for parameter in self._parameters]
        self._network.set_optimizer(_settings(optimizer), self._gradients, [list(each) for each in optimizer.state])
        if callable(optimizer.lr):
            rates = np.array([optimizer.lr_at(optimizer.steps + i) for i in range(n_batches)], np.float64)
        else:
            rates = np.full(n_batches, optimizer.lr)
        try:
            return self._network.train(x, targets, sample_weight, order, rates, batch_size)
        finally:
            optimizer.steps += self._network.batches_done
            if self._network.batches_done:
                for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
                    parameter.grad = gradient

    def forward(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """What the network makes of x in evaluation mode, in `out` if that is given."""
        x = self._samples(x)
        shape = (len(x), *self.output_shape)
        if out is None:
            out = np.empty(shape, self.dtype)
        elif out.shape != shape:
            raise ValueError(f"out has shape {out.shape}, and {shape} is wanted")
        with self._lock:
            self._network.forward(x, out, self._chunk)
        return out

    def evaluate(self, x: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> tuple[float, ...]:
        """What `train` returns, in evaluation mode."""
        if self.loss is None:
            raise ValueError("evaluation takes a loss")
        with self._lock:
            return self._network.evaluate(self._samples(x), self._targets(y), sample_weight, self._chunk)

    def _samples(self, x: np.ndarray) -> np.ndarray:
        if x.shape[1:] != self.sample_shape:
            raise ValueError(f"x has shape {x.shape}, and this plan is for rows of shape {self.sample_shape}")
        return x

    def _targets(self, y: np.ndarray) -> np.ndarray:
        """Classes as numbers of the network's type, others as they are."""
        assert self.loss is not None
        if self.loss.kind == "softmax" and y.dtype.kind in "iu":
            most = self.output_shape[0] - 1
            if y.size and not 0 <= int(y.min()) <= int(y.max()) <= most:
                raise ValueError(f"targets are from {y.min()} to {y.max()}, and classes are from 0 to {most}")
            return y.astype(self.dtype)
        return y


def shape_after(layers: Sequence[Module], sample_shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of a row of the output of layers that a plan covers; None if they do not fit each other."""
    numbers = {id(parameter): 0 for layer in layers for parameter in layer.parameters()}
    shape = tuple(sample_shape)
    try:
        for layer in layers:
            shape = _describe(layer, shape, numbers, None)[1]
    except ValueError:
        return None
    return shape


def _settings(optimizer: Optimizer) -> dict[str, Any]:
    """What the compiled step takes."""
    about: dict[str, Any] = {
        "kind": "sgd" if isinstance(optimizer, SGD) else "adam",
        "weight_decay": optimizer.weight_decay,
        "clip_norm": optimizer.clip_norm,
        "clip_value": optimizer.clip_value,
        "steps": optimizer.steps,
    }
    if isinstance(optimizer, SGD):
        return about | {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov}
    assert isinstance(optimizer, Adam)
    return about | {"betas": optimizer.betas, "eps": optimizer.eps, "decoupled": optimizer.decoupled}


def _refusal(layers: Sequence[Module], loss: losses.Loss | None, optimizer: Optimizer | None) -> str | None:
    """Why there is no plan, or None if there is one as far as shapes do not say."""
    if not layers:
        return "there are no layers"
    seen: set[int] = set()
    dtype = None
    for i, layer in enumerate(layers):
        named = f"layer {i}, {type(layer).__name__},"
        if type(layer) not in LAYERS or not layer.__dict__.keys().isdisjoint(("forward", "backward")):
            return f"{named} is none that a plan knows"
        if isinstance(layer, TABLES) and not all(type(before) is Flatten for before in layers[:i]):
            return f"{named} is not the first one, and codes are of the input"
        if isinstance(layer, BatchNorm) and layer.running_mean is None:
            return f"{named} has no running statistics, and batches would differ in evaluation"
        if isinstance(layer, BatchNorm | InstanceNorm | GroupNorm) and layer.channel_axis == 0:
            return f"{named} has its channels along the axis of samples"
        for array in (*layer.parameters(), *_running(layer)):
            if array.dtype not in FLOATS or not array.flags.c_contiguous or not array.flags.writeable:
                return f"{named} has an array that is not C-contiguous, writable and of float32 or float64"
            dtype = array.dtype if dtype is None else dtype
            if array.dtype != dtype:
                return f"{named} has {array.dtype}, and layers before it {dtype}"
            if id(array) in seen:
                return f"{named} shares an array with another layer"
            seen.add(id(array))
    if loss is not None and type(loss) not in LOSSES:
        return f"{type(loss).__name__} is no loss that a plan knows"
    if optimizer is not None and type(optimizer) not in (SGD, Adam, AdamW):
        return f"{type(optimizer).__name__} is no optimizer that a plan knows"
    return None


def _running(layer: Module) -> Iterator[Any]:
    if isinstance(layer, BatchNorm | InstanceNorm) and layer.running_mean is not None:
        yield layer.running_mean
        yield layer.running_var


Described = tuple[dict[str, Any] | None, tuple[int, ...]]


def _describe(layer: Module, shape: tuple[int, ...], numbers: dict[int, int], threads: int | None) -> Described:
    """The layer as the compiled network takes it, None if it does nothing; and the shape of a row of its output.

    `numbers` are those of the parameters, by their ids.
    """
    about: dict[str, Any] = {"threads": getattr(layer, "threads", None) or threads}
    for name, called in (("weight", "weight"), ("bias", "bias"), ("weight_ih", "weight"), ("weight_hh", "weight_hh")):
        parameter = getattr(layer, name, None)
        if parameter is not None:
            about[called] = numbers[id(parameter)]
    if type(layer) in ACTIVATIONS:
        return about | {"kind": ACTIVATIONS[type(layer)]}, shape
    if isinstance(layer, Flatten):
        return None, (math.prod(shape),)
    if isinstance(layer, Dropout):
        return about | {"kind": "dropout", "p": layer.p, "seed": layer.seed, "steps": layer.num_steps}, shape
    if isinstance(layer, Dense):
        if shape != (layer.in_features,):
            raise ValueError(f"({layer.in_features},) is wanted")
        return about | {"kind": "dense"}, (layer.out_features,)
    if isinstance(layer, Conv2D | MaxPool2D):
        kind, after = _image(layer, shape)
        return about | kind, after
    if isinstance(layer, LSTM):
        if len(shape) != 2 or shape[0] == 0 or shape[1] != layer.input_size:
            raise ValueError(f"(1 or more, {layer.input_size}) is wanted")
        hidden, sequences = layer.hidden_size, layer.return_sequences
        kind = {"kind": "lstm", "series": shape, "hidden": hidden, "sequences": sequences}
        return about | kind, (shape[0], hidden) if sequences else (hidden,)
    if isinstance(layer, Embedding):
        if not shape or not math.prod(shape):
            raise ValueError("(1 or more, ...) is wanted")
        kind = {"kind": "embedding", "tables": (1, *layer.weight.shape), "positions": math.prod(shape)}
        return about | kind, (*shape, layer.embedding_dim)
    if isinstance(layer, ColumnEmbedding):
        if len(shape) != 1 or shape[0] < layer.columns:
            raise ValueError(f"({layer.columns} or more,) is wanted")
        return about | {"kind": "embedding", "tables": layer.weight.shape, "positions": 1}, (
            shape[0] + layer.columns * (layer.embedding_dim - 1),
        )
    return about | {"kind": "norm"} | _norm(layer, shape), shape


def _image(layer: Conv2D | MaxPool2D, shape: tuple[int, ...]) -> tuple[dict[str, Any], tuple[int, ...]]:
    """How a window goes over an image, and the shape of what comes of it."""
    least = layer.kernel_size if isinstance(layer, Conv2D) else layer.pool_size
    channels = layer.in_channels if isinstance(layer, Conv2D) else shape[-1]
    if len(shape) != 3 or shape[2] != channels or 0 in shape:
        raise ValueError(f"(rows, columns, {channels if isinstance(layer, Conv2D) else 'channels'}) is wanted")
    zeros, (rows, columns) = layer._zeros(*shape[:2]), layer._out_shape(*shape[:2])
    if rows < 1 or columns < 1:
        raise ValueError(f"images of at least {least[0]} x {least[1]} with their padding are wanted")
    about = {"image": shape, "strides": layer.strides, "padding": zeros}
    if isinstance(layer, MaxPool2D):
        return about | {"kind": "pool", "pool_size": layer.pool_size}, (rows, columns, channels)
    return about | {"kind": "conv", "kernel": layer.weight.shape}, (rows, columns, layer.out_channels)


def _norm(layer: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """How the values of one sample lie, as the functions of normalization see them."""
    about = {"eps": layer.eps, "groups": 0, "centered": True, "positions_by_rows": False, "momentum": 0.0,
             "running_mean": None, "running_var": None, "count": None, "samples": 1, "channels": 1,
             "positions": 1}  # fmt: skip
    if isinstance(layer, LayerNorm | RMSNorm):
        n = len(layer.normalized_shape)
        if n > len(shape) or shape[len(shape) - n :] != layer.normalized_shape:
            raise ValueError(f"rows that end in {layer.normalized_shape} are wanted")
        if isinstance(layer, RMSNorm):
            eps = float(np.finfo(layer.dtype).eps) if layer.eps is None else layer.eps
            about |= {"eps": eps, "centered": False}
        samples = math.prod(shape[: len(shape) - n])
        return about | {"layout": "rows", "samples": samples, "positions": math.prod(layer.normalized_shape)}
    axis = layer.channel_axis + (len(shape) + 1 if layer.channel_axis < 0 else 0)
    channels = layer.num_channels if isinstance(layer, GroupNorm) else layer.num_features
    if not 1 <= axis <= len(shape) or shape[axis - 1] != channels:
        raise ValueError(wanted_channels(layer, channels, shape))
    if not isinstance(layer, GroupNorm) and layer.running_mean is not None:
        about |= {"running_mean": layer.running_mean, "running_var": layer.running_var, "momentum": layer.momentum}
        if isinstance(layer, BatchNorm) or layer.momentum is None:
            about["count"] = layer.num_batches_tracked
    before, after = math.prod(shape[: axis - 1]), math.prod(shape[axis:])
    if isinstance(layer, BatchNorm):
        about |= {"channels": channels, "values": before * after}
        if after == 1:
            return about | {"layout": "columns", "positions": before, "positions_by_rows": True}
        return about | {"layout": "planes", "samples": before, "positions": after}
    if isinstance(layer, InstanceNorm) and len(shape) == 1:
        if layer.running_mean is not None or channels == 1:
            raise ValueError("an instance of one dimension has several features and no running statistics")
        return about | {"layout": "rows", "positions": channels}
    if axis not in (1, len(shape)):
        raise ValueError("channels along the first or the last axis of a sample are wanted")
    groups = layer.num_groups if isinstance(layer, GroupNorm) else channels
    positions = math.prod(shape) // channels
    if channels // groups * positions == 1:
        raise ValueError("more than one value to normalize over is wanted")
    layout = "planes" if axis == 1 else "columns"
    return about | {"layout": layout, "channels": channels, "positions": positions, "groups": groups}
