"""Types of the compiled normalization layers; streamnorm.nn.functional is where to import them from."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

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
