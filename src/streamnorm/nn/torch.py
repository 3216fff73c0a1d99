"""PyTorch's normalization layers over the kernels of :mod:`streamnorm.nn.functional`.

The layers are subclasses of torch's own, with the same arguments, parameters, ``state_dict`` and ``repr``; the
functions have the signatures of :mod:`torch.nn.functional`. Tensors are not copied: the kernels read what torch holds,
and write into what torch allocated, in the memory format of the input (``channels_last`` too). Statistics
are float64. The kernels use at most ``torch.get_num_threads()`` threads, as it is at the time of the call, and give the
same bits for any number.

The kernels take dense float32, float64 and float16 tensors on the CPU; for float16, parameters may be float16 or all
float32, as with torch. In all else torch's own implementation answers, or refuses, as if this module were not there:

- bfloat16, complex and integer dtypes, mixed dtypes, other devices, sparse and mkldnn layouts, meta and fake tensors,
  subclasses of Tensor;
- inside ``torch.compile``, ``torch.export`` and ``torch.jit.trace``, under the transforms of :mod:`torch.func`, under
  autocast, and under a ``TorchFunctionMode`` or ``TorchDispatchMode``;
- arguments that the kernels find wrong, so that errors are torch's;
- a layer whose parameters are parametrized or pruned, or whose buffers were taken away.

Three things are refused with a RuntimeError that says what to do: derivatives of derivatives, forward-mode derivatives
of dual tensors (``torch.func.jvp`` works), and batched gradients (``is_grads_batched=True``).

What the kernels have read or written is memory that NumPy has seen: as after ``Tensor.numpy()``, torch refuses to
resize it in place. On a few kilobytes, torch's own layers are faster: autograd calls Python functions there and back.

Tools that look for torch's classes by exact type (fusion of layers for quantization, ``torch.fx``) or that read a
module's source (``torch.jit.script``) want :func:`revert` first. ``nn.TransformerEncoderLayer`` has a fast path for
inference that reads the parameters of its norms and runs neither our layers nor torch's.

Design: layers carry no state of their own, so that :func:`convert` is a change of class: hooks, names, flags and
parameters stay because nothing is moved. Turned down: new modules in the place of the old ones, which lose whatever
else points to those. For the same reason the mixins have no ``__slots__``: Python changes a class for one of the same
layout alone.
"""

from collections.abc import Sequence
from typing import Any
from warnings import warn

try:
    import torch
except ImportError as error:
    message = 'streamnorm.nn.torch needs PyTorch: pip install "streamnorm[torch]"'
    raise ImportError(message, name="torch") from error

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..errors import StreamnormWarning
from . import _torch_functions as functions

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "batch_norm",
    "convert",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "revert",
]

# While torch.compile reads a forward method it finds this true, and reads no further than the call of torch's own.
_compiling = torch.compiler.is_compiling


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Do what :func:`torch.nn.functional.batch_norm` does, with the compiled kernels.

    Examples
    --------
    >>> import torch
    >>> from streamnorm.nn.torch import batch_norm
    >>> batch_norm(torch.tensor([[1.0], [3.0]]), None, None, training=True, eps=1e-12)
    tensor([[-1.],
            [ 1.]])
    """
    y = None
    if not _compiling():
        y = functions.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    if y is None:
        y = F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    return y


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Do what :func:`torch.nn.functional.instance_norm` does, with the compiled kernels."""
    y = None
    if not _compiling():
        y = functions.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    if y is None:
        y = F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    return y


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Do what :func:`torch.nn.functional.layer_norm` does, with the compiled kernels."""
    y = None if _compiling() else functions.layer_norm(input, normalized_shape, weight, bias, eps)
    return F.layer_norm(input, normalized_shape, weight, bias, eps) if y is None else y


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Do what :func:`torch.nn.functional.group_norm` does, with the compiled kernels."""
    y = None if _compiling() else functions.group_norm(input, num_groups, weight, bias, eps)
    return F.group_norm(input, num_groups, weight, bias, eps) if y is None else y


class _BatchNorm:
    """The forward pass of all three. ``_dims`` is what torch's ``_check_input_dim`` lets through."""

    _dims: tuple[int, ...]

    def forward(self, input: Tensor) -> Tensor:
        y = None if _compiling() else self._normalized(input)
        return super().forward(input) if y is None else y

    def _normalized(self, x: Tensor) -> Tensor | None:
        # Straight from where a module keeps them: __getattr__ costs more than a small kernel.
        parameters, buffers = self._parameters, self._buffers
        try:
            weight, bias = parameters["weight"], parameters["bias"]
            mean, var, count = buffers["running_mean"], buffers["running_var"], buffers["num_batches_tracked"]
        except KeyError:
            return None
        if x.dim() not in self._dims:
            return None
        training = self.training
        if not training:
            training, count = mean is None and var is None, None
        elif not self.track_running_stats:
            mean = var = count = None
        elif mean is None or count is None:
            return None
        momentum = self.momentum
        if momentum is None and count is None:
            momentum = 0.0
        return functions.batch_norm(x, mean, var, weight, bias, training, momentum, self.eps, count)


class _InstanceNorm:
    """The forward pass of all three. ``_batched`` is the number of dimensions of a batch."""

    _batched: int

    def forward(self, input: Tensor) -> Tensor:
        y = None if _compiling() else self._normalized(input)
        return super().forward(input) if y is None else y

    def _normalized(self, x: Tensor) -> Tensor | None:
        parameters, buffers = self._parameters, self._buffers
        try:
            weight, bias = parameters["weight"], parameters["bias"]
            mean, var = buffers["running_mean"], buffers["running_var"]
        except KeyError:
            return None
        dims = x.dim()
        if dims == self._batched - 1:
            y = self._normalized(x.unsqueeze(0))
            return None if y is None else y.squeeze(0)
        if dims != self._batched or x.size(1) != self.num_features:
            return None
        momentum = self.momentum
        return functions.instance_norm(
            x, mean, var, weight, bias, self.training or not self.track_running_stats,
            0.0 if momentum is None else momentum, self.eps,
        )  # fmt: skip


class _LayerNorm:

    def forward(self, input: Tensor) -> Tensor:
        y = None
        if not _compiling():
            parameters = self._parameters
            if "weight" in parameters and "bias" in parameters:
                weight, bias = parameters["weight"], parameters["bias"]
                y = functions.layer_norm(input, self.normalized_shape, weight, bias, self.eps)
        return super().forward(input) if y is None else y


class _GroupNorm:

    def forward(self, input: Tensor) -> Tensor:
        y = None
        if not _compiling():
            parameters = self._parameters
            if "weight" in parameters and "bias" in parameters:
                weight, bias = parameters["weight"], parameters["bias"]
                y = functions.group_norm(input, self.num_groups, weight, bias, self.eps)
        return super().forward(input) if y is None else y


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """:class:`torch.nn.BatchNorm1d` over the compiled kernels.

    Examples
    --------
    >>> import torch
    >>> from streamnorm.nn.torch import BatchNorm1d
    >>> layer = BatchNorm1d(1, eps=1e-12)
    >>> layer(torch.tensor([[1.0], [3.0]])).detach()
    tensor([[-1.],
            [ 1.]])
    >>> layer.running_mean
    tensor([0.2000])
    >>> isinstance(layer, torch.nn.BatchNorm1d)
    True
    """

    _dims = (2, 3)


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """:class:`torch.nn.BatchNorm2d` over the compiled kernels."""

    _dims = (4,)


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """:class:`torch.nn.BatchNorm3d` over the compiled kernels."""

    _dims = (5,)


class InstanceNorm1d(_InstanceNorm, nn.InstanceNorm1d):
    """:class:`torch.nn.InstanceNorm1d` over the compiled kernels."""

    _batched = 3


class InstanceNorm2d(_InstanceNorm, nn.InstanceNorm2d):
    """:class:`torch.nn.InstanceNorm2d` over the compiled kernels."""

    _batched = 4


class InstanceNorm3d(_InstanceNorm, nn.InstanceNorm3d):
    """:class:`torch.nn.InstanceNorm3d` over the compiled kernels."""

    _batched = 5


class LayerNorm(_LayerNorm, nn.LayerNorm):
    """:class:`torch.nn.LayerNorm` over the compiled kernels."""


class GroupNorm(_GroupNorm, nn.GroupNorm):
    """:class:`torch.nn.GroupNorm` over the compiled kernels."""


_OURS: dict[type[nn.Module], type[nn.Module]] = {
    theirs: ours
    for ours in (
        BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, LayerNorm, GroupNorm,
    )
    for theirs in ours.__bases__[1:]
}  # fmt: skip
# All normalizations of torch's that there are, whether or not there is one of ours.
_NORMS: tuple[type[nn.Module], ...] = (_NormBase, nn.LayerNorm, nn.GroupNorm)

if hasattr(nn, "RMSNorm"):  # since torch 2.4

    def rms_norm(
        input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
    ) -> Tensor:
        """Do what :func:`torch.nn.functional.rms_norm` does, with the compiled kernels."""
        y = None if _compiling() else functions.rms_norm(input, normalized_shape, weight, eps)
        return F.rms_norm(input, normalized_shape, weight, eps) if y is None else y

    class RMSNorm(nn.RMSNorm):
        """:class:`torch.nn.RMSNorm` over the compiled kernels."""

        def forward(self, x: Tensor) -> Tensor:
            y = None
            if not _compiling() and "weight" in self._parameters:
                y = functions.rms_norm(x, self.normalized_shape, self._parameters["weight"], self.eps)
            return super().forward(x) if y is None else y

    __all__ += ["RMSNorm", "rms_norm"]
    _OURS[nn.RMSNorm] = RMSNorm
    _NORMS += (nn.RMSNorm,)

_THEIRS = {ours: theirs for theirs, ours in _OURS.items()}


def convert(model: nn.Module) -> nn.Module:
    """Make torch's normalization layers in a model ours, in place.

    Each layer stays the object that it is and changes its class alone: parameters, buffers, hooks, flags, names, and
    whatever refers to it (optimizers, layers in two places) need no change. Converting twice changes nothing more. For
    a converted copy, convert ``copy.deepcopy(model)``.

    Parameters
    ----------
    model : torch.nn.Module
        A model, or a single layer. Layers with parameters on other devices may be converted too; torch's own
        implementation goes on serving them.

    Returns
    -------
    torch.nn.Module
        The same model.

    Warns
    -----
    StreamnormWarning
        Once, with the names of all layers that are left alone: subclasses of torch's layers (which may do something
        else: SyncBatchNorm, lazy and quantized layers, those of other libraries, parametrized ones), and layers whose
        ``forward`` was replaced.

    See Also
    --------
    revert : the way back.

    Examples
    --------
    >>> import torch
    >>> from streamnorm.nn.torch import convert, revert
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    >>> type(convert(model)[1])
    <class 'streamnorm.nn.torch.BatchNorm1d'>
    >>> type(revert(model)[1])
    <class 'torch.nn.modules.batchnorm.BatchNorm1d'>
    """
    _require_module(model)
    left = []
    for name, module in model.named_modules():
        kind = type(module)
        if kind in _OURS and "forward" not in vars(module):
            module.__class__ = _OURS[kind]
        elif isinstance(module, _NORMS) and not isinstance(module, tuple(_THEIRS)):
            why = "has a forward of its own" if kind in _OURS else f"is a {kind.__module__}.{kind.__qualname__}"
            left.append((name, f"{name or 'the model itself'} {why}"))
    if left:
        text = f"convert left normalization layers alone: {'; '.join(said for _, said in left)}"
        warn(StreamnormWarning(text, columns=[name for name, _ in left]), stacklevel=2)
    return model


def revert(model: nn.Module) -> nn.Module:
    """Make our normalization layers in a model torch's, in place: undo :func:`convert`.

    Parameters
    ----------
    model : torch.nn.Module
        A model, or a single layer. Subclasses of our layers are left alone.

    Returns
    -------
    torch.nn.Module
        The same model.
    """
    _require_module(model)
    for module in model.modules():
        if type(module) in _THEIRS:
            module.__class__ = _THEIRS[type(module)]
    return model


def _require_module(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__} and should be a torch.nn.Module")
