"""The files of examples/data are what the README beside them says; the flights are also tested with the engine."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits

FOLDER = Path(__file__).parents[1] / "examples" / "data"
WEATHER = FOLDER / "weather.parquet"
WEATHER_ROWS = 26_115


def test_weather_is_what_its_readme_says():
    table = pq.read_table(WEATHER)
    assert (table.num_rows, table.num_columns) == (WEATHER_ROWS, 15)
    assert table.schema.field("time_hour").type == pa.timestamp("ms", "UTC")
    assert 0.75 < table["wind_gust"].null_count / WEATHER_ROWS < 0.85
    assert table["temp"].null_count == 1
    assert WEATHER.stat().st_size < 250_000


def test_digits_are_what_their_readme_says():
    digits = load_digits()
    table = pq.read_table(FOLDER / "digits.parquet")
    assert table.schema.equals(pa.schema([("pixels", pa.list_(pa.uint8(), 64)), ("label", pa.uint8())]))
    pixels = table["pixels"].combine_chunks().flatten().to_numpy()
    assert np.array_equal(pixels.reshape(-1, 8, 8), digits.images)
    assert np.array_equal(table["label"].to_numpy(), digits.target)


def test_every_file_is_in_the_readme():
    told = (FOLDER / "README.md").read_text()
    missing = [path.name for path in FOLDER.glob("*.parquet") if f"`{path.name}`" not in told]
    assert not missing
