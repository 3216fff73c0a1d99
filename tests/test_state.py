"""State files: what is written comes back, and whatever else is there gives one clear error."""

import copy
import json
import math
import os
import pickle
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import streamnorm.state as state_module
from streamnorm import state
from streamnorm.documents import digest_of
from streamnorm.errors import StateError, StreamnormError
from streamnorm.ledger import CountedFile, Ledger
from streamnorm.scalers import ColumnScaler, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

TABLE = pa.table(
    {
        "größe": [1.5, None, -2.25, float("nan"), 1e-300],
        "id": [2**60 + 1, 5, -7, None, 0],
        "price": pa.array(
            [Decimal("10.05"), None, Decimal("-3.10"), Decimal(0), Decimal(1)], pa.decimal128(9, 2)
        ),
        "empty": pa.array([None] * 5, pa.float64()),
    }
)
SCALERS = {
    "standard": StandardScaler(ddof=1, copy=False),
    "minmax": MinMaxScaler((-1, 2.5), clip=True),
    "maxabs": MaxAbsScaler(),
    "robust": RobustScaler(quantile_range=(10, 90), unit_variance=True),
    "columns": ColumnScaler({"größe": "robust", ("id", "price"): MinMaxScaler((0, 9))}, remainder="standard"),
}


@pytest.fixture(params=list(SCALERS))
def scaler(request):
    fresh = copy.deepcopy(SCALERS[request.param])
    return fresh.fit(TABLE)


DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", SCALERS)
def test_states_of_older_versions_are_read(name, version):
    """Written by the last code that wrote that version, from TABLE."""
    path = DATA / f"state-v{version}-{name}.json"
    assert json.loads(path.read_text())["version"] == version
    scaler, fresh = state.load(path), copy.deepcopy(SCALERS[name]).fit(TABLE)
    assert repr(scaler) == repr(fresh) and scaler.digest() == fresh.digest()
    assert same_table(scaler.transform(TABLE), fresh.transform(TABLE))
    assert not scaler.summary_.files
    assert state.dumps(scaler) == state.dumps(fresh) and json.loads(state.dumps(scaler))["version"] == 3


def test_exact_and_weighted_states_of_version_2_are_read():
    for name, fresh in {
        "exact": StandardScaler(exact=True).fit(TABLE),
        "weighted": RobustScaler().fit(TABLE, sample_weight=[1.0, 2.0, 0.5, 1.0, 3.0]),
    }.items():
        scaler = state.load(DATA / f"state-v2-{name}.json")
        assert repr(scaler) == repr(fresh) and scaler.digest() == fresh.digest()
        assert same_table(scaler.transform(TABLE), fresh.transform(TABLE))


@pytest.mark.parametrize("version", [1, 2])
def test_rules_are_no_parameters_of_older_versions(version):
    content = json.loads((DATA / f"state-v{version}-minmax.json").read_text())
    content["scaler"]["params"]["constant"] = "zero"
    with pytest.raises(StateError, match="unknown member 'constant'"):
        state.loads(sealed(content))


def test_scalers_in_model_files_of_any_age_are_read():
    params = {"feature_range": [0, 1], "copy": True, "clip": False}
    for later in ({}, {"constant": "zero", "infinite": "null", "eps": None}):
        scaler = state._decode_scaler({"class": "MinMaxScaler", "params": params | later})
        assert scaler.constant == later.get("constant", "relative")


@pytest.mark.parametrize("name", ["constant", "infinite", "eps"])
def test_a_state_carries_its_rules(name, text):
    content = json.loads(text)
    del content["scaler"]["params"][name]
    with pytest.raises(StateError, match=f"lacks '{name}'"):
        state.loads(sealed(content))


def test_files_are_no_member_of_version_1():
    content = json.loads((DATA / "state-v1-minmax.json").read_text()) | {"files": []}
    with pytest.raises(StateError, match="unknown member 'files'"):
        state.loads(sealed(content))


def test_files_are_listed_between_columns_and_digest():
    scaler = StandardScaler().fit(TABLE)
    scaler.summary_.files = Ledger([CountedFile("/d/a.parquet", 900, "5e" * 16, 5)])
    content = json.loads(state.dumps(scaler))
    assert list(content)[-3:] == ["columns", "files", "digest"]
    assert content["files"] == [{"path": "/d/a.parquet", "size": 900, "footer": "5e" * 16, "rows": 5}]
    assert state.dumps(state.loads(json.dumps(content))) == state.dumps(scaler)


@pytest.fixture
def text():
    return state.dumps(StandardScaler().fit(TABLE))


def same_table(a, b):
    """Equal in schema and in every bit that can be printed; NaN equals NaN."""
    return a.schema.equals(b.schema) and repr(a.to_pydict()) == repr(b.to_pydict())


def sealed(content):
    """The text of a state, with a digest that matches whatever was done to it."""
    content = {key: value for key, value in content.items() if key != "digest"}
    return json.dumps(content | {"digest": digest_of(content)})


def test_round_trip_keeps_digest_parameters_and_results(scaler, tmp_path):
    scaler.save(tmp_path / "s.json")
    again = state.load(tmp_path / "s.json")
    assert type(again) is type(scaler) and repr(again) == repr(scaler)
    assert again.digest() == scaler.digest()
    assert same_table(again.transform(TABLE), scaler.transform(TABLE))
    assert list(again.feature_names_in_) == TABLE.column_names
    assert state.dumps(again) == state.dumps(scaler)
    assert again.summary_["id"].max == 2**60 + 1
    assert again.summary_["price"].min == Decimal("-3.10")


def test_round_trip_of_positions():
    scaler = StandardScaler().fit([[1.0, 2.0], [3.0, 5.0]])
    again = state.loads(state.dumps(scaler))
    assert list(again.summary_) == [0, 1] and not hasattr(again, "feature_names_in_")
    assert again.n_samples_seen_ == 2


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_goes_through_the_state(scaler, protocol):
    again = pickle.loads(pickle.dumps(scaler, protocol))
    assert type(again) is type(scaler) and again.digest() == scaler.digest()
    assert same_table(again.transform(TABLE), scaler.transform(TABLE))


def test_pickle_and_deepcopy_of_what_is_not_fitted():
    again = pickle.loads(pickle.dumps(StandardScaler(ddof=1)))
    assert repr(again) == "StandardScaler(ddof=1)" and not again.__sklearn_is_fitted__()
    assert repr(copy.deepcopy(RobustScaler(copy=False))) == "RobustScaler(copy=False)"


class Shouting(StandardScaler):
    """A user's class."""


def test_a_subclass_pickles_as_itself_and_saves_as_its_parent():
    scaler = Shouting(ddof=1).fit([[1.0], [2.0]])
    assert type(pickle.loads(pickle.dumps(scaler))) is Shouting
    assert repr(state.loads(state.dumps(scaler))) == "StandardScaler(ddof=1)"


def test_the_file_is_rfc_8259_json_in_the_documented_form(text):
    def refuse(name):
        raise AssertionError(name)

    content = json.loads(text, parse_constant=refuse)
    assert list(content) == ["format", "version", "streamnorm", "scaler", "columns", "digest"]
    assert content["format"] == "streamnorm-state" and content["version"] == 3
    size, ident, price, empty = content["columns"]
    assert size["name"] == "größe" and "größe" in text
    assert ident["max"] == str(2**60 + 1) and ident["min"] == -7
    assert price["min"] == "-3.10"
    assert empty["min"] is None and empty["kind"] is None
    assert size["min"] == -2.25 and "1e-300" not in repr(size["min"])


def test_floats_are_shortest_and_exact():
    values = [0.1, 5e-324, 1.7976931348623157e308, -2.0, 1 / 3]
    for value in values:
        encoded = json.dumps(state_module._encode_float(value))
        assert float(encoded) == value and len(encoded) <= len(repr(value))
    for value in (math.inf, -math.inf, math.nan):
        assert repr(state_module._decode_float(state_module._encode_float(value), "mean")) == repr(value)


def test_digest_depends_on_the_statistics_alone():
    a, b = (
        MinMaxScaler().fit(TABLE),
        MinMaxScaler((0, 9), clip=True).fit(TABLE.select(TABLE.column_names[::-1])),
    )
    assert a.digest() == b.digest() and a.digest().startswith("sha256:") and len(a.digest()) == 71
    assert a.digest() != MinMaxScaler().fit(TABLE.slice(1)).digest()


def test_digest_does_not_depend_on_the_version(monkeypatch):
    scaler = StandardScaler().fit(TABLE)
    before, text = scaler.digest(), state.dumps(scaler)
    monkeypatch.setattr(state_module, "__version__", "99.0")
    assert scaler.digest() == before and state.dumps(scaler) != text


def decimals(scale, *texts):
    return pa.array([None if text is None else Decimal(text) for text in texts], pa.decimal128(20, scale))


SAME_NUMBERS = {
    "float64": pa.array([1.0, 2.5, None, -4.0]),
    "float32": pa.array([1.0, 2.5, None, -4.0], pa.float32()),
    "decimal": decimals(1, "1", "2.5", None, "-4"),
    "decimal of another scale": decimals(7, "1", "2.5", None, "-4"),
    "decimal256": decimals(3, "1", "2.5", None, "-4").cast(pa.decimal256(40, 3)),
}
SAME_INTEGERS = {
    "int64": pa.array([1, None, -4, 300]),
    "int16": pa.array([1, None, -4, 300], pa.int16()),
    "float64": pa.array([1.0, None, -4.0, 300.0]),
    "decimal": decimals(2, "1", None, "-4", "300"),
}


@pytest.mark.parametrize("arrays", [SAME_NUMBERS, SAME_INTEGERS], ids=["numbers", "integers"])
@pytest.mark.parametrize("method", [StandardScaler(exact=True), MinMaxScaler(), MaxAbsScaler()], ids=repr)
def test_digests_are_those_of_numbers_and_not_of_types(method, arrays):
    digests = {copy.deepcopy(method).fit(pa.table({"x": array})).digest() for array in arrays.values()}
    assert len(digests) == 1
    assert copy.deepcopy(method).fit(pa.table({"x": pa.array([1.0, None, -4.0, 301.0])})).digest() not in digests


@pytest.mark.parametrize("method", [StandardScaler(exact=True), MinMaxScaler()], ids=repr)
def test_neighbouring_numbers_have_different_digests(method):
    def digest(*values, type=None):
        return copy.deepcopy(method).fit(pa.table({"x": pa.array([5, 7, *values], type)})).digest()

    assert digest(2**60) != digest(2**60 + 1)
    assert digest(float(2**60)) == digest(2**60)
    assert digest(0.1) != digest(Decimal("0.1"), type=pa.decimal128(9, 1))
    assert digest(Decimal("0.10"), type=pa.decimal128(9, 2)) == digest(Decimal("0.1"), type=pa.decimal128(9, 1))


@pytest.mark.parametrize("method", [StandardScaler(exact=True), MinMaxScaler(), MaxAbsScaler()], ids=repr)
def test_digests_do_not_depend_on_order_and_parts(method):
    rng = np.random.default_rng(11)
    values = [0.0, -0.0, None, 5e-324, 1e300, float("nan"), *(rng.normal(size=40) * 10.0 ** rng.integers(-9, 9, 40))]
    digests = set()
    for _ in range(30):
        order = rng.permutation(len(values))
        cuts = np.sort(rng.integers(0, len(values) + 1, rng.integers(0, 6)))
        scalers = []
        for part in np.split(order, cuts):
            if len(part):
                table = pa.table({"x": pa.array([values[i] for i in part], pa.float64())})
                scalers.append(copy.deepcopy(method).fit(table))
        while len(scalers) > 1:
            i = rng.integers(len(scalers) - 1)
            scalers[i : i + 2] = [state.loads(state.dumps(scalers[i + 1])) + scalers[i]]
        digests.add(scalers[0].digest())
    assert len(digests) == 1


def test_digests_do_not_depend_on_which_zero_came_first():
    for zeros in ([0.0, -0.0], [-0.0, 0.0], [-0.0, -0.0]):
        for method in (StandardScaler(), StandardScaler(exact=True), MinMaxScaler()):
            assert method.fit([[z] for z in zeros]).digest() == method.fit([[0.0], [0.0]]).digest()


def test_digests_do_not_depend_on_the_files():
    scaler = StandardScaler().fit(TABLE)
    before = scaler.digest()
    scaler.summary_.files = Ledger([CountedFile("/d/a.parquet", 900, "5e" * 16, 5)])
    assert scaler.digest() == before


def test_every_truncation_is_noticed(text):
    data = text.encode()
    for length in range(len(data)):
        with pytest.raises(StateError):
            state.loads(data[:length])


def test_random_edits_are_noticed_or_harmless(text):
    rng = np.random.default_rng(7)
    data, noticed = text.encode(), 0
    original = state.loads(text)
    for _ in range(3000):
        edited = bytearray(data)
        position = rng.integers(len(data))
        kind = rng.integers(3)
        if kind == 0:
            edited[position] = rng.integers(256)
        elif kind == 1:
            del edited[position : position + rng.integers(1, 9)]
        else:
            edited[position:position] = bytes(rng.integers(32, 127, rng.integers(1, 5)).astype(np.uint8))
        try:
            same = state.loads(bytes(edited))
        except StateError:
            noticed += 1
        else:
            assert state.dumps(same) == text and same.digest() == original.digest()
    assert noticed > 2800


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.replace('"version": 3', '"version": 4'), "format version 4.*wrote it, "),
        (lambda t: t.replace('"version": 3', '"version": true'), "'version'"),
        (lambda t: t.replace("streamnorm-state", "other"), "not a streamnorm state"),
        (lambda t: t.replace('"ddof": 0', '"ddof": 1'), "digest does not match"),
        (lambda t: t.replace("-2.25", "-2.26"), "digest does not match"),
        (lambda t: t.replace("-2.25", "NaN"), "NaN is not a JSON number"),
        (lambda t: t.replace("-2.25", "-1e999"), "beyond any double"),
        (lambda t: t.replace('"version": 3', '"version": 3, "version": 3'), "occurs twice"),
        (lambda t: t + "x", "not JSON that is whole"),
        (lambda t: "[" * 100_000, "not JSON that is whole"),
        (lambda t: "[]", "not a streamnorm state"),
        (lambda t: "1" * 5000, "JSON|not a streamnorm state"),
        (lambda t: "", "not JSON that is whole"),
        (lambda t: "PAR1\x00\xff", "not JSON that is whole"),
    ],
)
def test_damage_is_named(text, edit, message, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(edit(text), encoding="latin-1" if "\xff" in edit(text) else "utf-8")
    with pytest.raises(StateError, match=message) as caught:
        state.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 600


def column(content):
    return content["columns"][0]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(extra=1), "unknown member 'extra'"),
        (lambda c: c.pop("columns"), "lacks 'columns'"),
        (lambda c: c.update(columns=[]), "no columns"),
        (lambda c: c.update(columns={}), "'columns' of type list"),
        (lambda c: c.update(streamnorm=1), "'streamnorm'"),
        (lambda c: c.update(files={}), "'files' of type list"),
        (lambda c: c.update(files=[{"path": "/a"}]), "list of files that is none .item 0 is not a file"),
        (lambda c: c["columns"].append(column(c)), "twice"),
        (lambda c: c["columns"].append(7), "not an object"),
        (lambda c: column(c).update(name=None), "without a name"),
        (lambda c: column(c).update(name=0), "mixed"),
        (lambda c: c["columns"][1].update(name=-1), "without a name"),
        (lambda c: column(c).pop("m2"), "lacks 'm2'"),
        (lambda c: column(c).update(sketch=""), "unknown member 'sketch'"),
        (lambda c: column(c).update(rows=-1), "impossible counts"),
        (lambda c: column(c).update(rows=1.5), "whole number for 'rows'"),
        (lambda c: column(c).update(rows=True), "whole number for 'rows'"),
        (lambda c: column(c).update(rows="5"), "whole number for 'rows'"),
        (lambda c: column(c).update(rows=10**18), "whole number for 'rows'"),
        (lambda c: column(c).update(rows=str(10**30)), "impossible counts"),
        (lambda c: column(c).update(null_count=99), "contradicts itself"),
        (lambda c: column(c).update(kind="text"), "unknown kind"),
        (lambda c: column(c).update(kind=["x"]), "unknown kind"),
        (lambda c: column(c).update(mean="nan"), "float for 'mean'"),
        (lambda c: column(c).update(mean=3), "float for 'mean'"),
        (lambda c: column(c).update(m2=-1.0), "contradicts itself"),
        (lambda c: column(c).update(exponent=10**6), "exponent"),
        (lambda c: column(c).update(min=9e9), "contradicts itself"),
        (lambda c: column(c).update(min="-2.25"), "float for 'min'"),
        (lambda c: c["columns"][2].update(min=-3.1), "value of its kind for 'min'"),
        (lambda c: c["columns"][2].update(min="-3.1x"), "value of its kind for 'min'"),
        (lambda c: c["scaler"].update({"class": "Scaler"}), "does not know"),
        (lambda c: c["scaler"].update({"class": 3}), "'class'"),
        (lambda c: c["scaler"]["params"].pop("ddof"), "lacks 'ddof'"),
        (lambda c: c["scaler"]["params"].update(ddof=-1), "parameters that cannot be used"),
        (lambda c: c["scaler"]["params"].update(ddof={"pairs": 3}), "mapping that is none"),
        (lambda c: c["scaler"].update({"class": "RobustScaler"}), "has an unknown member|lacks"),
    ],
)
def test_wrong_content_is_named_even_with_a_matching_digest(text, edit, message):
    content = json.loads(text)
    edit(content)
    with pytest.raises(StateError, match=message):
        state.loads(sealed(content))


def test_a_sealed_state_without_edits_loads(text):
    assert state.dumps(state.loads(sealed(json.loads(text)))) == text


@pytest.mark.parametrize("sketch", ["", "####", "AAAA", "é"])
def test_a_damaged_sketch_is_named(sketch):
    content = json.loads(state.dumps(RobustScaler().fit(TABLE)))
    content["columns"][1]["sketch"] = sketch
    with pytest.raises(StateError, match="base64|contradicts itself in column 'id'"):
        state.loads(sealed(content))


def test_infinities_in_a_state_are_refused_like_those_in_data():
    content = json.loads(state.dumps(StandardScaler().fit(TABLE)))
    column(content).update(infinite_count=1)
    with pytest.raises(StateError, match="cannot be used.*infinite"):
        state.loads(sealed(content))


def test_absurd_sizes_are_not_read(monkeypatch, tmp_path, text):
    monkeypatch.setattr(state_module, "MAX_BYTES", 100)
    (tmp_path / "big.json").write_text(text)
    with pytest.raises(StateError, match="larger than"):
        state.load(tmp_path / "big.json")


def test_a_missing_file_is_not_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        state.load(tmp_path / "none.json")


def test_parameters_that_are_no_json_are_refused():
    scaler = StandardScaler().fit([[1.0], [2.0]]).set_params(copy=object())
    with pytest.raises(StateError, match="'copy'"):
        state.dumps(scaler)


def test_numpy_parameters_are_saved_as_numbers():
    scaler = StandardScaler(ddof=np.int64(1), with_mean=np.bool_(True)).fit([[1.0], [2.0]])
    assert state.loads(state.dumps(scaler)).get_params()["ddof"] == 1


def test_save_replaces_whole_or_not_at_all(tmp_path, monkeypatch, text):
    path = tmp_path / "s.json"
    path.write_text("old")
    scaler = StandardScaler().fit([[1.0], [2.0]])
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "disk full")))
        with pytest.raises(StreamnormError, match="disk full"):
            scaler.save(path)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["s.json"]
    scaler.save(path)
    assert state.load(path).digest() == scaler.digest()
