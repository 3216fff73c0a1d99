"""Another Cython module can cimport ours: built against the package as installed, with no header of ours."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import streamnorm
from streamnorm._core import ColumnStats
from streamnorm._sketch import QuantileSketch

SOURCE = """
# cython: language_level=3, freethreading_compatible=True
from libc.stdint cimport int64_t, uint8_t

from streamnorm._core cimport ColumnStats, affine_float64, column_update_float32, column_update_float64
from streamnorm._core cimport column_update_int64
from streamnorm._sketch cimport QuantileSketch, sketch_quantiles, sketch_update_float64


def fill(ColumnStats column, const double[::1] values, const uint8_t[::1] validity=None, int offset=0):
    cdef const uint8_t *bits = NULL if validity is None else &validity[0]
    cdef int status
    with nogil:
        status = column_update_float64(column, &values[0], bits, offset, values.shape[0])
    return status


def fill_others(ColumnStats column, const float[::1] floats, const long long[::1] integers):
    cdef int status
    with nogil:
        status = column_update_float32(column, &floats[0], NULL, 0, floats.shape[0])
        if status == 0:
            status = column_update_int64(column, <const int64_t *>&integers[0], NULL, 0, integers.shape[0])
    return status


def scaled(double[::1] values, double center, double scale, double offset):
    with nogil:
        affine_float64(&values[0], &values[0], values.shape[0], center, scale, offset)


def sketch(QuantileSketch sketch, const double[::1] values, const double[::1] ranks, double[::1] quantiles):
    cdef int status
    with nogil:
        status = sketch_update_float64(sketch, &values[0], values.shape[0])
        if status == 0:
            status = sketch_quantiles(sketch, &quantiles[0], &ranks[0], ranks.shape[0])
    return status
"""

BUILD = """
from Cython.Build import cythonize
from setuptools import Extension, setup

setup(name="consumer", ext_modules=cythonize([Extension("consumer", ["consumer.pyx"])]))
"""


@pytest.fixture(scope="module")
def consumer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("consumer")
    (folder / "consumer.pyx").write_text(SOURCE)
    (folder / "setup.py").write_text(BUILD)
    command = [sys.executable, "-P", "setup.py", "-q", "build_ext", "--inplace"]
    env = {**os.environ, "CFLAGS": "-O0", "PYTHONPATH": str(Path(streamnorm.__file__).parents[1])}
    run = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (module_file,) = (path for path in folder.glob("consumer.*") if path.suffix in (".so", ".pyd"))
    spec = importlib.util.spec_from_file_location("consumer", module_file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_columns_are_fed_without_the_gil(consumer):
    values = np.random.default_rng(1).normal(5.0, 2.0, 5000)
    ours, theirs = ColumnStats(), ColumnStats()
    assert consumer.fill(theirs, values) == 0
    assert theirs.state() == ours.update(values).state()


def test_a_validity_bitmap_is_read_from_its_offset_on(consumer):
    column = ColumnStats()
    consumer.fill(column, np.array([1.0, 100.0, 3.0]), np.array([0b00010100], np.uint8), 2)
    assert (column.rows, column.null_count, column.mean) == (3, 1, 2.0)


def test_other_types_have_their_own_functions(consumer):
    column = ColumnStats()
    assert consumer.fill_others(column, np.array([1.5], np.float32), np.array([4], np.int64)) == 0
    assert (column.count, column.min, column.max) == (2, 1.5, 4.0)


def test_the_affine_map_may_work_in_place(consumer):
    values = np.array([1.0, 2.0, 3.0])
    consumer.scaled(values, 2.0, 0.5, 10.0)
    assert values.tolist() == [8.0, 10.0, 12.0]


def test_sketches_are_fed_and_asked_without_the_gil(consumer):
    values = np.random.default_rng(2).lognormal(size=20_000)
    ours, theirs = QuantileSketch(seed=3), QuantileSketch(seed=3)
    ranks, quantiles = np.array([0.0, 0.5, 0.9]), np.empty(3)
    expected = ours.update(values).quantile(ranks)
    assert consumer.sketch(theirs, values, ranks, quantiles) == 0
    assert theirs.to_bytes() == ours.to_bytes()
    assert quantiles.tolist() == expected.tolist()


def test_a_rank_out_of_range_is_a_status(consumer):
    assert consumer.sketch(QuantileSketch(), np.ones(3), np.array([1.5]), np.empty(1)) != 0
