"""What a column chunk's metadata must become when its bytes move into another file."""

from collections.abc import Sequence

from streamnorm.parquet import format as fmt
from streamnorm.parquet.footer import Leaf
from streamnorm.parquet.format import ColumnMetaData, SchemaElement, Statistics
from streamnorm.parquet.thrift import I64, Struct

_FIELD_ID = 9  # of a schema element
_EXTREMA = (Statistics.MAX_VALUE, Statistics.MIN_VALUE, Statistics.MAX_EXACT, Statistics.MIN_EXACT)
_DEPRECATED = (Statistics.MAX, Statistics.MIN)


def moved(metadata: Struct, shift: int) -> Struct:
    out = dict(metadata)
    for number in (ColumnMetaData.DATA_PAGE_OFFSET, ColumnMetaData.DICTIONARY_PAGE_OFFSET):
        if number in out:
            if out[number][1] > 0:
                out[number] = (I64, out[number][1] + shift)
            else:
                del out[number]  # 0 for "none"
    # Where there is only a dictionary page, the first data page has no place, but the field is required.
    out.setdefault(ColumnMetaData.DATA_PAGE_OFFSET, out.get(ColumnMetaData.DICTIONARY_PAGE_OFFSET, (I64, 4)))
    return out


def is_binary(leaf: Leaf) -> bool:
    return leaf.element[SchemaElement.TYPE][1] in (fmt.BYTE_ARRAY, fmt.FIXED_LEN_BYTE_ARRAY)


def clean_statistics(metadata: Struct, same_order: bool, binary: bool) -> None:
    """Drop extrema that would mean something else in this file than they did in theirs.

    The deprecated pair was compared by signed bytes, which for binary columns is nobody's order; readers
    trust it or not by who wrote the file, and we now sign.
    """
    if ColumnMetaData.STATISTICS not in metadata:
        return
    dropped = (() if same_order else _EXTREMA) + (_DEPRECATED if binary else ())
    kind, statistics = metadata[ColumnMetaData.STATISTICS]
    metadata[ColumnMetaData.STATISTICS] = (kind, {n: v for n, v in statistics.items() if n not in dropped})


def mismatch(out: Sequence[Struct], source: Sequence[Struct]) -> str | None:
    """Why a field's bytes would be misread under the output's schema; names and field ids do not matter."""
    ours, theirs = ([_shape(element) for element in elements] for elements in (out, source))
    return None if ours == theirs else "its Parquet type is another one"


def _shape(element: Struct) -> Struct:
    shape = {n: v for n, v in element.items() if n not in (SchemaElement.NAME, _FIELD_ID)}
    if SchemaElement.TYPE in shape:
        shape.pop(SchemaElement.NUM_CHILDREN, None)  # some writers give leaves 0 children
    return shape
