"""The kernels as functions of autograd, for :mod:`streamnorm.nn.torch`, which says what they take.

Every function here returns None where the kernels do not take the call; then torch's own implementation has it.

Design: a call costs about as much as torch's own on a few kilobytes, so the types, the modes of torch that want to see
its operators and the flags are looked up one by one, cheap ones first, and what is wrong with the arguments is left to
the kernels to find (they write nothing then) and to torch to say. Where no gradient is asked for, the kernels are
called without autograd, and nothing is kept. Turned down: giving the running statistics to autograd, which would only
count them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, empty_like, get_num_threads, is_grad_enabled
from torch.autograd import Function, forward_ad
from torch.autograd.graph import increment_version
from torch.nn import Parameter
from torch.overrides import has_torch_function_unary

from . import functional as kernels

_KINDS = (Tensor, Parameter)  # exactly these: subclasses are torch's to treat
_HALF, _SINGLE = torch.float16, torch.float32
_DTYPES = frozenset((_HALF, _SINGLE, torch.float64))
_WRONG = (TypeError, ValueError)  # what the kernels raise, before they write anything

# What torch itself asks before it applies a Function or calls a module; public names are missing or slower.
_transforming = torch._C._are_functorch_transforms_active
_dispatch_modes = torch._C._len_torch_dispatch_stack
_tracing = torch._C._get_tracing_state


def _autocast_on_cpu() -> bool:
    return torch.is_autocast_enabled("cpu")


if not hasattr(torch.amp, "is_autocast_available"):  # before torch 2.4
    _autocast_on_cpu = torch.is_autocast_cpu_enabled


def _taken(x: Tensor, others: tuple[Tensor | None, ...]) -> bool:
    """Whether x and its parameters are what the kernels read, and nothing else wants to see the operator."""
    if type(x) not in _KINDS or has_torch_function_unary(x):
        return False
    dtype = x.dtype
    if dtype not in _DTYPES or not x.is_cpu or x.is_neg():
        return False
    mixed = None
    for other in others:
        if other is not None:
            if type(other) not in _KINDS or not other.is_cpu:
                return False
            if other.dtype is not dtype:
                if dtype is not _HALF or other.dtype is not _SINGLE or mixed is False:
                    return False
                mixed = True
            elif mixed:
                return False
            else:
                mixed = False
    return not (_transforming() or _dispatch_modes() or _tracing() is not None or _autocast_on_cpu())


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


class _Kept:
    """What backward needs beside the tensors that autograd watches. Statistics are the kernels' own arrays."""

    __slots__ = ("kernel", "layer", "options", "stats", "weight")

    def __init__(
        self,
        layer: str,
        kernel: Callable[..., Any],
        stats: tuple[np.ndarray, ...],
        weight: np.ndarray | None,
        options: dict[str, Any],
    ) -> None:
        self.layer = layer
        self.kernel = kernel
        self.stats = stats
        self.weight = weight
        self.options = options


def _gradients(dy: Tensor, x: Tensor, kept: _Kept, needs: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """The gradients of x, weight and, but for RMS normalization, bias; None for those that are not needed."""
    try:
        dy_array = (dy.resolve_neg() if dy.is_neg() else dy).numpy()
    except RuntimeError as error:  # a tensor without memory: the gradients of several outputs at once
        raise _refusal(kept.layer, "batched gradients") from error
    dx = empty_like(x)
    found = kept.kernel(
        dy_array, x.numpy(), *kept.stats, kept.weight, out=dx.numpy(), threads=get_num_threads(), **kept.options
    )
    grads: list[Tensor | None] = [dx if needs[0] else None]
    # Arrays as small as the parameters are the kernel's own: taking them over is cheaper than lending it tensors.
    for need, grad in zip(needs[1:], found[1:], strict=False):
        grads.append(torch.from_numpy(grad) if need else None)
    return tuple(grads)


class _Once(Function):
    """The gradients as a function of autograd's again, for create_graph=True: its own gradient is refused."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, x: Tensor, weight: Tensor | None, kept: _Kept, needs: Sequence[bool]) -> Any:
        ctx.layer = kept.layer
        return _gradients(dy, x, kept, needs)

    @staticmethod
    def backward(ctx: Any, *unused: Tensor) -> Any:
        raise _refusal(ctx.layer, "second derivatives")


class _Norm(Function):
    """The backward pass of all five. The last input of forward holds whatever has no gradient."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight = ctx.saved_tensors  # which raises if one was changed in place
        kept, needs = ctx.kept, ctx.needs_input_grad[:-1]
        if forward_ad._current_level >= 0:
            _refuse_tangents(kept.layer, dy, x, weight)
        if is_grad_enabled():
            return *_Once.apply(dy, x, weight, kept, needs), None
        return *_gradients(dy, x, kept, needs), None


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
        ctx.kept = _Kept("BatchNorm", kernels.batch_norm_backward, stats, w, options)
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
        ctx.kept = _Kept("InstanceNorm", kernels.instance_norm_backward, stats, w, options)
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
        ctx.kept = _Kept("LayerNorm", kernels.layer_norm_backward, stats, w, options)
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
        ctx.kept = _Kept("GroupNorm", kernels.group_norm_backward, stats, w, options)
        return y


class RMSNormFunction(_Norm):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, rest: tuple[Any, ...]) -> Tensor:
        shape, eps = rest
        y, w = empty_like(x), _array(weight)
        _, *stats = kernels.rms_norm_forward(x.numpy(), shape, w, eps, out=y.numpy(), threads=get_num_threads())
        ctx.save_for_backward(x, weight)
        ctx.kept = _Kept("RMSNorm", kernels.rms_norm_backward, stats, w, {"normalized_shape": shape})
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
