"""Losses: what a network is trained to make small, and its gradient."""

# Design: a loss is the mean over all elements of a batch, as PyTorch's, so that a learning rate serves batches of any
# size; with weights of rows it is the weighted mean. It is summed in double, whatever the arrays are.
#
# Design: a prediction of shape (N, 1) and a target of shape (N,) are the same numbers and match. Anything else that
# differs is an error. Turned down: NumPy's broadcasting, by which these two would be N * N differences, and a network
# would train on them without a word.

import difflib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _nn as kernels
from ._inputs import as_floats, as_type
from ._module import check_real

__all__ = [
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "HuberLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "QuantileLoss",
    "get_loss",
]


METRICS = ("accuracy",)
LEAST_WEIGHT, MOST_WEIGHT = 2.0**-500, 2.0**500  # of rows


class Loss:
    """The base of losses.

    One of your own overrides :meth:`__call__` and :meth:`gradient`, and :meth:`targets` if its targets are no numbers
    of the shape of the output.

    Attributes
    ----------
    kind : str or None
        The kernels' name of it; None for one of your own.
    parameter : float
        Its number, if it has one.
    """

    kind: str | None = None
    parameter: float = 0.0

    def targets(self, target: ArrayLike, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Targets as the loss takes them, checked.

        Parameters
        ----------
        target : array-like
        shape : tuple of int
            Of the predictions that they belong to, the rows first.
        dtype : numpy.dtype
            Of the predictions.

        Returns
        -------
        ndarray
            C-contiguous, of the predictions' shape and type (classes are (N,) and int64).

        Raises
        ------
        ValueError
            If the shapes do not match, or a target is none of this loss.
        """
        array = np.asarray(target)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"targets must be numbers, got an array of {array.dtype}")
        if array.shape != shape and not _same_rows(array.shape, shape):
            hint = ""
            if array.shape[:1] == shape[:1]:
                hint = ": the network's last layer must have as many outputs as there are targets in a row"
            raise ValueError(f"targets have shape {array.shape}, and predictions have shape {shape}{hint}")
        with np.errstate(over="ignore"):
            return as_type(array, dtype).reshape(shape)

    def _arguments(self, prediction: ArrayLike, target: ArrayLike, sample_weight: ArrayLike | None) -> tuple[Any, ...]:
        """What the kernels take."""
        if self.kind is None:
            raise TypeError(f"{type(self).__name__} is no loss that there are kernels for: it must define both "
                            "__call__ and gradient")  # fmt: skip
        values = as_floats(prediction)
        if values.ndim == 0 or not len(values):
            raise ValueError(f"predictions have shape {values.shape}: at least one row is wanted")
        targets = self.targets(target, values.shape, values.dtype)
        return self.kind, values, targets, self.parameter, weights_of(sample_weight, len(values), values.dtype)

    def __call__(self, prediction: ArrayLike, target: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The mean of the loss over all elements; with weights, of shape (N,), the weighted mean."""
        return kernels.loss_forward(*self._arguments(prediction, target, sample_weight))

    def gradient(self, prediction: ArrayLike, target: ArrayLike, sample_weight: ArrayLike | None = None) -> np.ndarray:
        """The derivative of the loss by each prediction, of their shape."""
        return kernels.loss_backward(*self._arguments(prediction, target, sample_weight))

    def _shown(self) -> str:
        return ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown()})"


def _same_rows(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether one is (N,) and the other (N, 1)."""
    return len(one) + len(other) == 3 and one[:1] == other[:1] and 1 in (one[-1], other[-1]) and len(one) in (1, 2)


def weights_of(sample_weight: ArrayLike | None, rows: int, dtype: np.dtype) -> np.ndarray | None:
    """Weights of rows as the kernels take them: of shape (rows,), 0 or from 2**-500 to 2**500, as their sum is.

    Beyond that, a batch's gradient over the sum of its weights would be infinite or lost in double.
    """
    if sample_weight is None:
        return None
    array = np.asarray(sample_weight)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"sample_weight must be numbers, got an array of {array.dtype}")
    if array.shape != (rows,):
        raise ValueError(f"sample_weight has shape {array.shape}, and ({rows},) is wanted, a weight for each row")
    with np.errstate(over="ignore"):
        weights = as_type(array, dtype)
    about = np.finfo(dtype)
    least, most = max(LEAST_WEIGHT, float(about.smallest_subnormal)), min(MOST_WEIGHT, float(about.max))
    wrong = ~((weights == 0) | ((weights >= least) & (weights <= most)))
    if wrong.any():
        at = int(np.argmax(wrong))
        said = "finite and not negative"
        if 0 < array[at] < np.inf:
            said = f"0 or from {least:.0e} to {most:.0e} in {dtype}"
        raise ValueError(f"sample_weight is {array[at]} in row {at}: weights are {said}")
    if weights.sum(dtype=np.float64) > MOST_WEIGHT:
        raise ValueError(f"sample_weight sums to more than {MOST_WEIGHT:.0e}: divide all weights by a number")
    return weights


class MSELoss(Loss):
    """Mean squared error, as ``torch.nn.MSELoss``.

    Examples
    --------
    >>> MSELoss()([[1.0], [2.0]], [1.0, 4.0])
    2.0
    """

    kind = "squared"


class L1Loss(Loss):
    """Mean absolute error, as ``torch.nn.L1Loss``; the slope where they are equal is 0.

    Examples
    --------
    >>> L1Loss()([[1.0], [2.0]], [1.0, 4.0])
    1.0
    """

    kind = "absolute"


class HuberLoss(Loss):
    """Half the square up to delta, beyond it a line of slope delta, as ``torch.nn.HuberLoss``.

    Parameters
    ----------
    delta : float, default 1.0
        Greater than 0.

    References
    ----------
    Huber, "Robust estimation of a location parameter" (1964).

    Examples
    --------
    >>> HuberLoss()([0.0, 0.0], [1.0, 10.0])
    5.0
    """

    kind = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = self.parameter = check_real(delta, "delta", np.inf)
        if not 0 < self.delta < np.inf:
            raise ValueError(f"delta must be greater than 0 and finite, got {delta!r}")

    def _shown(self) -> str:
        return f"delta={self.delta:g}"


class QuantileLoss(Loss):
    """The pinball loss, least for the prediction that a share of `quantile` of the targets lies below.

    Parameters
    ----------
    quantile : float, default 0.5
        Between 0 and 1. 0.5 is half the absolute error, and gives medians.

    References
    ----------
    Koenker and Bassett, "Regression quantiles" (1978).

    Examples
    --------
    >>> QuantileLoss(0.75)([0.0, 0.0], [4.0, -4.0])
    2.0
    """

    kind = "quantile"

    def __init__(self, quantile: float = 0.5) -> None:
        self.quantile = self.parameter = check_real(quantile, "quantile", 1.0)
        if not 0 < self.quantile < 1:
            raise ValueError(f"quantile must be between 0 and 1, got {quantile!r}")

    def _shown(self) -> str:
        return f"quantile={self.quantile:g}"


class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of logits, as ``torch.nn.BCEWithLogitsLoss``; targets are from 0 to 1.

    A logit z stands for the probability 1 / (1 + exp(-z)): the network ends without a :class:`Sigmoid`.

    Examples
    --------
    >>> round(BCEWithLogitsLoss()([[0.0], [100.0]], [1, 1]), 6)
    0.346574
    """

    kind = "binary"

    def targets(self, target: ArrayLike, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        array = super().targets(target, shape, dtype)
        wrong = ~((array >= 0) & (array <= 1))
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(f"the target in row {at[0]} is {array[at]:g}: binary cross-entropy takes 0 to 1")
        return array


class CrossEntropyLoss(Loss):
    """Cross-entropy of the softmax of logits (N, K) and classes (N,), as ``torch.nn.CrossEntropyLoss``.

    The network ends without a softmax; classes are whole numbers from 0 to K - 1, or rows (N, K) of zeros with a single
    1 where the class is.

    Examples
    --------
    >>> round(CrossEntropyLoss()([[0.0, 0.0], [0.0, 100.0]], [0, 1]), 6)
    0.346574
    """

    kind = "softmax"

    def targets(self, target: ArrayLike, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        array = np.asarray(target)
        if len(shape) != 2:
            raise ValueError(f"predictions have shape {shape}: softmax cross-entropy takes logits (N, K)")
        if array.dtype.kind not in "biuf":
            raise TypeError(f"classes must be whole numbers, got an array of {array.dtype}")
        if array.shape == shape and shape[1] > 1:
            return _places_of_ones(array)
        if array.shape not in (shape[:1], (shape[0], 1)):
            raise ValueError(
                f"targets have shape {array.shape}, and predictions have shape {shape}: one class a row is wanted, "
                f"its number or {shape[1]} values that are 0 but for a single 1"
            )
        array = array.reshape(-1)
        wrong = ~((array >= 0) & (array < shape[1]) & (array == np.floor(array)))
        if wrong.any():
            at = int(np.argmax(wrong))
            raise ValueError(
                f"the class in row {at} is {array[at]:g}, and predictions have shape {shape}: "
                f"classes are whole numbers from 0 to {shape[1] - 1}"
            )
        return as_type(array, np.dtype(np.int64))


def _places_of_ones(array: np.ndarray) -> np.ndarray:
    """The classes of rows that are 0 but for a single 1."""
    wrong = ~((array == 1).sum(axis=1) == 1) | ((array != 0) & (array != 1)).any(axis=1)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(
            f"the targets in row {at} are {np.array2string(array[at], threshold=8)}: softmax cross-entropy takes the "
            "number of one class a row, or values that are 0 but for a single 1"
        )
    return np.argmax(array == 1, axis=1).astype(np.int64)


LOSSES: dict[str, type[Loss]] = {
    "mean_squared_error": MSELoss,
    "mse": MSELoss,
    "mean_absolute_error": L1Loss,
    "mae": L1Loss,
    "huber": HuberLoss,
    "quantile": QuantileLoss,
    "pinball": QuantileLoss,
    "binary_cross_entropy": BCEWithLogitsLoss,
    "softmax_cross_entropy": CrossEntropyLoss,
    "cross_entropy": CrossEntropyLoss,
    "binary_crossentropy": BCEWithLogitsLoss,
    "categorical_crossentropy": CrossEntropyLoss,
    "sparse_categorical_crossentropy": CrossEntropyLoss,
}


def get_loss(loss: str | Loss) -> Loss:
    """A loss from its name, or the loss that is given.

    Parameters
    ----------
    loss : str or Loss
        "mean_squared_error" or "mse", "mean_absolute_error" or "mae", "huber", "quantile" or "pinball",
        "binary_cross_entropy", "softmax_cross_entropy" or "cross_entropy"; and Keras' "binary_crossentropy",
        "categorical_crossentropy" and "sparse_categorical_crossentropy", which take logits here. For another delta or
        quantile give the loss, as ``HuberLoss(0.5)``.

    Returns
    -------
    Loss

    Examples
    --------
    >>> get_loss("huber")
    HuberLoss(delta=1)
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        return LOSSES[known(loss, LOSSES, "loss")]()
    hint = f": write {loss.__name__}()" if isinstance(loss, type) and issubclass(loss, Loss) else ""
    raise TypeError(f"loss must be a name or a Loss, got {loss!r}{hint}")


def check_metrics(metrics: Any, loss: Loss) -> tuple[str, ...]:
    """Names of what is counted beside a loss, if it has that."""
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    for name in names:
        if name not in METRICS:
            raise ValueError(f"metrics has {name!r}, and {', '.join(METRICS)} is what there is")
    if names and loss.kind not in ("softmax", "binary"):
        raise ValueError(
            f"accuracy is the share of classes that are right, and {loss!r} has none: compile with 'cross_entropy' or "
            "'binary_cross_entropy', or without metrics"
        )
    return tuple(dict.fromkeys(names))


def known(name: str, table: dict[str, Any], what: str) -> str:
    """The name, if it is in the table; else an error that suggests the nearest one."""
    if name in table:
        return name
    near = difflib.get_close_matches(name.lower().replace("-", "_").replace(" ", "_"), table, 1, 0.5)
    hint = f": did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{what} is {name!r}, and one of {', '.join(table)} is wanted{hint}")
