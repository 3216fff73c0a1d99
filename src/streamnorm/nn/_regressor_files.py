"""What a regressor does with files: fit its scalers in one pass, then stream every epoch, in bounded memory."""

# Design: scalers are fitted on the rows that the network trains on, and on no others: those held out and those without
# a target stay out of both. That takes a pass of its own, of which the statistics in the files' footers cannot be part.

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from .._batch_sources import BatchSource, open_source
from .._batches import Batches
from ..errors import DataError
from ..features import FeatureMap
from ..memory import give_back, steady_allocator
from ..scalers import select_columns
from ._regressor_network import HOLDOUT, ORDER, Recipe, generator, make_scaler
from ._regressor_rows import Source, check_one_target, check_target, input_columns, target_values
from ._regressor_scaling import (
    READING,
    Material,
    Piece,
    Scaling,
    check_enough,
    check_finite,
    check_outputs,
    check_width,
    make_features,
    scaler_of_inputs,
)


def material_of_files(source: Source, recipe: Recipe, seed: int, known: Scaling | None, owner: str) -> Material:
    """Files, streamed in each epoch in an order of its own."""
    opened = _opened(source, owner)
    names, weight = source.target or [], source.sample_weight
    if known is not None and known.named:
        numeric = known.numeric
    else:
        taken = [*names, *([] if weight is None else [weight])]
        numeric = input_columns(opened.schema, source.columns, source.exclude, recipe.embed, taken)
    split: dict[str, Any] = {}
    if recipe.holdout:
        split = {"holdout": (recipe.holdout, _seed(seed, HOLDOUT))}
    if known is None:
        plain = FeatureMap(
            None, numeric, embed=recipe.embed, buckets=recipe.buckets, keep_missing=True, dtype=recipe.dtype
        )
        rows = _batches(opened, plain, source, recipe, seed, None, **split)
        steady_allocator()
        scaling = _fit_scaling(rows, numeric, source, recipe)
        give_back()  # what this thread's arena keeps would count on top of what another one reads
    else:
        check_outputs(len(names), known)
        scaling = known
        if not known.named:
            check_width(len(numeric), known, owner)
            scaling = replace(known, features=_renamed(known.features, numeric))
    training = _batches(opened, scaling.features, source, recipe, seed, scaling.target_scaler, **split)

    def feed(epoch: int) -> Iterator[Piece]:
        training.set_epoch(epoch)
        for x, y, weights in training.pieces():
            assert y is not None
            check_finite(x, scaling.features)
            yield x, y, None, weights

    held = None
    if recipe.holdout:
        validating = _batches(
            opened, scaling.features, source, replace(recipe, shuffle=False), seed, scaling.target_scaler,
            part="validation", **split,
        )  # fmt: skip

        def held() -> Iterator[Piece]:
            for x, y, weights in validating.pieces():
                assert y is not None
                check_finite(x, scaling.features)
                yield x, y, None, weights

    return Material(scaling if known is None else known, feed, held)


def _opened(source: Source, owner: str) -> BatchSource:
    check_one_target(source, owner)
    if source.y is not None:
        raise DataError("files come with their target: name the column by target=, instead of giving y")
    if source.sample_weight is not None and not isinstance(source.sample_weight, str):
        raise DataError("the weights of rows in files are a column: give its name as sample_weight")
    opened = open_source(source.X)
    check_target(opened.schema, source.target)
    return opened


def _seed(seed: int, purpose: int) -> int:
    return int(generator(seed, purpose).integers(2**63))


def _batches(
    opened: BatchSource,
    features: FeatureMap,
    source: Source,
    recipe: Recipe,
    seed: int,
    target_scaler: Any,
    **split: Any,
) -> Batches:
    return Batches(
        opened,
        features,
        recipe.batch_size,
        recipe.shuffle,
        _seed(seed, ORDER),
        target=source.target,
        sample_weight=source.sample_weight,
        target_scaler=target_scaler,
        dtype=recipe.dtype,
        memory=source.memory,
        threads=source.threads,
        **split,
    )


def _fit_scaling(rows: Batches, numeric: list[str], source: Source, recipe: Recipe) -> Scaling:
    """Fit both scalers in one pass over the rows to train on (more passes for exact quantiles)."""
    names, weight = source.target or [], source.sample_weight
    new = scaler_of_inputs(source.scaling[0], recipe.impute) if numeric else None
    goal = make_scaler(source.scaling[1])
    wanted = list(dict.fromkeys([*numeric, *names, *([] if weight is None else [weight])]))
    for scaler in (new, goal):
        if scaler is not None and scaler._rereads():
            raise DataError(
                "exact quantiles take passes of their own over the rows to train on, of which files get one: "
                f"use {type(scaler).__name__}() without exact=True, or a table in memory"
            )
    count = 0
    for batch in rows._raw(wanted):
        if not len(batch):
            continue
        if new is not None:
            new._fit(batch, weight, reset=count == 0, columns=numeric, **READING)
        if goal is not None:
            weights = None if weight is None else batch.column(weight)
            goal._fit(target_values(batch, names), weights, reset=count == 0, columns=None, **READING)
        count += len(batch)
    if not count:
        raise DataError(f"every row lacks its target ({', '.join(names)}) or its weight: there is none to train on")
    check_enough(count, recipe)
    features = make_features(new, numeric, recipe)
    return Scaling(features, None if source.scaling[0] is None else new, goal, len(names), names, True)


def _renamed(features: FeatureMap, names: list[str]) -> FeatureMap:
    """A feature map that was fitted on positions, for columns with names."""
    state = features.to_dict()
    for column, name in zip(state["columns"], names, strict=True):
        column["name"] = name
    return FeatureMap.from_dict(state)


def _features_for(opened: BatchSource, scaling: Scaling, taken: list[str], owner: str) -> FeatureMap:
    if scaling.named:
        return scaling.features
    names = [name for name in select_columns(opened.schema) if name not in taken]
    check_width(len(names), scaling, owner)
    return _renamed(scaling.features, names)


def inputs_in_files(
    X: Any, scaling: Scaling, memory: str | int, threads: int | None, owner: str
) -> Iterator[np.ndarray]:
    """The inputs of all rows, in order, as the network takes them."""
    opened = open_source(X)
    features = _features_for(opened, scaling, [], owner)
    rows = Batches(opened, features, 1024, False, dtype=features.dtype, memory=memory, threads=threads)
    for x, _, _ in rows.pieces():
        check_finite(x, features)
        yield x


def rows_of_files(source: Source, scaling: Scaling, owner: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Inputs as the network takes them, target and weights, in pieces; rows without a target are left out."""
    opened = _opened(source, owner)
    names, weight = source.target or [], source.sample_weight
    check_outputs(len(names), scaling)
    taken = [*names, *([] if weight is None else [weight])]
    features = _features_for(opened, scaling, taken, owner)
    rows = Batches(opened, features, 1024, False, target=names, sample_weight=weight, dtype=features.dtype,
                   memory=source.memory)  # fmt: skip
    for batch in rows._raw(list(dict.fromkeys([*features.names, *taken]))):
        goal = target_values(batch, names)
        weights = np.ones(len(goal)) if weight is None else target_values(batch, [weight])[:, 0]
        x = features.matrix(batch)
        check_finite(x, features)
        yield x, goal, weights
