"""The command that says which scaler follows from the data."""

from __future__ import annotations

from typing import Any

import click

from .cli_parts import check_own_target, say_done, standard_output, terminal_width
from .console import Console
from .options import data, example, files, given, names, overwrite, running
from .options import reading as reading_options


@click.command(
    options_metavar="[OPTIONS]",
    epilog=example("advise trips.parquet", "advise trips.parquet --apply proposed.json --exclude zone_id"),
)
@data
@click.option(
    "--apply",
    "state",
    metavar="FILE",
    type=click.Path(),
    callback=files,
    help="Also fit the scaler that is proposed, in one more pass over IN, and save it there as JSON.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--columns",
    metavar="NAME,...",
    multiple=True,
    callback=names,
    help="Columns to look at; may be repeated. [default: every number, boolean, date and time]",
)
@click.option(
    "--exclude", metavar="NAME,...", multiple=True, callback=names, help="Columns to leave out; may be repeated."
)
@overwrite
@reading_options
@running
@click.pass_context
def advise(
    ctx: click.Context, source: list[str], state: str | None, as_json: bool, overwrite: bool, **options: Any
) -> None:
    """Say what the data is like, column by column, and which scaler follows.

    For each column of IN: the method, and the figure that speaks for it. A column passes through where no scaler helps:
    constants, dates, flags, identifiers, codes. Of a saved state (stats.json) it says what that knows.
    """
    console: Console = ctx.obj
    if state is not None:
        if source == ["-"]:
            raise click.UsageError("--apply reads IN twice, and standard input can be read only once: save it", ctx)
        check_own_target(state, overwrite, others=source)
    elif overwrite:
        raise click.UsageError("--overwrite goes with --apply: nothing else is written", ctx)
    from . import fitting
    from .report import advise as advising
    from .report.pages import is_state

    if is_state(source):
        if state is not None:
            raise click.UsageError("--apply fits data, and IN is the state of a fit: give the data", ctx)
        if any(options.get(name) for name in ("columns", "exclude", "where", "format")):
            said = "--columns, --exclude, --where and --format go with data: IN is a state, which has its own columns"
            raise click.UsageError(said, ctx)
    options = given(options)
    source_of: Any = source[0] if source == ["-"] else source
    with console.listening():
        with console.progress() as progress:
            advice = advising.advise(source_of, progress=progress, **options)
        if state is not None:
            reading = {name: value for name, value in options.items() if name not in ("columns", "exclude")}
            with console.progress() as progress:
                fitted = fitting.fit(source, advice.scaler(), progress=progress, **reading)
            fitted.save(state)
    with standard_output() as stdout:
        stdout.write((advice.to_json() if as_json else advice.table(terminal_width(stdout))) + "\n")
    if state is not None:
        say_done(console, "fitted", fitted.summary_.rows, "into", state)
