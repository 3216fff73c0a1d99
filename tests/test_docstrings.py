"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import streamnorm

# The entry points are run, not imported.
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(streamnorm.__path__, "streamnorm.")
    if not module.name.endswith("__main__")
)
NEED_TORCH = {
    "streamnorm.nn.torch",
    "streamnorm.nn._torch_functions",
    "streamnorm._torch_batches",
    "streamnorm.export.torch",
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    if name in NEED_TORCH:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module)
    assert not failed


def test_there_are_examples_to_run():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {
        example.name
        for name in MODULES
        if name not in NEED_TORCH
        for example in finder.find(importlib.import_module(name))
        if example.examples
    }
    # Modules of Python and of Cython alike.
    for wanted in ("streamnorm.fitting.fit", "streamnorm.summary.Summary", "streamnorm.kernels.Moments"):
        assert wanted in found
    assert any(name.startswith("streamnorm._core.") for name in found)
    assert any(name.startswith("streamnorm._sketch.") for name in found)
