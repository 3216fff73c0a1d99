"""The programs of examples/ run, print what scikit-learn prints, and bear out what is said of them."""

import contextlib
import io
import json
import os
import re
import runpy
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sklearn import preprocessing

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = sorted((ROOT / "examples").glob("0[1-9]_*.py"))
NAMES = [path.stem for path in PROGRAMS]
README, TUTORIAL = ROOT / "README.md", ROOT / "docs" / "normalization.md"
MOST_BYTES = 40_000  # of a picture

EVEN = [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
WITH_OUTLIER = [*EVEN[:4], [100, 200]]
SCALED = {
    "01_z_score": ("Normalized Data:\n", preprocessing.StandardScaler, EVEN),
    "02_min_max": ("Scaled Data:\n", preprocessing.MinMaxScaler, EVEN),
    "03_robust": ("Scaled Data:\n", preprocessing.RobustScaler, WITH_OUTLIER),
}


@cache
def ran(name: str, folder: Path) -> tuple[str, list[dict]]:
    """What a program prints in its quick form, and what it measured."""
    path = folder / f"{name}.json"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))}
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), "--quick", "--json", str(path)]
    run = subprocess.run(command, env=env, cwd=folder, capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr
    return run.stdout, json.loads(path.read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    return lambda name: ran(name, folder)


def test_there_are_nine():
    assert [name[:2] for name in NAMES] == [f"{number:02}" for number in range(1, len(NAMES) + 1)]


@pytest.mark.parametrize("name", SCALED)
def test_scalers_print_what_scikit_learn_prints(name, run):
    head, scaler, data = SCALED[name]
    with contextlib.redirect_stdout(io.StringIO()) as wanted:
        print(head, scaler().fit_transform(np.array(data)))
    assert run(name)[0].startswith(wanted.getvalue())


@pytest.mark.parametrize("name", ["04_batch_norm", "05_layer_norm", "06_instance_norm"])
def test_losses_of_random_data_fall_to_their_variance_and_no_further(name, run):
    losses = [float(word) for word in re.search(r"Loss by epoch: (.*)", run(name)[0])[1].split()]
    assert len(losses) == 10
    assert losses[0] > losses[-1] > 0.06  # the variance of uniform numbers is 1/12


@pytest.mark.parametrize("name", NAMES)
def test_programs_print_a_table_for_each_comparison(name, run):
    printed, comparisons = run(name)
    assert comparisons
    for measured in comparisons:
        assert f"\n{measured['setting']}: {measured['optimizer']}, " in printed
        for arm in measured["arms"]:
            assert re.search(rf"^  {re.escape(arm['name'])} .*(±|diverged).*\*", printed, re.MULTILINE)


# Where the text says that it is better by far, and at rates at which two seeds on little data show it, too.
@pytest.mark.parametrize(
    ("name", "optimizer", "rate", "bare"),
    [
        ("01_z_score", "Adam", "0.003", "raw inputs"),
        ("02_min_max", "Adam", "0.003", "raw inputs"),
        ("03_robust", "Adam", "0.003", "raw inputs"),
        ("04_batch_norm", "SGD", "0.001", "no norm"),
        ("05_layer_norm", "SGD", "0.001", "no norm"),
        ("06_instance_norm", "SGD", "0.001", "no norm"),
        ("07_images", "SGD", "0.01", "pixels 0 to 1"),
        ("08_text", "SGD", "0.01", "no norm"),
        ("09_series", "SGD", "0.01", "z-scores"),
    ],
)
def test_normalized_is_better_where_the_text_says_so(name, optimizer, rate, bare, run):
    [measured] = [each for each in run(name)[1] if each["optimizer"] == optimizer]
    errors = {arm["name"]: arm["rates"][rate]["test"] for arm in measured["arms"]}
    assert max(list(errors.values())[-1]) < 0.9 * min(errors[bare])


@pytest.mark.parametrize("name", ["01_z_score", "02_min_max", "03_robust"])
def test_raw_inputs_diverge_without_adam_at_the_rate_that_suits_scaled_ones(name, run):
    [measured] = [each for each in run(name)[1] if each["optimizer"] == "SGD"]
    raw, scaled = measured["arms"]
    assert raw["rates"][scaled["rate"]]["diverged"] == measured["seeds"]
    assert scaled["rates"][scaled["rate"]]["diverged"] == 0
    assert max(scaled["rates"][scaled["rate"]]["test"]) < min(raw["rates"][raw["rate"]]["test"])


@pytest.mark.parametrize("name", NAMES)
def test_what_was_measured_is_that_of_the_programs(name, run):
    """Rows and tables of the pages have the names that the programs have; the numbers are those of a full run."""
    rows = [line for line in README.read_text(encoding="utf-8").splitlines() if f"[`{name}.py`]" in line]
    told = re.search(rf"<!-- measured by {name} -->(.*?)<!-- end -->", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    tables = [part for part in told[1].split("\n\n") if part.startswith("|")]
    comparisons = run(name)[1]
    assert len(rows) == len(tables) == len(comparisons)
    for row, table, measured in zip(rows, tables, comparisons, strict=True):
        names = [arm["name"] for arm in measured["arms"]]
        _, _, data, without, with_norm, differences, _ = row.split("|")
        assert data == f" {measured['setting']}, {measured['optimizer']} "
        assert [each.rpartition(": ")[0].strip() for each in without.split(";")] == names[:-1]
        assert with_norm.startswith(f" {names[-1]}: ")
        assert len(differences.split(";")) == len(names) - 1
        assert re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE) == names
        assert table.startswith(f"| | {' | '.join(measured['arms'][0]['rates'])} |")


def test_all_brings_what_was_measured_to_the_pages(run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    everything = runpy.run_path(str(ROOT / "examples" / "all.py"), run_name="all")
    page = tmp_path / "page.md"
    page.write_text(
        "| [`01_z_score.py`](examples/01_z_score.py) | old |\n| [`02_min_max.py`](examples/02_min_max.py) | kept |\n\n"
        "<!-- measured by 01_z_score -->\nold\n<!-- end -->\n<!-- measured by 02_min_max -->\nkept\n<!-- end -->\n"
    )
    comparisons = run("01_z_score")[1]
    for _ in range(2):  # the second time finds what the first one wrote
        everything["bring"](comparisons, page)
        lines = page.read_text().splitlines()
        assert lines.count("kept") == 1 and "old" not in page.read_text()
        assert lines[:2] == [everything["summary_row"](measured, page) for measured in comparisons]
        assert sum(line.startswith("| z-scores |") for line in lines) == len(comparisons)


@pytest.mark.parametrize("name", NAMES)
def test_every_program_has_its_picture(name):
    picture = ROOT / "docs" / "images" / f"{name}.svg"
    assert f"(images/{name}.svg)" in TUTORIAL.read_text(encoding="utf-8")
    assert picture.stat().st_size < MOST_BYTES
    assert "<dc:date>" not in picture.read_text(encoding="utf-8")
