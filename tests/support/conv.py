"""The C convolution, compiled by itself and called through ctypes, so that each instruction set can be tried."""

import ctypes
import functools
import os
import shlex
import subprocess
import sysconfig
import tempfile

import numpy as np

from . import gemm


class Conv(ctypes.Structure):
    """``sn_conv`` of conv.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("samples", "height", "width", "channels")),
        *((name, ctypes.c_int64) for name in ("filters", "kernel_height", "kernel_width")),
        *((name, ctypes.c_int64) for name in ("stride_height", "stride_width", "top", "bottom", "left", "right")),
        ("threads", ctypes.c_int),
    ]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The kernels as a shared library; None where there is no source or no C compiler."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    # With the sanitizers, what -O2 makes of loops as long as these takes a compiler minutes.
    flags = [*gemm.FLAGS, *(["-O1", "-g", "-fsanitize=address,undefined"] if gemm.is_sanitized() else [])]
    sources = [gemm.CSRC / name for name in ("conv.c", "gemm.c", "parallel.c")]
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/conv.so"
        command = [*compiler, *flags, f"-I{gemm.CSRC}", *map(str, sources), "-o", path, "-lpthread"]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except FileNotFoundError:
            return None
        loaded = ctypes.CDLL(path)
    loaded.sn_conv_workspace.restype = ctypes.c_size_t
    return loaded


def about(x: np.ndarray, weight: np.ndarray, strides: tuple, padding: tuple, threads: int = 1) -> Conv:
    """The description of one convolution."""
    kernel_height, kernel_width, _, filters = weight.shape
    return Conv(*x.shape, filters, kernel_height, kernel_width, *strides, *padding[0], *padding[1], threads)


def _address(array: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def _run(name: str, arrays: list, conv: Conv, backward: bool, level: int, at_end: bool) -> None:
    width = arrays[0].itemsize
    size = library().sn_conv_workspace(ctypes.byref(conv), ctypes.c_size_t(width), int(backward))
    assert size % 64 == 0 and size > 0
    workspace = gemm.guarded(np.full(size, 255, np.uint8), at_end=at_end)  # NaN, where it is read unwritten
    suffix = "f32" if width == 4 else "f64"
    function = getattr(library(), f"sn_conv_{name}_at_level_{suffix}")
    function(*map(_address, arrays), ctypes.byref(conv), _address(workspace), level)


def forward(x, weight, bias, strides, padding, *, level, threads=1, at_end=True) -> np.ndarray:
    """y, from arrays that end, or begin, where a page that nobody may touch begins, or ends."""
    conv = about(x, weight, strides, padding, threads)
    shape = [
        (size + sum(zeros) - kernel) // stride + 1
        for size, zeros, kernel, stride in zip(x.shape[1:3], padding, weight.shape[:2], strides, strict=True)
    ]
    y = np.full((len(x), *shape, weight.shape[3]), np.nan, x.dtype)
    arrays = [gemm.guarded(array, at_end=at_end) for array in (y, x, weight, bias)]
    _run("forward", arrays, conv, False, level, at_end)
    return arrays[0]


def backward(dy, x, weight, strides, padding, *, level, threads=1, at_end=True) -> tuple[np.ndarray, ...]:
    """dx, dweight and dbias, in the same way."""
    conv = about(x, weight, strides, padding, threads)
    results = [np.full(shape, np.nan, x.dtype) for shape in (x.shape, weight.shape, weight.shape[3:])]
    arrays = [gemm.guarded(array, at_end=at_end) for array in (*results, dy, x, weight)]
    _run("backward", arrays, conv, True, level, at_end)
    return tuple(arrays[:3])
