"""Fields of structs by their paths, in memory and from Parquet."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamnorm as sn
from streamnorm.scalers._paths import each_of, place_of

pytestmark = pytest.mark.filterwarnings("ignore::streamnorm.StreamnormWarning")

N = 400
rng = np.random.default_rng(20261123)


def table() -> pa.Table:
    """Structs two deep, with nulls of each kind, beside a column whose name has a dot."""
    inner = pa.StructArray.from_arrays(
        [pa.array(rng.normal(size=N).astype(np.float32)), pa.array([f"n{i}" for i in range(N)])],
        fields=[pa.field("deep", pa.float32(), metadata={"unit": "m"}), pa.field("name", pa.string())],
        mask=pa.array(np.arange(N) % 7 == 3),
    )
    x = pa.array([None if i % 5 == 1 else i for i in range(N)], pa.int16())
    vec = pa.array([None if i % 11 == 2 else [i, -i, i * i] for i in range(N)], pa.list_(pa.float64()))
    pos = pa.StructArray.from_arrays(
        [x, pa.array(rng.normal(size=N)), inner, vec],
        fields=[
            pa.field("x", pa.int16(), metadata={"unit": "s"}),
            pa.field("y", pa.float64()),
            pa.field("in", inner.type),
            pa.field("vec", vec.type),
        ],
        mask=pa.array(np.arange(N) % 13 == 5),
    )
    columns = {"id": pa.array(range(N)), "pos": pos, "pos.z": pa.array(rng.normal(size=N)), "a.b": pos}
    return pa.table(columns)


TABLE = table()


def field(data: pa.Table, *steps: str) -> list:
    values = data.column(steps[0]).to_pylist()
    for step in steps[1:]:
        values = [None if value is None else value[step] for value in values]
    return values


def plain(*steps: str) -> pa.Table:
    """The field as a column of its own: the oracle."""
    kind = TABLE.schema.field(steps[0]).type
    for step in steps[1:]:
        kind = kind.field(step).type
    return pa.table({"v": pa.array(field(TABLE, *steps), kind)})


PATHS = {
    "pos.x": ("pos", "x"),
    "pos.y": ("pos", "y"),
    "pos.in.deep": ("pos", "in", "deep"),
    "a\\.b.y": ("a.b", "y"),
    "pos.z": ("pos.z",),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    target = tmp_path_factory.mktemp("structs") / "x.parquet"
    pq.write_table(TABLE, target, row_group_size=90)
    return target


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("method", ["standard", "minmax", "robust"])
def test_a_path_is_like_a_column_of_its_own(name, method, path):
    oracle = sn.fit(plain(*PATHS[name]), method)
    wanted = oracle.transform(plain(*PATHS[name]))["v"].to_pylist()
    for data in (TABLE, path):
        scaler = sn.fit(data, method, columns=[name])
        assert scaler.feature_names_in_.tolist() == [name]
        ours, theirs = scaler.summary_[name], oracle.summary_["v"]
        for what in ("rows", "null_count", "min", "max", *(("count",) if method != "minmax" else ())):
            assert getattr(ours, what) == getattr(theirs, what), what
        result = sn.transform(data, None, scaler).read_all()
        assert field(result, *PATHS[name]) == wanted
        back = sn.inverse(result, None, scaler).read_all()
        for got, value in zip(field(back, *PATHS[name]), field(TABLE, *PATHS[name]), strict=True):
            assert (got is None) == (value is None) and (got is None or got == pytest.approx(value, abs=1e-5))


def test_everything_else_of_the_struct_stays(path, tmp_path):
    names = ["pos.x", "pos.in.deep", "id"]
    scaler = sn.normalize(path, tmp_path / "y.parquet", columns=names)
    in_memory = sn.StandardScaler().fit(TABLE, columns=names)
    assert scaler.digest() == in_memory.digest() and scaler.feature_names_in_.tolist() == ["id", "pos.x", "pos.in.deep"]
    before = pq.read_table(path)
    for result in (pq.read_table(tmp_path / "y.parquet"), in_memory.transform(before)):
        kind, old = result.schema.field("pos").type, before.schema.field("pos").type
        assert [f.name for f in kind] == [f.name for f in old]
        assert kind.field("x").type == pa.float64() and kind.field("in").type.field("deep").type == pa.float32()
        assert kind.field("vec") == old.field("vec") and result.schema.field("a.b") == before.schema.field("a.b")
        for steps in (("pos", "y"), ("pos", "in", "name"), ("pos", "vec"), ("a.b",), ("pos.z",)):
            assert field(result, *steps) == field(before, *steps)
        assert [row is None for row in field(result, "pos")] == [i % 13 == 5 for i in range(N)]
        result.validate(full=True)
    made = in_memory.transform(TABLE).schema.field("pos").type
    assert made.field("x").metadata == {b"unit": b"s"}
    assert made.field("in").type.field("deep").metadata == {b"unit": b"m"}
    undone = sn.inverse(tmp_path / "y.parquet", None).read_all()
    assert field(undone, "pos", "x") == pytest.approx(field(TABLE, "pos", "x"), abs=1e-9)


def test_lists_in_structs(path, tmp_path):
    lists = [value for value in field(TABLE, "pos", "vec") if value is not None]
    for data in (TABLE, path):
        each = sn.fit(data, "minmax", columns=["pos.vec[*]"])
        assert list(each.summary_) == ["pos.vec[0]", "pos.vec[1]", "pos.vec[2]"]
        assert each.data_max_.tolist() == np.max(lists, axis=0).tolist()
        assert each.n_samples_seen_ == N
        whole = sn.fit(data, "minmax", columns=["pos.vec"])
        assert whole.data_max_.tolist() == [np.max(lists)] and whole.n_samples_seen_ == N
    sn.transform(path, tmp_path / "y.parquet", each)
    result = field(pq.read_table(tmp_path / "y.parquet"), "pos", "vec")
    assert [value is None for value in result] == [value is None for value in field(TABLE, "pos", "vec")]
    assert np.max([value for value in result if value is not None], axis=0).tolist() == [1.0, 1.0, 1.0]
    assert result == field(each.transform(TABLE), "pos", "vec")


def test_only_the_leaf_is_read(path, monkeypatch):
    from streamnorm import scan

    asked = []
    original = scan.column_batches

    def column_batches(file, readers, row_groups, columns, **options):
        asked.append(options.get("leaves"))
        return original(file, readers, row_groups, columns, **options)

    monkeypatch.setattr(scan, "column_batches", column_batches)
    sn.fit(path, columns=["pos.in.deep"])
    assert asked and all(leaves == ["pos.in.deep"] for leaves in asked)


def test_in_a_column_scaler_with_a_state(path, tmp_path):
    methods = {"pos.x": "minmax", ("a\\.b.y", "id"): "standard", "pos.vec[*]": sn.RobustScaler()}
    scaler = sn.fit(path, methods)
    scaler.save(tmp_path / "s.json")
    loaded = sn.load(tmp_path / "s.json")
    assert loaded.digest() == scaler.digest()
    assert loaded.transform(TABLE).equals(scaler.transform(TABLE))
    assert list(loaded.transformers_[("a\\.b.y", "id")].summary_) == ["a\\.b.y", "id"]
    assert list(loaded.transformers_["pos.vec[*]"].summary_) == ["pos.vec[0]", "pos.vec[1]", "pos.vec[2]"]
    described = {column["name"] for column in sn.inspect(tmp_path / "s.json")["columns"]}
    assert {"pos.x", "pos.vec[2]"} <= described
    assert (scaler + sn.ColumnScaler(methods).fit(TABLE)).n_samples_seen_ == 2 * N


def test_weights_updates_and_exact_sums(path, tmp_path):
    weighted = sn.fit(path, columns=["pos.y"], sample_weight="id")
    oracle = sn.fit(plain("pos", "y").append_column("w", TABLE["id"]), columns=["v"], sample_weight="w")
    assert weighted.mean_.tolist() == oracle.mean_.tolist()
    (tmp_path / "d").mkdir()
    pq.write_table(TABLE.slice(0, 100), tmp_path / "d" / "a.parquet")
    first = sn.fit(tmp_path / "d", columns=["pos.x", "pos.vec[*]"], exact=True)
    pq.write_table(TABLE.slice(100), tmp_path / "d" / "b.parquet")
    both = sn.fit(tmp_path / "d", columns=["pos.x", "pos.vec[*]"], update=first)
    assert both.digest() == sn.fit(path, columns=["pos.x", "pos.vec[*]"], exact=True).digest()
    later = sn.fit(TABLE.slice(100), columns=["pos.x", "pos.vec[*]"], exact=True)
    assert (both - first).mean_.tolist() == later.mean_.tolist()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pos.w", "did you mean|there are 'x'"),
        ("pos.x.y", "holds int16, which has no fields"),
        ("pos", "holds struct"),
        ("pos.in", "holds struct"),
        ("pos.in.name", "not numbers"),
        ("po.x", "no column 'po.x'"),
        ("pos.x[*]", "no positions"),
        ("id.x", "has no fields"),
    ],
)
def test_what_leads_nowhere(name, text, path):
    for data in (TABLE, path):
        with pytest.raises(sn.DataError, match=text) as error:
            sn.fit(data, columns=[name])
        assert error.value.column == name


def test_the_same_values_twice_are_refused():
    for names in (["pos.vec", "pos.vec[*]"], ["a\\.b.y", "a\\.b.y", "id", "pos.vec[*]", "pos.vec"]):
        with pytest.raises(sn.DataError, match="the same values"):
            sn.fit(TABLE, columns=names)


def test_polars_and_pandas():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"s": [{"x": 1.0, "n": "a"}, {"x": 3.0, "n": "b"}, None], "k": [1, 2, 3]})
    result = sn.StandardScaler().fit(frame, columns="s.x").transform(frame)
    assert result["s"].to_list() == [{"x": -1.0, "n": "a"}, {"x": 1.0, "n": "b"}, frame["s"][2]]
    assert result["k"].to_list() == [1, 2, 3]


@given(
    st.lists(st.one_of(st.none(), st.one_of(st.none(), st.integers(-100, 100))), min_size=1, max_size=25),
    st.integers(0, 20),
    st.integers(1, 7),
    st.data(),
)
def test_slices_and_chunks(values, start, step, data):
    hidden = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    structs = pa.StructArray.from_arrays([pa.array(values, pa.int64())], ["x"], mask=pa.array(hidden))
    part = structs.slice(start)
    chunks = pa.chunked_array([part.slice(i, step) for i in range(0, len(part), step)], structs.type)
    scaler = sn.StandardScaler().fit(pa.table({"s": [{"x": 1.0}, {"x": 3.0}]}), columns="s.x")
    result = scaler.transform(pa.table({"s": chunks}))["s"]
    result.validate(full=True)
    wanted = [
        None if gone else {"x": None if value is None else value - 2.0}
        for value, gone in list(zip(values, hidden, strict=True))[start:]
    ]
    assert result.to_pylist() == wanted
    if part.null_count < len(part):
        fitted = sn.StandardScaler().fit(pa.table({"s": chunks}), columns="s.x")
        present = [row["x"] for row in part.to_pylist() if row is not None and row["x"] is not None]
        assert fitted.summary_["s.x"].count == len(present)


def test_how_names_are_read():
    def steps(name, columns=()):
        place = place_of(name, columns)
        return (place.column, *place.fields, *(("*",) if place.each else ()))

    assert steps("a.b") == ("a", "b") and steps("a.b", ["a.b"]) == ("a.b",)
    assert steps("a\\.b.c") == ("a.b", "c") and steps("a\\\\.b") == ("a\\", "b") and steps("a\\x.b") == ("a\\x", "b")
    assert steps("v[*]") == ("v", "*") and steps("v[*]", ["v[*]"]) == ("v[*]",)
    assert each_of("v[12]") == "v[*]" and each_of("v[x]") is None and each_of("v") is None


def test_fields_that_are_never_null_in_structs_that_are(tmp_path):
    values = pa.list_(pa.field("item", pa.float32(), nullable=False))
    kind = pa.struct([pa.field("x", pa.float64(), nullable=False), pa.field("v", values, nullable=False)])
    rows = [{"x": 1.0, "v": [1, 2]}, None, {"x": 3.0, "v": [3, 6]}]
    schema = pa.schema([pa.field("s", kind), pa.field("sure", kind, nullable=False)])
    table = pa.table({"s": pa.array(rows, kind), "sure": pa.array([rows[0], rows[0], rows[2]], kind)}, schema=schema)
    pq.write_table(table, tmp_path / "x.parquet")
    before = pq.read_schema(tmp_path / "x.parquet")
    for columns in (["s.x", "sure.x"], ["s.v"], ["s.v[*]", "sure.v[*]"]):
        scaler = sn.normalize(tmp_path / "x.parquet", tmp_path / "y.parquet", columns=columns, overwrite=True)
        result = pq.read_table(tmp_path / "y.parquet")
        in_memory = scaler.transform(table)
        in_memory.validate(full=True)
        assert result.to_pylist() == in_memory.to_pylist()
        assert result.schema.types == before.types and not result.schema.field("sure").nullable
        assert scaler.transform(table.schema.empty_table()).schema == in_memory.schema
        assert scaler.transform(table.to_batches()[0]).to_pylist() == in_memory.to_pylist()
