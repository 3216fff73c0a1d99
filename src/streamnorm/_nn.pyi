"""Types of the compiled layers, losses and optimizers; streamnorm.nn is where to import what is public from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from typing_extensions import disjoint_base

_Out = np.ndarray | tuple[np.ndarray | None, ...] | None
_Gradients = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]
_Statistics = tuple[np.ndarray, np.ndarray, np.ndarray]
def batch_norm(
    x: ArrayLike,
    running_mean: np.ndarray | None = None,
    running_var: np.ndarray | None = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    out: np.ndarray | None = None,
    threads: int | None = None,
    num_batches_tracked: np.ndarray | None = None,
) -> np.ndarray: ...
def batch_norm_forward(
    x: ArrayLike,
    running_mean: np.ndarray | None = None,
    running_var: np.ndarray | None = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    out: _Out = None,
    threads: int | None = None,
    num_batches_tracked: np.ndarray | None = None,
) -> _Statistics: ...
def batch_norm_backward(
    dy: ArrayLike,
    x: ArrayLike,
    mean: ArrayLike,
    rstd: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    training: bool = True,
    bias: ArrayLike | bool | None = None,
    channel_axis: int = 1,
    out: _Out = None,
    threads: int | None = None,
) -> _Gradients: ...
def instance_norm(
    x: ArrayLike,
    running_mean: np.ndarray | None = None,
    running_var: np.ndarray | None = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    use_input_stats: bool = True,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    out: np.ndarray | None = None,
    threads: int | None = None,
    num_batches_tracked: np.ndarray | None = None,
) -> np.ndarray: ...
def instance_norm_forward(
    x: ArrayLike,
    running_mean: np.ndarray | None = None,
    running_var: np.ndarray | None = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    use_input_stats: bool = True,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    out: _Out = None,
    threads: int | None = None,
    num_batches_tracked: np.ndarray | None = None,
) -> _Statistics: ...
def instance_norm_backward(
    dy: ArrayLike,
    x: ArrayLike,
    mean: ArrayLike,
    rstd: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    use_input_stats: bool = True,
    bias: ArrayLike | bool | None = None,
    channel_axis: int = 1,
    out: _Out = None,
    threads: int | None = None,
) -> _Gradients: ...
def layer_norm(
    x: ArrayLike,
    normalized_shape: int | Sequence[int],
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray: ...
def layer_norm_forward(
    x: ArrayLike,
    normalized_shape: int | Sequence[int],
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    out: _Out = None,
    threads: int | None = None,
) -> _Statistics: ...
def layer_norm_backward(
    dy: ArrayLike,
    x: ArrayLike,
    mean: ArrayLike,
    rstd: ArrayLike,
    weight: ArrayLike | None = None,
    normalized_shape: int | Sequence[int] | None = None,
    *,
    bias: ArrayLike | bool | None = None,
    out: _Out = None,
    threads: int | None = None,
) -> _Gradients: ...
def group_norm(
    x: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray: ...
def group_norm_forward(
    x: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    out: _Out = None,
    threads: int | None = None,
) -> _Statistics: ...
def group_norm_backward(
    dy: ArrayLike,
    x: ArrayLike,
    mean: ArrayLike,
    rstd: ArrayLike,
    weight: ArrayLike | None = None,
    num_groups: int | None = None,
    *,
    bias: ArrayLike | bool | None = None,
    channel_axis: int = 1,
    out: _Out = None,
    threads: int | None = None,
) -> _Gradients: ...
def rms_norm(
    x: ArrayLike,
    normalized_shape: int | Sequence[int],
    weight: ArrayLike | None = None,
    eps: float | None = None,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray: ...
def rms_norm_forward(
    x: ArrayLike,
    normalized_shape: int | Sequence[int],
    weight: ArrayLike | None = None,
    eps: float | None = None,
    *,
    out: _Out = None,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]: ...
def rms_norm_backward(
    dy: ArrayLike,
    x: ArrayLike,
    rstd: ArrayLike,
    weight: ArrayLike | None = None,
    normalized_shape: int | Sequence[int] | None = None,
    *,
    out: _Out = None,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray | None]: ...
def dense_forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray: ...
def dense_backward(
    dy: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    *,
    bias: bool = True,
    dx: bool = True,
    out: tuple[np.ndarray | None, ...] | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]: ...
def relu_forward(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def relu_backward(dy: np.ndarray, y: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def tanh_forward(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def tanh_backward(dy: np.ndarray, y: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def sigmoid_forward(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def sigmoid_backward(dy: np.ndarray, y: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def dropout_forward(x: np.ndarray, p: float, seed: int, step: int, out: np.ndarray | None = None) -> np.ndarray: ...
def dropout_backward(dy: np.ndarray, p: float, seed: int, step: int, out: np.ndarray | None = None) -> np.ndarray: ...
def embedding_forward(x: np.ndarray, weight: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def embedding_backward(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, out: tuple[np.ndarray | None, ...] | None = None
) -> tuple[np.ndarray, np.ndarray]: ...
def lstm_forward(
    x: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    bias: np.ndarray,
    *,
    sequences: bool,
    keep: bool | np.ndarray = True,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray | None]: ...
def lstm_backward(
    dy: np.ndarray,
    kept: np.ndarray,
    x: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    *,
    sequences: bool,
    dx: bool = True,
    out: tuple[np.ndarray | None, ...] | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray, np.ndarray]: ...
def loss_forward(
    kind: str,
    prediction: np.ndarray,
    target: np.ndarray,
    parameter: float = 0.0,
    sample_weight: np.ndarray | None = None,
) -> float: ...
def loss_backward(
    kind: str,
    prediction: np.ndarray,
    target: np.ndarray,
    parameter: float = 0.0,
    sample_weight: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray: ...
def right_predictions(
    kind: str, prediction: np.ndarray, target: np.ndarray, sample_weight: np.ndarray | None = None
) -> float: ...
def sgd_step(
    parameter: np.ndarray,
    gradient: np.ndarray,
    velocity: np.ndarray | None,
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    scale: float = 1.0,
) -> None: ...
def adam_step(
    parameter: np.ndarray,
    gradient: np.ndarray,
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
) -> None: ...
def square_norm(gradient: np.ndarray) -> float: ...
_Pair = tuple[int, int]
def conv2d_forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    strides: _Pair = (1, 1),
    padding: tuple[_Pair, _Pair] = ((0, 0), (0, 0)),
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray: ...
def conv2d_backward(
    dy: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    *,
    strides: _Pair = (1, 1),
    padding: tuple[_Pair, _Pair] = ((0, 0), (0, 0)),
    bias: bool = True,
    dx: bool = True,
    out: tuple[np.ndarray | None, ...] | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]: ...
def max_pool2d_forward(
    x: np.ndarray,
    *,
    pool_size: _Pair,
    strides: _Pair,
    padding: tuple[_Pair, _Pair] = ((0, 0), (0, 0)),
    keep: bool = True,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray | None]: ...
def max_pool2d_backward(
    dy: np.ndarray,
    places: np.ndarray,
    shape: tuple[int, ...],
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray: ...

@disjoint_base
class Network:
    @property
    def batches_done(self) -> int: ...
    def __init__(
        self, dtype: DTypeLike, layers: list[dict[str, Any]], parameters: list[np.ndarray], n_in: int, n_out: int
    ) -> None: ...
    def reserve(self, rows: int) -> None: ...
    def set_loss(self, kind: str, parameter: float, targets: int, accuracy: bool = False) -> None: ...
    def set_optimizer(
        self, about: dict[str, Any], gradients: list[np.ndarray], states: list[list[np.ndarray]]
    ) -> None: ...
    def train(
        self,
        x: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | None,
        order: np.ndarray | None,
        rates: np.ndarray,
        batch: int,
    ) -> tuple[float, ...]: ...
    def forward(self, x: np.ndarray, out: np.ndarray, chunk: int) -> np.ndarray: ...
    def evaluate(
        self, x: np.ndarray, targets: np.ndarray, weights: np.ndarray | None, chunk: int
    ) -> tuple[float, ...]: ...
