"""One table of implementations by name for each job on a file, each written as its users would write it.

Jobs and what an implementation returns:

``scan(source)``
    Read everything, compute nothing. Returns the number of rows.
``copy(source, target)``
    Read and write unchanged. Returns the number of rows.
``fit_moments(source)``
    ``{column: (mean, std, min, max)}``, the population's standard deviation.
``fit_extrema(source)``
    ``{column: (min, max)}``, which the footers may tell.
``fit_quantiles(source)``
    ``{column: [quantile(q) for q in QUANTILES]}``.
``normalize(source, target)``
    Fit mean and standard deviation, write ``(x - mean) / std`` in the order of the input. Returns None.
``train(source)``
    Train `Regressor` for two epochs on the column "target" by all others. Returns the loss of the last, scaled;
    the floor, which has only imported what that takes, returns None.

`source` is a Parquet file or a directory of them, `target` a file that does not exist yet. Libraries are
imported where they are used, so that a process that runs one of them does not carry the memory of the others.
"""

# Design: peers run with their own defaults and the calls that their documentation leads to, except where that
# would make the comparison unfair to them: compression is snappy everywhere (polars' default zstd takes half
# as long again), and "sklearn_plain" is the loop of someone who knows that the dictionary is what pyarrow's
# writer spends its time on.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from glob import glob
from os.path import isdir

QUANTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Implementation:
    """One way to do a job: the function, and the modules to import before the clock starts."""

    function: Callable
    modules: tuple[str, ...]
    exact: bool = True  # whether quantiles are the exact ones, which decides the tolerance of the check
    bits: bool = False  # whether it promises the nearest doubles, which leaves the check no tolerance


def files(source: str) -> list[str]:
    """The Parquet files of `source`, itself a file or a directory of them, in sorted order."""
    return sorted(glob(f"{source}/*.parquet")) if isdir(source) else [source]


def _pattern(source: str) -> str:
    return source if source.endswith(".parquet") else f"{source}/*.parquet"


def _batches(source: str):
    """Record batches as a plain pyarrow loop gets them."""
    import pyarrow.parquet as pq

    for file in files(source):
        yield from pq.ParquetFile(file).iter_batches()


def _lean_file(file: str):
    import pyarrow.parquet as pq

    return pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)


def bare_scan(source: str) -> int:
    rows = 0
    for file in files(source):
        for batch in _lean_file(file).iter_batches(batch_size=131_072):
            rows += batch.num_rows
    return rows


def copy_unchanged(source: str, target: str) -> int:
    import pyarrow.parquet as pq

    rows = 0
    schema = pq.read_schema(files(source)[0])
    with pq.ParquetWriter(target, schema, compression="snappy", use_dictionary=False) as writer:
        for file in map(_lean_file, files(source)):
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                writer.write_table(table, row_group_size=max(1, len(table)))
                rows += len(table)
    return rows


def _polars_moments(frame, functions: dict[str, Callable]) -> dict[str, tuple]:
    import polars.selectors as cs

    query = frame.select(make(cs.numeric()).name.suffix(f"|{what}") for what, make in functions.items())
    found = query.collect(engine="streaming").row(0, named=True)
    return {
        name: tuple(found[f"{name}|{what}"] for what in functions) for name in frame.collect_schema().names()
    }


POLARS_MOMENTS: dict[str, Callable] = {
    "mean": lambda column: column.mean(),
    "std": lambda column: column.std(ddof=0),
    "min": lambda column: column.min(),
    "max": lambda column: column.max(),
}


def polars_fit_moments(source: str) -> dict[str, tuple]:
    import polars as pl

    return _polars_moments(pl.scan_parquet(_pattern(source)), POLARS_MOMENTS)


def polars_fit_extrema(source: str) -> dict[str, tuple]:
    import polars as pl

    extrema = {what: POLARS_MOMENTS[what] for what in ("min", "max")}
    return _polars_moments(pl.scan_parquet(_pattern(source)), extrema)


def _polars_quantiles(source: str, make: Callable) -> dict[str, list]:
    import polars as pl
    import polars.selectors as cs

    # All in one call: an expression for each would sketch, or sort, every column three times.
    query = pl.scan_parquet(_pattern(source)).select(make(cs.numeric(), list(QUANTILES)))
    return query.collect(engine="streaming").row(0, named=True)


def polars_fit_quantiles_exact(source: str) -> dict[str, list]:
    return _polars_quantiles(source, lambda column, qs: column.quantile(qs, interpolation="linear"))


def polars_fit_quantiles(source: str) -> dict[str, list]:
    return _polars_quantiles(source, lambda column, qs: column.approx_quantile(qs))


def polars_normalize(source: str, target: str) -> None:
    import polars as pl

    frame = pl.scan_parquet(_pattern(source))
    moments = _polars_moments(frame, {what: POLARS_MOMENTS[what] for what in ("mean", "std")})
    scaled = frame.with_columns((pl.col(name) - mean) / std for name, (mean, std) in moments.items())
    scaled.sink_parquet(target, compression="snappy")


def _duckdb_columns(connection, source: str) -> list[str]:
    return connection.read_parquet(_pattern(source)).columns


def _duckdb_select(source: str, template: str, names: list[str]) -> str:
    expressions = ", ".join(template.format(f'"{name}"') for name in names)
    return f"SELECT {expressions} FROM read_parquet('{_pattern(source)}')"


def duckdb_fit_moments(source: str) -> dict[str, tuple]:
    import duckdb

    with duckdb.connect() as connection:
        names = _duckdb_columns(connection, source)
        query = _duckdb_select(source, "avg({0}), stddev_pop({0}), min({0}), max({0})", names)
        found = connection.execute(query).fetchone()
    return {name: found[4 * place : 4 * place + 4] for place, name in enumerate(names)}


def duckdb_fit_extrema(source: str) -> dict[str, tuple]:
    import duckdb

    with duckdb.connect() as connection:
        names = _duckdb_columns(connection, source)
        found = connection.execute(_duckdb_select(source, "min({0}), max({0})", names)).fetchone()
    return {name: found[2 * place : 2 * place + 2] for place, name in enumerate(names)}


def duckdb_metadata_fit_extrema(source: str) -> dict[str, tuple]:
    import duckdb

    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT path_in_schema, min(stats_min_value::DOUBLE), max(stats_max_value::DOUBLE) "
            f"FROM parquet_metadata('{_pattern(source)}') GROUP BY path_in_schema"
        ).fetchall()
    return {name: (low, high) for name, low, high in found}


def pyarrow_metadata_fit_extrema(source: str) -> dict[str, tuple]:
    import pyarrow.parquet as pq

    found: dict[str, tuple] = {}
    for file in files(source):
        metadata = pq.read_metadata(file)
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                low, high = column.statistics.min, column.statistics.max
                before = found.get(column.path_in_schema, (low, high))
                found[column.path_in_schema] = min(low, before[0]), max(high, before[1])
    return found


def _duckdb_quantiles(source: str, function: str) -> dict[str, list]:
    import duckdb

    with duckdb.connect() as connection:
        names = _duckdb_columns(connection, source)
        query = _duckdb_select(source, f"{function}({{}}, {list(QUANTILES)})", names)
        found = connection.execute(query).fetchone()
    return dict(zip(names, found, strict=True))


def duckdb_fit_quantiles(source: str) -> dict[str, list]:
    return _duckdb_quantiles(source, "approx_quantile")


def duckdb_fit_quantiles_exact(source: str) -> dict[str, list]:
    return _duckdb_quantiles(source, "quantile_cont")


def duckdb_normalize(source: str, target: str) -> None:
    import duckdb

    with duckdb.connect() as connection:
        names = _duckdb_columns(connection, source)
        found = connection.execute(_duckdb_select(source, "avg({0}), stddev_pop({0})", names)).fetchone()
        # An exponent makes the literal a DOUBLE, where plain digits would make a DECIMAL.
        scaled = ", ".join(
            f'("{name}" - {found[2 * place]:.17e}) / {found[2 * place + 1]:.17e} AS "{name}"'
            for place, name in enumerate(names)
        )
        connection.execute(
            f"COPY (SELECT {scaled} FROM read_parquet('{_pattern(source)}')) TO '{target}' "
            "(FORMAT parquet, COMPRESSION snappy)"
        )


def _matrix(batch):
    import numpy as np

    return np.column_stack([column.to_numpy(zero_copy_only=False) for column in batch.columns])


def sklearn_fit_moments(source: str) -> dict[str, tuple]:
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    standard, minmax = StandardScaler(), MinMaxScaler()
    for batch in _batches(source):
        matrix = _matrix(batch)
        standard.partial_fit(matrix)
        minmax.partial_fit(matrix)
    answers = zip(standard.mean_, standard.var_**0.5, minmax.data_min_, minmax.data_max_, strict=True)
    return {name: tuple(map(float, answer)) for name, answer in zip(batch.schema.names, answers, strict=True)}


def _sklearn_normalize(source: str, target: str, **options) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for batch in _batches(source):
        scaler.partial_fit(_matrix(batch))
    schema = pa.schema([(name, pa.float64()) for name in batch.schema.names])
    with pq.ParquetWriter(target, schema, compression="snappy", **options) as writer:
        for batch in _batches(source):
            scaled = scaler.transform(_matrix(batch))
            columns = [pa.array(column, from_pandas=True) for column in scaled.T]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def sklearn_normalize(source: str, target: str) -> None:
    _sklearn_normalize(source, target)


def sklearn_plain_normalize(source: str, target: str) -> None:
    _sklearn_normalize(source, target, use_dictionary=False)


def streamnorm_fit_moments(source: str, **options) -> dict[str, tuple]:
    import streamnorm as sn

    summary = sn.fit(source, "standard", **options).summary_
    return {name: (column.mean, column.std(), column.min, column.max) for name, column in summary.items()}


def streamnorm_fit_extrema(source: str) -> dict[str, tuple]:
    import streamnorm as sn

    return {name: (column.min, column.max) for name, column in sn.fit(source, "minmax").summary_.items()}


def streamnorm_fit_quantiles(source: str, **options) -> dict[str, list]:
    import streamnorm as sn

    summary = sn.fit(source, "robust", **options).summary_
    return {name: [column.quantile(q) for q in QUANTILES] for name, column in summary.items()}


def streamnorm_normalize(source: str, target: str, **options) -> None:
    import streamnorm as sn

    sn.normalize(source, target, "standard", **options)


def streamnorm_fit_moments_128(source: str) -> dict[str, tuple]:
    return streamnorm_fit_moments(source, memory="128MB")


def streamnorm_normalize_128(source: str, target: str) -> None:
    streamnorm_normalize(source, target, memory="128MB")


def streamnorm_fit_moments_exact(source: str) -> dict[str, tuple]:
    return streamnorm_fit_moments(source, exact=True)


def streamnorm_fit_quantiles_exact(source: str) -> dict[str, list]:
    return streamnorm_fit_quantiles(source, exact=True)


def _train(source: str, memory: str, threads: int | None = None) -> float:
    from streamnorm.nn import Regressor

    model = Regressor(epochs=2, random_state=0)
    return model.fit(source, target="target", memory=memory, threads=threads).history_["loss"][-1]


def streamnorm_train(source: str) -> float:
    return _train(source, "256MB")


def streamnorm_train_64(source: str) -> float:
    return _train(source, "64MB")


def only_imports(source: str) -> None:
    """Nothing: importing is all that it does."""


POLARS, DUCKDB, SKLEARN = ("polars",), ("duckdb",), ("pyarrow.parquet", "sklearn.preprocessing")
ARROW, OURS = ("pyarrow.parquet",), ("streamnorm.engine",)  # streamnorm itself imports its modules when used
TRAINING = ("streamnorm.engine", "streamnorm._batches", "streamnorm.nn.regressor", "streamnorm.nn._plan")

JOBS: dict[str, dict[str, Implementation]] = {
    "scan": {"bare_scan": Implementation(bare_scan, ARROW)},
    "copy": {"copy_unchanged": Implementation(copy_unchanged, ARROW)},
    "fit_moments": {
        "streamnorm": Implementation(streamnorm_fit_moments, OURS),
        "streamnorm_128MB": Implementation(streamnorm_fit_moments_128, OURS),
        "streamnorm_exact": Implementation(streamnorm_fit_moments_exact, OURS, bits=True),
        "polars": Implementation(polars_fit_moments, POLARS),
        "duckdb": Implementation(duckdb_fit_moments, DUCKDB),
        "sklearn": Implementation(sklearn_fit_moments, SKLEARN),
    },
    "fit_extrema": {
        "streamnorm": Implementation(streamnorm_fit_extrema, OURS),
        "polars": Implementation(polars_fit_extrema, POLARS),
        "duckdb": Implementation(duckdb_fit_extrema, DUCKDB),
        "duckdb_metadata": Implementation(duckdb_metadata_fit_extrema, DUCKDB),
        "pyarrow_metadata": Implementation(pyarrow_metadata_fit_extrema, ARROW),
    },
    "fit_quantiles": {
        "streamnorm": Implementation(streamnorm_fit_quantiles, OURS, exact=False),
        "streamnorm_exact": Implementation(streamnorm_fit_quantiles_exact, OURS, bits=True),
        "polars": Implementation(polars_fit_quantiles, POLARS, exact=False),
        "polars_exact": Implementation(polars_fit_quantiles_exact, POLARS),
        "duckdb": Implementation(duckdb_fit_quantiles, DUCKDB, exact=False),
        "duckdb_exact": Implementation(duckdb_fit_quantiles_exact, DUCKDB),
    },
    "normalize": {
        "streamnorm": Implementation(streamnorm_normalize, OURS),
        "streamnorm_128MB": Implementation(streamnorm_normalize_128, OURS),
        "polars": Implementation(polars_normalize, POLARS),
        "duckdb": Implementation(duckdb_normalize, DUCKDB),
        "sklearn": Implementation(sklearn_normalize, SKLEARN),
        "sklearn_plain": Implementation(sklearn_plain_normalize, SKLEARN),
    },
    "train": {
        "imports": Implementation(only_imports, TRAINING),
        "streamnorm": Implementation(streamnorm_train, TRAINING),
        "streamnorm_64MB": Implementation(streamnorm_train_64, TRAINING),
    },
}
WRITES = ("copy", "normalize")
