"""Scalers as expressions of Arrow's own compute engine, which scanners of data sets run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ._affine import MappedColumn, named_columns

if TYPE_CHECKING:
    import pyarrow.compute as pc

ULPS = 0  # of float64, between the results and those of `transform`

_FUNCTIONS = {"-": "subtract", "/": "divide", "+": "add", "*": "multiply"}


def to_pyarrow(scaler: Any, *, inverse: bool = False) -> dict[str, pc.Expression]:
    """One expression for each normalized column, for ``Dataset.to_table(columns=...)`` and Acero.

    Parameters
    ----------
    scaler : scaler
        Fitted on named columns.
    inverse : bool, default False
        Undo the normalization instead, except for clipping.

    Returns
    -------
    dict of str to pyarrow.compute.Expression
        In the order of the scaler's columns; ``{"id": pc.field("id"), **to_pyarrow(scaler)}`` keeps another column.
        What they give is float64, and the same double as ``transform`` gives (``ULPS`` is 0); for float32 columns it
        is the one before it is rounded to float32. Dates and times have to be made numbers first.

    Raises
    ------
    StreamnormError
        If the scaler's columns have no names.

    Examples
    --------
    >>> import pyarrow.dataset as ds
    >>> import streamnorm as sn
    >>> table = pa.table({"fare": [1.0, 4.0, None]})
    >>> expressions = to_pyarrow(sn.StandardScaler().fit(table))
    >>> ds.dataset(table).to_table(columns=expressions)["fare"].to_pylist()
    [-1.0, 1.0, None]
    """
    import pyarrow.compute as pc

    return {column.name: _expression(pc, column, inverse) for column in named_columns(scaler, "Arrow")}


def _expression(pc: Any, column: MappedColumn, inverse: bool) -> pc.Expression:
    y = pc.field(column.name)
    if column.kind == "decimal":
        y = y.cast(pa.string())  # Arrow's cast of decimals to doubles is off by a bit now and then, that of text is not
    y = y.cast(pa.float64(), safe=False)  # integers beyond 2**53 are rounded, as the kernel rounds them
    for operator, number in column.steps(inverse):
        y = getattr(pc, _FUNCTIONS[operator])(y, pc.scalar(number))
    clip = column.clip(inverse)
    if clip is not None:
        low, high = map(pc.scalar, clip)  # comparisons with NaN are false, so that it stays
        y = pc.if_else(pc.less(y, low), low, pc.if_else(pc.greater(y, high), high, y))
    return y


def pyarrow_source(scaler: Any, *, inverse: bool = False) -> str:
    """Python source of :func:`to_pyarrow`'s expressions, which needs pyarrow alone: the dict ``columns``."""
    lines = []
    for column in named_columns(scaler, "Arrow"):
        y = f"pc.field({column.name!r})" + (".cast(pa.string())" if column.kind == "decimal" else "")
        y += ".cast(pa.float64(), safe=False)"
        for operator, number in column.steps(inverse):
            y = f"pc.{_FUNCTIONS[operator]}({y}, pc.scalar({number!r}))"
        clip = column.clip(inverse)
        if clip is not None:
            low, high = (f"pc.scalar({bound!r})" for bound in clip)
            y = f"pc.if_else(pc.less({y}, {low}), {low}, pc.if_else(pc.greater({y}, {high}), {high}, {y}))"
        lines.append(f"    {column.name!r}: {y},\n")
    head = '"""Expressions for pyarrow: dataset.to_table(columns=columns)."""\n\n'
    return head + "import pyarrow as pa\nimport pyarrow.compute as pc\n\ncolumns = {\n" + "".join(lines) + "}\n"
