"""Frames that are transformed: the time over that of the kernel alone on the same columns."""

# Design: the kernel's own time is that of a call for each column that writes to a new array, as a transform must: the
# pages of an array of 80 MB that was never written cost more than the arithmetic. A column in chunks is a call for each
# of them, into one new array. Both sides give their results back before the next call, in the same process and in
# turns. The option turned down is a kernel that writes to arrays that are kept, which times what no caller can have.

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from . import data, turns
from .measure import WrongAnswer
from .norm_peers import Call

ROWS = data.ROWS
COLUMNS = 8
CHUNKS = 100  # of a frame that was put together from so many
TARGET = 1.1  # times the kernel's own time, at most
BUDGET_SECONDS = 20.0


@functools.cache
def values() -> dict[str, np.ndarray]:
    """Eight columns of float64."""
    rng = np.random.default_rng(7)
    return {f"c{j}": 1000 + 100 * rng.standard_normal(ROWS) for j in range(COLUMNS)}


def _polars() -> object:
    import polars

    return polars.DataFrame(values())


def _polars_chunked() -> object:
    import polars

    frame = polars.DataFrame(values())
    rows = -(-ROWS // CHUNKS)
    return polars.concat([frame.slice(start, rows) for start in range(0, ROWS, rows)], rechunk=False)


def _pandas() -> object:
    import pandas

    return pandas.DataFrame(values(), copy=False)


FRAMES: dict[str, Callable[[], object]] = {
    "polars": _polars,
    "polars_chunked": _polars_chunked,
    "pandas": _pandas,
    "pyarrow": lambda: pa.table(values()),
    "numpy": lambda: np.asfortranarray(np.stack(list(values().values()), axis=1)),
}


@functools.cache
def scaler() -> object:
    from streamnorm.scalers import StandardScaler

    return StandardScaler().fit(np.stack(list(values().values()), axis=1)[:100_000])


def _kernel(name: str) -> Callable[[], list[np.ndarray]]:
    """The kernel on the columns, in pieces as the frame has them."""
    from streamnorm._core import affine

    rows = -(-ROWS // CHUNKS) if name.endswith("_chunked") else ROWS
    pieces = [(start, min(start + rows, ROWS)) for start in range(0, ROWS, rows)]
    columns = [
        ([x[start:stop] for start, stop in pieces], m.center, m.scale)
        for x, m in zip(values().values(), scaler()._maps().values(), strict=True)
    ]

    def run() -> list[np.ndarray]:
        made = []
        for parts, center, scale in columns:
            out = np.empty(ROWS)
            for part, (start, stop) in zip(parts, pieces, strict=True):
                affine(part, center, scale, out=out[start:stop])
            made.append(out)
        return made

    return run


def calls(name: str) -> dict[str, Call]:
    """The kernel's call and the transform of a frame, whose answers are checked."""
    frame, fitted, kernel = FRAMES[name](), scaler(), _kernel(name)
    result = fitted.transform(frame)
    for j, expected in enumerate(kernel()):
        column = result[:, j] if name == "numpy" else result[f"c{j}"]
        if not np.array_equal(np.asarray(column), expected):
            raise WrongAnswer(f"column {j} of a transformed {name} differs from what the kernel makes of it")
    return {"kernel": Call(kernel), "transform": Call(lambda: fitted.transform(frame))}


def compare(name: str) -> dict[str, list[float]]:
    """Seconds of the kernel and of the transform, in turns."""
    return turns.alternate(calls(name), budget=BUDGET_SECONDS)


class Frames:
    """Time of a transform over that of the kernel alone, in the same run."""

    params = (list(FRAMES),)
    param_names = ("frame",)
    timeout = 600

    def track_time_over_kernel(self, name):
        taken = compare(name)
        return turns.ratio(taken["transform"], taken["kernel"])

    track_time_over_kernel.unit = "ratio"
