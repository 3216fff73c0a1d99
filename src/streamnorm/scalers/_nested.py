"""The numbers inside of structs and lists: taken out for statistics, and put back after a map.

Design: offsets and validity of lists are shared with what came in; only the numbers are new. What a slice does not hold
is neither looked at nor kept.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from .._core import affine, affine_matrix, update_matrix
from ..errors import BadRow, DataError
from ._buffers import array_of, missing_rows, packed, plain_values
from ._paths import Place, is_list, is_list_view, storage_type
from ._select import numeric_chunk, rounded_chunk, value_type, without_infinities

OutType = Callable[[pa.DataType], tuple[pa.DataType, Any]]


def storage(array: pa.Array) -> pa.Array:
    """The array under extensions; views of lists as lists."""
    if isinstance(array.type, pa.BaseExtensionType):
        return storage(array.storage)
    return _without_views(array) if is_list_view(array.type) else array


def _without_views(array: pa.Array) -> pa.Array:
    """Lists that lie one after the other; the cast of some versions of Arrow loses the last of them."""
    kind = storage_type(array.type)
    sizes = np.frombuffer(array.buffers()[2] or b"", _offset_type(kind))[array.offset : array.offset + len(array)]
    offsets = np.zeros(len(array) + 1, sizes.dtype)
    np.cumsum(np.where(missing_rows(array), 0, sizes), out=offsets[1:])
    buffers = [validity(array), pa.py_buffer(offsets)]
    return pa.Array.from_buffers(kind, len(array), buffers, array.null_count, children=[array.flatten()])


def leaf(array: pa.Array, fields: Sequence[str]) -> pa.Array:
    """The field of structs that the names lead to; null where a struct on the way is."""
    for name in fields:
        array = storage(array)
        array = array.flatten()[array.type.get_field_index(name)]
    return storage(array)


def numbers_of(array: pa.Array) -> pa.Array:
    """All numbers in lists, of any depth, one after the other; what is no list is given back."""
    while is_list(array.type):
        array = storage(shown_values(array))
    return array


def positions_of(array: pa.Array, place: Place, length: int) -> np.ndarray | Iterator[pa.Array]:
    """The values at each position of lists: a matrix of shape (rows, length), or arrays where there are nulls."""
    check_lengths(array, place, length)
    numbers = numeric_chunk(shown_values(array))  # without null lists
    plain = plain_values(numbers)
    if plain is not None and array.null_count == 0 and numbers.null_count == 0:
        return plain.reshape(-1, length)
    return _positions_with_nulls(array, length, numbers, plain)


def _positions_with_nulls(
    array: pa.Array, length: int, numbers: pa.Array, plain: np.ndarray | None
) -> Iterator[pa.Array]:
    missing = missing_rows(array)
    start = (np.cumsum(~missing, dtype=np.int64) - 1) * length
    if plain is None:
        for i in range(length):
            yield numbers.take(array_of(start + i, missing))
        return
    if not len(plain):
        plain = np.zeros(length, plain.dtype)  # for null lists to point at
    start[missing] = 0
    hidden = missing_rows(numbers) if numbers.null_count else None
    for i in range(length):
        yield array_of(plain[start + i], missing if hidden is None else missing | hidden[start + i])


def check_lengths(array: pa.Array, place: Place, length: int) -> None:
    """Raise BadRow unless all lists that are not null have this length."""
    if pa.types.is_fixed_size_list(array.type):
        lengths = np.full(len(array), array.type.list_size)
    else:
        lengths = np.diff(_offsets(array))
    wrong = (lengths != length) & ~missing_rows(array)
    if wrong.any():
        row = int(wrong.argmax())
        raise BadRow(
            row,
            f"holds a list of {lengths[row]} where {length} positions have statistics",
            "make lists of one length, or name the column without [*]",
            place.name,
        )


def feed(
    stats: Sequence[Any], array: pa.Array, place: Place, weights: Any = None
) -> bool:
    """Give what lies at a place of one array of its column to the statistics of its features.

    Returns whether there were lists, all of whose values went to the one statistic.
    """
    values = leaf(array, place.fields) if place.fields else storage(array)
    if place.each:
        columns = positions_of(values, place, len(stats))
        if isinstance(columns, np.ndarray):
            update_matrix(list(stats), columns, weights)
        else:
            for one, column in zip(stats, columns, strict=True):
                one.update(column, weights)
        return False
    lists = is_list(values.type)
    if lists:
        if weights is not None:
            raise DataError(
                f"sample_weight weighs rows, and column {place.name!r} has lists of values in them: leave one out, or "
                f"name its positions, {place.name + '[*]'!r}",
                column=place.name,
            )
        values = numbers_of(values)
    stats[0].update(numeric_chunk(values), weights)
    return lists


def mapped_type(kind: pa.DataType, fields: Sequence[str], out_type: OutType) -> pa.DataType:
    """The type of a column with floats where the fields lead to."""
    kind = storage_type(kind)
    if fields:
        inner = [kind.field(i) for i in range(kind.num_fields)]
        at = kind.get_field_index(fields[0])
        inner[at] = inner[at].with_type(mapped_type(inner[at].type, fields[1:], out_type))
        return pa.struct(inner)
    if is_list(kind):
        return _of_values(kind, mapped_type(kind.value_type, (), out_type))
    return out_type(kind)[0]


def _of_values(kind: pa.DataType, values: pa.DataType) -> pa.DataType:
    """A type of lists with values of another type."""
    field = kind.value_field.with_type(values)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(field, kind.list_size)
    return pa.large_list(field) if pa.types.is_large_list(kind) else pa.list_(field)


def mapped_column(
    array: pa.Array, place: Place, maps: Sequence[Any], inverse: bool, out_type: OutType
) -> pa.Array:
    """One array of a column, with the numbers at a place mapped."""

    def change(values: pa.Array) -> pa.Array:
        if place.each:
            check_lengths(values, place, len(maps))
        return _mapped(values, maps, inverse, out_type)

    return _rebuilt(storage(array), place.fields, place.each, change)


def _rebuilt(array: pa.Array, fields: Sequence[str], each: bool, change: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Structs with the field that the names lead to changed; nulls stay."""
    if not fields:
        return change(array)
    at = array.type.get_field_index(fields[0])
    children = [array.field(i) for i in range(array.type.num_fields)]
    if each and array.null_count:  # what a list under a null is has no length to check
        children[at] = array.flatten()[at]
    children[at] = _rebuilt(storage(children[at]), fields[1:], each, change)
    kinds = [array.type.field(i) for i in range(array.type.num_fields)]
    kinds[at] = kinds[at].with_type(children[at].type)
    return pa.Array.from_buffers(pa.struct(kinds), len(array), [validity(array)], array.null_count, children=children)


def _mapped(array: pa.Array, maps: Sequence[Any], inverse: bool, out_type: OutType) -> pa.Array:
    """Numbers, or lists of them, under a map for each position, or one for all."""
    if not is_list(array.type):
        return maps[0].apply(array, inverse, *out_type(array.type))
    if len(maps) > 1 and not _fits(array, len(maps)):
        array = array.take(array_of(np.arange(len(array))))  # null lists, which may hide values, are empty then
    values = list_values(array)
    kind = out_type(value_type(values.type))
    if is_list(storage_type(values.type)):
        new = _mapped(storage(values), maps, inverse, out_type)
    elif hasattr(maps[0], "apply_rows"):
        new = maps[0].apply_rows(array, values, inverse, *kind)
    elif len(maps) == 1:
        new = maps[0].apply(values, inverse, *kind)
    else:
        new = _mapped_positions(values, maps, inverse, *kind)
    return with_values(array, new)


def _fits(array: pa.Array, length: int) -> bool:
    """Whether the values are those of lists of this length, one after the other."""
    if pa.types.is_fixed_size_list(array.type):
        return True
    return bool(np.isin(np.diff(_offsets(array)), (0, length)).all())


def _mapped_positions(values: pa.Array, maps: Sequence[Any], inverse: bool, kind: pa.DataType, dtype: Any) -> pa.Array:
    if not inverse and any(m.blank for m in maps):
        values = without_infinities(rounded_chunk(values))
    factors = [m.factor(inverse) for m in maps]
    vectors = [np.array(each) for each in ([m.center for m in maps], factors, [m.offset for m in maps])]
    matrix = floats_of(values).reshape(-1, len(maps))
    if matrix.dtype != dtype:  # so that nothing is rounded twice
        matrix = matrix.astype(np.float64)
    result = affine_matrix(matrix, *vectors, clip=[m.clip for m in maps], inverse=inverse)
    return floats_array(result.reshape(-1).astype(dtype, copy=False), values, kind)


def floats_of(values: pa.Array) -> np.ndarray:
    """Numbers as floats: shared if they are, and else as float64; what stands under nulls is unspecified."""
    numbers = rounded_chunk(values)
    if pa.types.is_floating(numbers.type):
        plain = plain_values(numbers)
        assert plain is not None
        return plain
    return affine(numbers, 0.0, 1.0)


def floats_array(values: np.ndarray, nulls: pa.Array, kind: pa.DataType) -> pa.Array:
    """An Arrow array of these values, null where `nulls` is."""
    numbers = rounded_chunk(nulls)
    bitmap = validity(numbers)
    return pa.Array.from_buffers(kind, len(values), [bitmap, pa.py_buffer(values)], numbers.null_count)


def validity(array: pa.Array) -> pa.Buffer | None:
    """The bitmap of an array from its first value on, shared where it begins with a byte; None without nulls."""
    if array.null_count == 0:
        return None
    bitmap = array.buffers()[0]
    if bitmap is None or array.offset % 8:
        return packed(~missing_rows(array))
    return bitmap.slice(array.offset // 8)


def _offset_type(kind: pa.DataType) -> Any:
    return np.int64 if pa.types.is_large_list(kind) else np.int32


def _offsets(array: pa.Array) -> np.ndarray:
    """Where each list begins, and where the last one ends, in the values that slices share."""
    kind = _offset_type(array.type)
    if len(array) == 0:
        return np.zeros(1, kind)
    return np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array) + 1]


def list_values(array: pa.Array) -> pa.Array:
    """The values of these lists, with those that nulls hide."""
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        return array.values.slice(array.offset * size, len(array) * size)
    offsets = _offsets(array)
    return array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))


def shown_values(array: pa.Array) -> pa.Array:
    """The values of these lists without those that nulls hide."""
    if array.null_count:
        fixed = pa.types.is_fixed_size_list(array.type)
        if fixed or np.diff(_offsets(array))[missing_rows(array)].any():
            return array.flatten()
    return list_values(array)


def rows_of(array: pa.Array) -> int | np.ndarray:
    """How long the lists are, or where they begin in :func:`list_values`."""
    if pa.types.is_fixed_size_list(array.type):
        return int(array.type.list_size)
    offsets = _offsets(array)
    return offsets if offsets[0] == 0 else offsets - offsets[0]


def with_values(array: pa.Array, values: pa.Array) -> pa.Array:
    """The lists with other values in place of :func:`list_values`; offsets and validity are shared if they can be."""
    kind = _of_values(array.type, values.type)
    buffers = [validity(array)]
    if not pa.types.is_fixed_size_list(kind):
        offsets = rows_of(array)
        width = np.dtype(_offset_type(array.type)).itemsize
        shared = len(array) and _offsets(array)[0] == 0
        buffers.append(array.buffers()[1].slice(array.offset * width) if shared else pa.py_buffer(offsets))
    return pa.Array.from_buffers(kind, len(array), buffers, array.null_count, children=[values])
