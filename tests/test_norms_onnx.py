"""The operators' vectors of the ONNX standard: every one of its tests of a normalization layer."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.backend.test.loader import load_model_tests
from support.norms import error

import streamnorm.nn.functional as F
from streamnorm.reference import norms as twins

# The standard's expected values were computed in the dtype of the vector. The bar is that for each of them.
TOLERANCES = {"f2": 2.0**-9, "f4": twins.FLOAT32_TOLERANCE, "f8": twins.FLOAT64_TOLERANCE}

OPERATORS = [
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "RMSNormalization",
]
PER_CHANNEL = 21  # the operator set since which GroupNormalization has a weight for each channel
EPSILON, MOMENTUM = 1e-5, 0.9  # the standard's, where an attribute is left out


@pytest.fixture(scope="module")
def vectors() -> dict[str, list[Any]]:
    """The vectors of each operator: name, operator set, attributes, names of outputs, inputs and outputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other operators' vectors divide by zero on purpose
        cases = load_model_tests(kind="node")
    found: dict[str, list[Any]] = {operator: [] for operator in OPERATORS}
    for case in cases:
        if "_expanded" in case.name or "norm" not in case.name:
            continue
        model = case.model if case.model_dir is None else onnx.load(f"{case.model_dir}/model.onnx")
        nodes = model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in found:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in nodes[0].attribute}
            for inputs, outputs in data_sets(case, model):
                vector = (case.name, model.opset_import[0].version, attributes, list(nodes[0].output), inputs, outputs)
                found[nodes[0].op_type].append(vector)
    return found


def data_sets(case: Any, model: Any) -> list[Any]:
    """Inputs and outputs as arrays: older releases of onnx keep them in files, newer ones make them."""
    if case.model_dir is None:
        return case.data_sets
    sets = []
    for folder in sorted(Path(case.model_dir).glob("test_data_set_*")):
        groups = []
        for kind, names in (("input", model.graph.input), ("output", model.graph.output)):
            paths = [folder / f"{kind}_{i}.pb" for i in range(len(names))]
            groups.append([onnx.numpy_helper.to_array(onnx.load_tensor(path)) for path in paths])
        sets.append(tuple(groups))
    return sets


def batch(module, x, scale, bias, mean, var, *, epsilon=EPSILON, momentum=MOMENTUM, training_mode=0, **other):
    """The standard's momentum is the part that stays, and its running variance follows the biased one."""
    running_mean, running_var = mean.copy(), var.copy()
    y = module.batch_norm(
        x, running_mean, running_var, scale, bias, bool(training_mode), momentum=1 - momentum, eps=epsilon
    )
    if not training_mode:
        return [y]
    n = x.size // x.shape[1]
    biased = momentum * var + (running_var - momentum * var) * ((n - 1) / n)
    return [y, running_mean, biased]


def group(module, x, scale, bias, *, num_groups, epsilon=EPSILON, opset=PER_CHANNEL):
    if opset < PER_CHANNEL:
        scale, bias = (np.repeat(p, x.shape[1] // num_groups) for p in (scale, bias))
    return [module.group_norm(x, num_groups, scale, bias, epsilon)]


def instance(module, x, scale, bias, *, epsilon=EPSILON):
    return [module.instance_norm(x, weight=scale, bias=bias, eps=epsilon)]


def layer(module, x, scale, bias=None, *, axis=-1, epsilon=EPSILON, stash_type=1):
    shape = x.shape[axis % x.ndim :]
    y, mean, rstd = module.layer_norm_forward(x, shape, scale, bias, epsilon)
    ones = (1,) * len(shape)
    return [y, mean.reshape(mean.shape + ones), rstd.reshape(rstd.shape + ones)]


def rms(module, x, scale, *, axis=-1, epsilon=EPSILON, stash_type=1):
    return [module.rms_norm(x, x.shape[axis % x.ndim :], scale, epsilon)]


FUNCTIONS = dict(zip(OPERATORS, [batch, group, instance, layer, rms], strict=True))


@pytest.mark.parametrize("module", [F, twins], ids=["compiled", "twins"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_vectors_of_the_standard(operator, module, vectors):
    assert vectors[operator], f"onnx has no vectors of {operator}"
    for name, opset, attributes, output_names, inputs, outputs in vectors[operator]:
        if operator == "GroupNormalization":
            attributes = {**attributes, "opset": opset}
        found = FUNCTIONS[operator](module, *inputs, **attributes)
        assert len(outputs) == len(output_names) <= len(found), name
        for output, ours, right in zip(output_names, found, outputs, strict=False):
            off, tolerance = error(ours, right), TOLERANCES[right.dtype.str[1:]]
            assert off <= tolerance, f"{name}: {output} is off by {off:.2g}, more than {tolerance:.2g}"
        assert found[0].dtype == outputs[0].dtype, name


def test_the_vectors_cover_what_the_operators_have(vectors):
    seen = {(operator, name) for operator in OPERATORS for vector in vectors[operator] for name in vector[2]}
    wanted = [("epsilon", operator) for operator in OPERATORS] + [("axis", "LayerNormalization")]
    wanted += [("axis", "RMSNormalization"), ("training_mode", "BatchNormalization")]
    wanted += [("num_groups", "GroupNormalization")]
    assert {(operator, name) for name, operator in wanted} <= seen
    outputs = {tuple(names) for _, _, _, names, *_ in vectors["LayerNormalization"]}
    assert any(len(names) == 3 for names in outputs), "no vector has Mean and InvStdDev"
