"""From rows as they were given to numbers that a network trains on: scalers fitted, inputs and target scaled."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import DataError
from ..features import FeatureMap
from ..scalers import BaseScaler, ColumnScaler, select_columns
from ..scalers._frames import Frame
from ._regressor_network import HOLDOUT, ORDER, Recipe, generator, identity_scaler, make_scaler
from ._regressor_rows import Given, Source, in_chunks, numbers, read_rows, table_of

READING: dict[str, Any] = {"exclude": None, "progress": None, "memory": "256MB", "threads": None}
Piece = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]  # x, y, order of rows, weights


@dataclass(slots=True)
class Scaling:
    """What is fitted before the network: how rows become its inputs, and its outputs the target.

    Attributes
    ----------
    features : FeatureMap
    scaler, target_scaler : scaler or None
    outputs : int
    target_names : list of str, or None
    named : bool
        Whether the columns of the inputs have names.
    """

    features: FeatureMap
    scaler: BaseScaler | None
    target_scaler: BaseScaler | None
    outputs: int
    target_names: list[str] | None
    named: bool

    @property
    def numeric(self) -> list[str]:
        """The names of the columns of numbers."""
        return [str(name) for name in self.features.columns]


@dataclass(slots=True)
class Material:
    """What a network trains on.

    Attributes
    ----------
    scaling : Scaling
    feed : callable
        From an epoch's number to its rows, in pieces that begin with a batch each.
    held : callable or None
        To the rows of the validation share, in pieces.
    """

    scaling: Scaling
    feed: Callable[[int], Iterable[Piece]]
    held: Callable[[], Iterable[Piece]] | None


def material_in_memory(source: Source, recipe: Recipe, seed: int, known: Scaling | None, owner: str) -> Material:
    """Data in memory, scaled once; each epoch has an order of its own."""
    if known is not None and known.named:
        source = replace(source, columns=known.numeric, exclude=None)
    given = read_rows(source, recipe.embed, owner)
    train, held = split_rows(given.order(by_value=recipe.shuffle), recipe, seed)
    if known is None:
        scaling = fit_scaling(given, train, recipe, source.scaling)
    else:
        scaling = known
        check_outputs(given.target.shape[1], known)
        given.inputs = as_fitted(given.inputs, given.numeric is not None, known, owner)
    x = inputs_of(given.inputs, scaling.features)
    y = scaled_target(given.target, scaling.target_scaler, recipe.dtype)
    weight = None if given.weight is None else (given.weight / given.weight.mean()).astype(recipe.dtype)

    def feed(epoch: int) -> Iterator[Piece]:
        order = generator(seed, ORDER, epoch).permutation(train) if recipe.shuffle else train
        yield x, y, order, weight

    def validation() -> Iterator[Piece]:
        yield x[held], y[held], None, None if weight is None else weight[held]

    return Material(scaling, feed, validation if len(held) else None)


def check_outputs(outputs: int, known: Scaling) -> None:
    """Raise DataError if the target has another width than the network."""
    if outputs != known.outputs:
        raise DataError(f"y has {outputs} targets, and the model was fitted on {known.outputs}: give as many")


def inputs_like(data: Any, scaling: Scaling, owner: str) -> Any:
    """A frame or array as inputs like those that were fitted: a table of their columns, or an array of their width.

    Raises
    ------
    DataError
        If a column is missing, or the width is another.
    """
    if not isinstance(data, Frame):
        return as_fitted(data, False, scaling, owner)
    if scaling.named:
        scaling.features.check_schema(data.schema)
        return table_of(data, [str(name) for name in scaling.features.names])
    return as_fitted(table_of(data, select_columns(data.schema)), True, scaling, owner)


def as_fitted(inputs: Any, named: bool, scaling: Scaling, owner: str) -> Any:
    """Inputs that go by position, checked for their number; an array of a table, if the fit saw none."""
    if named and scaling.named:
        return inputs
    check_width(inputs.num_columns if named else inputs.shape[1], scaling, owner)
    return np.stack([numbers(column) for column in inputs.columns], axis=1) if named else inputs


def check_width(width: int, scaling: Scaling, owner: str) -> None:
    """Raise DataError if there are more or fewer inputs than in fit."""
    expected = len(scaling.features.names)
    if width != expected:
        raise DataError(f"X has {width} features, but {owner} is expecting {expected} features as input")


def rows_in_memory(source: Source, scaling: Scaling, owner: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Inputs as the network takes them, target and weights of data in memory, in pieces."""
    if scaling.named:
        source = replace(source, columns=scaling.numeric, exclude=None)
    given = read_rows(source, scaling.features.embed, owner)
    check_outputs(given.target.shape[1], scaling)
    inputs = as_fitted(given.inputs, given.numeric is not None, scaling, owner)
    weight = np.ones(len(given)) if given.weight is None else given.weight
    if given.counts is not None:
        weight = given.counts.astype(np.float64)
    at = 0
    for piece in in_chunks(inputs):
        rows = slice(at, at + len(piece))
        yield inputs_of(piece, scaling.features), given.target[rows], weight[rows]
        at += len(piece)


def r_squared(truth: np.ndarray, guess: np.ndarray, weight: np.ndarray) -> float:
    """The coefficient of determination, all of shape (n, t) but the weights: the mean over targets.

    A target that is constant gives 1 where every prediction is right, and else 0.
    """
    w = weight[:, None]
    missed = (w * (truth - guess) ** 2).sum(axis=0)
    spread = (w * (truth - np.average(truth, axis=0, weights=weight)) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(spread > 0, 1 - missed / spread, np.where(missed > 0, 0.0, 1.0))
    return float(found.mean())


def split_rows(order: np.ndarray, recipe: Recipe, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows to train on and those held out.

    Raises
    ------
    DataError
        If too few rows are left to train on.
    """
    train, held = order, order[:0]
    if recipe.holdout:
        if len(order) < 2:
            raise DataError(
                f"n_samples={len(order)}, and early_stopping=True holds rows out: give more rows, or set it to False"
            )
        count = min(max(round(recipe.holdout * len(order)), 1), len(order) - 1)
        out = np.zeros(len(order), bool)
        out[generator(seed, HOLDOUT).permutation(len(order))[:count]] = True
        train, held = order[~out], order[out]
    check_enough(len(train), recipe)
    return train, held


def check_enough(rows: int, recipe: Recipe) -> None:
    """Raise DataError if there are too few rows for the network to train on."""
    if rows < 2 and recipe.norm == "batch" and recipe.hidden:
        raise DataError(
            f"n_samples={rows} to train on, and batch normalization needs at least 2: give more rows, or use "
            "norm='layer' or norm=None"
        )


def fit_scaling(given: Given, train: np.ndarray, recipe: Recipe, scaling: tuple[Any, Any]) -> Scaling:
    """Fit scalers, from what the parameters `scaler` and `target_scaler` say, on the rows to train on."""
    new, goal = scaler_of_inputs(scaling[0], recipe.impute), make_scaler(scaling[1])
    named = given.numeric is not None
    weight = None if given.weight is None else given.weight[train]
    if named and not given.numeric:
        new = None
    if new is not None:
        pieces = in_chunks(given.inputs, train)
        if named:
            pieces = (piece.select(given.numeric) for piece in pieces)
        fit_on(new, pieces, weight, given.numeric)
    if goal is not None:
        fit_on(goal, in_chunks(given.target, train), weight, None)
    columns: list[Any] = list(range(given.inputs.shape[1])) if given.numeric is None else given.numeric
    features = make_features(new, columns, recipe)
    shown = None if scaling[0] is None else new
    return Scaling(features, shown, goal, given.target.shape[1], given.target_names, named)


def scaler_of_inputs(scaler: Any, impute: bool) -> BaseScaler | None:
    """The scaler to fit on the inputs: with `impute`, one that knows every column."""
    new = make_scaler(scaler)
    if new is None:
        return identity_scaler() if impute else None
    if isinstance(new, ColumnScaler) and isinstance(new.remainder, str) and new.remainder == "passthrough":
        new.remainder = identity_scaler()
    return new


def make_features(scaler: BaseScaler | None, columns: Sequence[Any], recipe: Recipe) -> FeatureMap:
    """The feature map of these columns."""
    return FeatureMap(
        scaler, list(columns), impute=recipe.impute, embed=recipe.embed, buckets=recipe.buckets, dtype=recipe.dtype
    )


def fit_on(scaler: BaseScaler, pieces: Iterable[Any], weight: np.ndarray | None, columns: Sequence[str] | None) -> None:
    """Fit a scaler on pieces of rows, which are one stream to it. It tells no doubts: they are not about training."""
    pieces = list(pieces) if scaler._rereads() else pieces
    options = READING | {"columns": columns}
    if scaler._rereads():
        scaler._fit(pieces, weight, reset=True, **options)
        return
    at, reset = 0, True
    for piece in pieces:
        part = None if weight is None else weight[at : at + len(piece)]
        scaler._fit(piece, part, reset=reset, **options)
        at, reset = at + len(piece), False


def inputs_of(inputs: Any, features: FeatureMap) -> np.ndarray:
    """Inputs as the network takes them, shape (n, width).

    Raises
    ------
    DataError
        If a value is missing or infinite, or too large.
    """
    x = np.empty((len(inputs), features.width), features.dtype)
    at = 0
    for piece in in_chunks(inputs):
        with np.errstate(over="ignore"):
            check_finite(features.matrix(piece, out=x[at : at + len(piece)]), features)
        at += len(piece)
    return x


def check_finite(x: np.ndarray, features: FeatureMap) -> None:
    """Raise DataError, which names the column, if an input is infinite."""
    found = infinite_in(x, features)
    if found is not None:
        raise DataError(f"column {found[0]!r} {too_large(x)}", column=found[0])


def infinite_in(x: np.ndarray, features: FeatureMap) -> tuple[Any, int] | None:
    """The column and the row of an input that is infinite; None if there is none."""
    good = np.isfinite(x)
    if good.all():
        return None
    at = int(np.argmin(good.all(axis=0)[: len(features.columns)]))
    return features.names[at], int(np.argmin(good[:, at]))


def too_large(x: np.ndarray) -> str:
    """What is wrong with such a column."""
    return (
        f"contains infinity or a value too large for {x.dtype} after scaling: leave such rows out, or set the value to "
        "missing and use impute=True"
    )


def scaled_target(target: np.ndarray, scaler: BaseScaler | None, dtype: np.dtype) -> np.ndarray:
    """The target as the network learns it, scaled in float64 and cast after.

    Raises
    ------
    DataError
        If a value is too large.
    """
    scaled = target if scaler is None else scaler.transform(target)
    with np.errstate(over="ignore"):
        y = np.ascontiguousarray(scaled, dtype)
    if not np.isfinite(y).all():
        raise DataError(f"the target has values too large for {dtype}: scale it (target_scaler='standard')")
    return y


def own_units(scaled: np.ndarray, scaler: BaseScaler | None) -> np.ndarray:
    """Predictions of the scaled target in the target's units: float64, shape (n,) for one target, else (n, t)."""
    found = scaled.astype(np.float64)
    if scaler is not None:
        found = scaler.inverse_transform(found)
    return found[:, 0] if found.shape[1] == 1 else found
