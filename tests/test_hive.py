"""Hive layouts: folders are kept, keys become columns and prune, and are not normalized unless they are named."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import streamnorm as sn
from streamnorm.errors import DataError

RTOL = 1e-12
CITIES = ("A b", "ü/ö", "50%", None)
YEARS = (2023, 2024)


def folder_of(city):
    return {None: "__HIVE_DEFAULT_PARTITION__", "A b": "A b", "ü/ö": "%C3%BC%2F%C3%B6", "50%": "50%25"}[city]


@pytest.fixture
def layout(tmp_path):
    """One file a folder, whose values tell where they lie: 1000 * year's index + 100 * city's index + row."""
    root = tmp_path / "data"
    for y, year in enumerate(YEARS):
        for c, city in enumerate(CITIES):
            folder = root / f"year={year}" / f"city={folder_of(city)}"
            folder.mkdir(parents=True)
            pq.write_table(pa.table({"x": [1000.0 * y + 100 * c + k for k in range(5)], "n": range(5)}),
                           folder / "part-0.parquet")  # fmt: skip
    return root


def names_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*.*"))


def test_folders_are_kept(layout, tmp_path):
    scaler = sn.normalize(layout, f"{tmp_path}/out/")
    assert list(scaler.summary_) == ["x", "n"]
    assert names_in(tmp_path / "out") == names_in(layout)
    one = next((tmp_path / "out").rglob("*.parquet"))
    assert pq.ParquetFile(one).schema_arrow.names == ["x", "n"]
    sn.inverse(tmp_path / "out", f"{tmp_path}/back/")
    for path in layout.rglob("*.parquet"):
        back = pq.ParquetFile(tmp_path / "back" / path.relative_to(layout)).read()
        np.testing.assert_allclose(back["x"], pq.ParquetFile(path).read()["x"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "arrows", "csv", "jsonl"])
def test_one_file_has_the_keys_as_columns_at_the_end(layout, tmp_path, suffix):
    sink = tmp_path / f"out.{suffix}"
    scaler = sn.normalize(layout, sink, state=tmp_path / "s.json")
    assert list(scaler.summary_) == ["x", "n"]
    read = sn.inverse(sink, None, scaler).read_all()
    assert read.schema.names == ["x", "n", "year", "city"]
    years, cities = read["year"].to_pylist(), read["city"].to_pylist()
    where = [(round(x) // 1000, round(x) % 1000 // 100) for x in read["x"].to_pylist()]
    assert years == [YEARS[y] for y, _ in where]
    assert cities == [CITIES[c] or ("" if suffix == "csv" else None) for _, c in where]


def test_a_reader_has_them_too_and_their_types(layout):
    schema = sn.transform(layout, None, sn.fit(layout)).schema
    assert schema.field("year").type == pa.int32() and schema.field("city").type == pa.string()


@pytest.mark.parametrize(
    ("values", "kind"),
    [(("1", "02"), pa.int32()), (("1", str(1 << 40)), pa.int64()), (("1", "x"), pa.string()),
     (("1.5", "2"), pa.string())],
)  # fmt: skip
def test_types_of_keys(tmp_path, values, kind):
    for value in values:
        (tmp_path / f"k={value}").mkdir()
        pq.write_table(pa.table({"x": [1.0]}), tmp_path / f"k={value}" / "a.parquet")
    assert sn.transform(tmp_path, None, sn.fit(tmp_path)).schema.field("k").type == kind


def test_where_prunes_folders(layout):
    for path in layout.rglob("year=2023/*/*.parquet"):
        path.write_bytes(b"this is not read")
    first = min(layout.rglob("*.parquet"))  # whose schema is
    pq.write_table(pa.table({"x": [0.0], "n": [0]}), first)
    scaler = sn.fit(layout, where="year = 2024 and city = 'A b'")
    assert scaler.summary_.rows == 5 and scaler.mean_[0] == 1002
    assert sn.fit(layout, where="not year < 2024 and city is null").mean_[0] == 1302
    assert sn.fit(layout, where="year > 2023 and n >= 3 and city in ('ü/ö', '50%')").summary_.rows == 4
    with pytest.raises(DataError, match="year=2023.*not a Parquet file"):
        sn.fit(layout, where="year <= 2024")


def test_keys_and_columns_in_one_condition(layout):
    read = sn.transform(layout, None, sn.fit(layout), where="year = 2023 or (city = '50%' and n = 4)").read_all()
    assert read.num_rows == 21 and read["year"].to_pylist() == [2023] * 20 + [2024]


def test_where_with_a_folder_as_the_sink(layout, tmp_path):
    sn.normalize(layout, f"{tmp_path}/out/", where="year = 2024")
    rows = {str(p.relative_to(tmp_path / "out")): pq.ParquetFile(p).metadata.num_rows
            for p in (tmp_path / "out").rglob("*.parquet")}  # fmt: skip
    assert {name[:9]: count for name, count in rows.items()} == {"year=2023": 0, "year=2024": 5}


def test_the_type_of_a_key_goes_by_all_folders_also_where_each_is_written_apart(tmp_path):
    for value in ("1", "x"):
        (tmp_path / "in" / f"k={value}").mkdir(parents=True)
        pq.write_table(pa.table({"x": [1.0, 2.0]}), tmp_path / "in" / f"k={value}" / "a.parquet")
    assert sn.transform(tmp_path / "in", f"{tmp_path}/out/", sn.fit(tmp_path / "in"), where="k = '1'") == 2


def test_keys_are_normalized_where_they_are_named(layout, tmp_path):
    assert list(sn.fit(layout, exclude="n").summary_) == ["x"]
    scaler = sn.normalize(layout, tmp_path / "o.parquet", columns=["x", "year"])
    assert list(scaler.summary_) == ["x", "year"]
    assert set(np.round(pq.read_table(tmp_path / "o.parquet")["year"], 9)) == {-1.0, 1.0}
    by_column = sn.fit(layout, {"year": "minmax"})
    assert by_column.summary_["year"].max == 2024


def test_other_formats_in_folders(tmp_path):
    for year in YEARS:
        (tmp_path / "in" / f"year={year}").mkdir(parents=True)
        pa.csv.write_csv(pa.table({"x": [year - 1.0]}), tmp_path / "in" / f"year={year}" / "a.csv")
    assert sn.fit(tmp_path / "in", where="year = 2024").mean_ == 2023
    sn.normalize(tmp_path / "in", f"{tmp_path}/out/", output_format="parquet")
    assert names_in(tmp_path / "out") == ["year=2023/a.parquet", "year=2024/a.parquet"]


def test_a_column_of_the_name_of_a_key_is_that_of_the_file(tmp_path):
    (tmp_path / "k=1").mkdir()
    pq.write_table(pa.table({"x": [1.0, 2.0], "k": [7, 8]}), tmp_path / "k=1" / "a.parquet")
    read = sn.transform(tmp_path, None, sn.fit(tmp_path, columns="x"), where="k = 7").read_all()
    assert read.to_pydict() == {"x": [-1.0], "k": [7]}


def test_folders_of_different_keys(tmp_path):
    tmp_path = tmp_path / "in"
    tmp_path.mkdir()
    for name in ("a=1", "b=1"):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"x": [1.0]}), tmp_path / name / "f.parquet")
    scaler = sn.normalize(tmp_path, f"{tmp_path.parent}/out/")
    for job in (
        lambda: sn.fit(tmp_path, where="a = 1"),
        lambda: sn.transform(tmp_path, None, scaler),
        lambda: sn.normalize(tmp_path, tmp_path / "one.parquet"),
    ):
        with pytest.raises(DataError, match=r"of the keys \['b'\], and .* of \['a'\]"):
            job()
