"""Vocabularies as JSON: ``{"format": "streamnorm-vocabulary", "version": 1, ...}`` with a digest, as scalers have it.

``"params"`` are the constructor's; ``"rows"`` texts with ``"total"`` tokens were counted; ``"tokens"``, ``"counts"``
and ``"slack"`` are arrays of equal length, the most frequent first (`slack` is left out where it is 0 throughout);
``"error"`` bounds how often a token occurred that is not there. ``"digest"`` is that of the rest in canonical form.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ._text_counts import TokenCounts
from ._version import __version__
from .atomic import write_atomically
from .documents import check_digest, check_format, digest_of, parsed
from .errors import StateError
from .locations import open_binary
from .state import MAX_BYTES
from .state_values import MAX_EXACT, _check_keys, _Damage, _guard, _member

if TYPE_CHECKING:
    from .text import Vocabulary

FORMAT, VERSION = "streamnorm-vocabulary", 1
_KEYS = ("format", "version", "streamnorm", "params", "rows", "total", "error", "tokens", "counts", "digest")
_PARAMS = ("max_tokens", "lower", "pattern", "min_count", "memory")


def save(vocabulary: Vocabulary, path: str | os.PathLike[str]) -> None:
    """Write a fitted vocabulary to a file: whole, or not at all."""
    counts = vocabulary._counts
    assert counts is not None
    tokens, often, slack = counts.ranked()
    content = {
        "format": FORMAT,
        "version": VERSION,
        "streamnorm": __version__,
        "params": vocabulary._params(),
        "rows": vocabulary._rows,
        "total": counts.total,
        "error": counts.error,
        "tokens": tokens.to_pylist(),
        "counts": often.tolist(),
    }
    if slack.any():
        content["slack"] = slack.tolist()
    content["digest"] = digest_of(content)
    write_atomically(path, (json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n").encode())


def digest(vocabulary: Vocabulary) -> str:
    """A hash of the parameters and the counts."""
    counts = vocabulary._counts
    assert counts is not None
    params = {name: value for name, value in vocabulary._params().items() if name != "memory"}
    said = json.dumps([params, vocabulary._rows, counts.digest()], sort_keys=True)
    return "sha256:" + hashlib.sha256(said.encode()).hexdigest()


def load(path: str | os.PathLike[str]) -> Vocabulary:
    """Read what :func:`save` wrote.

    Raises
    ------
    StateError
        If it is damaged, edited or of an unknown version.
    """
    with open_binary(path) as file:
        data = file.read(MAX_BYTES + 1)
    try:
        return _decode(_parse(data))
    except _Damage as damage:
        raise StateError(f"vocabulary {os.fspath(path)!r} {damage}") from None


def _parse(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise _Damage(f"is larger than {MAX_BYTES >> 20} MB, which no state is")
    content = parsed(data, "is not JSON that is whole and valid")
    check_format(content, FORMAT, (VERSION,), "is not a vocabulary")
    _check_keys(content, _KEYS, ("slack",))
    check_digest(content)
    return content


def _decode(content: dict[str, Any]) -> Vocabulary:
    from .text import Vocabulary

    params = _member(content, "params", dict)
    _check_keys(params, _PARAMS)
    vocabulary = _guard(lambda: Vocabulary(**params), "has parameters that cannot be used")
    tokens = _member(content, "tokens", list)
    if not all(type(token) is str and token for token in tokens):
        raise _Damage("has a token that is none")
    numbers = {"counts": _numbers(content, "counts", 1, len(tokens))}
    numbers["slack"] = _numbers({"slack": [0] * len(tokens)} | content, "slack", 0, len(tokens))
    rows, total, error = (_whole(_member(content, key, int), key) for key in ("rows", "total", "error"))
    strings = _guard(lambda: pa.array(tokens, pa.large_string()), "holds text that is not Unicode")
    if len(strings.unique()) != len(tokens):
        raise _Damage("has a token twice")
    if total < numbers["counts"].sum() or (len(tokens) and error < numbers["slack"].max()):
        raise _Damage("has counts that do not go together")
    vocabulary._counts = TokenCounts(vocabulary.memory, strings, numbers["counts"], numbers["slack"], total, error)
    vocabulary._rows = rows
    return vocabulary


def _numbers(content: dict[str, Any], key: str, least: int, length: int) -> np.ndarray:
    values = _member(content, key, list)
    if len(values) != length or not all(type(value) is int and least <= value <= MAX_EXACT for value in values):
        raise _Damage(f"has no {key!r} of its tokens")
    return np.array(values, np.int64)


def _whole(value: int, key: str) -> int:
    if not 0 <= value <= MAX_EXACT:
        raise _Damage(f"has an impossible number for {key!r}")
    return value
