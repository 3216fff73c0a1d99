"""The data of this folder as the programs train on it: parted into train, validation and test, scaled by the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DATA = Path(__file__).resolve().parent / "data"
SHARES = 0.6, 0.8  # where validation and test begin
# Known when a flight leaves; the time in the air and that of arrival are not, and the year is the same in all rows.
KNOWN_AT_DEPARTURE = ["month", "day", "sched_dep_time", "sched_arr_time", "dep_delay", "distance"]


class Part(NamedTuple):
    """Rows, and their targets as they are trained on."""

    x: np.ndarray
    y: np.ndarray


class Parts(NamedTuple):
    """Train on the first, choose by the second, and look at the third last of all.

    An error of the targets times `scale` is one in `unit`. `naive` is the error of validation and test if the mean of
    the training part, or its most frequent class, is the answer to all.
    """

    train: Part
    validation: Part
    test: Part
    unit: str
    scale: float
    naive: tuple[float, float]


def parted(x: list[np.ndarray], y: list[np.ndarray], unit: str) -> Parts:
    """Numbers to predict, of train, validation and test; their scaling is fitted on the first, too."""
    mean, std = y[0].mean(), y[0].std()
    parts = [Part(rows, (target - mean) / std) for rows, target in zip(x, y, strict=True)]
    naive = [float(np.sqrt(np.mean((target - mean) ** 2))) for target in y[1:]]
    return Parts(*parts, unit, float(std), (naive[0], naive[1]))


def cut(rows: np.ndarray | pa.Table) -> list[Any]:
    """The three parts of rows, in their order."""
    first, second = (int(share * len(rows)) for share in SHARES)
    return [rows[:first], rows[first:second], rows[second:]]


def flights(scaler: Any = None, rows: int | None = None) -> Parts:
    """Delay on arrival from what is known at departure, in an order drawn once; scaler None: inputs as they are."""
    table = pq.read_table(DATA / "flights.parquet", columns=[*KNOWN_AT_DEPARTURE, "arr_delay"]).drop_null()
    values = np.column_stack([column.cast(pa.float64()).to_numpy() for column in table.columns])
    parts = cut(values[np.random.default_rng(0).permutation(len(values))[:rows]])
    inputs = [part[:, :-1] for part in parts]
    if scaler is not None:
        scaler.fit(inputs[0])
        inputs = [scaler.transform(part) for part in inputs]
    return parted(inputs, [part[:, -1] for part in parts], "minutes")
