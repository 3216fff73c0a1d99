"""The options of the command line: their names, what they say of themselves, how their values are checked."""

# Design: a value is checked here if the command line alone shows that it is wrong (exit code 2); what takes a
# look at a file is the library's business (exit code 1). Checks that need the library import it when the
# option is given. Defaults are those of the library's signatures, which a test compares with the texts.

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from .console import LEVELS, Console
from .rule_names import CONSTANT, INFINITE, PRESETS

METHODS = ("standard", "minmax", "maxabs", "robust")
CODECS = ("snappy", "zstd", "gzip", "brotli", "lz4", "none")
FORMATS = ("parquet", "arrow", "arrows", "csv", "tsv", "jsonl")
DTYPES = ("float16", "float32", "float64")

F = TypeVar("F", bound=Callable[..., Any])


def names(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> list[str] | None:
    """Column names: each value is a line of CSV."""
    return [name for value in values for name in _split(value, param)] or None


def _split(value: str, param: click.Parameter | None = None) -> list[str]:
    try:
        found = next(csv.reader([value], strict=True), [])
    except csv.Error as error:
        raise click.BadParameter(f"{value!r} is not a list of names: {error}", param=param) from None
    if not found or "" in found:
        raise click.BadParameter(f"{value!r} has an empty name between its commas", param=param)
    return found


def _method(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> Any:
    """One name, or (name or None, {column: name}) if columns have methods of their own."""
    plain: list[str] = []
    own: dict[str, str] = {}
    for value in values:
        columns, equals, name = value.rpartition("=")
        if name not in METHODS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(METHODS)}", param=param)
        if not equals:
            plain.append(name)
            continue
        for column in _split(columns, param):
            if column in own:
                raise click.BadParameter(f"column {column!r} is given two methods", param=param)
            own[column] = name
    if len(plain) > 1:
        raise click.BadParameter(f"{' and '.join(plain)}: give one for all columns, or COLUMN=METHOD", param=param)
    rest = plain[0] if plain else None
    if own and rest is None and ctx.params.get("columns"):
        raise click.BadParameter("with --columns, add a plain METHOD for them beside COLUMN=METHOD", param=param)
    return (rest, own) if own else rest


def _types(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, str] | None:
    """Column to the name of its type."""
    found: dict[str, str] = {}
    for value in values:
        # A decimal has a comma of its own: decimal(10, 2).
        whole = re.sub(r"\(([^()]*)\)", lambda part: part[0].replace(",", "\0"), value)
        for item in _split(whole, param):
            name, equals, kind = (part.replace("\0", ",") for part in item.rpartition("="))
            if not equals or not name:
                raise click.BadParameter(f"{item!r} is not NAME=TYPE", param=param)
            if found.setdefault(name, kind) != kind:
                raise click.BadParameter(f"column {name!r} is given two types", param=param)
    if found:
        from .text_types import types_of

        _check_option(param, types_of, found)
    return found or None


def scaler_of(method: Any) -> Any:
    """What `_method` found as the library's ``method``."""
    if not isinstance(method, tuple):
        return method
    from .scalers import ColumnScaler

    rest, own = method
    return ColumnScaler(own, remainder=rest or "passthrough")


RULES = ("preset", "constant", "infinite", "ddof", "eps")


def with_rules(method: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, with the method; the rules among them must go with it and with each other."""
    options = given({"method": scaler_of(method), **options})
    rules = {name: options[name] for name in RULES if name in options}
    if rules:
        from .making import make_scaler

        if method is None and "update" in options:
            raise click.UsageError("--update goes by the rules of FILE: leave them out, or give --method, too")
        try:
            make_scaler(options.get("method", "standard"), **rules)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    return options


def _memory(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        from .memory import parse_memory

        _check_option(param, parse_memory, value)
    return value


def _compression_level(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    if value is not None:
        from .parquet.format import Compression

        _check_option(param, Compression.of, ctx.params.get("compression") or "snappy", value)
    return value


def _check_option(param: click.Parameter, check: Callable[..., Any], *values: Any) -> None:
    try:
        check(*values)
    except ValueError as error:
        raise click.BadParameter(str(error), param=param) from None


def files(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Paths; a dash is none."""
    if value is not None and "-" in ([value] if isinstance(value, str) else value):
        raise click.BadParameter("'-' is no file, and a pipe will not do: Parquet is read from its end", param=param)
    return list(value) if isinstance(value, tuple) else value


def piped(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Paths of data; a dash is standard input or output, which stands alone."""
    if isinstance(value, tuple) and "-" in value and len(value) > 1:
        raise click.BadParameter("'-' is standard input, and stands alone", param=param)
    return list(value) if isinstance(value, tuple) else value


def _setting(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """--verbose, --quiet and --log-format go to the console, from before or after the name of the command."""
    console = ctx.find_object(Console)
    if console is None:
        return
    if value is False:
        if ctx.get_parameter_source(str(param.name)) is click.core.ParameterSource.COMMANDLINE:
            setattr(console, str(param.name), False)  # --no-quiet, which may follow one before the command's name
        return
    if not value:
        return
    if param.name == "log_format":
        console.as_json = value == "json"
    elif param.name == "log_level":
        console.level = value
        console.verbose |= value == "debug"
        console.quiet |= value in ("warning", "error")
    elif param.name == "job_id":
        console.job = value
    else:
        setattr(console, str(param.name), True)
    if console.verbose and console.quiet:
        raise click.UsageError("--verbose and --quiet contradict each other", ctx)


def _together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _flag(*names: str, text: str) -> Callable[[F], F]:
    return click.option(*names, is_flag=True, expose_value=False, is_eager=True, callback=_setting, help=text)


_CONFIG = (
    "File that options come from where the command line has none. --no-overwrite and its like turn off the flags "
    "in it. [default: streamnorm.toml, if there is one]"
)

settings = _together(
    click.option("--config", metavar="FILE", type=click.Path(), expose_value=False, is_eager=True, help=_CONFIG),
    _flag(
        "--verbose",
        "-v",
        text="Say more: changed row groups, complete files, the origin of an unexpected error.",
    ),
    _flag("--quiet", "-q", text="Say nothing but warnings and errors."),
    click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        expose_value=False,
        is_eager=True,
        callback=_setting,
        help="Form of standard error; json: one object a line, progress once a second. [default: text]",
    ),
    click.option(
        "--log-level",
        type=click.Choice(list(LEVELS)),
        expose_value=False,
        is_eager=True,
        callback=_setting,
        help="The least that is said; debug is --verbose, and warning --quiet. [default: info]",
    ),
    click.option(
        "--job-id",
        metavar="ID",
        expose_value=False,
        is_eager=True,
        callback=_setting,
        help="What lines of JSON call this run. [default: random]",
    ),
)

inputs = click.argument("source", metavar="IN...", nargs=-1, required=True, type=click.Path(), callback=files)
data = click.argument("source", metavar="IN...", nargs=-1, required=True, type=click.Path(), callback=piped)


def output(what: str, *, required: bool = True, pipe: bool = False) -> Callable[[F], F]:
    """The option -o."""
    check = piped if pipe else files
    return click.option(
        "--output", "-o", "sink", metavar="OUT", required=required, type=click.Path(), callback=check, help=what
    )


def require_output(ctx: click.Context) -> None:
    """End with the usage error of a missing -o."""
    [param] = (param for param in ctx.command.params if param.name == "sink")
    raise click.MissingParameter(ctx=ctx, param=param)


PARQUET_OUT = "Parquet file to write; an existing directory, or a name that ends in a slash: one file for each input."
DATA_OUT = (
    "File to write, of the format that its suffix tells: .parquet, .arrow, .feather, .arrows, .csv, .tsv, .jsonl; an "
    "existing directory, or a name that ends in a slash: one file for each input; -: standard output."
)
WITH_OUTPUT = "-o OUT [OPTIONS]"


def recount(what: str) -> Callable[[F], F]:
    """The option --recount."""
    return click.option("--recount", is_flag=True, help=what)


overwrite = click.option("--overwrite", is_flag=True, help="Replace the target if it exists.")

fitting = _together(
    click.option(
        "--method",
        metavar="[COLUMN,...=]METHOD",
        multiple=True,
        callback=_method,
        help=f"{', '.join(METHODS)}. With columns, it is for these; repeat it for others. The remaining "
        "columns take the METHOD that is given without columns, or else pass through. [default: standard]",
    ),
    click.option(
        "--columns",
        metavar="NAME,...",
        multiple=True,
        callback=names,
        is_eager=True,
        help="Columns to normalize; may be repeated. A name with a comma stands in quotes: '\"a,b\",c'. "
        "[default: every integer, float and decimal column]",
    ),
    click.option(
        "--exclude",
        metavar="NAME,...",
        multiple=True,
        callback=names,
        help="Columns to leave alone; may be repeated.",
    ),
    click.option(
        "--exact",
        is_flag=True,
        help="Round means and variances correctly, and find quantiles exactly, in further passes over IN.",
    ),
    click.option(
        "--preset",
        type=click.Choice(list(PRESETS)),
        help="Do as that system does, where it differs: a bundle of the four rules below, and of ranges.",
    ),
    click.option(
        "--constant",
        type=click.Choice(CONSTANT),
        help="What becomes of a column without spread: centered and not scaled (relative to its size, or by "
        "scikit-learn's test), zero, an error; or all are divided by at least, by more than, or in place of 0 by "
        "--eps. [default: relative]",
    ),
    click.option(
        "--infinite",
        type=click.Choice(INFINITE),
        help="What becomes of infinite values: an error; left out of the fit, and null in the output; or left out of "
        "the fit alone. [default: error]",
    ),
    click.option("--ddof", type=click.IntRange(min=0), metavar="N", help="Divide variances by n - N. [default: 0]"),
    click.option("--eps", type=float, metavar="X", help="The number that --constant floor, add and replace go by."),
    click.option(
        "--sample-weight",
        metavar="NAME",
        help="Column that holds the weights of the rows; it is not normalized unless --columns names it. Rows of "
        "weight zero, or without one, are left out.",
    ),
)

reading = _together(
    click.option(
        "--where",
        metavar="CONDITION",
        help="Only rows for which this holds, such as \"distance > 500 and zone in ('a', 'b')\".",
    ),
    click.option(
        "--input-format",
        "format",
        type=click.Choice(FORMATS),
        help="Format of IN. [default: by the suffix; of standard input arrows]",
    ),
    click.option(
        "--types",
        metavar="NAME=TYPE,...",
        multiple=True,
        callback=_types,
        help="Types of columns of CSV and JSON lines, in Arrow's names (fare=float32,zone=string); may be repeated. "
        "[default: inferred from the first 4 MB]",
    ),
)

partition_by = click.option(
    "--partition-by",
    metavar="NAME,...",
    multiple=True,
    callback=names,
    help="Columns by whose values rows go to folders of OUT, a directory (year=2024/month=7/part-0.parquet).",
)

output_format = click.option(
    "--output-format",
    type=click.Choice(FORMATS),
    help="Format of OUT. [default: by its suffix; in a directory that of IN; of standard output arrows]",
)

spool = click.option(
    "--spool", is_flag=True, help="Keep standard input in a temporary file where it is read more than once."
)

encoding = _together(
    click.option(
        "--compression",
        type=click.Choice(CODECS),
        is_eager=True,
        help="Codec of what is written anew. [default: snappy]",
    ),
    click.option(
        "--compression-level",
        type=int,
        metavar="N",
        callback=_compression_level,
        help="Level, for codecs that have levels.",
    ),
    click.option(
        "--row-group-size",
        type=click.IntRange(min=1),
        metavar="ROWS",
        help="Rows of a row group. [default: as in the input, if the memory allows]",
    ),
    overwrite,
)

writing = _together(
    click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        help="Type of the normalized columns. [default: floats keep theirs, all else becomes float64]",
    ),
    encoding,
)

running = _together(
    click.option(
        "--memory",
        metavar="SIZE",
        callback=_memory,
        help="Bound of the buffers, such as 64MB or 1GiB. [default: 256MB]",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        help="Worker threads; the result does not depend on it. [default: one a core]",
    ),
    settings,
)


def example(*lines: str) -> str:
    """The end of a help text."""
    return "\b\nExample:\n" + "\n".join(f"  streamnorm {line}" for line in lines)


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}
