"""Rows in memory, of whatever kind they come: inputs, target and weights side by side, checked, in one order."""

# Design: an order that depends on the rows alone (a hash of their values sorts them) comes before the shuffle by seed,
# so that a query without ORDER BY, or another split of the same data, gives the same model. Hashing, sorting and
# gathering cost as much as half an epoch of a small network, once a fit. Rows that are alike in all are
# interchangeable. Turned down: shuffling positions alone, as everybody does: the model would depend on an order that
# nobody chose.
#
# Design: weights that are whole numbers, and not too large, repeat rows in the order of training; batches, batch
# normalization and the validation share then are what they would be with the rows repeated. Turned down: multiplying
# the loss in this case too, under which batch normalization sees each row once.

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from .._core import affine
from ..errors import DataError
from ..features import can_be_hashed, nulls
from ..scalers._frames import ArrowFrame, Frame, arrow_of, as_frame, as_reader, parts
from ..scalers._inputs import as_matrix, kind_of
from ..scalers._select import as_names, check_columns, is_numeric_when_named, numeric_chunk, select_columns
from ..summary import near_matches

MOST_REPEATS = 10  # times the number of rows, up to which weights count rows
CHUNK_ROWS = 1 << 16
Names = str | Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Source:
    """What :meth:`Regressor.fit` was called with; `scaling`: the regressor's `scaler` and `target_scaler`."""

    X: Any
    y: Any
    target: list[str] | None
    sample_weight: Any
    columns: Names
    exclude: Names
    memory: str | int
    threads: int | None
    scaling: tuple[Any, Any] = (None, None)


@dataclass(slots=True)
class Given:
    """Rows as they were given, those without target or weight left out.

    Attributes
    ----------
    inputs : ndarray of shape (n, d), or Table
        Numbers by position; or the columns of the inputs, and no others.
    numeric : list of str, or None
        The columns of numbers among them; None for an array.
    target : float64 array of shape (n, t)
    weight : float64 array of shape (n,), or None
    counts : int64 array of shape (n,), or None
        How often each row is there, where the weights say that.
    target_names : list of str, or None
    """

    inputs: Any
    numeric: list[str] | None
    target: np.ndarray
    weight: np.ndarray | None
    counts: np.ndarray | None
    target_names: list[str] | None

    def __len__(self) -> int:
        return len(self.target)

    def order(self, *, by_value: bool) -> np.ndarray:
        """Positions of rows in the order of training, before any shuffle: as given, or by the rows' values."""
        order = self._by_value() if by_value else np.arange(len(self))
        return order if self.counts is None else np.repeat(order, self.counts[order])

    def _by_value(self) -> np.ndarray:
        """By a hash of the inputs; where that is the same, by target and weight, whose units then do not matter."""
        keys = np.zeros(len(self), np.uint64)
        for column in _columns(self.inputs):
            _mix(keys, column)
        order = np.argsort(keys, kind="stable")
        if (np.diff(keys[order]) != 0).all():
            return order
        others = [*self.target.T, *([] if self.weight is None else [self.weight])]
        return np.lexsort((*others, keys))


def take(inputs: Any, rows: np.ndarray) -> Any:
    """Some rows of the inputs."""
    return inputs[rows] if isinstance(inputs, np.ndarray) else inputs.take(indices(rows))


def indices(rows: np.ndarray) -> pa.Array:
    """Positions as Arrow has them; pa.array imports pandas, where it is installed, to see whether values are its."""
    rows = np.ascontiguousarray(rows, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])


def in_chunks(inputs: Any, order: np.ndarray | None = None) -> Iterator[Any]:
    """The inputs in this order, a bounded number of rows at a time."""
    for start in range(0, len(inputs) if order is None else len(order), CHUNK_ROWS):
        if order is not None:
            yield take(inputs, order[start : start + CHUNK_ROWS])
        elif isinstance(inputs, np.ndarray):
            yield inputs[start : start + CHUNK_ROWS]
        else:
            yield inputs.slice(start, CHUNK_ROWS)


def _mix(keys: np.ndarray, column: np.ndarray) -> None:
    """Fold a column into the rows' keys, by the finalizer of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    values = column if column.dtype == np.uint64 else (column.astype(np.float64) + 0.0).view(np.uint64)  # -0.0 is 0.0
    keys ^= values
    keys += np.uint64(0x9E3779B97F4A7C15)
    keys ^= keys >> np.uint64(30)
    keys *= np.uint64(0xBF58476D1CE4E5B9)
    keys ^= keys >> np.uint64(27)
    keys *= np.uint64(0x94D049BB133111EB)
    keys ^= keys >> np.uint64(31)


def _columns(inputs: Any) -> Iterator[np.ndarray]:
    if isinstance(inputs, np.ndarray):
        yield from inputs.T
        return
    for column in inputs.columns:
        yield numbers(column) if is_numeric_when_named(column.type) else _hashes(column)


def _hashes(column: pa.ChunkedArray) -> np.ndarray:
    """A number for each string, the same wherever it stands."""
    from hashlib import blake2b

    coded = column.combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.unify_dictionaries().combine_chunks()
    words = [str(word).encode() for word in coded.dictionary.to_pylist()]
    known = np.array(
        [int.from_bytes(blake2b(word, digest_size=8).digest(), "little") for word in words] + [0], np.uint64
    )
    return known[coded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)]


def numbers(column: Any) -> np.ndarray:
    """A numeric Arrow column as float64, NaN for null."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    values = [_numbers(numeric_chunk(chunk)) for chunk in chunks]
    return values[0] if len(values) == 1 else np.concatenate(values) if values else np.empty(0)


def _numbers(chunk: pa.Array) -> np.ndarray:
    """By the kernel: to_numpy would import pandas, where it is installed, to see whether values are its."""
    values = affine(chunk, 0.0, 1.0, dtype=np.float64)
    missing = nulls(chunk)
    if missing is not None:
        values[missing] = np.nan
    return values


def read_rows(source: Source, embed: Sequence[str], owner: str) -> Given:
    """Inputs, target and weights of data in memory.

    Raises
    ------
    DataError
        If there is no target, or a column is missing, or no row is left, or a length is another, or a value cannot be
        used.
    """
    check_one_target(source, owner)
    frame = frame_or_matrix(source.X, owner)
    rows = frame.rows if isinstance(frame, Frame) else len(frame)
    weight_column = source.sample_weight if isinstance(source.sample_weight, str) else None
    numeric: list[str] | None = None
    if isinstance(frame, Frame):
        check_target(frame.schema, source.target)
        taken = [*(source.target or ()), *([] if weight_column is None else [weight_column])]
        numeric = input_columns(frame.schema, source.columns, source.exclude, embed, taken)
        inputs: Any = table_of(frame, [*numeric, *embed])
    else:
        check_unnamed(source, embed)
        inputs = frame
    if rows == 0:
        raise DataError(
            f"Found array with 0 sample(s) while a minimum of 1 is required by {owner}: there are no rows to train on"
        )
    if source.target is None:
        goal = as_target(source.y, rows)
    else:
        goal = target_values(table_of(frame, source.target), source.target)
    weight = None
    if source.sample_weight is not None:
        given = source.sample_weight
        if weight_column is not None:
            check_columns(frame.schema, [weight_column])
            given = numbers(table_of(frame, [weight_column]).column(0))
        weight = as_weight(given, rows)
    return _kept(Given(inputs, numeric, goal, weight, None, source.target))


def target_values(table: Any, names: Sequence[str]) -> np.ndarray:
    """Columns of a table or batch as a target: float64 of shape (n, t), NaN where it is missing."""
    found = np.stack([numbers(table.column(name)) for name in names], axis=1)
    _refuse_infinite(found, names)
    return found


def check_unnamed(source: Source, embed: Sequence[str]) -> None:
    """Raise DataError if columns are named where there are no names."""
    if source.target is not None or source.columns is not None or source.exclude is not None or embed:
        raise DataError(
            "target=, columns=, exclude= and embed= need named columns, which an array has not: pass a table or a frame"
        )
    if isinstance(source.sample_weight, str):
        raise DataError(f"sample_weight names a column, {source.sample_weight!r}, and an array's columns have no names")


def check_one_target(source: Source, owner: str) -> None:
    """Raise DataError unless exactly one of y and the names of target columns is given."""
    y, names = source.y, source.target
    if isinstance(y, str):
        raise DataError(f"y is the name {y!r}: to name a column of X, give target={y!r}")
    if y is None and names is None:
        raise DataError(
            f"{owner} requires y to be passed, but the target y is None: pass y, or name a column of X by target="
        )
    if y is not None and names is not None:
        raise DataError("there are both y and target=: leave one out")
    if names is not None and (not names or len(set(names)) != len(names)):
        raise DataError(f"target must be one name or several different ones, got {names}")


def frame_or_matrix(X: Any, owner: str) -> Any:
    """Data in memory as one frame, or one array of numbers of shape (n, d)."""
    X, reader = arrow_of(X)
    if reader is not None:
        return ArrowFrame(reader().read_all())
    kind = kind_of(X)
    if kind == "table":
        return as_frame(X)
    if kind == "stream":
        return ArrowFrame(as_reader(X).read_all())
    if kind == "batches":
        return _joined(list(parts(X)), owner)
    return as_numbers(X, owner)


def _joined(pieces: list[Any], owner: str) -> Any:
    if not pieces:
        raise DataError(f"there are no rows and no columns: {owner} needs at least one row")
    if not any(isinstance(piece, Frame) for piece in pieces):
        return np.concatenate([as_numbers(piece, owner) for piece in pieces])
    if not all(isinstance(piece, Frame) for piece in pieces):
        raise DataError("the batches are tables and arrays mixed: give one kind")
    tables = [table_of(piece, piece.names) for piece in pieces]
    try:
        return ArrowFrame(pa.concat_tables(tables, promote_options="permissive"))
    except pa.ArrowException as error:
        raise DataError(f"the batches have different columns: {error}") from None


def as_numbers(X: Any, owner: str) -> np.ndarray:
    """An array-like as an array of numbers of shape (n, d)."""
    array = X if isinstance(X, np.ndarray) else None
    if array is None and not isinstance(X, np.ma.MaskedArray):
        try:
            array = np.asarray(X)
        except (TypeError, ValueError):
            array = None
    if array is not None and array.dtype == object:
        try:
            X = array.astype(np.float64)
        except TypeError as error:
            raise TypeError(f"X does not hold numbers alone: {error}") from None
        except ValueError:
            pass  # strings, of which as_matrix speaks
    return as_matrix(X, owner)


def table_of(frame: Frame, names: Sequence[str]) -> pa.Table:
    """These columns of a frame as a Table; pandas' NaN are nulls."""
    found = []
    for name in names:
        i = frame.names.index(name)
        chunks = frame.chunks(i, fit=True)
        found.append(pa.chunked_array(chunks, chunks[0].type if chunks else frame.schema.field(i).type))
    return pa.Table.from_arrays(found, names=list(names))


def check_target(schema: pa.Schema, names: Sequence[str] | None) -> None:
    """Raise DataError unless each of the names, if any, is a column of numbers."""
    for name in names or ():
        if name not in schema.names:
            raise DataError(f"there is no target column {name!r}: {near_matches(name, schema.names)}", column=name)
        kind = schema.field(schema.get_all_field_indices(name)[0]).type
        if not is_numeric_when_named(kind):
            raise DataError(f"the target {name!r} holds {kind}, not numbers: convert it first", column=name)
        check_columns(schema, [name])


def input_columns(
    schema: pa.Schema, columns: Names, exclude: Names, embed: Sequence[str], taken: Sequence[str]
) -> list[str]:
    """The columns of numbers that are inputs: those chosen, without the strings and what is target or weight."""
    for name in embed:
        if schema.names.count(name) != 1:
            check_columns(schema, [name])
    wanted, left_out = as_names(columns), [*(as_names(exclude) or ()), *taken, *embed]
    if wanted is not None:
        wanted = [name for name in wanted if name not in taken and name not in embed]
        if not wanted and embed:
            return []
    try:
        return select_columns(schema, wanted, left_out)
    except DataError as error:
        name = error.column
        kind = schema.field(name).type if name in schema.names else pa.float64()
        if can_be_hashed(kind) and not is_numeric_when_named(kind):
            raise DataError(
                f"column {name!r} holds strings: learn a vector for each (embed=), or leave the column out (exclude=)",
                column=name,
            ) from None
        if not str(error).startswith("there is no column to normalize"):
            raise
        if embed:
            return []
        raise DataError(
            "there is no column of numbers to learn from: name booleans or dates in columns=, or strings in embed="
        ) from None


def as_target(y: Any, rows: int) -> np.ndarray:
    """A target that was given apart from X, as float64 of shape (n, t)."""
    if isinstance(y, pa.Array | pa.ChunkedArray):
        array = numbers(y)
    elif isinstance(y, pa.Table | pa.RecordBatch):
        array = np.stack([numbers(column) for column in y.columns], axis=1) if y.num_columns else np.empty((rows, 0))
    else:
        array = np.asarray(y)
    if array.dtype.kind == "c":
        raise DataError("Complex data not supported: the target must hold real numbers")
    if array.dtype.kind not in "biuf":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"the target y does not hold numbers: {error}") from None
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] == 0):
        raise DataError(f"y should be a 1d array, or 2d with a column for each target, got shape {array.shape}")
    if len(array) != rows:
        raise DataError(f"X has {rows} rows, and y has {len(array)}: give one target for each row")
    values = array.astype(np.float64).reshape(rows, -1) if rows else np.empty((0, 1))
    if np.isnan(values).any():
        raise DataError("Input y contains NaN: leave out the rows whose target is missing")
    _refuse_infinite(values, None)
    return values


def _refuse_infinite(values: np.ndarray, names: Sequence[str] | None) -> None:
    infinite = np.isinf(values).any(axis=0)
    if infinite.any():
        name = None if names is None else names[int(np.argmax(infinite))]
        what = "Input y" if name is None else f"the target {name!r}"
        raise DataError(f"{what} contains infinity: leave out such rows", column=name)


def as_weight(sample_weight: Any, rows: int) -> np.ndarray:
    """Weights of rows, as float64 of shape (n,); 0 for those that are missing."""
    if isinstance(sample_weight, pa.Array | pa.ChunkedArray):
        sample_weight = numbers(sample_weight)
    try:
        weight = np.array(
            np.ma.filled(sample_weight, np.nan) if np.ma.isMA(sample_weight) else sample_weight, np.float64
        )
    except (TypeError, ValueError) as error:
        raise DataError(f"sample_weight cannot weigh rows: {error}") from None
    if weight.ndim == 0:
        weight = np.full(rows, float(weight))
    if weight.shape != (rows,):
        raise DataError(f"sample_weight has shape {weight.shape}, and X has {rows} rows: give one weight for each")
    weight[np.isnan(weight)] = 0.0
    if (weight < 0).any() or np.isinf(weight).any():
        raise DataError("sample_weight holds a negative or infinite weight: give finite weights of at least 0")
    if not weight.any():
        raise DataError("every weight is zero or missing, so that no row takes part: at least one must be positive")
    return weight


def _kept(given: Given) -> Given:
    """Without the rows that have no target or no weight, and with weights that count turned into counts."""
    keep = ~np.isnan(given.target).any(axis=1)
    if not keep.any():
        raise DataError(
            f"every row lacks its target ({', '.join(given.target_names or ())}), so that none is left to train on"
        )
    if given.weight is not None:
        keep &= given.weight > 0
        if not keep.any():
            raise DataError("every row with a target has a weight that is zero or missing: no row takes part")
    if not keep.all():
        rows = np.flatnonzero(keep)
        given.inputs, given.target = take(given.inputs, rows), given.target[rows]
        given.weight = None if given.weight is None else given.weight[rows]
    if given.weight is not None and _counts_rows(given.weight):
        given.counts, given.weight = given.weight.astype(np.int64), None
    return given


def _counts_rows(weight: np.ndarray) -> bool:
    """Whether these weights, all positive, say how often each row is there."""
    return bool((weight == np.rint(weight)).all() and weight.sum() <= MOST_REPEATS * len(weight))
