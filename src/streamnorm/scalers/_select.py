"""Which columns are normalized, and how a column that is not plainly numeric becomes numbers."""

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ..errors import DataError
from ..summary import ColumnSummary, near_matches
from ._buffers import array_of, missing_rows, plain_values

_FLOATS = {pa.float16(): "float16", pa.float32(): "float32", pa.float64(): "float64"}
_TAKEN_AS_THEY_ARE = {kind.id for kind in _FLOATS}  # which a set of numbers tells faster than a row of questions


def value_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values, under dictionaries, run ends and extensions."""
    if isinstance(kind, pa.BaseExtensionType):
        return value_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return value_type(kind.value_type)
    return kind


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type is normalized without being named."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def is_numeric_when_named(kind: pa.DataType) -> bool:
    """Whether a column of this type can be normalized at all."""
    kind = value_type(kind)
    if is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return True
    return pa.types.is_temporal(kind) and not pa.types.is_interval(kind)


def output_type(kind: pa.DataType) -> tuple[pa.DataType, str]:
    """The Arrow and the NumPy type of a normalized column: floats stay, all else becomes float64."""
    while isinstance(kind, pa.BaseExtensionType):  # which need not be hashable
        kind = kind.storage_type
    return (kind, _FLOATS[kind]) if kind in _FLOATS else (pa.float64(), "float64")


def numeric_chunk(chunk: pa.Array) -> pa.Array:
    """The same rows as integers, floats or decimals: what the kernels take."""
    kind = chunk.type
    if kind.id in _TAKEN_AS_THEY_ARE:
        return chunk
    if isinstance(kind, pa.BaseExtensionType):
        return numeric_chunk(chunk.storage)
    if pa.types.is_dictionary(kind):
        return numeric_chunk(chunk.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        import pyarrow.compute as pc  # 9 MB, which every job would have

        return numeric_chunk(pc.run_end_decode(chunk))
    if pa.types.is_boolean(kind):
        return chunk.cast(pa.uint8())
    if pa.types.is_null(kind):
        return chunk.cast(pa.float64())
    if pa.types.is_temporal(kind):
        return chunk.view(pa.int32() if kind.bit_width == 32 else pa.int64())
    if pa.types.is_decimal256(kind):
        return _narrow_decimals(chunk)
    return chunk


def without_infinities(chunk: pa.Array) -> pa.Array:
    """The same rows with nulls in the place of infinite values."""
    if not pa.types.is_floating(chunk.type):
        return chunk
    values = plain_values(chunk)
    infinite = np.isinf(values)
    if not infinite.any():
        return chunk
    return array_of(values, infinite | missing_rows(chunk))


def finite_chunk(chunk: pa.Array, column: ColumnSummary) -> pa.Array:
    """:func:`numeric_chunk` as a column's statistics take it, which may leave infinite values out."""
    return finite_values(numeric_chunk(chunk), column)


def finite_values(values: np.ndarray | pa.Array, column: ColumnSummary) -> np.ndarray | pa.Array:
    """Numbers, as a column's statistics take them, which may leave infinite values out."""
    if not column.stats.skips_infinite:
        return values
    return values[~np.isinf(values)] if isinstance(values, np.ndarray) else without_infinities(values)


def _narrow_decimals(chunk: pa.Array) -> pa.Array:
    """Decimals of 256 bits in the 128 that the kernels take, if these hold them."""
    try:
        return chunk.cast(pa.decimal128(38, chunk.type.scale))
    except (pa.ArrowInvalid, ValueError):
        raise DataError(
            f"decimals of type {chunk.type} hold a value of more than 38 digits, which no statistics keep: cast the "
            "column to float64 first, or fit it on data without such values (transform takes them)"
        ) from None


def rounded_chunk(chunk: pa.Array) -> pa.Array:
    """:func:`numeric_chunk` for maps, which keep no digits: decimals that have no kernel are the nearest doubles."""
    try:
        return numeric_chunk(chunk)
    except DataError:  # Arrow's own cast of such decimals rounds more than once
        values = [None if value is None else float(value) for value in chunk.to_pylist()]
        return pa.array(values, pa.float64())


def as_names(columns: str | Sequence[str] | None) -> list[str] | None:
    """One name, several, or None, as a list or None."""
    if columns is None:
        return None
    return [columns] if isinstance(columns, str) else list(columns)


def index_columns(schema: pa.Schema) -> set[str]:
    """The columns that hold the index of a pandas frame, by the metadata that pandas leaves."""
    try:
        found = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
        return {name for name in found if isinstance(name, str)}
    except (ValueError, AttributeError, TypeError):
        return set()  # somebody else's use of the key


def check_columns(schema: pa.Schema, names: Sequence[str]) -> None:
    """Raise DataError unless each column is there, once, and can be normalized."""
    index = index_columns(schema)
    for name in names:
        if not isinstance(name, str):
            raise DataError(f"these columns have names, and {name!r} is none: give the column's name", column=name)
        found = schema.get_all_field_indices(name)
        if not found:
            _check_no_path(schema, name)
            raise DataError(f"there is no column {name!r}: {near_matches(name, schema.names)}", column=name)
        if len(found) > 1:
            raise DataError(
                f"there are {len(found)} columns {name!r}: give them different names", column=name
            )
        if name in index:
            raise DataError(
                f"column {name!r} is the index of a pandas frame, which is not normalized: reset the "
                "index first",
                column=name,
            )
        check_numeric(name, schema.field(found[0]).type)


def _check_no_path(schema: pa.Schema, name: str) -> None:
    """Raise DataError, where only whole columns are taken, if a name leads into one."""
    from ._paths import check_place, each_of, place_of  # which goes by what is here

    place = place_of(each_of(name) or name, schema.names)
    if (place.fields or place.each) and place.column in schema.names:
        check_place(schema, place)
        raise DataError(
            f"{name!r} lies inside of column {place.column!r}, where scalers look, but batches and networks do not: "
            "make it a column of its own first",
            column=name,
        )


def check_numeric(name: str, kind: pa.DataType) -> None:
    """Raise DataError unless a column of this type can be normalized."""
    if not is_numeric_when_named(kind):
        raise DataError(
            f"column {name!r} holds {kind}, not numbers: leave it out, or convert it first", column=name
        )


def select_columns(
    schema: pa.Schema,
    columns: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
) -> list[str]:
    """The columns to normalize, in the order of the schema.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the data; its pandas metadata, if any, tells the index columns, which are never normalized.
    columns : str, sequence of str, or None
        The columns wanted. None: every integer, float and decimal column; booleans, dictionaries and
        dates and times only when named.
    exclude : str, sequence of str, or None
        Columns to leave out.

    Returns
    -------
    list of str

    Raises
    ------
    DataError
        If a column is missing, occurs twice, cannot be normalized, or none is left.

    Examples
    --------
    >>> import pyarrow as pa
    >>> schema = pa.schema({"day": pa.date32(), "fare": pa.float64(), "stops": pa.int8(), "id": pa.int64()})
    >>> select_columns(schema, exclude="id")
    ['fare', 'stops']
    """
    wanted, left_out = as_names(columns), set(as_names(exclude) or ())
    for name in left_out.difference(schema.names):
        raise DataError(
            f"there is no column {name!r} to exclude: {near_matches(name, schema.names)}", column=name
        )
    if wanted is None:
        index = index_columns(schema)
        wanted = [field.name for field in schema if is_number(field.type) and field.name not in index]
    wanted = [name for name in wanted if name not in left_out]
    check_columns(schema, wanted)
    if not wanted:
        raise DataError(
            "there is no column to normalize: name booleans, dates, lists or fields in columns=, or "
            "give numbers "
            f"({near_matches('', schema.names)})"
        )
    return sorted(dict.fromkeys(wanted), key=schema.get_field_index)
