"""What is installed, and how it is compiled."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import Cython.Build
import pytest
import setuptools

import streamnorm

PACKAGE = Path(streamnorm.__file__).parent
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def build(monkeypatch):
    """The extensions and the directives that setup.py asks for."""
    asked = {}

    def cythonize(extensions, **options):
        asked.update(options, extensions=extensions)
        return extensions

    monkeypatch.setattr(Cython.Build, "cythonize", cythonize)
    monkeypatch.setattr(setuptools, "setup", lambda **options: None)
    for name in ("STREAMNORM_DEBUG", "STREAMNORM_WERROR", "STREAMNORM_SANITIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    return asked


def test_types_and_declarations_are_installed():
    for name in ("py.typed", "_core.pyi", "_core.pxd", "_sketch.pyi", "_sketch.pxd", "parquet/_pages.pyi"):
        assert (PACKAGE / name).is_file(), f"{name} is missing beside {PACKAGE}"


def test_declarations_for_cython_need_no_header():
    for path in PACKAGE.rglob("*.pxd"):
        headers = re.findall(r'cdef extern from "([^"]+)"', path.read_text())
        assert not headers, f"{path.name} needs {headers}, which are not installed"


def test_every_extension_is_compiled_for_any_processor_and_any_linker(build):
    assert len(build["extensions"]) >= 4
    for extension in build["extensions"]:
        flags = extension.extra_compile_args
        assert not [flag for flag in flags if flag.startswith(("-march", "-mtune", "-ffast-math", "-Ofast"))]
        assert "-ffp-contract=off" in flags and "-g0" in flags
        assert extension.extra_link_args == []  # GNU's flags are an error on macOS


def test_modules_declare_that_they_run_without_the_gil(build, tmp_path):
    directives = dict(build["compiler_directives"])
    options = [f"-{directives.pop('language_level')}", *(f"-X{name}={value}" for name, value in directives.items())]
    for extension in build["extensions"]:
        source = next(path for path in extension.sources if path.endswith(".pyx"))
        target = tmp_path / f"{extension.name}.c"
        command = [sys.executable, "-m", "cython", *options, "-I", "src", source, "-o", str(target)]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        # The first two are Cython's template, for who sets a macro; the last one is what the directive says.
        said = re.findall(r"#define __Pyx_FREETHREADING_COMPATIBLE (\w+)", target.read_text())
        assert said[-1] == "Py_MOD_GIL_NOT_USED", extension.name
