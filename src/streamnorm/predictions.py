"""Predictions of a model for Parquet files, written beside the columns that they were made from."""

# Design: the columns are read, predicted from and written again in batches, as a stream of data in memory is. Turned
# down: copying the chunks of all columns as they are, as `transform` does with those that it passes through, and adding
# one chunk: reading what the model does not need is cheap beside the network.

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from . import stream
from .apply import Transform, common_schema
from .errors import DataError
from .features import MISSING
from .outputs import OutputOptions, plan_targets
from .plan import _shortened
from .scalers._transform import AffineMap
from .scan import Progress, ProgressMeter
from .sources import ParquetInput, _did_you_mean, locate_damage, without_state

logger = logging.getLogger("streamnorm")

DEFAULT_MEMORY = "256MB"
NAME = "prediction"
MOST_ROWS = 65_536  # of a batch


def predict(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    sink: str | os.PathLike[str],
    model: Any,
    *,
    name: str = NAME,
    compression: str | None = "snappy",
    compression_level: int | None = None,
    row_group_size: int | None = None,
    overwrite: bool = False,
    memory: str | int = DEFAULT_MEMORY,
    threads: int | None = None,
    progress: Progress | None = None,
) -> int:
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
    compression, compression_level, row_group_size, overwrite, memory, threads, progress
        As for ``streamnorm.transform``.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    DataError
        If a file lacks a column or has one of the new name, or a value is missing that the model does not impute; the
        error names file, row group and column. No partial output stays.
    FileExistsError
        If the target exists.
    """
    output = OutputOptions(None, compression, compression_level, row_group_size, overwrite, memory, threads).checked()
    targets = plan_targets(source, sink, overwrite)
    inputs = [file for group in targets.values() for file in group]
    needed, added = columns_needed(model), columns_added(model, name)
    for file in inputs:
        _check_schema(file, needed, added)
    log_columns("predicting", model.target_names_ or [], needed, inputs[0].schema.names)
    meter = ProgressMeter(progress, inputs)
    # Predictions as they are: a map makes the writer lay out their pages itself, without a dictionary of all different
    # values. All other columns are encoded by Arrow, which holds several copies: so half of the memory is planned for.
    own_pages = Transform({column: AffineMap() for column in added})
    writing = replace(output, memory=output.memory // 2)
    rows = 0
    for target, files in targets.items():
        assert target is not None
        schema = common_schema(files)
        target.parent.mkdir(parents=True, exist_ok=True)
        made = _Predictor(model, files, schema, added, output.memory, meter.add)
        rows += stream.run(made.stream(), target, lambda schema: own_pages, {}, writing, None)
    return rows


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


def _located(error: DataError, file: ParquetInput, group: int) -> DataError:
    """What is wrong with a batch, with the place that it came from."""
    column = None if error.column is None else str(error.column)
    said = str(error).removeprefix(f"column {column!r} ")
    if said == MISSING:
        said = (
            "has a missing value (null or NaN), and the model knows no way with it: train it with impute=True "
            "(--impute), or leave such rows out"
        )
    return file.error(said, group, column)


def _as_arrow(values: np.ndarray) -> pa.Array:
    """float64 values without a copy; pa.array would import pandas to see whether they are its."""
    return pa.Array.from_buffers(pa.float64(), len(values), [None, pa.py_buffer(values)])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


class _Predictor:
    """The batches of files, with predictions added."""

    def __init__(
        self,
        model: Any,
        files: Sequence[ParquetInput],
        schema: pa.Schema,
        added: Sequence[str],
        memory: int,
        count: Callable[[float], None],
    ) -> None:
        self._model, self._files, self._memory, self._count = model, files, memory, count
        self._names = schema.names
        self._added = list(added)
        fields = [pa.field(name, pa.float64()) for name in added]
        self._schema = pa.schema([*without_state(schema), *fields], metadata=schema.metadata)

    def stream(self) -> stream.Stream:
        """What is to be written."""
        return stream.Stream(
            lambda: pa.RecordBatchReader.from_batches(self._schema, self._batches()),
            True,
            sum(file.num_rows for file in self._files),
        )

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for file in self._files:
            total = sum(group.total_byte_size for group in file.footer.row_groups)
            width = max(total / max(file.num_rows, 1), 8 * len(self._schema))
            rows = max(1, min(MOST_ROWS, int(self._memory / 16 / width)))
            for group in range(len(file.footer.row_groups)):
                yield from self._of_row_group(file, group, rows)

    def _of_row_group(self, file: ParquetInput, group: int, rows: int) -> Iterator[pa.RecordBatch]:
        row_group = range(group, group + 1)
        try:
            with file.open(row_group) as reader:
                for batch in reader.iter_batches(rows, use_threads=False):
                    yield self._with_predictions(file, group, batch.select(self._names))
                    self._count(len(batch))
        except (OSError, pa.ArrowException) as error:
            raise locate_damage(file, row_group, self._names, error) from error

    def _with_predictions(self, file: ParquetInput, group: int, batch: pa.RecordBatch) -> pa.RecordBatch:
        try:
            found = np.asarray(self._model.predict(batch), np.float64)
        except DataError as error:
            raise _located(error, file, group) from None
        found = found.reshape(len(batch), len(self._added))
        columns = [_as_arrow(np.ascontiguousarray(found[:, j])) for j in range(len(self._added))]
        return pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=self._schema)

