"""Normalizer: rows and lists of unit length, against scikit-learn, the twin and exact arithmetic."""

from decimal import Decimal, localcontext

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamnorm as sn
from streamnorm import reference
from streamnorm._unit import unit_rows

NORMS = ("l2", "l1", "max")
UNIT = 2.0**-53
DENORMAL = 5e-324
SEED = 20261123

rng = np.random.default_rng(SEED)
HOSTILE = {
    "normal": rng.normal(size=(7, 13)),
    "huge": rng.normal(size=(5, 9)) * 4e307,
    "largest": np.full((2, 40), np.finfo(np.float64).max),
    "tiny": rng.normal(size=(5, 9)) * 1e-300,
    "denormal": np.arange(1, 28).reshape(3, 9) * DENORMAL,
    "mixed": rng.normal(size=(6, 11)) * 10.0 ** rng.integers(-300, 300, (6, 11)),
    "edges": np.array([[2.0**480, 2.0**-480], [2.0**481, 1.0], [2.0**-481, 2.0**-500], [2.0**-1074, 2.0**-1074]]),
    "zeros": np.array([[0.0, -0.0, 0.0], [0.0, 2.0, 0.0]]),
    "one_column": np.array([[3.0], [-2.0], [0.0]]),
    "long": rng.normal(size=(2, 2003)),
}


def bound(n: int) -> float:
    """What is documented of a norm, and one rounding of the quotient."""
    return (n / 8 + 10) * UNIT + UNIT


def exact_rows(x: np.ndarray, norm: str) -> list[list[Decimal]]:
    """The true results to 60 digits."""
    with localcontext(prec=700) as context:
        rows = []
        for row in x.tolist():
            values = [Decimal(value) for value in row if value == value]
            sizes = [abs(value) for value in values]
            length = {
                "l2": lambda sizes=sizes: sum(size * size for size in sizes).sqrt(context),
                "l1": lambda sizes=sizes: sum(sizes),
                "max": lambda sizes=sizes: max(sizes),
            }[norm]()
            rows.append([value / length if length else value for value in values])
        return rows


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", HOSTILE)
def test_results_are_within_the_stated_bound(name, norm):
    x = HOSTILE[name]
    result = sn.Normalizer(norm).fit_transform(x)
    with localcontext(prec=60):
        for got, true in zip(result.tolist(), exact_rows(x, norm), strict=True):
            for y, value in zip(got, true, strict=True):
                error = abs(Decimal(y) - value)
                assert error <= abs(value) * Decimal(bound(x.shape[1])) + Decimal(DENORMAL), (name, norm, y, value)


@pytest.mark.parametrize("norm", NORMS)
def test_float32_is_rounded_once(norm):
    x = (rng.normal(size=(9, 31)) * 1e38 * 10.0 ** rng.integers(-70, 0, (9, 31))).astype(np.float32)
    result = sn.Normalizer(norm).fit_transform(x)
    assert result.dtype == np.float32
    for got, true in zip(result, exact_rows(x.astype(np.float64), norm), strict=True):
        wanted = np.array([float(value) for value in true])
        assert np.all(np.abs(got - wanted) <= 0.501 * np.abs(np.spacing(wanted.astype(np.float32)).astype(np.float64)))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int32", "uint8", "bool"])
def test_like_scikit_learn(norm, dtype):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    x = (rng.normal(size=(17, 5)) * 10).clip(0 if dtype in ("uint8", "bool") else None).astype(dtype)
    x[3] = 0
    ours, theirs = sn.Normalizer(norm).fit_transform(x), preprocessing.Normalizer(norm).fit_transform(x.astype(
        dtype if dtype.startswith("float") else np.float64))
    assert ours.dtype == (dtype if dtype.startswith("float") else np.float64)
    tolerance = {"float64": 1e-15, "float32": 3e-7, "float16": 2e-3}.get(dtype, 1e-15)
    np.testing.assert_allclose(ours.astype(np.float64), theirs.astype(np.float64), rtol=tolerance, atol=0)
    assert not ours[3].any()


def test_scikit_learns_contract():
    base = pytest.importorskip("sklearn.base")
    pipeline = pytest.importorskip("sklearn.pipeline")
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    scaler = sn.Normalizer("max")
    assert base.clone(scaler).norm == "max" and repr(scaler) == "Normalizer(norm='max')"
    made = pipeline.make_pipeline(sn.Normalizer(), sn.StandardScaler()).fit([[3.0, 4.0], [1.0, 0.0]])
    assert made[0].transform([[3.0, 4.0]]).tolist() == [[0.6, 0.8]]
    assert list(made[0].get_feature_names_out()) == ["x0", "x1"]
    checks.check_estimators_dtypes("Normalizer", sn.Normalizer())
    checks.check_transformer_general("Normalizer", sn.Normalizer())
    checks.check_transformer_data_not_an_array("Normalizer", sn.Normalizer())
    results = checks.check_estimator(sn.Normalizer(), on_fail=None, on_skip=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    others = checks.check_estimator(sn.StandardScaler(), on_fail=None, on_skip=None)
    assert failed <= {result["check_name"] for result in others if result["status"] == "failed"}


def test_set_output_and_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [3.0, 0.0, np.nan], "b": [4, 0, 5]}, index=[7, 8, 9])
    result = sn.Normalizer().fit_transform(frame)
    assert result.index.tolist() == [7, 8, 9] and result["a"].tolist()[:2] == [0.6, 0.0]
    assert np.isnan(result["a"][9]) and result["b"].tolist() == [0.8, 0.0, 1.0]
    made = sn.Normalizer().set_output(transform="pandas").fit_transform(np.array([[3.0, 4.0]]))
    assert made.to_dict("list") == {"x0": [0.6], "x1": [0.8]}


def test_a_table_of_single_numbers_is_a_matrix():
    table = pa.table({"id": ["x", "y"], "a": pa.array([3, None]), "b": pa.chunked_array([[4.0], [2.0]])})
    result = sn.Normalizer().fit_transform(table)
    assert result.to_pydict() == {"id": ["x", "y"], "a": [0.6, None], "b": [0.8, 1.0]}
    assert result.schema.names == table.schema.names


def test_copy_says_where_results_go():
    x = np.array([[3.0, 4.0]])
    assert sn.Normalizer().fit(x).transform(x) is not x and x[0, 0] == 3.0
    assert sn.Normalizer(copy=False).fit(x).transform(x) is x and x[0, 0] == 0.6
    whole = np.array([[3.0, 4.0, 9.0]])
    part = sn.Normalizer(copy=False).transform(whole[:, :2])
    assert part.tolist() == [[0.6, 0.8]] and whole.tolist() == [[0.6, 0.8, 9.0]]


def test_nan_stays_and_counts_in_no_norm():
    assert sn.Normalizer().transform([[3.0, np.nan, 4.0]])[0, [0, 2]].tolist() == [0.6, 0.8]
    assert np.isnan(sn.Normalizer().transform([[np.nan, np.nan]])).all()


def test_what_it_refuses():
    with pytest.raises(ValueError, match="'norm' parameter"):
        sn.Normalizer("l3").fit([[1.0]])
    with pytest.raises(ValueError, match="'copy' parameter"):
        sn.Normalizer(copy=1).fit([[1.0]])
    with pytest.raises(sn.DataError, match="infinit"):
        sn.Normalizer().fit([[np.inf]])
    with pytest.raises(sn.DataError, match="infinity.*in row 1"):
        sn.Normalizer().fit([[1.0]]).transform([[1.0], [-np.inf]])
    with pytest.raises(sn.DataError, match="no inverse"):
        sn.Normalizer().fit([[1.0]]).inverse_transform([[1.0]])
    with pytest.raises(sn.DataError, match="sample_weight out"):
        sn.Normalizer().fit([[1.0]], sample_weight=[1.0])
    with pytest.raises(sn.DataError, match="2 features"):
        sn.Normalizer().fit([[1.0]]).transform([[1.0, 2.0]])
    lists = pa.table({"v": [[1.0]], "x": [1.0]})
    with pytest.raises(sn.DataError, match="without"):
        sn.Normalizer().fit(lists, columns="v[*]")
    with pytest.raises(sn.DataError, match="single numbers"):
        sn.ColumnScaler({"x": sn.Normalizer()}).fit(lists)
    with pytest.raises(sn.DataError, match="Normalizer alone"):
        sn.ColumnScaler({0: sn.Normalizer()}).fit([[1.0]])
    matrix = sn.Normalizer().fit(pa.table({"a": [1.0], "b": [2.0]}))
    with pytest.raises(sn.DataError, match="no map for each column"):
        next(iter(sn.batches(pa.table({"a": [1.0], "b": [2.0]}), scaler=matrix, batch_size=1)))
    with pytest.raises(sn.NotFittedError):
        sn.Normalizer().transform(lists)


def test_files_of_single_numbers_are_refused_before_they_are_read(tmp_path):
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "x.parquet")
    with pytest.raises(sn.DataError, match=r"x\.parquet.*single numbers"):
        sn.normalize(tmp_path / "x.parquet", tmp_path / "y.parquet", sn.Normalizer())
    assert not (tmp_path / "y.parquet").exists()


# ------------------------------------------------------------------ lists

LISTS = [[1.0, 2.0, 2.0], None, [], [0.0, 0.0], [None, 5.0], [3e300, 4e300], [None], [-7.0]]


def unit_lists(lists, norm="l2"):
    """The lists by the twin."""
    out = []
    for values in lists:
        if values is None:
            out.append(None)
            continue
        row = np.array([np.nan if value is None else value for value in values])
        made = reference.unit_rows(row, len(row), norm) if len(row) else row
        out.append([None if value is None else float(y) for value, y in zip(values, made, strict=True)])
    return out


def close(a, b, rtol=1e-15):
    assert [None if x is None else len(x) for x in a] == [None if x is None else len(x) for x in b]
    for x, y in zip(a, b, strict=True):
        for u, v in zip(x or (), y or (), strict=True):
            assert (u is None) == (v is None) and (u is None or abs(u - v) <= rtol * abs(v))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", [pa.list_, pa.large_list], ids=["list", "large_list"])
def test_lists_one_by_one(kind, norm):
    array = pa.array(LISTS, kind(pa.float64()))
    table = pa.table({"v": array})
    scaler = sn.Normalizer(norm).fit(table, columns="v")
    result = scaler.transform(table)["v"]
    assert result.type == array.type
    close(result.to_pylist(), unit_lists(LISTS, norm))
    for start, stop in ((0, 3), (1, 8), (3, 3), (5, 7)):
        close(scaler.transform(table.slice(start, stop - start))["v"].to_pylist(), unit_lists(LISTS[start:stop], norm))


@given(
    st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), max_size=5)), max_size=30),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(1, 9),
    st.sampled_from(NORMS),
)
def test_slices_and_chunks(lists, start, stop, step, norm):
    whole = pa.array(lists, pa.list_(pa.float64())).slice(start, max(0, stop - start))
    chunks = pa.chunked_array([whole.slice(i, step) for i in range(0, len(whole), step)], whole.type)
    scaler = sn.ColumnScaler({"v": sn.Normalizer(norm)}).fit(pa.table({"v": [[1.0]]}))
    result = scaler.transform(pa.table({"v": chunks}))["v"]
    result.validate(full=True)
    close(result.to_pylist(), unit_lists(lists[start:stop], norm))


@pytest.mark.parametrize("value", [pa.float32(), pa.float16(), pa.int16(), pa.decimal128(9, 2), pa.bool_()], ids=str)
def test_fixed_size_lists_of_any_numbers(value):
    numbers = [3, 4, 0, 0, None, 1] if value != pa.bool_() else [True, True, False, False, None, True]
    values = pa.array([None if x is None else Decimal(x) if pa.types.is_decimal(value) else x for x in numbers], value)
    array = pa.FixedSizeListArray.from_arrays(values, 2)
    result = sn.Normalizer().fit_transform(pa.table({"v": array}), columns="v")["v"]
    kept = value if pa.types.is_floating(value) else pa.float64()
    assert result.type == pa.list_(kept, 2)
    first = [0.6, 0.8] if value != pa.bool_() else [0.5**0.5, 0.5**0.5]
    close(result.to_pylist(), [first, [0.0, 0.0], [None, 1.0]], 1e-3)


def test_what_nulls_hide_is_not_looked_at():
    values = pa.array([np.inf, np.inf, 3.0, 4.0])
    hidden = pa.FixedSizeListArray.from_arrays(values, 2, mask=pa.array([True, False]))
    scaler = sn.Normalizer().fit(pa.table({"v": hidden}), columns="v")
    assert scaler.transform(pa.table({"v": hidden}))["v"].to_pylist() == [None, [0.6, 0.8]]
    ragged = pa.ListArray.from_arrays(pa.array([0, 3, 4], pa.int32()), values, mask=pa.array([True, False]))
    assert scaler.transform(pa.table({"v": ragged}))["v"].to_pylist() == [None, [1.0]]


def test_offsets_and_validity_are_shared():
    array = pa.array(LISTS, pa.list_(pa.float64()))
    made = sn.Normalizer().fit_transform(pa.table({"v": array}), columns="v")["v"].chunk(0)
    for ours, theirs in zip(made.buffers()[:2], array.buffers()[:2], strict=True):
        assert ours.address == theirs.address


@pytest.mark.parametrize("norm", NORMS)
def test_files(tmp_path, norm):
    x = rng.normal(size=(1000, 6)).astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), 6)
    table = pa.table({"id": np.arange(1000), "v": vectors, "fare": rng.normal(size=1000)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=170)
    methods = {"v": sn.Normalizer(norm), "fare": "standard"}
    scaler = sn.normalize(tmp_path / "x.parquet", tmp_path / "y.parquet", methods, state=tmp_path / "state.json")
    result = pq.read_table(tmp_path / "y.parquet")
    assert result.schema.field("v").type == pq.read_schema(tmp_path / "x.parquet").field("v").type
    wanted = sn.Normalizer(norm).transform(x)
    assert np.array_equal(np.array(result["v"].to_pylist(), np.float32), wanted)
    loaded = sn.load(tmp_path / "state.json")
    assert loaded.digest() == scaler.digest() and loaded.transformers_["v"].norm == norm
    assert loaded.transform(table)["v"].to_pylist() == result["v"].to_pylist()
    with pytest.raises(sn.DataError, match="no inverse"):
        sn.inverse(tmp_path / "y.parquet", tmp_path / "z.parquet")
    assert sn.inspect(tmp_path / "state.json")["columns"][0]["name"] == "v"


def test_an_infinity_that_fit_has_not_seen_is_located(tmp_path):
    scaler = sn.Normalizer().fit(pa.table({"v": [[1.0]]}), columns="v")
    pq.write_table(pa.table({"v": [[1.0], [2.0], [np.inf]]}), tmp_path / "x.parquet", row_group_size=2)
    with pytest.raises(sn.DataError, match="infinity") as error:
        sn.transform(tmp_path / "x.parquet", tmp_path / "y.parquet", scaler)
    assert (error.value.file, error.value.row_group, error.value.column) == (str(tmp_path / "x.parquet"), 1, "v")
    assert not (tmp_path / "y.parquet").exists()


def test_merging():
    one, two = (sn.Normalizer().fit(pa.table({"v": lists}), columns="v") for lists in ([[1.0, 2.0]], [[3.0], [4.0]]))
    both = one + two
    assert both.summary_["v"].rows == 3 and both.summary_["v"].count == 4 and both.summary_["v"].max == 4.0


# ------------------------------------------------------------------ the kernel and its twin


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offsets", [np.int32, np.int64])
def test_the_kernel_does_what_its_twin_does(norm, dtype, offsets):
    x = np.round(rng.normal(size=211) * 100).astype(dtype)
    x[rng.random(211) < 0.1] = np.nan
    ends = np.sort(rng.integers(3, 200, 40)).astype(offsets)
    bitmap = rng.integers(0, 256, 40, dtype=np.uint8).tobytes()
    for rows in (ends, 211, 1):
        for nulls in ({}, {"validity": bitmap, "bit": 5}):
            ours, twins = unit_rows(x, rows, norm, **nulls), reference.unit_rows(x, rows, norm, **nulls)
            np.testing.assert_allclose(ours, twins, rtol=4 * np.finfo(dtype).eps, atol=0)
            same = x.copy()
            assert unit_rows(same, rows, norm, out=same, **nulls) is same
            inside = slice(ends[0], ends[-1]) if rows is ends else slice(None)
            assert np.array_equal(same[inside], ours[inside], equal_nan=True)


def test_the_kernel_checks_its_arguments():
    x = np.arange(6.0)
    for rows in (4, -1, np.array([0, 7]), np.array([3, 2]), np.array([-1, 2]), np.array([], np.int64)):
        with pytest.raises(ValueError):
            unit_rows(x, rows, "l2")
    with pytest.raises(ValueError, match="norm"):
        unit_rows(x, 2, "l3")
    with pytest.raises(ValueError, match="bits"):
        unit_rows(x, 2, "l2", validity=b"\0", bit=3)
    with pytest.raises(ValueError, match="out"):
        unit_rows(x, 2, "l2", out=np.zeros(5))
    with pytest.raises((TypeError, ValueError)):
        unit_rows(x.astype(np.float16), 2, "l2")
    with pytest.raises((TypeError, ValueError)):
        unit_rows(np.arange(12.0)[::2], 2, "l2")
    assert unit_rows(x[:0], 3, "l2").size == 0
