"""The command line: parse, call one library function, print."""

# Design: a command is the library function of its name; its options are that function's keywords with
# dashes, and an option that is not given is not passed on, so that the library's defaults are the only
# ones. What the library needs (NumPy, Arrow: 0.2 s) is imported when a command runs, not for --help. Errors
# of every kind end in `Program.main`, which turns them into one line and an exit code.

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NoReturn

import click

from . import cli_jobs
from ._version import __version__
from .cli_advise import advise
from .cli_compare import compare
from .cli_diff import diff
from .cli_export import export
from .cli_parts import ReaderGone, check_own_target, say_done, standard_output
from .cli_report import report
from .cli_train import predict, train
from .config import option_in
from .console import Console
from .interrupt import Interrupted, ignore_signals, interruptible
from .options import (
    DATA_OUT,
    WITH_OUTPUT,
    data,
    example,
    files,
    fitting,
    given,
    names,
    output,
    output_format,
    overwrite,
    partition_by,
    reading,
    recount,
    require_output,
    running,
    settings,
    spool,
    with_rules,
    writing,
)

GROUPS = {
    "Normalize": ("normalize", "fit", "transform", "inverse"),
    "Statistics that are saved": ("inspect", "merge", "export"),
    "Look at data": ("advise", "report", "diff"),
    "Models": ("train", "predict", "compare"),
}
EXIT_FAULT, EXIT_USAGE, EXIT_PIPE = 1, 2, 141


class Program(click.Group):
    """The group of commands; `main` ends every run with an exit code and, if need be, one line of reasons."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        args = sys.argv[1:] if args is None else list(args)
        console = Console(as_json=_wants_json(args), job=option_in(args, "--job-id"))
        with interruptible() as watch:
            console.check = watch.check
            code = _exit_code(console, lambda: self._run(args, console, extra))
        sys.exit(code)

    def _run(self, args: list[str], console: Console, extra: dict[str, Any]) -> Any:
        console.args = args
        result = super().main(args, prog_name="streamnorm", obj=console, **{**extra, "standalone_mode": False})
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a full disk or a closed pipe can be told
        return result

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        cli_jobs.join(cmd)
        super().add_command(cmd, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and command is not None and not ctx.resilient_parsing:  # as when a shell completes it
            command = cli_jobs.bound(ctx, name, command, ctx.obj.args, self.commands)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by what they are for, each with the whole first sentence of its help."""
        named = {name for group in GROUPS.values() for name in group}
        groups = {**GROUPS, "Other commands": tuple(name for name in self.list_commands(ctx) if name not in named)}
        width = max(map(len, self.commands))
        for title, group in groups.items():
            rows = [(f"{name:{width}}", self.commands[name].get_short_help_str(limit=200)) for name in group]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _wants_json(args: Sequence[str]) -> bool:
    """Whether errors of the command line itself are to be JSON, too."""
    return (option_in(args, "--log-format") or os.environ.get("STREAMNORM_LOG_FORMAT")) == "json"


def _exit_code(console: Console, run: Callable[[], Any]) -> int:
    try:
        result = run()
        return result if isinstance(result, int) else 0
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "streamnorm"
        origin = cli_jobs.origin_of(error, console)
        console.error(f"{_lower_first(error.format_message())}{origin} (see '{where} --help')", EXIT_USAGE)
        return EXIT_USAGE
    except Interrupted as interrupt:
        return _say_interrupted(console, interrupt.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _say_interrupted(console, 130)
    except (ReaderGone, BrokenPipeError):  # nothing else that is written to has a reader
        # Python must not try to flush standard output again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_PIPE
    except Exception as error:
        if console.verbose:
            console.traceback(error)
        console.error(_explain(error, console.verbose), EXIT_FAULT, **_place(error))
        return EXIT_FAULT


def _say_interrupted(console: Console, code: int) -> int:
    done = console.written
    if not done:
        outcome = "nothing was written"
    elif len(done) == 1:
        outcome = f"{done[0]} was complete by then"
    else:
        outcome = f"{len(done)} files were complete by then, up to {done[-1]}"
    console.error(f"interrupted; {outcome}", code, event="interrupted", written=done)
    return code


def _explain(error: Exception, verbose: bool) -> str:
    from .errors import StreamnormError

    if isinstance(error, StreamnormError | click.ClickException):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    if isinstance(error, MemoryError):
        return "there is not enough memory: allow less with --memory, or use fewer --threads"
    advice = "" if verbose else "; run again with --verbose to see where it comes from"
    return f"unexpected {type(error).__name__}: {error}{advice}"


def _place(error: Exception) -> dict[str, Any]:
    """The place that an error names, as fields of a JSON line."""
    place = {name: getattr(error, name, None) for name in ("file", "row_group", "column")}
    return {name: value for name, value in place.items() if value is not None}


def _lower_first(message: str) -> str:
    message = re.sub(r"is not a valid boolean.*", "is neither true nor false", message.strip().rstrip("."))
    message = re.sub(r"is not a valid integer( range)?$", "is no whole number", message)
    message = re.sub(r"is not a valid float( range)?$", "is no number", message)
    return message[:1].lower() + message[1:]


# ------------------------------------------------------------------------------------------------ commands


@click.group(
    cls=Program,
    invoke_without_command=True,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog="Exit codes: 0 done; 1 the data or a file is at fault; 2 the command line is; 3 a threshold is "
    "crossed (diff); 130 interrupted.\n\n"
    + example("normalize trips.parquet -o normalized.parquet"),
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@settings
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Normalize Parquet data that is larger than memory.

    Statistics are fitted in bounded memory, in one pass unless they are to be exact, and applied in another. They
    can be saved, updated, merged and undone.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(EXIT_USAGE)


@cli.command(
    options_metavar=WITH_OUTPUT,
    epilog=example("normalize trips.parquet -o normalized.parquet --method robust"),
)
@data
@output(DATA_OUT, pipe=True)
@fitting
@writing
@click.option(
    "--state",
    metavar="FILE",
    type=click.Path(),
    callback=files,
    help="Also save the statistics there, as JSON. OUT has them in any case if it is Parquet or Arrow.",
)
@partition_by
@reading
@output_format
@spool
@running
@click.pass_obj
def normalize(console: Console, source: list[str], sink: str, method: Any, state: str | None, **options: Any) -> None:
    """Fit IN and write it normalized.

    IN are files of one format (Parquet, Arrow IPC, CSV, JSON lines), directories of them, patterns such as
    'trips/*.parquet', URIs (s3://bucket/trips/), or - for standard input. All of them are fitted together.
    """
    from . import engine

    if state is not None:
        check_own_target(state, options["overwrite"], others=[*source, sink])
    options = with_rules(method, {"state": state, **options})
    with console.listening(), console.progress(passes=2) as progress:
        scaler = engine.normalize(source, sink, progress=progress, **options)
    also = "" if state is None else f", statistics to {state}"
    say_done(console, "wrote", scaler.summary_.rows, "to", sink, also)


@cli.command(
    options_metavar=WITH_OUTPUT,
    epilog=example("fit trips.parquet -o stats.json --exclude zone_id", "fit 'trip*.parquet' --update stats.json"),
)
@data
@output("JSON file for the statistics. [default with --update: that file]", required=False)
@fitting
@click.option(
    "--update",
    metavar="FILE",
    type=click.Path(),
    callback=files,
    help="Add to the statistics in this JSON file: only what it has not counted is read of IN. Columns and "
    "method are its own.",
)
@recount("With --update, count changed files as they are now beside their old rows, and copies of counted files.")
@reading
@spool
@overwrite
@running
@click.pass_context
def fit(ctx: click.Context, source: list[str], sink: str | None, method: Any, overwrite: bool, **options: Any) -> None:
    """Compute the statistics of IN and save them.

    IN are files of one format (Parquet, Arrow IPC, CSV, JSON lines), directories of them, patterns such as
    'trips/*.parquet', URIs (s3://bucket/trips/), or - for standard input. All of them are fitted together. With
    --update, only those that are new since then are read, so that a nightly run costs what the day brought.
    """
    from . import engine

    console: Console = ctx.obj
    options = with_rules(method, options)
    if "update" in options:
        del options["spool"]
        _update(console, source, sink, overwrite, options)
        return
    if sink is None:
        require_output(ctx)
    if options["recount"]:
        raise click.UsageError("--recount goes with --update: without it, nothing was counted before", ctx)
    check_own_target(sink, overwrite, others=source)
    with console.listening(), console.progress() as progress:
        scaler = engine.fit(source, progress=progress, **options)
        scaler.save(sink)
    say_done(console, "fitted", scaler.summary_.rows, "into", sink)


def _update(
    console: Console, source: list[str], sink: str | None, overwrite: bool, options: dict[str, Any]
) -> None:
    """`fit --update`: in place if no other target is named."""
    from . import engine, state, states
    from .atomic import Claim
    from .errors import StreamnormError

    path = options.pop("update")
    in_place = sink is None or os.path.realpath(sink) == os.path.realpath(path)
    target = path if sink is None else sink
    with Claim(path) if in_place else nullcontext() as claim:
        check_own_target(target, overwrite or in_place, others=source)
        if in_place and states.is_parquet(path):
            raise StreamnormError(f"{path}: is a Parquet file, which the statistics would replace: add -o OUT")
        old = states.load_scaler(path)
        with console.listening(), console.progress() as progress:
            new = engine.fit(source, progress=progress, update=old, **options)
            if claim is None or new.summary_.files != old.summary_.files:
                state.save(new, target, claim)
    added = new.summary_.rows - old.summary_.rows
    say_done(console, "added", added, "to", target, f" ({new.summary_.rows:,} in all)")


@cli.command(
    options_metavar="-o OUT --state FILE [OPTIONS]",
    epilog=example("transform trips.parquet -o normalized.parquet --state stats.json"),
)
@data
@output(DATA_OUT, pipe=True)
@click.option(
    "--state",
    metavar="FILE",
    required=True,
    type=click.Path(),
    callback=files,
    help="Statistics to apply: a JSON file, or a Parquet or Arrow file that streamnorm normalized.",
)
@writing
@partition_by
@reading
@output_format
@running
@click.pass_obj
def transform(console: Console, source: list[str], sink: str, state: str, **options: Any) -> None:
    """Normalize IN by statistics that were fitted before.

    IN are files of one format (Parquet, Arrow IPC, CSV, JSON lines), directories of them, patterns such as
    'trips/*.parquet', URIs (s3://bucket/trips/), or - for standard input.

    As part of a pipe: cat x.arrows | streamnorm transform - -o - --state stats.json | ...
    """
    from . import engine, states

    scaler = states.load_scaler(state)
    with console.listening(), console.progress() as progress:
        rows = engine.transform(source, sink, scaler, progress=progress, **given(options))
    say_done(console, "wrote", rows, "to", sink)


@cli.command(options_metavar=WITH_OUTPUT, epilog=example("inverse normalized.parquet -o restored.parquet"))
@data
@output(DATA_OUT, pipe=True)
@click.option(
    "--state",
    metavar="FILE",
    type=click.Path(),
    callback=files,
    help="Statistics that IN was normalized by. [default: those that it carries itself]",
)
@writing
@partition_by
@reading
@output_format
@running
@click.pass_obj
def inverse(console: Console, source: list[str], sink: str, state: str | None, **options: Any) -> None:
    """Undo normalize or transform, up to rounding and clipping.

    IN are files that streamnorm normalized, directories of them, patterns, URIs, or - for standard input.
    """
    from . import engine, states

    scaler = None if state is None else states.load_scaler(state)
    with console.listening(), console.progress() as progress:
        rows = engine.inverse(source, sink, scaler, progress=progress, **given(options))
    say_done(console, "wrote", rows, "to", sink)


@cli.command(options_metavar=WITH_OUTPUT, epilog=example("merge monday.json tuesday.json -o both.json"))
@click.argument("source", metavar="STATE...", nargs=-1, required=True, type=click.Path(), callback=files)
@output("JSON file for the merged statistics.")
@recount("Count files again that more than one of STATE has counted.")
@overwrite
@settings
@click.pass_obj
def merge(console: Console, source: list[str], sink: str, overwrite: bool, recount: bool) -> None:
    """Merge statistics: the result has seen what all of STATE have.

    STATE are JSON files, or Parquet or Arrow files that streamnorm normalized. A file that two of them have counted
    is an error.
    """
    from . import states

    check_own_target(sink, overwrite)
    with console.listening():
        scaler = states.merge(source, recount=recount)
        scaler.save(sink)
    say_done(
        console,
        f"merged {len(source)} state{'' if len(source) == 1 else 's'} of",
        scaler.summary_.rows,
        "into",
        sink,
    )


@cli.command(epilog=example("inspect stats.json --columns fare,tip"))
@click.argument("path", metavar="FILE", type=click.Path(), callback=files)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, all columns unless some are named.")
@click.option("--columns", metavar="NAME,...", multiple=True, callback=names, help="Columns to show; may be repeated.")
@click.option("--all", "show_all", is_flag=True, help="Show all columns, however many there are.")
@settings
@click.pass_obj
def inspect(console: Console, path: str, as_json: bool, columns: list[str] | None, show_all: bool) -> None:
    """Show the statistics in FILE: a JSON file, or Parquet or Arrow that streamnorm normalized; or what a model is."""
    from . import listing, states

    with console.listening():
        said, summary = states.inspected(path)
    if "layers" in said:
        from . import model_listing

        if columns is not None or show_all:
            raise click.UsageError(f"{path} is a model, which has no columns to choose from")
        with standard_output() as stdout:
            stdout.write((listing.as_json(said) if as_json else model_listing.as_text(said)) + "\n")
        return
    chosen = said["columns"] if columns is None else _columns_of(said, columns)
    with standard_output() as stdout:
        if as_json:
            stdout.write(listing.as_json({**said, "columns": chosen}) + "\n")
        else:
            shown = chosen if show_all or columns is not None else chosen[: listing.FIRST]
            shapes = _shapes(summary, shown, stdout)
            stdout.write(listing.as_table(said, shown, len(chosen) - len(shown), tty=stdout.isatty(), shapes=shapes))


def _shapes(summary: Any, columns: list[dict[str, Any]], stdout: Any) -> list[str]:
    """The histograms of columns, in characters that standard output can show."""
    from .report import small

    unicode = small.writes_blocks(stdout.encoding, os.environ.get("TERM") if stdout.isatty() else None)
    return small.shapes(summary, [column["name"] for column in columns], unicode=unicode)


def _columns_of(said: dict[str, Any], wanted: list[str]) -> list[dict[str, Any]]:
    from .errors import DataError
    from .summary import near_matches

    if said["scaler"] is None:
        raise DataError(f"{said['path']}: carries no statistics, and so no columns to show: leave --columns out")
    by_name = {str(column["name"]): column for column in said["columns"]}
    for name in wanted:
        if name not in by_name:
            raise DataError(f"{said['path']}: there is no column {name!r}: {near_matches(name, by_name)}", column=name)
    return [by_name[name] for name in dict.fromkeys(wanted)]


cli_jobs.let_turn_off(cli)
cli.add_command(compare)
cli.add_command(advise)
cli.add_command(diff)
cli.add_command(export)
cli.add_command(report)
cli.add_command(train)
cli.add_command(predict)


def main() -> NoReturn:
    """The entry point."""
    # Read when pyarrow is loaded, which is later; memory.py says what it is for. A choice of the user's stands.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        cli.main()
    finally:
        ignore_signals()
