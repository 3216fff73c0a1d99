"""Texts cut into tokens by Arrow's own loops: arrays of texts in, arrays of tokens and where each text's begin out."""

# Design: texts are lower-cased, every separator becomes a NUL or a blank, and one plain split follows; no loop of
# Python's goes over texts or tokens. The default separators go by a table of bytes for ASCII and by a regular
# expression for the rest, which makes them three to five times as fast as a regular expression alone. Turned down:
# Arrow's split_pattern_regex, which is slower and never ends where an expression matches nothing; a kernel of our own,
# which would need Unicode's tables.

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .errors import DataError
from .features import _plain_values, nulls
from .sources import one_line

WORDS = r"[^\p{L}\p{M}\p{N}]+"  # what separates words: all but letters, the marks that combine with them, and digits
CHARACTERS = "characters"
NUL = "\0"
SAMPLE = 512  # texts by which one tells whether they repeat

_REST = r"[^\p{L}\p{M}\p{N}\x00-\x7f]+"  # of WORDS, what is not ASCII
_ASCII = bytes(i if i > 127 or chr(i).isalnum() else 32 for i in range(256))
_ASCII_LOWER = bytes(i + 32 if 65 <= i <= 90 else byte for i, byte in enumerate(_ASCII))

Tokens = tuple[np.ndarray, pa.Array]  # where the tokens of each text begin, and where the last end; the tokens


class Tokenizer:
    """Cuts texts into tokens.

    Parameters
    ----------
    lower : bool
    pattern : str
        RE2 of what separates tokens, or "characters".

    Raises
    ------
    ValueError
        If the pattern is none, or matches nothing at all.
    """

    def __init__(self, lower: bool, pattern: str) -> None:
        if not isinstance(pattern, str):
            raise ValueError(f"pattern must be a regular expression of what separates tokens, got {pattern!r}")
        self.lower, self.pattern = lower, pattern
        if pattern != CHARACTERS:
            try:
                empty = pc.match_substring_regex(_strings([""]), f"^(?:{pattern})$")[0].as_py()
            except pa.ArrowException as error:
                raise ValueError(f"pattern is no regular expression that RE2 knows ({one_line(error)})") from None
            if empty:
                raise ValueError(f"pattern {pattern!r} matches where nothing is: let it take a character at least")

    def split(self, texts: pa.Array) -> Tokens:
        """The tokens of an array of strings; a null has none.

        Raises
        ------
        pyarrow.ArrowInvalid
            If a text is not UTF-8.
        """
        missing = nulls(texts)
        offsets, tokens = self._split(texts if missing is None else texts.drop_null())
        if missing is None:
            return offsets, tokens
        lengths = np.zeros(len(texts), np.int64)
        lengths[~missing] = np.diff(offsets)
        return _offsets_of(lengths), tokens

    def _split(self, texts: pa.Array) -> Tokens:
        if self.pattern == CHARACTERS:
            return _characters(self._lowered(texts))
        if self.pattern == WORDS:
            return _without_empty(pc.ascii_split_whitespace(self._blanked(texts)))
        marked = pc.replace_substring_regex(self._lowered(texts), self.pattern, NUL)
        return _without_empty(pc.split_pattern(marked, NUL))

    def _lowered(self, texts: pa.Array) -> pa.Array:
        if self.lower:
            return pc.utf8_lower(texts)
        texts.validate(full=True)
        return texts

    def _blanked(self, texts: pa.Array) -> pa.Array:
        """Lower-cased, with blanks in the place of the default separators."""
        offsets, data = _bytes_of(texts)
        text = data.tobytes()
        offsets = offsets - offsets[0]
        blanked = _from_bytes(offsets, text.translate(_ASCII_LOWER if self.lower else _ASCII))
        if text.isascii():
            return blanked
        return pc.replace_substring_regex(self._lowered(blanked), _REST, " ")


def _strings(texts: list[str]) -> pa.Array:
    """An array without pa.array, which imports pandas where it is installed."""
    encoded = [text.encode() for text in texts]
    return _from_bytes(_offsets_of(np.array([len(text) for text in encoded], np.int64)), b"".join(encoded))


def _from_bytes(offsets: np.ndarray, data: Any) -> pa.Array:
    starts = np.ascontiguousarray(offsets, dtype=np.int32)
    return pa.StringArray.from_buffers(len(starts) - 1, pa.py_buffer(starts), pa.py_buffer(data))


def offsets_in(array: pa.Array) -> np.ndarray:
    """Where the strings of an array begin in its bytes, and where the last ends."""
    kind = np.int64 if pa.types.is_large_string(array.type) else np.int32
    if not len(array):
        return np.zeros(1, kind)
    return np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array) + 1]


def _bytes_of(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Offsets, and the bytes from the first to the last of them."""
    offsets, data = offsets_in(array), array.buffers()[2]
    if data is None:
        return offsets, np.empty(0, np.uint8)
    return offsets, np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]


def _offsets_of(lengths: np.ndarray) -> np.ndarray:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _without_empty(lists: pa.Array) -> Tokens:
    """What a split has made, without the empty strings that come before and after separators."""
    starts = np.frombuffer(lists.buffers()[1], np.int32)[lists.offset : lists.offset + len(lists) + 1]
    starts = starts.astype(np.int64) if len(starts) else np.zeros(1, np.int64)
    tokens = lists.values.slice(starts[0], starts[-1] - starts[0])
    starts = starts - starts[0]
    full = np.diff(offsets_in(tokens)) > 0
    if full.all():
        return starts, tokens
    return _offsets_of(full)[starts], tokens.filter(as_booleans(full))


def as_booleans(values: np.ndarray) -> pa.Array:
    """Truth values as Arrow has them."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))])


def _characters(texts: pa.Array) -> Tokens:
    """Each code point, by where it begins in UTF-8; nothing is copied but the numbers of these places."""
    offsets, data = _bytes_of(texts)
    offsets = offsets - offsets[0]
    begins = (data & 0xC0) != 0x80
    places = np.append(np.flatnonzero(begins), len(data))
    return _offsets_of(begins)[offsets], _from_bytes(places, data)


def as_text(array: pa.Array, column: Any = None) -> pa.Array:
    """An array as strings, large strings, or a dictionary of those; DataError if it holds no texts."""
    if isinstance(array, np.ndarray):
        raise DataError("an array of numbers holds no texts: give strings, or name a column of strings", column=column)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    kind = array.type
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(array.indices, as_text(array.dictionary, column))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array
    check_type(kind, column)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return array.view(pa.string() if pa.types.is_binary(kind) else pa.large_string())  # split() looks at the bytes
    if pa.types.is_binary_view(kind):
        return array.cast(pa.large_binary()).view(pa.large_string())
    return array.cast(pa.large_string() if pa.types.is_string_view(kind) else pa.string())


def check_type(kind: pa.DataType, column: Any) -> None:
    """Raise DataError unless a column of this type can hold texts."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    if not any(holds(kind) for holds in _TEXTS):
        what = "these values are" if column is None else f"column {column!r} is"
        raise DataError(f"{what} {kind}, and texts are strings: name a column of strings, or cast it", column=column)


_TEXTS = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null,
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view,
)  # fmt: skip


def joined(columns: list[pa.Array]) -> pa.Array:
    """Several columns as one text a row, with a blank between two; a null is an empty text."""
    if len(columns) == 1:
        return columns[0]
    plain = []
    for column in columns:
        if isinstance(column, pa.DictionaryArray):
            column = column.dictionary_decode()
        plain.append(column.cast(pa.large_string()))
    blank = pa.scalar(" ", pa.large_string())
    return pc.binary_join_element_wise(*plain, blank, null_handling="replace", null_replacement="")


def pieces(texts: pa.Array, most_rows: int, most_bytes: int) -> Iterator[pa.Array]:
    """Parts of so many texts, and so many bytes unless one text alone is longer; strings, or as dictionaries."""
    if isinstance(texts, pa.DictionaryArray):
        for start in range(0, len(texts), most_rows):
            yield texts.slice(start, most_rows)
        return
    offsets, start = offsets_in(texts), 0
    while start < len(texts):
        stop = int(np.searchsorted(offsets, offsets[start] + most_bytes, "right")) - 1
        stop = min(max(stop, start + 1), start + most_rows, len(texts))
        part = texts.slice(start, stop - start)
        if offsets[stop] - offsets[start] >= 1 << 31:
            raise DataError("a text is longer than 2 GB: cut it up")
        yield _narrow(part)
        start = stop


def _narrow(texts: pa.Array) -> pa.Array:
    return texts.cast(pa.string()) if pa.types.is_large_string(texts.type) else texts


def distinct(texts: pa.Array) -> tuple[pa.Array, np.ndarray | None]:
    """Texts that differ, where there are few of them, and which of them each row has.

    Returns
    -------
    (pyarrow.StringArray, ndarray of int64 or None)
        None: the texts, row by row. Else the number of each row's, and -1 for a null.
    """
    if not isinstance(texts, pa.DictionaryArray):
        sample = texts.slice(0, SAMPLE)
        if len(texts) <= SAMPLE or len(sample.unique()) > len(sample) // 2:
            return texts, None
        texts = texts.dictionary_encode()
    missing = nulls(texts.indices)
    numbers = _plain_values(texts.indices).astype(np.int64)
    if missing is not None:
        numbers[missing] = -1
    values = texts.dictionary
    if len(values) > len(numbers):
        used, numbers = np.unique(numbers, return_inverse=True)
        numbers = numbers.astype(np.int64)
        if len(used) and used[0] < 0:
            used, numbers = used[1:], numbers - 1
        values = values.take(_integers(used))
    return _narrow(values), numbers


def _integers(values: np.ndarray) -> pa.Array:
    values = np.ascontiguousarray(values, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])
