"""Predictions of a model for Parquet files, written beside the columns that they were made from."""

# Design: all columns pass through, and so their chunks are copied byte by byte, under the row groups that they have:
# only what the model reads is decoded, a batch at a time, and only the predictions are encoded. Row groups are cut and
# joined, as `transform` does it, where chunks cannot be copied: files whose types differ, or another size is asked for.
# Turned down: cutting row groups of more than a quarter of the memory all the same: every column would be encoded anew,
# to bound what is held, which here is a batch anyway.

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from .apply import (
    PAGE_ROOM,
    CopySource,
    FieldTask,
    ParquetJob,
    Transform,
    common_schema,
    copied_fields,
    is_string,
    reads_as_dictionary,
    too_short,
)
from .atomic import atomic_file
from .dry_run import stop
from .errors import DataError
from .features import MISSING
from .lineage import Lineage, of_parquet, root_of
from .matching import naming
from .outputs import Output, OutputOptions, plan_targets
from .parquet import format as fmt
from .parquet import thrift
from .parquet.encode import PAGE_ROWS, FloatChunkEncoder
from .parquet.format import ColumnMetaData, SchemaElement
from .parquet.writer import ParquetWriter
from .pipeline import Outlet
from .plan import Span, _shortened, describe, kept_spans, plan_spans
from .scan import Progress, ProgressMeter
from .sources import ParquetInput, _did_you_mean, column_batches, decoded_width

logger = logging.getLogger("streamnorm")

DEFAULT_MEMORY = "256MB"
NAME = "prediction"
MISSING_CHOICES = ("error", "null")
MOST_ROWS = 65_536  # of a batch
LEAST_PAGE = 1024  # rows


class Written(NamedTuple):
    """What `predict` has done: rows written, and how many of them have no prediction because they lack an input."""

    rows: int
    without: int


def predict(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    sink: str | os.PathLike[str],
    model: Any,
    *,
    name: str = NAME,
    missing: str = "error",
    compression: str | None = "snappy",
    compression_level: int | None = None,
    row_group_size: int | None = None,
    overwrite: bool = False,
    memory: str | int = DEFAULT_MEMORY,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Predict for each row of Parquet files, and write all columns and the predictions.

    Parameters
    ----------
    source : path, list of paths, glob or directory
        Parquet files with the columns that the model was trained on. The target need not be there.
    sink : path
        A file: all inputs go into it. An existing directory, or a path that ends in a slash: one output per input.
    model : Regressor
        Fitted on named columns.
    name : str, default "prediction"
        Of the column that is added, float64. A model of several targets adds one for each, ``<name>_<target>``.
    missing : {"error", "null"}, default "error"
        What to do where a row lacks an input (null or NaN), and the model does not impute: stop, or predict null for
        the row.
    row_group_size : int, optional
        Rows a row group; None: the input's row groups, whose other columns are copied as they are. Only where inputs
        of one output differ in how columns are stored, they may be cut and joined as by ``streamnorm.transform``.
    compression, compression_level, overwrite, memory, threads
        As for ``streamnorm.transform``.
    progress : callable, optional
        As there; called by worker threads, one at a time.

    Returns
    -------
    (rows, without)
        Rows written, and how many of them have no prediction because they lack an input.

    Raises
    ------
    DataError
        If a file lacks a column or has one of the new name, or a value is missing that the model does not impute; the
        error names file, row group and column. No partial output stays.
    FileExistsError
        If the target exists.
    """
    output = OutputOptions(None, compression, compression_level, row_group_size, overwrite, memory, threads).checked()
    if missing not in MISSING_CHOICES:
        raise ValueError(f"missing must be 'error' or 'null', got {missing!r}")
    from .nn._regressor_columns import ColumnPredictor

    targets = plan_targets(source, sink, overwrite)
    inputs = [file for group in targets.values() for file in group]
    needed, added = columns_needed(model), columns_added(model, name)
    for file in inputs:
        _check_schema(file, needed, added)
        with naming(file):
            model.features_.check_schema(file.schema)
    plans = {target: _planned(files, output) for target, files in targets.items()}
    log_columns("predicting", model.target_names_ or [], needed, inputs[0].schema.names)
    meter = ProgressMeter(progress, inputs)
    predictor = ColumnPredictor(model)
    origin = Lineage.of_model(model, added, {"missing": missing if missing != "error" else None})
    root = root_of(file.path for file in inputs)
    rows = without = 0
    for target, files in targets.items():
        assert target is not None
        stop()
        target.parent.mkdir(parents=True, exist_ok=True)
        spans, copies = plans[target]
        change = describe(spans)
        if change:
            logger.info("%s: %s", target, change, extra={"event": "row_groups", "target": str(target)})
        job = PredictionJob(
            files, spans, Transform({}), output.compression, origin.entry(map(of_parquet, files), root), output.memory,
            output.threads,
            predictor=predictor, added=added, allow_missing=missing == "null", meter=meter, copies=copies,
        )  # fmt: skip
        with atomic_file(target, overwrite=output.overwrite) as written:
            rows += job.run(written, meter)
            written.commit()
        without += job.without
    return Written(rows, without)


def _planned(files: Sequence[ParquetInput], output: Output) -> tuple[list[Span], bool]:
    """The row groups as they are, if all columns can be copied; else as they are best encoded anew. And which it is."""
    schema = common_schema(files)
    if output.row_group_size is None:
        spans = [span for file in files for span in kept_spans(file)]
        if len(copied_fields(files, spans, schema.names)) == len(schema):
            return spans, True
    return [span for file in files for span in plan_spans(file, output.memory, output.row_group_size)], False


def columns_needed(model: Any) -> list[str]:
    """The columns that a model reads.

    Raises
    ------
    DataError
        If it was trained on an array, whose columns have no names.
    """
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        raise DataError(
            "the model was trained on an array, whose columns have no names to find in a file: read the file and call "
            "predict, or train on named columns"
        )
    return list(names)


def columns_added(model: Any, name: str) -> list[str]:
    """The names of the predictions."""
    if model.n_outputs_ == 1:
        return [name]
    targets = model.target_names_ or range(model.n_outputs_)
    return [f"{name}_{target}" for target in targets]


def _check_schema(file: ParquetInput, needed: Sequence[str], added: Sequence[str]) -> None:
    names = file.schema.names
    for column in needed:
        if column not in names:
            near = _did_you_mean(column, names)
            raise file.error(f"there is no such column, and the model was trained on it{near}", column=column)
    for column in added:
        if column in names:
            raise file.error(
                "there is a column of this name already: choose another one for the predictions (--name)",
                column=column,
            )


def log_columns(doing: str, targets: Sequence[str], columns: Sequence[str], names: Sequence[str]) -> None:
    """Say which columns of a file, which has these names, a model reads."""
    chosen = set(columns)
    unused = [name for name in names if name not in chosen]
    said = ", ".join(map(str, targets)) or "the target"
    text = f"{doing} {said} from {_count(len(columns), 'column')}: {_shortened(columns)}"
    if unused:
        text += f"; not from {len(unused)}: {_shortened(unused)}"
    logger.info("%s", text, extra={"event": "columns", "columns": list(columns), "passing": unused})


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _located(message: str, column: Any, file: ParquetInput, group: int) -> DataError:
    """What is wrong with a value, with the place that it came from."""
    if message == MISSING:
        message = (
            'has a missing value (null or NaN), and the model knows no way with it: missing="null" (--missing null) '
            "predicts null for such rows, and training with impute=True (--impute) makes a model that takes them"
        )
    return file.error(message, group, None if column is None else str(column))


@dataclass(frozen=True, slots=True)
class PredictionTask(FieldTask):
    """The predictions for one span: all, or, where row groups are so long that the memory does not hold the pages of
    the others while one column is written, some of them."""

    outputs: tuple[int, ...]


@dataclass(kw_only=True)
class PredictionJob(ParquetJob):
    """Writes one Parquet file that has the columns of its inputs, and then predictions.

    Attributes
    ----------
    predictor : ColumnPredictor
    added : list of str
        The names of the predictions.
    allow_missing : bool
    meter : ProgressMeter
    copies : bool
        Whether it is known that all columns can be copied: finding out takes a while for many row groups.
    without : int
        Rows, so far, that have no prediction.
    """

    predictor: Any
    added: Sequence[str]
    allow_missing: bool
    meter: ProgressMeter
    copies: bool
    without: int = field(default=0, init=False)

    def _schema(self) -> pa.Schema:
        schema = super()._schema()
        return pa.schema([*schema, *(pa.field(name, pa.float64()) for name in self.added)], metadata=schema.metadata)

    def _passes(self, name: str) -> bool:
        return name not in self.added

    def _copied(self, names: Sequence[str]) -> set[str]:
        return set(names) if self.copies else super()._copied(names)

    def _tasks_of(self, span: Span, names: Sequence[str], copied: set[str], first: int) -> Iterator[FieldTask]:
        yield from super()._tasks_of(span, [name for name in names if self._passes(name)], copied, first)
        held = 1 + self.memory // 8 // (8 * max(span.out_rows))
        for start in range(0, len(self.added), held):
            outputs = tuple(range(start, min(start + held, len(self.added))))
            yield PredictionTask(span, tuple(self.added[i] for i in outputs), "predict", first, outputs)

    def _need(self, task: Any) -> int:
        if task.how != "predict":
            return super()._need(task)
        reading: int = task.span.file.reading_need(task.span.row_groups, self.predictor.names, self.memory)
        others = 8 * max(task.span.out_rows) * (len(task.outputs) - 1)
        return reading + PAGE_ROOM + self.memory // 16 + others

    def _count(self, task: FieldTask, fields: int, meter: ProgressMeter) -> None:
        """Nothing: rows count as they are predicted, which is what takes the time."""

    def _work(self, task: Any, writer: ParquetWriter, outlet: Outlet) -> None:
        if task.how == "predict":
            self._predict(task, writer, outlet)
        else:
            super()._work(task, writer, outlet)

    def _write(self, task: Any, result: tuple[int, Any], writer: ParquetWriter, source: CopySource) -> None:
        if task.how != "predict":
            super()._write(task, result, writer, source)
            return
        part, (name, made, rows, without) = result
        self._append(task.first_row_group + part, name, made, writer)
        if 0 in task.outputs:
            self.without += without
        self.meter.add(rows * len(task.outputs) / len(self.added))

    def _predict(self, task: PredictionTask, writer: ParquetWriter, outlet: Outlet) -> None:
        """Push the pages of the first column as they are made, and those of others at the end of a row group."""
        span, names = task.span, self.predictor.names
        pieces, pages, current = span.pieces(), _Pages(len(task.outputs), self.memory // 32), -1
        encoders: list[FloatChunkEncoder] = []

        def encode() -> None:
            rows, without = pages.encode(encoders)
            nbytes = encoders[0].pending_size
            outlet.push((current, (task.names[0], encoders[0].take_pages(), rows, without)), nbytes)

        def finish() -> None:
            encode()
            for name, encoder in zip(task.names, encoders, strict=True):
                nbytes = encoder.pending_size
                outlet.push((current, (name, encoder.finish(), 0, 0)), nbytes)

        encoded = [name for name in self.predictor.features.embed if self._folds(span, name)]
        most, read = self._batch_rows(span, encoded), 0
        for arrays in column_batches(
            span.file, self.bench.readers, span.row_groups, names, batch_rows=most, encoded=encoded
        ):
            outlet.check()
            cut = pieces.cut(len(arrays[0]))
            if cut:
                start, stop = cut[0][1], cut[-1][1] + cut[-1][2]
                found, good = self._of_batch(span, [array.slice(start, stop - start) for array in arrays], read + start)
                found = found[:, task.outputs[0] : task.outputs[-1] + 1]
            for part, first, length in cut:
                if part != current:
                    if encoders:
                        finish()
                    current = part
                    encoders = [
                        writer.float_encoder(name, scratch=self.bench.scratch, buffers=self.buffers)
                        for name in task.names
                    ]
                at = first - start
                while length:
                    taken = pages.add(found, good, at, length)
                    at, length = at + taken, length - taken
                    if pages.full:
                        encode()
            read += len(arrays[0])
            if pieces.complete:
                finish()
                return
        raise too_short(span, names[0])

    def _folds(self, span: Span, name: str) -> bool:
        """Whether strings to embed are best read as a dictionary, whose values are hashed once: unless many of them are
        no part of the dictionary in the file, all of which pyarrow would gather."""
        if not is_string(span.file.schema.field(name).type) or not reads_as_dictionary(span, name):
            return False
        footer = span.file.footer
        (leaf,) = footer.fields[footer.field_index(name)].leaves
        chunks = [footer.chunk(group, leaf) for group in span.row_groups]
        return all(chunk.uncompressed_size <= self.memory // 64 or chunk.holds_only_indices for chunk in chunks)

    def _batch_rows(self, span: Span, encoded: Sequence[str]) -> int:
        """Rows that are read and predicted together, which with all that is made of them take a 32nd of the memory."""
        width = sum(_row_bytes(span, name, name in encoded) for name in self.predictor.names)
        rows = self.memory // 32 // (self.predictor.row_bytes + width)
        return max(1, min(MOST_ROWS, rows))

    def _of_batch(self, span: Span, arrays: list[pa.Array], first_row: int) -> tuple[np.ndarray, np.ndarray | None]:
        from .nn._regressor_columns import UnfitValue

        try:
            return self.predictor.predict(arrays, self.allow_missing)
        except UnfitValue as error:
            group = span.row_group_at(first_row + error.row)
            raise _located(str(error), error.column, span.file, group) from None
        except DataError as error:
            column = None if error.column is None else str(error.column)
            said = str(error).removeprefix(f"column {column!r} ")
            raise _located(said, column, span.file, span.row_group_at(first_row)) from None


def _row_bytes(span: Span, name: str, encoded: bool) -> int:
    """Bytes of a row of a column in memory, about: of strings, what their pages take, or more where that is known."""
    file = span.file
    footer, total = file.footer, 0
    for leaf in footer.fields[footer.field_index(name)].leaves:
        size = decoded_width(footer.leaves[leaf])
        if footer.leaves[leaf].element[SchemaElement.TYPE][1] == fmt.BYTE_ARRAY:
            chunks = [footer.chunk(group, leaf) for group in span.row_groups]
            size += max(_string_bytes(chunk, encoded) // max(1, chunk.num_values) for chunk in chunks)
        total += size
    return total


def _string_bytes(chunk: Any, encoded: bool) -> int:
    """Of all strings of a chunk; as a dictionary they stay as they are stored."""
    packed: int = chunk.uncompressed_size
    if encoded:
        return packed
    sizes = thrift.value_of(chunk.metadata, ColumnMetaData.SIZE_STATISTICS, thrift.STRUCT, {})
    return max(packed, thrift.value_of(sizes, 1, thrift.I64, 0))


class _Pages:
    """Predictions that wait until there are enough for a page: so that pages do not depend on batches.

    Parameters
    ----------
    outputs : int
    most : int
        Bytes that may wait.
    """

    def __init__(self, outputs: int, most: int) -> None:
        rows = max(LEAST_PAGE, min(PAGE_ROWS, most // (8 * outputs)))
        self._values, self._good = np.empty((outputs, rows)), np.empty(rows, bool)
        self._count, self._complete = 0, True

    @property
    def full(self) -> bool:
        """Whether no more rows have room."""
        return self._count == len(self._good)

    def add(self, found: np.ndarray, good: np.ndarray | None, start: int, length: int) -> int:
        """Take rows of predictions, shape (n, outputs), as many as have room; returns their number."""
        at, length = self._count, min(length, len(self._good) - self._count)
        self._values[:, at : at + length] = found[start : start + length].T
        self._good[at : at + length] = True if good is None else good[start : start + length]
        self._complete = self._complete and good is None
        self._count += length
        return length

    def encode(self, encoders: Sequence[FloatChunkEncoder]) -> tuple[int, int]:
        """A page for each encoder; returns the rows, and how many have no prediction."""
        rows, without, validity = self._count, 0, None
        if not self._complete:
            good = self._good[:rows]
            without, validity = rows - int(np.count_nonzero(good)), np.packbits(good, bitorder="little")
        for values, encoder in zip(self._values, encoders, strict=True):
            if rows:
                encoder.add(values[:rows], validity)
        self._count, self._complete = 0, True
        return rows, without
