"""Regressors in files, and as ONNX: what comes back predicts the same, and trains on as if it had stayed."""

import hashlib
import json
import subprocess
import sys
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import streamnorm as sn
from streamnorm.documents import canonical
from streamnorm.export import to_onnx
from streamnorm.nn import Adam, CosineSchedule, HuberLoss, QuantileLoss, Regressor, _model_file
from streamnorm.nn import _tensor_file as tensors

SEED = 20131111
ONNX_RTOL = 1e-5  # promised
EPOCH = 1.7e9  # a time in seconds
N = 300


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(SEED)
    seconds = EPOCH + rng.uniform(0, 3600, N)
    size = rng.lognormal(size=N)
    return pa.table(
        {
            "seconds": seconds,
            "size": pa.array([None if i % 11 == 5 else x for i, x in enumerate(size)]),
            "count": rng.integers(0, 9, N),
            "zone": pa.array([None if i % 13 == 0 else "pqrs"[i % 4] for i in range(N)]),
            "price": 1e6 + 50 * (seconds - EPOCH) + 1e4 * size,
            "tip": size * 1e-6,
        }
    )


WHOLE = {"columns": ["seconds", "count"]}
MODELS = {
    "plain": ({}, WHOLE),
    "linear": ({"hidden": (), "norm": None}, WHOLE),
    "layer": ({"norm": "layer", "activation": "tanh", "dropout": 0.2}, WHOLE),
    "instance": ({"norm": "instance", "activation": "sigmoid"}, WHOLE),
    "group": ({"norm": "group"}, WHOLE),
    "rms": ({"norm": "rms", "dtype": "float64"}, WHOLE),
    "unscaled_target": ({"target_scaler": None, "scaler": "minmax"}, {"columns": "count"}),
    "unscaled": ({"scaler": None, "target_scaler": "maxabs"}, {"columns": "count"}),
    "scalers": ({"scaler": {"seconds": sn.MinMaxScaler((-1, 1), clip=True), "count": "robust"},
                 "target_scaler": sn.RobustScaler(unit_variance=True)}, WHOLE),
    "parts": ({"loss": HuberLoss(0.5), "optimizer": Adam(CosineSchedule(0.01, 90), clip_norm=1.0)}, WHOLE),
    "quantile": ({"loss": QuantileLoss(0.9), "optimizer": "sgd", "learning_rate": 0.01}, WHOLE),
    "two": ({"early_stopping": True}, WHOLE | {"target": ["price", "tip"]}),
    "impute": ({"impute": True}, {"columns": ["seconds", "size"]}),
    "impute_robust": ({"impute": True, "scaler": "robust"}, {"columns": ["size"]}),
    "embed": ({"embed": ["zone"], "buckets": 20, "embedding_dim": 3}, WHOLE),
    "everything": ({"impute": True, "embed": ["zone"], "buckets": 9},
                   {"columns": ["seconds", "size", "count"], "target": ["tip", "price"]}),
    "embed_alone": ({"embed": ["zone"]}, {"columns": ["zone"]}),
}  # fmt: skip


def fitted(name, table, **more):
    params, columns = MODELS[name]
    params = {"hidden": (8, 6), "epochs": 2, "random_state": 5} | params | more
    return Regressor(**params).fit(table, **({"target": "price"} | columns))


def plain(params):
    """Texts of parameters, whose lists have become tuples."""
    return {name: repr(tuple(value) if isinstance(value, list) else value) for name, value in params.items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_regressor_is_the_one_that_was_saved(name, table, path):
    model = fitted(name, table)
    model.save(path)
    found = sn.load(path)
    assert type(found) is Regressor and vars(found).keys() == vars(model).keys()
    assert plain(found.get_params(deep=False)) == plain(model.get_params(deep=False))
    assert found.predict(table).tobytes() == model.predict(table).tobytes()
    for attribute in ("history_", "n_iter_", "n_outputs_", "target_names_", "n_features_in_", "_seed", "_structure"):
        assert getattr(found, attribute) == getattr(model, attribute), attribute
    assert list(found.feature_names_in_) == list(model.feature_names_in_)
    assert found.features_.to_dict() == model.features_.to_dict()
    for mine, theirs in ((model.scaler_, found.scaler_), (model.target_scaler_, found.target_scaler_)):
        assert (mine is None) is (theirs is None)
        assert mine is None or (type(mine) is type(theirs) and mine.digest() == theirs.digest())
    assert _model_file.dumps(found) == path.read_bytes()


@pytest.mark.parametrize("name", ["plain", "layer", "parts", "quantile", "two", "everything"])
def test_a_loaded_regressor_trains_on_as_if_it_had_stayed(name, table, path):
    model = fitted(name, table, warm_start=True)
    model.save(path)
    found = sn.load(path)
    columns = {"target": "price"} | MODELS[name][1]
    for each in (model, found):
        each.fit(table, **columns)
        each.partial_fit(table, **columns)
    assert len(found.history_["loss"]) == found.n_iter_ == model.n_iter_ > 3
    assert found.predict(table).tobytes() == model.predict(table).tobytes()


def test_arrays_without_names_and_fits_from_files(table, path, tmp_path):
    X = np.random.default_rng(SEED).normal(size=(50, 3))
    model = Regressor(4, epochs=1, random_state=2**62 + 1).fit(X, X[:, 0])
    model.save(path)
    found = sn.load(path)
    assert not hasattr(found, "feature_names_in_") and found.random_state == 2**62 + 1
    assert found.predict(X).tobytes() == model.predict(X).tobytes()
    pa.parquet.write_table(table, tmp_path / "in.parquet")
    model = Regressor(4, epochs=1, random_state=0).fit(tmp_path / "in.parquet", target="price", columns=["count"])
    model.save(path, overwrite=True)
    assert str(tmp_path).encode() not in path.read_bytes()
    assert sn.load(path).predict(table).tobytes() == model.predict(table).tobytes()


def test_a_generator_is_left_out_with_a_word_and_its_seed_is_kept(table, path):
    model = fitted("plain", table, random_state=np.random.default_rng(1), warm_start=True)
    with pytest.warns(sn.StreamnormWarning, match="random_state is a Generator, which is not saved"):
        model.save(path)
    found = sn.load(path)
    assert found.random_state is None and found._seed == model._seed
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted("plain", table).save(path, overwrite=True)


def test_what_cannot_be_saved(table, path):
    with pytest.raises(sn.NotFittedError):
        Regressor().save(path)
    with pytest.raises(sn.StateError, match="lr is <function|learning_rate is <function"):
        fitted("plain", table, learning_rate=lambda step: 0.01).save(path)
    assert not path.exists()
    model = fitted("plain", table)
    model.save(path)
    with pytest.raises(FileExistsError):
        model.save(path)


def test_prediction_in_another_process_needs_nothing_but_the_file(table, path, tmp_path):
    fitted("everything", table).save(path)
    pa.parquet.write_table(table, tmp_path / "in.parquet")
    code = (
        "import sys, streamnorm as sn\n"
        "found = sn.load(sys.argv[1]).predict(sys.argv[2])\n"
        "import hashlib; print(hashlib.sha256(found.tobytes()).hexdigest(), 'sklearn' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, path, tmp_path / "in.parquet"], capture_output=True, text=True)
    expected = hashlib.sha256(sn.load(path).predict(table).tobytes()).hexdigest()
    assert run.stdout.split() == [expected, "False"], run.stderr


def test_a_network_that_no_longer_is_what_the_parameters_say_does_not_train_on(table, path):
    model = fitted("plain", table, warm_start=True).set_params(hidden=(3,))
    model.save(path)
    for each in (model, sn.load(path)):
        assert each.predict(table).shape == (N,)
        with pytest.raises(ValueError, match="parameters of the network have changed"):
            each.fit(table, target="price", columns=WHOLE["columns"])


# ------------------------------------------------------------------------------------------------ refused


TAMPERED = [
    (lambda c: c.pop("regressor"), "lacks 'regressor'"),
    (lambda c: c.update(regressor=[]), "no 'regressor' of type dict"),
    (lambda c: c["regressor"].pop("seed"), "lacks 'seed'"),
    (lambda c: c["regressor"].update(more=1), "unknown member 'more'"),
    (lambda c: c["regressor"].update(structure=5), "structure"),
    (lambda c: c["layers"][-1]["arguments"].update(bias=False), "do not fit"),
    (lambda c: c["regressor"]["params"].update(norm="spectral"), "cannot be used"),
    (lambda c: c["regressor"]["params"].update(tol="x"), "cannot be used"),
    (lambda c: c["regressor"]["params"].pop("tol"), "lacks 'tol'"),
    (lambda c: c["regressor"]["params"].update(loss={"class": "Regressor", "arguments": {}}), "a 'Regressor' that"),
    (lambda c: c["regressor"]["features"]["columns"].pop(), "does not fit"),
    (lambda c: c["regressor"]["features"].update(version=9), "feature map"),
    (lambda c: c["regressor"]["features"]["columns"][0].update(scale="x"), "feature map"),
    (lambda c: c["regressor"]["scaler"].update(version=9), "scaler that cannot be used"),
    (lambda c: c["regressor"].update(target_scaler=5), "scaler that cannot be used"),
    (lambda c: c["regressor"].update(target_scaler=c["regressor"]["scaler"]), "does not fit"),
    (lambda c: c["regressor"].update(outputs=2), "names of targets|does not fit"),
    (lambda c: c["regressor"].update(target_names=[1]), "names of targets"),
    (lambda c: c["regressor"].update(history={"loss": 1}), "history"),
    (lambda c: c["regressor"].update(history={"loss": ["x"]}), "loss"),
    (lambda c: c["regressor"].update(epochs=-1), "impossible number of epochs"),
    (lambda c: c["regressor"].update(seed=-1), "impossible number of epochs, seed"),
    (lambda c: c.update(loss=None), "an optimizer and no loss"),
]


@pytest.fixture(scope="module")
def written(table):
    return _model_file.dumps(fitted("plain", table))


@pytest.mark.parametrize(("change", "said"), TAMPERED)
def test_what_is_not_as_it_was_written_is_refused(change, said, written, path):
    arrays, text = tensors.from_bytes(written)
    content = json.loads(text)
    change(content)
    content.pop("digest")
    digest = _model_file._digest(content, arrays)
    path.write_bytes(tensors.to_bytes(arrays, canonical(content | {"digest": digest}).decode()))
    with pytest.raises(sn.StateError, match=said) as error:
        sn.load(path)
    assert "model.safetensors" in str(error.value) and "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------ ONNX


def raw(model, table):
    """The columns as ONNX takes them: numbers with NaN, and codes of strings in the last columns."""
    from streamnorm.features import bucket_numbers

    features = model.features_
    numbers = [table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in features.columns]
    codes = [bucket_numbers(table[name].combine_chunks(), features.buckets) for name in features.embed]
    return np.stack([*numbers, *(np.asarray(code, np.float64) for code in codes)], axis=1)


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_predicts_the_same(name, table):
    runtime = pytest.importorskip("onnxruntime")
    model = fitted(name, table)
    exported = to_onnx(model)
    session = runtime.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    x = raw(model, table)
    for rows in (x, x[:7], x[:1]):
        [found] = session.run(["prediction"], {"X": rows})
        mine = model.predict(table.slice(0, len(rows)))
        assert found.shape == mine.shape and found.dtype == np.float64
        scale = np.abs(mine).max(axis=0)
        assert (np.abs(found - mine) <= ONNX_RTOL * scale).all(), np.abs(found - mine).max() / scale
    about = {entry.key: json.loads(entry.value) for entry in exported.metadata_props}
    assert about == {"features": list(model.features_.names), "targets": model.target_names_}


def test_seconds_keep_their_digits_on_the_way_into_onnx(table):
    runtime = pytest.importorskip("onnxruntime")
    model = Regressor((16,), epochs=40, norm=None, random_state=0).fit(table, target="price", columns=["seconds"])
    session = runtime.InferenceSession(to_onnx(model).SerializeToString(), providers=["CPUExecutionProvider"])
    near = np.array([[EPOCH + 1000.0], [EPOCH + 1010.0]])  # one number in float32
    [found] = session.run(None, {"X": near})
    assert found[1] - found[0] == pytest.approx(np.diff(model.predict(pa.table({"seconds": near[:, 0]})))[0], rel=0.01)
    assert abs(found[1] - found[0]) > 100
