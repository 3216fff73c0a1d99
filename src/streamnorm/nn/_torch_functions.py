"""The kernels as functions of autograd, for :mod:`streamnorm.nn.torch`, which says what they take.

Every function here returns None where the kernels do not take the call; then torch's own implementation has it.

Design: a call costs about as much as torch's own on a few kilobytes, so the types, the modes of torch that want to see
its operators and the flags are looked up one by one, cheap ones first, and what is wrong with the arguments is left to
the kernels to find (they write nothing then) and to torch to say. Where no gradient is asked for, the kernels are
called without autograd, and nothing is kept. Turned down: giving the running statistics to autograd, which would only
count them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, empty_like, from_numpy, get_num_threads, is_grad_enabled
from torch.autograd import Function, forward_ad
from torch.autograd.graph import increment_version
from torch.nn import Parameter
from torch.overrides import has_torch_function_unary

from . import functional as kernels

_KINDS = (Tensor, Parameter)  # exactly these: subclasses are torch's to treat
_HALF, _SINGLE = torch.float16, torch.float32
_DTYPES = frozenset((_HALF, _SINGLE, torch.float64))
# What kernels and arrays raise before anything is written.
_WRONG = (TypeError, ValueError, NotImplementedError)

# What torch itself asks before it applies a Function or calls a module; public names are missing or slower.
_transforming = torch._C._are_functorch_transforms_active
_dispatch_modes = torch._C._len_torch_dispatch_stack
_tracing = torch._C._get_tracing_state


if hasattr(torch.amp, "is_autocast_available"):  # since torch 2.4
    _autocast_on_cpu = partial(torch.is_autocast_enabled, "cpu")
else:
    _autocast_on_cpu = torch.is_autocast_cpu_enabled


def _taken(x: Tensor, others: tuple[Tensor | None, ...]) -> bool:
    """Whether x and its parameters are what the kernels read, and nothing else wants to see the operator."""
    if type(x) not in _KINDS or has_torch_function_unary(x):
        return False
    dtype = x.dtype
    if dtype not in _DTYPES or not x.is_cpu or x.is_neg():
        return False
    for other in others:
        if other is not None:
            if type(other) not in _KINDS:
                return False
            if other.dtype is not dtype and not _mixed(dtype, others):
                return False
    return not (_transforming() or _dispatch_modes() or _tracing() is not None or _autocast_on_cpu())


def _mixed(dtype: torch.dtype, others: tuple[Tensor | None, ...]) -> bool:
    """Whether all parameters are in single precision and the input is in half, the one mixture that torch knows."""
    return dtype is _HALF and all(other is None or other.dtype is _SINGLE for other in others)


def _refusal(layer: str, what: str) -> RuntimeError:
    return RuntimeError(
        f"The {layer} of streamnorm.nn.torch has no {what}: use torch's own {layer} there"
        " (streamnorm.nn.torch.revert(model) puts torch's layers back)."
    )


def _refuse_tangents(layer: str, *tensors: Tensor | None) -> None:
    """Raise if one is a dual tensor: the arrays would be without its tangent."""
    for tensor in tensors:
        if tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None:
            raise _refusal(layer, "forward-mode derivatives")


def _recorded(layer: str, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> bool:
    """Whether autograd has to know of the call."""
    if forward_ad._current_level >= 0:
        _refuse_tangents(layer, x, weight, bias)
    return is_grad_enabled() and (
        x.requires_grad
        or (weight is not None and weight.requires_grad)
        or (bias is not None and bias.requires_grad)
    )


def _array(tensor: Tensor | None) -> np.ndarray | None:
    return None if tensor is None else tensor.numpy()


# What backward needs beside the tensors that autograd watches: the layer's name, the kernel, the statistics (arrays of
# the kernel's own), the weight as an array, and keyword arguments.
Kept = tuple[str, Callable[..., Any], Sequence[np.ndarray], np.ndarray | None, dict[str, Any]]


def _gradients(dy: Tensor, x: Tensor, kept: Kept, needs: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """The gradients of x, weight and bias, and None for the rest; None where they are not needed."""
    layer, kernel, stats, weight, options = kept
    try:
        dy_array = dy.numpy()
    except RuntimeError as error:
        if not dy.is_neg():  # a tensor without memory: the gradients of several outputs at once
            raise _refusal(layer, "batched gradients") from error
        dy_array = dy.resolve_neg().numpy()
    dx = empty_like(x)
    found = kernel(dy_array, x.numpy(), *stats, weight, out=dx.numpy(), threads=get_num_threads(), **options)
    if not needs[0]:
        dx = None
    # Arrays as small as the parameters are the kernel's own: taking them over is cheaper than lending it tensors.
    dweight = from_numpy(found[1]) if needs[1] else None
    if len(found) == 2:
        return dx, dweight, None
    return dx, dweight, from_numpy(found[2]) if needs[2] else None, None


class _Once(Function):
    """The gradients as a function of autograd's again, for create_graph=True: its own gradient is refused."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, x: Tensor, weight: Tensor | None, kept: Kept, needs: Sequence[bool]) -> Any:
        ctx.layer = kept[0]
        return _gradients(dy, x, kept, needs)

    @staticmethod
    def backward(ctx: Any, *unused: Tensor) -> Any:
        raise _refusal(ctx.layer, "second derivatives")


class _Norm(Function):
    """The backward pass of all five. The last input of forward holds whatever has no gradient."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight = ctx.saved_tensors  # which raises if one was changed in place
        if forward_ad._current_level >= 0:
            _refuse_tangents(ctx.kept[0], dy, x, weight)
        if is_grad_enabled():
            return _Once.apply(dy, x, weight, ctx.kept, ctx.needs_input_grad)
        return _gradients(dy, x, ctx.kept, ctx.needs_input_grad)


class BatchNormFunction(_Norm):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, rest: tuple[Any, ...]) -> Tensor:
        mean, var, count, training, momentum, eps = rest
        y, w, b = empty_like(x), _array(weight), _array(bias)
        _, *stats = kernels.batch_norm_forward(
            x.numpy(), mean, var, w, b, training, momentum, eps,
            out=y.numpy(), threads=get_num_threads(), num_batches_tracked=count,
        )  # fmt: skip
        ctx.save_for_backward(x, weight)
        options = {"bias": b if ctx.needs_input_grad[2] else False, "training": training}
        ctx.kept = ("BatchNorm", kernels.batch_norm_backward, stats, w, options)
        return y


class InstanceNormFunction(_Norm):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, rest: tuple[Any, ...]) -> Tensor:
        mean, var, use_input_stats, momentum, eps = rest
        y, w, b = empty_like(x), _array(weight), _array(bias)
        _, *stats = kernels.instance_norm_forward(
            x.numpy(), mean, var, w, b, use_input_stats, momentum, eps, out=y.numpy(), threads=get_num_threads()
        )
        ctx.save_for_backward(x, weight)
        options = {"bias": b if ctx.needs_input_grad[2] else False, "use_input_stats": use_input_stats}
        ctx.kept = ("InstanceNorm", kernels.instance_norm_backward, stats, w, options)
        return y


class LayerNormFunction(_Norm):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, rest: tuple[Any, ...]) -> Tensor:
        shape, eps = rest
        y, w, b = empty_like(x), _array(weight), _array(bias)
        _, *stats = kernels.layer_norm_forward(
            x.numpy(), shape, w, b, eps, out=y.numpy(), threads=get_num_threads()
        )
        ctx.save_for_backward(x, weight)
        options = {"bias": b if ctx.needs_input_grad[2] else False, "normalized_shape": shape}
        ctx.kept = ("LayerNorm", kernels.layer_norm_backward, stats, w, options)
        return y


class GroupNormFunction(_Norm):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, rest: tuple[Any, ...]) -> Tensor:
        groups, eps = rest
        y, w, b = empty_like(x), _array(weight), _array(bias)
        _, *stats = kernels.group_norm_forward(
            x.numpy(), groups, w, b, eps, out=y.numpy(), threads=get_num_threads()
        )
        ctx.save_for_backward(x, weight)
        options = {"bias": b if ctx.needs_input_grad[2] else False, "num_groups": groups}
        ctx.kept = ("GroupNorm", kernels.group_norm_backward, stats, w, options)
        return y


class RMSNormFunction(_Norm):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, rest: tuple[Any, ...]) -> Tensor:
        shape, eps = rest
        y, w = empty_like(x), _array(weight)
        _, *stats = kernels.rms_norm_forward(x.numpy(), shape, w, eps, out=y.numpy(), threads=get_num_threads())
        ctx.save_for_backward(x, weight)
        ctx.kept = ("RMSNorm", kernels.rms_norm_backward, stats, w, {"normalized_shape": shape})
        return y


# Function.apply looks at the transforms of torch.func once more, which takes longer than the kernels do on little data.
_apply_batch, _apply_instance, _apply_layer, _apply_group, _apply_rms = (
    super(Function, function).apply
    for function in (
        BatchNormFunction, InstanceNormFunction, LayerNormFunction, GroupNormFunction, RMSNormFunction,
    )  # fmt: skip
)


def batch_norm(
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float | None,
    eps: float,
    count: Tensor | None = None,
) -> Tensor | None:
    """Batch normalization; ``count`` is num_batches_tracked, to be incremented in training."""
    if not _taken(x, (weight, bias, mean, var)) or (training and not eps > 0):
        return None
    try:
        rest = _array(mean), _array(var), _array(count), training, momentum, eps
        if _recorded("BatchNorm", x, weight, bias):
            y = _apply_batch(x, weight, bias, rest)
        else:
            y = empty_like(x)
            kernels.batch_norm(
                x.numpy(), rest[0], rest[1], _array(weight), _array(bias), training, momentum, eps,
                out=y.numpy(), threads=get_num_threads(), num_batches_tracked=rest[2],
            )  # fmt: skip
    except _WRONG:
        return None
    if training and mean is not None:
        _written(mean, var)
    return y


def instance_norm(
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
) -> Tensor | None:
    """Instance normalization; a batch of vectors is torch's to refuse."""
    if x.dim() < 3 or not _taken(x, (weight, bias, mean, var)):
        return None
    try:
        rest = _array(mean), _array(var), use_input_stats, momentum, eps
        if _recorded("InstanceNorm", x, weight, bias):
            y = _apply_instance(x, weight, bias, rest)
        else:
            y = empty_like(x)
            kernels.instance_norm(
                x.numpy(), rest[0], rest[1], _array(weight), _array(bias), use_input_stats, momentum, eps,
                out=y.numpy(), threads=get_num_threads(),
            )  # fmt: skip
    except _WRONG:
        return None
    if use_input_stats and mean is not None:
        _written(mean, var)
    return y


def _written(mean: Tensor, var: Tensor | None) -> None:
    """Tell autograd that the running statistics have changed, as it would see if torch had changed them."""
    increment_version(mean)
    increment_version(var)


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor | None:
    """Layer normalization."""
    if not _taken(x, (weight, bias)):
        return None
    try:
        if _recorded("LayerNorm", x, weight, bias):
            return _apply_layer(x, weight, bias, (shape, eps))
        y = empty_like(x)
        kernels.layer_norm(
            x.numpy(), shape, _array(weight), _array(bias), eps, out=y.numpy(), threads=get_num_threads()
        )
    except _WRONG:
        return None
    return y


def group_norm(x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor | None:
    """Group normalization; torch refuses one sample with one value per group."""
    if not _taken(x, (weight, bias)) or x.numel() == groups:
        return None
    try:
        if _recorded("GroupNorm", x, weight, bias):
            return _apply_group(x, weight, bias, (groups, eps))
        y = empty_like(x)
        kernels.group_norm(
            x.numpy(), groups, _array(weight), _array(bias), eps, out=y.numpy(), threads=get_num_threads()
        )
    except _WRONG:
        return None
    return y


def rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None, eps: float | None) -> Tensor | None:
    """RMS normalization.

    What torch does in half precision without eps, or with parameters in single precision, depends on its version.
    """
    if not _taken(x, (weight,)):
        return None
    if x.dtype is _HALF and (eps is None or (weight is not None and weight.dtype is not _HALF)):
        return None
    try:
        if _recorded("RMSNorm", x, weight, None):
            return _apply_rms(x, weight, (shape, eps))
        y = empty_like(x)
        kernels.rms_norm(x.numpy(), shape, _array(weight), eps, out=y.numpy(), threads=get_num_threads())
    except _WRONG:
        return None
    return y
