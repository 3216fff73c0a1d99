"""Train networks side by side, with a normalization and without it, and print how well each predicts.

Every arm is trained at every learning rate from every seed: the same seeds, rows, epochs and size of a batch for all.
The rate that counts is, for each arm by itself, the one at which the fewest runs diverge, and of these the one with the
least mean error on the validation part after the last epoch. What is printed are errors on the test part, which has
chosen nothing: mean and standard deviation over the seeds, in the target's units. A run whose loss becomes infinite or
NaN has diverged; it is counted, and in no mean.

``--quick`` trains less, to see that a program works. ``--json PATH`` writes what was measured, for all.py to draw.
"""

# Design: arms are compared seed by seed, because a seed gives both the same order of rows and, layer by layer, the same
# first weights; the mean of five differences comes with its standard error. It is called a difference if Student's t
# says so at 95 %. Turned down: the best seed of each, which is luck.
#
# Design: training runs in threads of this process, one for each core, as it does without Python's global lock.
# Turned down: processes, whose imports take longer than some of the runs.

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from real_data import Parts, flights

import streamnorm as sn
from streamnorm import nn

SEEDS, QUICK_SEEDS = 5, 2
STUDENT = {2: 12.706, 5: 2.776}  # seeds: two-sided 95 % quantile of Student's t
QUICK_EPOCHS = 4
OPTIMIZERS = {"Adam": nn.Adam, "SGD": nn.SGD}


class Arm(NamedTuple):
    """What is compared: a name, a network from a seed, and the rows that it gets."""

    name: str
    network: Callable[[int], nn.Sequential]
    parts: Parts


@cache
def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Train side by side, with a normalization and without it.")
    parser.add_argument("--quick", action="store_true", help="fewer rows, seeds and epochs")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write what was measured to PATH")
    return parser.parse_args()


def rows(quick: int, full: int | None = None) -> int | None:
    """How many rows of the data to take, in the quick form and otherwise; None: all."""
    return quick if options().quick else full


def hidden_layers(
    inputs: int, norm: Callable[[int], nn.Module] | None = None, count: int = 2, width: int = 64, he: bool = False
) -> Callable[[int], nn.Sequential]:
    """A function from a seed to a network for regression, with `norm` after the ReLU of each hidden layer.

    With `he` the first weights have the variance that keeps signals their size from one ReLU to the next (He, Zhang,
    Ren and Sun, "Delving deep into rectifiers", ICCV 2015), six times that of PyTorch's first weights; biases are 0.
    """

    def make(seed: int) -> nn.Sequential:
        rng = np.random.default_rng(seed)
        layers: list[nn.Module] = []
        for fan_in in [inputs] + [width] * (count - 1):
            layers += [nn.Dense(fan_in, width, random_state=rng), nn.ReLU()]
            if norm is not None:
                layers.append(norm(width))
        layers.append(nn.Dense(width, 1, random_state=rng))
        for layer in layers:
            if he and isinstance(layer, nn.Dense):
                layer.weight *= math.sqrt(6)
                layer.bias[:] = 0
        return nn.Sequential(layers)

    return make


def run(arm: Arm, optimizer: str, rate: float, seed: int, epochs: int, batch_size: int, loss: str) -> dict[str, Any]:
    """Train once: the errors on the validation part, epoch by epoch, and that on the test part; None if it diverged."""
    parts = arm.parts
    wrong = loss == "softmax_cross_entropy"  # then an error is the share of wrong answers
    network = arm.network(seed).compile(
        OPTIMIZERS[optimizer](rate), loss, threads=1, **({"metrics": ["accuracy"]} if wrong else {})
    )
    try:
        history = network.fit(
            *parts.train,
            epochs=epochs,
            batch_size=batch_size,
            validation_data=tuple(parts.validation),
            random_state=seed,
        )
        if wrong:
            curve = [parts.scale * (1 - share) for share in history["val_accuracy"]]
            test = parts.scale * (1 - network.evaluate(*parts.test, return_dict=True)["accuracy"])
        else:
            curve = [parts.scale * math.sqrt(value) for value in history["val_loss"]]
            test = parts.scale * math.sqrt(network.evaluate(*parts.test))
    except FloatingPointError:
        return {"curve": None, "test": None}
    return {"curve": curve, "test": test} if math.isfinite(test) else {"curve": None, "test": None}


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def summary_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What the seeds of one arm at one rate come to."""
    kept = [each for each in runs if each["test"] is not None]
    return {
        "curves": [each["curve"] for each in runs],
        "test": [each["test"] for each in runs],
        "diverged": len(runs) - len(kept),
        "validation": float(np.mean([each["curve"][-1] for each in kept])) if kept else None,
    }


def chosen(by_rate: dict[str, dict[str, Any]]) -> str:
    """The rate with the fewest diverged runs, and of these the least error on the validation part."""
    return min(by_rate, key=lambda rate: (by_rate[rate]["diverged"], by_rate[rate]["validation"] or 0.0))


def difference(bare: dict[str, Any], normalized: dict[str, Any]) -> dict[str, Any] | None:
    """Normalized less bare, seed by seed: mean, its standard error, and whether it is clear; None if one diverged."""
    pairs = zip(bare["test"], normalized["test"], strict=True)
    values = [after - before for before, after in pairs if before is not None and after is not None]
    if len(values) < len(bare["test"]):
        return None
    mean, std = mean_std(values)
    error = std / math.sqrt(len(values))
    return {"mean": mean, "error": error, "clear": abs(mean) > STUDENT[len(values)] * error}


def compare(
    program: str,
    setting: str,
    arms: Sequence[Arm],
    *,
    optimizer: str = "Adam",
    rates: Sequence[float] = (3e-4, 1e-3, 3e-3, 1e-2),
    epochs: int = 10,
    batch_size: int = 32,
    loss: str = "mean_squared_error",
) -> dict[str, Any]:
    """Train all arms, print a table, and add it to the file of ``--json``.

    Parameters
    ----------
    program : str
        The path of the program that asks.
    setting : str
        What is predicted, in a few words.
    arms : sequence of Arm
        The last one is what the others are compared with; the first one is bare.
    """
    seeds = QUICK_SEEDS if options().quick else SEEDS
    epochs = min(epochs, QUICK_EPOCHS) if options().quick else epochs
    jobs = [(arm, rate, seed) for arm in arms for rate in rates for seed in range(seeds)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda job: run(job[0], optimizer, job[1], job[2], epochs, batch_size, loss), jobs)
        runs = dict(zip([(arm.name, rate, seed) for arm, rate, seed in jobs], done, strict=True))
    measured: dict[str, Any] = {
        "program": Path(program).stem,
        "setting": setting,
        "optimizer": optimizer,
        "epochs": epochs,
        "seeds": seeds,
        "unit": arms[0].parts.unit,
        "naive": arms[0].parts.naive,
        "naive_name": arms[0].parts.naive_name,
        "rows": [len(part.y) for part in arms[0].parts[:3]],
        "arms": [],
    }
    for arm in arms:
        by_rate = {f"{rate:g}": summary_of([runs[arm.name, rate, seed] for seed in range(seeds)]) for rate in rates}
        measured["arms"].append({"name": arm.name, "rates": by_rate, "rate": chosen(by_rate)})
    *others, normalized = (each["rates"][each["rate"]] for each in measured["arms"])
    measured["differences"] = [difference(bare, normalized) for bare in others]
    print(shown(measured))
    if options().json is not None:
        path = options().json
        path.write_text(json.dumps([*(json.loads(path.read_text()) if path.exists() else []), measured]))
    return measured


def compare_norm(program: str, name: str, norm: Callable[[int], nn.Module]) -> None:
    """Compare networks for the delays of flights with a norm layer after each hidden one, and without.

    One is shallow and trained by Adam; one is deep and trained by SGD, where better first weights are tried, too.
    """
    parts = flights(sn.StandardScaler(), rows(5000))
    inputs = parts.train.x.shape[1]
    bare = Arm("no norm", hidden_layers(inputs), parts)
    compare(program, "flights, 2 hidden layers", [bare, Arm(name, hidden_layers(inputs, norm), parts)])

    parts = flights(sn.StandardScaler(), rows(5000, 20_000))
    bare = Arm("no norm", hidden_layers(inputs, count=12), parts)
    he = Arm("no norm, He's first weights", hidden_layers(inputs, count=12, he=True), parts)
    arms = [bare, he, Arm(name, hidden_layers(inputs, norm, 12), parts)]
    compare(program, "flights, 12 hidden layers", arms, optimizer="SGD", rates=(0.0003, 0.001, 0.01, 0.03))


def cell(at_rate: dict[str, Any]) -> str:
    """Mean and standard deviation of the test error, and how many runs diverged."""
    kept = [value for value in at_rate["test"] if value is not None]
    mean, std = mean_std(kept) if kept else (0.0, 0.0)
    said = [f"{mean:.2f} ± {std:.2f}" if max(mean, std) < 1000 else f"{mean:.0e} ± {std:.0e}"] if kept else []
    return ", ".join(said + ([f"{at_rate['diverged']} diverged"] if at_rate["diverged"] else []))


def told(found: dict[str, Any] | None, unit: str = "") -> str:
    """A difference in a few words."""
    if found is None:
        return "diverged at every rate"
    return f"{found['mean']:+.2f} ± {found['error']:.2f}{unit and ' '}{unit}{'' if found['clear'] else ', not clear'}"


def verdicts(measured: dict[str, Any]) -> list[str]:
    """What the comparison says: a line for each arm but the last, and one if the rates tried may not have sufficed."""
    *others, normalized = measured["arms"]
    lines = []
    for arm, found in zip(others, measured["differences"], strict=True):
        less = "" if found is None else f"{normalized['name']} less "
        lines.append(f"{less}{arm['name']}: {told(found, measured['unit'])}")
    ends = [each["name"] for each in measured["arms"] if at_an_end(each)]
    if ends:
        lines.append(f"of the rates tried, the first or the last is the best for {' and for '.join(ends)}")
    return lines


def at_an_end(arm: dict[str, Any]) -> bool:
    """Whether a rate beyond those that were tried might be better still."""
    rates = list(arm["rates"])
    return not arm["rates"][arm["rate"]]["diverged"] and arm["rate"] in (rates[0], rates[-1])


def shown(measured: dict[str, Any]) -> str:
    """A comparison as text."""
    heads = [f"{rate} " for rate in measured["arms"][0]["rates"]]
    table = [["", *heads]]
    for arm in measured["arms"]:
        marks = ["*" if rate == arm["rate"] else " " for rate in arm["rates"]]
        table.append(
            [arm["name"], *(cell(each) + mark for each, mark in zip(arm["rates"].values(), marks, strict=True))]
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    train, _, test = (f"{count:,}" for count in measured["rows"])
    lines = [
        "",
        f"{measured['setting']}: {measured['optimizer']}, {measured['epochs']} epochs, {measured['seeds']} seeds, "
        f"{train} rows to train on",
        f"error of {test} rows, {measured['unit']}, by learning rate; "
        f"{measured['naive_name']}: {measured['naive'][1]:.2f}",
    ]
    for name, *cells in table:
        right = (f"   {each:>{width}}" for each, width in zip(cells, widths[1:], strict=True))
        lines.append(f"  {name:<{widths[0]}}{''.join(right)}")
    lines.append("  * least error on the validation part; at these rates:")
    lines += [f"  {line}" for line in verdicts(measured)]
    return "\n".join(lines)


warnings.simplefilter("ignore", sn.StreamnormWarning)  # of columns that random data or a cut has made constant
sys.stdout.reconfigure(encoding="utf-8")  # ± on any terminal
