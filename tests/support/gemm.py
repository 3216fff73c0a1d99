"""The C matrix product, compiled by itself and called through ctypes, beside a plain loop that gives the same bits."""

import ctypes
import functools
import mmap
import os
import platform
import shlex
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1]
CSRC = TESTS.parent / "src" / "streamnorm" / "csrc"
BLOCK = 256  # SN_GEMM_BLOCK
PORTABLE, AVX2, AVX512 = range(3)
FLAGS = ["-std=gnu11", "-O2", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared"]


class Shape(ctypes.Structure):
    """``sn_gemm`` of gemm.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("m", "n", "k", "a_row", "a_col", "b_row", "b_col", "c_row")),
        ("add", ctypes.c_int),
        ("bias", ctypes.c_void_p),
        ("threads", ctypes.c_int),
    ]


def is_sanitized() -> bool:
    """Whether this process runs under the sanitizers."""
    return "libasan" in os.environ.get("LD_PRELOAD", "")


@functools.cache
def library() -> ctypes.CDLL | None:
    """The product as a shared library; None where there is no source or no C compiler."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    flags = [*FLAGS, *(["-g", "-fsanitize=address,undefined"] if is_sanitized() else [])]
    sources = [CSRC / "gemm.c", CSRC / "parallel.c", TESTS / "c" / "gemm_reference.c"]
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/gemm.so"
        try:
            subprocess.run(
                [*compiler, *flags, f"-I{CSRC}", *map(str, sources), "-o", path, "-lpthread", "-lm"],
                check=True,
                capture_output=True,
            )
        except FileNotFoundError:
            return None
        loaded = ctypes.CDLL(path)
    loaded.sn_gemm_workspace.restype = ctypes.c_size_t
    loaded.sn_gemm_workspace.argtypes = [ctypes.POINTER(Shape), ctypes.c_size_t]
    for suffix in ("f32", "f64"):
        pointers = [ctypes.c_void_p] * 3 + [ctypes.POINTER(Shape)]
        getattr(loaded, f"sn_gemm_{suffix}").argtypes = [*pointers, ctypes.c_void_p]
        getattr(loaded, f"sn_gemm_at_level_{suffix}").argtypes = [*pointers, ctypes.c_void_p, ctypes.c_int]
        getattr(loaded, f"reference_{suffix}").argtypes = [*pointers, ctypes.c_int]
        for name in (f"sn_gemm_{suffix}", f"sn_gemm_at_level_{suffix}", f"reference_{suffix}"):
            getattr(loaded, name).restype = None
    return loaded


def levels() -> Sequence[int]:
    """The instruction sets that can be tried here."""
    return range(library().sn_gemm_best_level() + 1)


def is_fused(level: int) -> bool:
    """Whether the code for an instruction set multiplies and adds with one rounding."""
    return level > PORTABLE or platform.machine().lower() in ("aarch64", "arm64")


def guarded(values: np.ndarray, *, at_end: bool) -> np.ndarray:
    """A copy of a contiguous array that ends (or begins) where a page that nobody may touch begins (or ends)."""
    page = mmap.PAGESIZE
    size = -(-max(values.nbytes, 1) // page) * page
    memory = mmap.mmap(-1, size + 2 * page)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for edge in (begin, begin + page + size):
        assert libc.mprotect(ctypes.c_void_p(edge), ctypes.c_size_t(page), 0) == 0
    offset = page + (size - values.nbytes if at_end else 0)
    copy = np.frombuffer(memory, values.dtype, values.size, offset).reshape(values.shape)
    copy[...] = values
    return copy


def shape_of(
    c: np.ndarray, a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None, *, add: bool = False, threads: int = 1
) -> Shape:
    """The description of one product of arrays of any strides; c's rows are contiguous."""
    width = c.itemsize
    strides = [stride // width for array in (a, b) for stride in array.strides]
    address = None if bias is None else bias.ctypes.data
    return Shape(a.shape[0], b.shape[1], a.shape[1], *strides, c.strides[0] // width, add, address, threads)


def suffix_of(c: np.ndarray) -> str:
    """The type's part of a function's name."""
    return "f32" if c.dtype == np.float32 else "f64"


def multiply(c, a, b, bias=None, *, add=False, threads=1, level=None, workspace=None) -> None:
    """Let c be a b + bias, or add a b to it; `level` None: as the library chooses."""
    shape = shape_of(c, a, b, bias, add=add, threads=threads)
    size = library().sn_gemm_workspace(ctypes.byref(shape), c.itemsize)
    if workspace is None:
        memory = np.empty(size + 64, np.uint8)
        workspace = memory[-memory.ctypes.data % 64 :]
    scratch = workspace.ctypes.data if size else None
    arguments = [c.ctypes.data, a.ctypes.data, b.ctypes.data, ctypes.byref(shape), scratch]
    if level is None:
        getattr(library(), f"sn_gemm_{suffix_of(c)}")(*arguments)
    else:
        getattr(library(), f"sn_gemm_at_level_{suffix_of(c)}")(*arguments, level)


def reference(c, a, b, bias=None, *, add=False, fused=True) -> None:
    """The same by a plain loop."""
    shape = shape_of(c, a, b, bias, add=add)
    arguments = [c.ctypes.data, a.ctypes.data, b.ctypes.data, ctypes.byref(shape)]
    getattr(library(), f"reference_{suffix_of(c)}")(*arguments, fused)
