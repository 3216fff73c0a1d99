"""Texts as sequences of whole numbers for networks: a vocabulary that is fitted on data of any size in bounded memory.

Lower-casing maps each code point by itself, by Unicode's simple mapping: "İ" (U+0130) and "I" both become "i", in
Turkish texts, too, and a sigma at the end of a word becomes "σ". Marks that combine with letters belong to their words,
and texts are not normalized: a composed "é" and "e" with an accent are two tokens. Emoji and symbols are separators;
with ``pattern=r"\\s+"`` they are tokens.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from . import _text_state
from ._batch_columns import whole_number
from ._batch_sources import BatchSource, StreamSource, Unit
from ._text_batches import TextBatches, TextSource, as_rows
from ._text_codes import FIRST, PADDING, Encoder, as_codes
from ._text_counts import TokenCounts, count_tokens
from ._text_sources import not_utf8, open_texts, read_texts
from ._text_tokens import CHARACTERS, WORDS, Tokenizer, distinct
from .errors import NotMergeableError, not_fitted_error
from .memory import parse_memory
from .pipeline import Outlet, resolve_threads, run_ordered

__all__ = ["Vocabulary"]

MOST_TOKENS = 1 << 24  # up to where float32, in which batches are mixed, holds every whole number
UNKNOWN_NAME = "[UNK]"


class Vocabulary:
    """The most frequent tokens of texts, each with a number, its code.

    Code 0 is padding, 1 stands for every token that is not in the vocabulary, and the others go to tokens by how often
    they occur; of tokens that occur equally often, the one whose code points come first has the lower code.

    Parameters
    ----------
    max_tokens : int, default 10,000
        Codes at most, padding and unknown among them: what an ``Embedding`` needs rows for.
    lower : bool, default True
        Lower-case texts first.
    pattern : str
        A regular expression (RE2) of what separates tokens; by default all but letters, the marks that combine with
        them, and digits. ``"characters"``: every code point is a token.
    min_count : int, default 1
        Leave out tokens that were counted less often.
    memory : str or int, default "256MB"
        Bound of what counting holds: about a million distinct tokens. See Notes.

    Attributes
    ----------
    tokens_ : list of str
        By code: ``["", "[UNK]", ...]``.
    counts_ : ndarray of int64
        How often each was counted: 0 for padding, and for unknown how many tokens have no code of their own.
    count_error_ : int
        By how much the counts may be too low; 0 if all tokens fitted in memory.
    rows_ : int
        Texts that were counted.

    Notes
    -----
    Counts are exact, and the order the same for any chunks, threads and order of files, while the distinct tokens fit
    in `memory`. Beyond that, rare ones are dropped by lossy counting [1]_: a token that truly occurs n times is
    counted at least ``n - count_error_`` times and at most n, and one that occurs more often than `count_error_` is
    never lost. A single text is held whole, whatever `memory` says.

    References
    ----------
    .. [1] G. S. Manku and R. Motwani, "Approximate Frequency Counts over Data Streams", VLDB 2002.

    Examples
    --------
    >>> import streamnorm as sn
    >>> vocabulary = sn.Vocabulary(max_tokens=5).fit(["The cat sat.", "The cat and the dog", None])
    >>> vocabulary.tokens_
    ['', '[UNK]', 'the', 'cat', 'and']
    >>> vocabulary.transform(["the dog", "and the cat and the"], length=4)
    array([[0, 0, 2, 1],
           [2, 3, 4, 2]], dtype=int32)
    """

    def __init__(
        self,
        max_tokens: int = 10_000,
        *,
        lower: bool = True,
        pattern: str = WORDS,
        min_count: int = 1,
        memory: str | int = "256MB",
    ) -> None:
        if not FIRST < whole_number("max_tokens", max_tokens) <= MOST_TOKENS:
            raise ValueError(
                f"max_tokens must be from 3 (padding, unknown and a token) to {MOST_TOKENS}, got {max_tokens!r}"
            )
        if whole_number("min_count", min_count, "a positive integer") < 1:
            raise ValueError(f"min_count must be a positive integer, got {min_count!r}")
        if not isinstance(lower, bool | np.bool_):
            raise ValueError(f"lower must be True or False, got {lower!r}")
        self.max_tokens, self.lower, self.pattern = int(max_tokens), bool(lower), pattern
        self.min_count, self.memory = int(min_count), parse_memory(memory)
        self._tokenizer = Tokenizer(self.lower, pattern)
        self._counts: TokenCounts | None = None
        self._rows = 0
        self._known: tuple[pa.Array, np.ndarray] | None = None

    def __repr__(self) -> str:
        return f"Vocabulary({', '.join(f'{name}={value!r}' for name, value in self._params().items())})"

    def _params(self) -> dict[str, Any]:
        names = ("max_tokens", "lower", "pattern", "min_count", "memory")
        return {name: getattr(self, name) for name in names}

    def fit(self, source: Any, column: Any = None, *, threads: int | None = None) -> Vocabulary:
        """Count the tokens of texts, and forget what was counted before.

        Parameters
        ----------
        source : texts, or whatever batches are made of
            Without `column`, texts: a list, array, Arrow array, Series or iterator of strings, where None is an empty
            text. With it, Parquet files (a path, paths, a glob, a directory), a table, a frame, or a stream of those.
        column : str or list of str, optional
            The column of texts; of several, a row is one text, with a blank between two columns.
        threads : int or None
            None: one for each core. The result does not depend on it.

        Returns
        -------
        Vocabulary
            This one.

        Raises
        ------
        DataError
            If a column is not there or holds no texts, or a text is not UTF-8.
        """
        counts = TokenCounts(self.memory)
        rows = self._count(counts, source, column, threads)
        self._counts, self._rows, self._known = counts, rows, None
        return self

    def partial_fit(self, source: Any, column: Any = None, *, threads: int | None = None) -> Vocabulary:
        """Count more texts; see :meth:`fit`. If one of them is at fault, none is counted."""
        more = Vocabulary(**self._params()).fit(source, column, threads=threads)
        if self._counts is None or more._counts is None or more.count_error_:
            return self.merge(more)
        self._counts.add_all(more._counts)
        self._rows, self._known = self._rows + more._rows, None
        return self

    def merge(self, other: Vocabulary) -> Vocabulary:
        """Count what another vocabulary has counted, too.

        Raises
        ------
        NotMergeableError
            If it has other parameters, but for `memory`.
        """
        if not isinstance(other, Vocabulary):
            raise TypeError(f"a vocabulary is merged with another one, got {type(other).__name__}")
        ours, theirs = self._params(), other._params()
        differ = [name for name in ours if name != "memory" and ours[name] != theirs[name]]
        if differ:
            said = ", ".join(f"{name} is {ours[name]!r} here and {theirs[name]!r} there" for name in differ)
            raise NotMergeableError(f"these vocabularies count differently: {said}; fit both alike")
        if other._counts is None:
            return self
        mine = self._counts or TokenCounts(self.memory)
        self._counts, self._rows, self._known = mine.merged(other._counts), self._rows + other._rows, None
        return self

    def __add__(self, other: Vocabulary) -> Vocabulary:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return Vocabulary(**self._params()).merge(self).merge(other)

    def _count(self, counts: TokenCounts, source: Any, column: Any, threads: int | None) -> int:
        """Count all texts of a source; how many they were."""
        opened, names = open_texts(source, column)
        workers = resolve_threads(threads, self.memory)
        rows = 0

        def work(unit: Unit, outlet: Outlet) -> None:
            for number, texts in self._counted(opened, unit, names):
                outlet.push((number, *texts), 2 * texts[0].nbytes)
                outlet.check()

        def consume(unit: Unit, found: tuple[int, pa.Array, np.ndarray]) -> None:
            nonlocal rows
            rows += found[0]
            counts.add(found[1], found[2])

        if isinstance(opened, StreamSource):  # whose owner may expect to be called in this thread
            for unit in opened.units:
                for number, texts in self._counted(opened, unit, names):
                    consume(unit, (number, *texts))
        else:
            run = run_ordered(
                opened.units,
                work,
                consume,
                threads=workers,
                stash=self.memory // 16,
                need=lambda unit: _reading_need(unit, names, self.memory),
                limit=self.memory // 4,
            )
            for _ in run:
                pass
        counts.settle()
        return rows

    def _counted(
        self, source: BatchSource, unit: Unit, names: list[str]
    ) -> Iterator[tuple[int, tuple[pa.Array, np.ndarray]]]:
        """Texts of a unit by the piece: their number, and their tokens' counts."""
        for first, texts in read_texts(source, unit, names, self.memory):
            values, numbers = distinct(texts)
            try:
                starts, tokens = self._tokenizer.split(values)
            except pa.ArrowException as error:
                raise not_utf8(unit, names, first, texts) from error
            weights = None
            if numbers is not None:
                often = np.bincount(numbers[numbers >= 0], minlength=len(values))
                weights = np.repeat(often, np.diff(starts))
            found, often = count_tokens(tokens, weights)
            yield len(texts), (found, often)

    def _fitted(self) -> tuple[pa.Array, np.ndarray]:
        """Tokens and counts in the order of codes."""
        if self._counts is None:
            raise not_fitted_error("this Vocabulary has counted nothing yet: call fit with texts first")
        if self._known is None:
            tokens, counts, _ = self._counts.ranked(self.max_tokens - FIRST, self.min_count)
            self._known = tokens.cast(pa.string()), counts
        return self._known

    @property
    def tokens_(self) -> list[str]:
        return ["", UNKNOWN_NAME, *self._fitted()[0].to_pylist()]

    @property
    def counts_(self) -> np.ndarray:
        counts = self._fitted()[1]
        assert self._counts is not None
        return np.concatenate([[0, self._counts.total - counts.sum()], counts]).astype(np.int64)

    @property
    def count_error_(self) -> int:
        self._fitted()
        assert self._counts is not None
        return self._counts.error

    @property
    def rows_(self) -> int:
        self._fitted()
        return self._rows

    def __len__(self) -> int:
        """Codes that there are, padding and unknown among them: the rows of an embedding."""
        return FIRST + len(self._fitted()[0])

    def _encoder(self, length: int, padding: str, truncating: str) -> Encoder:
        return Encoder(self._tokenizer, self._fitted()[0], length, padding, truncating)

    def transform(
        self, texts: Any, length: int = 100, column: Any = None, *, padding: str = "pre", truncating: str = "pre"
    ) -> np.ndarray:
        """The codes of texts, all of one length.

        Parameters
        ----------
        texts : texts, or whatever batches are made of
            As for :meth:`fit`.
        length : int, default 100
            Codes a text.
        column : str or list of str, optional
        padding : {"pre", "post"}
            Zeros go before a text that is shorter, so that the last steps of a recurrent network see text, or after.
        truncating : {"pre", "post"}
            Of a text that is longer, leave out the beginning or the end.

        Returns
        -------
        ndarray of int32, shape (n, length)
        """
        encoder = self._encoder(length, padding, truncating)
        opened, names = open_texts(texts, column)
        made = [np.zeros((0, encoder.length), np.int32)]
        source = opened.session()
        try:
            for unit in source.units:
                for first, piece in read_texts(source, unit, names, self.memory):
                    try:
                        made.append(encoder.matrix(piece))
                    except pa.ArrowException as error:
                        raise not_utf8(unit, names, first, piece) from error
        finally:
            source.close()
        return np.concatenate(made) if len(made) != 2 else made[1]

    def inverse_transform(self, codes: Any) -> list[str]:
        """Texts of the tokens of each row, with blanks between words; padding is left out, and unknown is ``[UNK]``.

        Parameters
        ----------
        codes : array-like of shape (n, length)

        Examples
        --------
        >>> import streamnorm as sn
        >>> vocabulary = sn.Vocabulary().fit(["to be or not to be"])
        >>> vocabulary.inverse_transform(vocabulary.transform(["To be, perhaps"], length=5))
        ['to be [UNK]']
        """
        tokens = self.tokens_
        between = "" if self.pattern == CHARACTERS else " "
        whole = as_codes(codes, len(tokens))
        return [between.join(tokens[code] for code in row if code != PADDING) for row in whole.tolist()]

    def batches(
        self,
        source: Any,
        text: Any = None,
        target: Any = None,
        length: int = 100,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        *,
        padding: str = "pre",
        truncating: str = "pre",
        classes: Any = None,
        drop_last: bool = False,
        memory: str | int = "256MB",
        threads: int | None = None,
        holdout: tuple[float, int] | None = None,
        part: str | None = None,
    ) -> TextBatches:
        """Batches of codes and targets, shuffled, epoch after epoch, for ``Sequential.fit`` or a loop of your own.

        Parameters
        ----------
        source : texts, or whatever batches are made of
            As for :meth:`fit`.
        text : str or list of str, optional
            The column of texts, or several that make one; None: `source` is texts, and `target` an array or None.
        target : str, array-like or None
            A column of numbers, or of strings, which are classes: y then has their positions in `classes`. Rows without
            a target (null or NaN) are left out.
        length : int, default 100
        batch_size : int, default 32
        shuffle : bool, default True
        seed : int, default 0
            Rows are mixed as by :func:`streamnorm.batches`.
        padding, truncating : {"pre", "post"}
            As for :meth:`transform`.
        classes : sequence of str, optional
            Of a column of strings; None: those that the source has, sorted, which takes a pass over that column.
        drop_last, memory, threads, holdout, part
            As for :func:`streamnorm.batches`.

        Returns
        -------
        TextBatches
            Iterable: (X, y), or X without a target; X is int32 of shape (n, length), y float32, or int64 for classes.

        Examples
        --------
        >>> import pyarrow as pa, streamnorm as sn
        >>> table = pa.table({"said": ["so good", "so bad", "good"], "mood": ["up", "down", "up"]})
        >>> vocabulary = sn.Vocabulary().fit(table, "said")
        >>> batches = vocabulary.batches(table, text="said", target="mood", length=2, shuffle=False)
        >>> batches.classes
        ['down', 'up']
        >>> for X, y in batches:
        ...     print(X.tolist(), y.tolist())
        [[3, 2], [3, 4], [0, 2]] [1, 0, 1]
        """
        encoder = self._encoder(length, padding, truncating)
        rows, texts, target = as_rows(source, text, target)
        return TextBatches(
            TextSource(rows, texts, target, encoder, parse_memory(memory), classes),
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            memory=memory,
            threads=threads,
            holdout=holdout,
            part=part,
        )

    def digest(self) -> str:
        """A hash of the parameters (but for `memory`) and of what was counted: equal for equal counts."""
        self._fitted()
        return _text_state.digest(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that was counted to a file that :func:`streamnorm.load` reads; it can be merged afterwards.

        Parameters
        ----------
        path : path
            Replaced if it exists.
        """
        self._fitted()
        _text_state.save(self, path)


def _reading_need(unit: Unit, names: list[str], memory: int) -> int:
    return 0 if unit.file is None else unit.file.reading_need(unit.row_groups, names, memory)
