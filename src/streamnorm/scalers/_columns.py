"""A scaler that gives each column its own."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import pyarrow as pa

from .._core import ColumnStats
from ..errors import DataError, NotMergeableError
from ..memory import RANK_ERROR
from ..summary import Summary, near_matches
from ._base import BaseScaler, Columns
from ._elementary import _ElementaryScaler
from ._methods import METHODS, new_scaler
from ._paths import check_whole_lists, each_of, ordered, select_features
from ._select import as_names, index_columns, is_number
from ._transform import AffineMap

Key = str | int | tuple[str | int, ...]


def method_scaler(method: Any) -> _ElementaryScaler:
    """The elementary scaler that a method's name stands for, or the scaler itself."""
    if isinstance(method, str) and method in METHODS:
        return new_scaler(method)
    if isinstance(method, _ElementaryScaler):
        return method
    names = ", ".join(repr(name) for name in METHODS)
    raise ValueError(f"a column's method must be one of {names}, or a scaler of one column, got {method!r}")


class ColumnScaler(BaseScaler):
    """Normalize each column by a method of its own.

    Parameters
    ----------
    transformers : dict
        Keys are a column's name or a tuple of names (for arrays: positions); values are "standard", "minmax",
        "maxabs", "robust", or a scaler.
    remainder : "passthrough", str or scaler, default="passthrough"
        What happens to the other columns: nothing, or this method for every other numeric one.

    Attributes
    ----------
    transformers_ : dict
        A fitted scaler for each key, and for ``"remainder"`` if that is a method. They share ``summary_``.
    n_samples_seen_ : int
        Number of rows.
    n_features_in_, feature_names_in_
        Of the normalized columns, in the order of the data.
    summary_ : Summary
        All statistics, by column.

    Examples
    --------
    >>> import pyarrow as pa
    >>> table = pa.table({"id": ["a", "b"], "fare": [2.0, 4.0], "lat": [40.0, 41.0]})
    >>> scaler = ColumnScaler({"fare": "standard", "lat": MinMaxScaler((-1, 1))})
    >>> scaler.fit_transform(table).to_pydict()
    {'id': ['a', 'b'], 'fare': [-1.0, 1.0], 'lat': [-1.0, 1.0]}
    """

    transformers_: dict[Any, _ElementaryScaler]
    n_samples_seen_: int

    def __init__(self, transformers: Mapping[Key, Any], remainder: Any = "passthrough") -> None:
        self.transformers = transformers
        self.remainder = remainder

    def _as_exact(self) -> Self:
        self._check_params()

        def exact(method: Any) -> Any:
            return new_scaler(method, exact=True) if isinstance(method, str) else method._as_exact()

        methods = {key: exact(method) for key, method in self.transformers.items()}
        return type(self)(methods, self.remainder if self._passes_through() else exact(self.remainder))

    def _check_params(self) -> None:
        if not isinstance(self.transformers, Mapping):
            raise ValueError(f"transformers must map columns to methods, got {self.transformers!r}")
        seen: set[str | int] = set()
        for key, method in self.transformers.items():
            method_scaler(method)._check_params()
            for name in _names(key):
                if isinstance(name, bool) or not isinstance(name, str | int):
                    raise ValueError(f"a column is given by its name or its position, got {name!r}")
                if name in seen:
                    raise ValueError(f"column {name!r} is given two methods: leave one out")
                seen.add(name)
        if not self._passes_through():
            method_scaler(self.remainder)._check_params()

    def _passes_through(self) -> bool:
        return isinstance(self.remainder, str) and self.remainder == "passthrough"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; with deep, also ``name__parameter`` of scalers under a single name."""
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            for prefix, scaler in self._nested().items():
                params |= {f"{prefix}__{name}": value for name, value in scaler.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, ``name__parameter`` for those of a scaler inside."""
        own = {name: value for name, value in params.items() if name in self._param_names()}
        super().set_params(**own)
        nested = self._nested()
        for name, value in params.items():
            prefix, separator, parameter = name.rpartition("__")
            if name in own:
                continue
            if not separator or prefix not in nested:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self!r}. Valid parameters are: "
                    f"{list(self.get_params())!r}."
                )
            nested[prefix].set_params(**{parameter: value})
        return self

    def _nested(self) -> dict[str, BaseScaler]:
        pairs = (
            {**self.transformers, "remainder": self.remainder}
            if isinstance(self.transformers, Mapping)
            else {}
        )
        return {
            key: value
            for key, value in pairs.items()
            if isinstance(key, str) and isinstance(value, BaseScaler)
        }

    def _explicit(self) -> dict[str | int, Any]:
        return {name: method for key, method in self.transformers.items() for name in _names(key)}

    def _method_of(self, name: str | int) -> _ElementaryScaler:
        explicit = self._explicit()
        key = _given_as(name, explicit)
        if key is not None:
            return method_scaler(explicit[key])
        if self._passes_through():
            raise KeyError(f"column {name!r} passes through")
        return method_scaler(self.remainder)

    def _methods(self, schema_columns: Mapping[Any, pa.DataType]) -> dict[Any, BaseScaler]:
        explicit = self._explicit()
        given = {name: _given_as(name, explicit) for name in schema_columns}
        for name in explicit.keys() - given.values():
            raise DataError(f"there is no column {name!r}: {near_matches(name, schema_columns)}", column=name)
        chosen = [name for name in schema_columns if given[name] is not None or not self._passes_through()]
        if not chosen:
            raise DataError(
                "there is no column to normalize: name some in transformers, or choose a remainder"
            )
        return {name: self._method_of(name) for name in chosen}

    def _plan(self, schema: pa.Schema, columns: Columns = None, exclude: Columns = None) -> list[str]:
        explicit: list[Any] = list(self._explicit())
        both = set(explicit).intersection(as_names(exclude) or ())
        if both:
            raise DataError(f"columns {sorted(both)} are excluded and have a method: decide for one")
        chosen = explicit
        if not self._passes_through() and (columns is not None or _has_more(schema, set(chosen))):
            chosen = [*chosen, *select_features(schema, columns, exclude)]
        methods = self._methods(dict.fromkeys(ordered(schema, chosen), pa.float64()))
        check_whole_lists(schema, [name for name, method in methods.items() if method._takes_lists])
        return list(methods)

    def _plan_array(self, d: int) -> list[int]:
        positions = super()._plan_array(d)
        for j in positions:
            if self._method_of(j)._takes_lists:
                raise DataError(f"column {j} of an array holds single numbers: give the array to a Normalizer alone")
        return positions

    def _exact_quantiles(self, name: str | int) -> tuple[float, ...]:
        return self._method_of(name)._exact_quantiles(name)

    def _rereads(self) -> bool:
        methods = [*self.transformers.values(), *([] if self._passes_through() else [self.remainder])]
        return any(method_scaler(method)._rereads() for method in methods)

    def _named(self, columns: Columns) -> set[str]:
        return super()._named(columns).union(name for name in self._explicit() if isinstance(name, str))

    def _check_weighable(self) -> None:
        for method in (*self.transformers.values(), *([] if self._passes_through() else [self.remainder])):
            method_scaler(method)._check_weighable()

    def _new_stats(self, name: str | int, seed: int = 0, error: float = RANK_ERROR) -> ColumnStats:
        return self._method_of(name)._new_stats(name, seed, error)

    def _positions(self, summary: Summary, d: int) -> list[int]:
        if summary.named:
            raise DataError(
                "ColumnScaler was fitted on named columns: pass a table or a frame, whose columns have names"
            )
        if max(summary) >= d:
            raise DataError(self._width_message(d, max(summary) + 1))
        return list(summary)

    def _names_in(self, summary: Summary, frame: Any, weight: str | None = None) -> list[str]:
        if not summary.named and not frame.unnamed:
            raise DataError("ColumnScaler was fitted on positions: pass an array, or fit it on named columns")
        return super()._names_in(summary, frame, weight)

    def _attributes(self, summary: Summary) -> dict[str, Any]:
        explicit = self._explicit()
        groups: list[tuple[Key, Any, Sequence[Any]]] = [
            (("remainder",) if key == "remainder" else key, method, _names(key))  # a column may be called that
            for key, method in self.transformers.items()
        ]
        features: dict[Any, list[Any]] = {}
        for name in summary:
            features.setdefault(_given_as(name, explicit), []).append(name)
        groups = [
            (key, method, [feature for name in names for feature in features.get(name, [name])])
            for key, method, names in groups
        ]
        groups.append(("remainder", self.remainder, features.get(None, [])))
        fitted = {}
        for key, method, names in groups:
            if names:
                model = method_scaler(method)
                fitted[key] = type(model)(**model.get_params(deep=False))
                fitted[key]._adopt(summary.part(names), named=summary.named)
        return {"transformers_": fitted, "n_samples_seen_": summary.rows}

    def _all_maps(self) -> dict[str | int, AffineMap]:
        self._check_fitted()
        maps: dict[str | int, AffineMap] = {}
        for scaler in self.transformers_.values():
            maps |= scaler._all_maps()
        return {name: maps[name] for name in self.summary_}

    def _check_spread(self) -> None:
        for scaler in self.transformers_.values():
            scaler._check_spread()

    def _check_mergeable(self, other: Any) -> None:
        for name in other.summary_:
            try:
                ours, theirs = self._method_of(name), other._method_of(name)
            except KeyError:
                ours = theirs = None
            if type(ours) is type(theirs) and ours is not None:
                ours._check_mergeable(theirs)
            else:
                raise NotMergeableError(
                    f"column {name!r} has different methods in the two: give both the same"
                )


def _given_as(name: str | int, explicit: Mapping[Any, Any]) -> str | int | None:
    """The key that gives a feature its method; None for those that have none."""
    if name in explicit:
        return name
    each = each_of(name) if isinstance(name, str) else None
    return each if each in explicit else None


def _names(key: Key) -> tuple[str | int, ...]:
    return key if isinstance(key, tuple) else (key,)


def _has_more(schema: pa.Schema, chosen: set[Any]) -> bool:
    """Whether a numeric column is left for the remainder."""
    index = index_columns(schema)
    return any(is_number(f.type) and f.name not in chosen and f.name not in index for f in schema)
