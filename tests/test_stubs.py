"""The stubs of the compiled modules say what the modules have."""

import os
import subprocess
import sys
from pathlib import Path

import streamnorm
from streamnorm import _core

# What Cython adds to each module and class, and constructors, whose signatures it does not show.
ALLOWED = r"""
.*\.__test__
.*\.__reduce_cython__
.*\.__setstate_cython__
.*\.__init__
"""


def compiled_modules() -> list[str]:
    package = Path(streamnorm.__file__).parent
    suffix = Path(_core.__file__).name.removeprefix("_core")
    found = [path.relative_to(package.parent) for path in package.rglob(f"*{suffix}")]
    return sorted(".".join([*path.parent.parts, path.name.removesuffix(suffix)]) for path in found)


def absolute(paths: str) -> str:
    return os.pathsep.join(os.path.abspath(path) for path in paths.split(os.pathsep) if path)


def test_every_compiled_module_has_a_stub():
    package = Path(streamnorm.__file__).parent
    modules = compiled_modules()
    assert {"streamnorm._core", "streamnorm._nn", "streamnorm._sketch", "streamnorm.parquet._pages"} <= set(modules)
    for module in modules:
        stub = package.parent.joinpath(*module.split(".")).with_suffix(".pyi")
        assert stub.is_file(), f"{module} has no stub: mypy takes everything in it for Any"


def test_stubs_agree_with_the_modules(tmp_path):
    allowed = tmp_path / "allowed"
    allowed.write_text(ALLOWED)
    options = ["--allowlist", str(allowed), "--ignore-unused-allowlist"]
    run = subprocess.run(
        [sys.executable, "-P", "-m", "mypy.stubtest", *options, *compiled_modules()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": absolute(os.environ.get("PYTHONPATH", ""))},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
