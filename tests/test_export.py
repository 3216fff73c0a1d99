"""The exports' names: imported when they are asked for, and clear about what is missing."""

import subprocess
import sys

import pyarrow as pa
import pytest

import streamnorm as sn
from streamnorm import export

LIBRARIES = ("duckdb", "onnx", "pandas", "polars", "sklearn", "torch", "pyarrow.dataset")


def test_no_library_is_loaded_before_it_is_asked_for():
    code = f"""
import sys
import streamnorm as sn
from streamnorm.export import to_lerobot, to_polars, to_pyarrow, to_sklearn, to_sql
scaler = sn.StandardScaler.from_statistics([1.0], [2.0], columns=["x"])
to_sql(scaler, "t"), to_lerobot(scaler)
print([name for name in {LIBRARIES} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_all_names_are_there():
    assert set(export.__all__) <= set(dir(export))
    for name in export.__all__:
        if name != "to_torch":
            assert callable(getattr(export, name))
    with pytest.raises(AttributeError, match="to_excel"):
        _ = export.to_excel


@pytest.mark.parametrize("name", ["polars", "sklearn", "onnx"])
def test_a_missing_library_is_named(name, monkeypatch):
    scaler = sn.StandardScaler().fit(pa.table({"x": [1.0, 2.0]}))
    make = getattr(export, f"to_{name}")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(sn.StreamnormError, match="the export needs the package .*: install "):
        make(scaler)


def test_imported_statistics_have_a_digest_and_are_pickled():
    import pickle

    from sklearn import preprocessing

    for estimator in (preprocessing.StandardScaler(), preprocessing.RobustScaler(), preprocessing.MaxAbsScaler()):
        scaler = export.from_sklearn(estimator.fit([[1.0], [4.0], [9.0]]))
        again = pickle.loads(pickle.dumps(scaler))
        assert again.digest() == scaler.digest() and again.scale_ == scaler.scale_
