"""The data of this folder as the programs train on it: parted into train, validation and test, scaled by the first."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import streamnorm as sn

DATA = Path(__file__).resolve().parent / "data"
SHARES = 0.6, 0.8  # where validation and test begin
DIGITS, SHEETS = 1797, (1029, 1415)
# Known when a flight leaves; the time in the air and that of arrival are not, and the year is the same in all rows.
KNOWN_AT_DEPARTURE = ["month", "day", "sched_dep_time", "sched_arr_time", "dep_delay", "distance"]


class Part(NamedTuple):
    """Rows, and their targets as they are trained on."""

    x: np.ndarray
    y: np.ndarray


class Parts(NamedTuple):
    """Train on the first, choose by the second, and look at the third last of all.

    An error of the targets times `scale` is one in `unit`. `naive` is the error of validation and test for an answer
    that needs no training: the mean of the training part, or its most frequent class, unless it is named otherwise.
    """

    train: Part
    validation: Part
    test: Part
    unit: str
    scale: float
    naive: tuple[float, float]
    naive_name: str = "one answer to all"


def parted(x: list[np.ndarray], y: list[np.ndarray], unit: str) -> Parts:
    """Numbers to predict, of train, validation and test; their scaling is fitted on the first, too."""
    mean, std = y[0].mean(), y[0].std()
    parts = [Part(rows, (target - mean) / std) for rows, target in zip(x, y, strict=True)]
    naive = [float(np.sqrt(np.mean((target - mean) ** 2))) for target in y[1:]]
    return Parts(*parts, unit, float(std), (naive[0], naive[1]))


def cut(rows: Any) -> list[Any]:
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


def texts(rows: int | None = None) -> tuple[Parts, int]:
    """Minutes in the air from carrier and airports, read as a text of three words; and how many words there are."""
    table = pq.read_table(DATA / "flights.parquet", columns=["carrier", "origin", "dest", "air_time"]).drop_null()
    table = table.take(np.random.default_rng(0).permutation(len(table))[:rows])
    words = pc.binary_join_element_wise(*(table[name] for name in ("carrier", "origin", "dest")), " ")
    parts = cut(words)
    vocabulary = sn.Vocabulary().fit(parts[0])
    codes = [vocabulary.transform(part, length=3) for part in parts]
    minutes = [part.to_numpy().astype(np.float64) for part in cut(table["air_time"])]
    return parted(codes, minutes, "minutes"), len(vocabulary.tokens_)


WEATHER = ["temp", "dewp", "humid", "wind_speed", "visib"]
AUTUMN, WINTER = datetime(2013, 8, 1, tzinfo=UTC), datetime(2013, 10, 15, tzinfo=UTC)


def weather(scaler: str | None = "standard", stride: int = 2) -> Parts:
    """The temperature six hours ahead from a day of weather: train until August, choose until mid-October, then test.

    The naive answer is that it stays as warm as it is.
    """
    table = pq.read_table(DATA / "weather.parquet")
    until_winter = table.filter(pc.field("time_hour") < WINTER)
    cutting = {"target": "temp", "length": 24, "horizon": 6, "stride": stride, "time": "time_hour", "group": "origin"}
    cutting |= {"max_step": timedelta(hours=1), "shuffle": False}
    known = sn.Windows(until_winter, WEATHER, split=AUTUMN, scaler=scaler, target_scaler="standard", **cutting)
    goal = known.target_scaler_
    later = sn.Windows(table, WEATHER, split=WINTER, scaler=known.scaler_, target_scaler=goal, **cutting)
    parts = [Part(*stream.arrays()) for stream in (known.train, known.validation, later.validation)]
    naive = []
    for part in parts[1:]:
        now = part.x[:, -1, :].astype(np.float64)
        now = (now if known.scaler_ is None else known.scaler_.inverse_transform(now))[:, 0]
        naive.append(float(np.sqrt(np.mean((now - goal.inverse_transform(part.y.reshape(-1, 1))[:, 0]) ** 2))))
    return Parts(*parts, "°F", float(goal.scale_[0]), (naive[0], naive[1]), "as warm as now")


def write_digits(folder: Path, rows: slice = slice(None)) -> None:
    """Digits as images of 8 x 8 pixels, in a folder for each of the ten. It needs Pillow, which others do not."""
    from PIL import Image

    table = pq.read_table(DATA / "digits.parquet")
    pixels = table["pixels"].combine_chunks().flatten().to_numpy().reshape(-1, 8, 8)
    for number, (image, label) in enumerate(zip(pixels[rows], table["label"].to_numpy()[rows], strict=True)):
        path = folder / str(label) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.minimum(image.astype(int) * 16, 255).astype(np.uint8)).save(path)


def digits(scaler: str | None = "unit", rows: int | None = None) -> Parts:
    """Which digit an image shows, in the order of the source.

    That begins anew with 0 to 9, three times over, every 130 digits or so, as if sheet by sheet. The parts are cut
    where it does, so that no such sheet is in two of them.
    """
    parts = []
    numbered = cut(np.arange(rows)) if rows else np.split(np.arange(DIGITS), SHEETS)
    with tempfile.TemporaryDirectory() as folder:
        for name, numbers in zip(("train", "validation", "test"), numbered, strict=True):
            write_digits(Path(folder, name), slice(numbers[0], numbers[-1] + 1))
            images = sn.ImageFolder(Path(folder, name), size=(8, 8), color="gray", scaler=scaler)
            parts.append(Part(*images.arrays()[:2]))
    most = np.bincount(parts[0].y).argmax()
    naive = [100 * float(np.mean(part.y != most)) for part in parts[1:]]
    return Parts(*parts, "% wrong", 100.0, (naive[0], naive[1]))
