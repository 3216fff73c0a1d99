"""How often tokens occur: exactly while memory allows, and beyond that with a bound of the error.

The method is lossy counting (G. S. Manku and R. Motwani, Approximate Frequency Counts over Data Streams, VLDB 2002).
Tokens of which few were seen are dropped; `error` says how often one that is not there may have occurred at most, and a
token that comes in later may have occurred as often before. So of each token ``count <= true count <= count + slack``
and slack is at most `error`.
"""

# Design: chunks are counted by Arrow's hash tables, and wait until they are as large as what is counted, so that each
# token is moved a few times however many chunks there are. What is dropped is decided when memory is full, not every
# 1 / error tokens: nothing is lost of what would have fitted, and the level is then the lowest that frees half, unless
# that were beyond the paper's. Turned down: Misra and Gries' counters, which spoil the counts of frequent tokens, too.

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ._text_tokens import _integers, as_booleans, offsets_in

ENTRY_BYTES = 24  # of a token, beside its characters: offset, count, slack
COPIES = 8  # of the table that a merge holds: both parts, a hash table, and the result


@dataclass
class TokenCounts:
    """Counts of tokens in so many bytes.

    Attributes
    ----------
    memory : int
        Bytes of all that counting holds.
    tokens : pyarrow.LargeStringArray
    counts, slack : ndarray of int64
        Of each: how often it was seen since it is here, and how often at most before.
    total : int
        Tokens that were counted.
    error : int
        How often at most a token occurred that is not here.
    """

    memory: int
    tokens: pa.Array = field(default_factory=lambda: _no_tokens())
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    slack: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    total: int = 0
    error: int = 0
    _waiting: list[tuple[pa.Array, np.ndarray]] = field(default_factory=list)
    _waiting_bytes: int = 0

    @property
    def room(self) -> int:
        """Bytes that the table may take."""
        return self.memory // COPIES

    def add(self, tokens: pa.Array, counts: np.ndarray) -> None:
        """Count distinct tokens."""
        self.total += int(counts.sum())
        self._waiting.append((tokens.cast(pa.large_string()), counts))
        self._waiting_bytes += _size(tokens)
        if self._waiting_bytes > max(_size(self.tokens), self.room // 4):
            self.settle()

    def add_all(self, other: TokenCounts) -> None:
        """Count what another has counted without an error."""
        other.settle()
        self.add(other.tokens, other.counts)

    def settle(self) -> None:
        """Count what waits."""
        if self._waiting:
            waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
            self._combine([tokens for tokens, _ in waiting], [counts for _, counts in waiting])
            self._fit_in()

    def _combine(self, tokens: list[pa.Array], counts: list[np.ndarray]) -> None:
        """Add up; tokens that are new here may have occurred `error` times."""
        known = len(self.tokens)
        encoded = pa.concat_arrays([self.tokens, *tokens]).dictionary_encode()
        numbers = np.frombuffer(encoded.indices.buffers()[1], np.int32)[: len(encoded)]
        self.tokens = encoded.dictionary
        sums = np.bincount(numbers, np.concatenate([self.counts, *counts]), len(self.tokens))  # doubles, below 2**53
        self.counts = sums.astype(np.int64)
        self.slack = np.concatenate([self.slack, np.full(len(self.tokens) - known, self.error, np.int64)])

    def _fit_in(self) -> None:
        """Drop the rarest tokens if there is no room for all."""
        if _size(self.tokens) <= self.room:
            return
        most = self.counts + self.slack
        order = np.argsort(-most, kind="stable")
        sizes = np.cumsum(np.diff(offsets_in(self.tokens))[order] + ENTRY_BYTES)
        half, more = (self._level(most[order], sizes, share) for share in (self.room // 2, self.room * 3 // 4))
        papers = self.total // max(1, len(order) // 2)  # the number of a bucket whose width is half of what fits
        level = max(more, min(half, papers), self.error + 1)
        keep = most > level
        self.tokens = self.tokens.filter(as_booleans(keep))
        self.counts, self.slack, self.error = self.counts[keep], self.slack[keep], int(level)

    def _level(self, falling: np.ndarray, sizes: np.ndarray, room: int) -> int:
        """The lowest bound by which what is above it fits in so many bytes."""
        fits = int(np.searchsorted(sizes, room, "right"))
        return int(falling[fits]) if fits < len(falling) else self.error

    def merged(self, other: TokenCounts) -> TokenCounts:
        """Both together, in the room of this one."""
        self.settle()
        other.settle()
        made = TokenCounts(self.memory, self.tokens, self.counts, self.slack, self.total, self.error)
        made._combine([other.tokens], [other.counts])
        theirs = np.full(len(made.tokens), other.error, np.int64)
        if len(other.tokens):
            theirs[_index_in(other.tokens, made.tokens)] = other.slack
        made.slack = made.slack + theirs
        made.total, made.error = self.total + other.total, self.error + other.error
        made._fit_in()
        return made

    def ranked(self, most: int | None = None, least: int = 1) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        """Tokens, counts and slacks: the most frequent first, and of equally frequent ones the lower code points."""
        self.settle()
        if most is not None and most < len(self.counts):
            least = max(least, int(np.partition(self.counts, len(self.counts) - most)[len(self.counts) - most]))
        keep = self.counts >= least
        tokens, counts, slack = self.tokens.filter(as_booleans(keep)), self.counts[keep], self.slack[keep]
        table = pa.table([_integers(counts), tokens], names=["count", "token"])
        order = pc.sort_indices(table, sort_keys=[("count", "descending"), ("token", "ascending")])
        if not len(order):
            return tokens, counts, slack
        at = np.frombuffer(order.buffers()[1], np.uint64)[: len(order)][:most].astype(np.int64)
        return tokens.take(_integers(at)), counts[at], slack[at]

    def digest(self) -> str:
        """A hash of what was counted, however it came about."""
        tokens, counts, slack = self.ranked()
        hashed = hashlib.sha256(f"{self.total} {self.error} {len(tokens)}\n".encode())
        offsets = np.asarray(offsets_in(tokens), "<i8")
        for part in (offsets - offsets[0], counts.astype("<i8"), slack.astype("<i8")):
            hashed.update(part.tobytes())
        if len(tokens):
            hashed.update(memoryview(tokens.buffers()[2])[offsets[0] : offsets[-1]])
        return f"sha256:{hashed.hexdigest()}"


def _no_tokens() -> pa.Array:
    return pa.LargeStringArray.from_buffers(0, pa.py_buffer(bytes(8)), pa.py_buffer(b""))


def _size(tokens: pa.Array) -> int:
    offsets = offsets_in(tokens)
    return int(offsets[-1] - offsets[0]) + ENTRY_BYTES * len(tokens)


def _index_in(tokens: pa.Array, known: pa.Array) -> np.ndarray:
    """The place of each token in an array that holds them all."""
    found = pc.index_in(tokens, value_set=known)
    return np.frombuffer(found.buffers()[1], np.int32)[found.offset : found.offset + len(found)]


def count_tokens(tokens: pa.Array, weights: np.ndarray | None = None) -> tuple[pa.Array, np.ndarray]:
    """Distinct tokens and how often each occurs, each occurrence counting as often as `weights` says."""
    encoded = tokens.dictionary_encode()
    if not len(encoded):
        return encoded.dictionary, np.zeros(0, np.int64)
    numbers = np.frombuffer(encoded.indices.buffers()[1], np.int32)[: len(encoded)]
    counts = np.bincount(numbers, weights, len(encoded.dictionary)).astype(np.int64)
    if weights is None or counts.all():
        return encoded.dictionary, counts
    seen = counts > 0
    return encoded.dictionary.filter(as_booleans(seen)), counts[seen]
