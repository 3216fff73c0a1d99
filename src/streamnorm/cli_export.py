"""The command that hands a scaler to another system."""

# Design: what comes out is text that the other system reads, never a pickle; ONNX alone is binary, and so needs a file.
# An option that the target has no use for is an error: a silent one would be believed.

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import click

from .cli_parts import check_own_target, standard_output
from .console import Console
from .masking import masked
from .options import example, files, names, output, overwrite, settings

if TYPE_CHECKING:
    from .scalers import BaseScaler

TARGETS = ("sql", "polars", "pyarrow", "onnx", "sklearn", "torch", "lerobot")
DIALECTS = ("duckdb", "sqlite", "postgresql")
# Which options each target takes, beside --output and --overwrite.
_TAKES = {
    "sql": {"dialect", "table", "view", "passthrough", "inverse", "columns"},
    "polars": {"inverse"},
    "pyarrow": {"inverse"},
    "lerobot": {"feature"},
}


def _path(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """A name in SQL: parts between dots, each in quotes if it has a dot itself."""
    if value is None:
        return None
    try:
        parts = next(csv.reader([value], delimiter=".", strict=True), [])
    except csv.Error as error:
        raise click.BadParameter(f"{value!r} is not a name: {error}", param=param) from None
    if not parts or "" in parts:
        raise click.BadParameter(f"{value!r} has an empty part", param=param)
    return tuple(parts)


@click.command(
    options_metavar="--to TARGET [OPTIONS]",
    epilog=example("export stats.json --to sql --table trips --view normalized"),
)
@click.argument("path", metavar="STATE", type=click.Path(), callback=files)
@click.option(
    "--to",
    "target",
    type=click.Choice(TARGETS),
    required=True,
    help="sql: a query, or a view; polars, pyarrow, sklearn, torch: Python source that needs that library alone; "
    "onnx: a model file; lerobot: stats.json.",
)
@output("File to write. [default: standard output, but for onnx]", required=False)
@click.option("--dialect", type=click.Choice(DIALECTS), help="Of the SQL. [default: duckdb]")
@click.option(
    "--table",
    metavar="[SCHEMA.]NAME",
    callback=_path,
    help="Table that the SQL reads. A name with a dot stands in quotes: '\"trips.parquet\"'.",
)
@click.option("--view", metavar="[SCHEMA.]NAME", callback=_path, help="Create a view of this name.")
@click.option(
    "--passthrough",
    metavar="NAME,...",
    multiple=True,
    callback=names,
    help="Columns that the SQL leaves as they are; may be repeated. [default: none]",
)
@click.option(
    "--columns",
    metavar="NAME,...",
    multiple=True,
    callback=names,
    help="All columns of the table, where names such as pos.x lead into structs; may be repeated.",
)
@click.option("--inverse", is_flag=True, default=None, help="Undo the normalization instead (sql, polars, pyarrow).")
@click.option("--feature", metavar="NAME", help="Of lerobot: the feature. [default: observation.state]")
@overwrite
@settings
@click.pass_context
def export(
    ctx: click.Context, path: str, target: str, sink: str | None, overwrite: bool, **options: Any
) -> None:
    """Write the scaler in STATE in the form of another system.

    STATE is a JSON file, or a Parquet or Arrow file that streamnorm normalized.
    """
    wanted = {name: value for name, value in options.items() if value is not None and value is not False}
    _check_options(ctx, target, sink, wanted)
    if sink is not None:
        check_own_target(sink, overwrite, others=[path])
    from . import states

    console: Console = ctx.obj
    with console.listening():
        scaler = states.load_scaler(path)
        if sink is None:
            with standard_output() as stdout:
                stdout.write(_text(scaler, target, wanted))
            return
        _write(scaler, target, sink, wanted)
    console.say("done", f"wrote {target} to {masked(sink)}", target=masked(sink))


def _check_options(ctx: click.Context, target: str, sink: str | None, options: dict[str, Any]) -> None:
    """What the command line alone shows to be wrong."""
    for name in options.keys() - _TAKES.get(target, set()):
        raise click.UsageError(f"--{name} does not go with --to {target}", ctx)
    if target == "sql" and "table" not in options:
        raise click.UsageError("--to sql needs --table", ctx)
    if target == "onnx" and sink is None:
        raise click.UsageError("--to onnx writes a binary file: add -o OUT", ctx)


def _write(scaler: BaseScaler, target: str, sink: str, options: dict[str, Any]) -> None:
    """The file, whole or not at all."""
    if target == "onnx":
        from .export.onnx import to_onnx

        to_onnx(scaler, sink)
    elif target == "lerobot":
        from .export.lerobot import to_lerobot

        to_lerobot(scaler, sink, **options)  # which keeps the other features of the file
    else:
        from .atomic import write_atomically

        write_atomically(sink, _text(scaler, target, options).encode())


def _text(scaler: BaseScaler, target: str, options: dict[str, Any]) -> str:
    if target == "sql":
        from .errors import DataError
        from .export.sql import to_sql

        try:
            return to_sql(scaler, options.pop("table"), **options) + ";\n"
        except ValueError as error:  # names that the dialect cannot have
            raise DataError(str(error)) from None
    if target == "lerobot":
        import json

        from .export.lerobot import to_lerobot

        return json.dumps(to_lerobot(scaler, **options), indent=4) + "\n"
    return _source(scaler, target, options)


def _source(scaler: BaseScaler, target: str, options: dict[str, Any]) -> str:
    """Python source."""
    if target == "torch":
        from .export._affine import required

        required("torch", "torch", "torch")
        from .export.torch import torch_source

        return torch_source(scaler)
    if target == "polars":
        from .export.polars import polars_source

        return polars_source(scaler, **options)
    if target == "pyarrow":
        from .export.pyarrow import pyarrow_source

        return pyarrow_source(scaler, **options)
    from .export.sklearn import sklearn_source

    return sklearn_source(scaler)
