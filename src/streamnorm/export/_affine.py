"""What every export of a scaler is made of: the steps of each column's affine map, in the kernel's order.

Design: an export does what the kernel does, step by step in float64: subtract, divide, add, clip. A target that rounds
each step as IEEE 754 says then gives the same doubles, and the bound on the difference is 0. Steps that change nothing
(a center of 0, a scale of 1) are left out. Turned down: one multiplication and one addition, x * a + b, which loses
the digits that a large center has in common with x.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from ..errors import StreamnormError
from ..scalers import AffineMap, BaseScaler

Step = tuple[Literal["-", "/", "+", "*"], float]


@dataclass(frozen=True, slots=True)
class MappedColumn:
    """A column by name, what its values were when it was fitted ("float", "int", "decimal", None), and its map."""

    name: Any
    kind: str | None
    map: AffineMap

    def steps(self, inverse: bool = False) -> Iterator[Step]:
        """What is done to a value, one step after the other; clipping comes last."""
        m = self.map
        constant = math.isinf(m.scale)  # whatever comes in; its inverse is the center
        if inverse:
            yield from _unless(0.0, "-", m.offset)
            yield from [("*", 0.0)] if constant else _unless(1.0, "*", m.scale)
            yield from _unless(0.0, "+", m.center)
        else:
            yield from _unless(0.0, "-", m.center)
            yield from [("*", 0.0)] if constant else _unless(1.0, "/", m.scale)
            yield from _unless(0.0, "+", m.offset)

    def clip(self, inverse: bool = False) -> tuple[float, float] | None:
        """The bounds of what comes out; the inverse has none."""
        return None if inverse or self.map.clip is None else (float(self.map.clip[0]), float(self.map.clip[1]))


def _unless(neutral: float, operator: Any, number: float) -> Iterator[Step]:
    if number != neutral:
        yield operator, float(number)


def mapped_columns(scaler: Any) -> list[MappedColumn]:
    """The normalized columns of a fitted scaler, in its order.

    Raises
    ------
    TypeError
        If it is no scaler.
    NotFittedError
        If it is not fitted.
    DataError
        If infinite values are to become null, which no export can say.
    """
    if not isinstance(scaler, BaseScaler):
        raise TypeError(f"a {type(scaler).__name__} cannot be exported: give a fitted scaler")
    maps = scaler._plain_maps()
    return [MappedColumn(name, scaler.summary_[name].stats.kind, m) for name, m in maps.items()]


def named_columns(scaler: Any, target: str) -> list[MappedColumn]:
    """:func:`mapped_columns` where columns are found by name.

    Raises
    ------
    StreamnormError
        If they have none.
    """
    columns = mapped_columns(scaler)
    if not scaler.summary_.named:
        raise StreamnormError(
            f"{target} finds columns by name, and this {type(scaler).__name__} was fitted on an array, whose columns "
            "have none: fit it on a table or a frame"
        )
    return columns


def refuse_constants(columns: list[MappedColumn], target: str) -> None:
    """Raise StreamnormError if a column becomes one value whatever it was, for a target that divides by its scale."""
    for column in columns:
        if math.isinf(column.map.scale):
            raise StreamnormError(
                f"column {column.name!r} becomes a constant by the rule of the scaler, which {target} cannot "
                "undo: leave the column out, or fit with constant='relative'"
            )


def required(module: str, package: str, extra: str | None = None) -> Any:
    """An optional library.

    Raises
    ------
    StreamnormError
        If it is missing.
    """
    try:
        return import_module(module)
    except ImportError:
        install = package if extra is None else f"streamnorm[{extra}]"
        raise StreamnormError(f"the export needs the package {package}: install {install}") from None
