"""Batches of texts as codes: a source whose rows are codes and targets, mixed as any other."""

# Design: a text becomes `length` columns of numbers of a source like any other, so that shuffling, epochs, memory and
# threads are those of Batches. Rows wait as float32, which holds every code, and batches turn them to int32. Turned
# down: a shuffle of texts that are encoded when their batch is due, which would hold rows of any size.

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ._batch_mixing import Piece
from ._batch_sources import BatchSource, Chunk, Unit, open_source
from ._batches import Batches
from ._text_codes import Encoder
from ._text_sources import check_columns, folded, in_memory, not_utf8, unit_rows
from ._text_tokens import as_text, check_type, joined, pieces
from .errors import DataError
from .features import nulls

MOST_CLASSES = 1 << 20
_TEXT_BYTES = 64  # fewest that a text is thought to take as it is read


def as_rows(source: Any, text: Any, target: Any) -> tuple[BatchSource, list[str], Any]:
    """What was given as a source of rows, the columns of its texts, and that of its targets."""
    if text is not None:
        if target is not None and not isinstance(target, str):
            raise ValueError(f"target is the name of a column, got {type(target).__name__}: texts come with an array")
        rows = open_source(source)
        names = [text] if isinstance(text, str) else list(text)
        if not names:
            raise ValueError("text is empty: name a column of texts")
        check_columns(rows, names)
        return rows, names, target
    rows = in_memory(source)
    if target is None:
        return rows, ["text"], None
    if isinstance(target, str):
        raise ValueError("a target that is a column's name goes with text=, which names the column of the texts")
    if rows.num_rows is None:
        raise DataError("texts that are read only once have no targets beside them: put both into a table")
    with_target = _array(target)
    if len(with_target) != rows.num_rows:
        raise DataError(f"there are {rows.num_rows} texts and {len(with_target)} targets: give as many")
    table = pa.table({"text": _whole_column(rows), "target": with_target})
    return open_source(table), ["text"], "target"


def _array(target: Any) -> Any:
    array = np.asarray(target) if not isinstance(target, pa.Array | pa.ChunkedArray) else target
    if isinstance(array, np.ndarray):
        if array.ndim != 1:
            raise DataError(f"a target is a number or a class for each text, got shape {array.shape}")
        return pa.array(array, from_pandas=array.dtype.kind == "O")
    return array


def _whole_column(rows: BatchSource) -> pa.ChunkedArray:
    chunks = [chunk.arrays[0] for unit in rows.units for chunk in rows.read(unit, ["text"], (), 1 << 30)]
    return pa.chunked_array(chunks) if chunks else pa.chunked_array([], pa.string())


class TextSource(BatchSource):
    """Rows of codes, and targets as numbers.

    Attributes
    ----------
    codes : list of str
        Names of the columns of codes.
    target : str or None
        Name of that of targets.
    classes : list of str or None
        What the numbers stand for, where targets are strings.
    """

    def __init__(
        self, rows: BatchSource, texts: list[str], target: str | None, encoder: Encoder, memory: int, classes: Any
    ) -> None:
        self._rows, self._texts, self._from, self._encoder, self._memory = rows, texts, target, encoder, memory
        self.num_rows, self.rereadable, self.units = rows.num_rows, rows.rereadable, rows.units
        self.keeps = rows.keeps
        self.codes = [f"token {i}" for i in range(encoder.length)]
        self.target = None if target is None else "target"
        self.classes: list[str] | None = None
        rows.check([*texts, *([] if target is None else [target])])
        fields = [pa.field(name, pa.int32()) for name in self.codes]
        if target is not None:
            fields.append(pa.field("target", self._target_type(classes)))
        elif classes is not None:
            raise ValueError("classes are those of a target: name its column")
        self.schema = pa.schema(fields)
        self.width = len(fields)

    def _target_type(self, classes: Any) -> pa.DataType:
        name = self._from
        assert self._rows.schema is not None and name is not None
        found = self._rows.schema.get_all_field_indices(name)
        if len(found) != 1:
            near = self._rows.schema.names
            raise DataError(f"there is no single column {name!r} for targets: name one of {near}", column=name)
        kind = self._rows.schema.field(found[0]).type
        if pa.types.is_boolean(kind):
            return pa.int8()
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            if classes is not None:
                raise ValueError(f"classes are for a target of strings, and column {name!r} is {kind}")
            return kind
        try:
            check_type(kind, name)
        except DataError:
            raise DataError(
                f"column {name!r} is {kind}, and a target is numbers or strings: choose another", column=name
            ) from None
        self.classes = self._found_classes() if classes is None else _given_classes(classes)
        self._known = pa.array(self.classes, pa.string())
        return pa.int32()

    def _found_classes(self) -> list[str]:
        if not self._rows.rereadable:
            raise DataError("the source can be read only once, and finding its classes reads it: give classes=")
        found: set[str] = set()
        name = self._from
        assert name is not None
        source = self._rows.session()
        for unit in source.units:
            rows = unit_rows(unit, [name], self._memory)
            for chunk in source.read(unit, [name], folded(source, [name]), rows):
                array = as_text(chunk.arrays[0], name)
                if isinstance(array, pa.DictionaryArray):
                    array = array.dictionary.take(array.indices.unique())
                found.update(value for value in array.unique().to_pylist() if value is not None)
                if len(found) > MOST_CLASSES:
                    raise DataError(f"column {name!r} has more than {MOST_CLASSES} different strings: choose a target")
        source.close()
        return sorted(found)

    def session(self) -> TextSource:
        mine = copy.copy(self)
        mine._rows = self._rows.session()
        return mine

    def close(self) -> None:
        self._rows.close()

    def check_unchanged(self) -> None:
        self._rows.check_unchanged()

    def _read_columns(self, names: Sequence[Any]) -> list[str]:
        texts = self._texts if any(name != "target" for name in names) else []
        wanted = [*texts, *([self._from] if "target" in names and self._from else [])]
        return list(dict.fromkeys(wanted))

    def reading_need(self, names: Sequence[Any], memory: int) -> int:
        return self._rows.reading_need(self._read_columns(names), memory)

    def row_bytes(self, names: Sequence[Any]) -> int:
        return 4 * len(names) + _TEXT_BYTES

    def read(self, unit: Unit, names: Sequence[Any], encoded: Sequence[Any], rows: int) -> Iterator[Chunk]:
        wanted = self._read_columns(names)
        rows = min(rows, unit_rows(unit, wanted, self._memory))
        alone = folded(self._rows, self._texts) if wanted[:1] == self._texts else []
        for chunk in self._rows.read(unit, wanted, alone, rows):
            of = dict(zip(wanted, chunk.arrays, strict=True))
            arrays: list[Any] = []
            matrix: np.ndarray | None = None
            for name in names:
                if name == "target":
                    arrays.append(self._targets(of[str(self._from)], chunk))
                    continue
                if matrix is None:
                    matrix = self._matrix([of[text] for text in self._texts], chunk)
                arrays.append(matrix[:, int(name.removeprefix("token "))])
            yield Chunk(chunk.unit, chunk.first_row, chunk.rows, arrays)

    def _matrix(self, columns: list[pa.Array], chunk: Chunk) -> np.ndarray:
        texts = joined([as_text(array, name) for array, name in zip(columns, self._texts, strict=True)])
        made, at = [], chunk.first_row
        for piece in pieces(texts, chunk.rows, self._memory // 64):
            try:
                made.append(self._encoder.matrix(piece))
            except pa.ArrowException as error:
                raise not_utf8(chunk.unit, self._texts, at, piece) from error
            at += len(piece)
        return made[0] if len(made) == 1 else np.concatenate(made)

    def _targets(self, array: pa.Array, chunk: Chunk) -> Any:
        if self.classes is None:
            return array.cast(pa.int8()) if pa.types.is_boolean(array.type) else array
        texts = as_text(array, self._from)
        if isinstance(texts, pa.DictionaryArray):
            texts = texts.dictionary_decode()
        found = pc.index_in(texts.cast(pa.string()), value_set=self._known)
        none, missing = nulls(found), nulls(texts)
        if none is not None:
            unknown = np.flatnonzero(none if missing is None else none & ~missing)
            if len(unknown):
                row = int(unknown[0])
                said = f"holds {texts[row].as_py()!r}, which is none of the classes: add it, or leave the row out"
                raise chunk.unit.error(said, chunk.first_row + row, self._from)
        return found


def _given_classes(classes: Any) -> list[str]:
    given = list(classes)
    if not given or not all(isinstance(name, str) for name in given) or len(set(given)) < len(given):
        raise ValueError(f"classes are different strings, got {given!r:.200}")
    return [str(name) for name in given]


class TextBatches(Batches):
    """What :meth:`streamnorm.Vocabulary.batches` returns: iterable, each time an epoch with an order of its own.

    Attributes
    ----------
    classes : list of str or None
        What the numbers in y stand for, where the target is a column of strings.
    """

    def __init__(self, source: TextSource, **options: Any) -> None:
        self.classes = source.classes
        super().__init__(source, None, columns=source.codes, target=source.target, **options)

    def __len__(self) -> int:
        batches, rows = super().__len__(), self.num_rows or 0
        joined = not self.drop_last and rows > self.batch_size > 1 == rows % self.batch_size
        return batches - joined

    def _sliced(self, pieces: Generator[Piece, None, None]) -> Iterator[Any]:
        """Batches; a last row that would be alone goes with those before it, as networks that normalize want it."""
        size = self.batch_size
        try:
            for x, y, _ in pieces:
                starts = list(range(0, len(x), size))
                if len(x) > size > 1 == len(x) % size:
                    starts.pop()
                for start, stop in zip(starts, [*starts[1:], len(x)], strict=True):
                    yield x[start:stop] if y is None else (x[start:stop], y[start:stop])
        finally:
            pieces.close()

    def pieces(self) -> Generator[Piece, None, None]:
        """As :meth:`Batches.pieces`, with codes and classes as whole numbers."""
        made = super().pieces()
        return self._whole(made)

    def _whole(self, made: Generator[Piece, None, None]) -> Generator[Piece, None, None]:
        try:
            for x, y, weight in made:
                yield x.astype(np.int32), y if self.classes is None or y is None else y.astype(np.int64), weight
        finally:
            made.close()
