"""Compile the core: cythonize ``_core.pyx`` and link the plain C kernels of ``csrc/`` into it.

Environment
-----------
STREAMNORM_SANITIZE=1
    Build with AddressSanitizer and UndefinedBehaviorSanitizer (``make sanitize`` does the rest).
STREAMNORM_DEBUG=1
    Build with symbols and little optimization (``make debug``).
STREAMNORM_WERROR=1
    Turn compiler warnings into errors.
"""

import os
from glob import glob

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

SRC = "src/streamnorm"

# Design: -ffp-contract=off, because the fused multiply-adds that a wide target would use and the portable one
# would not give other bits; a result must not depend on the processor. No -march=native (a wheel travels; the
# kernels choose at run time) and no -ffast-math (NaN is data). -g0, because Debian's and python.org's interpreters
# hand their own -g on, and the debug symbols would be four fifths of a wheel; turned down: stripping by the linker,
# whose flag differs between systems.
C_FLAGS = [
    "-std=gnu11",
    "-O3",
    "-g0",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
]
WARNINGS = ["-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-parameter"]
flags, link = C_FLAGS + WARNINGS, []
# Builds with other flags get other folders: setuptools looks at times alone and would take the objects of one for the
# other's.
build_base = "build"
if os.environ.get("STREAMNORM_DEBUG"):
    flags += ["-g", "-Og"]
    build_base += "/debug"
if os.environ.get("STREAMNORM_WERROR"):
    flags.append("-Werror")
    build_base += "/werror"
if os.environ.get("STREAMNORM_SANITIZE"):
    sanitize = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g", "-O1", "-DSN_NO_CLONES"]
    flags, link = flags + sanitize, link + sanitize[:1]
    build_base += "/sanitize"


def extension(name, sources, *, numpy_headers=False):
    """One compiled module: its Cython source and the C kernels that it binds."""
    return Extension(
        f"streamnorm.{name}",
        sources=[f"{SRC}/{source}" for source in sources],
        depends=sorted(glob(f"{SRC}/csrc/*.h")),
        include_dirs=[f"{SRC}/csrc", *([numpy.get_include()] if numpy_headers else [])],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")] if numpy_headers else [],
        extra_compile_args=flags,
        extra_link_args=link,
    )


# Design: several extensions, each linked with the kernels that it binds, none with another. The Parquet ones stand
# apart from the core, which has no business with a file format.
SKETCH_C = sorted(os.path.relpath(path, SRC) for path in glob(f"{SRC}/csrc/kll*.c")) + ["csrc/weights.c"]
CORE_C = ["csrc/affine.c", "csrc/column.c", "csrc/exact.c", "csrc/load.c", "csrc/moments.c", "csrc/select.c"]
CORE_C += ["csrc/column_weighted.c", "csrc/distinct.c", "csrc/tally.c", "csrc/weighted_moments.c"]
NN_PARTS = ("conv", "gemm", "lstm", "network", "norms", "pool")
NN_C = sorted(os.path.relpath(path, SRC) for part in NN_PARTS for path in glob(f"{SRC}/csrc/{part}*.c"))
NN_C += ["csrc/parallel.c"]
EXTENSIONS = [
    extension("_core", ["_core.pyx", *CORE_C, *SKETCH_C]),
    extension("_sketch", ["_sketch.pyx", *SKETCH_C]),
    extension("_nn", ["_nn.pyx", *NN_C], numpy_headers=True),
    extension("_rows", ["_rows.pyx", "csrc/load.c", "csrc/matrix.c", "csrc/pixels.c"]),
    extension("_unit", ["_unit.pyx", "csrc/unit.c"]),
    extension("parquet._pages", ["parquet/_pages.pyx", "csrc/pages.c"]),
    extension("parquet._thrift", ["parquet/_thrift.pyx"]),
]

setup(
    ext_modules=cythonize(
        EXTENSIONS,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "embedsignature": True,
            "freethreading_compatible": True,
        },
        build_dir="build/cython",
    ),
    options={"build": {"build_base": build_base}},
)
