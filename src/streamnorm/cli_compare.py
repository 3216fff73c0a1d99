"""The command that compares scalers and norm layers."""

# Design: the options are the keywords of `compare`, and those of `train` that make the model. The journal has no
# option: it lies beside the output while there is work to be done, and a command that is run again finds it. Of an
# output in a store, whose files cannot be appended to, it lies in the current directory.

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from .cli_parts import check_own_target, standard_output
from .cli_train import NONE, NORMS, SCALERS, _in_terms_of_options, _network, _with, options_named
from .console import Console, one_line
from .masking import is_uri, masked
from .options import METHODS, data, example, files, given, names, reading, running
from .options import overwrite as overwrite_option

JOURNAL = ".streamnorm-journal"
OF_THE_MODEL = ("hidden", "activation", "dropout", "target_scaler", "loss", "optimizer", "learning_rate", "epochs",
                "batch_size", "embed")  # fmt: skip


def _choices(known: tuple[str, ...]) -> Callable[..., list[str] | None]:
    """A check of names between commas."""

    def check(ctx: click.Context, param: click.Parameter, values: Any) -> list[str] | None:
        found = names(ctx, param, values)
        for name in found or ():
            if name not in known:
                raise click.BadParameter(f"{name!r} is none of {', '.join(known)}", param=param)
        if found and len(set(found)) != len(found):
            raise click.BadParameter(f"{','.join(found)} has a name twice", param=param)
        return found

    return check


def _page_or_json(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    files(ctx, param, value)
    if value is not None and os.path.splitext(value)[1].lower() not in (".html", ".json"):
        raise click.BadParameter(f"{value!r} is neither a page (.html) nor JSON (.json)", param=param)
    return value


def _rows(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """A number, perhaps as 1_000_000; NONE for all."""
    if value is None or value == "all":
        return NONE if value else None
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise click.BadParameter(f"{value!r} is no number of rows such as 1_000_000, nor all", param=param)
    return number


@click.command(
    options_metavar="--target NAME [OPTIONS]",
    epilog=example("compare trips.parquet --target tip --folds 2 --seeds 1 --epochs 2 --overwrite -o compared.html"),
)
@data
@click.option(
    "--target",
    metavar="NAME,...",
    multiple=True,
    required=True,
    callback=names,
    help="Column to predict, or several. Rows without it are left out.",
)
@click.option(
    "--output",
    "-o",
    "sink",
    metavar="OUT",
    type=click.Path(),
    callback=_page_or_json,
    help="Also write a page with curves (.html), or JSON (.json). A run that was stopped goes on when the command is "
    "given again.",
)
@click.option(
    "--scalers",
    metavar="NAME,...",
    multiple=True,
    callback=_choices(SCALERS),
    help=f"Of the inputs: {', '.join((*METHODS, 'none'))}. [default: all five]",
)
@click.option(
    "--norms",
    metavar="NAME,...",
    multiple=True,
    callback=_choices(NORMS),
    help=f"Between a hidden layer and its activation: {', '.join(NORMS)}. [default: none,batch,layer]",
)
@click.option("--folds", type=click.IntRange(min=2), metavar="N", help="Of the cross-validation. [default: 5]")
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    metavar="N",
    help="How often to repeat it, with other folds and initial weights. [default: 3]",
)
@click.option("--group", metavar="NAME", help="Column that says which rows are tested on together; it is no input.")
@click.option(
    "--time",
    metavar="NAME",
    help="Column that orders the rows: those tested on follow those trained on; it is no input.",
)
@click.option(
    "--rows",
    metavar="N",
    callback=_rows,
    help="At most so many rows, a random sample of IN; all: as many as the memory has room for. [default: 100_000]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**32 - 1),
    default=0,
    metavar="N",
    help="Where chance begins: the same seed gives the same numbers. [default: 0]",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="P",
    help="Probability to call anything a difference where there is none. [default: 0.05]",
)
@click.option("--reach", type=float, metavar="LOSS", help="Loss of training that convergence is measured by. "
              "[default: nine tenths of the way from that of predicting the mean to the lowest one]")  # fmt: skip
@_with(options_named(_network, OF_THE_MODEL))
@click.option(
    "--columns",
    metavar="NAME,...",
    multiple=True,
    callback=names,
    help="Columns to learn from; may be repeated. [default: every integer, float and decimal column but the target, "
    "the group and the time]",
)
@click.option(
    "--exclude", metavar="NAME,...", multiple=True, callback=names, help="Columns to leave out; may be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of the table.")
@overwrite_option
@reading
@running
@click.pass_obj
def compare(
    console: Console, source: list[str], target: list[str], sink: str | None, seed: int, overwrite: bool, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Compare input scalers and norm layers on IN: accuracy, stability, convergence, time.

    Each combination is trained and tested on the same folds, on a sample that fits in memory. The verdict says which
    differences are more than chance, and where there is no difference.
    """
    if options["group"] is not None and options["time"] is not None:
        raise click.UsageError("folds go by --group or by --time: give one of the two")
    if sink is not None:
        check_own_target(sink, overwrite, others=source, what="the comparison")
        if sink.lower().endswith(".html"):
            from .report.compare_page import check_installed

            check_installed()
    from .nn import Regressor
    from .report.compare import NORMS as DEFAULT_NORMS
    from .report.compare import compare as compared
    from .report.compare import own_model

    chosen: dict[str, Any] = {key: None if value is NONE else value for key, value in given(options).items()}
    model = Regressor(**{key: chosen.pop(key) for key in OF_THE_MODEL if key in chosen})
    try:
        own_model(model, chosen.get("norms", DEFAULT_NORMS))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    path: Any = source[0] if len(source) == 1 else source
    journal = None if sink is None else _beside(sink)
    with console.listening(), _in_terms_of_options(), _progress(console, journal) as progress:
        found = compared(path, target[0] if len(target) == 1 else target, model=model, random_state=seed,
                         journal=journal, progress=progress, **chosen)  # fmt: skip
    if sink is not None:
        found.save(sink, overwrite=overwrite)
        os.unlink(str(journal))
    with standard_output() as stdout:
        if as_json:
            stdout.write(found.to_json() + "\n")
        else:
            from .report.compare_text import as_text

            stdout.write(as_text(found, tty=stdout.isatty()))
    diverged = sum(run.diverged for run in found.runs)
    also = "" if sink is None else f", wrote {masked(sink)}"
    console.say(
        "done",
        one_line(f"compared {len(found.figures)} combination{'' if len(found.figures) == 1 else 's'} "
                 f"in {len(found.runs)} trainings in "
                 f"{console.seconds:.1f} s{also}"),
        runs=len(found.runs), diverged=diverged, rows=found.settings["rows"], seconds=round(console.seconds, 3),
        best=found.best.name, verdict=found.verdict, **({} if sink is None else {"target": masked(sink)}),
    )  # fmt: skip


def _beside(sink: str) -> str:
    """The journal of an output."""
    if is_uri(sink):
        name = os.path.basename(sink)
        return f".{name}.{hashlib.sha256(sink.encode()).hexdigest()[:8]}{JOURNAL}"
    folder, name = os.path.split(sink)
    return os.path.join(folder, f".{name}{JOURNAL}")


@contextmanager
def _progress(console: Console, journal: str | None) -> Iterator[Callable[[int, int, float | None], None]]:
    """A bar on a terminal, or a line for each training in JSON; and what remains if the job is stopped."""
    console.check()
    done = before = 0
    first = True

    def noted(runs: int, total: int, left: float | None) -> None:
        nonlocal done, before, first
        console.check()
        if first and runs:
            before = runs
            console.say("resumed", f"{runs} of {total} trainings were done before: going on", runs=runs, total=total)
        first, done = False, runs

    try:
        if console.as_json or console.verbose or console.quiet or sys.stderr is None or not sys.stderr.isatty():

            def told(runs: int, total: int, left: float | None) -> None:
                noted(runs, total, left)
                if console.as_json or console.verbose:
                    time_left = "" if left is None else f", {_duration(left)} left"
                    seconds_left = None if left is None else round(left, 3)
                    console.say("training", f"{runs} of {total} trainings{time_left}", runs=runs, total=total,
                                seconds_left=seconds_left, seconds=round(console.seconds, 3))  # fmt: skip

            yield told
        else:
            with console._drawn_bar(_columns()) as bar:
                task = bar.add_task("training", total=None, left="")

                def drawn(runs: int, total: int, left: float | None) -> None:
                    noted(runs, total, left)
                    time_left = "" if left is None else f"{_duration(left)} left"
                    bar.update(task, completed=runs, total=total, left=time_left)

                yield drawn
    except BaseException:
        if journal is not None and done:
            said = f"{done} trainings are kept in {one_line(journal)}: the same command goes on from there"
            console.say("kept", said, runs=done, journal=journal)
        raise


def _duration(seconds: float) -> str:
    """For people: 42 s, 3 min, 1 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _columns() -> tuple[Any, ...]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    return (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"))  # fmt: skip
