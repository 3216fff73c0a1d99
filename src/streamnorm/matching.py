"""Which columns of a source a fitted scaler speaks of, and what is said about them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from .errors import DataError
from .plan import describe_columns, describe_sources
from .scalers import BaseScaler
from .scalers._paths import check_features, places_in
from .scalers._weights import schema_without
from .sources import ParquetInput

logger = logging.getLogger("streamnorm")


@contextmanager
def naming(file: Any) -> Iterator[None]:
    """Add the file, which is open or a path, to a DataError that came from its schema alone."""
    try:
        yield
    except DataError as error:
        if error.file is not None:
            raise
        path = getattr(file, "path", file)
        raise DataError(f"{path}: {error}", file=str(path), column=error.column) from None


def matching_columns(scaler: BaseScaler, file: ParquetInput, weight: str | None = None) -> list[str]:
    """The columns of a file that a fitted scaler speaks of, in the scaler's order.

    One column may hold the rows' weights; it is none of them if they go by position.
    """
    with naming(file):
        return columns_in(scaler, schema_without(file.schema, weight, list(scaler.summary_)))


def columns_in(scaler: BaseScaler, schema: pa.Schema) -> list[str]:
    """The columns of a schema that a fitted scaler speaks of: by name, or by position if it was fitted on an array.

    Raises
    ------
    DataError
        If one is missing or not numeric, or their number is another.
    """
    if scaler.summary_.named:
        names = list(scaler.summary_)
        check_features(schema, names)
        return names
    names = scaler._plan(schema)
    if len(names) != len(scaler.summary_):
        raise DataError(
            f"there are {len(names)} numeric columns, and the scaler was fitted on an array of {len(scaler.summary_)}"
        )
    return names


def columns_of(file: ParquetInput, features: Sequence[str]) -> list[str]:
    """The columns of a file in which the features are."""
    return list(dict.fromkeys(place.column for place, _ in places_in(file.schema.names, features)))


def log_columns(doing: str, names: Sequence[str], file: ParquetInput) -> None:
    """Say which columns a pass works on and which it leaves alone."""
    places = [place for place, _ in places_in(file.schema.names, names)]
    names, chosen = [place.name for place in places], {place.column for place in places}
    passing = [name for name in file.schema.names if name not in chosen]
    logger.info(
        "%s",
        describe_columns(doing, names, passing),
        extra={"event": "columns", "columns": list(names), "passing": passing},
    )


def log_sources(source: Mapping[str, str]) -> None:
    """Say which columns need no reading, and why others do; nothing where the method needs the values anyway."""
    text = describe_sources(source)
    if text is not None:
        logger.info("%s", text, extra={"event": "statistics", "source": dict(source)})
