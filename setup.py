"""Compile the core: cythonize ``_core.pyx`` and link the plain C kernels of ``csrc/`` into it.

Environment
-----------
STREAMNORM_SANITIZE=1
    Build with AddressSanitizer and UndefinedBehaviorSanitizer (``make sanitize`` does the rest).
STREAMNORM_WERROR=1
    Turn compiler warnings in our own C into errors.
"""

import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

SRC = "src/streamnorm"

# Design: -ffp-contract=off, because the fused multiply-adds that a wide target would use and the portable one
# would not give other bits; a result must not depend on the processor. No -march=native (a wheel travels; the
# kernels choose at run time) and no -ffast-math (NaN is data).
C_FLAGS = ["-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
WARNINGS = ["-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-parameter"]
flags, link = C_FLAGS + WARNINGS, []
if os.environ.get("STREAMNORM_WERROR"):
    flags.append("-Werror")
if os.environ.get("STREAMNORM_SANITIZE"):
    sanitize = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g", "-O1", "-DSN_NO_CLONES"]
    flags, link = flags + sanitize, link + sanitize[:1]

core = Extension(
    "streamnorm._core",
    sources=[f"{SRC}/_core.pyx", *sorted(set(glob(f"{SRC}/csrc/*.c")) - {f"{SRC}/csrc/pages.c"})],
    depends=sorted(glob(f"{SRC}/csrc/*.h")),
    include_dirs=[f"{SRC}/csrc"],
    extra_compile_args=flags,
    extra_link_args=link,
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
)

# Design: the Parquet extensions stand apart from the core, which has no business with a file format and need not be
# loaded to write one (nor they to fit).
parquet_pages = Extension(
    "streamnorm.parquet._pages",
    sources=[f"{SRC}/parquet/_pages.pyx", f"{SRC}/csrc/pages.c"],
    depends=[f"{SRC}/csrc/pages.h", f"{SRC}/csrc/sn_common.h"],
    include_dirs=[f"{SRC}/csrc"],
    extra_compile_args=flags,
    extra_link_args=link,
)
parquet_thrift = Extension(
    "streamnorm.parquet._thrift",
    sources=[f"{SRC}/parquet/_thrift.pyx"],
    extra_compile_args=flags,
    extra_link_args=link,
)

setup(
    ext_modules=cythonize(
        [core, parquet_pages, parquet_thrift],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "embedsignature": True,
            "freethreading_compatible": True,
        },
        build_dir="build/cython",
    )
)
