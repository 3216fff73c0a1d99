"""Which scaler and which norm layer serve a data set best: cross-validated, tested, and with the doubts that remain."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import time as clock
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pyarrow as pa

from .._version import __version__
from ..errors import DataError
from ..locations import placed
from ..memory import parse_memory
from ..nn._regressor_network import check_scaling, read_recipe
from ..nn.regressor import Regressor
from ..scalers import METHODS
from ..scalers._inputs import as_matrix, kind_of
from ._compare_folds import Folds, make_folds
from ._compare_journal import Journal, check_local
from ._compare_runs import Run, Task, Trainer, tasks_of, usable_threads
from ._compare_sample import Sample, Wanted, number_columns, take_sample
from .comparison import Comparison

__all__ = ["compare"]

SCALERS = ("standard", "minmax", "maxabs", "robust", "none")
NORMS = ("none", "batch", "layer")
ALL_NORMS = ("none", "batch", "layer", "instance", "group", "rms")
ROWS = 100_000
Progress = Callable[[int, int, float | None], Any]


def compare(
    source: Any,
    target: Any,
    *,
    scalers: Sequence[Any] | Mapping[str, Any] = SCALERS,
    norms: Sequence[str | None] = NORMS,
    folds: int = 5,
    seeds: int | Sequence[int] = 3,
    group: str | None = None,
    time: str | None = None,
    rows: int | None = ROWS,
    model: Regressor | None = None,
    columns: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    where: str | None = None,
    format: str | None = None,
    types: Mapping[str, Any] | None = None,
    filesystem: Any = None,
    random_state: int = 0,
    alpha: float = 0.05,
    reach: float | None = None,
    journal: str | os.PathLike[str] | None = None,
    memory: str | int = "256MB",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare input scalers and norm layers by cross-validation with the bundled regressor.

    Every combination is trained on the same folds, from the same initial weights and in the same order of rows. The
    scalers, of inputs and target, are fitted on the rows to train on alone.

    Parameters
    ----------
    source : path, list of paths, glob, directory, or data
        Read once, as for :func:`streamnorm.fit`.
    target : str, sequence of str, or array
        The column to predict, or several. An array if the source is one. Rows without it are left out.
    scalers : sequence of {"standard", "minmax", "maxabs", "robust", "none"} and scalers, or mapping
        A mapping gives names to scalers, such as ``{"robust 5-95": RobustScaler(quantile_range=(5, 95))}``.
    norms : sequence of {"none", "batch", "layer", "instance", "group", "rms"}
        Between each hidden layer and its activation.
    folds : int, default 5
    seeds : int or sequence of int, default 3
        How often to repeat it, each time with other folds, initial weights and order; or the seeds themselves, instead
        of those from `random_state` on.
    group : str or None
        A column that says which rows belong together: they are tested on together. The folds are the same for all
        seeds. It is no input unless `columns` names it.
    time : str or None
        A column to order the rows by: each fold is tested on the rows that follow those it was trained on, which are
        all before, as in scikit-learn's ``TimeSeriesSplit``; rows of equal times stay together. It is no input unless
        `columns` names it.
    rows : int or None, default 100_000
        At most so many rows, a sample without bias: the choice depends on `random_state` and the position of each row.
        None: as many as `memory` has room for, which is the bound in any case.
    model : Regressor or None
        What to train: its parameters but for scaler, norm and random_state. None: ``Regressor()``. Missing inputs are
        imputed where there are any.
    columns, exclude, where, format, types, filesystem
        As for :func:`streamnorm.fit`.
    random_state : int, default 0
        The first seed.
    alpha : float, default 0.05
        The probability to call anything a difference where there is none.
    reach : float or None
        The loss of training whose first epoch is the measure of convergence. None: nine tenths of the way from that of
        predicting the mean to the lowest one of any combination.
    journal : path or None
        A file of this machine, as it is appended to, that keeps each run as it is done, from which a call with the same
        data and options goes on.
    memory : str or int, default "256MB"
        Bound of the sample and of what is trained on at a time.
    threads : int or None
        How many trainings go on at a time, each on one thread. The result does not depend on it.
    progress : callable or None
        Called as ``progress(runs_done, runs, seconds_left)``; seconds_left is None until a run is done.

    Returns
    -------
    Comparison
        ``verdict``, ``figures``, ``pairs``, ``runs``; ``table()``, ``to_json()``, ``save(path)``; prints as a table.

    Raises
    ------
    DataError
        If a column is missing, not numeric, infinite or constant where it must not be; if there are too few rows,
        groups or times.
    ValueError
        If an argument is out of its domain.

    Notes
    -----
    Scores are R^2 with the variance of the target over all rows, so that folds weigh alike; a run that diverged counts
    as -1. Differences are tested by the corrected resampled t-test of Nadeau and Bengio (2003), for repeated k-fold
    cross-validation as by Bouckaert and Frank (2004); with `group` and `time` the number of folds counts, not that
    of the runs, as all seeds have the same folds. All p-values
    are adjusted together by Holm's method (1979), so that the chance of any false difference is at most `alpha`.

    Examples
    --------
    >>> import numpy as np, pyarrow as pa
    >>> rng = np.random.default_rng(0)
    >>> table = pa.table({"a": rng.normal(size=200), "b": rng.normal(0, 1e6, 200)})
    >>> table = table.append_column("y", pa.array(table["a"].to_numpy() + table["b"].to_numpy() / 1e6))
    >>> found = compare(table, "y", scalers=["standard", "none"], norms=["none"], folds=3, seeds=2)
    >>> found.best.scaler
    'standard'
    """
    named = _scalers(scalers)
    norm_names = _norms(norms)
    seed_list = _seeds(seeds, random_state)
    folds = _at_least("folds", folds, 2)
    if rows is not None:
        rows = _at_least("rows", rows, 1)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}")
    if group is not None and time is not None:
        raise ValueError("folds go by group or by time: give one of the two")
    model = own_model(model, norm_names)
    workers = usable_threads(threads)
    if journal is not None:
        check_local(journal)
    source, names = _named(placed(source, filesystem), target)
    embed = [model.embed] if isinstance(model.embed, str) else list(model.embed or ())
    wanted = Wanted(names, columns, exclude, embed, group, time)
    sample = take_sample(source, wanted, rows, random_state, memory, where, format, types)
    dealt = make_folds(sample, folds, random_state, group, time)
    notes = _look(sample, rows, model, [name for name in (*names, group, time) if name is not None])
    trainer = Trainer(sample, dealt, model, named)
    tasks = tasks_of(list(named), norm_names, seed_list, folds)
    settings = {
        "target": names,
        "target_std": [float(each) for each in sample.target().std(axis=0)],
        "features": [*sample.features, *embed],
        "rows": len(sample),
        "source_rows": sample.source_rows,
        "left_out": sample.left_out,
        "sample": sample.digest(),
        "scalers": {name: _described(scaler) for name, scaler in named.items()},
        "norms": norm_names,
        "model": {
            name: _described(value)
            for name, value in model.get_params(deep=False).items()
            if name not in ("scaler", "norm", "random_state")
        },
        "batch_size": model.batch_size,
        "split": dealt.kind,
        "group": group,
        "time": time,
        "folds": folds,
        "repeated_folds": dealt.repeated,
        "seeds": seed_list,
        "alpha": alpha,
        "reach": reach,
        "mean_loss": trainer.mean_loss,
        "notes": notes,
    }
    room = min(workers, trainer.room(parse_memory(memory)))
    runs = _trained(trainer, tasks, room, journal, _key(settings, dealt), progress)
    return Comparison(settings, runs)


def _trained(
    trainer: Trainer, tasks: list[Task], workers: int, journal: Any, key: str, progress: Progress | None
) -> list[Run]:
    """All runs: those of the journal, and the rest, which are trained."""
    with nullcontext() if journal is None else Journal(journal, key, tasks) as kept:
        runs = [] if kept is None else list(kept.found)
        known = {run.task for run in runs}
        left = [task for task in tasks if task not in known]
        before, began = len(runs), clock.monotonic()
        if progress is not None:
            progress(before, len(tasks), None if left else 0.0)
        for run in trainer.run_all(left, workers):
            if kept is not None:
                kept.add(run)
            runs.append(run)
            if progress is not None:
                each = (clock.monotonic() - began) / (len(runs) - before)
                progress(len(runs), len(tasks), each * (len(tasks) - len(runs)))
    return runs


def _key(settings: dict[str, Any], folds: Folds) -> str:
    """What a run depends on, besides its task; how it is judged is left out, and which others there are."""
    apart = ("alpha", "reach", "notes", "seeds", "norms", "scalers", "source_rows", "left_out")
    said = {name: value for name, value in settings.items() if name not in apart}
    said["scalers"] = sorted(settings["scalers"].items())
    text = json.dumps([__version__, said], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _look(sample: Sample, rows: int | None, model: Regressor, needed: Sequence[str]) -> list[str]:
    """Raise DataError if nothing can be learned; see to missing inputs; and say what people should know."""
    notes = []
    goal = sample.target()
    for name, values in zip(sample.targets, goal.T, strict=True):
        if values.min() == values.max():
            raise DataError(f"the target {name!r} has one value, {values[0]:g}: there is nothing to predict",
                            column=name)  # fmt: skip
    if sample.left_out:
        lack = "row lacks" if sample.left_out == 1 else "rows lack"
        are = "is" if sample.left_out == 1 else "are"
        notes.append(f"{sample.left_out:,} {lack} {' or '.join(needed)} and {are} left out.")
    if rows is not None and rows > sample.allowed and len(sample) == sample.allowed:
        notes.append(f"Of {rows:,} rows asked for, memory has room for {sample.allowed:,}.")
    lacking = [name for name, values in number_columns(sample) if np.isnan(values).any()]
    if lacking and not model.impute:
        model.set_params(impute=True)
        shown = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
        notes.append(f"Missing values are imputed ({shown}).")
    return notes


def _named(source: Any, target: Any) -> tuple[Any, list[str]]:
    """The source with named columns, and the names of the targets."""
    if isinstance(target, str):
        return source, [target]
    if isinstance(target, (list, tuple)) and target and all(isinstance(name, str) for name in target):
        if len(set(target)) != len(target):
            raise ValueError(f"target must be different names, got {list(target)}")
        return source, list(target)
    if target is None:
        raise ValueError("target= says what to predict: name a column")
    if isinstance(source, (str, os.PathLike)) or kind_of(source) != "array":
        raise ValueError("target must be the name of a column, or several: an array goes with an array")
    matrix, goal = as_matrix(source, "compare"), np.asarray(target, np.float64)
    goal = goal.reshape(len(goal), -1)
    if len(goal) != len(matrix):
        raise DataError(f"the source has {len(matrix)} rows, and the target {len(goal)}: give one for each row")
    names = ["y"] if goal.shape[1] == 1 else [f"y{i}" for i in range(goal.shape[1])]
    arrays = [pa.array(column) for column in (*matrix.T, *goal.T)]
    return pa.table(arrays, names=[*(f"x{i}" for i in range(matrix.shape[1])), *names]), names


def _scalers(given: Any) -> dict[str, Any]:
    """Each by its name; None for no scaler."""
    if isinstance(given, str):
        given = [given]
    items = given.items() if isinstance(given, Mapping) else ((_name(each), each) for each in given)
    found: dict[str, Any] = {}
    for name, each in items:
        scaler = None if each is None or each == "none" else each
        if isinstance(scaler, str) and scaler not in METHODS:
            raise ValueError(f"scalers must be of {', '.join(METHODS)}, none, or scalers, got {scaler!r}")
        check_scaling("scalers", scaler)
        if str(name) in found:
            raise ValueError(f"the scaler {name} is there twice: give names by a mapping")
        found[str(name)] = scaler
    if not found:
        raise ValueError("scalers is empty: name one at least")
    return found


def _name(scaler: Any) -> str:
    return "none" if scaler is None else scaler if isinstance(scaler, str) else repr(scaler)


def _norms(given: Any) -> list[str]:
    names = ["none" if name is None else name for name in ([given] if isinstance(given, str) else given)]
    for name in names:
        if name not in ALL_NORMS:
            raise ValueError(f"norms must be of {', '.join(ALL_NORMS)}, got {name!r}")
    if not names or len(set(names)) != len(names):
        raise ValueError(f"norms must be one name or several different ones, got {names}")
    return names


def _seeds(seeds: Any, first: int) -> list[int]:
    if isinstance(first, bool) or not isinstance(first, int | np.integer) or not 0 <= first < 2**32:
        raise ValueError(f"random_state must be a whole number from 0 to 2**32 - 1, got {first!r}")
    if isinstance(seeds, (list, tuple, range)):
        found = [int(seed) for seed in seeds]
        if not found or len(set(found)) != len(found) or min(found) < 0:
            raise ValueError(f"seeds must be a number, or different whole numbers of at least 0, got {seeds!r}")
        return found
    return [int(first) + i for i in range(_at_least("seeds", seeds, 1))]


def _at_least(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return int(value)


def own_model(model: Any, norms: Sequence[str] = NORMS) -> Regressor:
    """A copy of a regressor, not fitted; ValueError unless its parameters are in their domain with every norm."""
    if model is None:
        model = Regressor()
    if not isinstance(model, Regressor):
        raise ValueError(f"model must be a Regressor, got {type(model).__name__}")
    own = Regressor(**{name: copy.deepcopy(value) for name, value in model.get_params(deep=False).items()})
    for norm in norms:
        read_recipe(own.set_params(norm=None if norm == "none" else norm))
    return own.set_params(warm_start=False, norm="batch" if norms == ["batch"] else None)


def _described(value: Any) -> Any:
    """An option as a plain value that is the same for the same option."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_described(each) for each in value]
    if isinstance(value, Mapping):
        return [[_described(key), _described(each)] for key, each in value.items()]
    if hasattr(value, "get_params"):
        params = value.get_params(deep=False)
    else:
        params = {name: each for name, each in getattr(value, "__dict__", {}).items() if not name.startswith("_")}
    if params or not callable(value):
        return {"class": type(value).__name__, **{name: _described(each) for name, each in params.items()}}
    return repr(value)
