"""What a regressor's parameters say: checked, and made into layers, a loss, an optimizer, scalers and a seed."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..scalers import METHODS, BaseScaler, ColumnScaler, StandardScaler
from ._module import Module
from .activations import Dropout, ReLU, Sigmoid, Tanh
from .dense import Dense
from .embedding import ColumnEmbedding
from .layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from .losses import Loss, get_loss
from .optimizers import Optimizer, get_optimizer
from .sequential import Sequential

REGRESSION = ("squared", "absolute", "huber", "quantile")
MOST_GROUPS = 8  # of group normalization, where the width has such a divisor
INITIAL, ORDER, HOLDOUT, MASKS = range(4)  # what a seed is used for

_ACTIVATIONS: dict[str, Callable[[], Module]] = {"relu": ReLU, "tanh": Tanh, "sigmoid": Sigmoid}
_NORMS: dict[str, Callable[[int, Any, Any], Module]] = {
    "batch": lambda width, dtype, threads: BatchNorm(width, dtype=dtype, threads=threads),
    "layer": lambda width, dtype, threads: LayerNorm(width, dtype=dtype, threads=threads),
    "instance": lambda width, dtype, threads: InstanceNorm(width, affine=True, dtype=dtype, threads=threads),
    "group": lambda width, dtype, threads: GroupNorm(groups_of(width), width, dtype=dtype, threads=threads),
    "rms": lambda width, dtype, threads: RMSNorm(width, dtype=dtype, threads=threads),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """The parameters of a regressor that describe its network and its training, checked."""

    hidden: tuple[int, ...]
    norm: str | None
    activation: str
    dropout: float
    loss: Loss
    dtype: np.dtype
    embed: tuple[str, ...]
    buckets: int
    embedding_dim: int
    epochs: int
    batch_size: int
    holdout: float  # 0.0: no validation share
    patience: int
    tol: float
    shuffle: bool
    impute: bool

    @property
    def structure(self) -> tuple[Any, ...]:
        """What a network cannot change without being another one."""
        inside = (self.embed, self.buckets, self.embedding_dim) if self.embed else ()
        return self.hidden, self.norm, self.activation, self.dropout, str(self.dtype), self.impute, inside


def read_recipe(model: Any, passes: int | None = None) -> Recipe:
    """Check the parameters of a regressor.

    Parameters
    ----------
    model : Regressor
    passes : int or None
        The number of epochs, if the parameter does not say it; then nothing is held out.

    Raises
    ------
    ValueError
        If one is out of its domain; the message names it.
    """
    for name in ("early_stopping", "shuffle", "impute", "warm_start"):
        if not isinstance(getattr(model, name), bool | np.bool_):
            raise _wrong(name, "must be True or False", model)
    embed = model.embed if isinstance(model.embed, list | tuple) else [] if model.embed is None else [model.embed]
    if not all(isinstance(name, str) for name in embed) or len(set(embed)) != len(embed):
        raise _wrong("embed", "must be names of columns, each once", model)
    check_scaling("scaler", model.scaler)
    check_scaling("target_scaler", model.target_scaler)
    fraction = _real("validation_fraction", model, 0.0, 1.0)
    if not 0.0 < fraction < 1.0:
        raise _wrong("validation_fraction", "must be between 0 and 1", model)
    dropout = _real("dropout", model, 0.0, 1.0)
    if dropout == 1.0:
        raise _wrong("dropout", "must be below 1, which would leave out all", model)
    recipe = Recipe(
        hidden=_widths(model),
        norm=_one_of("norm", model, (*_NORMS, None)),
        activation=_one_of("activation", model, tuple(_ACTIVATIONS)),
        dropout=dropout,
        loss=_loss(model),
        dtype=_dtype(model),
        embed=tuple(embed),
        buckets=_count("buckets", model, 2),
        embedding_dim=_count("embedding_dim", model),
        epochs=_count("epochs", model) if passes is None else passes,
        batch_size=_count("batch_size", model),
        holdout=fraction if model.early_stopping and passes is None else 0.0,
        patience=_count("n_iter_no_change", model),
        tol=_real("tol", model, 0.0, math.inf),
        shuffle=bool(model.shuffle),
        impute=bool(model.impute),
    )
    if recipe.batch_size == 1 and recipe.norm == "batch" and recipe.hidden:
        raise ValueError(
            "batch_size=1 leaves batch normalization nothing to normalize by: use a larger batch_size, or norm='layer'"
        )
    return recipe


def _wrong(name: str, wanted: str, model: Any) -> ValueError:
    return ValueError(f"the parameter {name} of {type(model).__name__} {wanted}, got {getattr(model, name)!r}")


def _count(name: str, model: Any, least: int = 1) -> int:
    value = getattr(model, name)
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral) or value < least:
        raise _wrong(name, f"must be a whole number of at least {least}", model)
    return int(value)


def _real(name: str, model: Any, least: float, most: float) -> float:
    value = getattr(model, name)
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real) or not least <= float(value) <= most:
        raise _wrong(name, f"must be a number from {least:g} to {most:g}", model)
    return float(value)


def _one_of(name: str, model: Any, known: tuple[Any, ...]) -> Any:
    value = getattr(model, name)
    if not (value is None or isinstance(value, str)) or value not in known:
        raise _wrong(name, f"must be one of {', '.join(map(repr, known))}", model)
    return value


def _widths(model: Any) -> tuple[int, ...]:
    given = model.hidden
    widths = list(given) if isinstance(given, list | tuple | np.ndarray) else [given]
    for width in widths:
        if isinstance(width, bool | np.bool_) or not isinstance(width, Integral) or width < 1:
            raise _wrong("hidden", "must be the widths of the hidden layers, whole numbers of at least 1", model)
    return tuple(map(int, widths))


def _dtype(model: Any) -> np.dtype:
    try:
        found = np.dtype(model.dtype)
    except TypeError:
        found = np.dtype(object)
    if found not in (np.float32, np.float64):
        raise _wrong("dtype", "must be 'float32' or 'float64'", model)
    return found


def _loss(model: Any) -> Loss:
    try:
        loss = get_loss(model.loss)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the parameter loss of {type(model).__name__} is not a loss: {error}") from None
    if loss.kind not in REGRESSION:
        raise _wrong("loss", "must be one of mean_squared_error, mean_absolute_error, huber, quantile", model)
    return loss


def check_scaling(name: str, scaling: Any) -> None:
    """Raise ValueError unless this is None, the name of a method, a scaler, or a mapping of columns to these."""
    if scaling is None or isinstance(scaling, BaseScaler):
        return
    if isinstance(scaling, Mapping):
        if scaling:
            return
    elif isinstance(scaling, str) and scaling in METHODS:
        return
    names = ", ".join(map(repr, METHODS))
    raise ValueError(
        f"the parameter {name} must be one of {names}, a scaler, {{column: method}}, or None, got {scaling!r}"
    )


def make_scaler(scaling: Any) -> BaseScaler | None:
    """A scaler that is not fitted and is nobody else's."""
    if scaling is None:
        return None
    if isinstance(scaling, str):
        return METHODS[scaling]()
    if isinstance(scaling, Mapping):
        return ColumnScaler(dict(scaling), remainder="passthrough")
    return type(scaling)(**copy.deepcopy(scaling.get_params(deep=False)))


def identity_scaler() -> StandardScaler:
    """A scaler that leaves values as they are and knows which columns there are."""
    return StandardScaler(with_mean=False, with_std=False)


def make_optimizer(model: Any) -> Optimizer:
    """An optimizer that has not done a step and is nobody else's."""
    if isinstance(model.optimizer, Optimizer):
        made = copy.copy(model.optimizer)
        made.state, made.steps, made._bound = [], 0, None
        return made
    try:
        return get_optimizer(model.optimizer, _rate(model))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the parameter optimizer of {type(model).__name__} is no optimizer: {error}") from None


def set_rate(optimizer: Optimizer, model: Any) -> None:
    """Let an optimizer that goes on do so at the learning rate that the regressor says now."""
    if not isinstance(model.optimizer, Optimizer):
        optimizer.lr = _rate(model)


def _rate(model: Any) -> Any:
    rate = model.learning_rate
    if callable(rate):
        return rate
    if isinstance(rate, bool | np.bool_) or not isinstance(rate, Real) or not 0 < float(rate) < math.inf:
        raise _wrong("learning_rate", "must be a positive number or a schedule", model)
    return float(rate)


def groups_of(width: int) -> int:
    """The number of groups of group normalization: the largest divisor up to MOST_GROUPS with groups of two or more."""
    return max(g for g in range(1, MOST_GROUPS + 1) if width % g == 0 and (width // g > 1 or g == 1))


def make_network(recipe: Recipe, inputs: int, outputs: int, seed: int, threads: int | None = None) -> Sequential:
    """Layers with initial weights from the seed, for this many inputs (those of strings included) and outputs."""
    rng = generator(seed, INITIAL)
    layers: list[Module] = []
    width = inputs - len(recipe.embed)
    if recipe.embed:
        count = len(recipe.embed)
        tables = recipe.buckets, recipe.embedding_dim, count
        layers.append(ColumnEmbedding(*tables, dtype=recipe.dtype, random_state=rng))
        width += count * recipe.embedding_dim
    for depth, units in enumerate(recipe.hidden):
        # a bias before a batch normalization has no effect, and its gradient is rounding noise
        bias = recipe.norm != "batch"
        layers.append(Dense(width, units, bias, dtype=recipe.dtype, random_state=rng, threads=threads))
        if recipe.norm is not None:
            layers.append(_NORMS[recipe.norm](units, recipe.dtype, threads))
        layers.append(_ACTIVATIONS[recipe.activation]())
        if recipe.dropout:
            layers.append(Dropout(recipe.dropout, random_state=int(generator(seed, MASKS, depth).integers(2**63))))
        width = units
    layers.append(Dense(width, outputs, dtype=recipe.dtype, random_state=rng, threads=threads))
    return Sequential(layers)


def seed_of(random_state: Any) -> int:
    """A seed below 2**63 from what scikit-learn and NumPy take for randomness.

    Raises
    ------
    ValueError
        If it is none of int, RandomState, Generator and None.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))
    if isinstance(random_state, Integral) and not isinstance(random_state, bool | np.bool_):
        if not 0 <= int(random_state) < 2**63:
            raise ValueError(f"random_state must be from 0 to 2**63 - 1, got {random_state}")
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31)) << 31 | int(random_state.randint(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63))
    raise ValueError(f"random_state must be an int, a RandomState, a Generator or None, got {random_state!r}")


def generator(seed: int, purpose: int, index: int = 0) -> np.random.Generator:
    """The generator for one purpose, and one epoch or layer of it."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose, index])))
