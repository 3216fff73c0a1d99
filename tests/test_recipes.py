"""The recipes of examples/etl/ run, on the data of the repository, and keep what they say of themselves."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import streamnorm as sn

pytestmark = pytest.mark.filterwarnings("ignore::streamnorm.StreamnormWarning")

ROOT = Path(__file__).resolve().parents[1]
RECIPES, DATA = ROOT / "examples" / "etl", ROOT / "examples" / "data"
SOURCES = str(Path(sn.__file__).parents[1])
SLOW = 120  # seconds
RTOL = 1e-12  # of means that were merged in another order
ULPS = 8  # between Welford's method in blocks and NumPy's sums


def recipe(name, path=None):
    spec = importlib.util.spec_from_file_location(name, path or RECIPES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def days(folder, numbers):
    """Some rows of the weather for each day, a file each."""
    table = pq.read_table(DATA / "weather.parquet", columns=["origin", "temp", "humid"])
    folder.mkdir(exist_ok=True)
    for i in numbers:
        pq.write_table(table.slice(i * 500, 500), folder / f"{i}.parquet")
    return folder


def test_every_recipe_is_in_the_readme():
    text = (RECIPES / "README.md").read_text()
    for path in RECIPES.iterdir():
        if path.name not in ("README.md", "__pycache__"):
            assert f"**`{path.name}{'/' if path.is_dir() else ''}`**" in text, path


# ------------------------------------------------------------------ task.py


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_task_may_be_retried_and_run_twice(tmp_path, monkeypatch):
    task = recipe("task")
    raw, state = days(tmp_path / "raw", range(3)), str(tmp_path / "stats.json")
    sn.fit(str(raw)).save(state)
    first = task.normalize_day(str(raw), str(tmp_path / "a"), state)
    assert json.loads(json.dumps(first)) == first
    assert (first["written"], first["kept"], first["rows"]) == (["0.parquet", "1.parquet", "2.parquet"], [], 1500)
    before = contents(tmp_path / "a")
    again = task.normalize_day(str(raw), str(tmp_path / "a"), state)
    assert (again["written"], len(again["kept"]), again["rows"]) == ([], 3, 0) and contents(tmp_path / "a") == before

    transform = sn.transform

    def dies(source, *args, **options):
        if source.endswith("1.parquet"):
            raise OSError("the machine is gone")
        return transform(source, *args, **options)

    monkeypatch.setattr(sn, "transform", dies)
    with pytest.raises(OSError, match="gone"):
        task.normalize_day(str(raw), str(tmp_path / "b"), state)
    monkeypatch.setattr(sn, "transform", transform)
    retried = task.normalize_day(str(raw), str(tmp_path / "b"), state)
    assert retried["kept"] == ["0.parquet"] and contents(tmp_path / "b") == before


def test_the_task_redoes_what_was_made_from_something_else(tmp_path):
    task = recipe("task")
    raw, clean, state = days(tmp_path / "raw", range(2)), str(tmp_path / "clean"), str(tmp_path / "stats.json")
    sn.fit(str(raw)).save(state)
    task.normalize_day(str(raw), clean, state)
    shutil.copy(raw / "0.parquet", raw / "1.parquet")
    assert task.normalize_day(str(raw), clean, state)["written"] == ["1.parquet"]
    assert pq.read_table(tmp_path / "clean" / "1.parquet").equals(pq.read_table(tmp_path / "clean" / "0.parquet"))
    sn.fit(str(raw), "minmax").save(state)
    assert task.normalize_day(str(raw), clean, state)["written"] == ["0.parquet", "1.parquet"]


# ------------------------------------------------------------------ nightly.py


def test_the_nightly_fit_reads_what_is_new(tmp_path):
    nightly = recipe("nightly").nightly
    lake, state = str(tmp_path / "lake" / "*.parquet"), str(tmp_path / "stats.json")
    assert nightly(lake, state)["now"] == 0 and not Path(state).exists()
    days(tmp_path / "lake", range(2))
    assert [nightly(lake, state)[key] for key in ("before", "now")] == [0, 1000]
    saved = Path(state).read_bytes()
    assert [nightly(lake, state)[key] for key in ("before", "now")] == [1000, 1000]
    assert Path(state).read_bytes() == saved
    days(tmp_path / "lake", [2])
    assert [nightly(lake, state)[key] for key in ("before", "now")] == [1000, 1500]
    whole = sn.fit(lake)
    np.testing.assert_allclose(sn.load(state).mean_, whole.mean_, rtol=RTOL)
    np.testing.assert_allclose(sn.load(state).scale_, whole.scale_, rtol=RTOL)


CRASH = """
import os, runpy, sys
replace = os.replace
os.replace = lambda *args, **kwargs: os._exit(9)  # nothing is flushed, closed or cleaned up
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_crash_of_the_nightly_fit_leaves_the_last_state(tmp_path):
    nightly = recipe("nightly").nightly
    lake, state = str(tmp_path / "lake" / "*.parquet"), str(tmp_path / "stats.json")
    days(tmp_path / "lake", [0])
    nightly(lake, state)
    saved = Path(state).read_bytes()
    days(tmp_path / "lake", [1])
    command = [sys.executable, "-c", CRASH, str(RECIPES / "nightly.py"), lake, state]
    died = subprocess.run(command, env={**os.environ, "PYTHONPATH": SOURCES}, capture_output=True, timeout=SLOW)
    assert died.returncode == 9, died.stderr
    assert Path(state).read_bytes() == saved
    assert [nightly(lake, state)[key] for key in ("before", "now")] == [500, 1000]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "stats.json"]


# ------------------------------------------------------------------ view.py


def test_the_view_shows_what_transform_gives(tmp_path):
    file = str(DATA / "weather.parquet")
    view = recipe("view")
    with duckdb.connect(str(tmp_path / "weather.duckdb")) as connection:
        scaler = view.create_view(file, connection)
        view.create_view(file, connection)  # anew, under the same name
    size = (tmp_path / "weather.duckdb").stat().st_size
    assert size < 1_000_000  # no rows
    with duckdb.connect(str(tmp_path / "weather.duckdb"), read_only=True) as connection:
        found = connection.sql("SELECT * FROM normalized").to_arrow_table()
    expected = scaler.transform(pq.read_table(file))
    assert set(found.column_names) == set(expected.column_names)
    for name in scaler.feature_names_in_:
        assert found[name].to_pylist() == expected[name].to_pylist(), name


# ------------------------------------------------------------------ pipe.sh


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix")
def test_the_pipe(tmp_path):
    table = pq.read_table(DATA / "weather.parquet", columns=["origin", "temp", "humid"]).slice(0, 3000)
    pq.write_table(table, tmp_path / "weather.parquet")
    pa.csv.write_csv(table, tmp_path / "weather.csv")
    env = {**os.environ, "PYTHONPATH": SOURCES, "STREAMNORM": f"{sys.executable} -m streamnorm"}
    command = f"cat weather.csv | sh '{RECIPES}/pipe.sh' weather.parquet"
    for _ in range(2):  # with a fit, and with its state
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=env, capture_output=True, timeout=SLOW)
        assert done.returncode == 0, done.stderr.decode()
        found = pa.csv.read_csv(pa.BufferReader(done.stdout))
        expected = sn.load(tmp_path / "stats.json").transform(table)
        assert found["origin"].equals(expected["origin"].cast(found["origin"].type))
        for name in ("temp", "humid"):
            assert found[name].to_pylist() == expected[name].to_pylist()


# ------------------------------------------------------------------ training.py


def test_the_training_loop_learns(tmp_path):
    pytest.importorskip("torch")
    table = pq.read_table(DATA / "flights.parquet").slice(0, 6000)
    training = recipe("training")
    pq.write_table(table.select([*training.FEATURES, training.TARGET]).drop_null(), tmp_path / "flights.parquet")
    model, losses = training.train(str(tmp_path / "flights.parquet"))
    assert losses[1] < losses[0] and losses[1] < 0.5
    assert training.train(str(tmp_path / "flights.parquet"))[1] == losses  # the same seed, the same numbers


# ------------------------------------------------------------------ cython/


@pytest.fixture(scope="module")
def gusts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gusts") / "cython"
    shutil.copytree(RECIPES / "cython", folder)
    command = [sys.executable, "-P", "setup.py", "-q", "build_ext", "--inplace"]
    env = {**os.environ, "CFLAGS": "-O1", "PYTHONPATH": SOURCES}
    built = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=SLOW)
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = (path for path in folder.glob("gusts.*") if path.suffix in (".so", ".pyd"))
    return recipe("gusts", file)


def test_the_cython_module_computes_what_numpy_does(gusts):
    values = pq.read_table(DATA / "weather.parquet")["wind_speed"].drop_null().to_numpy()
    center, scale, out = gusts.standardized(values)
    assert abs(center - values.mean()) <= ULPS * np.spacing(values.mean())
    assert abs(scale - values.std()) <= ULPS * np.spacing(values.std())
    np.testing.assert_array_equal(np.asarray(out), (values - center) / scale)
    assert gusts.standardized(values, block=77)[:2] == (center, scale)
    with pytest.raises(ValueError, match="no values"):
        gusts.standardized(np.empty(0))


def test_other_threads_run_while_the_cython_module_computes(gusts):
    values = np.random.default_rng(5).normal(size=4_000_000)
    begun, turns, ended = threading.Event(), [], threading.Event()

    def compute():
        begun.set()
        for _ in range(5):
            gusts.standardized(values)
        ended.set()

    worker = threading.Thread(target=compute)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)  # nobody is asked for the lock: it is handed on where it is released
    try:
        worker.start()
        begun.wait()
        while not ended.wait(0.0001):  # needs the lock after each wait
            turns.append(None)
    finally:
        sys.setswitchinterval(interval)
        worker.join()
    assert len(turns) > 3
