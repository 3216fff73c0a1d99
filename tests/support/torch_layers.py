"""torch's normalization layers and ours in pairs. Only with torch: a test imports it after ``importorskip``."""

import pytest
import torch
from torch import nn

import streamnorm.nn.torch as st
from streamnorm.nn import functional as kernels

HAS_RMS = hasattr(nn, "RMSNorm")

# Name, arguments, and the shape of an input; sizes are distinct primes where they can be.
CASES = {
    "batch1d-2": ("BatchNorm1d", (5,), {}, (7, 5)),
    "batch1d-3": ("BatchNorm1d", (5,), {}, (7, 5, 3)),
    "batch2d": ("BatchNorm2d", (3,), {}, (2, 3, 5, 7)),
    "batch2d-cumulative": ("BatchNorm2d", (3,), {"momentum": None}, (2, 3, 5, 7)),
    "batch2d-untracked": ("BatchNorm2d", (3,), {"track_running_stats": False}, (2, 3, 5, 7)),
    "batch2d-plain": ("BatchNorm2d", (3,), {"affine": False, "eps": 1e-3}, (2, 3, 5, 7)),
    "batch3d": ("BatchNorm3d", (3,), {"momentum": 0.3}, (2, 3, 5, 1, 7)),
    "instance1d": ("InstanceNorm1d", (3,), {}, (2, 3, 5)),
    "instance1d-unbatched": ("InstanceNorm1d", (3,), {"affine": True}, (3, 5)),
    "instance2d": ("InstanceNorm2d", (3,), {"affine": True}, (2, 3, 5, 7)),
    "instance2d-tracked": ("InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True}, (2, 3, 5, 7)),
    "instance2d-fixed": ("InstanceNorm2d", (3,), {"momentum": None, "track_running_stats": True}, (2, 3, 5, 7)),
    "instance3d": ("InstanceNorm3d", (3,), {}, (2, 3, 5, 1, 7)),
    "layer": ("LayerNorm", (5,), {}, (2, 3, 5)),
    "layer-2": ("LayerNorm", ((3, 5),), {}, (2, 3, 5)),
    "layer-all": ("LayerNorm", ((2, 3, 5),), {}, (2, 3, 5)),
    "layer-biasless": ("LayerNorm", (5,), {"bias": False}, (2, 3, 5)),
    "layer-plain": ("LayerNorm", (5,), {"elementwise_affine": False}, (2, 3, 5)),
    "group": ("GroupNorm", (2, 6), {}, (3, 6, 5, 7)),
    "group-vectors": ("GroupNorm", (2, 6), {}, (3, 6)),
    "group-plain": ("GroupNorm", (3, 6), {"affine": False}, (2, 6, 5)),
}
if HAS_RMS:
    CASES["rms"] = ("RMSNorm", (5,), {}, (2, 3, 5))
    CASES["rms-2"] = ("RMSNorm", ((3, 5),), {"eps": 1e-2}, (2, 3, 5))
    CASES["rms-plain"] = ("RMSNorm", (5,), {"elementwise_affine": False}, (2, 3, 5))
every_case = pytest.mark.parametrize("case", CASES)


def pair(case, dtype=torch.float64):
    """torch's layer with parameters and buffers of no special values, and ours with the same."""
    name, arguments, options, _ = CASES[case]
    torch.manual_seed(5)
    theirs = getattr(nn, name)(*arguments, **options, dtype=dtype)
    ours = getattr(st, name)(*arguments, **options, dtype=dtype)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.uniform_(-2, 2)
    if getattr(theirs, "running_mean", None) is not None:
        theirs.running_mean.uniform_(-1, 1)
        theirs.running_var.uniform_(0.5, 2)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def data(case, dtype=torch.float64, seed=11):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(CASES[case][-1], dtype=torch.float64, generator=generator).mul_(3).add_(1).to(dtype)


def spy_on_kernels(monkeypatch):
    """The names of the kernels that are called from now on, as a list that grows."""
    called = []

    def spy(name, kernel):
        def wrapper(*args, **kwargs):
            called.append(name)
            return kernel(*args, **kwargs)

        return wrapper

    for norm in ("batch_norm", "layer_norm", "instance_norm", "group_norm", "rms_norm"):
        for name in (norm, f"{norm}_forward", f"{norm}_backward"):
            monkeypatch.setattr(kernels, name, spy(name, getattr(kernels, name)))
    return called


def close(ours, theirs, tolerance):
    if theirs is None:
        assert ours is None
        return
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=tolerance, atol=tolerance)
