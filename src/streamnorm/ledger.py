"""Which files a state has counted: so that none is counted twice, and an update reads what is new alone."""

# Design: a file is known by its size and its footer, not by its name: a footer says where every column chunk lies and
# how many values it holds, mostly their minimum and maximum too, and reading it costs what a fit pays anyway. Turned
# down: the modification time, which copies and restores change, and a hash of the data, for which all of it would have
# to be read. Files without statistics, compression or strings can have equal footers with other numbers in them; such
# a pair is taken for a copy, and refused by name rather than left out in silence.
#
# A ledger is a multiset that never changes, in sorted blocks of which each is at least twice as long as the next. So a
# copy is free, adding a file to a hundred thousand costs 17 steps in the long run and not a new index, and threads need
# no lock. Turned down: one sorted tuple, which makes a hundred thousand calls of partial_fit quadratic.

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from heapq import merge
from itertools import chain
from typing import Any, NamedTuple

from .errors import NotMergeableError
from .locations import locate
from .masking import is_uri

__all__ = ["CountedFile", "FoldedFiles", "Ledger", "absolute"]

HASH_DIGITS = 32  # hexadecimal, of SHA-256: 128 bits, at which 10**12 files have one chance in 10**14 of a collision
MAX_COUNT = 1 << 53  # JSON readers commonly hold numbers in doubles
SHOWN = 5  # files that an error names

# In a footer, a file takes 90 bytes without its path; more than these are folded into their number and a hash.
FOOTER_FILES = 64


class CountedFile(NamedTuple):
    """A file whose rows a state has counted.

    Attributes
    ----------
    path : str
        Absolute; empty where it is not known, as in the state of an output's footer.
    size : int
        Bytes.
    footer : str
        SHA-256 of the footer's bytes, its first 32 hexadecimal digits.
    rows : int
    """

    path: str
    size: int
    footer: str
    rows: int

    @property
    def content(self) -> tuple[int, str]:
        """What tells it from other files, wherever it lies: size and footer."""
        return self.size, self.footer


class FoldedFiles(NamedTuple):
    """Files of which no more is known than their number.

    Attributes
    ----------
    files, rows : int
        How many, all together.
    hash : str
        Equal for the same files, whatever their paths.
    """

    files: int
    rows: int
    hash: str


def absolute(path: str | os.PathLike[str]) -> str:
    """A path as ledgers have it: absolute, links not followed; bytes that are not UTF-8 as backslash escapes; a URI
    without secrets."""
    if hasattr(path, "open_ranged") or is_uri(path):
        return str(locate(path))
    return os.fsencode(os.path.abspath(path)).decode("utf-8", "backslashreplace")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


def _is_hash(value: object) -> bool:
    return type(value) is str and _HASH.fullmatch(value) is not None


_HASH = re.compile(rf"[0-9a-f]{{{HASH_DIGITS}}}", re.ASCII)
_FILE, _FOLDED = frozenset(CountedFile._fields), frozenset(FoldedFiles._fields)
_FILE_WITHOUT_PATH = _FILE - {"path"}
_VALID = {"path": lambda value: type(value) is str and value != "", "footer": _is_hash, "hash": _is_hash,
          "size": _is_count, "rows": _is_count, "files": _is_count}  # fmt: skip


def short_hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:HASH_DIGITS]


class _Block:
    """Some files in order, to be found by path and by content."""

    def __init__(self, files: tuple[CountedFile, ...]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def by_path(self) -> dict[str, list[CountedFile]]:
        index: dict[str, list[CountedFile]] = {}
        for file in self.files:
            index.setdefault(file.path, []).append(file)
        return index

    @cached_property
    def by_content(self) -> dict[tuple[int, str], list[CountedFile]]:
        index: dict[tuple[int, str], list[CountedFile]] = {}
        for file in self.files:
            index.setdefault(file.content, []).append(file)
        return index


class Ledger:
    """The files that a state has counted, in the order of their paths; one that was counted twice is there twice.

    Iterating over it gives a `CountedFile` each. A ledger never changes: ``+`` and `without` make new ones.

    Parameters
    ----------
    files : iterable of CountedFile
    folded : iterable of FoldedFiles
        Files that are not listed one by one.

    Examples
    --------
    >>> ledger = Ledger([CountedFile("/data/b.parquet", 900, "5e", 10), CountedFile("/data/a.parquet", 800, "3c", 7)])
    >>> [file.path for file in ledger], ledger.rows
    (['/data/a.parquet', '/data/b.parquet'], 17)
    """

    __slots__ = ("_blocks", "folded")

    def __init__(self, files: Iterable[CountedFile] = (), folded: Iterable[FoldedFiles] = ()) -> None:
        listed = tuple(sorted(files))
        self._blocks: tuple[_Block, ...] = (_Block(listed),) if listed else ()
        self.folded = tuple(sorted(folded))

    def __iter__(self) -> Iterator[CountedFile]:
        return merge(*(block.files for block in self._blocks))

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def __bool__(self) -> bool:
        return bool(self._blocks or self.folded)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ledger):
            return NotImplemented
        same = len(self) == len(other) and self.folded == other.folded
        return same and (self._blocks == other._blocks or tuple(self) == tuple(other))

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Ledger, (tuple(self), self.folded)

    def __repr__(self) -> str:
        return f"<Ledger: {self.count} file{'' if self.count == 1 else 's'}, {self.rows} rows>"

    @property
    def count(self) -> int:
        """Number of files, those that are folded included."""
        return len(self) + sum(part.files for part in self.folded)

    @property
    def rows(self) -> int:
        """Rows of all of them."""
        return sum(file.rows for block in self._blocks for file in block.files) + sum(p.rows for p in self.folded)

    @property
    def has_all_paths(self) -> bool:
        """Whether every file is listed with its path."""
        return not self.folded and not self.at("")

    def at(self, path: str) -> list[CountedFile]:
        """The files that were counted under this path."""
        return [file for block in self._blocks for file in block.by_path.get(path, ())]

    def like(self, content: tuple[int, str]) -> list[CountedFile]:
        """The files of this size and footer."""
        return [file for block in self._blocks for file in block.by_content.get(content, ())]

    def __add__(self, other: Ledger) -> Ledger:
        if not self or not other:
            return self or other
        new = Ledger(folded=self.folded + other.folded)
        blocks: list[_Block] = []
        for block in sorted(self._blocks + other._blocks, key=len, reverse=True):
            blocks.append(block)
            while len(blocks) > 1 and len(blocks[-2]) < 2 * len(blocks[-1]):
                last = blocks.pop()
                blocks[-1] = _Block(tuple(sorted(blocks[-1].files + last.files)))
        new._blocks = tuple(blocks)
        return new

    def without(self, other: Ledger) -> Ledger:
        """What stays when another ledger's files are taken out, by size and footer, the same path first.

        Raises
        ------
        KeyError
            If one of them is not here; its argument is that `CountedFile` or `FoldedFiles`.
        """
        left = Counter(self)
        others = []
        for file in other:
            if left[file]:
                left[file] -= 1
            else:
                others.append(file)
        for file in others:
            mine = next((found for found in self.like(file.content) if left[found]), None)
            if mine is None:
                raise KeyError(file)
            left[mine] -= 1
        folded = list(self.folded)
        for part in other.folded:
            if part not in folded:
                raise KeyError(part)
            folded.remove(part)
        return Ledger(left.elements(), folded)

    def shortened(self) -> Ledger:
        """What an output's footer carries: no paths, and many files as their number and a hash."""
        # Design: an output for each of 100,000 inputs would carry 18 MB of ledger each, its bytes would depend on
        # where the inputs lay, and their names would travel with it. The saved JSON has them all.
        if self.count <= FOOTER_FILES:
            return Ledger((file._replace(path="") for file in self), self.folded)
        return Ledger(folded=[self._fold()])

    def to_json(self) -> list[dict[str, Any]]:
        """For a state: an object for each file, without ``path`` where that is not known; then those that are folded,
        as ``files``, ``rows`` and ``hash``.
        """
        files = [file._asdict() for file in self]
        for file in files:
            if not file["path"]:
                del file["path"]
        return files + [part._asdict() for part in self.folded]

    @classmethod
    def from_json(cls, items: list[Any]) -> Ledger:
        """The inverse of `to_json`.

        Raises
        ------
        ValueError
            If an item is not as it was written.
        """
        files, folded = [], []
        for position, item in enumerate(items):
            keys = frozenset(item) if type(item) is dict else None
            if keys in (_FILE, _FILE_WITHOUT_PATH):
                files.append(CountedFile(**{"path": "", **item}))
            elif keys == _FOLDED:
                folded.append(FoldedFiles(**item))
            else:
                raise ValueError(f"item {position} is not a file")
            for key, value in item.items():
                if not _VALID[key](value):
                    raise ValueError(f"item {position} has no valid {key!r}")
        return cls(files, folded)

    def _fold(self) -> FoldedFiles:
        lines = sorted(f"{file.size} {file.footer} {file.rows}" for file in self)
        lines += [f"{part.files} {part.hash} {part.rows}" for part in self.folded]
        return FoldedFiles(self.count, self.rows, short_hash("\n".join(lines).encode()))

    def check_disjoint(self, other: Ledger) -> None:
        """Refuse to count files twice.

        Raises
        ------
        NotMergeableError
            If both have counted the same file, under whatever path, or it cannot be told.
        """
        if not self or not other:
            return
        few, many = (self, other) if len(self) <= len(other) else (other, self)
        pairs = [(file, alike[0]) for file in few if file.rows and (alike := many.like(file.content))]
        if pairs:
            raise NotMergeableError(_twice(pairs, max(self.count, other.count)))
        if self.folded or other.folded:
            folds = [{*ledger.folded, *([ledger._fold()] if ledger.count > FOOTER_FILES else [])}
                     for ledger in (self, other)]  # fmt: skip
            if folds[0] & folds[1]:
                raise NotMergeableError(
                    f"both have counted the same {next(iter(folds[0] & folds[1])).files:,} files, whose rows would "
                    "count twice: merge states of different files, or count them again on purpose (recount)"
                )
            raise NotMergeableError(
                "one comes from the footer of an output, which tells how many files were counted and not which: merge "
                "the states that were saved as JSON, or say that no file is in both (recount)"
            )


def _twice(pairs: list[tuple[CountedFile, CountedFile]], of: int) -> str:
    names = named([_pair_name(*pair) for pair in sorted(pairs)])
    these = "this file" if len(pairs) == 1 else f"these {len(pairs):,} files"
    return (
        f"both have counted {these}, whose rows would count twice: {names}; merge states of different files, or count "
        "them again on purpose (recount)"
    )


def _pair_name(file: CountedFile, other: CountedFile) -> str:
    if file.path and other.path and file.path != other.path:
        return f"{file.path} (the same as {other.path})"
    return file.path or other.path or f"one of {file.size:,} bytes and {file.rows:,} rows"


def named(names: Iterable[str], shown: int = SHOWN) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = [f"and {len(names) - shown:,} more"] if len(names) > shown else []
    return ", ".join(chain(names[:shown], more))
