"""The command that writes a page about the columns of a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from .cli_parts import check_own_target, say_done
from .console import Console
from .options import METHODS, data, example, files, given, names, output, overwrite, running, scaler_of
from .options import _method as methods_of
from .options import reading as reading_options

ADVISE = "advise"


def _method(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> Any:
    return None if tuple(values) in ((), (ADVISE,)) else methods_of(ctx, param, values)


@click.command(
    options_metavar="-o OUT [OPTIONS]",
    epilog=example(
        "report trips.parquet -o report.html --exclude zone_id", "report stats.json -o state.html --title Statistics"
    ),
)
@data
@output("HTML file to write.")
@click.option(
    "--method",
    metavar="[COLUMN,...=]METHOD",
    multiple=True,
    callback=_method,
    help=f"Scaler to show: {ADVISE}, {', '.join(METHODS)}; with columns, it is for these. {ADVISE}: for each column "
    f"what the data says. [default: {ADVISE}]",
)
@click.option(
    "--state",
    metavar="FILE",
    type=click.Path(),
    callback=files,
    help="Show IN as the scaler maps it that was fitted before and saved there.",
)
@click.option(
    "--columns",
    metavar="NAME,...",
    multiple=True,
    callback=names,
    is_eager=True,
    help="Columns to show; may be repeated. [default: every number, boolean, date and time]",
)
@click.option(
    "--exclude", metavar="NAME,...", multiple=True, callback=names, help="Columns to leave out; may be repeated."
)
@click.option("--title", metavar="TEXT", help="Title of the page. [default: the name of the file]")
@overwrite
@reading_options
@running
@click.pass_context
def report(
    ctx: click.Context, source: list[str], sink: str, method: Any, state: str | None, overwrite: bool, **options: Any
) -> None:
    """Write a page that shows each column of IN before and after scaling.

    The page is one file that needs no network: histograms, box plots, quantiles and how sure they are, nulls, outliers,
    warnings, scalers and the advice. IN are files of data, or one JSON file of statistics. Needs the extra "report".
    """
    console: Console = ctx.obj
    if state is not None and method is not None:
        raise click.UsageError("--state has its own methods: leave --method out", ctx)
    check_own_target(sink, overwrite, others=source, what="the page")
    from . import states
    from .report import pages

    options = given(options)
    given_state = pages.is_state(source)
    if given_state:
        asked = {"state": state, "method": method, **options}
        for name in ("state", "method", "columns", "exclude", "where", "format", "types"):
            if asked.get(name) is not None:
                flag = "--input-format" if name == "format" else f"--{name}"
                raise click.UsageError(f"{flag} goes with data, and {source[0]} is a state", ctx)
    if state is not None:
        options["method"] = states.load_scaler(state)
    elif method is not None:
        options["method"] = scaler_of(method)
    read: Any = source[0] if source == ["-"] or given_state else source
    with console.listening(), console.progress() as progress:
        found = pages.report(read, sink, overwrite=overwrite, progress=progress, **options)
    say_done(console, "described", found.rows, "in", sink)
