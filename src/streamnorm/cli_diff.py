"""The command that says what has changed from one data set, or state, to another."""

from __future__ import annotations

from typing import Any

import click

from .cli_parts import check_own_target, standard_output, terminal_width
from .console import Console
from .masking import masked
from .options import example, given, names, output, overwrite, reading, running

EXIT_CROSSED = 3


def _limit(name: str, text: str) -> Any:
    return click.option(f"--max-{name}", type=click.FloatRange(min=0), metavar="X", help=text)


@click.command(
    options_metavar="[OPTIONS]",
    epilog="Exit codes: 3 where a column is past a threshold, was removed or emptied, or has changed its type; "
    "0 if none.\n\n"
    + example("diff stats.json trips.parquet -o drift.html"),
)
@click.argument("a", metavar="A", type=click.Path())
@click.argument("b", metavar="B", type=click.Path())
@output("HTML page to write, beside the table on standard output.", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_limit("psi", "Threshold of the population stability index. [default: 0.2]")
@_limit("ks", "Threshold of the Kolmogorov-Smirnov distance, for the lower end of its interval. [default: 0.18]")
@_limit("shift", "Threshold of the center's shift, in units of A's scale. [default: 0.45]")
@_limit("nulls", "Threshold of the change of the share of nulls and NaN. [default: 0.05]")
@click.option(
    "--columns",
    metavar="NAME,...",
    multiple=True,
    callback=names,
    help="Columns to compare; may be repeated. [default: all]",
)
@click.option(
    "--exclude", metavar="NAME,...", multiple=True, callback=names, help="Columns to leave out; may be repeated."
)
@overwrite
@reading
@running
@click.pass_obj
def diff(console: Console, a: str, b: str, sink: str | None, as_json: bool, overwrite: bool, **options: Any) -> int:
    """Say what has changed from A to B, column by column.

    A and B are each a state (a JSON file, or a file that streamnorm normalized, which stands for the data that it was
    fitted on), or data: a file, a directory, a pattern such as 'trips/*.parquet', a URI, or - for standard input, which
    one of the two can be.
    """
    if a == b == "-":
        raise click.UsageError("standard input (-) can be one of A and B, and not both")
    if sink is not None:
        check_own_target(sink, overwrite, others=[a, b], what="the page")
    from .report import drift as drifting

    with console.listening(), console.progress() as progress:
        drift = drifting.diff(a, b, progress=progress, **given(options))
        if sink is not None:
            from .atomic import write_atomically

            write_atomically(sink, drift.to_html().encode())
    with standard_output() as stdout:
        stdout.write((drift.to_json() if as_json else drift.table(terminal_width(stdout))) + "\n")
    if sink is not None:
        console.say("done", f"wrote the page to {masked(sink)}", target=masked(sink))
    return EXIT_CROSSED if drift.drifted else 0
