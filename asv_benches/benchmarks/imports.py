"""Time of ``import streamnorm`` in a new process that has NumPy and pyarrow already."""

import subprocess
import sys

from . import data

RUNS = 3 if data.QUICK else 9
CODE = """
import time
import numpy, pyarrow, pyarrow.parquet
start = time.perf_counter()
import {module}
print(1e3 * (time.perf_counter() - start))
"""
MODULES = ["streamnorm", "streamnorm.engine", "streamnorm.nn.regressor"]  # the latter two: what first use takes


def milliseconds(module: str, runs: int = RUNS) -> float:
    """The best of some processes: what a busy disk or processor adds is not the package's."""
    command = [sys.executable, "-c", CODE.format(module=module)]
    found = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(runs)]
    return min(map(float, found))


class Imports:
    params = (MODULES,)
    param_names = ("module",)

    def track_import_ms(self, module):
        return milliseconds(module)

    track_import_ms.unit = "ms"
