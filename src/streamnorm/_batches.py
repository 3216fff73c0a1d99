"""Batches for training: any source, scaled and shuffled on the way, in bounded memory and without a rewritten file."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ._ahead import ahead
from ._batch_columns import Columns, NamedColumns, as_keys, whole_number
from ._batch_mixing import NUMBER_BYTES, Piece, RowMixer, Run
from ._batch_rows import Chosen, RowMaker
from ._batch_sources import CHUNK_ROWS, FileSource, open_source
from .errors import DataError
from .features import FeatureMap, map_table
from .memory import MIN_MEMORY, parse_memory
from .scalers import BaseScaler
from .scalers._transform import AffineMap
from .stream import Stream

__all__ = ["Batches", "batches"]


PIECE_ROWS = 1 << 14
CODE_BYTES = 20 * 10**6  # of the libraries that read and train, beyond the 80 MB that do not count as memory


def batches(
    source: Any,
    scaler: Any = None,
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int = 0,
    *,
    columns: Columns = None,
    exclude: Columns = None,
    target: Columns = None,
    dtype: Any = np.float32,
    drop_last: bool = False,
    memory: str | int = "256MB",
    threads: int | None = None,
    sample_weight: str | int | None = None,
    target_scaler: Any = None,
    holdout: tuple[float, int] | None = None,
    part: str | None = None,
) -> Batches:
    """Scaled and shuffled batches of a source, epoch after epoch.

    Parameters
    ----------
    source : path, list of paths, glob, directory, or data
        Parquet files, or anything that a scaler's ``fit`` takes.
    scaler : scaler, FeatureMap, method, or None
        A fitted scaler; a :class:`~streamnorm.features.FeatureMap`, which also imputes and embeds; a method as for
        ``fit``, which is then fitted first, on the rows that are trained on; None: values as they are. Columns that a
        scaler does not know come as they are.
    batch_size : int, default 32
    shuffle : bool, default True
        False: the order of the source (files by name). Else see Notes.
    seed : int, default 0
    columns, exclude : str, int, sequence of those, or None
        The features; None: those of a fitted scaler, or every integer, float and decimal column, without target and
        weight. Arrays have positions.
    target : str, int, sequence of those, or None
        One column: y has shape (n,); a list of t: (n, t). Rows without a target (null or NaN in one) are left out.
    dtype : dtype, default float32
        float32 or float64. Values are computed in double and rounded once.
    drop_last : bool, default False
        Leave out a last batch that is not full.
    memory : str or int, default "256MB"
        Bound of all buffers. The rows of the shuffle buffer follow from it, and with them the order.
    threads : int or None
        1: everything happens in the thread that iterates; else one background thread works ahead. The result does not
        depend on it.
    sample_weight : str, int or None
        A column of weights, for :meth:`Batches.pieces`. Rows whose weight is zero or missing are left out.
    target_scaler : scaler or None
        Fitted; maps the targets that it knows.
    holdout : (float, int) or None
        A fraction and a seed: that share of the rows, chosen by their number in the source, is for validation.
    part : {"train", "validation"} or None
        With `holdout`: which rows; None: "train".

    Returns
    -------
    Batches

    Notes
    -----
    With `shuffle`, the row groups of the files (slices of 65,536 rows of data in memory) come in a random order, and
    their rows go through a buffer: each row that comes in takes the place of one drawn at random, which goes out. The
    buffer holds ``memory / 2`` bytes of rows (less where reading leaves less), at most 2**24 rows: a source that is no
    larger is shuffled perfectly, every order being as likely as another. Of a larger one, a row waits in the buffer for
    as many rows as this holds on average, so that a batch mixes the row groups of about the last two or three buffers.
    Data that only flows (readers, iterators) has no units and is mixed by the buffer alone. Rows of files that fit the
    buffer with 16 bytes more each are kept from the first epoch on, and later ones read nothing.

    Examples
    --------
    >>> import pyarrow as pa, streamnorm as sn
    >>> table = pa.table({"fare": [2.0, 4.0, 9.0], "tip": [0.5, 1.0, None], "zone": ["a", "b", "a"]})
    >>> for X, y in sn.batches(table, "minmax", batch_size=2, shuffle=False, target="tip"):
    ...     print(X.tolist(), y.tolist())
    [[0.0], [1.0]] [0.5, 1.0]
    """
    return Batches(
        source,
        scaler,
        batch_size,
        shuffle,
        seed,
        columns=columns,
        exclude=exclude,
        target=target,
        dtype=dtype,
        drop_last=drop_last,
        memory=memory,
        threads=threads,
        sample_weight=sample_weight,
        target_scaler=target_scaler,
        holdout=holdout,
        part=part,
    )


class Batches(RowMixer):
    """What :func:`batches` returns: iterable, each time an epoch with an order of its own.

    Attributes
    ----------
    features : FeatureMap
    scaler : scaler or None
        What was fitted, or given.
    columns : list of str
        The names of the columns of X.
    target : str, int, list, or None
    num_rows : int or None
        Rows of an epoch; None until an epoch has found how many have a target and a weight.
    source_rows : int or None
        Rows of the source, where that is known.
    rows_left_out : int or None
        Rows of the last whole epoch that had no target or no weight.
    epoch : int
        The number of the next epoch.
    """

    def __init__(
        self,
        source: Any,
        scaler: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        *,
        columns: Columns = None,
        exclude: Columns = None,
        target: Columns = None,
        dtype: Any = np.float32,
        drop_last: bool = False,
        memory: str | int = "256MB",
        threads: int | None = None,
        sample_weight: str | int | None = None,
        target_scaler: Any = None,
        holdout: tuple[float, int] | None = None,
        part: str | None = None,
    ) -> None:
        if whole_number("batch_size", batch_size, "a positive integer") < 1:
            raise ValueError(f"batch_size must be a positive integer, got {batch_size!r}")
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise ValueError(f"threads must be a positive integer or None, got {threads!r}")
        if part not in (None, "train", "validation"):
            raise ValueError(f"part must be 'train' or 'validation', got {part!r}")
        if holdout is None and part is not None:
            raise ValueError("part goes with holdout, which says how the rows are parted")
        if target_scaler is not None and not isinstance(target_scaler, BaseScaler):
            raise ValueError(f"target_scaler must be a fitted scaler or None, got {target_scaler!r}")
        self.batch_size, self.shuffle, self.seed = int(batch_size), bool(shuffle), whole_number("seed", seed)
        self.drop_last, self.memory, self.threads = bool(drop_last), parse_memory(memory), threads
        self.holdout = None if holdout is None else _checked_holdout(holdout)
        self.part = None if holdout is None else part or "train"
        self.target, self.sample_weight = target, sample_weight
        self._source = open_source(source)
        self._chosen = Chosen(tuple(as_keys(target)), sample_weight, self.holdout, self.part)
        self._targets, self._extra = list(self._chosen.targets), self._chosen.columns
        self.source_rows = self._source.num_rows
        self.rows_left_out: int | None = None
        self._found_rows: int | None = None
        self.epoch = 0
        self.scaler: BaseScaler | None = None
        self._share: tuple[int, int] = (0, 1)
        self._set_up(scaler, columns, exclude, dtype, target_scaler)

    def _set_up(self, scaler: Any, columns: Columns, exclude: Columns, dtype: Any, target_scaler: Any) -> None:
        """Find the columns, fit the scaler if that is asked for, and plan the memory."""
        named = NamedColumns(self._source, self._extra)
        if isinstance(scaler, FeatureMap):
            if columns is not None or exclude is not None:
                raise ValueError("a feature map knows its columns: leave columns and exclude out")
            self.features, self.scaler = scaler, None
            if scaler.dtype != np.dtype(dtype):
                raise ValueError(f"the feature map makes {scaler.dtype}, and dtype is {np.dtype(dtype)}: give one")
            both = [name for name in scaler.names if name in self._extra]
            if both:
                raise ValueError(f"{both} are features and are target or weight: decide for one")
            if self._source.schema is None:
                named.check_positions(scaler.names)
        elif scaler is None or (isinstance(scaler, BaseScaler) and scaler.__sklearn_is_fitted__()):
            self.scaler = scaler
            names = named.features(columns, exclude, scaler)
            self.features = FeatureMap(None, names, keep_missing=False, dtype=dtype)
            if scaler is not None:
                self.features = _map_of(scaler, names, dtype, named.matched(scaler))
        else:
            from .making import make_scaler

            names = named.features(columns, exclude)
            self.features = FeatureMap(None, names, keep_missing=True, dtype=dtype)
            self.scaler = self.fit_scaler(make_scaler(scaler), names)
            by_name = self._source.schema is not None
            self.features = _map_of(self.scaler, names, dtype, None if by_name else names)
        if self._source.schema is not None:
            self.features.check_schema(self._source.schema)
        names = self._extra + self.features.names
        self._read_names = list(dict.fromkeys(names))
        self._source.check(self._read_names)
        self.columns = self.features.feature_names
        known = target_scaler._plain_maps() if target_scaler is not None else {}
        maps = [known.get(name, AffineMap()) for name in self._targets]
        if target_scaler is not None and not any(name in known for name in self._targets):
            if len(known) != len(self._targets):
                raise DataError(f"target_scaler was fitted on {list(known)}, and the target is {self._targets}")
            maps = list(known.values())
        table = map_table(maps + [AffineMap()] * (len(self._extra) - len(maps)))
        self._maker = RowMaker(self._chosen, self.features, table, [self._read_names.index(name) for name in names])
        self._plan_memory()

    def fit_scaler(self, scaler: BaseScaler, columns: Sequence[Any]) -> BaseScaler:
        """Fit a scaler on the rows of an epoch, their values as they are stored.

        Parameters
        ----------
        scaler : scaler
        columns : sequence of str or int
            Features or targets.

        Returns
        -------
        scaler
            The same one.
        """
        if not self._source.rereadable:
            raise DataError(
                "the source can be read only once, and fitting a scaler reads it first: pass a fitted one, or give "
                "files, a table or a list of batches"
            )
        options: dict[str, Any] = {} if self._source.schema is None else {"columns": list(columns)}
        if self.holdout is None and not self._extra and isinstance(self._source, FileSource):
            return scaler.fit([file.path for file in self._source.files], memory=self.memory, **options)
        rows: Any = self._raw(list(columns))
        if scaler._rereads() and self._source.schema is None:
            rows = list(rows)
        elif scaler._rereads():
            schema = self._raw_schema(list(columns))
            rows = Stream(lambda: pa.RecordBatchReader.from_batches(schema, self._raw(list(columns))), True)
        return scaler.fit(rows, **options)

    def _raw_schema(self, columns: list[Any]) -> pa.Schema:
        schema = self._source.schema
        assert schema is not None
        return pa.schema([schema.field(name) for name in columns])

    def _raw(self, columns: list[Any]) -> Iterator[Any]:
        """The rows of an epoch in file order, as they are stored: record batches, or arrays."""
        names = list(dict.fromkeys([*self._extra, *columns]))
        at = [names.index(name) for name in columns]
        extra = [names.index(name) for name in self._extra]
        plain = map_table([AffineMap()] * len(extra))
        rows = self._rows_at_once(self._source.row_bytes(names))
        source = self._source.session()
        for unit in source.units:
            for chunk in source.read(unit, names, (), rows):
                values = np.empty((chunk.rows, len(extra)))
                keep, _ = self._chosen.kept(chunk, [chunk.arrays[i] for i in extra], values, 0, plain)
                arrays = [chunk.arrays[i] for i in at]
                if self._source.schema is None:
                    matrix = np.column_stack(arrays)
                    yield matrix if keep is None else matrix[keep.view(bool)]
                else:
                    batch = pa.RecordBatch.from_arrays(arrays, schema=self._raw_schema(columns))
                    yield batch if keep is None else batch.filter(_booleans(keep))

    def _plan_memory(self) -> None:
        """How many rows the buffer, a piece and a chunk have: from the memory and the files, and nothing else."""
        row = self._maker.width * self.features.dtype.itemsize
        need = self._source.reading_need(self._read_names, self.memory)
        room = min(self.memory // 2, max(self.memory // 8, self.memory * 3 // 4 - need - CODE_BYTES))
        self.buffer_rows = min(1 << 24, max(1, room // row)) if self.shuffle else 0
        if self.source_rows is not None:
            self.buffer_rows = min(self.buffer_rows, self.source_rows)
        # A file's rows that would fill the buffer once, and never leave it before the end, stay for the next epoch.
        self._holds = self.shuffle and self._source.keeps
        self._holds = self._holds and (self._source.num_rows or 0) * (row + NUMBER_BYTES) <= room
        self._held = None
        most = max(1, self.memory // 64 // row)
        self.piece_rows = max(1, min(PIECE_ROWS, most) // self.batch_size) * self.batch_size
        read = self._source.row_bytes(self._read_names)
        self._chunk_rows = self._rows_at_once(max(row, read))

    def _rows_at_once(self, row: int) -> int:
        """Rows of a chunk, by the bytes of one."""
        return max(1024, min(CHUNK_ROWS, self.memory // 64 // max(1, row)))

    @property
    def num_rows(self) -> int | None:
        if self._found_rows is not None:
            return self._found_rows
        return self.source_rows if not self._extra and self.holdout is None else None

    def __len__(self) -> int:
        rows = self.num_rows
        if rows is None or self._share != (0, 1):
            raise TypeError("how many batches there are is known after the first epoch")
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of this epoch."""
        self.epoch = int(epoch)

    def __iter__(self) -> Iterator[Any]:
        return self._sliced(self.pieces())

    def _sliced(self, pieces: Generator[Piece, None, None]) -> Iterator[Any]:
        size = self.batch_size
        try:
            for x, y, _ in pieces:
                for start in range(0, len(x), size):
                    rows = x[start : start + size]
                    yield rows if y is None else (rows, y[start : start + size])
        finally:
            pieces.close()

    def pieces(self) -> Generator[Piece, None, None]:
        """One epoch in large pieces, for a trainer that cuts them into batches by itself.

        Yields
        ------
        (X, y, weight)
            Of whole multiples of `batch_size` rows but for the last, which never has a single row unless it is the only
            one; y and weight are None without target and weights. The arrays are the caller's.
        """
        run = Run(self.epoch, self._source.session())
        self.epoch += 1
        made = self._made(run)
        return made if self.threads == 1 else ahead(made, run.stop)

    def share(self, index: int, parts: int) -> Batches:
        """The same batches of a part of the rows: every `parts`-th unit, from number `index` on.

        For processes side by side, each with its part of the memory. Everything happens in the thread that iterates. A
        share may be shared out again: that of a machine among its processes.
        """
        if not 0 <= index < parts:
            raise ValueError(f"there is no part {index} of {parts}")
        mine = copy.copy(self)
        first, step = self._share
        mine._share, mine.threads = (first + step * index, step * parts), 1
        mine.memory = max(MIN_MEMORY, self.memory // parts)
        mine._found_rows = mine.rows_left_out = None
        mine._plan_memory()
        return mine

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}

    def to_torch(self) -> Any:
        """The same batches as a ``torch.utils.data.IterableDataset``, for ``DataLoader(dataset, batch_size=None)``.

        With workers, each row comes once: the units of the source are dealt out to them, in a way that is the same in
        every epoch, while the order within each differs. Tensors share memory with the arrays.
        """
        from ._torch_batches import BatchesDataset

        return BatchesDataset(self)


def _booleans(values: np.ndarray) -> pa.Array:
    """0 and 1 as Arrow has them; pa.array imports pandas, where it is installed, to see whether values are its."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))])


def _checked_holdout(holdout: Any) -> tuple[float, int]:
    if not isinstance(holdout, (tuple, list)) or len(holdout) != 2:
        raise ValueError(f"holdout takes a fraction and a seed, like (0.1, 0), got {holdout!r}")
    fraction, seed = holdout
    if not isinstance(fraction, float | int | np.number) or not 0.0 < fraction < 1.0:
        raise ValueError(f"holdout takes a fraction between 0 and 1, got {fraction!r}")
    return float(fraction), whole_number("the seed of holdout", seed)


def _map_of(scaler: BaseScaler, names: list[Any], dtype: Any, matched: list[Any] | None) -> FeatureMap:
    """A feature map of these columns with the maps of the scaler's, which it may know by position."""
    made = FeatureMap(None, names, dtype=dtype)
    maps = scaler._plain_maps() if matched is None else dict(zip(matched, scaler._plain_maps().values(), strict=True))
    made.maps = {name: maps.get(name, AffineMap()) for name in names}
    made._finish()
    return made
