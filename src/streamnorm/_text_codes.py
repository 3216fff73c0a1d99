"""Texts as matrices of whole numbers: the code of each token, padded and cut to one length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ._batch_columns import whole_number
from ._text_tokens import Tokenizer, distinct
from .features import nulls

PADDING, UNKNOWN = 0, 1
FIRST = 2  # code of a token


@dataclass(frozen=True)
class Encoder:
    """Makes codes of texts.

    Attributes
    ----------
    tokenizer : Tokenizer
    tokens : pyarrow.StringArray
        In the order of their codes, from `FIRST` on.
    length : int
        Codes a text.
    padding, truncating : {"pre", "post"}
        Where zeros go, and what is cut off.
    """

    tokenizer: Tokenizer
    tokens: pa.Array
    length: int
    padding: str
    truncating: str

    def __post_init__(self) -> None:
        if whole_number("length", self.length, "a positive integer") < 1:
            raise ValueError(f"length must be a positive integer, got {self.length!r}")
        for name in ("padding", "truncating"):
            if getattr(self, name) not in ("pre", "post"):
                raise ValueError(f"{name} must be 'pre' or 'post', got {getattr(self, name)!r}")

    def matrix(self, texts: pa.Array) -> np.ndarray:
        """The codes of strings, or of a dictionary of strings, as int32 of shape (n, length)."""
        values, numbers = distinct(texts)
        if numbers is None:
            return self._filled(np.zeros((len(values), self.length), np.int32), values)
        of_values = np.zeros((len(values) + 1, self.length), np.int32)  # the last row is that of nulls
        self._filled(of_values[:-1], values)
        return of_values[numbers]

    def codes(self, tokens: pa.Array) -> np.ndarray:
        """The code of each token."""
        if not len(tokens):
            return np.zeros(0, np.int32)
        found = pc.index_in(tokens, value_set=self.tokens)
        codes = np.frombuffer(found.buffers()[1], np.int32)[found.offset : found.offset + len(found)] + np.int32(FIRST)
        unknown = nulls(found)
        if unknown is not None:
            codes[unknown] = UNKNOWN
        return codes

    def _filled(self, out: np.ndarray, texts: pa.Array) -> np.ndarray:
        starts, tokens = self.tokenizer.split(texts)
        lengths = np.diff(starts)
        kept = np.minimum(lengths, self.length)
        first = starts[:-1] if self.truncating == "post" else starts[1:] - kept
        codes = self.codes(tokens)
        places = np.arange(len(out)) * self.length
        if self.padding == "pre":
            places += self.length - kept
        before = np.cumsum(kept) - kept
        number = np.arange(int(kept.sum()))
        out.reshape(-1)[number + np.repeat(places - before, kept)] = codes[number + np.repeat(first - before, kept)]
        return out


def as_codes(codes: Any, most: int) -> np.ndarray:
    """Codes of shape (n, length) as integers; ValueError for others."""
    array = np.asarray(codes)
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise ValueError(f"codes come as numbers of shape (n, length), got {array.dtype} of shape {array.shape}")
    whole = array.astype(np.int64)
    if (whole != array).any() or (len(whole) and whole.size and (whole.min() < 0 or whole.max() >= most)):
        raise ValueError(f"codes are whole numbers from 0 to {most - 1}: give those of this vocabulary")
    return whole
