"""Normalization layers as tests see them: one record a layer, whatever the functions and their arguments are called."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamnorm.reference.norms import FLOAT32_TOLERANCE, FLOAT64_TOLERANCE

FLOAT16_TOLERANCE = 2.0**-10  # results are rounded once, and the neighbours of a half are that far
TOLERANCES = {"f2": FLOAT16_TOLERANCE, "f4": FLOAT32_TOLERANCE, "f8": FLOAT64_TOLERANCE}

# Two right means of the same doubles may differ by an ulp of the values, and rstd magnifies that.
ULPS = 8 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Layer:
    """A function of ``streamnorm.nn.functional`` and what it is called with.

    Parameters
    ----------
    op : str
        ``"batch_norm"`` and so on.
    shape : tuple of int
        Of x.
    own : bool
        Whether x is normalized by its own statistics, or by the running ones.
    groups : int
        Of group_norm.
    axes : int
        How many trailing axes layer_norm and rms_norm normalize.
    channel_axis : int
        Of the others.
    """

    op: str
    shape: tuple[int, ...]
    own: bool = True
    groups: int = 1
    axes: int = 1
    channel_axis: int = 1

    def __str__(self) -> str:
        words = [self.op, "x".join(map(str, self.shape))]
        words += [] if self.own else ["given"]
        words += [f"groups{self.groups}"] if self.op == "group_norm" else []
        words += [f"axes{self.axes}"] if self.trailing and self.axes > 1 else []
        words += [f"channel_axis{self.channel_axis}"] if self.channel_axis != 1 else []
        return "-".join(words)

    @property
    def trailing(self) -> bool:
        return self.op in ("layer_norm", "rms_norm")

    @property
    def follows(self) -> bool:
        """Whether there may be running statistics."""
        return self.op == "batch_norm" or (self.op == "instance_norm" and len(self.shape) > 2)

    @property
    def channels(self) -> int:
        return self.shape[self.channel_axis]

    @property
    def parameter(self) -> tuple[int, ...]:
        """The shape of weight and bias."""
        return self.shape[-self.axes :] if self.trailing else (self.channels,)

    @property
    def statistics(self) -> tuple[int, ...]:
        """The shape of mean and rstd."""
        if self.trailing:
            return self.shape[: -self.axes]
        if self.op == "batch_norm":
            return (self.channels,)
        if self.op == "group_norm":
            return (self.shape[0], self.groups)
        return self.shape[:1] if len(self.shape) == 2 else (self.shape[0], self.channels)

    @property
    def group_size(self) -> int:
        return math.prod(self.shape) // max(math.prod(self.statistics), 1)

    @property
    def options(self) -> dict[str, Any]:
        """The arguments that forward and backward have in common."""
        if self.trailing:
            return {"normalized_shape": self.parameter}
        own = {"batch_norm": {"training": self.own}, "instance_norm": {"use_input_stats": self.own}}
        return {**own.get(self.op, {"num_groups": self.groups}), "channel_axis": self.channel_axis}


@dataclass
class Values:
    """What a layer is given; running statistics are None where a layer has none."""

    x: np.ndarray
    dy: np.ndarray
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    running_mean: np.ndarray | None = None
    running_var: np.ndarray | None = None


def values_for(
    layer: Layer,
    dtype: Any = np.float64,
    *,
    affine: bool = True,
    offset: float = 0.0,
    scale: float = 1.0,
    seed: int = 0,
    parameter_dtype: Any = None,
) -> Values:
    """Random values for a layer, the same each time."""
    rng = np.random.default_rng([seed, *layer.shape])
    kind = dtype if parameter_dtype is None else parameter_dtype
    x, dy = rng.normal(size=(2, *layer.shape))
    v = Values((x * scale + offset).astype(dtype), dy.astype(dtype))
    if affine:
        v.weight = rng.uniform(-2, 2, layer.parameter).astype(kind)
        if layer.op != "rms_norm":
            v.bias = rng.normal(size=layer.parameter).astype(kind)
    if layer.follows:
        v.running_mean = rng.normal(offset, scale, layer.channels).astype(kind)
        v.running_var = (rng.uniform(0.5, 2, layer.channels) * scale**2).astype(kind)
    return v


def forward(module: Any, layer: Layer, v: Values, **options: Any) -> tuple[Any, ...]:
    """(y, mean, rstd), or (y, rstd) of rms_norm; running statistics in v are updated in place."""
    arguments = {"weight": v.weight, "bias": v.bias, **layer.options, **options}
    if layer.op == "rms_norm":
        del arguments["bias"]
    if layer.follows:
        arguments = {"running_mean": v.running_mean, "running_var": v.running_var, **arguments}
    return getattr(module, f"{layer.op}_forward")(v.x, **arguments)


def backward(module: Any, layer: Layer, v: Values, statistics: Any, **options: Any) -> tuple[Any, ...]:
    """(dx, dweight, dbias), or (dx, dweight) of rms_norm."""
    arguments = {**layer.options, **options}
    return getattr(module, f"{layer.op}_backward")(v.dy, v.x, *statistics, v.weight, **arguments)


def run(module: Any, layer: Layer, v: Values, *, eps: float | None = None, **options: Any) -> dict[str, np.ndarray]:
    """All that a layer computes, by name, with running statistics of its own."""
    running = {name: getattr(v, name) for name in ("running_mean", "running_var")}
    v = Values(v.x, v.dy, v.weight, v.bias, **{k: None if r is None else r.copy() for k, r in running.items()})
    more = {} if eps is None else {"eps": eps}
    y, *statistics = forward(module, layer, v, **more, **options)
    names = ("rstd",) if layer.op == "rms_norm" else ("mean", "rstd")
    found = {"y": y, **dict(zip(names, statistics, strict=True))}
    gradients = backward(module, layer, v, statistics, **options)
    found |= dict(zip(("dx", "dweight", "dbias"), gradients, strict=False))
    found |= {"running_mean": v.running_mean, "running_var": v.running_var}
    return {name: value for name, value in found.items() if value is not None}


def error(found: Any, right: Any, scale: float | None = None) -> float:
    """The largest difference, over the largest magnitude of what is right (or over another scale)."""
    found, right = np.asarray(found, dtype=np.float64), np.asarray(right, dtype=np.float64)
    assert found.shape == right.shape
    if right.size == 0:
        return 0.0
    scale = np.abs(right).max() if scale is None else scale
    return float(np.abs(found - right).max() / scale) if scale else float(np.abs(found).max())


def scale_of_dx(layer: Layer, v: Values, rstd: np.ndarray) -> float | None:
    """What an error of dx is held against: dx itself, unless a group is so small that its parts cancel.

    xhat is (1, -1) for any two values, up to eps, and dx is then what is left of g once all but a 1e-5th of it is
    taken off; rms_norm has the same with one value. No other way to compute it has fewer errors than eps of g.
    """
    if v.dy.size and layer.own and layer.group_size <= (1 if layer.op == "rms_norm" else 2):
        weight = 1.0 if v.weight is None else np.abs(v.weight).max()
        return float(np.abs(v.dy).max() * weight * np.max(rstd))
    return None


def assert_agree(layer: Layer, v: Values, found: dict, right: dict, *, condition: float = 0.0) -> None:
    """Each result has the right shape and dtype, and values within the tolerance of its dtype.

    `condition` is the largest magnitude over the smallest standard deviation, where that is large.
    """
    assert found.keys() == right.keys(), layer
    for name, expected in right.items():
        result = found[name]
        assert result.shape == expected.shape, (str(layer), name, result.shape, expected.shape)
        assert result.dtype.newbyteorder("=") == expected.dtype.newbyteorder("="), (str(layer), name, result.dtype)
        tolerance = max(TOLERANCES[expected.dtype.str[1:]], ULPS * condition)
        if name in ("y", "dx", "dweight", "dbias") and v.x.dtype.itemsize < 8:
            tolerance = max(tolerance, FLOAT32_TOLERANCE)  # the arithmetic is that of x
        off = error(result, expected, scale_of_dx(layer, v, right["rstd"]) if name == "dx" else None)
        assert off <= tolerance, f"{layer}: {name} is off by {off:.2g}, more than {tolerance:.2g}"
