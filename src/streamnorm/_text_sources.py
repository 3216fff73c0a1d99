"""Texts from anything: columns of whatever batches are made of, or texts in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from ._batch_columns import as_keys
from ._batch_sources import CHUNK_ROWS, BatchSource, StreamSource, TableSource, Unit, open_source
from ._text_tokens import as_text, check_type, joined, pieces
from .errors import DataError
from .sources import one_line
from .summary import near_matches

STREAM_CHARACTERS = 1 << 20
NOT_UTF8 = "holds a text that is not UTF-8: write it anew as UTF-8"


def open_texts(source: Any, column: Any) -> tuple[BatchSource, list[str]]:
    """A source of rows and the columns whose texts are meant; without a column, the source is texts.

    Raises
    ------
    DataError
        If there is no such column, or it holds no texts.
    """
    if column is None:
        return in_memory(source), ["text"]
    names = as_keys(column)
    if not names:
        raise ValueError("column is empty: name a column of texts")
    opened = open_source(source)
    check_columns(opened, names)
    opened.check(names)
    return opened, names


def check_columns(source: BatchSource, names: list[Any]) -> None:
    """Raise DataError unless these columns are there, once, and can hold texts."""
    if source.schema is None:
        raise DataError("an array of numbers has no columns of texts: give a table, a frame or files")
    for name in names:
        found = source.schema.get_all_field_indices(name) if isinstance(name, str) else []
        if len(found) != 1:
            what = "there is no column" if not found else f"there are {len(found)} columns"
            hint = near_matches(str(name), source.schema.names) if not found else "give them different names"
            raise DataError(f"{what} {name!r}: {hint}", column=name)
        check_type(source.schema.field(found[0]).type, name)


def in_memory(texts: Any) -> BatchSource:
    """Texts in memory as a source with one column, "text"."""
    if isinstance(texts, Iterable) and not hasattr(texts, "__len__") and not hasattr(texts, "__arrow_c_stream__"):
        schema, parts = pa.schema([("text", pa.large_string())]), iter(texts)
        batches = (
            pa.RecordBatch.from_arrays([chunk.cast(pa.large_string())], schema=schema)
            for some in iter(lambda: _next_texts(parts), [])
            for chunk in _chunks(some)
        )
        return StreamSource(pa.RecordBatchReader.from_batches(schema, batches))
    chunks = _chunks(texts)
    for chunk in chunks:
        check_type(chunk.type, None)
    return TableSource(pa.table({"text": pa.chunked_array(chunks) if chunks else pa.array([], pa.string())}))


def _next_texts(texts: Iterator[Any]) -> list[Any]:
    """Texts off an iterator, about as many as make `STREAM_CHARACTERS`."""
    taken: list[Any] = []
    size = 0
    for text in texts:
        taken.append(text)
        size += len(text) if isinstance(text, str) else 0
        if size >= STREAM_CHARACTERS or len(taken) == CHUNK_ROWS:
            break
    return taken


def _chunks(texts: Any) -> list[pa.Array]:
    if isinstance(texts, str | bytes):
        raise DataError("this is a single text: put it into a list, or name the column to read if it is a file")
    if isinstance(texts, pa.Table | pa.RecordBatch) or hasattr(texts, "columns"):
        raise DataError("this is a table: name the column of its texts")
    if isinstance(texts, np.ndarray) and texts.ndim != 1:
        raise DataError(f"texts come in an array of one dimension, got shape {texts.shape}")
    if isinstance(texts, np.ndarray) and texts.dtype.kind not in "UOT":
        raise DataError(f"this array holds {texts.dtype}, and texts are strings: cast it")
    if isinstance(texts, tuple | set | frozenset):
        texts = list(texts)
    try:
        if isinstance(texts, pa.Array | pa.ChunkedArray):
            array = texts
        elif hasattr(texts, "__arrow_c_stream__"):
            array = pa.chunked_array(texts)
        else:
            array = pa.array(texts, from_pandas=True)
    except UnicodeEncodeError as error:
        raise DataError(f"a text holds half of a surrogate pair ({one_line(error)}): repair it") from error
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"these are no texts ({one_line(error)}): give strings and None") from error
    return array.chunks if isinstance(array, pa.ChunkedArray) else [array]


def unit_rows(unit: Unit, names: list[str], memory: int) -> int:
    """Rows to read at a time, by what a row of these columns takes in a file."""
    if unit.file is None or not unit.rows:
        return CHUNK_ROWS
    footer = unit.file.footer
    leaves = [leaf for name in names for leaf in footer.fields[footer.field_index(name)].leaves]
    size = sum(footer.chunk(group, leaf).uncompressed_size for group in unit.row_groups for leaf in leaves)
    return max(1, min(CHUNK_ROWS, memory // 32 * unit.rows // max(1, size)))


def folded(source: BatchSource, names: list[str]) -> list[str]:
    """Columns that are best read as dictionaries: one alone, whose type Parquet knows."""
    if len(names) != 1 or source.schema is None:
        return []
    kind = source.schema.field(names[0]).type
    return names if pa.types.is_string(kind) or pa.types.is_binary(kind) else []


def read_texts(source: BatchSource, unit: Unit, names: list[str], memory: int) -> Iterator[tuple[int, pa.Array]]:
    """The texts of a unit, as strings or dictionaries, in pieces, each with the number of its first row."""
    rows = unit_rows(unit, names, memory)
    for chunk in source.read(unit, names, folded(source, names), rows):
        texts = joined([as_text(array, name) for array, name in zip(chunk.arrays, names, strict=True)])
        at = chunk.first_row
        for piece in pieces(texts, CHUNK_ROWS, memory // 64):
            yield at, piece
            at += len(piece)


def not_utf8(unit: Unit, names: list[str], first_row: int, texts: pa.Array) -> DataError:
    """An error about the first of these texts that is not UTF-8."""
    for i in range(len(texts)):
        try:
            one = texts.slice(i, 1)
            (one.dictionary_decode() if isinstance(one, pa.DictionaryArray) else one).validate(full=True)
        except pa.ArrowException:
            break
    return unit.error(NOT_UTF8, first_row + i, names[0])
