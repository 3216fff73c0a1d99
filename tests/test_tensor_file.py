"""Files of arrays and a text: what was written comes back, and nothing else is taken for it."""

import json

import numpy as np
import pytest

import streamnorm as sn
from streamnorm.nn import _tensor_file as files

ARRAYS = {
    "network.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "network.1.num_batches_tracked": np.array(7),
    "half": np.array([0.5, -1.0], np.float16),
    "wide": np.array([1e300, np.nan]),
    "none": np.zeros((0, 4)),
}
TEXT = '{"a": "β"}'
FITTING = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
METADATA = {"__metadata__": {"streamnorm": TEXT}}


def packed(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_arrays_and_text_come_back():
    arrays, text = files.from_bytes(files.to_bytes(ARRAYS, TEXT))
    assert text == TEXT and set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)


def test_the_same_arrays_are_the_same_bytes():
    again = {name: np.array(ARRAYS[name], order="F") for name in reversed(ARRAYS)}
    assert files.to_bytes(ARRAYS, TEXT) == files.to_bytes(again, TEXT)


def test_others_can_read_it(path):
    from safetensors import safe_open

    path.write_bytes(files.to_bytes(ARRAYS, TEXT))
    with safe_open(path, "numpy") as opened:
        assert opened.metadata() == {"streamnorm": TEXT}
        np.testing.assert_array_equal(opened.get_tensor("network.0.weight"), ARRAYS["network.0.weight"])


def test_the_text_can_be_read_alone(path):
    path.write_bytes(files.to_bytes(ARRAYS, TEXT))
    text, shapes = files.read_text(path)
    assert text == TEXT and shapes == {name: array.shape for name, array in ARRAYS.items()}


def test_a_file_that_ends_anywhere_too_early_is_an_error_that_names_it(path):
    whole = files.to_bytes({name: ARRAYS[name] for name in ("half", "wide")}, TEXT)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(sn.StateError, match="model.safetensors"):
            sn.load(path)
        if length >= 8:
            with pytest.raises(files.Damage):
                files.read_text(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (packed(METADATA | {"x": FITTING}, bytes(8)) + b"\0", "1 bytes after its arrays"),
        (packed(METADATA | {"x": FITTING | {"dtype": "BF16"}}, bytes(8)), "of a type 'BF16'"),
        (packed(METADATA | {"x": FITTING | {"dtype": ["F32"]}}, bytes(8)), "of a type"),
        (packed(METADATA | {"x": FITTING | {"shape": [3]}}, bytes(8)), "contradict each other"),
        (packed(METADATA | {"x": FITTING | {"shape": [-2]}}, bytes(8)), "impossible shape"),
        (packed(METADATA | {"x": FITTING | {"shape": [True, 2]}}, bytes(8)), "impossible shape"),
        (packed(METADATA | {"x": FITTING | {"data_offsets": [0, 8, 8]}}, bytes(8)), "impossible shape or place"),
        (packed(METADATA | {"x": FITTING | {"more": 1}}, bytes(8)), "not described"),
        (packed(METADATA | {"x": [1]}, bytes(8)), "not described"),
        (packed(METADATA | {"x": FITTING, "y": FITTING}, bytes(8)), "belong to two arrays"),
        (packed(METADATA | {"x": FITTING | {"data_offsets": [4, 12]}}, bytes(12)), "or to none"),
        (packed(METADATA | {"x": FITTING | {"shape": [2**61, 2**61]}}, bytes(8)), "contradict"),
        (packed({"x": FITTING}, bytes(8)), "without streamnorm's description"),
        (packed({"__metadata__": {"format": "pt"}, "x": FITTING}, bytes(8)), "without streamnorm's description"),
        (packed({"__metadata__": {"streamnorm": 5}}), "without streamnorm's description"),
        (packed(b'{"__metadata__": {"streamnorm": "a"}, "__metadata__": {"streamnorm": "b"}}'), "occurs twice"),
        (packed(b"[]"), "no JSON object"),
        (packed(b"[" * 100_000), "not valid JSON"),
        (packed(b'{"x": NaN}'), "not valid JSON"),
        (packed(b"\xff{}"), "not valid JSON"),
        ((1 << 40).to_bytes(8, "little") + b"{}", "does not begin with the length of a header"),
        (packed(METADATA)[:-4], "ends within its header"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(data, said, path):
    path.write_bytes(data)
    with pytest.raises(sn.StateError, match="model.safetensors") as error:
        sn.load(path)
    assert said in str(error.value)


def test_a_state_is_no_model_and_a_model_no_scaler(path, tmp_path):
    path.write_bytes(files.to_bytes(ARRAYS, TEXT))
    with pytest.raises(sn.StateError, match="is a model"):
        sn.merge([path])
    sn.StandardScaler().fit([[1.0], [2.0]]).save(tmp_path / "state.json")
    assert isinstance(sn.load(tmp_path / "state.json"), sn.StandardScaler)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(sn.DataError, match="nowhere.safetensors"):
        sn.load(tmp_path / "nowhere.safetensors")
